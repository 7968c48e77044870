"""The checks of rows, one place for all formats: columns or decoded rows become batches of `RAW_EVENTS`.

A row that does not keep the contract, or that no warehouse could hold, goes to the tally with the reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from . import json_text
from .rows import (
    BAD_ROW,
    BLOCK_BYTES,
    EVENT_FIELDS,
    LONG_ROW_BYTES,
    LONG_ROWS_BYTES,
    MAX_LINE_BYTES,
    PROPERTIES,
    RAW_EVENTS,
    TIME,
    TOO_LONG,
    TOO_MANY_LONG,
    UNSTAMPED,
    RawDefinition,
    RowError,
    Tally,
)

YEARS = (
    pa.scalar(datetime(1, 1, 1, tzinfo=UTC), TIME),
    pa.scalar(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), TIME),
)
"""The times that every warehouse can hold."""

LATE_MICROSECONDS = 3 * 3600 * 10**6
"""An event is late when it was processed this long after it happened (most are stable within 3 hours)."""

CLOCK_AHEAD_MICROSECONDS = 24 * 3600 * 10**6
EARLIEST_CLOCK = datetime(2000, 1, 1, tzinfo=UTC)
"""A clock is wrong that is further ahead of the time of processing, or before this: see the contract's rule 11."""

BATCH_ROWS = 16_384


class Objects(NamedTuple):
    """A property column that is known to hold JSON objects in UTF-8, as it was decoded as such."""

    texts: pa.StringArray


def in_batches(
    found: Iterable[tuple[int, bytes]],
    decode: Callable[[bytes], list[tuple[Any, ...]]],
    name: str,
    tally: Tally,
) -> Iterator[pa.RecordBatch]:
    """Rows that are decoded one by one, checked and handed on in batches bounded in rows and bytes.

    Args:
        found: contents with their positions in the file.
        decode: makes rows of a content, each with the values of `EVENT_FIELDS`; raises one of `BAD_ROW`.
        name: what `_file` shall say.
        tally: takes counts and rejected rows.
    """
    rows: list[tuple[Any, ...]] = []
    positions: list[int] = []
    contents: list[bytes] = []
    size = 0
    for position, content in found:
        try:
            decoded = decode(content)
        except BAD_ROW as error:
            tally.reject(position, error, content)
            continue
        for row in decoded:
            rows.append(row)
            positions.append(position)
            contents.append(content)
        size += len(content)
        if len(rows) >= BATCH_ROWS or size >= 4 * BLOCK_BYTES:
            yield checked(_columns(rows), positions, contents.__getitem__, name, tally)
            rows, positions, contents, size = [], [], [], 0
    if rows:
        yield checked(_columns(rows), positions, contents.__getitem__, name, tally)


def _columns(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    return dict(zip(EVENT_FIELDS, zip(*rows, strict=True), strict=True))


def checked(
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
    for column in UNSTAMPED:
        arrays[column] = pa.nulls(count, RAW_EVENTS.field(column).type)
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
            faults.setdefault(index, f"{column} is no {kind}: {str(shown(value))[:80]!r}")
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
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
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


def definitions(
    found: Iterable[tuple[int, dict[str, Any]]], kind: str, name: str, tally: Tally
) -> Iterator[dict[str, Any]]:
    """Objects as rows of `RAW_DEFINITIONS` without load id."""
    for position, one in found:
        try:
            definition = msgspec.convert(one, RawDefinition)
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
            tally.rows += 1
            yield {"kind": kind, **row, "_file": name, "_position": position}
        except BAD_ROW as error:
            tally.reject(position, error, _as_json(one))


def _as_json(found: dict[str, Any]) -> str | None:
    try:
        return json.dumps(found, default=str)
    except RecursionError:
        return None


def shown(value: Any) -> Any:
    """A value to read, also where it is one that Python has not: text that is no UTF-8, a time past the year 9999."""
    try:
        return value.as_py() if isinstance(value, pa.Scalar) else value
    except (ValueError, OverflowError):
        return value.as_buffer().to_pybytes() if hasattr(value, "as_buffer") else getattr(value, "value", None)
