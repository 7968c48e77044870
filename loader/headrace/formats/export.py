"""The segment export feed: flat records as a JSON array, as lines or as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
from msgspec import Raw

from .. import checks
from ..rows import EVENT_FIELDS, MAX_LINE_BYTES, Tally
from . import text
from .export_records import NUMBER, PROPERTY, Export
from .json_array import records_of_array
from .source import BOM, Source

HAS_FIELD = re.compile(rb'"Event(?:Start|Type)"\s*:')
HAS_CONTRACT_FIELD = re.compile(rb'"event_(?:type|id|time)"\s*:')
FIELDS = msgspec.json.Decoder(dict[str, Raw])

objects = text.objects


def matches(source: Source) -> bool:
    """Whether the first bytes show a record of an export; comma-separated values must also be called so."""
    if source.opening in (b"[", b"{"):
        return bool(HAS_FIELD.search(source.head)) and not HAS_CONTRACT_FIELD.search(source.head)
    if not source.stem.endswith(".csv"):
        return False
    try:
        header = next(csv.reader([source.head.removeprefix(BOM).split(b"\n", 1)[0].decode("utf-8", "replace")]), [])
    except csv.Error:
        return False
    return {"EventStart", "EventType"} <= set(header)


def events(source: Source, tally: Tally) -> Iterator[pa.RecordBatch]:
    """The events of the records, and the identifies that they imply."""
    tally.is_export = True
    file = Export(source.hour or source.modified, source.modified)
    stream = source.text()
    is_csv = source.opening not in (b"[", b"{")
    if is_csv:
        found = records_of_csv(stream, tally.reject, MAX_LINE_BYTES)
    elif source.opening == b"[":
        found = records_of_array(stream, tally.reject, MAX_LINE_BYTES)
    else:
        found = text.lines(source, tally)

    def decode(record: bytes) -> list[tuple[Any, ...]]:
        events, unknown = file.events(FIELDS.decode(record))
        tally.count_unknown(unknown)
        return [tuple(event[name] for name in EVENT_FIELDS) for event in events]

    yield from checks.in_batches(found, decode, source.name, tally)
    if is_csv and stream.last != ord("\n"):
        tally.is_whole = False  # the last value of comma-separated ones may have been longer


def records_of_csv(stream: BinaryIO, reject: Callable[..., None], limit: int) -> Iterator[tuple[int, bytes]]:
    """The rows under the header of comma-separated values (RFC 4180) as JSON objects, with their places, from 1.

    All values are text there: the name of a field tells what its value is in JSON.
    """
    csv.field_size_limit(limit)
    with stream, io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        taken: list[str] = []
        rows = csv.reader(_remembered(lambda: text.readline(limit), taken), strict=True)
        header = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in next(rows)]
        position = 0
        while True:
            taken.clear()
            try:
                found = [next(rows)]
            except StopIteration:
                return
            except csv.Error:
                found = [[]]
            if len(found[0]) != len(header):
                # A quote that nothing closes takes the lines after it for text.
                found = [_row_of(line) for line in taken]
            for row in filter(None, found):
                position += 1
                content = ",".join(row).encode("utf-8", "surrogateescape")
                try:
                    content.decode()
                except UnicodeDecodeError as error:
                    reject(position, error, content)
                    continue
                if len(row) != len(header):
                    reject(position, f"it has {len(row)} values, and the header {len(header)}", content)
                    continue
                values = {name: Raw(_json_of(name, value)) for name, value in zip(header, row, strict=True) if value}
                yield position, msgspec.json.encode(values)


def _remembered(read: Callable[[], str], taken: list[str]) -> Iterator[str]:
    while line := read():
        taken.append(line)
        yield line


def _row_of(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return [line]


NUMBERS = re.compile(
    r"(Indv|User|Session|Page|PageCluster)Id|Event(Mod\w+|\w*Duration|\w+Offset|FirstInputDelay|CumulativeLayoutShift)"
    r"|Page(Num\w+|\w*Duration|MaxScrollDepthPercent|\w+Width|\w+Height)|Load\w+|Req(Status|Duration)"
)


def _json_of(name: str, value: str) -> bytes:
    found = PROPERTY.fullmatch(name)
    _, _, kind, is_list = found.groups() if found else (None,) * 4
    if kind == "obj" or is_list:
        try:
            if isinstance(msgspec.json.decode(value), dict if kind == "obj" and not is_list else list):
                return value.encode()
        except (msgspec.MsgspecError, RecursionError):
            pass
    elif kind == "bool" and value.lower() in ("true", "false"):
        return value.lower().encode()
    elif (kind in ("int", "real") or NUMBERS.fullmatch(name)) and NUMBER.fullmatch(value):
        return value.encode()
    return msgspec.json.encode(value)
