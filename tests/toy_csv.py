"""A feed format as somebody may add it: comma-separated values under a header of the contract's fields."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from headrace import checks
from headrace.formats import text
from headrace.formats.source import Source
from headrace.rows import EVENT_FIELDS, IDS, Tally

objects = text.objects


def matches(source: Source) -> bool:
    return source.stem.endswith(".csv") and "event_type" in header(source)


def header(source: Source) -> list[str]:
    return next(csv.reader([source.head.split(b"\n")[0].decode()]))


def events(source: Source, tally: Tally) -> Iterator[pa.RecordBatch]:
    names, numbered = header(source), text.lines(source, tally)
    next(numbered)

    def decode(line: bytes) -> list[tuple[Any, ...]]:
        values = dict(zip(names, next(csv.reader([line.decode()])), strict=False))
        found = {name: value or None for name, value in values.items()}
        return [tuple(found[name] and int(found[name]) if name in IDS else found.get(name) for name in EVENT_FIELDS)]

    yield from checks.in_batches(numbered, decode, source.name, tally)
