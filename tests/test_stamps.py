"""Events are stamped with the ids of the definitions that they match, as they pass or later, where they lie."""

import json
import os
import signal
import subprocess
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import killer
import pyarrow as pa
import pytest
from conftest import Warehouse, event, ndjson
from headrace.definitions.matcher import Matcher
from headrace.definitions.read import read
from headrace.definitions.stamp import STAMPS, Stamper, unstamped
from headrace.rows import RAW_EVENTS
from hypothesis import given, settings
from hypothesis import strategies as st

SHOP = """
pages:
  - {id: cart, name: Cart, url: "https://shop.example/cart"}
  - {id: products, name: Products, url: "https://shop.example/products/*"}
  - {id: app-cart, name: Cart in the app, screen: Cart, app: Fruit}
elements:
  - {id: buy, name: Buy, selector: button.buy}
  - {id: any-button, name: A button, selector: button}
  - {id: form, name: The form, selector: form}
  - {id: cart-form, name: The form of the cart, selector: form, page: cart}
events:
  - {id: clicked-buy, name: Buy clicked, type: click, element: buy}
  - {id: clicked, name: Clicked, type: click}
  - {id: large, name: Large order, type: custom, where: [{property: total, greater: 100}]}
"""


@pytest.fixture(scope="module")
def stamper(tmp_path_factory: pytest.TempPathFactory) -> Stamper:
    return stamper_of(SHOP, tmp_path_factory.mktemp("shop"))


def stamper_of(text: str, folder: Path) -> Stamper:
    (folder / "definitions.yml").write_text(text)
    return Stamper(Matcher(read(folder / "definitions.yml")))


def batch(*rows: dict[str, object]) -> pa.RecordBatch:
    """Rows of staging, clicks in a browser unless told otherwise."""
    usual = {"event_type": "click", "source_type": "web", "event_properties": "{}", "source_properties": "{}"}
    return pa.RecordBatch.from_pylist([usual | row for row in rows], schema=pa.schema(list(RAW_EVENTS)[:-1]))


def source(url: str, **more: object) -> str:
    return json.dumps({"url": {"full_url": url}, **more})


def test_an_event_that_matches_three_elements_and_two_events_has_their_ids_in_the_order_of_rank(stamper):
    # The button lies deeper than the form; button.buy is more specific than button; of the two definitions of the form
    # the one that is bound to the page goes before the other. Of the events the one that asks for more is the first.
    path = "body > form > button.buy"
    row = {
        "event_properties": json.dumps({"target": {"text": "Buy", "raw_selector": path}}),
        "source_properties": source("https://shop.example/cart"),
    }
    (found,) = stamper.stamped(batch(row)).to_pylist()
    assert json.loads(found["source_properties"])["page_definition_id"] == "cart"
    stamped = json.loads(found["event_properties"])
    assert stamped["target"] == {
        "element_definition_id": "buy",
        "additional_element_definition_ids": ["any-button", "cart-form", "form"],
        "text": "Buy",
        "raw_selector": path,
    }
    assert stamped["event_definition_id"] == "clicked-buy"
    assert stamped["additional_event_definition_ids"] == ["clicked"]
    assert found["_matcher_version"] == 1


def test_a_definition_that_is_bound_to_a_page_holds_there_alone(stamper):
    row = {"event_properties": json.dumps({"target": {"raw_selector": "form"}})}
    found = [
        json.loads(one["event_properties"])["target"]
        for one in stamper.stamped(
            batch(
                row | {"source_properties": source("https://shop.example/cart")},
                row | {"source_properties": source("https://shop.example/products/1")},
            )
        ).to_pylist()
    ]
    assert found[0]["element_definition_id"] == "cart-form"
    assert found[0]["additional_element_definition_ids"] == ["form"]
    assert found[1]["element_definition_id"] == "form"
    assert "additional_element_definition_ids" not in found[1]


def test_all_other_bytes_stay_as_they_were(stamper):
    text = (
        '{ "n":1.0e2,"a" : "\\u00e9\\/", "target" :\t{"raw_selector":"button", "x":{"target":{}}} '
        ',"z":12345678901234567890 }'
    )
    (found,) = stamper.stamped(batch({"event_properties": text})).to_pylist()
    assert found["event_properties"] == text.replace("{ ", '{"event_definition_id":"clicked", ', 1).replace(
        "\t{", '\t{"element_definition_id":"any-button",', 1
    )


def test_what_the_feed_tells_stays(stamper):
    row = {
        "event_properties": '{"event_definition_id":null,"target":'
        '{"raw_selector":"button","additional_element_definition_ids":[]}}',
        "source_properties": source("https://shop.example/cart", page_definition_id="theirs"),
    }
    (found,) = stamper.stamped(batch(row)).to_pylist()
    assert {name: found[name] for name in row} == row
    assert [found[name] for name in STAMPS] == [None, None, None]
    assert found["_matcher_version"] is None


def test_a_superseding_row_has_no_stamp(stamper):
    rows = [{"event_type": None, "event_properties": None, "source_properties": None}, {}]
    nulled, stamped = stamper.stamped(batch(*rows)).to_pylist()
    assert nulled["event_properties"] is None
    assert [nulled[name] for name in STAMPS] == [None, None, None]
    assert stamped["event_properties"] == '{"event_definition_id":"clicked"}'


def test_what_stamps_would_make_too_long_stays_as_it_is(stamper):
    row = {"event_properties": json.dumps({"x": "y" * 50}), "source_properties": source("https://shop.example/cart")}
    (found,) = stamper.stamped(batch(row), max_bytes=80).to_pylist()
    assert found["event_properties"] == row["event_properties"]
    assert found["_event_stamp"] is None
    assert json.loads(found["source_properties"])["page_definition_id"] == "cart"


def test_a_screen_of_an_app_is_a_page(stamper):
    app = json.dumps({"app": {"name": "Fruit", "view_name": "Cart"}})
    other = json.dumps({"app": {"name": "Vegetables", "view_name": "Cart"}})
    unnamed = json.dumps({"app": {"name": "Fruit"}})
    named = {"event_type": "page_view", "event_properties": '{"page_name":"Cart"}', "source_properties": unnamed}
    rows = [{"source_properties": app}, {"source_properties": other}, named, {"source_properties": unnamed}]
    found = stamper.stamped(batch(*({"source_type": "mobile_app"} | row for row in rows))).to_pylist()
    assert [json.loads(one["source_properties"]).get("page_definition_id") for one in found] == [
        "app-cart",
        None,
        "app-cart",
        None,
    ]


def test_conditions_are_on_the_value_of_each_row(stamper):
    values = [99, 100, 100.5, "200", None, 10**25]
    rows = [{"event_type": "custom", "event_properties": json.dumps({"total": value})} for value in values]
    found = stamper.stamped(batch(*rows)).to_pylist()
    assert [one["_event_stamp"] is not None for one in found] == [False, False, True, False, False, True]


def test_a_condition_may_be_on_the_name_of_a_page(tmp_path):
    named = "events:\n  - {id: named, name: N, where: [{property: page_name, equals: Cart}]}"
    rows = [
        {"event_properties": json.dumps({"page_name": name}), "event_type": "page_view"} for name in ("Cart", "Home")
    ]
    found = stamper_of(named, tmp_path).stamped(batch(*rows)).to_pylist()
    assert [one["_event_stamp"] for one in found] == ['"event_definition_id":"named",', None]


def test_ids_of_any_spelling_are_json(tmp_path):
    odd = 'a"b\\c é 🍒'
    written = json.dumps(odd, ensure_ascii=False)
    stamper = stamper_of(f"pages:\n  - {{id: {written}, name: Odd, url: 'https://shop.example/*'}}", tmp_path)
    (found,) = stamper.stamped(batch({"source_properties": source("https://shop.example/x")})).to_pylist()
    assert json.loads(found["source_properties"])["page_definition_id"] == odd


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.just("target"), inner, max_size=3)
    ),
    max_leaves=8,
)
targets = st.fixed_dictionaries(
    {}, optional={"raw_selector": st.sampled_from(["button", "form > b", ""]), "target": json_values}
)
properties = st.dictionaries(st.text(max_size=4) | st.just("text"), json_values, max_size=3).flatmap(
    lambda found: st.one_of(st.just(found), targets.map(lambda target: found | {"target": target}))
)
spellings = st.fixed_dictionaries(
    {
        "indent": st.sampled_from([None, 0, 1]),
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([(",", ":"), (" , ", " : ")]),
    }
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(properties, spellings), min_size=1, max_size=6))
def test_without_its_stamps_an_event_is_what_it_was(stamper, found):
    texts = [json.dumps(value, **how) for value, how in found]
    rows = stamper.stamped(batch(*({"event_properties": text} for text in texts))).to_pylist()
    assert len(rows) == len(texts)
    for row, text, (value, _) in zip(rows, texts, found, strict=True):
        of_event, of_target = row["_event_stamp"], row["_element_stamp"]
        stamped = json.loads(row["event_properties"])
        assert stamped.pop("event_definition_id") == "clicked"
        if of_target:
            assert stamped["target"].pop("element_definition_id") in ("any-button", "form")
        assert stamped == value
        again = unstamped(unstamped(row["event_properties"], of_event), of_target, "target")
        assert json.loads(again) == value
        if row["event_properties"].count("{" + (of_target or "")) == 1 or not of_target:
            assert again == text


DEFINED = """
pages:
  - {id: cart, name: Cart, url: "https://shop.example/cart"}
elements:
  - {id: buy, name: Buy, selector: button.buy}
events:
  - {id: bought, name: Bought, type: click, element: buy}
"""

BY_ID = (
    "select event_id, event_properties, source_properties, _page_stamp, _element_stamp, _event_stamp from {p}.events"
)


def define(warehouse: Warehouse, text: str) -> None:
    (warehouse.project / "definitions.yml").write_text(text)


def put(folder: Path, hour: int, *rows: dict[str, object]) -> None:
    target = folder / "events" / f"ingested_time=2026-03-02 {hour:02d}:00:00"
    target.mkdir(parents=True, exist_ok=True)
    (target / "part.ndjson").write_bytes(ndjson(*rows))


def stamps(warehouse: Warehouse) -> dict[str, list[str | None]]:
    """By event: the ids of its page, element and event."""
    found = warehouse.rows(
        "select event_id, source_properties->>'$.page_definition_id', "
        "event_properties->>'$.target.element_definition_id', event_properties->>'$.event_definition_id' "
        "from {p}.events"
    )
    return {event_id: ids for event_id, *ids in found}


def test_a_definition_stamps_what_is_loaded_after_it_and_apply_stamps_what_was_before(warehouse, tmp_path):
    feed = tmp_path / "feed"
    put(feed, 1, event("before"), event("elsewhere", event_properties='{"target":{"raw_selector":"a"}}'))
    warehouse.sync(feed)
    assert stamps(warehouse) == {"before": [None, None, None], "elsewhere": [None, None, None]}
    define(warehouse, DEFINED)
    put(feed, 2, event("after", minute=1))
    warehouse.sync(feed)
    assert stamps(warehouse) == {
        "before": [None, None, None],
        "elsewhere": [None, None, None],
        "after": ["cart", "buy", "bought"],
    }
    assert warehouse.rows("select id, name, state from {p}.page_definitions") == [("cart", "Cart", "active")]
    dry = warehouse.headrace("definitions", "apply", "--since", "2026-03-01", "--dry-run")
    assert "2026-03-02  element  buy  +1" in dry
    assert "2026-03-02  page     cart  +2" in dry
    assert "2026-03-02  event    bought  +1" in dry
    assert stamps(warehouse)["before"] == [None, None, None]
    before = dict(warehouse.rows("select event_id, updated_time from {p}.events"))
    warehouse.headrace("definitions", "apply", "--since", "2026-03-01")
    assert stamps(warehouse) == {
        "before": ["cart", "buy", "bought"],
        "elsewhere": ["cart", None, None],
        "after": ["cart", "buy", "bought"],
    }
    moved = {name for name, at in warehouse.rows("select event_id, updated_time from {p}.events") if at > before[name]}
    assert moved == {"before", "elsewhere"}
    from_the_start = Warehouse(tmp_path / "other")
    define(from_the_start, DEFINED)
    from_the_start.sync(feed)
    assert sorted(warehouse.rows(BY_ID)) == sorted(from_the_start.rows(BY_ID))
    again = warehouse.headrace("definitions", "apply", "--since", "2026-03-01", "--json")
    assert '"read": 0,' in again
    assert '"stamped": 0,' in again


def test_what_comes_again_keeps_its_stamps_and_a_re_created_file_is_stamped_anew(warehouse, tmp_path):
    feed = tmp_path / "feed"
    define(warehouse, DEFINED)
    put(feed, 1, event("once"))
    put(feed, 2, event("twice", minute=1))
    warehouse.sync(feed)
    define(warehouse, DEFINED.replace("id: cart", "id: basket"))
    put(feed, 3, event("once"))  # delivered once more
    put(feed, 2, event("twice", minute=1, updated_time=1_772_420_000_000))  # re-created
    before = dict(warehouse.rows("select event_id, updated_time from {p}.events"))
    warehouse.sync(feed)
    assert stamps(warehouse) == {"once": ["cart", "buy", "bought"], "twice": ["basket", "buy", "bought"]}
    after = dict(warehouse.rows("select event_id, updated_time from {p}.events"))
    assert (after["once"] == before["once"], after["twice"] > before["twice"]) == (True, True)
    assert sorted(warehouse.rows("select id, state from {p}.page_definitions")) == [
        ("basket", "active"),
        ("cart", "archived"),
    ]


@pytest.mark.soak
def test_an_event_without_an_id_has_the_same_one_whatever_it_is_stamped_with(warehouse, tmp_path):
    feed, other = tmp_path / "feed", Warehouse(tmp_path / "other")
    put(feed, 1, event(None))
    warehouse.sync(feed)
    define(other, DEFINED)
    other.sync(feed)
    assert list(stamps(other)) == list(stamps(warehouse))
    assert list(stamps(other).values()) == [["cart", "buy", "bought"]]


@pytest.mark.soak
def test_without_definitions_nothing_is_stamped_any_more(warehouse, tmp_path):
    feed = tmp_path / "feed"
    define(warehouse, DEFINED)
    put(feed, 1, event("first"))
    warehouse.sync(feed)
    (warehouse.project / "definitions.yml").unlink()
    put(feed, 2, event("second", minute=1))
    warehouse.sync(feed)
    assert stamps(warehouse) == {"first": ["cart", "buy", "bought"], "second": [None, None, None]}
    assert warehouse.rows("select id, state from {p}.event_definitions") == [("bought", "archived")]
    warehouse.headrace("definitions", "apply", "--since", "2026-03-02")
    assert stamps(warehouse) == {"first": [None, None, None], "second": [None, None, None]}


@pytest.mark.soak
def test_a_folder_of_definitions_is_read_and_a_change_of_it_ends_the_idle_time(warehouse, tmp_path):
    feed = tmp_path / "feed"
    put(feed, 1, event("first"))
    folder = warehouse.project / "definitions"
    folder.mkdir()
    (folder / "a.yml").write_text(DEFINED)
    warehouse.sync(feed)
    idle = warehouse.sync(feed)
    (folder / "b.yaml").write_text("pages:\n  - {id: home, name: Home, url: 'https://shop.example/'}\n")
    warehouse.sync(feed)
    assert "definitions: " not in idle
    assert stamps(warehouse) == {"first": ["cart", "buy", "bought"]}
    assert warehouse.rows("select id from {p}.page_definitions order by id") == [("cart",), ("home",)]
    assert warehouse.rows("select distinct definition_id from {p}.definition_matches where kind = 'page'") == [
        ("cart",)
    ]


def test_broken_definitions_end_a_sync_before_it_loads(warehouse, tmp_path):
    put(tmp_path / "feed", 1, event("first"))
    define(warehouse, "pages:\n  - {id: cart, name: Cart, url: 'https://['}\n")
    said = warehouse.sync(tmp_path / "feed", status=2)
    assert "definitions.yml:2: " in said
    assert not warehouse.database.exists()


def test_the_lookups_keep_names_and_the_versions_say_what_was_active_when(warehouse, tmp_path):
    feed = tmp_path / "feed"
    define(warehouse, DEFINED)
    put(feed, 1, event("first"))
    warehouse.sync(feed)
    ((first,),) = warehouse.rows("select modified_time from {p}.page_definitions")
    define(warehouse, DEFINED.replace("name: Cart", "name: Basket").replace("button.buy}", "button.pay}"))
    warehouse.sync(feed)
    define(warehouse, DEFINED.replace("name: Cart", "name: Basket, state: archived"))
    put(feed, 2, event("second", minute=1))
    warehouse.sync(feed)
    assert stamps(warehouse) == {"first": ["cart", "buy", "bought"], "second": [None, "buy", "bought"]}
    assert warehouse.rows("select name, state, created_time from {p}.page_definitions") == [
        ("Basket", "archived", first)
    ]
    found = warehouse.rows(
        "select kind, id, name, state, rule_json from {p}.definition_versions order by kind, id, valid_from"
    )
    assert [(kind, name, state) for kind, _, name, state, _ in found] == [
        ("element", "Buy", "active"),
        ("element", "Buy", "active"),
        ("element", "Buy", "active"),
        ("event", "Bought", "active"),
        ("page", "Cart", "active"),
        ("page", "Basket", "active"),
        ("page", "Basket", "archived"),
    ]
    assert [json.loads(content)["selectors"] for kind, *_, content in found if kind == "element"] == [
        ["button.buy"],
        ["button.pay"],
        ["button.buy"],
    ]


@pytest.mark.soak
def test_git_tells_who_made_a_definition_and_when(warehouse, tmp_path):
    def commit(text: str, author: str, at: str) -> None:
        define(warehouse, text)
        for command in (
            ["add", "definitions.yml"],
            ["commit", "-q", "-m", "defined", "--author", f"{author} <{author}@x>"],
        ):
            env = os.environ | {"GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at, "GIT_CONFIG_GLOBAL": os.devnull}
            named = ["-c", "user.name=c", "-c", "user.email=c@x"]
            subprocess.run(["git", "-C", str(warehouse.project), *named, *command], check=True, env=env)

    put(tmp_path / "feed", 1, event("first"))
    subprocess.run(["git", "init", "-q", str(warehouse.project)], check=True)
    cart = "pages:\n  - id: cart\n    name: Cart\n    url: https://shop.example/cart\n"
    two = cart + "  - id: home\n    name: Home\n    url: https://shop.example/\n"
    commit(two, "ann", "2026-01-05T10:00:00Z")
    commit(two.replace("name: Home", "name: Start"), "bob", "2026-02-07T10:00:00Z")
    warehouse.sync(tmp_path / "feed")
    january, february = datetime(2026, 1, 5, 10, tzinfo=UTC), datetime(2026, 2, 7, 10, tzinfo=UTC)
    columns = "id, created_by, created_time, modified_by, modified_time"
    assert sorted(warehouse.rows(f"select {columns} from {{p}}.page_definitions")) == [
        ("cart", "ann", january, "ann", january),
        ("home", "ann", january, "bob", february),
    ]


KILLED = [
    "the rows are stamped",
    "the first Parquet file is written",
    "all data is loaded, without the marker",
    "the package is put away",
    "event_batch is built",
    "merged into events",
    "merged into int_parsed_events",
    "between the purge's mark and its delete",
    "the build is done, the values are not matched",
    "the values are matched",
]
"""Each of these goes on from what the one before has left."""


@pytest.mark.soak
def test_what_was_killed_while_it_stamped_goes_on_by_the_same_call(warehouse, tmp_path):
    feed = tmp_path / "feed"
    url = json.dumps({"url": {"full_url": "https://shop.example/other"}})
    rows = [event(f"e{n}", minute=n) for n in range(20)] + [
        event(f"o{n}", minute=n, source_properties=url) for n in range(5)
    ]
    put(feed, 1, *rows, event(None, minute=30))
    warehouse.sync(feed)
    define(warehouse, DEFINED)
    apply = ("definitions", "apply", "--since", "2026-03-02")
    for point in KILLED:
        process = warehouse.start(partial(killer.main, "duckdb", point), *apply)
        ended = process.end(300)
        assert ended == -signal.SIGKILL, f"{point} was not reached: {ended}, {process.said()}"
        # So that there is something left to do, and to match.
        define(warehouse, DEFINED.replace("id: cart", f"id: cart-{KILLED.index(point)}"))
        if point == "merged into int_parsed_events":
            put(feed, 2, *rows[:3])  # a feed that delivers some of them again meanwhile
            warehouse.sync(feed)
    define(warehouse, DEFINED)
    warehouse.headrace(*apply)
    from_the_start = Warehouse(tmp_path / "other")
    define(from_the_start, DEFINED)
    from_the_start.sync(feed)
    assert len(stamps(warehouse)) == 26
    assert sorted(warehouse.rows(BY_ID)) == sorted(from_the_start.rows(BY_ID))
    matches = (
        "select kind, definition_id, page_definition_id, is_best, is_current from {p}.definition_matches order by all"
    )
    assert warehouse.rows(matches) == from_the_start.rows(matches)
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(0,)]


APPLY = ("definitions", "apply", "--since", "2026-03-01")
EARLIER = "2026-02-20T00:00:00.000000Z"


@pytest.mark.soak
def test_events_without_a_time_are_stamped_by_apply_on_the_day_when_they_were_processed(warehouse, tmp_path):
    put(tmp_path / "feed", 1, event("timed"), event("timeless", event_time=None))
    warehouse.sync(tmp_path / "feed")
    define(warehouse, DEFINED)
    assert "2026-03-02  event    bought  +2" in warehouse.headrace(*APPLY, "--dry-run")
    warehouse.headrace(*APPLY)
    assert stamps(warehouse) == {"timed": ["cart", "buy", "bought"], "timeless": ["cart", "buy", "bought"]}
    assert '"stamped": 0,' in warehouse.headrace(*APPLY, "--json")


def test_defined_events_follow_an_element_also_where_the_feed_tells_its_own(warehouse, tmp_path):
    feed = tmp_path / "feed"
    define(warehouse, DEFINED.replace("button.buy", "button.pay"))
    put(feed, 1, event("earlier", event_time=EARLIER))
    warehouse.sync(feed)
    target = {"raw_selector": "button.buy", "element_definition_id": "theirs"}
    put(feed, 2, event("told", event_properties=json.dumps({"target": target})))
    warehouse.sync(feed)
    define(warehouse, DEFINED)
    warehouse.headrace(*APPLY)
    assert stamps(warehouse)["told"] == ["cart", "theirs", "bought"]


@pytest.mark.soak
def test_what_is_defined_no_more_before_the_first_build_is_archived(warehouse, tmp_path):
    define(warehouse, DEFINED)
    put(tmp_path / "feed", 1, event("first"))
    warehouse.sync(tmp_path / "feed", "--no-build")
    define(warehouse, DEFINED.replace("id: cart", "id: basket"))
    warehouse.sync(tmp_path / "feed")
    assert sorted(warehouse.rows("select id, state from {p}.page_definitions")) == [
        ("basket", "active"),
        ("cart", "archived"),
    ]


@pytest.mark.soak
def test_a_backfill_tells_the_lookups_what_it_stamps_with(warehouse, tmp_path):
    feed = tmp_path / "feed"
    define(warehouse, DEFINED)
    put(feed, 1, event("earlier", event_time=EARLIER))
    warehouse.sync(feed)
    define(warehouse, DEFINED.replace("id: bought", "id: paid"))
    put(feed, 2, event("late"))
    warehouse.headrace("backfill", feed, "--since", "2026-03-02")
    states = "select id, state from {p}.event_definitions order by id"
    assert warehouse.rows(states) == [("bought", "archived"), ("paid", "active")]
    define(warehouse, DEFINED)
    warehouse.headrace(*APPLY)
    assert stamps(warehouse)["late"] == ["cart", "buy", "bought"]


@pytest.mark.soak
def test_what_came_once_more_since_a_definition_changed_is_stamped_by_apply(warehouse, tmp_path):
    feed, large = (
        tmp_path / "feed",
        "  - {id: large, name: Large, type: custom, where: [{property: total, greater: N}]}\n",
    )
    order = event("order", event_type="custom", event_properties='{"total": 150}')
    define(warehouse, DEFINED + large.replace("N", "200"))
    put(feed, 1, order)
    warehouse.sync(feed)
    define(warehouse, DEFINED + large.replace("N", "100"))
    warehouse.sync(feed)
    put(feed, 2, order)
    warehouse.sync(feed)
    assert stamps(warehouse)["order"] == ["cart", None, None]
    warehouse.headrace(*APPLY)
    assert stamps(warehouse)["order"] == ["cart", None, "large"]
