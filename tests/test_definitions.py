"""Definitions: what is read, what is refused with its line, and what a URL, an element and an event match, by rank."""

from __future__ import annotations

import itertools
import json
import pickle
import random
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from conftest import PROJECT
from headrace import cli
from headrace.definitions import conditions, definitions_of, find
from headrace.definitions.matcher import ElementMatch, Matcher
from headrace.definitions.model import Condition, Definitions, Page, Place
from headrace.definitions.pages import Pages, overlaps
from headrace.definitions.read import DefinitionsError, read, warnings
from headrace.definitions.shape import schema_text
from headrace.definitions.tries import tried
from headrace.definitions.urls import Effort, UrlPattern, example_of_both, readable
from headrace.errors import UsageError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SCHEMA = Path(cli.__file__).parent / "definitions" / "schema.json"

SHOP = """\
pages:
  - {id: shop, name: Shop, url: "https://shop.example/*", priority: -1}
  - id: checkout
    name: Checkout
    url:
      - https://shop.example/checkout
      - https://shop.example/checkout/*
  - {id: old, name: Old, url: "https://shop.example/checkout/*", state: archived}
  - {id: cart, name: Cart, screen: Cart}
  - {id: cart-of-b, name: Cart of B, screen: Cart, app: com.example.b}
elements:
  - {id: button, name: Any button, selector: button}
  - {id: primary, name: Primary button, selector: button.primary}
  - {id: buy, name: Buy, selector: button.primary, text: [Buy, Buy now], page: checkout}
  - {id: form, name: Payment, selector: "form#pay"}
  - {id: icon, name: Icon, selector: svg, match: target}
  - {id: gone, name: Gone, selector: button, state: archived}
events:
  - {id: click, name: Clicked, type: click}
  - {id: click-buy, name: Clicked on buy, type: click, element: [buy], page: [checkout]}
  - {id: big, name: Large order, type: custom, where: [
      {property: event_name, equals: Order Completed}, {property: event_properties.total, greater: 100}]}
  - {id: order, name: Order, type: custom, where: [{property: event_name, in: [Order Completed, Order Placed]}]}
  - {id: firefox, name: By Firefox, where: [{property: source_properties.user_agent.browser, equals: Firefox}]}
page_rules:
  - url: https://app.example/*
    path: [/user/:id, /user/:id/*, "#/team/:team"]
    query: [tab, lang]
  - {url: "https://app.example/search", query: q}
"""


def definitions(folder: Path, text: str | bytes = SHOP, name: str = "definitions.yml") -> Definitions:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(file)


def told(folder: Path, text: str | bytes) -> list[str]:
    with pytest.raises(DefinitionsError) as raised:
        definitions(folder, text)
    return [str(problem) for problem in raised.value.problems]


@pytest.fixture
def shop(tmp_path: Path) -> Matcher:
    return Matcher(definitions(tmp_path))


BUTTON = "html > body > form#pay > button.primary > span"


def nothing(path: str) -> Any:
    return None


# --- the worked case --------------------------------------------------------------------------------------------------


def test_an_event_on_three_elements_and_two_definitions_gets_the_ids_that_rank_and_specificity_say(
    shop: Matcher,
) -> None:
    page = shop.page_of("https://shop.example/checkout?step=1")
    elements = shop.elements_of(BUTTON, "Buy now")

    assert page == "checkout"  # shop matches too, with a lower priority
    # The button is deeper than the form: (0,1,1) with a page and a text, (0,1,1) without, (0,0,1); then the form.
    assert [one.definition_id for one in elements] == ["buy", "primary", "button", "form"]
    assert elements[0] == ElementMatch("buy", "checkout")
    ids = frozenset(one.definition_id for one in elements)
    # click-buy asks for three things, click for one.
    assert shop.events_of("click", page, ids, nothing) == ("click-buy", "click")


def test_a_text_or_a_page_that_differs_leaves_the_others_in_their_order(shop: Matcher) -> None:
    assert [one.definition_id for one in shop.elements_of(BUTTON, "Sell")] == ["primary", "button", "form"]
    assert [one.definition_id for one in shop.elements_of(BUTTON, None)] == ["primary", "button", "form"]
    assert shop.events_of("click", "shop", frozenset({"primary"}), nothing) == ("click",)


def test_blanks_and_ends_of_lines_between_words_of_a_text_are_one_blank(shop: Matcher) -> None:
    for text in ("Buy now", " Buy\n   now ", "Buy\u00a0now"):
        assert shop.elements_of(BUTTON, text)[0].definition_id == "buy"
    for other in ("Buy  now!", "buy now", "Buynow", "Buy now" + " " * 20_000):
        assert shop.elements_of(BUTTON, other)[0].definition_id == "primary"


def test_match_target_does_not_count_what_lies_within(shop: Matcher) -> None:
    assert [one.definition_id for one in shop.elements_of("button > svg")] == ["icon", "button"]
    assert [one.definition_id for one in shop.elements_of("button > svg > path")] == ["button"]


def test_no_path_is_no_element(shop: Matcher) -> None:
    for path in (None, "", " ", ">", "[", "\0", "\ud800"):
        assert shop.elements_of(path) == ()


def test_of_events_who_asks_for_most_is_first(shop: Matcher) -> None:
    order = {"event_name": "Order Completed", "event_properties.total": 100.5}
    assert shop.events_of("custom", None, frozenset(), order.get) == ("big", "order")
    order["event_properties.total"] = 100
    order["source_properties.user_agent.browser"] = "Firefox"
    # order asks for a type and a condition, firefox for a condition.
    assert shop.events_of("custom", None, frozenset(), order.get) == ("order", "firefox")
    assert shop.events_of("no such type", None, frozenset(), order.get) == ("firefox",)
    assert shop.events_of(None, None, frozenset(), order.get) == ("firefox",)


def test_the_properties_that_are_asked_for_are_told(shop: Matcher) -> None:
    assert shop.properties == ("event_name", "event_properties.total", "source_properties.user_agent.browser")


def test_of_two_alike_the_newer_is_first_and_then_the_id(tmp_path: Path) -> None:
    found = definitions(
        tmp_path,
        """\
elements:
  - {id: a, name: A, selector: button}
  - {id: c, name: C, selector: button, created_time: 2026-01-01}
  - {id: b, name: B, selector: button, created_time: 2026-01-01T00:00:00+00:00}
  - {id: d, name: D, selector: button, created_time: 2026-01-01T00:00:00.000001Z}
events:
  - {id: y, name: Y, type: [click, change]}
  - {id: x, name: X, type: click}
  - {id: z, name: Z, type: click, created_time: 2025-01-01}
""",
    )
    matcher = Matcher(found)
    assert [one.definition_id for one in matcher.elements_of("button")] == ["d", "b", "c", "a"]
    assert matcher.events_of("click", None, frozenset(), nothing) == ("z", "x", "y")
    assert matcher.events_of("change", None, frozenset(), nothing) == ("y",)


def test_a_list_of_selectors_counts_with_the_best_of_them(tmp_path: Path) -> None:
    found = definitions(
        tmp_path,
        'elements:\n  - {id: a, name: A, selector: [form, "#x.y"]}\n  - {id: b, name: B, selector: "div.z"}\n',
    )
    # Both are deepest at the div: (1,1,0) goes before (0,1,1).
    ids = [one.definition_id for one in Matcher(found).elements_of("form > div#x.y.z")]
    assert ids == ["a", "b"]


def test_a_matcher_goes_to_another_process(shop: Matcher) -> None:
    copy = pickle.loads(pickle.dumps(shop))
    assert copy.elements_of(BUTTON, "Buy") == shop.elements_of(BUTTON, "Buy")
    assert copy.page_of("https://shop.example/") == "shop"


# --- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://shop.example/checkout", "checkout"),
        ("https://SHOP.example:443/checkout/pay?x=1#y", "checkout"),
        ("https://user:secret@shop.example/checkout", "checkout"),
        ("https://shop.example/Checkout", "shop"),  # paths have upper and lower case
        ("https://shop.example", "shop"),
        ("http://shop.example/", None),
        ("https://shop.example:8080/", None),
        ("https://shop.example.evil/", None),
        *((url, None) for url in ("", " ", "x", ":", "https://", "https://[", "https://%/", "\0:", "https://\ud800/")),
        (None, None),
    ],
)
def test_the_page_of_a_url(shop: Matcher, url: str | None, page: str | None) -> None:
    assert shop.page_of(url) == page


def test_escapes_hosts_and_hash_routes_match_however_they_are_written(tmp_path: Path) -> None:
    found = definitions(
        tmp_path,
        """\
pages:
  - {id: umlaut, name: U, url: "https://bücher.example/käse/*"}
  - {id: route, name: R, url: "https://spa.example/#/cart/*"}
  - {id: query, name: Q, url: 'https://spa.example/\\?view=cart'}
  - {id: port, name: P, url: "https://spa.example:8443/*"}
""".replace("\\\\", "\\"),
    )
    pages = Pages(found)
    for url in ("https://xn--bcher-kva.example/k%c3%a4se/1", "https://BÜCHER.example/k%C3%A4se/1"):
        assert pages.page_of(url) == "umlaut"
    assert pages.page_of("https://spa.example/#/cart/1") == "route"
    assert pages.page_of("https://spa.example/?a=1#/cart/1") is None  # a pattern with a hash and no query wants none
    assert pages.page_of("https://spa.example/?view=cart") == "query"
    assert pages.page_of("https://spa.example:8443/x") == "port"


def test_a_screen_is_of_one_app_or_of_any(shop: Matcher) -> None:
    assert shop.page_of(None, "Cart", "com.example.a") == "cart"
    assert shop.page_of(None, "Cart", "com.example.b") == "cart-of-b"
    assert shop.page_of(None, "Cart", ("B", "com.example.b")) == "cart-of-b"
    assert shop.page_of(None, "cart") is None
    assert shop.page_of("https://shop.example/checkout", "Cart") == "checkout"


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://APP.example:443/user/12/?tab=a&x=1", "app.example/user/:id?tab=a"),
        ("https://u:p@app.example/user/12/edit/", "app.example/user/:id/edit"),
        ("https://app.example/user/12;jsessionid=A1?lang=de&tab=b&tab=c", "app.example/user/:id?tab=b&tab=c&lang=de"),
        ("https://app.example/user/12#top", "app.example/user/:id"),
        ("https://app.example/user/12#/inbox?x=1", "app.example/user/:id#/inbox"),
        ("https://app.example/#/team/7/", "app.example/#/team/:team"),
        ("https://app.example/#!/team/7", "app.example/#!/team/:team"),
        ("https://app.example/search?q=%C3%A4&page=2", "app.example/search?q=%C3%A4"),
        ("https://app.example/search?q=//a@b", "app.example/search?q=//a@b"),
        ("https://app.example/imprint", None),
        ("https://shop.example/user/1", None),
        ("nonsense", None),
        (None, None),
    ],
)
def test_a_page_by_the_rules(shop: Matcher, url: str | None, rule: str | None) -> None:
    assert shop.pages.rule_of(url) == rule


OVERLAPPING = [
    ("https://a.example/*", "https://a.example/b", "https://a.example/b"),
    ("https://a.example/:x/c", "https://a.example/b/:y", "https://a.example/b/c"),
    (r"https://a.example/(\d+)", r"https://a.example/(\w+)", "https://a.example/1"),
    ("https://a.example/b{/c}?", "https://a.example/b/c", "https://a.example/b/c"),
    ("https://*.a.example/*", "https://b.*/c", "https://b.a.example/c"),
    ("*://*/a*", "*://*/*b", "https://example.com/ab"),
    ("https://a.example/", "https://a.example/#/x/*", "https://a.example/#/x/"),
]


@pytest.mark.parametrize(("one", "other", "url"), OVERLAPPING)
def test_pages_that_overlap_are_refused_with_a_url_that_is_both(tmp_path: Path, one: str, other: str, url: str) -> None:
    text = f"pages:\n- {{id: a, name: A, url: '{one}'}}\n- {{id: b, name: B, url: '{other}'}}\n"
    assert told(tmp_path, text) == [
        f"definitions.yml:3: page 'b': {url} is this page and page 'a' (definitions.yml:2), too: "
        "give one of them a higher priority, or make its pattern narrower"
    ]
    definitions(tmp_path, text.replace("B,", "B, priority: 1,"))
    definitions(tmp_path, text.replace("B,", "B, state: archived,"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://a.example/b", "https://a.example/c"),
        ("https://a.example/*", "https://b.example/*"),
        ("https://a.example/:x", "https://a.example/b/c"),
        (r"https://a.example/*\?x=1", r"https://a.example/*\?y=1"),
        ("http://a.example/*", "https://a.example/*"),
        (r"https://a.example/(\d+)", "https://a.example/b"),
    ],
)
def test_pages_that_share_no_url_may_have_one_priority(tmp_path: Path, one: str, other: str) -> None:
    definitions(tmp_path, f"pages:\n- {{id: a, name: A, url: '{one}'}}\n- {{id: b, name: B, url: '{other}'}}\n")


path_patterns = st.lists(st.sampled_from(["a", "b", "/", "*", "{a}?", "{b/}?", "{a}*", ":n", "(a|b)"]), max_size=5)
ALL_PATHS = ["".join(signs) for size in range(6) for signs in itertools.product("ab/x", repeat=size)]


@settings(max_examples=150, deadline=None)
@given(path_patterns, path_patterns)
def test_an_overlap_of_any_two_paths_is_found(one: list[str], other: list[str]) -> None:
    try:
        left, right = (UrlPattern(f"https://h.example/{_with_names_apart(parts)}") for parts in (one, other))
    except ValueError:
        return
    common = [path for path in ALL_PATHS if all(p.matches(f"https://h.example/{path}") for p in (left, right))]
    found = example_of_both(left, right)
    if found:
        assert left.matches(found) and right.matches(found)
    elif common:
        raise AssertionError(common[0])


def test_searches_for_overlaps_end_when_their_effort_is_spent() -> None:
    one, other = (UrlPattern(f"https://a.example/{'a' * 900}*{'b' * 900}{n}*c") for n in range(2))
    effort = Effort(5_000)
    assert example_of_both(one, other, effort) is None
    assert effort.left < 0
    assert example_of_both(UrlPattern("https://a.example/*"), UrlPattern("https://a.example/b"), effort) is None


def _with_names_apart(parts: list[str]) -> str:
    return "".join(f":n{number}" if part == ":n" else part for number, part in enumerate(parts))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["*", "a", "b/*", "b/:x", ":x/c", "*c", "a/(\\d+)"]), min_size=1, max_size=6), st.data()
)
def test_the_page_is_the_first_by_priority_then_fixed_characters_then_id(paths: list[str], data: st.DataObject) -> None:
    hosts = data.draw(
        st.lists(st.sampled_from(["h.example", "*", "*.example"]), min_size=len(paths), max_size=len(paths))
    )
    pages = [
        Page(id=f"p{n}", name="P", urls=(f"https://{host}/{path}",), priority=n % 2, place=Place("f", n))
        for n, (host, path) in enumerate(zip(hosts, paths, strict=True))
    ]
    data.draw(st.randoms()).shuffle(pages)
    of_them = Pages(Definitions(pages=tuple(pages)))
    for url in (
        "https://h.example/a",
        "https://h.example/b/c",
        "https://x.example/a/12",
        "https://[::1]/b/c",
        "https://1.2.3.4/",
    ):
        # The oracle counts the characters that stand for themselves.
        fit = [page for page in pages if UrlPattern(page.urls[0]).matches(url)]
        fixed = {page.id: UrlPattern(page.urls[0]).specificity for page in fit}
        best = min(fit, key=lambda page: (-page.priority, *(-n for n in fixed[page.id]), page.id), default=None)
        assert of_them.page_of(url) == (best.id if best else None)


@settings(max_examples=300, deadline=None)
@given(st.text(), st.text(alphabet="ht:/.@#?%a1[]\\ \t\ud800ä", max_size=30))
def test_whatever_is_no_url_has_no_page_and_no_exception(anything: str, like_a_url: str) -> None:
    for url in (anything, like_a_url, f"https://shop.example/{like_a_url}", f"https://app.example/user/{anything}"):
        OF_SHOP.page_of(url, anything, anything)
        OF_SHOP.pages.rule_of(url)
        OF_SHOP.elements_of(anything, like_a_url)


# --- conditions -------------------------------------------------------------------------------------------------------

BIG = 2**63 + 1


@pytest.mark.parametrize(
    ("operator", "wanted", "holds", "fails"),
    [
        ("equals", "5", ["5"], [5, 5.0, None, " 5", ["5"], True, {}]),
        ("equals", 5, [5, 5.0], ["5", 6, None, True, [5]]),
        ("equals", 1, [1, 1.0], [True, "1"]),
        ("equals", True, [True], [1, "true", None, False]),
        ("equals", BIG, [BIG], [BIG - 1, float(BIG), str(BIG)]),
        ("equals", "", [""], [None, " ", []]),
        ("in", ("a", 2, False), ["a", 2, 2.0, False], ["b", "2", 0, None, ["a"]]),
        ("contains", "ell", ["hello", ["ell"]], ["Ell", None, ["hello"], 5, {"ell": 1}]),
        ("contains", 5, [[1, 5], [5.0]], ["5", 5, ["5"], [True], []]),
        ("matches", r"^/a/\d+$", ["/a/12"], ["/a/", "x/a/12", 12, None, ["/a/12"]]),
        ("matches", "ä.", ["bär", "ä\U0001f600"], ["ä", "\ud800"]),
        ("exists", True, [0, "", False, [], {}], [None]),
        ("exists", False, [None], [0, "", False, [], {}]),
        ("greater", 100, [100.01, BIG], [100, "101", None, True, [101]]),
        ("greater", BIG, [BIG + 1], [BIG, float(BIG)]),
        ("less", 0.5, [0, -1, 0.49], [0.5, False, "0", None]),
    ],
)
def test_a_condition_compares_values_of_its_type(
    operator: str, wanted: Any, holds: list[Any], fails: list[Any]
) -> None:
    test = conditions.compiled(Condition("p", operator, wanted, Place("f", 1)))
    assert [value for value in holds if not test(value)] == []
    assert [value for value in fails if test(value)] == []


def test_the_path_of_a_property_says_which_column_it_is_of() -> None:
    assert conditions.steps("target.text") == ("event_properties", ("target", "text"))
    assert conditions.steps("source_properties.url.host") == ("source_properties", ("url", "host"))
    assert conditions.steps("source.url") == ("event_properties", ("source", "url"))
    assert conditions.steps("event_properties.total") == ("event_properties", ("event_properties", "total"))


# --- what is refused --------------------------------------------------------------------------------------------------


def test_all_that_is_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
pages:
  - id: 1e3
    name: no
    nmae: x
    url: "*"
  - id: a
    id: b
    url: https://a/*?x=1
  - {id: b, name: B, url: https://a/b*, priority: yes}
  - {id: 2026-01-01, name: "Ä ", screen: x, created_time: x, state: actve}
  - foo
  - {id: y, name: Y, app: z, url: "https://y/"}
events:
  - {id: x, name: X, type: click, page: chekout, element: [z]}
  - {id: b, name: X, page: b, where: [{property: a..b, equals: null}, {property: a, matchs: x}]}
  - {id: w, name: W, where: [{property: a, matches: "(a"}, {property: a, greater: "5"}, {property: a, exists: yes}]}
  - {id: x, name: X, type: []}
elements: {}
pages: []
foo: 1
"""
    assert told(tmp_path, text) == [
        f"definitions.yml:{line}"
        for line in (
            "2: page '1e3': id '1e3' is a number to YAML: as a text it needs quotes, \"1e3\"",
            "3: page '1e3': name 'no' is true or false to YAML: as a text it needs quotes, \"no\"",
            "4: page '1e3': 'nmae' is no key of it; did you mean name?",
            "5: page '1e3': url '*' can't be used: it has no scheme and host: write https://example.com/checkout, "
            "or *://*/checkout for any host",
            "6: page 'a': name is missing: what people call it",
            "7: page 'a': id stands here again, after line 6: keep one",
            "8: page 'a': url 'https://a/*?x=1' can't be used: a ? after * : ) or } means that this may be missing: "
            "write \\? to begin the query",
            "9: page 'b': priority 'yes' must be a whole number",
            "10: page '2026-01-01': created_time 'x' must be a day or a time such as 2026-03-02 or "
            "2026-03-02T14:00:00Z",
            "10: page '2026-01-01': id '2026-01-01' is a day to YAML: as a text it needs quotes, \"2026-01-01\"",
            "10: page '2026-01-01': name 'Ä ' has control characters or blanks at its ends: remove them",
            "10: page '2026-01-01': state 'actve' must be active or archived; did you mean active?",
            "11: page: this entry must have keys: id, name, description, state, created_time, created_by, "
            "modified_time, modified_by, url, screen, app, priority",
            "12: page 'y': app means nothing without screen",
            "14: event 'x': there is no element 'z': define it under elements",
            "14: event 'x': there is no page 'chekout': define it under pages",
            "15: event 'b': where: 'matchs' is no key of it; did you mean matches?",
            "15: event 'b': where: equals 'null' is empty: write exists: false for what is absent, "
            'and "" for an empty text',
            "15: event 'b': where: one of these is missing: equals, in, contains, matches, exists, greater, less",
            "15: event 'b': where: property 'a..b' can't be used: between two dots, and at both ends, there has to be "
            "a name",
            "16: event 'w': where: exists 'yes' must be true or false, without quotes",
            "16: event 'w': where: greater '5' must be a number, without quotes",
            "16: event 'w': where: matches '(a' can't be used: missing ): (a (regular expressions are RE2's: without "
            "look-around and back references)",
            "17: event 'x': this id stands at definitions.yml:14 already: give one another",
            "17: event 'x': type is an empty list: fill it, or remove it",
            "18: elements is a mapping, and must be a list, each entry of which begins with -",
            "19: pages stands here again, after line 1: put both under one",
            "20: the file: 'foo' is no key of it: pages, elements, events, page_rules",
        )
    ]


def test_the_error_of_a_load_is_one_line_that_says_how_to_see_all(tmp_path: Path) -> None:
    with pytest.raises(DefinitionsError) as raised:
        definitions(tmp_path, "pages:\n- {id: 1, name: 2, url: x}\n")
    first = "definitions.yml:2: page '1': id '1' is a number to YAML: as a text it needs quotes, \"1\""
    assert str(raised.value) == f"{first}; 2 more: `headrace definitions check` lists them"


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", 1, "the file is empty"),
        (b"# nothing\n---\n", 1, "the file is empty"),
        (b"\xef\xbb\xbf", 1, "the file is empty"),
        (SHOP.encode("utf-16"), 1, "UTF-16"),
        (SHOP.encode("utf-16-le"), 1, "UTF-16"),
        (b"pages: []\n# caf\xe9", 2, "not UTF-8"),
        (b"pages:\n\t- id: x", 2, "not with tabs"),
        (b"pages: [\n{id: x", 2, "is no YAML"),
        (b"pages:\n- {id: *x}", 2, "anchors and aliases are not read"),
        (b"pages: &x\n- {id: x}", 2, "anchors and aliases are not read"),
        (b"pages:\n- url: *x.example/*", 2, "needs quotes"),
        (b"pages: !!python/object:os.system []", 1, "tags are not read"),
        (b"pages: []\n---\npages: []", 2, "second document"),
        (b"{[a]: b}", 1, "a key that is a list"),
        (b"- x", 1, "the file must have keys"),
        (b"hello", 1, "the file must have keys"),
        (b"pages: []\n\x07", 2, "a character that YAML does not allow"),
        (b"[" * 100_000, 1, "nested deeper"),
        (b"{a: " * 100_000, 1, "nested deeper"),
        (b"#" * 5_000_000, 1, "more than 4 MB"),
        (b"pages:\n- {id: " + b"x" * 1_000_000 + b", name: x, screen: x}", 2, "may have 100"),
        (b"elements:\n- {id: x, name: x, selector: '" + b".x" * 500_000 + b"'}", 2, "may have 2,000"),
        (b"pages:\n" + b"- {id: x, name: x, screen: x}\n" * 3_000, 1, "3,000 entries"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_line(tmp_path: Path, content: bytes, line: int, words: str) -> None:
    began = time.monotonic()
    first = told(tmp_path, content)[0]
    assert time.monotonic() - began < 5
    assert words in first
    assert first.startswith("definitions.yml:")
    assert abs(int(first.split(":")[1]) - line) <= 1  # the parser tells some faults a line late
    assert len(first) < 400


def test_aliases_that_would_grow_are_not_followed(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(50))
    assert "anchors and aliases are not read" in told(tmp_path, bomb)[0]


def test_a_file_with_a_byte_order_mark_or_of_windows_is_read(tmp_path: Path) -> None:
    plainly = definitions(tmp_path)
    assert definitions(tmp_path, SHOP.encode("utf-8-sig")) == plainly
    assert definitions(tmp_path, SHOP.replace("\n", "\r\n")) == plainly


@pytest.mark.parametrize(
    "url",
    [
        "https://a/((?:\\w{1000}){1000})",
        "https://a/" + "*a" * 100,
        "https://a/" + ":a" * 40,
        "https://a/(?=a)b",
        "https://a/{",
        "https://a/" + "(" * 900,
        "https://a/" + "x" * 3_000,
        "/checkout/*",
        "shop.example/*",
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
)
def test_a_hostile_url_pattern_is_refused_with_a_reason(tmp_path: Path, url: str) -> None:
    text = f"pages:\n- id: a\n  name: A\n  url: {json.dumps(url)}\n"
    began = time.monotonic()
    assert told(tmp_path, text)[0].startswith("definitions.yml:4: page 'a': url ")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)*$", "(.*)*(.*)*(.*)*x", "(a?){50}a{50}", "(\\w*)*@"])
def test_a_catastrophic_pattern_takes_no_longer_than_another(pattern: str) -> None:
    test = conditions.compiled(Condition("p", "matches", pattern, Place("f", 1)))
    of_url = UrlPattern(f"https://a.example/({pattern.removesuffix('$').replace('(', '(?:')})!")
    began = time.monotonic()
    test("a" * 100_000 + "!")
    of_url.matches(readable("https://a.example/" + "a" * 100_000) or "")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("pattern", ["(a{1000}){1000}", "(?=a)", r"(a)\1", "[", "a" * 3_000])
def test_a_pattern_that_can_t_be_run_safely_is_refused(tmp_path: Path, pattern: str) -> None:
    where = json.dumps([{"property": "a", "matches": pattern}])
    assert "where: matches" in told(tmp_path, f"events:\n- {{id: a, name: A, where: {where}}}\n")[0]


def test_a_selector_that_a_path_can_t_decide_is_refused_with_its_reason(tmp_path: Path) -> None:
    for selector in ("a + b", "div:has(a)", "a:hover", "a..b", "", "button."):
        text = f"elements:\n- {{id: a, name: A, selector: {json.dumps(selector)}}}\n"
        assert told(tmp_path, text)[0].startswith("definitions.yml:2: element 'a': selector ")


def test_a_long_url_does_not_stall_two_thousand_patterns() -> None:
    pages = tuple(
        Page(id=f"p{n}", name="P", urls=(f"https://a.example/{'*a' * 19}{n}",), place=Place("f", n))
        for n in range(2_000)
    )
    of_them = Pages(Definitions(pages=pages))
    began = time.monotonic()
    of_them.page_of("https://a.example/" + "a" * 1_000_000)
    assert time.monotonic() - began < 5


def test_two_hundred_patterns_cost_less_than_half_a_millisecond_a_url() -> None:
    pages = tuple(
        Page(id=f"p{n}", name="P", urls=(f"*://*/section-{n}/:id/*",), place=Place("f", n)) for n in range(200)
    )
    of_them = Pages(Definitions(pages=pages))
    urls = [f"https://shop.example/section-{n % 250}/{n}/x?utm={n}" for n in range(1_000)]
    began = time.process_time()
    found = [of_them.page_of(url) for url in urls]
    assert time.process_time() - began < 1  # a tenth of it alone
    assert found[3] == "p3"
    assert found[249] is None


def test_overlaps_of_two_thousand_pages_are_searched_in_seconds() -> None:
    pages = [
        Page(id=f"p{n}", name="P", urls=(f"https://a.example/:x/s{n:04}/*",), place=Place("f", n)) for n in range(2_000)
    ]
    began = time.process_time()
    assert list(overlaps(pages)) == []
    assert time.process_time() - began < 30


# --- files and folders ------------------------------------------------------------------------------------------------


def test_a_folder_is_read_as_one_and_an_id_is_unique_in_all_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    folder.mkdir()
    (folder / "b.yml").write_text("events:\n- {id: a, name: A, page: p}\n")
    (folder / "a.yaml").write_text("pages:\n- {id: p, name: P, screen: P}\n")
    (folder / "notes.txt").write_text("{{{")
    assert find(tmp_path) == folder
    found = read(folder)
    assert (found.events[0].pages, str(found.events[0].place)) == (("p",), "definitions/b.yml:2")
    (folder / "c.yml").write_text("pages:\n- {id: p, name: P, screen: Q}\n")
    with pytest.raises(
        DefinitionsError, match=r"^definitions/c.yml:2: page 'p': this id stands at definitions/a.yaml:2"
    ):
        read(folder)


def test_a_project_has_a_file_or_a_folder_or_none(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    (tmp_path / "definitions").mkdir()
    with pytest.raises(UsageError, match=r"has no \.yml file"):
        read(tmp_path / "definitions")
    (tmp_path / "definitions.yml").write_text(SHOP)
    with pytest.raises(UsageError, match="move the file into the folder"):
        find(tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "other.yml")


def test_a_link_to_nowhere_is_not_a_project_without_definitions(tmp_path: Path) -> None:
    """All that was defined would be archived."""
    (tmp_path / "definitions.yml").symlink_to(tmp_path / "nowhere.yml")
    with pytest.raises(UsageError, match=r"no definitions at .*definitions\.yml: there is no such file"):
        definitions_of(tmp_path)


def test_what_the_author_should_know_is_a_warning(tmp_path: Path) -> None:
    found = definitions(
        tmp_path,
        """\
pages:
  - {id: p, name: P, screen: P, state: archived}
elements:
  - {id: e, name: E, selector: a, page: p}
  - {id: f, name: F, selector: a, text: x}
  - {id: g, name: G, selector: a, text: x, state: archived}
events:
  - {id: h, name: H, element: g}
  - {id: i, name: I, where: [{property: target.text, equals: x}]}
""",
    )
    assert [str(one) for one in warnings(found)] == [
        "definitions.yml:4: element 'e': its page is archived: it matches nothing",
        "definitions.yml:5: element 'f': text that is masked never matches a text",
        "definitions.yml:8: event 'h': its elements are archived: it matches nothing",
        "definitions.yml:9: event 'i': text that is masked never matches a text",
    ]


def test_the_example_of_the_docs_does_what_its_comments_say(tmp_path: Path) -> None:
    docs = (PROJECT / "docs" / "definitions.md").read_text(encoding="utf-8")
    matcher = Matcher(definitions(tmp_path, docs.split("```yaml\n")[1].split("```")[0]))
    assert matcher.page_of("https://shop.example/checkout/pay") == "checkout"
    assert matcher.page_of("https://shop.example/cart") == "shop"
    assert matcher.elements_of("button.primary > span", "Buy") == (ElementMatch("buy", "checkout"),)
    assert matcher.events_of("click", "checkout", frozenset({"buy"}), nothing) == ("buy-clicked",)
    for url in ("https://app.example/user/1/edit?utm_source=x", "https://app.example/user/2/edit"):
        assert matcher.pages.rule_of(url) == "app.example/user/:id/edit"
    assert matcher.pages.rule_of("https://app.example/user/2/edit?tab=mail") == "app.example/user/:id/edit?tab=mail"


# --- the schema for editors -------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "pages": [
        {"id": "p", "name": "P", "url": "https://a.example/*", "priority": 2, "state": "active"},
        {"id": "q", "name": "Q", "screen": "S", "app": "A", "description": "two\nlines", "created_time": "2026-03-02"},
    ],
    "elements": [
        {"id": "e", "name": "E", "selector": ["a", "b"], "match": "target", "page": "p", "text": "x", "app": "A"}
    ],
    "events": [
        {
            "id": "v",
            "name": "V",
            "type": ["click"],
            "element": "e",
            "page": ["p", "q"],
            "where": [
                {"property": "a.b", "equals": "x", "exists": True},
                {"property": "c", "in": [1, "y", False], "greater": 0.5, "less": 7, "contains": "", "matches": "z"},
            ],
        }
    ],
    "page_rules": [{"url": "https://a.example/*", "path": "/u/:id", "query": ["q"]}],
}

OF_MEANING = ("can't be used", "there is no ", "stands at", "is this page and", "the rule at")
"""What a schema can't say: languages within texts, and what is between definitions."""

junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(-2, 2),
    st.sampled_from(["", " ", "x", "x\n", "no", "5", "\x07", "active", "target", "2026-13-40", "y" * 101, "z" * 2001]),
    st.builds(list),
    st.builds(dict),
    st.builds(lambda: ["x"]),
    st.builds(lambda: {"x": 1}),
)


def test_the_schema_in_the_package_is_the_readers_own() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_text()
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text(encoding="utf-8")))


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_reader_and_schema_agree_on_what_has_the_right_shape(tmp_path: Path, data: st.DataObject) -> None:
    document = json.loads(json.dumps(GOOD))
    for _ in range(data.draw(st.integers(0, 2))):
        _change(document, data)
    is_right = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).is_valid(document)
    try:
        definitions(tmp_path, json.dumps(document))
        assert is_right
    except DefinitionsError as error:
        of_shape = [one for one in error.problems if not any(words in one.message for words in OF_MEANING)]
        assert bool(of_shape) is not is_right, error.problems


def _change(document: Any, data: st.DataObject) -> None:
    """Change one thing somewhere."""
    at = document
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        inner = at[key]
        if isinstance(inner, (dict, list)) and inner and data.draw(st.integers(0, 3)):
            at = inner
            continue
        how = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if how == "replace":
            at[key] = data.draw(junk)
        elif how == "remove":
            del at[key]
        elif isinstance(at, dict):
            at[data.draw(st.sampled_from(["id", "nmae", "state", "priority", "text", "exists", "screen", "x"]))] = (
                data.draw(junk)
            )
        else:
            at.append(data.draw(junk))
        return


# --- whatever comes ---------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.binary(max_size=200), st.text(alphabet="pages: -[]{}&*!|>'\"#\n\t,idx1", max_size=80).map(str.encode))
)
def test_whatever_a_file_holds_nothing_but_the_clear_error_is_raised(tmp_path: Path, content: bytes) -> None:
    try:
        definitions(tmp_path, content)
    except DefinitionsError as error:
        assert all(problem.line >= 1 for problem in error.problems)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(SHOP) - 1), st.integers(0, 12), st.text(alphabet="{}[]:,-*&!'\"\n\t #a", max_size=4))
def test_a_file_that_was_damaged_is_read_or_refused(tmp_path: Path, at: int, gone: int, put: str) -> None:
    try:
        Matcher(definitions(tmp_path, SHOP[:at] + put + SHOP[at + gone :]))
    except DefinitionsError as error:
        assert error.problems


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_definitions_does_not_matter(by: random.Random) -> None:
    kinds: dict[str, list[Any]] = {name: list(some) for name, some in vars(OF_SHOP.definitions).items()}
    for some in kinds.values():
        by.shuffle(some)
    other = Matcher(Definitions(**{name: tuple(some) for name, some in kinds.items()}))
    values = {"event_name": "Order Completed", "event_properties.total": 200}
    for url in ("https://shop.example/checkout/1", "https://shop.example/", "https://app.example/user/1/x"):
        assert other.page_of(url) == OF_SHOP.page_of(url)
        assert other.pages.rule_of(url) == OF_SHOP.pages.rule_of(url)
    assert other.elements_of(BUTTON, "Buy") == OF_SHOP.elements_of(BUTTON, "Buy")
    for kind in ("click", "custom", None):
        ids = frozenset({"buy", "button"})
        assert other.events_of(kind, "checkout", ids, values.get) == OF_SHOP.events_of(
            kind, "checkout", ids, values.get
        )


@pytest.fixture(autouse=True, scope="module")
def _shop_for_all(tmp_path_factory: pytest.TempPathFactory) -> None:
    global OF_SHOP
    OF_SHOP = Matcher(definitions(tmp_path_factory.mktemp("shop")))


OF_SHOP: Matcher


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dbt_project.yml").write_text("name: headrace\n")
    (tmp_path / "definitions.yml").write_text(SHOP)
    return tmp_path


def headrace(project: Path, *arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(cli.main, ["definitions", *arguments, "--project-dir", str(project)])
    assert done.exit_code == status, done.output
    return done.output


def test_check_says_how_many_there_are_or_what_is_wrong(project: Path) -> None:
    found = json.loads(headrace(project, "check", "--json"))
    assert found["definitions"] == {"pages": 5, "elements": 6, "events": 5, "page_rules": 2}
    assert found["problems"] == []
    assert [one["line"] for one in found["warnings"]] == [14]
    (project / "definitions.yml").write_text('pages:\n- {id: "a\\e[31m", name: A}\n')
    found = json.loads(headrace(project, "check", "--json", status=2))
    assert [one["line"] for one in found["problems"]] == [2, 2]
    (project / "definitions.yml").unlink()
    headrace(project, "check", status=2)


def test_try_says_what_matches_and_why_and_what_nearly(project: Path) -> None:
    event = {
        "event_type": "click",
        "event_properties": json.dumps({"target": {"raw_selector": BUTTON, "text": "Sell"}}),
        "source_properties": {"url": {"full_url": "https://shop.example/checkout"}},
    }
    (project / "event.json").write_text(json.dumps(event))
    found = json.loads(headrace(project, "try", f"@{project / 'event.json'}", "--json"))
    assert [(one["kind"], one["id"]) for one in found["matches"]] == [
        ("page", "checkout"),
        ("element", "primary"),
        ("element", "button"),
        ("element", "form"),
        ("event", "click"),
    ]
    near = {one["id"]: one["words"] for one in found["near"]}
    assert near["buy"] == 'its selector matches, and it wants the text "Buy", not "Sell"'
    assert near["click-buy"] == "it wants the element buy, not button, form, primary"
    assert near["shop"] == (
        "url https://shop.example/* matches too, but checkout goes before it: priority -1 against 0"
    )


def test_try_takes_urls_and_selectors(project: Path) -> None:
    assert (
        "app.example/user/:id"
        in CliRunner()
        .invoke(cli.main, ["definitions", "try", "https://app.example/user/1", "--project-dir", str(project), "--json"])
        .output
    )
    assert '"button"' in headrace(project, "try", "div > button", "--json")
    assert json.loads(headrace(project, "try", "a[href='https://x/'] > b", "--json"))["matches"] == []
    headrace(project, "try", "{", status=2)
    headrace(project, "try", "{}")
    headrace(project, "try", '{"event_type": ["click"], "source_properties": "[]"}', status=2)
    headrace(project, "try", '{"event_type": ["click"], "event_properties": null}', status=2)
    headrace(project, "try", "@no such file", status=2)
    (project / "no-text").write_bytes(b"\xff\xfe{")
    headrace(project, "try", f"@{project / 'no-text'}")
    assert ":id:" in headrace(project, "try", "https://app.example/user/1")  # and no emoji


def test_try_says_which_pages_a_url_nearly_is_the_nearest_first(tmp_path: Path) -> None:
    found = definitions(
        tmp_path,
        """\
pages:
  - {id: far, name: F, url: https://shop.example/imprint}
  - {id: near, name: N, url: https://shop.example/check/*}
  - {id: nearer, name: M, url: https://shop.example/checkouts/*}
  - {id: query, name: Q, url: 'https://shop.example/checkout/1\\?x=1'}
  - {id: host, name: H, url: https://www.shop.example/checkout/1}
  - {id: gone, name: G, url: https://shop.example/checkout/*, state: archived}
""",
    )
    answer = tried(Matcher(found), "https://shop.example/checkout/1")
    assert answer.matches == ()
    assert [one.id for one in answer.near] == ["gone", "query", "nearer", "near"]
    assert answer.near[0].words == "url https://shop.example/checkout/* matches, but it is archived"
    assert answer.near[2].words == 'url https://shop.example/checkouts/* wants another pathname than "/checkout/1"'
    assert answer.near[1].words == r'url https://shop.example/checkout/1\?x=1 wants another search than ""'


def test_try_says_when_types_are_what_differs(shop: Matcher) -> None:
    event = {"event_name": "Order Completed", "event_properties": {"total": "200"}}
    answer = tried(shop, json.dumps({"event_type": "custom", "event_properties": event}))
    assert [one.id for one in answer.matches] == ["order"]
    assert answer.near[0].words == 'event_properties.total is "200", and it wants greater: 100 (text, not number)'
