"""Files of a feed as contract rows: Arrow batches of what can be loaded, and a reason for each row that can't.

The rows leave here with the types of `RAW_EVENTS` and `RAW_DEFINITIONS`; the JSON of the property columns is carried as
the text that the file holds, so that no number, escape, key or order of keys is spelled anew on the way.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from . import export

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

KEPT_BYTES = 65_000
"""How much of a rejected row is kept: what the shortest of the warehouses' text types holds."""

LATE_MICROSECONDS = 3 * 3600 * 10**6
"""An event is late when it was processed this long after it happened (most are stable within 3 hours)."""

BOM = b"\xef\xbb\xbf"
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


class JsonObject(Struct, gc=False):
    """Any JSON object: decoding into it checks the syntax of all that it holds, and keeps nothing."""


DECODERS = {
    (as_objects, strict): msgspec.json.Decoder(_event_struct(as_objects, strict))
    for as_objects in (False, True)
    for strict in (True, False)
}
FIELDS = msgspec.json.Decoder(dict[str, Raw])
TEXT = msgspec.json.Decoder(str)
OBJECT = msgspec.json.Decoder(JsonObject)


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
    rejected: list[Rejected] = field(default_factory=list)
    unknown_fields: Counter[str] = field(default_factory=Counter)
    first_event_time: datetime | None = None
    last_event_time: datetime | None = None

    def reject(self, position: int | None, error: BaseException | str, content: bytes | str | None = None) -> None:
        """Keep a row that can't be loaded, its content cut to `KEPT_BYTES`."""
        if isinstance(content, str):
            content = content.encode("utf-8", "backslashreplace")
        kept = None
        if content is not None:
            kept = content[:KEPT_BYTES].decode("utf-8", "backslashreplace").replace("\0", "\\0")
            kept = kept.encode()[:KEPT_BYTES].decode("utf-8", "ignore")  # the escapes made it longer
        self.rejected.append(Rejected(position, reason(error), kept))


def reason(error: BaseException | str) -> str:
    """The words that `rejected_events` and the summary show: short, and the same for the same fault."""
    if isinstance(error, RecursionError):
        return "JSON is nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "not valid UTF-8"
    return str(error).split("\n")[0][:500]


# --- the two ways in: lines and columns ---------------------------------------------------------------------------


def read_events(path: Path, name: str, tally: Tally) -> Iterator[pa.RecordBatch]:
    """Contract rows of one file of events, as batches of `RAW_EVENTS` without load id.

    Args:
        path: the file on local disk; the suffixes tell its format and compression (`.parquet`; `.ndjson`, `.jsonl` or
            `.json`, each also `.gz` or `.zst`). A `.json` file that begins with `[` is a segment export.
        name: what `_file` shall say: the file's address in the feed.
        tally: takes the counts and the rejected rows. A file that can't be read on is a rejected row, too.
    """
    try:
        if path.name.endswith(".parquet"):
            yield from _events_of_parquet(path, name, tally)
        else:
            yield from _events_of_text(path, name, tally)
    except UNREADABLE as error:
        if isinstance(error, FileNotFoundError):
            raise
        tally.reject(None, f"the file cannot be read on: {reason(error)}")


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
                for column in ("created_time", "modified_time"):
                    row[column] = instant(row[column], column)
                for column in ("id", "fs_link_id"):
                    row[column] = None if row[column] is None else str(row[column])
                rows.append({"kind": kind, **row, "_file": name, "_position": position})
            except BAD_ROW as error:
                tally.reject(position, error, json.dumps(found, default=str))
    except UNREADABLE as error:
        tally.reject(None, f"the file cannot be read on: {reason(error)}")
    tally.rows += len(rows)
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=pa.schema(list(RAW_DEFINITIONS)[:-1]))


def short_enough(batches: Iterable[pa.RecordBatch], max_bytes: int, tally: Tally) -> Iterator[pa.RecordBatch]:
    """The rows whose texts a warehouse can hold; the others are rejected."""
    for batch in batches:
        fits = pa.repeat(True, batch.num_rows)
        for name in batch.schema.names:
            column = batch.column(name)
            if pa.types.is_string(column.type):
                fits = pc.and_(fits, pc.less_equal(pc.fill_null(pc.binary_length(column), 0), max_bytes))
        for row in batch.filter(pc.invert(fits)).to_pylist():
            longest = max(
                (name for name in row if isinstance(row[name], str)), key=lambda name: len(row[name].encode())
            )
            words = f"{longest} is longer than the {max_bytes:,} bytes that the warehouse holds"
            tally.rows -= 1
            tally.reject(row["_position"], words, json.dumps(row, default=str, ensure_ascii=False))
        yield batch.filter(fits)


def _objects(path: Path, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a small file, whichever its format, with their positions."""
    if path.name.endswith(".parquet"):
        with pq.ParquetFile(path) as file:
            yield from enumerate((row for batch in file.iter_batches() for row in batch.to_pylist()), 1)
        return
    for position, line in lines(path, tally):
        try:
            yield position, msgspec.json.decode(line, type=dict[str, Any])
        except BAD_ROW as error:
            tally.reject(position, error, line)


def open_text(path: Path) -> BinaryIO:
    """The decompressed bytes of a text file."""
    raw = pa.OSFile(str(path))
    compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    return pa.CompressedInputStream(raw, compression) if compression else raw  # type: ignore[no-any-return]


def blocks(path: Path, tally: Tally) -> Iterator[tuple[int, int, memoryview]]:
    """Whole lines in blocks of some megabytes, each with the number of its first line and how many it holds.

    Memory is bounded by `MAX_LINE_BYTES`: what is longer is rejected as it passes.
    """
    too_long = f"the line is longer than {MAX_LINE_BYTES:,} bytes"
    number, rest, skipping = 1, b"", False
    with open_text(path) as stream:
        try:
            while block := stream.read(BLOCK_BYTES):
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
    if rest:
        yield number, 1, memoryview(rest)


def lines(path: Path, tally: Tally) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; empty ones are passed over."""
    for first, _, block in blocks(path, tally):
        yield from numbered_lines(first, block)


def numbered_lines(first: int, block: memoryview) -> Iterator[tuple[int, bytes]]:
    """The lines of one block."""
    for number, line in enumerate(bytes(block).split(b"\n"), first):
        if line and not line.isspace():
            yield number, line


def _events_of_text(path: Path, name: str, tally: Tally) -> Iterator[pa.RecordBatch]:
    if ".json" in path.suffixes:
        with open_text(path) as stream:
            is_export = stream.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
        if is_export:
            records = export.records(open_text(path), tally.reject, MAX_LINE_BYTES)
            yield from _batches(records, _decode_export, name, tally)
            return
    way = Way()
    for first, count, block in blocks(path, tally):
        columns = _decode_block(block, count, way, tally)
        if columns is None:
            yield from _batches(numbered_lines(first, block), _decode_line, name, tally)
        else:
            yield _checked(columns, range(first, first + count), _line_of(block), name, tally)


@dataclass
class Way:
    """How the lines of a file were decoded last, which is how the next ones will be."""

    as_objects: bool = False
    strict: bool = True


class Objects(NamedTuple):
    """A property column that is known to hold JSON objects, as it was decoded as such."""

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
    if len(events) != count:
        return None
    columns: dict[str, Any] = {name: list(map(attrgetter(name), events)) for name in EVENT_FIELDS}
    if UNSET in columns["event_type"]:
        return None
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
            tally.unknown_fields.update(fields.keys() - EVENT_FIELDS.keys())
    return columns


def _batches(found: Iterable[tuple[int, bytes]], decode: Any, name: str, tally: Tally) -> Iterator[pa.RecordBatch]:
    """Decode rows one by one and hand them on in batches bounded in rows and bytes."""
    rows: list[tuple[Any, ...]] = []
    positions: list[int] = []
    contents: list[bytes] = []
    size = 0
    for position, content in found:
        try:
            row = decode(content, tally)
        except BAD_ROW as error:
            tally.reject(position, error, content)
            continue
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


def _decode_line(line: bytes, tally: Tally) -> tuple[Any, ...]:
    event: Any = DECODERS[True, False].decode(line)
    tally.unknown_fields.update(FIELDS.decode(line).keys() - EVENT_FIELDS.keys())
    event_type = event.event_type
    properties = bytes(event.event_properties)
    if event_type is UNSET:
        if properties != b"null":
            raise RowError("event_type is missing (only an explicit null supersedes an event)")
        event_type = None
    return (
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


def _object_text(raw: bytes, column: str) -> str | None:
    """The text of a property field, which may be an object, a string that holds one, or null."""
    first = raw[:1]
    if first == b"{":
        return raw.decode()
    if first == b'"':
        text = TEXT.decode(raw)
        _check_text(text, column)
        return text
    if raw == b"null":
        return None
    raise RowError(f"{column} is no JSON object")


def _check_text(text: str, column: str) -> None:
    try:
        OBJECT.decode(text)
    except msgspec.MsgspecError as error:
        raise RowError(f"{column} is no JSON object: {reason(error)}") from None


def _decode_export(record: bytes, tally: Tally) -> tuple[Any, ...]:
    event, unknown = export.event_of(FIELDS.decode(record))
    tally.unknown_fields.update(unknown)
    return tuple(event[name] for name in EVENT_FIELDS)


def _events_of_parquet(path: Path, name: str, tally: Tally) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=BLOCK_BYTES) as file:
        names = file.schema_arrow.names
        known = [column for column in EVENT_FIELDS if column in names]
        if "event_type" not in names:
            raise OSError("it has no column event_type: it holds no events")
        if len(set(names)) < len(names):
            raise OSError("two of its columns have the same name")
        for column in names:
            if column not in known:
                tally.unknown_fields[column] += file.metadata.num_rows
        position = 0
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=known):
            columns = {column: batch.column(column) for column in known}
            positions = range(position + 1, position + 1 + batch.num_rows)
            position += batch.num_rows
            yield _checked(columns, positions, _row_content(batch), name, tally)
        if position != file.metadata.num_rows:
            raise OSError(f"it says that it holds {file.metadata.num_rows} rows, and has {position}")


def _row_content(batch: pa.RecordBatch) -> Any:
    return lambda index: json.dumps(
        {name: _shown(batch.column(name)[index]) for name in batch.schema.names}, default=str, ensure_ascii=False
    )


def _shown(value: Any) -> Any:
    """A value to read, also where it is one that Python has not: text that is no UTF-8, a time past the year 9999."""
    try:
        return value.as_py() if isinstance(value, pa.Scalar) else value
    except (ValueError, OverflowError):
        return value.as_buffer().to_pybytes() if hasattr(value, "as_buffer") else getattr(value, "value", None)


# --- the checks, one place for both ---------------------------------------------------------------------------------


def _checked(columns: dict[str, Any], positions: Any, content: Any, name: str, tally: Tally) -> pa.RecordBatch:
    """Columns to the types of `RAW_EVENTS`; rows that do not keep the contract go to the tally.

    Args:
        columns: by field, an Arrow array or a sequence of Python values; missing ones count as null.
        positions: of the rows, in the file.
        content: gives the content of the row at an index, for rows that are rejected.
        name: what `_file` shall say.
        tally: takes counts and rejected rows.
    """
    count = len(positions)
    faults: dict[int, str] = {}
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
    if pc.any(no_id).as_py():
        _mark(pc.and_(no_id, pc.invert(live)), "event_id is missing in a row that supersedes an event", faults)
        arrays["event_id"] = _derived_ids(arrays, no_id)

    arrays["_file"] = pa.repeat(pa.scalar(name), count)
    arrays["_position"] = pa.array(positions, pa.int64())
    batch = pa.RecordBatch.from_arrays(list(arrays.values()), schema=pa.schema(list(RAW_EVENTS)[:-1]))
    if faults:
        for index in sorted(faults):
            tally.reject(positions[index], faults[index], content(index))
        batch = batch.filter(pa.array([index not in faults for index in range(count)]))
    _count(batch, tally)
    return batch


def _typed(column: str, values: Any, faults: dict[int, str]) -> pa.Array:
    """One column in its contract type; values that have none become null and a fault."""
    wanted = RAW_EVENTS.field(column).type
    if isinstance(values, Objects):
        return values.texts
    if column in PROPERTIES:
        return _objects_checked(column, values, faults)
    try:
        return _converted(values, wanted)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _converted_one_by_one(column, values, wanted, faults)


def _objects_checked(column: str, values: Any, faults: dict[int, str]) -> pa.Array:
    """A property column as text; what is no JSON object is a fault."""
    try:
        array = _converted(values, pa.string())
    except pa.ArrowException:
        array = _converted_one_by_one(column, values, pa.string(), faults)
    if not _all_are_objects(array.drop_null()):
        for index, text in enumerate(array.to_pylist()):
            if text is not None:
                try:
                    _check_text(text, column)
                except BAD_ROW as error:
                    faults.setdefault(index, reason(error))
    return array


def _all_are_objects(texts: pa.StringArray) -> bool:
    """Whether each text is a JSON object, in one go: as lines.

    A text that begins with `{` and ends with `}` can't be completed by the next line, as no comma stands between; so
    fewer or more objects than texts is the only way left to be wrong.
    """
    if len(texts) == 0:
        return True
    if not (pc.all(pc.starts_with(texts, "{")).as_py() and pc.all(pc.ends_with(texts, "}")).as_py()):
        return False
    lines = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts), "\n")
    try:
        return len(OBJECT.decode_lines(lines[0].as_buffer())) == len(texts)
    except BAD_ROW:
        return False


def _converted(values: Any, wanted: pa.DataType) -> pa.Array:
    """All at once, integers as epoch milliseconds where a time is wanted; raises when one value does not fit."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    if pa.types.is_decimal(array.type):  # as Snowflake writes its NUMBER
        array = array.cast(pa.int64())
    if wanted == pa.int64() and not (pa.types.is_integer(array.type) or pa.types.is_null(array.type)):
        raise ValueError("an id must be an integer")
    if wanted != TIME:
        array = array.cast(wanted)
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
    delay = pc.subtract(batch.column("processed_time").cast(pa.int64()), times.cast(pa.int64()))
    tally.late += pc.sum(pc.greater(delay, LATE_MICROSECONDS)).as_py() or 0
