"""What a row of staging is, and what was seen of a file's rows: the schemas, the limits and the tally.

The rows have the types of `RAW_EVENTS` and `RAW_DEFINITIONS`; the JSON of the property columns is carried as the text
that the file holds, so that no number, escape, key or order of keys is spelled anew on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import msgspec
import pyarrow as pa
from msgspec import Meta, Struct, UnsetType

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
        ("_page_stamp", pa.string()),
        ("_element_stamp", pa.string()),
        ("_event_stamp", pa.string()),
        ("_matcher_version", pa.int64()),
        ("_content_hash", pa.string()),
        ("_is_restamped", pa.bool_()),
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
        ("content", pa.string()),
        ("_file", pa.string()),
        ("_position", pa.int64()),
        ("_dlt_load_id", pa.string()),
    ]
)

REJECTED_EVENTS = pa.schema(
    [
        ("file", pa.string()),
        ("position", pa.int64()),
        ("reason", pa.string()),
        ("content", pa.string()),
        ("_dlt_load_id", pa.string()),
    ]
)

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
BLOCK_BYTES = 4 * 2**20

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
STAMPS = ("_page_stamp", "_element_stamp", "_event_stamp")
"""What was put into the JSON of an event, by kind of definition: the text of the members, with their comma."""

UNSTAMPED = (*STAMPS, "_matcher_version", "_content_hash", "_is_restamped")
"""The columns of which a feed says nothing."""

IDS = ("device_id", "session_id", "view_id")


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
