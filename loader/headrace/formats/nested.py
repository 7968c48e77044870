"""Structs, maps and lists of Parquet as the text of JSON."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, time
from typing import Any

import msgspec
import pyarrow as pa

ENCODER = msgspec.json.Encoder(decimal_format="number")


def as_json(values: pa.Array) -> list[Any]:
    """Each value as JSON text, integers to the last digit, times in ISO 8601 and UTC; what has none stays as it is."""
    plain = values.cast(_plain_type(values.type), safe=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a key that comes twice in a map, the last stands
        return [_text(value) for value in plain]


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The same with times that Python has, too: in microseconds."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        made: pa.DataType = pa.list_(_plain_type(kind.value_type))
        return made
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.time64("us") if pa.types.is_time(kind) else kind


def _text(value: pa.Scalar) -> Any:
    try:
        found = value.as_py(maps_as_pydicts="lossy")
        return None if found is None else ENCODER.encode(_plain(found)).decode()
    except (ValueError, OverflowError, msgspec.MsgspecError, TypeError):
        return value  # text that is no UTF-8, a time past the year 9999


def _plain(value: Any) -> Any:
    """A value as JSON can say it. A struct has each of its fields in each row: those that are null say nothing."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, datetime):
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date | time) else value
