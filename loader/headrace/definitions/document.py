"""YAML as definitions use it: a tree that knows its lines, in which every value is what its author sees.

Left out is what reads otherwise than it looks, or can grow: anchors and aliases, tags, and words that only some
readers take for a number, a truth value or a day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

MAX_BYTES = 4 * 1024**2
MAX_DEPTH = 12
"""Definitions lie five deep."""

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""As JSON writes it, which every reader of YAML takes alike (but for an exponent, see `Scalar.kind`)."""

MAX_DIGITS = 300
"""No number of a feed has more: a double ends at 309."""

WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}

RESOLVER = yaml.resolver.Resolver()


class NotYAMLError(ValueError):
    """A text that is no YAML of the kind that definitions are written in."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Scalar:
    """A text, a number, a truth value or nothing."""

    text: str
    is_quoted: bool
    line: int

    @property
    def value(self) -> str | int | float | bool | None:
        """What is meant.

        Raises:
            ValueError: readers of YAML don't agree on it; quotes make it a text.
        """
        if self.is_quoted:
            return self.text
        if self.text in WORDS:
            return WORDS[self.text]
        if found := NUMBER.fullmatch(self.text):
            if len(self.text) > MAX_DIGITS:
                raise ValueError("is a number that is too long")
            if found[1] or found[2]:
                number = float(self.text)
                if number in (float("inf"), float("-inf")):
                    raise ValueError("is a number that is too large for a double")
                return number
            return int(self.text)
        tag = RESOLVER.resolve(yaml.ScalarNode, self.text, (True, False)).rpartition(":")[2]
        if tag == "str":
            return self.text
        kinds = {"bool": "true or false", "int": "a number", "float": "a number", "timestamp": "a day", "null": "null"}
        raise ValueError(f"is {kinds.get(tag, tag)} to YAML: as a text it needs quotes, {self.quoted}")

    @property
    def quoted(self) -> str:
        """As it has to be written to be a text."""
        return f'"{self.text}"'


@dataclass(frozen=True)
class List:
    """Several values."""

    items: tuple[Node, ...]
    line: int


@dataclass(frozen=True)
class Mapping:
    """Values by their keys, which may come twice."""

    pairs: tuple[tuple[Scalar, Node], ...]
    line: int


Node = Scalar | List | Mapping


def parse(content: bytes) -> Node | None:
    """The tree of a file; None where it holds nothing.

    Raises:
        NotYAMLError: it is no YAML, or of a kind that definitions don't use.
    """
    if len(content) > MAX_BYTES:
        raise NotYAMLError(f"the file has more than {MAX_BYTES // 1024**2} MB: make a folder of several files", 1)
    text = _decoded(content)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _document(iter(yaml.parse(text, Loader=loader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise NotYAMLError(f"is no YAML: {error.problem or error.context}{_hint(text, line)}", line) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise NotYAMLError(f"holds a character that YAML does not allow ({error.reason})", line) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise NotYAMLError(f"is no YAML: {error or 'it is nested too deep'}", 1) from None


def _decoded(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:4]:
        raise NotYAMLError("is UTF-16 or UTF-32: save it as UTF-8", 1)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise NotYAMLError(f"is not UTF-8 (byte {content[error.start]:#04x}): save it as UTF-8", line) from None
    if found := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise NotYAMLError(f"holds a character that YAML does not allow (U+{ord(found[0]):04X})", line)
    return text


def _hint(text: str, line: int) -> str:
    lines = text.split("\n")
    near = lines[max(line - 2, 0) : line]
    if any("\t" in one[: len(one) - len(one.lstrip())] for one in near):
        return "; indent with blanks, not with tabs"
    if any(re.match(r"\s*(?:- )?[\w ]+:\s+[*&!%@`]", one) for one in near):
        return "; a value that begins with * & ! % @ or ` needs quotes"
    if any(re.search(r":\s.*:\s", one) and "{" not in one for one in near):
        return "; a value with a colon and a blank in it needs quotes"
    return ""


def _document(events: Iterator[Any]) -> Node | None:
    """The one document of a stream."""
    root: Node | None = None
    documents = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise NotYAMLError("begins a second document with ---: write one, or several files", _line(event))
            root = _node(next(events), events, 1)
    if isinstance(root, Scalar) and not root.is_quoted and root.text in WORDS:
        return None
    return root


def _node(event: Any, events: Iterator[Any], depth: int) -> Node:
    line = _line(event)
    if isinstance(event, yaml.AliasEvent) or event.anchor:
        sign = f"*{event.anchor}" if isinstance(event, yaml.AliasEvent) else f"&{event.anchor}"
        raise NotYAMLError(
            f"{sign}: anchors and aliases are not read: write it out, or put a text that begins so in quotes", line
        )
    if event.tag:
        raise NotYAMLError(
            f"{event.tag}: tags are not read: leave it out, or put a text that begins so in quotes", line
        )
    if depth > MAX_DEPTH:
        raise NotYAMLError(f"is nested deeper than {MAX_DEPTH} levels", line)
    if isinstance(event, yaml.ScalarEvent):
        return Scalar(event.value, not event.implicit[0], line)
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_node(event, events, depth + 1))
        return List(tuple(items), line)
    pairs = []
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _node(event, events, depth + 1)
        if not isinstance(key, Scalar):
            raise NotYAMLError("has a key that is a list or has keys of its own", key.line)
        pairs.append((key, _node(next(events), events, depth + 1)))
    return Mapping(tuple(pairs), line)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
