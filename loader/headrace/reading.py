"""Files of a feed as rows of staging, whichever their format."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from . import checks, formats
from .formats.source import Source
from .rows import RAW_DEFINITIONS, UNREADABLE, Tally, reason


def read_events(source: Source, tally: Tally) -> Iterator[pa.RecordBatch]:
    """Rows of a file of events as batches of `RAW_EVENTS` without load id.

    The tally takes the counts and the rejected rows. A file that can't be read on is a rejected row, too.
    """
    try:
        yield from formats.reader_of(source).events(source, tally)
    except UNREADABLE as error:
        _cut_off(tally, error)


def read_definitions(source: Source, kind: str, tally: Tally) -> Iterator[pa.RecordBatch]:
    """Rows of a file of definitions (`kind`: event, page or element), as those of `RAW_DEFINITIONS` without load id."""
    rows = []
    try:
        for row in checks.definitions(formats.reader_of(source).objects(source, tally), kind, source.name, tally):
            rows.append(row)
    except UNREADABLE as error:
        _cut_off(tally, error)
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=pa.schema(list(RAW_DEFINITIONS)[:-1]))


def _cut_off(tally: Tally, error: Exception) -> None:
    if isinstance(error, FileNotFoundError):
        raise error
    tally.cut_off(None, f"the file cannot be read on: {reason(error)}")
