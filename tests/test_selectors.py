"""The matcher of CSS selectors over recorded paths: cases by hand, and soupsieve on trees that the paths describe.

The oracle knows a whole tree and a path does not, so three things are told to it in its own words (`oracle`): what a path
does not hold is unknown, and neither a condition nor its `:not()` is true of it; the outermost element of a path has no
parent that could match; a number among siblings counts where the path has it.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
UNKNOWN, TOP, OTHER = "x-unknown", "x-top", "x-other"


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
        tag = soup.new_tag(self.tag or UNKNOWN, attrs=dict(self.attributes))
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
            value = value.swapcase() if (ignores := rng.random() < 0.2) else value
            name_text = name.upper() if rng.random() < 0.1 else name
            part = rng.choice(OPERATORS) + in_quotes(value) + (" i" if ignores else rng.choice(["", "", " s"]))
            guard = "" if name == "id" else f"[{name}]"
            return Condition(f"[{name_text}{part}]", f"[{name}{part}]", f"{guard}:not([{name}{part}])")
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
        return Condition("*", f":not({TOP})", "")

    def compound(self, like: Element | None, inside: bool = False) -> Condition:
        conditions = [self.condition(like, inside) for _ in range(self.rng.choice([1, 1, 2, 3]))]
        tags = [condition for condition in conditions if condition.is_tag][:1]
        conditions = tags + [condition for condition in conditions if not condition.is_tag]
        failing = [condition.fails for condition in conditions if condition.fails]
        oracle = "".join(each.oracle for each in sorted(conditions, key=lambda each: each.oracle[0] in ".#[:"))
        return Condition(
            "".join(condition.text for condition in conditions),
            oracle + f":not({TOP})",
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
        parent = soup.new_tag(TOP)
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
    for path, text, matches in zip(paths, written, expected, strict=True):
        found = {match.number: match for match in index.matches(parse(text))}
        differences = {texts[key]: (found.get(key), matches.get(key)) for key in found | matches}
        differences = {key: pair for key, pair in differences.items() if pair[0] != pair[1]}
        assert not differences, (seed, text, path, differences)
    return path_count * selector_count, sum(map(len, expected))


@pytest.mark.parametrize(
    "seeds", [range(40), pytest.param(range(40, 400), marks=pytest.mark.soak)], ids=["100,000 pairs", "900,000 more"]
)
def test_the_matcher_and_soupsieve_agree_on_each_pair_of_tree_and_selector(seeds: range) -> None:
    results = [compare(seed, path_count=50, selector_count=50) for seed in seeds]
    pairs, matched = map(sum, zip(*results, strict=True))
    assert pairs == 2_500 * len(seeds)
    assert 0.1 < matched / pairs < 0.6
