"""What definitions are offered for pages and elements without a name, and which of a project's nobody uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Warehouse, event, ndjson
from headrace.definitions import suggest
from headrace.definitions.matcher import Matcher
from headrace.definitions.model import Definitions, Element, Page, Place
from headrace.definitions.read import read
from headrace.definitions.suggest import Suggestion, _Names, as_yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

A = "https://a.example"


def offered(folder: Path, found: list[Suggestion]) -> Definitions:
    """Suggestions as they are printed, read again."""
    file = folder / "definitions.yml"
    file.write_text(as_yaml(found) or "pages: [{id: none, name: None, screen: None of all}]\n", encoding="utf-8")
    return read(file)


def pages(folder: Path, *urls: str, defined: tuple[Page, ...] = ()) -> list[tuple[str, str, tuple[str, ...], int]]:
    """Pages that are offered for URLs, each of which is a page of its own, the first viewed most."""
    rows = [(url.partition("://")[2].partition("?")[0], None, url, 100 - n) for n, url in enumerate(urls)]
    found = suggest.pages(rows, Definitions(pages=defined), 20, _Names(()))
    return [(page.id, page.name, page.urls, page.priority) for page in offered(folder, found).pages]


def test_urls_that_differ_in_ids_alone_are_one_page(tmp_path: Path) -> None:
    uuid = "123e4567-e89b-12d3-a456-426614174000"
    assert pages(tmp_path, f"{A}/user/1", f"{A}/user/2?tab=3", f"{A}/user/{uuid}") == [
        ("user", "User", (f"{A}/user/:id",), 0)
    ]
    assert pages(tmp_path, f"{A}/user/1/orders/7", f"{A}/user/2/orders/8") == [
        ("user-orders", "User orders", (f"{A}/user/:id/orders/:id2",), 0)
    ]
    assert pages(tmp_path, f"{A}/user/1") == [("user-1", "User 1", (f"{A}/user/1",), 0)]
    assert [one[2] for one in pages(tmp_path, f"{A}/step1", f"{A}/step2")] == [(f"{A}/step1",), (f"{A}/step2",)]


def test_all_ways_in_which_a_page_was_written_are_in_its_patterns(tmp_path: Path) -> None:
    rows = [("a.example/help", "Help", url, 1) for url in (f"{A}/help", f"{A}/help/", "http://a.example/help?x=1")]
    (one,) = suggest.pages(rows, Definitions(), 20, _Names(["help"]))
    assert one.count == 3
    (page,) = offered(tmp_path, [one]).pages
    assert (page.id, page.name) == ("help-2", "Help")
    assert page.urls == (f"{A}/help", f"{A}/help/", "http://a.example/help")


def test_a_route_in_the_hash_goes_before_the_page_that_it_is_on(tmp_path: Path) -> None:
    found = pages(tmp_path, f"{A}/app", f"{A}/app#/team/1", f"{A}/app#/team/2")
    assert found == [
        ("app-team", "App team", (rf"{A}/app\?*#/team/:id{{\?*}}?",), 0),
        ("app", "App", (f"{A}/app",), -1),
    ]
    matcher = Matcher(read(tmp_path / "definitions.yml"))
    assert matcher.page_of(f"{A}/app?lang=de#/team/7?tab=1") == "app-team"
    assert matcher.page_of(f"{A}/app#about") == "app"


def test_a_page_that_is_defined_goes_before_one_that_is_offered(tmp_path: Path) -> None:
    own = Page(id="me", name="Me", urls=(f"{A}/user/99",), place=Place("definitions.yml", 1))
    assert pages(tmp_path, f"{A}/user/1", f"{A}/user/2", defined=(own,)) == [("user", "User", (f"{A}/user/:id",), -1)]


def test_a_screen_is_offered_by_its_name_and_what_has_none_is_not(tmp_path: Path) -> None:
    rows = [
        ("app://Shop/My cart", "My cart", None, 5),
        ("app://Other/My cart", "My cart", None, 2),
        ("app://Shop/", "Shop", None, 9),
        ("(not set)", None, None, 9),
        ("about:blank", None, "about:blank", 9),
    ]
    found = suggest.pages(rows, Definitions(), 20, _Names(()))
    assert [one.count for one in found] == [7]
    (page,) = offered(tmp_path, found).pages
    assert (page.id, page.name, page.screen, page.app) == ("my-cart", "My cart", "My cart", None)


@pytest.mark.parametrize(
    ("path", "selector"),
    [
        ("html > body > div#root > button#buy.btn.btn-primary", "#buy"),
        ("html > body > form#pay > button.btn[data-testid='send']", 'button[data-testid="send"]'),
        ("html body form#payment input[name='full-name']", '#payment input[name="full-name"]'),
        ("html > body > ul.tiles > li.tile > a", "li.tile a"),
        ("html > body > nav.menu > a.px-4.text-center > span", "nav.menu a"),
        ("html > body > div#ember123.css-1x2y3z > a", None),
        ("html > body > div > a", None),
        ("html > body > div#app > main.content > button", None),
    ],
)
def test_a_selector_is_made_of_what_marks_the_target_or_what_it_lies_in(path: str, selector: str | None) -> None:
    found = suggest.elements([(path, "Some text", 3)], 20, _Names(()))
    assert [one.definition.selectors[0] for one in found] == ([selector] if selector else [])


def test_paths_of_one_selector_are_one_element_and_their_text_names_it_where_all_have_one(tmp_path: Path) -> None:
    rows: list[tuple[str, str | None, int]] = [
        ("html > body > ul.tiles > li.tile > a", "Fresh\ntoday", 7),
        ("html > body > main > ul.tiles > li.tile > a", "Fresh today", 4),
        ("html > body > p.story", "one", 3),
        ("html > body > p.story", "two", 3),
    ]
    found = suggest.elements(rows, 20, _Names(()))
    assert [one.count for one in found] == [11, 6]
    assert [(one.id, one.name, one.selectors) for one in offered(tmp_path, found).elements] == [
        ("fresh-today", "Fresh today", ("li.tile a",)),
        ("story", "Story", ("p.story",)),
    ]


names = st.text(min_size=0, max_size=30) | st.sampled_from(["on", "1", "null", "2026-03-02", "a: b", "# c", "{", "*x"])
parts = st.text(alphabet="aZ1-_.:;*+?(){}\\%/#&=@~ é🍒\u202e\n'\"[]>", max_size=25)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_was_seen_what_is_offered_can_be_read_and_names_it(tmp_path: Path, data: st.DataObject) -> None:
    urls = st.builds(
        lambda host, path: f"https://{host}/{path}", st.sampled_from(["a.example", "B.example:8080"]), parts
    )
    views: list[Any] = data.draw(
        st.lists(st.tuples(parts.map(lambda text: f"app://{text}"), names, urls | st.none(), st.integers(1, 9)))
    )
    clicks: list[Any] = data.draw(
        st.lists(st.tuples(st.builds("div#x > {} > b.buy{}".format, parts, parts), names, st.integers(1, 9)))
    )
    views += [(url, name, url, 1) for _, name, url, _ in views if url]
    of_pages = suggest.pages(views, Definitions(), 20, _Names(()))
    of_elements = suggest.elements(clicks, 20, _Names(()))
    found = offered(tmp_path, [*of_pages, *of_elements])
    if not of_pages + of_elements:
        return
    assert [one.id for one in (*found.pages, *found.elements)] == [
        one.definition.id for one in (*of_pages, *of_elements)
    ]
    matcher = Matcher(found)
    for path, _, _ in clicks:
        made = suggest.elements([(path, None, 1)], 1, _Names(()))
        if made and isinstance(made[0].definition, Element) and len(of_elements) < 20:
            assert matcher.elements_of(path)


# --- with a warehouse -------------------------------------------------------------------------------------------------


def view(number: int, url: str | None = None, **source: Any) -> dict[str, Any]:
    place = {"url": {"full_url": url}} if url else source
    return event(
        f"v{number}", number, view_id=number, event_type="navigate", event_properties="{}",
        source_properties=json.dumps(place),
    )  # fmt: skip


def click(number: int, path: str, url: str, text: str = "Buy") -> dict[str, Any]:
    on = {"target": {"raw_selector": path, "text": text}}
    return event(
        f"c{number}", number, view_id=number, event_type="click", event_properties=json.dumps(on),
        source_properties=json.dumps({"url": {"full_url": url}}),
    )  # fmt: skip


@pytest.mark.soak
def test_what_is_suggested_names_what_had_no_name_and_what_nobody_uses_is_told(warehouse: Warehouse) -> None:
    feed = warehouse.project.parent / "feed"
    feed.mkdir()
    events = [
        *(view(number, f"{A}/user/{number}") for number in range(3)),
        view(4, f"{A}/old"),
        click(5, "html > body > form#pay > button.buy", f"{A}/user/1"),
        click(6, "html > body > form#pay > button.buy > span", f"{A}/user/2"),
        click(7, "html > body > p.story", f"{A}/user/2", "Once"),
    ]
    (feed / "first.ndjson").write_bytes(ndjson(*events))
    file = warehouse.project / "definitions.yml"
    file.write_text("pages: [{id: first, name: First, screen: First}]")
    warehouse.sync(feed)
    file.write_text("")  # as a shell makes it for `headrace definitions suggest > definitions.yml`
    said = warehouse.headrace("definitions", "suggest")
    assert (
        said
        == f"""\
pages:
  # 3 views: {A}/user/0
  - id: user
    name: User
    url: {A}/user/:id
  # 1 views: {A}/old
  - id: old
    name: Old
    url: {A}/old
elements:
  # 2 clicks: html > body > form#pay > button.buy
  - id: buy
    name: Buy
    selector: '#pay button.buy'
  # 1 clicks: html > body > p.story
  - id: once
    name: Once
    selector: p.story
"""
    )
    assert "pages:" in warehouse.headrace("definitions", "suggest", "--limit", "1")
    file.write_text(said)
    assert "was built with other definitions than these" in warehouse.headrace(
        "definitions", "check", "--days", "30", status=1
    )
    warehouse.sync(feed)
    unnamed = "select page_id from {p}_marts.page_views where page_definition_id is null "
    unnamed += "union all select element_id from {p}_marts.elements where element_definition_id is null"
    assert warehouse.rows(unnamed) == []
    assert "nothing to suggest" in warehouse.headrace("definitions", "suggest")

    unseen = (
        "  - {id: never, name: Never, selector: .never}\n"
        "  - {id: wanted, name: Wanted, selector: .wanted}\n"
        "  - {id: gone, name: Gone, selector: .gone, state: archived}\n"
        "  - {id: on-old, name: Buy on the old page, selector: .buy, page: old}\n"
        "events:\n"
        "  - {id: bought, name: Bought, type: click, element: buy}\n"
        "  - {id: wants, name: Wants, element: wanted}\n"
        "  - {id: any-click, name: Clicked, type: click}\n"
    )
    file.write_text(said + unseen)
    later = [
        {**one, "event_id": f"later {one['event_id']}", "event_time": one["event_time"].replace("-03-02", "-05-02"),
         "processed_time": one["processed_time"].replace("-03-02", "-05-02"), "session_id": 9}
        for one in (events[0], events[4])
    ]  # fmt: skip
    (feed / "later.ndjson").write_bytes(ndjson(*later))
    warehouse.sync(feed)
    told = json.loads(warehouse.headrace("definitions", "check", "--days", "30", "--json"))
    assert [one["message"] for one in told["warnings"]] == [
        "page 'old' is dead: nothing matched it in the 30 days up to 2026-05-02, last on 2026-03-02",
        "element 'once' is dead: nothing matched it in the 30 days up to 2026-05-02, last on 2026-03-02",
        "element 'never' is unused: nothing was seen that matches it, and nothing refers to it",
        "element 'wanted' is dead: nothing matched it in the 30 days up to 2026-05-02, nor ever before",
        "element 'on-old' is dead: nothing matched it in the 30 days up to 2026-05-02, last on 2026-03-02",
        "event 'wants' is unused: no event was stamped with it (`headrace definitions apply` stamps those of before)",
    ]
    told = json.loads(warehouse.headrace("definitions", "check", "--days", "90", "--json"))
    assert [one["message"].partition(" is")[0] for one in told["warnings"]] == [
        "element 'never'",
        "element 'wanted'",
        "event 'wants'",
    ]
