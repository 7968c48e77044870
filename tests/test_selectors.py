"""The matcher of CSS selectors over recorded paths: cases by hand, and soupsieve on trees that the paths describe.

The oracle knows a whole tree and a path does not, so some things are told to it in its own words (`Condition.oracle`):
what a path does not hold is unknown, and neither a condition nor its `:not()` is true of it; the outermost element of a
path has no parent that could match (`[recorded]`); a number among siblings counts where the path has it; and `lang` is
one of the attributes whose values HTML compares without regard to case, which only newer versions of soupsieve know.
"""

from __future__ import annotations

import contextlib
import pickle
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

import cssselect
import pytest
import soupsieve
from bs4 import BeautifulSoup, Tag
from headrace.definitions import selectors
from headrace.definitions.paths import DEEPEST, LONGEST, Compound, parse
from headrace.definitions.selectors import Index, Match, SelectorError

NAMES = ["x", "y", "X", "btn", "w-1/2", "text-[15px]", "md:flex", "py-2.5", "ü", "🍒", "a.b", "1st", "-z", "hover:a/b"]
NEVER_RAW = {"a.b", "1st"}
VALUES = ["/x", "/x y", "en", "en-US", "a > b", 'say "hi"', "", "Buy", "buy now", "ü🍒", "[x]", "a=b", "it's", "50%25"]
TAGS = ["div", "span", "a", "li", "my-tag"]
ATTRIBUTES = ["href", "lang", "data-x"]
OPERATORS = ["=", "~=", "|=", "^=", "$=", "*="]
UNKNOWN, OTHER = "x-unknown", "x-other"


def in_quotes(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def encoded(text: str) -> str:
    """As the segment export writes a token: all is encoded but letters, digits and `_`."""
    return quote(text, safe="").replace("-", "%2D").replace(".", "%2E").replace("~", "%7E")


@dataclass
class Element:
    """An element of a tree, and what of it is recorded."""

    tag: str | None
    id: str | None = None
    classes: list[str] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    nth: int | None = None
    nth_of_type: int | None = None

    @property
    def names(self) -> list[str]:
        return [*self.classes, *([self.id] if self.id else [])]

    def as_css(self, escaped: bool) -> str:
        spelt = soupsieve.escape if escaped else str
        text = self.tag or ""
        text += f"#{spelt(self.id)}" if self.id else ""
        text += "".join(f".{spelt(name)}" for name in self.classes)
        text += f":nth-child({self.nth})" if self.nth else ""
        text += f":nth-of-type({self.nth_of_type})" if self.nth_of_type else ""
        return (text + "".join(f"[{name}={in_quotes(value)}]" for name, value in self.attributes.items())) or "*"

    def as_tokens(self) -> str:
        tokens = [encoded(self.tag or "")]
        tokens += [f"#{encoded(self.id)}"] if self.id else []
        tokens += [f".{encoded(name)}" for name in self.classes]
        for name, value in self.attributes.items():
            tokens.append(f"={encoded(name)}" + (f"={encoded(value)}" if value else ""))
        return " ".join(tokens)

    def grow(self, soup: BeautifulSoup, parent: Tag) -> Tag:
        """Put the element into a tree, after as many siblings as its numbers say."""
        of_type = (self.nth_of_type or 1) - 1
        for name, count in [(self.tag or UNKNOWN, of_type), (OTHER, (self.nth or 0) - 1 - of_type)]:
            for _ in range(count):
                parent.append(soup.new_tag(name))
        tag = soup.new_tag(self.tag or UNKNOWN, attrs=self.attributes | {"recorded": ""})
        if self.id:
            tag["id"] = self.id
        if self.classes:
            tag["class"] = self.classes
        for is_known, name in [(self.nth, "has-nth"), (self.nth_of_type, "has-nth-of-type")]:
            if is_known:
                tag[name] = ""
        parent.append(tag)
        return tag


def spell(elements: Sequence[Element], rng: random.Random) -> str:
    """A path in one of the forms that feeds have."""
    have_tags = all(element.tag for element in elements)
    have_numbers = any(element.nth or element.nth_of_type for element in elements)
    form = rng.choice(["css", "raw", "blanks", "tokens", "decoded"])
    if form in ("tokens", "decoded") and have_tags and not have_numbers:
        text = " ".join(element.as_tokens() for element in elements)
        unclear = any(" " in value for element in elements for value in element.attributes.values())
        unclear = unclear or any("a.b" in element.names for element in elements)
        return text if form == "tokens" or unclear else unquote(text)
    escaped = form == "css" or any(NEVER_RAW & set(element.names) for element in elements)
    separator = " " if form == "blanks" and have_tags else rng.choice([" > ", ">"])
    text = separator.join(element.as_css(escaped) for element in elements)
    return text.replace("div", "DIV") if rng.random() < 0.1 else text


@dataclass
class Condition:
    """A part of a selector: as it is written, and in the oracle's words that it holds, and that it does not.

    `fails` is empty where no path can say that it does not hold.
    """

    text: str
    oracle: str
    fails: str

    @property
    def is_tag(self) -> bool:
        return self.text[0] not in ".#[:"


class Generator:
    """Random paths and selectors, from few names, so that much matches and many ways lead through a path."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        few = seed % 2 == 0
        self.names = self.rng.sample(NAMES, 3 if few else 8)
        self.tags = self.rng.sample(TAGS, 2 if few else 4)
        self.values = self.rng.sample(VALUES, 3 if few else 9)

    def element(self) -> Element:
        rng = self.rng
        element = Element(rng.choice(self.tags) if rng.random() < 0.97 else None)
        element.id = rng.choice(self.names) if rng.random() < 0.15 else None
        element.classes = rng.sample(self.names, rng.choice([0, 1, 1, 2, 3]))
        if rng.random() < 0.35:
            element.attributes = {
                name: rng.choice(self.values) for name in rng.sample(ATTRIBUTES, rng.choice([1, 1, 2]))
            }
        if rng.random() < 0.06:
            element.nth = rng.randrange(1, 5)
        if rng.random() < 0.04:
            element.nth_of_type = rng.randrange(1, (element.nth or 3) + 1)
        return element

    def path(self) -> list[Element]:
        return [self.element() for _ in range(self.rng.choice([1, 2, 3, 4, 5, 6, 7, 10]))]

    def condition(self, like: Element | None, inside: bool = False) -> Condition:
        """A condition that holds of an element, or any."""
        rng = self.rng
        kinds = ["tag", "class", "class", "id", "attribute", "exists", "classes", "nth", "nth-of-type", "*"]
        kind = rng.choice(kinds if inside else [*kinds, "is", "not", "not"])
        if kind == "tag":
            tag = like.tag if like and like.tag else rng.choice(self.tags)
            return Condition(rng.choice([tag, tag.upper()]), tag, f":not({UNKNOWN}):not({tag})")
        if kind in ("class", "id"):
            own = like and (like.classes if kind == "class" else [like.id] if like.id else [])
            text = (".#"[kind == "id"]) + soupsieve.escape(rng.choice(own or self.names))
            return Condition(text, text, f":not({text})")
        if kind == "exists":
            name = rng.choice([*((like and like.attributes) or ATTRIBUTES), "id"])
            return Condition(f"[{name}]", f"[{name}]", ":not([id])" if name == "id" else "")
        if kind == "classes":
            name = rng.choice(self.names)
            part = rng.choice(["~=" + in_quotes(name), "*=" + in_quotes(name[: rng.randrange(0, 4)])])
            text = f"[class{part}{rng.choice(['', ' i'])}]"
            return Condition(text, text, f":not({text})")
        if kind == "attribute":
            own = dict((like and like.attributes) or {}) | ({"id": like.id} if like and like.id else {})
            name = rng.choice([*own] or ATTRIBUTES)
            value = own.get(name, rng.choice(self.values))
            if rng.random() < 0.5:
                value = value[rng.randrange(3) :][: rng.randrange(1, 5)]
            if (ignores := rng.random() < 0.2) and value.isascii():  # older soupsieves take Ü for ü
                value = value.swapcase()
            name_text = name.upper() if rng.random() < 0.1 else name
            part = rng.choice(OPERATORS) + in_quotes(value)
            flag = " i" if ignores else rng.choice(["", "", " s"])
            oracle = f"[{name}{part}{' i' if name == 'lang' and not flag else flag}]"
            guard = "" if name == "id" else f"[{name}]"
            return Condition(f"[{name_text}{part}{flag}]", oracle, f"{guard}:not({oracle})")
        if kind in ("nth", "nth-of-type"):
            own_number = like and (like.nth if kind == "nth" else like.nth_of_type)
            pseudo = f":{'nth-child' if kind == 'nth' else kind}({own_number or rng.randrange(1, 4)})"
            return Condition(pseudo, f"[has-{kind}]{pseudo}", f"[has-{kind}]:not({pseudo})")
        if kind == "is":
            among = [
                self.compound(like if rng.random() < 0.5 else None, inside=True) for _ in range(rng.choice([1, 2, 3]))
            ]
            fails = "".join(each.fails for each in among) if all(each.fails for each in among) else ""
            name = rng.choice([":is", ":is", ":where", ":matches"])
            return Condition(
                f"{name}({', '.join(each.text for each in among)})",
                f":is({', '.join(each.oracle for each in among)})",
                fails,
            )
        if kind == "not":
            argument = self.compound(None, inside=True)
            if argument.fails:
                return Condition(f":not({argument.text})", argument.fails, "")
        return Condition("*", "[recorded]", "")

    def compound(self, like: Element | None, inside: bool = False) -> Condition:
        conditions = [self.condition(like, inside) for _ in range(self.rng.choice([1, 1, 2, 3]))]
        tags = [condition for condition in conditions if condition.is_tag][:1]
        conditions = tags + [condition for condition in conditions if not condition.is_tag]
        failing = [condition.fails for condition in conditions if condition.fails]
        oracle = "".join(each.oracle for each in sorted(conditions, key=lambda each: each.oracle[0] in ".#[:"))
        return Condition(
            "".join(condition.text for condition in conditions),
            oracle + "[recorded]",
            f":is({', '.join(failing)})" if failing else "",
        )

    def selector(self, paths: Sequence[Sequence[Element]]) -> tuple[list[str], list[str]]:
        """The alternatives of a list, as they are written and in the oracle's words."""
        texts, oracles = [], []
        for _ in range(self.rng.choice([1, 1, 1, 2, 3])):
            path = self.rng.choice(paths)
            text = oracle = ""
            for place in sorted(self.rng.choices(range(len(path)), k=self.rng.choice([1, 1, 2, 2, 3, 4]))):
                compound = self.compound(path[place] if self.rng.random() < 0.8 else None)
                combinator = self.rng.choice([" ", " ", " > ", ">"]) if text else ""
                text += combinator + compound.text
                oracle += combinator + compound.oracle
            texts.append(text)
            oracles.append(oracle)
        return texts, oracles


def compare(seed: int, path_count: int, selector_count: int) -> tuple[int, int]:
    """Match each selector with each path, both ways; how many pairs that were, and how many of them matched."""
    generator = Generator(seed)
    rng = generator.rng
    paths = [generator.path() for _ in range(path_count)]
    written = [spell(path, rng) for path in paths]
    soup = BeautifulSoup("", "html.parser")
    places: dict[int, tuple[int, int]] = {}
    for number, path in enumerate(paths):
        parent = soup.new_tag("x-top")
        soup.append(parent)
        for depth, element in enumerate(path):
            parent = element.grow(soup, parent)
            places[id(parent)] = (number, depth)

    texts, expected = [], [{} for _ in paths]
    for number in range(selector_count):
        alternatives, oracles = generator.selector(paths)
        texts.append(", ".join(alternatives))
        within = number % 3 > 0
        for alternative, oracle in zip(alternatives, oracles, strict=True):
            [parsed] = cssselect.parse(alternative)
            for tag in soupsieve.select(oracle, soup):
                path, depth = places.get(id(tag), (0, -1))
                if depth >= 0 and (within or depth == len(paths[path]) - 1):
                    match = Match(number, depth, parsed.specificity())
                    expected[path][number] = max(match, expected[path].get(number, match))

    index = Index([(selectors.compile(text), number % 3 > 0) for number, text in enumerate(texts)])
    for text, matches in zip(written, expected, strict=True):
        found = index.matches(parse(text))
        differing = {match.number for match in {*found} ^ {*matches.values()}}
        assert not differing, f"seed {seed}: {text}: {[texts[number] for number in differing]}: {found}, {matches}"
        assert len(found) == len(matches)
    return path_count * selector_count, sum(map(len, expected))


@pytest.mark.parametrize(
    "seeds", [range(40), pytest.param(range(40, 400), marks=pytest.mark.soak)], ids=["100,000 pairs", "900,000 more"]
)
def test_the_matcher_and_soupsieve_agree_on_each_pair_of_tree_and_selector(seeds: range) -> None:
    results = [compare(seed, path_count=50, selector_count=50) for seed in seeds]
    pairs, matched = map(sum, zip(*results, strict=True))
    assert pairs == 2_500 * len(seeds)
    assert 0.1 < matched / pairs < 0.6


def depths(selector: str, *paths: str) -> list[int | None]:
    """Of each path the place of the deepest element that the selector matches."""
    index = Index([(selectors.compile(selector), True)])
    return [next((match.depth for match in index.matches(parse(path))), None) for path in paths]


@pytest.mark.parametrize(
    ("text", "element"),
    [
        ("BUTTON.Primary", Compound("button", classes=frozenset({"Primary"}))),
        ("my-Element#app.a.b", Compound("my-element", "app", frozenset({"a", "b"}))),
        (".w-1/2.text-[15px].md:flex", Compound(classes=frozenset({"w-1/2", "text-[15px]", "md:flex"}))),
        (r".w-1\/2.text-\[15px\].md\:flex", Compound(classes=frozenset({"w-1/2", "text-[15px]", "md:flex"}))),
        (".py-2.5.mt-0", Compound(classes=frozenset({"py-2.5", "mt-0"}))),
        (r".\31 st.\1F352 x", Compound(classes=frozenset({"1st", "🍒x"}))),
        (
            ".[&>p]:mt-2.bg-[url('/a.b')].\\!p-0",
            Compound(classes=frozenset({"[&>p]:mt-2", "bg-[url('/a.b')]", "!p-0"})),
        ),
        ("div.日本.🍒", Compound("div", classes=frozenset({"日本", "🍒"}))),
        (r"a#user\.name\:1", Compound("a", "user.name:1")),
        ("a#:r1:", Compound("a", ":r1:")),
        ("svg:path.x", Compound("path", classes=frozenset({"x"}))),
        ("o:p", Compound("o:p")),
        ("svg|linearGradient", Compound("lineargradient")),
        ("a[HREF='/x'][data-testid=\"buy\"]", Compound("a", attributes={"href": "/x", "data-testid": "buy"})),
        ("a[data-x]", Compound("a", attributes={"data-x": ""})),
        ("a[x=y][z = 'w' i]", Compound("a", attributes={"x": "y", "z": "w"})),
        ('a[title="a > b #c .d [e]"]', Compound("a", attributes={"title": "a > b #c .d [e]"})),
        (r'a[title="say \"hi\""]', Compound("a", attributes={"title": 'say "hi"'})),
        ('a[title="say "hi" now"]', Compound("a", attributes={"title": 'say "hi" now'})),
        ("a[id=x][class='b  c']", Compound("a", "x", frozenset({"b", "c"}))),
        ("a[href^='/x']", Compound("a")),
        ("li:nth-child(2).x", Compound("li", classes=frozenset({"x"}), nth=2)),
        ("li:nth-of-type(3)", Compound("li", nth_of_type=3)),
        ("li:first-child", Compound("li", nth=1)),
        ("a:hover", Compound("a")),
        ("*", Compound()),
    ],
)
def test_an_element_is_read_in_each_spelling(text: str, element: Compound) -> None:
    above = [Compound("html"), Compound("div", classes=frozenset({"x"}))]
    assert parse(text) == (element,)
    assert parse(f"html > div.x > {text}") == (*above, element)
    assert parse(f"html>div.x>{text}") == (*above, element)
    assert parse(f"html div.x {text}") == (*above, element)


def test_the_tokens_of_the_segment_export_are_the_elements_that_they_were() -> None:
    tokens = (
        "html .no%2Djs body div #app .col%2Dsm%2D12 .w%2D1%2F2 a .cta =href=%23%2Fmarket =title=Add%20to%20cart span"
    )
    elements = (
        Compound("html", classes=frozenset({"no-js"})),
        Compound("body"),
        Compound("div", "app", frozenset({"col-sm-12", "w-1/2"})),
        Compound("a", classes=frozenset({"cta"}), attributes={"href": "#/market", "title": "Add to cart"}),
        Compound("span"),
    )
    assert parse(tokens) == elements
    assert parse(unquote(tokens)) == elements
    assert parse("div .row a .btn =href") == (
        Compound("div", classes=frozenset({"row"})),
        Compound("a", classes=frozenset({"btn"}), attributes={"href": ""}),
    )


@pytest.mark.parametrize(
    "path",
    [
        "html .no%2Djs body .ng%2Dscope div .header .navbar .navbar%2Ddefault .navbar%2Dfixed%2Dtop div .container"
        " div .row div .app%2Dcontrols .col%2Dsm%2D6 a .app%2Dcontrol .cta%2Dgo%2Dmarket =href=%23%2Fmarket",
        "html .no%2Djs body .ng%2Dscope div .content div .market%2Dplace label .checkbox%2Dinline input .ng%2Dempty"
        " .ng%2Dpristine =type=checkbox",
        "html .no%2Djs body .ng%2Dscope div .content div .fruit%2Dbox .fruit%2Drasps div .fruit%2Dpic",
    ],
)
def test_real_paths_of_an_export_have_the_elements_that_their_tags_say(path: str) -> None:
    elements = parse(path)
    assert [element.tag for element in elements] == [word for word in path.split() if word[0] not in ".="]
    assert sum(len(element.classes) for element in elements) == path.count(" .")
    assert parse(unquote(path)) == elements


def test_a_value_whose_blanks_were_decoded_goes_on_to_the_next_word_that_can_be_a_tag() -> None:
    link = Compound("a", attributes={"aria-label": "Add to cart"})
    assert parse("div .row a =aria-label=Add to cart span .x") == (
        Compound("div", classes=frozenset({"row"})),
        link,
        Compound("span", classes=frozenset({"x"})),
    )
    assert parse("a =aria-label=Add to cart my-icon") == (link, Compound("my-icon"))


def test_where_a_word_has_more_than_one_token_each_word_is_an_element() -> None:
    assert parse("div#app .row .cell") == (
        Compound("div", "app"),
        Compound(classes=frozenset({"row"})),
        Compound(classes=frozenset({"cell"})),
    )


@pytest.mark.parametrize("text", ["", "  ", ">", " > > ", "\t\n"])
def test_a_text_without_elements_is_an_empty_path(text: str) -> None:
    assert parse(text) == ()
    assert Index([(selectors.compile("*"), True)]).matches(parse(text)) == []


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("div > a[href='/x", "a"),
        ("div > a[", "a"),
        ("div > a[]", "a"),
        ("div > a..#", "a"),
        ("div > a\\", "a\\"),
        ("div > a:nth-child(", "a:nth-child("),
        ("x'] > div > a", "a"),
        (" > div > a > ", "a"),
    ],
)
def test_what_is_damaged_is_read_as_far_as_it_can_be(text: str, target: str) -> None:
    assert [element.tag for element in parse(text)][-2:] == ["div", target]


def test_of_a_long_or_deep_path_the_end_is_read() -> None:
    assert len(parse("div > " * 5_000 + "a.x")) == DEEPEST
    assert depths("a.x", "div > " * 5_000 + "a.x") == [DEEPEST - 1]
    assert parse("x" * LONGEST + " > a") == (Compound("a"),)
    assert parse(f"a > b.{'x' * LONGEST}") == ()


@pytest.mark.parametrize(
    ("selector", "matched", "not_matched"),
    [
        ("button", "div > BUTTON.x", "div > a"),
        ("BUTTON", "div > button.x", "div > my-button"),
        ("*", "div", ""),
        ("#app", "a#app", "a#App"),
        (".x", "a.y.x", "a.X"),
        (r".w-1\/2.text-\[15px\].md\:flex", "a.md:flex.w-1/2.text-[15px]", "a.w-1.text-[15px].md:flex"),
        (r".py-2\.5", "a.py-2.5", "a.py-2"),
        (".🍒", "a.🍒", "a"),
        ("[href]", "a[href]", "a"),
        ("[HREF='/x']", "a[href='/x']", "a[href='/X']"),
        ("[href='/X' i]", "a[href='/x']", "a[href='/xy']"),
        ("[data-x='aÜ' i]", "a[data-x='AÜ']", "a[data-x='aü']"),
        ("[type=TEXT]", "input[type=text]", "input[type=tel]"),
        ("[type=TEXT s]", "input[type=TEXT]", "input[type=text]"),
        ("[rel~=b]", "a[rel='a b']", "a[rel='a-b']"),
        ("[data-x|=en]", "a[data-x=en-US]", "a[data-x=english]"),
        ("[href^='/x']", "a[href='/xy']", "a[href='y/x']"),
        ("[href$='/x']", "a[href='y/x']", "a[href='/xy']"),
        ("[href*=x]", "a[href='/xy']", "a[href='/y']"),
        ("[class*='Button_']", "a.y.Button_root", "a.button_root"),
        ("[class~=x]", "a.x.y", "a.xy"),
        ("[id^=radix-]", "a#radix-:r1:", "a#x"),
        (":not(.x)", "a.y", "a.x"),
        ("a:not(.x):not(#y)", "a.z", "a.z#y"),
        ("a:not([href^=http])", "a[href='/x']", "a[href='https://x.example']"),
        ("a:not([href^=http])", "a[href='/x']", "a"),
        (":not(div)", "div > a", ".x"),
        (":is(a, button):where(.x, .y)", "button.y", "div.x"),
        (":not(:is(.x, .y))", "a.z", "a.y"),
        ("li:nth-child(2)", "ul > li:nth-child(2)", "ul > li:nth-child(12)"),
        ("li:nth-child(2)", "ul > li:nth-child(2)", "ul > li"),
        ("li:not(:nth-child(2))", "ul > li:nth-child(3)", "ul > li"),
        ("li:nth-of-type(2)", "ul > li:nth-of-type(2)", "ul > li:nth-child(2)"),
        ("div a", "div > p > a", "p > a"),
        ("div > a", "div a.x", "div > p > a"),
        ("html > body", "html body", "body > a"),
        ("div > p a", "div > p > p > a", "div > a > p"),
        ("#a > .b .c", "i#a > i.b > i.b > i.c", "i#a > i > i.b > i.c"),
        (".a > .b > .c .d", "i.a > i.b > i.c > i.b > i.c > i.d", "i.b > i.c > i.a > i.c > i.d"),
        ("p, a", "div > a", "div > b"),
    ],
)
def test_a_selector_matches_what_a_path_holds_and_nothing_else(selector: str, matched: str, not_matched: str) -> None:
    index = Index([(selectors.compile(selector), False)])
    assert [match.number for match in index.matches(parse(matched))] == [0]
    assert index.matches(parse(not_matched)) == []


@pytest.mark.parametrize("operator", ["^=", "$=", "*="])
def test_an_empty_value_is_in_no_attribute(operator: str) -> None:
    assert depths(f"[href{operator}'']", "a[href='/x']", "a[href]") == [None, None]


def test_the_deepest_element_that_matches_is_told() -> None:
    assert depths(".x", "p.x > p.x > b", "p.x > b", "p > b", "p.x > b.x") == [1, 0, None, 1]
    assert depths("p b, .x", "p.x > b > i", "p.x > i") == [1, 0]


def test_a_click_on_the_span_in_a_button_is_one_on_the_button_unless_only_the_target_counts() -> None:
    button = selectors.compile("button.primary")
    index = Index([(button, True), (button, False)])
    assert index.matches(parse("div > button.primary > span")) == [Match(0, 1, (0, 1, 1))]
    assert index.matches(parse("div > button.primary")) == [Match(0, 1, (0, 1, 1)), Match(1, 1, (0, 1, 1))]


def test_a_path_that_is_cut_at_its_front_is_anchored_at_its_end() -> None:
    assert depths("div.row > a", "html > body > div.row > a", "div.row > a", "iv.row > a", "a") == [3, 1, None, None]


@pytest.mark.parametrize(
    ("selector", "specificity"),
    [
        ("*", (0, 0, 0)),
        ("a", (0, 0, 1)),
        ("ul li.x", (0, 1, 2)),
        ("#a.b > c", (1, 1, 1)),
        ("[href].b", (0, 2, 0)),
        ("li:nth-child(2)", (0, 1, 1)),
        ("a:not(#b)", (1, 0, 1)),
        (":is(a, .b, #c)", (1, 0, 0)),
        (":where(#c) a", (0, 0, 1)),
        ("a, .b.c, b", (0, 2, 0)),
    ],
)
def test_specificity_is_that_of_css(selector: str, specificity: tuple[int, int, int]) -> None:
    assert selectors.compile(selector).specificity == specificity


def test_a_match_has_the_specificity_of_the_most_specific_alternative_that_matches_the_deepest_element() -> None:
    index = Index([(selectors.compile("a, #a, .x b, .x"), True)])
    assert index.matches(parse("div.x > a")) == [Match(0, 1, (0, 0, 1))]
    assert index.matches(parse("div > a.x")) == [Match(0, 1, (0, 1, 0))]
    assert index.matches(parse("div.x > b > i")) == [Match(0, 1, (0, 1, 1))]
    assert index.matches(parse("a.x#a > i")) == [Match(0, 0, (1, 0, 0))]


@pytest.mark.parametrize(
    ("selector", "reason"),
    [
        ("a + b", r"siblings \(\+\)"),
        ("a ~ b", r"siblings \(~\)"),
        ("a:has(b)", "ancestors of an element"),
        ("a:hover", "can't decide :hover"),
        ("a:lang(en)", r"can't decide :lang\(\)"),
        (":root > body", "cut at its front; write html"),
        ("li:first-child", r"write :nth-child\(1\)"),
        ("li:first-of-type", r"write :nth-of-type\(1\)"),
        ("li:nth-child(2n+1)", "with a formula"),
        ("li:nth-child(odd)", "with a formula"),
        ("li:nth-last-child(1)", "can't decide :nth-last-child"),
        ("a::before", "pseudo-elements"),
        ("a:after", "pseudo-elements"),
        ("svg|a", r"namespaces \(svg\|\)"),
        ("svg|*.x", r"namespaces \(svg\|\)"),
        ("[xlink|href]", r"namespaces \(xlink\|\)"),
        ("a:not([href])", "may not have been recorded"),
        ("a:not(.x b)", "cut at its front, before an ancestor"),
        ("a:not(.x, .y)", r"write :not\(\.a\):not\(\.b\)"),
        (":is(.x .y)", "single elements"),
        ("[class^='x']", "order of classes"),
        ("[class='x']", "order of classes"),
        ("[href!='/x']", "no operator of CSS"),
        (".w-1/2", r"got '/' at character 5\..* backslash"),
        (".md:flex", r"colon in a name is written \\:"),
        ("a,", "got the end$"),
        ("", "got the end$"),
        ("a >", "got the end$"),
        ("a[href", "can't be read"),
        ("a{}", "can't be read"),
        ("a" * 10_001, "10,001 characters; a selector may have 10,000"),
        ("a" * 2**20, "1,048,576 characters"),
        (", ".join(["a"] * 201), "more than 200"),
        ("a" + ".x" * 200, "more than 200"),
        ("* " * 4_000 + "a", "more than 200"),
        (":is(" * 6 + "a" + ")" * 6, "5 deep"),
        (":not(" * 1_900 + "a" + ")" * 50, "5 deep"),
    ],
)
def test_what_a_path_cannot_decide_or_costs_too_much_is_refused_with_the_reason(selector: str, reason: str) -> None:
    with pytest.raises(SelectorError, match=reason) as error:
        selectors.compile(selector)
    assert len(str(error.value)) < 400


def test_a_selector_goes_to_another_process_as_its_text() -> None:
    selector = selectors.compile("a.x, b")
    assert pickle.loads(pickle.dumps(selector)) == selector


HOSTILE = [
    "[", '[a="', "[a='x]", "\\", ".", ".abc", ":", ":nth-child(", ">", "div > ", " ", "a", "%", "%4", ".a%2D ",
    "div .a =b=c ", "a =x=y zz ", "\\1 ", "1.", "[a='\\']", "[ ", ".-[", "#a", "'", "[a=' ", "\0", "\ud800",
    "🍒", "=a=b ", "[a= ", ":is(",
]  # fmt: skip


@pytest.mark.parametrize("part", HOSTILE)
def test_no_text_fails_or_takes_longer_than_its_length(part: str) -> None:
    index = Index([(selectors.compile(text), True) for text in ["* * *", ":not(.x) a", "[class*=a]", "a[x$=y] > b"]])
    began = time.process_time()
    for length in (100, 10_000, LONGEST, 2**20):
        for text in (part * (length // len(part)), "a" + part * (length // len(part)), f"div > {part * 50} > a"):
            index.matches(parse(text))
            if len(text) <= 10_000:
                with contextlib.suppress(SelectorError):
                    selectors.compile(text)
    assert time.process_time() - began < 10  # it would take minutes if it were quadratic


def test_no_pair_of_selector_and_path_stalls() -> None:
    hostile = ["* " * 199 + "*", "div > " * 199 + "div", "div > .a " * 66 + ".z", ", ".join(["div div"] * 100)]
    path = (Compound("div", classes=frozenset({"a", *map(str, range(10_000))})), *parse("div.a > " * 1_000 + "div"))
    index = Index([(selectors.compile(text), True) for text in hostile * 50])
    began = time.process_time()
    index.matches(path)
    assert time.process_time() - began < 10  # a search that goes back would not end


def test_random_text_is_read_or_refused() -> None:
    rng = random.Random(1)
    signs = [*" >.#[]()=\"'\\:*,+~|^$%-_aA1é🍒\n\0", "not(", "is(", "nth-child(", "=x ", "/*"]
    read = 0
    for _ in range(20_000):
        text = "".join(rng.choices(signs, k=rng.randrange(1, 20)))
        parse(text)
        with contextlib.suppress(SelectorError):
            Index([(selectors.compile(text), True)]).matches(parse(text))
            read += 1
    assert read > 500
