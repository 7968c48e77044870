"""The shape of definitions.yml, said once: what reads it also makes its JSON Schema for editors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Protocol

from . import document
from .document import Node, Scalar
from .model import Condition, Definitions, Element, Event, Page, PageRule, Place

MAX_DEFINITIONS = 2_000
MAX_PATTERN = 2_000
MAX_CHOICES = 100

NO_CONTROLS = r"^(?!\s)[^\x00-\x1f\x7f-\x9f]+(?<!\s)(?![\s\S])"
"""A line of text with no blanks around it."""

NO_CONTROLS_BUT_LINES = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]+(?![\s\S])"

DAY_OR_TIME = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?(?![\s\S])"

MAX_PROBLEMS = 100
"""So many are told at once."""

SHOWN = 60


class WrongValueError(ValueError):
    """What is wrong with a value, in words that follow its name."""


class TooManyError(Exception):
    """There are more problems than anybody reads at once."""


@dataclass(frozen=True, order=True)
class Problem:
    """Something that is wrong, or that the author should know."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class Reading:
    """One file under way: where its problems go."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems

    def tell(self, line: int, message: str) -> None:
        """Note a problem.

        Raises:
            TooManyError: there are enough.
        """
        self.problems.append(Problem(self.file, line, message))
        if len(self.problems) >= MAX_PROBLEMS:
            raise TooManyError

    def place(self, line: int) -> Place:
        """A line of this file."""
        return Place(self.file, line)


MISSING: Any = object()
"""What a value is that was told to be wrong."""


class Kind(Protocol):
    """A kind of value."""

    def read(self, node: Node, what: str, reading: Reading) -> Any:
        """The value, or `MISSING` after telling what is wrong with it."""

    def schema(self) -> dict[str, Any]:
        """The same as JSON Schema."""


class _Scalar:
    """A kind whose values are single ones."""

    wanted: str

    def read(self, node: Node, what: str, reading: Reading) -> Any:
        try:
            if not isinstance(node, Scalar):
                kind = "a list" if isinstance(node, document.List) else "a mapping"
                raise WrongValueError(f"is {kind}, and must be {self.wanted}")
            try:
                return self.convert(node)
            except WrongValueError:
                raise
            except ValueError as error:
                raise WrongValueError(str(error)) from None
        except WrongValueError as error:
            shown = f" {shortened(node.text)}" if isinstance(node, Scalar) and node.text else ""
            reading.tell(node.line, f"{what}{shown} {error}")
            return MISSING

    def convert(self, node: Scalar) -> Any:
        raise NotImplementedError


def shortened(text: str) -> str:
    """A text in quotes, as far as it fits in a line."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


@dataclass(frozen=True)
class Text(_Scalar):
    """A text."""

    longest: int
    pattern: str = NO_CONTROLS
    wanted: str = "a text"

    def convert(self, node: Scalar) -> str:
        """Take no number, truth value or day for a text."""
        value = node.value
        if value is None:
            raise WrongValueError(f"is empty, and must be {self.wanted} (a text that begins with # needs quotes)")
        if not isinstance(value, str):
            kind = "true or false" if isinstance(value, bool) else "a number"
            raise WrongValueError(f"is {kind} to YAML: as a text it needs quotes, {shortened_quotes(node)}")
        if not value:
            raise WrongValueError(f"is empty, and must be {self.wanted}")
        if len(value) > self.longest:
            raise WrongValueError(f"has {len(value):,} characters, and may have {self.longest:,}")
        if not re.search(self.pattern, value):
            raise WrongValueError("has control characters or blanks at its ends: remove them")
        return value

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "string", "maxLength": self.longest, "pattern": self.pattern}


def shortened_quotes(node: Scalar) -> str:
    """How to write it as a text."""
    return node.quoted if len(node.text) <= SHOWN else '"…"'


@dataclass(frozen=True)
class Pattern(Text):
    """A text of some language, which is looked at when it is read."""

    check: Callable[[str], None] = lambda text: None
    """Raises ValueError with what is wrong."""

    def convert(self, node: Scalar) -> str:
        """Have it checked, too."""
        value = super().convert(node)
        try:
            self.check(value)
        except ValueError as error:
            raise WrongValueError(f"can't be used: {error}") from None
        return value


@dataclass(frozen=True)
class Choice(_Scalar):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def wanted(self) -> str:  # type: ignore[override]
        """For who wrote another."""
        return " or ".join(self.words)

    def convert(self, node: Scalar) -> str:
        """Take these alone."""
        if node.text not in self.words:
            near = get_close_matches(node.text, self.words, 1)
            raise WrongValueError(f"must be {self.wanted}" + (f"; did you mean {near[0]}?" if near else ""))
        return node.text

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"enum": list(self.words)}


def number_of(node: Scalar) -> int | float | None:
    """The number that is written there; None where it is none that every reader of YAML takes alike."""
    with suppress(ValueError):
        if isinstance(value := node.value, int | float) and not isinstance(value, bool):
            return value
    return None


@dataclass(frozen=True)
class Whole(_Scalar):
    """A whole number."""

    largest: int
    wanted: str = "a whole number"

    def convert(self, node: Scalar) -> int:
        """Take no truth value for a number."""
        value = number_of(node)
        if value is None or value != int(value):
            raise WrongValueError(f"must be {self.wanted}")
        if abs(value) > self.largest:
            raise WrongValueError(f"must be from {-self.largest:,} to {self.largest:,}")
        return int(value)

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "integer", "minimum": -self.largest, "maximum": self.largest}


@dataclass(frozen=True)
class Number(_Scalar):
    """A number."""

    wanted: str = "a number"

    def convert(self, node: Scalar) -> int | float:
        """Take no truth value for a number."""
        value = number_of(node)
        if value is None:
            raise WrongValueError(
                f"must be {self.wanted}" + (", without quotes" if node.is_quoted else " such as 5 or -0.5")
            )
        return value

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "number"}


@dataclass(frozen=True)
class Flag(_Scalar):
    """True or false."""

    wanted: str = "true or false"

    def convert(self, node: Scalar) -> bool:
        """Take no other words."""
        if node.is_quoted or node.text not in ("true", "false"):
            raise WrongValueError(f"must be {self.wanted}, without quotes")
        return node.text == "true"

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class AnyValue(_Scalar):
    """A text, a number, or true or false; they are told apart, so that 5 is not "5"."""

    wanted: str = "a text, a number, or true or false"

    def convert(self, node: Scalar) -> str | int | float | bool:
        """Take the text as it is, blanks and all."""
        value = node.value
        if value is None:
            raise WrongValueError('is empty: write exists: false for what is absent, and "" for an empty text')
        if isinstance(value, str) and len(value) > MAX_PATTERN:
            raise WrongValueError(f"has {len(value):,} characters, and may have {MAX_PATTERN:,}")
        return value

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": ["string", "number", "boolean"], "maxLength": MAX_PATTERN}


@dataclass(frozen=True)
class Time(_Scalar):
    """A day or a time, in UTC where it says no zone."""

    wanted: str = "a day or a time such as 2026-03-02 or 2026-03-02T14:00:00Z"

    def convert(self, node: Scalar) -> datetime:
        """Read ISO 8601."""
        try:
            if not re.search(DAY_OR_TIME, node.text):
                raise ValueError
            at = datetime.fromisoformat(node.text.replace("Z", "+00:00"))
            return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            raise WrongValueError(f"must be {self.wanted}") from None

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {"type": "string", "pattern": DAY_OR_TIME}


@dataclass(frozen=True)
class Many:
    """A list."""

    kind: Kind
    most: int
    or_one: bool = False
    """Whether one value may stand for a list of it."""
    entry: str | None = None
    """What one of them is called."""

    def read(self, node: Node, what: str, reading: Reading) -> Any:
        """The values as a tuple."""
        if not isinstance(node, document.List):
            if self.or_one:
                value = self.kind.read(node, what, reading)
                return MISSING if value is MISSING else (value,)
            kind = "a mapping" if isinstance(node, document.Mapping) else "one value"
            reading.tell(node.line, f"{what} is {kind}, and must be a list, each entry of which begins with -")
            return MISSING
        if not node.items:
            reading.tell(node.line, f"{what} is an empty list: fill it, or remove it")
            return MISSING
        if len(node.items) > self.most:
            reading.tell(node.line, f"{what} has {len(node.items):,} entries, and may have {self.most:,}")
            return MISSING
        values = [self.kind.read(item, self.entry or what, reading) for item in node.items]
        return MISSING if any(value is MISSING for value in values) else tuple(values)

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        of = self.kind.schema()
        several = {"type": "array", "minItems": 1, "maxItems": self.most, "items": of}
        return {"anyOf": [of, several]} if self.or_one else several


@dataclass(frozen=True)
class Key:
    """A key of a record."""

    kind: Kind
    meaning: str
    is_required: bool = False
    field: str | None = None
    """What the model calls it, where that is another name."""


@dataclass(frozen=True)
class Record:
    """A mapping with certain keys."""

    keys: Mapping[str, Key]
    make: Callable[[dict[str, Any], Place], Any]
    one_of: tuple[str, ...] = ()
    """One at least of these keys is there."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """What is of no use without another key."""

    def read(self, node: Node, what: str, reading: Reading) -> Any:
        """What is made of the mapping."""
        if not isinstance(node, document.Mapping):
            reading.tell(node.line, f"{what}: this entry must have keys: {', '.join(self.keys)}")
            return MISSING
        what = f"{what} {shortened(name)}" if (name := self._id(node)) else what
        values: dict[str, Any] = {}
        seen: dict[str, int] = {}
        for key, inner in node.pairs:
            if key.text in seen:
                reading.tell(key.line, f"{what}: {key.text} stands here again, after line {seen[key.text]}: keep one")
                continue
            seen[key.text] = key.line
            if key.text not in self.keys:
                reading.tell(key.line, f"{what}: {unknown(key.text, self.keys)}")
                continue
            values[key.text] = self.keys[key.text].kind.read(inner, f"{what}: {key.text}", reading)
        is_whole = self._check(node, what, seen, reading)
        if not is_whole or any(value is MISSING for value in values.values()):
            return MISSING
        named = {self.keys[name].field or name: value for name, value in values.items()}
        return self.make(named, reading.place(node.line))

    def _check(self, node: document.Mapping, what: str, seen: Mapping[str, int], reading: Reading) -> bool:
        """Whether the keys are there that have to be."""
        missing = [name for name, key in self.keys.items() if key.is_required and name not in seen]
        for name in missing:
            reading.tell(node.line, f"{what}: {name} is missing: {self.keys[name].meaning}")
        if self.one_of and not any(name in seen for name in self.one_of):
            reading.tell(node.line, f"{what}: one of these is missing: {', '.join(self.one_of)}")
            return False
        alone = {name: needed for name, needed in self.needs.items() if name in seen and needed not in seen}
        for name, needed in alone.items():
            reading.tell(seen[name], f"{what}: {name} means nothing without {needed}")
        return not missing and not alone

    @staticmethod
    def _id(node: document.Mapping) -> str | None:
        """The id, to name the entry by."""
        return next((inner.text for key, inner in node.pairs if key.text == "id" and isinstance(inner, Scalar)), None)

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        made: dict[str, Any] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: {"description": key.meaning, **key.kind.schema()} for name, key in self.keys.items()},
        }
        if required := [name for name, key in self.keys.items() if key.is_required]:
            made["required"] = required
        if self.one_of:
            made["anyOf"] = [{"required": [name]} for name in self.one_of]
        if self.needs:
            made["dependentRequired"] = {name: [needed] for name, needed in self.needs.items()}
        return made


def unknown(key: str, known: Mapping[str, Key]) -> str:
    """That a key is not one of those that are known."""
    near = get_close_matches(key.lower(), known, 1, 0.5)
    return f"{shortened(key)} is no key of it" + (f"; did you mean {near[0]}?" if near else f": {', '.join(known)}")


def check_url(text: str) -> None:
    """That a text is a URL pattern."""
    from .urls import UrlPattern

    UrlPattern(text)


def check_path(text: str) -> None:
    """That a text is a route of page rules."""
    from .urls import Route

    Route(text)


def check_selector(text: str) -> None:
    """That a text is a selector which a recorded path can decide."""
    from .selectors import compile as compile_selector

    compile_selector(text)


def check_regexp(text: str) -> None:
    """That a text is a regular expression without backtracking."""
    from .conditions import compile_regexp

    compile_regexp(text)


def check_property(text: str) -> None:
    """That a text is a path of a property."""
    from .conditions import steps

    steps(text)


ID = Text(100, wanted="a text of at most 100 characters")
NAME = Text(500)
URL = Pattern(MAX_PATTERN, wanted="a URL pattern", check=check_url)


def several(kind: Kind) -> Many:
    """One value, or a list of them."""
    return Many(kind, MAX_CHOICES, or_one=True)


COMMON = {
    "id": Key(ID, "what events are stamped with; it never changes", is_required=True),
    "name": Key(NAME, "what people call it", is_required=True),
    "description": Key(Text(10_000, NO_CONTROLS_BUT_LINES), "what it means"),
    "state": Key(Choice(("active", "archived")), "archived keeps the name, and matches no more"),
    "created_time": Key(Time(), "when it was written first; of two that match alike the newer one is taken"),
    "created_by": Key(NAME, "who wrote it"),
    "modified_time": Key(Time(), "when it was last changed"),
    "modified_by": Key(NAME, "who changed it last"),
}


def _stated(values: dict[str, Any]) -> dict[str, Any]:
    state = values.pop("state", "active")
    return {**values, "is_active": state == "active"}


PAGE = Record(
    {
        **COMMON,
        "url": Key(several(URL), "a URL pattern, or a list of them", field="urls"),
        "screen": Key(NAME, "the name of an app's screen"),
        "app": Key(NAME, "the name of the app, or its package; without it the screen of any app"),
        "priority": Key(Whole(1_000_000), "of several pages that match one URL the highest is taken; 0 by default"),
    },
    lambda values, place: Page(**_stated(values), place=place),
    one_of=("url", "screen"),
    needs={"app": "screen"},
)


def _element(values: dict[str, Any], place: Place) -> Element:
    is_within = values.pop("match", "within") == "within"
    texts = tuple(" ".join(text.split()) for text in values.pop("texts", ()))
    return Element(**_stated(values), texts=texts, is_within=is_within, place=place)


ELEMENT = Record(
    {
        **COMMON,
        "selector": Key(
            several(Pattern(MAX_PATTERN, wanted="a CSS selector", check=check_selector)),
            "a CSS selector, or a list of them",
            is_required=True,
            field="selectors",
        ),
        "match": Key(Choice(("within", "target")), "within: what lies in the element counts, too; this is the default"),
        "page": Key(ID, "the id of the page on which alone it counts"),
        "text": Key(
            several(Text(MAX_PATTERN)),
            "the whole text of the target, or a list of texts; how many blanks are between words does not matter",
            field="texts",
        ),
        "app": Key(NAME, "the name of the app, or its package"),
    },
    _element,
)

PATTERN = Pattern(MAX_PATTERN, r"[\s\S]", "a regular expression", check_regexp)
OPERATORS = {
    "equals": Key(AnyValue(), "it is this value; a text is not a number, 5 is not '5'"),
    "in": Key(Many(AnyValue(), 1_000), "it is one of these values"),
    "contains": Key(AnyValue(), "a text has this text in it, or a list this value"),
    "matches": Key(PATTERN, "a text has a match of this regular expression (RE2) in it"),
    "exists": Key(Flag(), "true: it is there and not null; false: it is not"),
    "greater": Key(Number(), "it is a number above this one"),
    "less": Key(Number(), "it is a number below this one"),
}


def _conditions(values: dict[str, Any], place: Place) -> tuple[Condition, ...]:
    path = values.pop("property")
    return tuple(Condition(path, operator, value, place) for operator, value in values.items())


WHERE = Record(
    {
        "property": Key(
            Pattern(500, wanted="a path by dots", check=check_property),
            "a path by dots in event_properties, such as target.text, or in source_properties: source_properties.title",
            is_required=True,
        ),
        **OPERATORS,
    },
    _conditions,
    one_of=tuple(OPERATORS),
)


def _event(values: dict[str, Any], place: Place) -> Event:
    where = tuple(condition for conditions in values.pop("where", ()) for condition in conditions)
    return Event(**_stated(values), where=where, place=place)


EVENT = Record(
    {
        **COMMON,
        "type": Key(several(Text(100)), "a type of event, or a list of them", field="types"),
        "element": Key(several(ID), "the id of an element, or a list of them", field="elements"),
        "page": Key(several(ID), "the id of a page, or a list of them", field="pages"),
        "where": Key(Many(WHERE, MAX_CHOICES), "conditions on properties, all of which hold"),
    },
    _event,
    one_of=("type", "element", "page", "where"),
)

PAGE_RULE = Record(
    {
        "url": Key(URL, "a URL pattern: for which URLs the rule is", is_required=True),
        "path": Key(
            several(Pattern(MAX_PATTERN, wanted="a path", check=check_path)),
            "a route such as /user/:id/*, or a list of them: what has a name is shown by it, whatever it is",
            field="paths",
        ),
        "query": Key(several(Text(200)), "the query parameters that count"),
    },
    lambda values, place: PageRule(**values, place=place),
    one_of=("path", "query"),
)

FILE = Record(
    {
        "pages": Key(Many(PAGE, MAX_DEFINITIONS, entry="page"), "named pages"),
        "elements": Key(Many(ELEMENT, MAX_DEFINITIONS, entry="element"), "named elements"),
        "events": Key(Many(EVENT, MAX_DEFINITIONS, entry="event"), "named events"),
        "page_rules": Key(Many(PAGE_RULE, MAX_DEFINITIONS, entry="page rule"), "what makes a page of other URLs"),
    },
    lambda values, place: Definitions(**values),
)


def schema() -> dict[str, Any]:
    """The JSON Schema of a file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "headrace definitions",
        "description": "Named pages, elements and events",
        **FILE.schema(),
    }


def schema_text() -> str:
    """The same, as schema.json has it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
