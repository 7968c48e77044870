"""Files of a feed as contract rows: Arrow batches of what can be loaded, and a reason for each row that can't.

The rows leave here with the types of `RAW_EVENTS` and `RAW_DEFINITIONS`; the JSON of the property columns is carried as
the text that the file holds, so that no number, escape, key or order of keys is spelled anew on the way.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from . import export, json_text, nested, parquet

TIME = pa.timestamp("us", "UTC")

RAW_EVENTS = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_time", TIME),
        ("processed_time", TIME),
        ("updated_time", TIME),
        ("device_id", pa.int64()),
        ("session_id", pa.int64()),
        ("view_id", pa.int64()),
        ("event_type", pa.string()),
        ("event_properties", pa.string()),
        ("source_type", pa.string()),
        ("source_properties", pa.string()),
        ("_is_derived_id", pa.bool_()),
        ("_is_export", pa.bool_()),
        ("_file", pa.string()),
        ("_position", pa.int64()),
        ("_dlt_load_id", pa.string()),
    ]
)

RAW_DEFINITIONS = pa.schema(
    [
        ("kind", pa.string()),
        ("id", pa.string()),
        ("name", pa.string()),
        ("description", pa.string()),
        ("state", pa.string()),
        ("created_time", TIME),
        ("created_by", pa.string()),
        ("modified_time", TIME),
        ("modified_by", pa.string()),
        ("fs_link_id", pa.string()),
        ("is_user_defined", pa.bool_()),
        ("_file", pa.string()),
        ("_position", pa.int64()),
        ("_dlt_load_id", pa.string()),
    ]
)

YEARS = (
    pa.scalar(datetime(1, 1, 1, tzinfo=timezone.utc), TIME),
    pa.scalar(datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc), TIME),
)
"""The times that every warehouse can hold."""

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is rejected: Snowflake holds no longer VARIANT, and BigQuery no longer row."""

TOO_LONG = f"is longer than {MAX_LINE_BYTES:,} bytes"

LONG_ROW_BYTES = 2**18
LONG_ROWS_BYTES = 128 * 2**20
"""Of rows whose texts are longer than the first, a file may have the second in all. DuckDB reads JSON and commits rows
in groups, so more of them would need gigabytes of memory, and the load or the build would end there every hour."""

TOO_MANY_LONG = (
    f"the file has more than {LONG_ROWS_BYTES:,} bytes in rows that are longer than {LONG_ROW_BYTES:,} bytes each"
)

KEPT_BYTES = 65_000
"""How much of a rejected row is kept: what the shortest of the warehouses' text types holds."""

KEPT_ROWS = 5_000
KEPT_ROWS_BYTES = 32 * 2**20
"""How many bad rows of a file are kept, and how much of them in all. Of rows beyond that, only how many they are."""

KEPT_NAMES = 1_000
"""How many unknown fields of a file are counted by name."""

LATE_MICROSECONDS = 3 * 3600 * 10**6
"""An event is late when it was processed this long after it happened (most are stable within 3 hours)."""

CLOCK_AHEAD_MICROSECONDS = 24 * 3600 * 10**6
EARLIEST_CLOCK = datetime(2000, 1, 1, tzinfo=timezone.utc)
"""A clock is wrong that is further ahead of the time of processing, or before this: see the contract's rule 11."""

BOM = b"\xef\xbb\xbf"
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
BLOCK_BYTES = 4 * 2**20
BATCH_ROWS = 16_384

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


EVENT_FIELDS: dict[str, Any] = {
    "event_id": str | None,
    "event_time": str | None,
    "processed_time": str | None,
    "updated_time": Int64 | str | None,
    "device_id": Int64 | None,
    "session_id": Int64 | None,
    "view_id": Int64 | None,
    "event_type": str | None | UnsetType,
    "event_properties": str | None,
    "source_type": str | None,
    "source_properties": str | None,
}
"""The fields of an event in NDJSON, in the order of `RAW_EVENTS`."""

PROPERTIES = ("event_properties", "source_properties")
IDS = ("device_id", "session_id", "view_id")
INTEGER = re.compile(r"-?[0-9]{1,19}")


def _event_struct(as_objects: bool, strict: bool) -> type[Struct]:
    """An event whose properties are strings that hold JSON, or objects kept as the bytes that they are."""
    fields: dict[str, tuple[str, Any, Any]] = {
        name: (name, Raw, Raw(b"null")) if as_objects and name in PROPERTIES else (name, kind, None)
        for name, kind in EVENT_FIELDS.items()
    }
    fields["event_type"] = ("event_type", EVENT_FIELDS["event_type"], UNSET)
    return msgspec.defstruct("Event", fields.values(), forbid_unknown_fields=strict, gc=False)


class RawDefinition(Struct):
    """One object of a definition file; fields that the contract does not name are left out."""

    id: str | Int64 | None = None
    name: str | None = None
    description: str | None = None
    state: str | None = None
    created_time: Any = None
    created_by: str | None = None
    modified_time: Any = None
    modified_by: str | None = None
    fs_link_id: str | Int64 | None = None
    is_user_defined: bool | None = None


DECODERS = {
    (as_objects, strict): msgspec.json.Decoder(_event_struct(as_objects, strict))
    for as_objects in (False, True)
    for strict in (True, False)
}
FIELDS = msgspec.json.Decoder(dict[str, Raw])
TEXT = msgspec.json.Decoder(str)


class RowError(ValueError):
    """A row that can't be loaded; the message is the reason that `rejected_events` keeps."""


BAD_ROW = (RowError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What a damaged file raises; the last, where the name of a Parquet file's column is no text."""


@dataclass(frozen=True)
class Rejected:
    """A row, or with position None a file, that can't be loaded. Position counts from 1, in lines, rows or records."""

    position: int | None
    reason: str
    content: str | None


@dataclass
class Tally:
    """What was seen in one file while it was read."""

    rows: int = 0
    late: int = 0
    is_export: bool = False
    wrong_clock: int = 0
    rejected_rows: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    """The first of them, within `KEPT_ROWS` and `KEPT_ROWS_BYTES`."""
    is_whole: bool = True
    """Whether the file has an end: what a file lacks that was cut short says nothing."""
    unknown_fields: Counter[str] = field(default_factory=Counter)
    first_event_time: datetime | None = None
    last_event_time: datetime | None = None
    newest_event_time: datetime | None = None
    """The latest time that is believed."""
    kept_bytes: int = 0

    def reject(self, position: int | None, error: BaseException | str, content: Any = None) -> None:
        """Keep a row that can't be loaded, its content (text, bytes, or what returns them) cut to `KEPT_BYTES`."""
        self.rejected_rows += 1
        self.is_whole = self.is_whole and position is not None
        if len(self.rejected) >= KEPT_ROWS and position is not None:
            return
        kept = None
        if self.kept_bytes < KEPT_ROWS_BYTES:
            content = content() if callable(content) else content
            if isinstance(content, str):
                content = content[:KEPT_BYTES].encode("utf-8", "backslashreplace")
            if content is not None:
                kept = content[:KEPT_BYTES].decode("utf-8", "backslashreplace").replace("\0", "\\0")
                kept = kept.encode()[:KEPT_BYTES].decode("utf-8", "ignore")  # the escapes made it longer
                self.kept_bytes += len(kept)
        self.rejected.append(Rejected(position, reason(error), kept))

    def cut_off(self, position: int | None, error: BaseException | str, content: Any = None) -> None:
        """Keep the place where a file that was not whole ends."""
        self.is_whole = False
        self.reject(position, error, content)

    def count_unknown(self, names: Iterable[str]) -> None:
        """Count fields that the contract does not know."""
        for name in names:
            is_room = name in self.unknown_fields or len(self.unknown_fields) < KEPT_NAMES
            self.unknown_fields[name[:100] if is_room else "(others)"] += 1

    @property
    def is_empty(self) -> bool:
        """Whether the file has no byte at all."""
        return not (self.is_whole or self.rows or self.rejected_rows)

    def rejections(self) -> list[Rejected]:
        """The rejected rows that were kept, and how many more there were."""
        more = self.rejected_rows - len(self.rejected)
        return self.rejected + [Rejected(None, f"{more:,} more rows of the file were rejected", None)] * (more > 0)


def reason(error: BaseException | str) -> str:
    """The words that `rejected_events` and the summary show: short, and the same for the same fault."""
    if isinstance(error, RecursionError):
        return "JSON is nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "not valid UTF-8"
    return str(error).split("\n")[0][:500]


# --- the two ways in: lines and columns ---------------------------------------------------------------------------


def read_events(
    path: Path, name: str, tally: Tally, hour: datetime | None = None, modified: datetime | None = None
) -> Iterator[pa.RecordBatch]:
    """Contract rows of one file of events, as batches of `RAW_EVENTS` without load id.

    Args:
        path: the file on local disk; the suffixes tell its format and compression (`.parquet`; `.ndjson`, `.jsonl`,
            `.json` or `.csv`, each also `.gz` or `.zst`). Whether a text is a segment export its content tells.
        name: what `_file` shall say: the file's address in the feed.
        tally: takes the counts and the rejected rows. A file that can't be read on is a rejected row, too.
        hour: the ingested_time of its folder.
        modified: when it was written; with hour, what tells of two exports of an event which is the later one.
    """
    try:
        if path.name.endswith(".parquet"):
            yield from _events_of_parquet(path, name, tally)
        else:
            yield from _events_of_text(path, name, tally, hour or modified, modified)
    except UNREADABLE as error:
        if isinstance(error, FileNotFoundError):
            raise
        tally.cut_off(None, f"the file cannot be read on: {reason(error)}")


def read_definitions(path: Path, name: str, kind: str, tally: Tally) -> Iterator[pa.RecordBatch]:
    """Rows of one definition file (`kind`: event, page or element) as batches of `RAW_DEFINITIONS` without load id."""
    rows: list[dict[str, Any]] = []
    try:
        for position, found in _objects(path, tally):
            try:
                definition = msgspec.convert(found, RawDefinition)
                if definition.id in (None, ""):
                    raise RowError("id is missing")
                row = msgspec.structs.asdict(definition)
                for column, value in row.items():
                    if isinstance(value, str) and "\0" in value:
                        raise RowError(f"{column} {json_text.NUL}")
                for column in ("created_time", "modified_time"):
                    row[column] = instant(row[column], column)
                for column in ("id", "fs_link_id"):
                    row[column] = None if row[column] is None else str(row[column])
                rows.append({"kind": kind, **row, "_file": name, "_position": position})
            except BAD_ROW as error:
                tally.reject(position, error, _as_json(found))
    except UNREADABLE as error:
        tally.cut_off(None, f"the file cannot be read on: {reason(error)}")
    tally.rows += len(rows)
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=pa.schema(list(RAW_DEFINITIONS)[:-1]))


def _as_json(found: dict[str, Any]) -> str | None:
    try:
        return json.dumps(found, default=str)
    except RecursionError:
        return None


def short_enough(batches: Iterable[pa.RecordBatch], max_bytes: int | None, tally: Tally) -> Iterator[pa.RecordBatch]:
    """The rows whose texts a warehouse can hold, the long ones within `LONG_ROWS_BYTES`; the others are rejected.

    `max_bytes` is the longest text that the warehouse holds, where that is less than what a line of a feed may have.
    """
    bytes_of_long_rows = 0
    for batch in batches:
        if batch.nbytes <= (max_bytes or LONG_ROW_BYTES):
            yield batch
            continue
        faults: dict[int, str] = {}
        sums = pa.repeat(0, batch.num_rows)
        for name in batch.schema.names:
            if not pa.types.is_string(batch.schema.field(name).type):
                continue
            length = pc.fill_null(pc.binary_length(batch.column(name)), 0)
            sums = pc.add(sums, length)
            if max_bytes:
                words = f"{name} is longer than the {max_bytes:,} bytes that the warehouse holds"
                _mark(pc.greater(length, max_bytes), words, faults)
        for place in pc.indices_nonzero(pc.greater(sums, LONG_ROW_BYTES)).to_pylist():
            if place not in faults:
                bytes_of_long_rows += sums[place].as_py()
                if bytes_of_long_rows > LONG_ROWS_BYTES:
                    faults[place] = TOO_MANY_LONG
        for place in sorted(faults):
            (row,) = batch.slice(place, 1).to_pylist()
            tally.rows -= 1
            content = partial(json.dumps, row, default=str, ensure_ascii=False)
            tally.reject(row["_position"], faults[place], content)
        if faults:
            kept = [place for place in range(batch.num_rows) if place not in faults]
            batch = batch.take(pa.array(kept, pa.int64()))
        yield batch


def _objects(path: Path, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a small file, whichever its format, with their positions."""
    if path.name.endswith(".parquet"):
        yield from _objects_of_parquet(path, tally)
        return
    for position, line in lines(path, tally):
        try:
            yield position, msgspec.json.decode(line, type=dict[str, Any])
        except BAD_ROW as error:
            tally.reject(position, error, line)


def _objects_of_parquet(path: Path, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    with parquet.opened(path) as file:
        by_name = {name.lower(): name for name in file.schema_arrow.names}
        known = {name: by_name[name] for name in RawDefinition.__struct_fields__ if name in by_name}
        if "id" not in known:
            raise OSError("it has no column id: it holds no definitions")
        position = 0
        for batch in file.iter_batches(columns=list(known.values())):
            columns = {name: _without_nanoseconds(batch.column(column)) for name, column in known.items()}
            for index in range(batch.num_rows):
                position += 1
                try:
                    found = {name: column[index].as_py() for name, column in columns.items()}
                except (ValueError, OverflowError) as error:  # what Python has not: the year 10000, text that is none
                    tally.reject(position, error, _row_content(batch)(index))
                else:
                    yield position, found


def _without_nanoseconds(column: pa.Array) -> pa.Array:
    is_time = pa.types.is_timestamp(column.type)
    return column.cast(pa.timestamp("us", column.type.tz), safe=False) if is_time else column


class _Text(io.RawIOBase):
    """The decompressed bytes of a text file."""

    def __init__(self, path: Path) -> None:
        self.found = pieces(path)
        self.rest = b""
        self.last = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.rest = self.rest or next(self.found, b"")
        count = min(len(buffer), len(self.rest))
        buffer[:count], self.rest = self.rest[:count], self.rest[count:]
        self.last = buffer[count - 1] if count else self.last
        return count


def open_text(path: Path) -> BinaryIO:
    """The decompressed bytes of a text file, up to the very byte from which on it is damaged."""
    return _Text(path)  # type: ignore[return-value]


def pieces(path: Path) -> Iterator[bytes]:
    """The same in pieces of some megabytes.

    A reader that fails gives nothing of what it had read by then, so it is asked again for less. Zeros that fill up the
    last block of a tape or disk may follow a gzip file: Python's own reader, which is slower, knows them.

    Raises:
        OSError: the file is damaged here.
    """
    if path.suffix in COMPRESSED and path.stat().st_size == 0:
        raise OSError("it is empty")
    done = 0
    for read_by, size in READERS.get(path.suffix, READERS[""]):
        try:
            with read_by(path) as stream:
                read = getattr(stream, "read1", stream.read)
                to_skip = done
                while to_skip and (piece := read(min(to_skip, size))):
                    to_skip -= len(piece)
                while piece := read(size):
                    done += len(piece)
                    yield piece
                return
        except (OSError, EOFError, zlib.error) as error:
            failed: Exception = error
    raise failed if isinstance(failed, OSError) else OSError(str(failed)) from failed


def _by_arrow(path: Path) -> Any:
    raw = pa.OSFile(str(path))
    return pa.CompressedInputStream(raw, COMPRESSED[path.suffix]) if path.suffix in COMPRESSED else raw


READERS: dict[str, list[tuple[Callable[[Path], Any], int]]] = {
    "": [(_by_arrow, BLOCK_BYTES)],
    ".gz": [(_by_arrow, BLOCK_BYTES), (gzip.open, 2**16)],
    ".zst": [(_by_arrow, BLOCK_BYTES), (_by_arrow, 2**16), (_by_arrow, 2**8), (_by_arrow, 1)],
}
"""What reads a file by its suffix, and how much at once; the next one is asked when one has failed."""


def blocks(path: Path, tally: Tally) -> Iterator[tuple[int, int, memoryview]]:
    """Whole lines in blocks of some megabytes, each with the number of its first line and how many it holds.

    Memory is bounded by `MAX_LINE_BYTES`: what is longer is rejected as it passes.
    """
    too_long = f"the line {TOO_LONG}"
    number, rest, skipping, is_empty = 1, b"", False, True
    try:
        for block in pieces(path):
            is_empty = False
            whole = block if number > 1 and not rest else (rest + block).removeprefix(BOM if number == 1 else b"")
            first, end = whole.find(b"\n") + 1, whole.rfind(b"\n") + 1
            if not (skipping or 0 < first <= MAX_LINE_BYTES) and len(whole) > MAX_LINE_BYTES:
                tally.reject(number, too_long, whole)
                skipping = True
            if not end:
                rest = b"" if skipping else whole
                continue
            start = first if skipping else 0
            number += skipping
            count = whole.count(b"\n", start)
            yield number, count, memoryview(whole)[start:end]
            number, rest, skipping = number + count, whole[end:], False
    except OSError:
        if rest:
            tally.reject(number, "the file ends in the middle of this row", rest)
        raise
    if is_empty or skipping or (rest and not _is_json(rest)):
        tally.is_whole = False
    if rest:
        yield number, 1, memoryview(rest)


def _is_json(line: bytes) -> bool:
    """Whether a last line without its end has all the same been written to its end."""
    try:
        msgspec.json.decode(line, type=Raw)
    except msgspec.DecodeError:
        return False
    return True


def lines(path: Path, tally: Tally) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; empty ones are passed over."""
    for first, _, block in blocks(path, tally):
        yield from numbered_lines(first, block)


def numbered_lines(first: int, block: memoryview) -> Iterator[tuple[int, bytes]]:
    """The lines of one block."""
    for number, line in enumerate(bytes(block).split(b"\n"), first):
        if line and not line.isspace():
            yield number, line


def _events_of_text(
    path: Path, name: str, tally: Tally, version: datetime | None, written: datetime | None
) -> Iterator[pa.RecordBatch]:
    head = _head(path)
    tally.is_export = export.is_export(head, path.name)
    opening = export.opening(head)
    if tally.is_export:
        text: Any = open_text(path)
        if opening == b"[":
            found = export.records_of_array(text, tally.reject, MAX_LINE_BYTES)
        elif opening == b"{":
            found = lines(path, tally)
        else:
            found = export.records_of_csv(text, tally.reject, MAX_LINE_BYTES)
        yield from _batches(found, _export_decoder(export.Export(version, written)), name, tally)
        if opening not in (b"[", b"{") and text.last != ord("\n"):
            tally.is_whole = False  # the last value of comma-separated ones may have been longer
        return
    if opening == b"[":
        found = export.records_of_array(open_text(path), tally.reject, MAX_LINE_BYTES)
        yield from _batches(found, _decode_line, name, tally)
        return
    way = Way()
    for first, count, block in blocks(path, tally):
        columns = _decode_block(block, count, way, tally)
        if columns is None:
            yield from _batches(numbered_lines(first, block), _decode_line, name, tally)
        else:
            yield _checked(columns, range(first, first + count), _line_of(block), name, tally)


def _head(path: Path) -> bytes:
    """The first bytes of a text file, as far as they can be read."""
    head = b""
    try:
        with open_text(path) as stream:
            while len(head) < export.HEAD_BYTES and (block := stream.read(1024)):
                head += block
    except OSError:  # whoever reads it on says so
        pass
    return head


@dataclass
class Way:
    """How the lines of a file were decoded last, which is how the next ones will be."""

    as_objects: bool = False
    strict: bool = True


class Objects(NamedTuple):
    """A property column that is known to hold JSON objects in UTF-8, as it was decoded as such."""

    texts: pa.StringArray


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


def _batches(found: Iterable[tuple[int, bytes]], decode: Any, name: str, tally: Tally) -> Iterator[pa.RecordBatch]:
    """Decode rows one by one and hand them on in batches bounded in rows and bytes."""
    rows: list[tuple[Any, ...]] = []
    positions: list[int] = []
    contents: list[bytes] = []
    size = 0
    for position, content in found:
        try:
            decoded = decode(content, tally)
        except BAD_ROW as error:
            tally.reject(position, error, content)
            continue
        for row in decoded:
            rows.append(row)
            positions.append(position)
            contents.append(content)
        size += len(content)
        if len(rows) >= BATCH_ROWS or size >= 4 * BLOCK_BYTES:
            yield _checked(_columns(rows), positions, contents.__getitem__, name, tally)
            rows, positions, contents, size = [], [], [], 0
    if rows:
        yield _checked(_columns(rows), positions, contents.__getitem__, name, tally)


def _columns(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    return dict(zip(EVENT_FIELDS, zip(*rows, strict=True), strict=True))


def _decode_line(line: bytes, tally: Tally) -> list[tuple[Any, ...]]:
    event: Any = DECODERS[True, False].decode(line)
    tally.count_unknown(FIELDS.decode(line).keys() - EVENT_FIELDS.keys())
    event_type = event.event_type
    properties = bytes(event.event_properties)
    if event_type is UNSET:
        if properties != b"null":
            raise RowError("event_type is missing (only an explicit null supersedes an event)")
        event_type = None
    row = (
        event.event_id,
        event.event_time,
        event.processed_time,
        event.updated_time,
        event.device_id,
        event.session_id,
        event.view_id,
        event_type,
        _object_text(properties, "event_properties"),
        event.source_type,
        _object_text(bytes(event.source_properties), "source_properties"),
    )
    return [row]


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


def _export_decoder(file: export.Export) -> Any:
    def decode(record: bytes, tally: Tally) -> list[tuple[Any, ...]]:
        events, unknown = file.events(FIELDS.decode(record))
        tally.count_unknown(unknown)
        return [tuple(event[name] for name in EVENT_FIELDS) for event in events]

    return decode


def _events_of_parquet(path: Path, name: str, tally: Tally) -> Iterator[pa.RecordBatch]:
    events = parquet.Events(path, EVENT_FIELDS)
    if "event_type" not in events.columns:
        raise OSError("it has no column event_type: it holds no events")
    for column in events.others:
        tally.unknown_fields[column] += events.rows
    position = 0
    for batch in events.batches(MAX_LINE_BYTES):
        columns = {column: _spelled(column, batch.column(column)) for column in events.columns}
        positions = range(position + 1, position + 1 + batch.num_rows)
        position += batch.num_rows
        faults = {}
        if parquet.TOO_LONG in batch.schema.names:
            found = enumerate(batch.column(parquet.TOO_LONG).to_pylist())
            faults = {index: f"{column} {TOO_LONG}" for index, column in found if column}
        yield _checked(columns, positions, _row_content(batch), name, tally, faults)
    if position != events.rows:
        raise OSError(f"it says that it holds {events.rows} rows, and has {position}")


def _spelled(column: str, values: pa.Array) -> Any:
    """A column of Parquet as NDJSON has it: an id that is a text as the integer it spells, properties as text.

    Some writers, such as Impala and old ones of Hive and Spark, don't say that the bytes of a column are text.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if column in PROPERTIES and pa.types.is_nested(values.type):
        return nested.as_json(values)
    if isinstance(values.type, pa.UuidType):
        return [None if value is None else str(value) for value in values.to_pylist()]
    if any(is_bytes(values.type) for is_bytes in BYTES):
        try:
            values = values.cast(pa.string())
        except pa.ArrowInvalid:  # of those that are no UTF-8 each is told
            return [_decoded(value) for value in values.to_pylist()]
    if column in IDS and any(is_text(values.type) for is_text in TEXTS):
        return [
            int(text) if isinstance(text, str) and INTEGER.fullmatch(text) else text for text in map(_shown, values)
        ]
    return values


BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return value if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _row_content(batch: pa.RecordBatch) -> Any:
    return lambda index: json.dumps(
        {name: _shortened(_shown(batch.column(name)[index])) for name in batch.schema.names},
        default=str,
        ensure_ascii=False,
    )


def _shortened(value: Any) -> Any:
    return value[:KEPT_BYTES] if isinstance(value, str | bytes) else value


def _shown(value: Any) -> Any:
    """A value to read, also where it is one that Python has not: text that is no UTF-8, a time past the year 9999."""
    try:
        return value.as_py() if isinstance(value, pa.Scalar) else value
    except (ValueError, OverflowError):
        return value.as_buffer().to_pybytes() if hasattr(value, "as_buffer") else getattr(value, "value", None)


# --- the checks, one place for both ---------------------------------------------------------------------------------


def _checked(
    columns: dict[str, Any],
    positions: Any,
    content: Any,
    name: str,
    tally: Tally,
    faults: dict[int, str] | None = None,
) -> pa.RecordBatch:
    """Columns to the types of `RAW_EVENTS`; rows that do not keep the contract go to the tally.

    Args:
        columns: by field, an Arrow array or a sequence of Python values; missing ones count as null.
        positions: of the rows, in the file.
        content: gives the content of the row at an index, for rows that are rejected.
        name: what `_file` shall say.
        tally: takes counts and rejected rows.
        faults: what is wrong with rows, by index, as far as it is known before.
    """
    count = len(positions)
    faults = {} if faults is None else faults
    arrays: dict[str, pa.Array] = {}
    for column in EVENT_FIELDS:
        values = columns.get(column)
        arrays[column] = (
            _typed(column, values, faults) if values is not None else pa.nulls(count, RAW_EVENTS.field(column).type)
        )

    live = pc.is_valid(arrays["event_type"])
    _mark(pc.is_null(arrays["processed_time"]), "processed_time is missing", faults)
    for column in ("device_id", "event_properties", "source_type", "source_properties"):
        _mark(pc.and_(live, pc.is_null(arrays[column])), f"{column} is missing", faults)
    _mark(pc.equal(arrays["event_type"], ""), "event_type is empty", faults)
    no_id = pc.fill_null(pc.equal(arrays["event_id"], ""), True)
    arrays["_is_derived_id"] = no_id
    arrays["_is_export"] = pa.repeat(tally.is_export, count)
    if pc.any(no_id).as_py():
        _mark(pc.and_(no_id, pc.invert(live)), "event_id is missing in a row that supersedes an event", faults)
        arrays["event_id"] = _derived_ids(arrays, no_id)

    arrays["_file"] = pa.repeat(pa.scalar(name), count)
    arrays["_position"] = pa.array(positions, pa.int64())
    batch = pa.RecordBatch.from_arrays(list(arrays.values()), schema=pa.schema(list(RAW_EVENTS)[:-1]))
    if faults:
        for index in sorted(faults):
            tally.reject(positions[index], faults[index], partial(content, index))
        batch = batch.filter(pa.array([index not in faults for index in range(count)]))
    _count(batch, tally)
    return batch


def _typed(column: str, values: Any, faults: dict[int, str]) -> pa.Array:
    """One column in its contract type; values that have none become null and a fault."""
    wanted = RAW_EVENTS.field(column).type
    try:
        array = values.texts if isinstance(values, Objects) else _converted(values, wanted)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        array = _converted_one_by_one(column, values, wanted, faults)
    if wanted != pa.string():
        return array
    too_long = pc.greater(pc.binary_length(array), MAX_LINE_BYTES)
    array = _without(too_long, array, f"{column} {TOO_LONG}", faults)
    if column in PROPERTIES:
        array, wrong = json_text.checked(array)
        for index, fault in wrong.items():
            faults.setdefault(index, f"{column} {fault}")
        return array
    return _without(pc.match_substring(array, "\0"), array, f"{column} {json_text.NUL}", faults)


def _without(hit: pa.Array, array: pa.Array, fault: str, faults: dict[int, str]) -> pa.Array:
    """A column whose values that have a fault are null."""
    if not pc.any(hit).as_py():
        return array
    _mark(hit, fault, faults)
    return pc.if_else(hit, None, array)


def _converted(values: Any, wanted: pa.DataType) -> pa.Array:
    """All at once, integers as epoch milliseconds where a time is wanted; raises when one value does not fit."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    if pa.types.is_decimal(array.type):  # as Snowflake writes its NUMBER
        array = array.cast(pa.int64())
    if wanted == pa.int64() and not (pa.types.is_integer(array.type) or pa.types.is_null(array.type)):
        raise ValueError("an id must be an integer")
    if wanted == pa.string() and pa.types.is_floating(array.type):
        raise ValueError("a text must not have gone through a double")
    if wanted != TIME:
        array = array.cast(wanted)
        if isinstance(values, pa.Array):
            array.validate(full=True)  # a Parquet file's text may be no UTF-8
        return array
    if pa.types.is_integer(array.type):
        array = array.cast(pa.int64()).cast(pa.timestamp("ms", "UTC"))
    elif pa.types.is_timestamp(array.type):
        # Only the nanoseconds are cut off: what is too large for microseconds has to fail.
        array = array.cast(pa.timestamp(array.type.unit, array.type.tz or "UTC"))
        array = array.cast(wanted, safe=array.type.unit != "ns")
    times = array.cast(wanted)
    if pc.any(pc.or_(pc.less(times, YEARS[0]), pc.greater(times, YEARS[1]))).as_py():
        raise ValueError("a time outside the years 1 to 9999")
    return times


def _converted_one_by_one(column: str, values: Any, wanted: pa.DataType, faults: dict[int, str]) -> pa.Array:
    out: list[Any] = []
    for index, value in enumerate(values):
        try:
            out.append(_converted_alone(value, column, wanted))
        except (RowError, pa.ArrowException, TypeError, ValueError, OverflowError):
            out.append(None)
            kind = {TIME: "time", pa.string(): "valid text"}.get(wanted, wanted)
            faults.setdefault(index, f"{column} is no {kind}: {str(_shown(value))[:80]!r}")
    return pa.array(out, wanted)


def _converted_alone(value: Any, column: str, wanted: pa.DataType) -> Any:
    """One value: whatever is right among right values is right beside a wrong one, too."""
    value = value.as_py() if isinstance(value, pa.Scalar) else value
    if wanted == TIME:
        try:
            return instant(value, column)
        except RowError:
            if not isinstance(value, str):
                raise
    return _converted([value], wanted)[0].as_py()


def instant(value: Any, column: str) -> datetime | None:
    """A point in time, in UTC, from ISO 8601 text (UTC unless it says otherwise), epoch milliseconds or a datetime."""
    if value is None:
        return None
    try:
        if isinstance(value, int):
            return pa.scalar(value, pa.int64()).cast(pa.timestamp("ms", "UTC")).cast(TIME).as_py()  # type: ignore[no-any-return]
        if isinstance(value, str):
            text = value.strip()
            value = msgspec.convert(text[:-4] + "Z" if text.endswith(" UTC") else text, datetime)
        if isinstance(value, datetime):
            return value.astimezone(timezone.utc) if value.tzinfo else value.replace(tzinfo=timezone.utc)
        raise ValueError("neither text nor number")
    except (msgspec.ValidationError, pa.ArrowException, ValueError, OverflowError):
        raise RowError(f"{column} is no time: {str(value)[:80]!r}") from None


def _mark(mask: pa.Array, fault: str, faults: dict[int, str]) -> None:
    if pc.any(mask).as_py():
        for index, hit in enumerate(mask.to_pylist()):
            if hit:
                faults.setdefault(index, fault)


DERIVED_FROM = (
    "event_time",
    "device_id",
    "session_id",
    "view_id",
    "event_type",
    "event_properties",
    "source_type",
    "source_properties",
)


def _derived_ids(arrays: dict[str, pa.Array], no_id: pa.Array) -> pa.Array:
    """Ids for events that the feed gives none: the same content has the same id, whichever file brings it, and when."""
    ids = arrays["event_id"].to_pylist()
    contents = zip(*(arrays[column].to_pylist() for column in DERIVED_FROM), strict=True)
    for index, (missing, content) in enumerate(zip(no_id.to_pylist(), contents, strict=True)):
        if missing:
            ids[index] = derived_id(content)
    return pa.array(ids, pa.string())


def derived_id(content: tuple[Any, ...]) -> str:
    """32 hexadecimal digits, from the values of `DERIVED_FROM` in that order."""
    text = "\x1f".join("\x00" if value is None else str(value) for value in content)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _count(batch: pa.RecordBatch, tally: Tally) -> None:
    tally.rows += batch.num_rows
    times = batch.column("event_time")
    bounds = pc.min_max(times)
    if bounds["min"].is_valid:
        first, last = bounds["min"].as_py(), bounds["max"].as_py()
        tally.first_event_time = min(tally.first_event_time or first, first)
        tally.last_event_time = max(tally.last_event_time or last, last)
    processed = batch.column("processed_time")
    delay = pc.subtract(processed.cast(pa.int64()), times.cast(pa.int64()))
    tally.late += pc.sum(pc.greater(delay, LATE_MICROSECONDS)).as_py() or 0
    is_early = pc.less(times, pa.scalar(EARLIEST_CLOCK, TIME))
    is_wrong = pc.fill_null(pc.or_(pc.less(delay, -CLOCK_AHEAD_MICROSECONDS), is_early), False)
    tally.wrong_clock += pc.sum(is_wrong).as_py() or 0
    newest = pc.max(pc.if_else(is_wrong, processed, times)).as_py()
    if newest is not None:
        tally.newest_event_time = max(tally.newest_event_time or newest, newest)
