"""Files of a feed as rows of staging: read, checked and written to Parquet, whichever their format.

What comes of a file depends on it and on what it is read for, so that it may be read by any process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from . import checks, formats
from .definitions.model import Definitions
from .errors import HeadraceError, UsageError, gone
from .formats.source import Source
from .rows import BLOCK_BYTES, RAW_DEFINITIONS, REJECTED_EVENTS, STAMPS, UNREADABLE, Tally, reason

PARQUET_BYTES = 64 * 2**20
"""The rows of a package are written in files of about this size: what a destination loads at once."""

LONG_ROW_BYTES = 2**16
"""Rows longer than that are measured as they are in memory: compressed, a file of them could stand for gigabytes."""

STAMPED_BYTES = 16 * 2**20
"""So much is stamped at once."""

REPEATING = ["event_type", "source_type", *STAMPS, "_file", "_dlt_load_id", "kind"]
"""The columns that a dictionary makes smaller; for the others, trying costs time and saves nothing."""


@dataclass(frozen=True)
class Task:
    """A file to read, or why there is nothing to read."""

    source: Source
    kind: str
    problem: HeadraceError | None = None
    known_hash: str | None = None
    """A file with this content is not read again."""
    is_known: bool = False
    """Whether the ledger knows rows of it, which it keeps when it is empty now."""


@dataclass(frozen=True)
class Into:
    """Where the rows of files go."""

    schema: pa.Schema
    load_id: str
    stem: Path
    """What the names of the written files begin with."""
    max_bytes: int | None
    """The longest text that the warehouse holds, where that is less than a line may have."""
    definitions: Definitions | None = None
    """With whose ids events are stamped."""


@dataclass(frozen=True)
class Part:
    """A Parquet file of rows."""

    path: Path
    rows: int


@dataclass
class Found:
    """What was found in files, by their addresses."""

    hashes: dict[str, str] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    """Of those whose content was not known."""
    problems: dict[str, HeadraceError] = field(default_factory=dict)
    """Why files can't be read."""
    reasons: Counter[str] = field(default_factory=Counter)
    rejected: list[Part] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def add(self, found: Found) -> None:
        """Take what was found in further files, but for the rows."""
        self.hashes |= found.hashes
        self.tallies |= found.tallies
        self.problems |= found.problems
        self.reasons += found.reasons
        self.rejected += found.rejected


def read(tasks: list[Task], into: Into) -> Found:
    """Write the rows of files, and what is rejected of them."""
    found = Found()
    found.parts += parts(tasks, into, found)
    return found


def parts(tasks: Iterable[Task], into: Into, found: Found) -> Iterator[Part]:
    """The rows of files in their order, as Parquet files, so that no row becomes a Python dict on its way."""
    load_id = pa.scalar(into.load_id)
    with _Rejects(into, found) as rejects:
        writer, count, size, number = None, 0, 0, 0
        for rows in _gathered(batch for task in tasks for batch in _rows(task, into, found, rejects)):
            if writer is None:
                path = into.stem.with_name(f"{into.stem.name}_{number}.parquet")
                sink = path.open("wb")
                count, size, number = 0, 0, number + 1
                writer = pq.ParquetWriter(
                    sink, into.schema, compression="lz4", use_dictionary=REPEATING, write_statistics=False
                )
            writer.write_table(rows.append_column("_dlt_load_id", pa.repeat(load_id, rows.num_rows)))
            count += rows.num_rows
            size += rows.nbytes
            if sink.tell() >= PARQUET_BYTES or size >= max(PARQUET_BYTES, count * LONG_ROW_BYTES):
                writer.close()
                sink.close()
                writer = None
                yield Part(path, count)
        if writer is not None:
            writer.close()
            sink.close()
            yield Part(path, count)


def _rows(task: Task, into: Into, found: Found, rejects: _Rejects) -> Iterator[pa.RecordBatch]:
    name = task.source.name
    try:
        if task.problem:
            raise task.problem
        formats.reader_of(task.source)
        found.hashes[name] = content_hash(task.source.path)
    except HeadraceError as error:
        found.problems[name] = error
        return
    except FileNotFoundError:
        found.problems[name] = gone(name)
        return
    except OSError as error:
        found.problems[name] = UsageError(f"{name}: it can't be read ({error.strerror or error})")
        return
    if found.hashes[name] == task.known_hash:
        return
    tally = found.tallies[name] = Tally()
    if task.kind == "events":
        batches = read_events(task.source, tally)
        if into.definitions:
            from .definitions.stamp import stamper_of  # what it needs is imported where there are definitions

            stamper = stamper_of(into.definitions)
            batches = (stamper.stamped(batch, into.max_bytes) for batch in _larger(batches))
    else:
        batches = read_definitions(task.source, task.kind, tally)
    yield from checks.short_enough(batches, into.max_bytes, tally)
    if task.is_known and tally.is_empty:
        tally.cut_off(None, "the file is empty: what it held before stays")
    rejects.keep(name, tally)


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


class _Rejects:
    """Writes the rejected rows to disk, file by file, so that memory holds those of one at most."""

    def __init__(self, into: Into, found: Found) -> None:
        self.into = into
        self.found = found
        self.path = into.stem.with_name(f"rejected_{into.stem.name}.parquet")
        self.writer: pq.ParquetWriter | None = None
        self.rows = 0

    def __enter__(self) -> _Rejects:
        return self

    def keep(self, name: str, tally: Tally) -> None:
        """Write what a file's tally has kept."""
        rejected = tally.rejections()
        tally.rejected.clear()
        self.found.reasons.update(row.reason for row in rejected)
        if not rejected:
            return
        self.writer = self.writer or pq.ParquetWriter(self.path, REJECTED_EVENTS, compression="lz4")
        self.rows += len(rejected)
        rest = {"file": name, "_dlt_load_id": self.into.load_id}
        rows = [{**asdict(row), **rest} for row in rejected]
        self.writer.write_table(pa.Table.from_pylist(rows, schema=REJECTED_EVENTS))

    def __exit__(self, *raised: object) -> None:
        if self.writer:
            self.writer.close()
            self.found.rejected.append(Part(self.path, self.rows))


def _larger(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in fewer batches, as stamping one takes a time of its own."""
    for table in _gathered(batches, STAMPED_BYTES):
        yield from table.combine_chunks().to_batches()


def _gathered(batches: Iterator[pa.RecordBatch], least_bytes: int = BLOCK_BYTES) -> Iterator[pa.Table]:
    """Batches as tables of some megabytes, so that a thousand small files don't make a thousand row groups."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= least_bytes:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if held:
        yield pa.Table.from_batches(held)


def content_hash(path: Path) -> str:
    """XXH3 of a file's bytes: it has to tell versions of a file apart, not to withstand an attack."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
