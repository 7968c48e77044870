"""CSS selectors over recorded paths: which of many match a path, where in it, and how specific they are.

A selector is taken when a recorded path can decide it, and refused with the reason when it can't:

- tags, `*`, ids, classes, attributes, descendants, children, lists, `:is()`, `:where()` and `:not()` of a single
  element, `:nth-child(3)` and `:nth-of-type(3)` with a plain number;
- not siblings, states, `:has()`, `:root` (a path may be cut at its front), or `:not()` of an ancestor (likewise).

What a path does not hold of an element (an attribute, a number, a tag) is unknown, and what is unknown matches neither
a condition nor its `:not()`: `[href]` and `:not([href="/x"])` both match only where the path has the attribute. Hence
`:not([href])` could match nothing and is refused. Classes and ids are recorded as a whole, so `:not(.x)` is decided.

As in HTML, names of tags and attributes compare without regard to case, and so do the values of some attributes
(`type`, `rel`, `lang`) and those in conditions with the flag `i`. All else compares as it is written.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, NamedTuple

import cssselect
from cssselect import parser

from headrace.definitions.paths import Compound, lower

LONGEST = 10_000
MOST_PARTS = 200
DEEPEST = 5
MOST_KEPT = 50_000
"""Elements of which an index remembers what matches them; a path's elements are mostly those of other paths."""

Specificity = tuple[int, int, int]
Test = Callable[[Compound], bool | None]
"""Whether something holds of an element; None where its path does not tell."""

Key = tuple[str, ...]
"""What an element must have so that a test can hold of it; a bucket of the index."""


class SelectorError(ValueError):
    """The selector is not one that recorded paths can be matched with. The message is the reason."""


@dataclass(frozen=True, slots=True)
class Part:
    """A condition on an element.

    Attributes:
        test: whether it holds.
        keys: of these an element must have one; None where that can be anything.
        specificity: CSS's.
        is_sure: whether it holds of each element that has one of the keys.
        can_fail: whether some path can say that it does not hold.

    """

    test: Test
    keys: tuple[Key, ...] | None = None
    specificity: Specificity = (0, 0, 0)
    is_sure: bool = False
    can_fail: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """One element of a selector.

    Attributes:
        part: what must be true of it.
        is_child: whether it must be the child of the step before, rather than any descendant.

    """

    part: Part
    is_child: bool


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of the selectors that a list has between its commas: its elements, outermost first."""

    steps: tuple[Step, ...]
    specificity: Specificity


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector that recorded paths can be matched with. Two are equal when their texts are."""

    text: str
    alternatives: tuple[Alternative, ...] = field(compare=False, repr=False)

    @property
    def specificity(self) -> Specificity:
        """CSS's: ids, then classes, attributes and pseudo-classes, then tags. Of a list the highest."""
        return max(alternative.specificity for alternative in self.alternatives)

    def __reduce__(self) -> tuple[Any, ...]:
        return compile, (self.text,)


class Match(NamedTuple):
    """That a selector matches a path.

    Attributes:
        number: the place of the selector among those of the index, from 0.
        depth: the place in the path of the deepest element that matches, from 0.
        specificity: of the most specific alternative that matches that element.

    """

    number: int
    depth: int
    specificity: Specificity


def compile(text: str) -> Selector:
    """Read a selector.

    Raises:
        SelectorError: it is no selector, is too large, or asks for what a recorded path can't decide.

    """
    if len(text) > LONGEST:
        raise SelectorError(f"it has {len(text):,} characters; a selector may have {LONGEST:,}")
    _check_depth(text)
    try:
        parsed = cssselect.parse(text)
    except (cssselect.SelectorError, ValueError) as error:
        raise SelectorError(_in_words(error)) from None
    compiler = _Compiler()
    return Selector(text, tuple(compiler.alternative(selector) for selector in parsed))


def _check_depth(text: str) -> None:
    """Refuse what would have the parser call itself without end."""
    depth = 0
    for found in re.finditer(r"\\.|\"(?:\\.|[^\"\\])*+\"|'(?:\\.|[^'\\])*+'|[()]", text, re.DOTALL):
        depth += (found[0] == "(") - (found[0] == ")")
        if depth > DEEPEST:
            raise SelectorError(f"its brackets are more than {DEEPEST} deep")


def _in_words(error: Exception) -> str:
    """Say what the parser found wrong, without its names for things."""
    reason = str(error)
    if reason.startswith("Expected ')', got <DELIM ','"):
        return "a list can't stand in :not(); write :not(.a):not(.b) for :not(.a, .b)"
    if reason.startswith("Expected an argument, got"):
        return "what is in :is() or :where() must be single elements, such as :is(.a, .b), and in :nth-child() a number"
    reason = re.sub(r"<EOF at \d+>", "the end", reason)
    reason = re.sub(
        r"<[A-Z]+ ('.*') at (\d+)>",
        lambda got: f"{got[1][:20]} at character {int(got[2]) + 1}",
        reason,
        flags=re.DOTALL,
    )
    reason = f"it can't be read: {reason[:200]}"
    if "Expected" not in reason or reason.endswith("the end"):
        return reason
    return (
        f"{reason}. In the name of a class or id a backslash must stand before what is no letter, digit, - or _, "
        r"and a value needs quotes: .w-1\/2, .text-\[15px\], [href='/x']"
    )


def _undecidable(what: str, why: str) -> SelectorError:
    return SelectorError(f"a recorded path can't decide {what}: {why}")


class _Compiler:
    """Makes tests of what cssselect read. It counts the parts, as their number bounds what a selector can cost."""

    def __init__(self) -> None:
        self.parts = 0

    def alternative(self, selector: cssselect.Selector) -> Alternative:
        if selector.pseudo_element:
            raise _undecidable("pseudo-elements (::before and the like)", "no event has one for its target")
        steps: list[Step] = []
        specificities: list[Specificity] = []
        tree: Any = selector.parsed_tree
        combinator: str | None = " "
        while combinator:
            compound, combinator = tree, None
            if isinstance(tree, parser.CombinedSelector):
                compound, combinator = tree.subselector, tree.combinator
                tree = tree.selector
            if combinator in ("+", "~"):
                raise _undecidable(f"siblings ({combinator})", "it has an element and its ancestors, and no others")
            part = self.compound(compound)
            steps.append(Step(part, combinator == ">"))
            specificities.append(part.specificity)
        return Alternative(tuple(reversed(steps)), _sum(specificities))

    def compound(self, tree: Any) -> Part:
        """Compile all conditions on one element. Its keys are those of the rarest."""
        parts: list[Part] = []
        while not isinstance(tree, parser.Element):
            parts.append(self.part(tree))
            tree = tree.selector
        if not parts or tree.element or tree.namespace:
            parts.append(self.part(tree))
        if len(parts) == 1:
            return parts[0]
        keys = [part.keys for part in parts if part.keys]
        return Part(
            _all([part.test for part in parts]),
            min(keys, key=lambda keys: (len(keys), RAREST_FIRST.index(keys[0][0]))) if keys else None,
            _sum(part.specificity for part in parts),
            can_fail=any(part.can_fail for part in parts),
        )

    def part(self, tree: Any) -> Part:
        """Compile one condition; those around it are told by the tree that it holds."""
        self.parts += 1
        if self.parts > MOST_PARTS:
            raise SelectorError(f"it has more than {MOST_PARTS} tags, ids, classes and other conditions")
        match tree:
            case parser.Element():
                return _tag(tree)
            case parser.Hash(id=name):
                return Part(lambda element: element.id == name, (("#", name),), (1, 0, 0), is_sure=True)
            case parser.Class(class_name=name):
                return Part(lambda element: name in element.classes, ((".", name),), (0, 1, 0), is_sure=True)
            case parser.Attrib():
                return _attribute(tree)
            case parser.Matching() | parser.SpecificityAdjustment():
                among = _any([self.compound(argument) for argument in tree.selector_list])
                return among if isinstance(tree, parser.Matching) else replace(among, specificity=(0, 0, 0))
            case parser.Negation(subselector=argument):
                return self.negation(argument)
            case parser.Function(name="nth-child" | "nth-of-type"):
                return _numbered(tree)
            case parser.Relation():
                raise _undecidable(":has()", "it has the ancestors of an element, and not what is in it")
            case parser.Function(name=name):
                raise _undecidable(f":{name}()", "it does not say that of an element")
            case parser.Pseudo(ident="root"):
                raise _undecidable(":root", "it may be cut at its front; write html")
            case parser.Pseudo(ident="first-child" | "first-of-type" as name):
                number = name.replace("first", "nth")
                raise _undecidable(f":{name}", f"write :{number}(1), which matches where a path has the number")
            case parser.Pseudo(ident=name):
                raise _undecidable(f":{name}", r"it does not say that of an element (a colon in a name is written \:)")
        raise SelectorError(f"it has a part that is not known: {type(tree).__name__}")

    def negation(self, argument: Any) -> Part:
        if isinstance(argument, parser.CombinedSelector):
            raise _undecidable(":not() of more than one element", "it may be cut at its front, before an ancestor")
        part = self.compound(argument)
        if not part.can_fail:
            why = "one that it does not hold may not have been recorded; :not([href='/x']) matches where it has another"
            raise _undecidable(":not() of an attribute without a value, or of *,", why)
        return Part(_not(part.test), specificity=part.specificity)


ANY: Key = ("*",)
"""The key that each element has."""

RAREST_FIRST = ("#", "=", "[", ".", "tag")
"""Kinds of keys: an id, an attribute's value, an attribute, a class, a tag."""


def _sum(specificities: Iterable[Specificity]) -> Specificity:
    ids, classes, tags = map(sum, zip(*specificities, strict=True))
    return ids, classes, tags


def _all(tests: Sequence[Test]) -> Test:
    def test(element: Compound) -> bool | None:
        holds: bool | None = True
        for each in tests:
            result = each(element)
            if result is False:
                return False
            if result is None:
                holds = None
        return holds

    return test


def _any(parts: Sequence[Part]) -> Part:
    tests = [part.test for part in parts]

    def test(element: Compound) -> bool | None:
        holds: bool | None = False
        for each in tests:
            result = each(element)
            if result:
                return True
            if result is None:
                holds = None
        return holds

    keys = [part.keys for part in parts if part.keys]
    return Part(
        test,
        tuple(chain.from_iterable(keys)) if len(keys) == len(parts) else None,
        max(part.specificity for part in parts),
        all(part.is_sure for part in parts),
        all(part.can_fail for part in parts),
    )


def _not(test: Test) -> Test:
    def negated(element: Compound) -> bool | None:
        result = test(element)
        return None if result is None else not result

    return negated


def _tag(tree: parser.Element) -> Part:
    if tree.namespace is not None:
        raise _undecidable(f"namespaces ({tree.namespace}|)", "it has none; write the tag alone")
    if tree.element is None:
        return Part(lambda _: True, is_sure=True, can_fail=False)
    tag = lower(tree.element)
    return Part(
        lambda element: None if element.tag is None else element.tag == tag, (("tag", tag),), (0, 0, 1), is_sure=True
    )


def _numbered(tree: parser.Function) -> Part:
    """`:nth-child(3)`: a formula is refused, as is what counts from the end."""
    [number] = [token.value for token in tree.arguments] if len(tree.arguments) == 1 else [None]
    if not number or not re.fullmatch(r"\+?[0-9]{1,9}", number):
        raise _undecidable(f":{tree.name}() with a formula", "it has a plain number at most; write one")
    place = int(number)

    def of_all(element: Compound) -> bool | None:
        return None if element.nth is None else element.nth == place

    def of_type(element: Compound) -> bool | None:
        return None if element.nth_of_type is None else element.nth_of_type == place

    return Part(of_all if tree.name == "nth-child" else of_type, specificity=(0, 1, 0))


def _split(text: str) -> list[str]:
    return [word for word in re.split(r"[ \t\r\n\f]+", text) if word]


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "=": lambda held, value: held == value,
    "~=": lambda held, value: value in _split(held),
    "|=": lambda held, value: held == value or held.startswith(value + "-"),
    "^=": lambda held, value: bool(value) and held.startswith(value),
    "$=": lambda held, value: bool(value) and held.endswith(value),
    "*=": lambda held, value: bool(value) and value in held,
}


WITHOUT_CASE = frozenset(
    re.findall(
        r"[\w-]+",
        "accept accept-charset align alink axis bgcolor charset checked clear codetype color compact declare defer dir "
        "direction disabled enctype face frame hreflang http-equiv lang language link media method multiple nohref "
        "noresize noshade nowrap readonly rel rev rules scope scrolling selected shape target text type valign "
        "valuetype vlink",
    )
)
"""The attributes of HTML whose values selectors compare without regard to case, by its standard."""


def _attribute(tree: parser.Attrib) -> Part:
    if tree.namespace is not None:
        raise _undecidable(f"namespaces ({tree.namespace}|)", "it has none; write the attribute alone")
    name, operator = lower(tree.attrib), tree.operator
    value = "" if tree.value is None else str(tree.value.value)
    if operator != "exists" and operator not in OPERATORS:
        raise SelectorError(f"{operator} is no operator of CSS; write :not([{name}={value!r}])")
    if name == "class":
        return _class_attribute(operator, value, tree.flag == "i")
    ignores_case = tree.flag == "i" or (tree.flag is None and name in WITHOUT_CASE)
    holds = _operation(operator, value, ignores_case)
    if name == "id":
        return Part(lambda element: element.id is not None and holds(element.id), specificity=(0, 1, 0))

    def test(element: Compound) -> bool | None:
        held = element.attributes.get(name)
        return None if held is None else holds(held)

    is_equal = operator == "=" and not ignores_case
    exists = operator == "exists"
    key = ("=", name, value) if is_equal else ("[", name)
    return Part(test, (key,), (0, 1, 0), is_sure=is_equal or exists, can_fail=not exists)


def _operation(operator: str, value: str, ignores_case: bool) -> Callable[[str], bool]:
    if operator == "exists":
        return lambda _: True
    compare = OPERATORS[operator]
    if ignores_case:
        lowered = lower(value)
        return lambda held: compare(lower(held), lowered)
    return lambda held: compare(held, value)


def _class_attribute(operator: str, value: str, ignores_case: bool) -> Part:
    """A path has the classes of an element, and not the text that they stood in: their order is lost."""
    if operator not in ("exists", "~=", "*="):
        raise _undecidable(
            f"[class{operator}…]", "the order of classes is lost; write .name, [class*='…'] or [class~='…']"
        )
    sought = lower(value) if ignores_case else value
    is_possible = bool(sought) and _split(sought) == [sought]

    def test(element: Compound) -> bool:
        if operator == "exists":
            return bool(element.classes)
        text = " ".join(element.classes)
        if ignores_case:
            text = lower(text)
        return is_possible and sought in (text.split(" ") if operator == "~=" else text)

    return Part(test, specificity=(0, 1, 0))


class Index:
    """Selectors, made ready to be matched with many paths.

    Each step of each alternative is a bit. A path is read once, from its outermost element to its target, and at each
    one the bits are those of the steps with which a way through the selector can end there: that is exact and needs no
    way back, and costs a few operations on whole numbers, however selectors and paths are made. Which steps can end at
    an element at all is found as browsers find it, by buckets of the ids, classes, attributes and tags that they need,
    and is remembered.

    An index is not safe to be used by two threads at once.
    """

    def __init__(self, selectors: Sequence[tuple[Selector, bool]]) -> None:
        """Take selectors, each with whether an ancestor of the target may match, too (`within`), or the target only."""
        self._sure: defaultdict[Key, int] = defaultdict(int)
        self._tested: defaultdict[Key, list[tuple[int, Test]]] = defaultdict(list)
        self._known: dict[int, int] = {}
        self._kept: list[Compound] = []
        self._first = self._descendant = self._child = self._last = self._within = 0
        self._ends: dict[int, tuple[int, Specificity]] = {}
        self._of_selector: list[int] = []
        bit = 1
        for number, (selector, within) in enumerate(selectors):
            ends = 0
            for alternative in selector.alternatives:
                for place, step in enumerate(alternative.steps):
                    for key in step.part.keys or (ANY,):
                        if step.part.is_sure:
                            self._sure[key] |= bit
                        else:
                            self._tested[key].append((bit, step.part.test))
                    if place == 0:
                        self._first |= bit
                    elif step.is_child:
                        self._child |= bit
                    else:
                        self._descendant |= bit
                    bit <<= 1
                end = bit >> 1
                ends |= end
                self._ends[end] = (number, alternative.specificity)
            self._of_selector.append(ends)
            self._last |= ends
            self._within |= ends if within else 0

    def matches(self, path: Sequence[Compound]) -> list[Match]:
        """Tell which selectors match a path, by their numbers."""
        first, descendant, child, last = self._first, self._descendant, self._child, self._last
        known = self._known
        above = parent = 0
        ended: list[int] = []
        for element in path:
            possible = known.get(id(element))
            if possible is None:
                possible = self._possible(element)
            parent = possible & (first | (above << 1 & descendant) | (parent << 1 & child))
            above |= parent
            ended.append(parent & last)
        found: dict[int, Match] = {}
        wanted = last
        for depth in range(len(ended) - 1, -1, -1):
            ends, done = ended[depth] & wanted, 0
            while ends:
                end = ends & -ends
                ends ^= end
                number, specificity = self._ends[end]
                if number not in found or specificity > found[number].specificity:
                    found[number] = Match(number, depth, specificity)
                done |= self._of_selector[number]
            wanted &= ~done & self._within
        return sorted(found.values())

    def _possible(self, element: Compound) -> int:
        """The steps whose test is true of an element."""
        steps = 0
        sure, tested = self._sure, self._tested
        for key in _keys(element):
            if key in sure:
                steps |= sure[key]
            if key in tested:
                for bit, test in tested[key]:
                    if test(element):
                        steps |= bit
        if len(element.classes) + len(element.attributes) <= 50:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
                self._kept.clear()
            self._known[id(element)] = steps
            self._kept.append(element)  # so that its id stays its own
        return steps


def _keys(element: Compound) -> Iterator[Key]:
    yield ANY
    if element.tag is not None:
        yield ("tag", element.tag)
    if element.id is not None:
        yield ("#", element.id)
    for name in element.classes:
        yield (".", name)
    for name, value in element.attributes.items():
        yield ("[", name)
        yield ("=", name, value)
