"""Today's definitions name the pages and elements of all history, against a matcher asked for each event."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import dlt
import duckdb
import oracle
import pytest
from conftest import AS_A_SYNC, Warehouse, event, ndjson
from headrace.definitions import matches
from headrace.pipeline import connected
from headrace.target import Target, read_target
from headrace.warehouses.duckdb import DuckDB

Row = dict[str, Any]


class Match(NamedTuple):
    definition_id: str
    page_definition_id: str | None


@dataclass
class Matcher:
    """Definitions as plain comparisons: pages by the begin of a URL or by a screen, elements by a part of the path."""

    pages: dict[str, str] = field(default_factory=dict)
    """By the begin of a URL, or by a screen."""
    rules: dict[str, str] = field(default_factory=dict)
    """By the begin of a URL."""
    elements: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Part of the path, definition, page: the best first."""
    answers: int = 10**9
    """So many it gives before it fails."""

    def page_of(self, url: str | None, screen: str | None, app: tuple[str, ...]) -> str | None:
        self._count()
        found = [name for begin, name in self.pages.items() if (url or "").startswith(begin) or screen == begin]
        return found[0] if found else None

    def rule_of(self, url: str | None) -> str | None:
        found = [page for begin, page in self.rules.items() if (url or "").startswith(begin)]
        return found[0] if found else None

    def elements_of(self, path: str | None, text: str | None, app: tuple[str, ...]) -> list[Match]:
        self._count()
        return [Match(name, page) for part, name, page in self.elements if part in (path or "")]

    def _count(self) -> None:
        self.answers -= 1
        if self.answers < 0:
            raise RuntimeError("killed")


SHOP = "https://shop.example"
OWN = ["cart", "any-page", "cart-button", "any-button", "was-own"]
"""Of which the lookups say that headrace matches them itself."""


BOTH = {"event_definition_id": "helped", "additional_event_definition_ids": ["paid", "helped"]}


def source(url: str | None = None, **more: Any) -> str:
    found: Row = {"url": {"full_url": url}} if url else {}
    return json.dumps(found | more)


def target(selector: str, definition: str | None = None, **more: Any) -> str:
    told = {"element_definition_id": definition} if definition else {}
    return json.dumps({"target": {"raw_selector": selector, "text": "Buy", **told}, **more})


def history() -> list[Row]:
    """Two sessions of the web and one of an app, in which values meet that one definition may have."""
    cart, product, stamped = source(f"{SHOP}/cart?a=1"), source(f"{SHOP}/p/1"), {"page_definition_id": "was-own"}
    app = {"app": {"name": "Shop"}}
    screen = {"app": {"name": "Shop", "view_name": "Cart"}}
    rows: list[tuple[int, str, str, str, Row]] = [
        (1, "navigate", "{}", product, {"view_id": 1}),
        (1, "click", target("div > button.buy", fs_rage_count=3), product, {"view_id": 1}),
        (1, "navigate", "{}", source(f"{SHOP}/p/2"), {"view_id": 2}),
        (1, "click", target("div > button.buy"), source(f"{SHOP}/p/2"), {"view_id": 2}),
        (1, "navigate", "{}", cart, {"view_id": 3}),
        (1, "click", target("div > button.buy", fs_dead_count=1), cart, {"view_id": 3}),
        (1, "click", target("form > button.pay", event_definition_id="paid"), cart, {"view_id": 3}),
        (1, "navigate", "{}", source(f"{SHOP}/cart?a=2"), {"view_id": 4}),
        (1, "click", target("div > button.buy"), source(f"{SHOP}/cart?a=2"), {"view_id": 4}),
        (2, "navigate", "{}", source(f"{SHOP}/cart?a=1", page_definition_id="fed"), {"view_id": 1}),
        (2, "click", target("a.help", "fed-link"), source(f"{SHOP}/help", page_definition_id="fed"), {"view_id": 1}),
        (2, "navigate", "{}", source(f"{SHOP}/help", **stamped), {"view_id": 2}),
        (2, "click", target("a.more", "was-own"), source(f"{SHOP}/help", **stamped), {"view_id": 2}),
        (2, "navigate", json.dumps(BOTH), source(f"{SHOP}/help"), {"view_id": 3}),
        (2, "navigate", "{}", source(f"{SHOP}/p/1", **stamped), {"view_id": 4}),
        (3, "page_view", json.dumps({"page_name": "Cart"}), source(**app), {"source_type": "mobile_app"}),
        (3, "click", target("Button", fs_dead_count=2), source(**app), {"source_type": "mobile_app"}),
        (3, "click", target("Button[id=buy]"), source(**screen), {"source_type": "mobile_app", "view_id": 71}),
    ]
    return [
        event(
            f"e{number:02}", number, session_id=session, device_id=min(session, 2), event_type=event_type,
            event_properties=properties, source_properties=place, **more,
        )
        for number, (session, event_type, properties, place, more) in enumerate(rows)
    ]  # fmt: skip


@dataclass
class Shop:
    """A warehouse with that history, built once, and the table for matches."""

    warehouse: Warehouse
    feed: Path
    target: Target

    @contextmanager
    def opened(self) -> Iterator[dlt.Pipeline]:
        with connected(self.target, writes=True) as pipeline:
            yield pipeline

    def refresh(self, matcher: Matcher, set_id: str) -> int:
        with self.opened() as pipeline:
            return matches.refresh(pipeline, self.target, matcher, set_id)

    def dicts(self, sql: str) -> list[Row]:
        with duckdb.connect(str(self.warehouse.database), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'").fetchall()
            found = connection.execute(sql)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch) -> Shop:
    folder = tmp_path_factory.mktemp("matches")
    warehouse = Warehouse(folder)
    feed = folder / "feed"
    feed.mkdir()
    (feed / "history.ndjson").write_bytes(ndjson(*history()))
    warehouse.sync(feed, "--no-build")
    monkeypatch_module.chdir(warehouse.project)
    monkeypatch_module.setenv("HEADRACE_DUCKDB", warehouse.env["HEADRACE_DUCKDB"])
    shop = Shop(warehouse, feed, read_target(None))
    with shop.opened() as pipeline:
        matches.prepare(pipeline, shop.target)
    warehouse.sync(feed)
    with duckdb.connect(str(warehouse.database)) as connection:
        for kind in ("page", "element"):
            for name in [*OWN, "fed", "fed-link"]:
                content = "{}" if name in OWN else None
                connection.execute(
                    f"insert into product.{kind}_definitions (id, name, state, updated_time, _content) "
                    "values (?, ?, 'active', now(), ?)",
                    [name, f"The {name}", content],
                ).fetchall()
    return shop


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


Names = Callable[[Row], tuple[str | None, str | None, str | None]]
"""Of an event: the definition of its page, its page, and the definition of its element."""


def today(matcher: Matcher, archived: tuple[str, ...] = ()) -> Names:
    """By a matcher that is asked for each event."""

    def stands(stamped: str | None) -> str | None:
        return stamped if stamped not in OWN or stamped in archived else None

    def names(row: Row) -> tuple[str | None, str | None, str | None]:
        apps = tuple(filter(None, [row["app_name"]]))
        matched = matcher.page_of(row["url_full_url"], row["screen_name"], apps)
        page = matched or stands(row["page_definition_id"])
        rule = None if row["screen_name"] else matcher.rule_of(row["url_full_url"])
        found = matcher.elements_of(row["target_raw_selector"], row["target_text"], apps)
        here = [one.definition_id for one in found if one.page_definition_id in (None, matched)]
        element = here[0] if here else stands(row["element_definition_id"])
        return page, page or rule or row["undefined_page_id"], element

    return names


def stamped(row: Row) -> tuple[str | None, str | None, str | None]:
    return (
        row["page_definition_id"],
        row["page_definition_id"] or row["undefined_page_id"],
        row["element_definition_id"],
    )


def expected(shop: Shop, names: Names) -> tuple[dict[Any, Any], dict[Any, Any], list[Any], dict[str, Any]]:
    """What pages, elements, page_views and the ends of sessions are, event by event."""
    users = {row["full_session_id"]: row["user_id"] for row in shop.dicts("from product_marts.sessions")}
    live = shop.dicts("from product.int_parsed_events where full_session_id is not null order by event_time, event_id")
    sessions = defaultdict(list)
    for row in live:
        sessions[row["full_session_id"]].append(row)
    pages: dict[Any, Any] = defaultdict(lambda: dict.fromkeys(("views", "entries", "exits", "rage", "dead"), 0))
    of_page: dict[str, set[str]] = defaultdict(set)
    elements: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0])
    of_element: dict[Any, set[str]] = defaultdict(set)
    views = []
    ends = {}
    for session, rows in sessions.items():
        viewed = oracle.page_views(rows)
        ends[session] = (names(viewed[0])[1], names(viewed[-1])[1])
        for place, row in enumerate(viewed):
            page = names(row)[1]
            pages[page]["views"] += 1
            pages[page]["entries"] += place == 0
            pages[page]["exits"] += row is viewed[-1]
            of_page[page].add(session)
            following = names(viewed[place + 1])[1] if place + 1 < len(viewed) else None
            views.append((row["event_id"], page, names(row)[0], following))
        for row in rows:
            if row["event_type"] != "click":
                continue
            told = [one for one in rows if one["event_type"] == "page_view" and one["view_id"] == row["view_id"]]
            tells_none = not (row["page_definition_id"] or row["page_path"] or row["screen_name"])
            page = names(told[0] if told and tells_none else row)[1]
            rage, dead = (row["fs_rage_count"] or 0) > 0, (row["fs_dead_count"] or 0) > 0
            pages[page]["rage"] += rage
            pages[page]["dead"] += dead
            element = names(row)[2]
            key = (element, *((None, None) if element else (row["target_raw_selector"], row["target_text"])))
            elements[key] = [sum(pair) for pair in zip(elements[key], (1, rage, dead), strict=True)]
            of_element[key].add(session)
    return (
        {
            page: (*counts.values(), len(of_page[page]), len({users[one] for one in of_page[page]}))
            for page, counts in pages.items()
        },
        {
            key: (*counts, len(of_element[key]), len({users[one] for one in of_element[key]}))
            for key, counts in elements.items()
        },
        sorted(views),
        ends,
    )


def found(shop: Shop) -> tuple[dict[Any, Any], dict[Any, Any], list[Any], dict[str, Any]]:
    pages = shop.warehouse.rows(
        "select page_id, views, entries, exits, rage_clicks, dead_clicks, sessions, users from {p}_marts.pages"
    )
    elements = shop.warehouse.rows(
        "select element_definition_id, raw_selector, text, clicks, rage_clicks, dead_clicks, sessions, users "
        "from {p}_marts.elements"
    )
    views = shop.warehouse.rows(
        "select event_id, page_id, page_definition_id, next_page_id from {p}_marts.page_views order by 1"
    )
    ends = shop.warehouse.rows("select full_session_id, entry_page_id, exit_page_id from {p}_marts.sessions")
    return (
        {page: tuple(rest) for page, *rest in pages},
        {tuple(row[:3]): tuple(row[3:]) for row in elements},
        views,
        {session: tuple(pair) for session, *pair in ends},
    )


FIRST = Matcher({f"{SHOP}/cart": "cart", "Cart": "cart"}, {}, [("button.buy", "any-button", None)])
BOUND = Matcher(
    {f"{SHOP}/cart": "cart"},
    {f"{SHOP}/p/": "shop.example/p/:id"},
    [("button", "cart-button", "cart"), ("button.buy", "any-button", None), ("button.pay", "nowhere", "any-page")],
)
ONE = Matcher({SHOP: "any-page", "Cart": "any-page"}, {}, [("", "any-button", None)])


def test_what_no_definition_knows_is_named_as_it_was_stamped_by_the_feed(shop: Shop) -> None:
    nobody = Matcher()
    assert found(shop) == expected(shop, today(nobody))
    assert shop.refresh(nobody, "none") == 12
    assert found(shop) == expected(shop, today(nobody))
    pages = found(shop)[0]
    assert pages["fed"][0] == 1 and "was-own" not in pages
    assert ("fed-link", None, None) in found(shop)[1]


@pytest.mark.parametrize("number", range(3))
def test_definitions_of_today_name_all_history(shop: Shop, number: int) -> None:
    """Two URLs and a screen are one page; one of an element holds on a page alone; all URLs are one."""
    matcher = [FIRST, BOUND, ONE][number]
    before = shop.warehouse.rows("select max(_invocation_id), count(*) from {p}.int_session_pages")
    assert shop.refresh(matcher, f"set {number}") == 12
    pages, elements, *_ = counted = found(shop)
    assert counted == expected(shop, today(matcher))
    assert shop.warehouse.rows("select max(_invocation_id), count(*) from {p}.int_session_pages") == before
    worked_out = [
        (("cart", 4, 2, 2), {("any-button", 4), (None, 1), ("fed-link", 1)}),
        (("shop.example/p/:id", 3, 1, 1), {("cart-button", 3), ("any-button", 2), ("fed-link", 1)}),
        (("any-page", 9, 3, 3), {("any-button", 9)}),
    ][number]
    (page, *counts), clicked = worked_out
    assert pages[page][:3] == tuple(counts)
    assert clicked <= {(definition, values[0]) for (definition, *_), values in elements.items()}
    named = "select page_name from {p}_marts.pages where page_definition_id = 'any-page'"
    assert shop.warehouse.rows(named) == ([("The any-page",)] if number == 2 else [])


def test_an_archived_definition_names_what_it_was_stamped_on(shop: Shop) -> None:
    shop.refresh(FIRST, "archive")
    with duckdb.connect(str(shop.warehouse.database)) as connection:
        connection.execute("update product.page_definitions set state = 'archived' where id = 'was-own'").fetchall()
        connection.execute("update product.element_definitions set state = 'archived' where id = 'was-own'").fetchall()
    try:
        assert found(shop) == expected(shop, today(FIRST, archived=("was-own",)))
        assert found(shop)[0]["was-own"][0] == 2
    finally:
        with duckdb.connect(str(shop.warehouse.database)) as connection:
            for kind in ("page", "element"):
                connection.execute(f"update product.{kind}_definitions set state = 'active'").fetchall()
    assert found(shop) == expected(shop, today(FIRST))


def test_a_set_shows_when_it_is_matched_whole(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matches, "BATCH_VALUES", 3)
    monkeypatch.setattr(DuckDB, "statement_rows", 2)
    shop.refresh(FIRST, "old")
    for answers in (1, 4, 4):
        with pytest.raises(RuntimeError, match="killed"):
            shop.refresh(Matcher(ONE.pages, {}, ONE.elements, answers), "new")
        assert found(shop) == expected(shop, today(FIRST))
    assert shop.refresh(ONE, "new") == 12 - 3 - 3
    assert found(shop) == expected(shop, today(ONE))
    assert shop.refresh(ONE, "new") == 0
    assert shop.warehouse.rows("select distinct matched_by, is_current from {p}.definition_matches") == [("new", True)]


def test_without_definitions_nothing_is_matched(shop: Shop) -> None:
    shop.refresh(ONE, "gone")
    with shop.opened() as pipeline:
        matches.forget(pipeline)
    assert found(shop) == expected(shop, today(Matcher()))


def test_an_hour_matches_what_is_new_in_it(shop: Shop) -> None:
    shop.refresh(FIRST, "hourly")
    late = history()[0] | {"event_id": "late", "event_time": "2026-03-02T00:00:30.000000Z", "view_id": 9}
    new = history()[0] | {
        "event_id": "new", "event_time": "2026-03-02T01:30:00.000000Z", "view_id": 10,
        "source_properties": source(f"{SHOP}/cart?a=3"), "event_properties": json.dumps(BOTH),
    }  # fmt: skip
    (shop.feed / "hour.ndjson").write_bytes(ndjson(late, new))
    shop.warehouse.sync(shop.feed)
    assert shop.refresh(FIRST, "hourly") == 1
    assert found(shop) == expected(shop, today(FIRST))
    defined = "select definition_id, events, sessions, users from {p}_marts.events_by_definition order by 1"
    assert shop.warehouse.rows(defined) == [("helped", 2, 2, 2), ("paid", 3, 2, 2)]
    seen = "select last_seen - first_seen from {p}.int_definition_values where url = 'https://shop.example/p/1'"
    assert shop.warehouse.rows(seen) == [(timedelta(minutes=14),)]


def test_the_marts_may_go_by_what_was_stamped(shop: Shop) -> None:
    shop.refresh(FIRST, "stamped")
    selected = "session_pages pages elements page_views sessions"
    marts = ("build", "--select", *selected.split(), "--resource-type", "model", *AS_A_SYNC)
    shop.warehouse.dbt(*marts, "--vars", "{definitions_as_of: stamped}")
    assert found(shop) == expected(shop, stamped)
    said = shop.warehouse.dbt(*marts, "--vars", "{definitions_as_of: then}", status=2)
    assert "definitions_as_of is today or stamped, not then" in said
