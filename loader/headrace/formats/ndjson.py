"""Events of the contract as JSON: one a line (NDJSON), or in an array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET, Raw, Struct

from .. import checks
from ..checks import Objects
from ..rows import BAD_ROW, EVENT_FIELDS, MAX_LINE_BYTES, PROPERTIES, RowError, Tally
from . import text
from .json_array import records_of_array
from .source import Source


def _event_struct(as_objects: bool, strict: bool) -> type[Struct]:
    """An event whose properties are strings that hold JSON, or objects kept as the bytes that they are."""
    fields: dict[str, tuple[str, Any, Any]] = {
        name: (name, Raw, Raw(b"null")) if as_objects and name in PROPERTIES else (name, kind, None)
        for name, kind in EVENT_FIELDS.items()
    }
    fields["event_type"] = ("event_type", EVENT_FIELDS["event_type"], UNSET)
    return msgspec.defstruct("Event", fields.values(), forbid_unknown_fields=strict, gc=False)


DECODERS = {
    (as_objects, strict): msgspec.json.Decoder(_event_struct(as_objects, strict))
    for as_objects in (False, True)
    for strict in (True, False)
}
FIELDS = msgspec.json.Decoder(dict[str, Raw])
TEXT = msgspec.json.Decoder(str)

objects = text.objects


def matches(source: Source) -> bool:
    """Whether the name says JSON, or says nothing and an object or an array begins the file."""
    return bool(source.suffix) or (not source.stem.endswith(".csv") and source.opening in (b"{", b"["))


def events(source: Source, tally: Tally) -> Iterator[pa.RecordBatch]:
    """The events, blocks of lines at once as far as they are sound."""

    def decode(line: bytes) -> list[tuple[Any, ...]]:
        return [_decode_line(line, tally)]

    if source.opening == b"[":
        found = records_of_array(source.text(), tally.reject, MAX_LINE_BYTES)
        yield from checks.in_batches(found, decode, source.name, tally)
        return
    way = Way()
    for first, count, block in text.blocks(source, tally):
        columns = _decode_block(block, count, way, tally)
        if columns is None:
            yield from checks.in_batches(text.numbered_lines(first, block), decode, source.name, tally)
        else:
            yield checks.checked(columns, range(first, first + count), _line_of(block), source.name, tally)


@dataclass
class Way:
    """How the lines of a file were decoded last, which is how the next ones will be."""

    as_objects: bool = False
    strict: bool = True


def _line_of(block: memoryview) -> Any:
    """Gives the line at an index; most blocks are never asked."""
    return lambda index: bytes(block).split(b"\n", index + 1)[index]


def _decode_block(block: memoryview, count: int, way: Way, tally: Tally) -> dict[str, Any] | None:
    """All lines of a block at once, by column; None when they have to be looked at one by one.

    The properties of a file are all strings or all objects, and its fields all known, until a block shows otherwise.
    """
    for _ in range(3):
        try:
            events = DECODERS[way.as_objects, way.strict].decode_lines(block)
            break
        except msgspec.ValidationError as error:
            if "unknown field" in str(error):
                way.strict = False
            elif "properties`" in str(error) and not way.as_objects:
                way.as_objects = True
            else:
                way.as_objects = False
                return None
        except BAD_ROW:
            return None
    else:
        return None
    if len(events) != count or UNSET in map(attrgetter("event_type"), events):
        return None
    columns: dict[str, Any] = {name: list(map(attrgetter(name), events)) for name in EVENT_FIELDS}
    if way.as_objects:
        for name in PROPERTIES:
            found = pa.array(list(map(bytes, columns[name])), pa.binary())
            texts = pc.if_else(pc.equal(found, b"null"), None, found)
            if not pc.all(pc.starts_with(texts, b"{")).as_py():
                way.as_objects = False
                return None
            try:
                columns[name] = Objects(texts.cast(pa.string()))
            except pa.ArrowInvalid:  # no UTF-8
                return None
    if not way.strict:
        try:
            found = FIELDS.decode_lines(block)
        except BAD_ROW:  # the name of a field that was passed over is no text
            return None
        for fields in found:
            tally.count_unknown(fields.keys() - EVENT_FIELDS.keys())
    return columns


def _decode_line(line: bytes, tally: Tally) -> tuple[Any, ...]:
    event: Any = DECODERS[True, False].decode(line)
    tally.count_unknown(FIELDS.decode(line).keys() - EVENT_FIELDS.keys())
    values = {
        name: _object_text(bytes(getattr(event, name)), name) if name in PROPERTIES else getattr(event, name)
        for name in EVENT_FIELDS
    }
    if values["event_type"] is UNSET:
        if values["event_properties"] is not None:
            raise RowError("event_type is missing (only an explicit null supersedes an event)")
        values["event_type"] = None
    return tuple(values.values())


def _object_text(raw: bytes, column: str) -> str | None:
    """The text of a property field, which may be an object, a string that holds one, or null."""
    first = raw[:1]
    if first == b"{":
        return raw.decode()
    if first == b'"':
        return TEXT.decode(raw)
    if raw == b"null":
        return None
    raise RowError(f"{column} is no JSON object")
