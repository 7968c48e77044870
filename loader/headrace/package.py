"""One load package of dlt: files of a feed as rows of staging, with what was rejected and the ledger's rows of them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from dlt.pipeline.exceptions import PipelineStepFailed
from dlt.pipeline.helpers import retry_load
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from . import checks, formats, reading
from .destination import failure, lift_memory_limit
from .errors import HeadraceError, LoadError, UsageError
from .feed import Feed, FeedFile, gone, groups
from .formats.source import Source
from .idle import Listing
from .ledger import LOADED_FILES, REJECTED_EVENTS, STAGING, SYNCS, UNREAD, Known, discard_unfinished, is_news
from .pipeline import stages
from .rows import BLOCK_BYTES, RAW_DEFINITIONS, RAW_EVENTS, Tally
from .target import Target

PACKAGE_BYTES = 4 * 2**30
"""A package takes files up to this size in all, and at least one: what a kill can cost, and what the disk must hold."""

PARQUET_BYTES = 64 * 2**20
"""The rows of a package are written in files of about this size: what a destination loads at once."""

LONG_ROW_BYTES = 2**16
"""Rows longer than that are measured as they are in memory: compressed, a file of them could stand for gigabytes."""

TEXT_BYTES = {"redshift": 65_535}
"""The longest text that a warehouse holds, where it is less than a line of a feed may have."""

INSERTED_ROWS = 10_000
"""More rows than that in one load are worth a staging bucket on Redshift."""

REPEATING = ["event_type", "source_type", "_file", "_dlt_load_id", "kind"]
"""The columns that a dictionary makes smaller; for the others, trying costs time and saves nothing."""

REJECTS = "rejected_events.parquet"


@dataclass
class Loaded:
    """What a load did, in files and rows."""

    files: int = 0
    unchanged_files: int = 0
    recreated_files: int = 0
    rows: int = 0
    definitions: int = 0
    rejected: int = 0
    late: int = 0
    inserted: int = 0
    """Rows that went by INSERT, for want of a staging bucket."""
    unread: list[str] = field(default_factory=list)
    """Files that are not read and were not known yet, each with the reason."""
    gone_on: str | None = None
    """With what backfill this one went on."""
    unknown_fields: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    listing: Listing | None = None
    """What the feed held, all of which is loaded by now; None where some of it could not be read."""


def packages(files: list[FeedFile]) -> list[list[FeedFile]]:
    """Files in order, in groups of up to PACKAGE_BYTES; one empty group when there are none."""
    return list(groups(files, PACKAGE_BYTES)) or [[]]


def load_package(pipeline: dlt.Pipeline, package: Package, loaded: Loaded) -> None:
    """Load some files in one package of dlt: rows, rejected rows and ledger count together or not at all.

    What fails in passing is tried again from the start of the package, since nobody can tell which of its rows have
    arrived: they are deleted first.
    """
    again = Retrying(
        stop=stop_after_attempt(4),
        wait=wait_exponential(2, max=60),
        retry=retry_if_exception(lambda error: _passes(package.target, error)),
        reraise=True,
    )
    for attempt in again:
        with attempt:
            if attempt.retry_state.attempt_number > 1:
                pipeline.drop()
                pipeline.sync_destination()
                discard_unfinished(pipeline)
                lift_memory_limit(package.target, pipeline)
            package.clear()
            pipeline.run(
                [
                    dlt.resource(rows(), name=name, write_disposition="append")
                    for name, rows in package.tables().items()
                ],
                loader_file_format="insert_values" if package.by_insert else "parquet",
            )
    shutil.rmtree(package.scratch)
    package.add_to(loaded)


def _passes(target: Target, error: BaseException) -> bool:
    """Whether a failed step of dlt may go well next time."""
    return (
        isinstance(error, PipelineStepFailed)
        and error.step == "load"
        and retry_load(("load",))(error)
        and isinstance(failure(target, error.exception or error), LoadError)
    )


class Package:
    """The files of one load package as the resources of dlt, which asks for them in the order of STAGING."""

    def __init__(
        self,
        feed: Feed,
        files: list[FeedFile],
        known: dict[str, Known],
        target: Target,
        sync: dict[str, Any] | None = None,
        unread: Iterable[FeedFile] = (),
        again: bool = False,
        begins: Callable[[str], None] = lambda load_id: None,
    ) -> None:
        """Files of a feed and what the ledger knows of them.

        Args:
            feed: whose files they are.
            files: those to load.
            known: what the ledger says, by path.
            target: where to.
            sync: the row of `syncs` when this is the last package.
            unread: other files, to be told as not read.
            again: load a file even when it has the content that was loaded.
            begins: is told the load's id before it is committed.
        """
        self.feed = feed
        self.files = files
        self.known = known
        self.target = target
        self.scratch = target.work_dir / "files"
        self.max_bytes = TEXT_BYTES.get(target.type)
        self.by_insert = target.type == "redshift" and not stages(target)
        self.sync = sync
        self.unread = list(unread)
        self.again = again
        self.begins = begins
        self.clear()

    def clear(self) -> None:
        """Forget what was read."""
        self.tallies: dict[str, Tally] = {}
        self.reasons: Counter[str] = Counter()
        self.rejects: pq.ParquetWriter | None = None
        self.hashes: dict[str, str] = {}
        self.problems: dict[str, HeadraceError] = {}
        shutil.rmtree(self.scratch, ignore_errors=True)

    def tables(self) -> dict[str, Callable[[], Iterator[Any]]]:
        """The rows of each staging table, the ledger last: it counts what the others have read."""
        self.scratch.mkdir(parents=True)
        return {
            "raw_events": self.events,
            "raw_definitions": self.definitions,
            "rejected_events": self.rejected_events,
            "loaded_files": self.loaded_files,
            "syncs": self.syncs,
        }

    def events(self) -> Iterator[Any]:
        """The rows of `raw_events`."""
        yield RAW_EVENTS.empty_table()
        yield from self._parquet("raw_events", (file for file in self.files if file.kind == "events"))

    def definitions(self) -> Iterator[Any]:
        """The rows of `raw_definitions`."""
        yield RAW_DEFINITIONS.empty_table()
        yield from self._parquet("raw_definitions", (file for file in self.files if file.kind != "events"))

    def _parquet(self, table: str, files: Iterator[FeedFile]) -> Iterator[Any]:
        """The rows of files as Parquet for dlt to import, so that no row becomes a Python dict on its way.

        For a destination that takes no files, as tables of which dlt makes statements.
        """
        schema, load_id = STAGING[table], pa.scalar(_load_id())
        writer, path, count, size = None, self.scratch, 0, 0
        for table_rows in _gathered(
            batch for file, copy in self.feed.fetch(files, self.scratch) for batch in self._read(file, copy)
        ):
            if self.by_insert:
                yield table_rows.append_column(schema.field("_dlt_load_id"), pa.repeat(load_id, table_rows.num_rows))
                continue
            if writer is None:
                path = self.scratch / f"{table}_{len(list(self.scratch.glob(f'{table}_*')))}.parquet"
                sink = path.open("wb")
                count, size = 0, 0
                writer = pq.ParquetWriter(
                    sink, schema, compression="lz4", use_dictionary=REPEATING, write_statistics=False
                )
            writer.write_table(table_rows.append_column("_dlt_load_id", pa.repeat(load_id, table_rows.num_rows)))
            count += table_rows.num_rows
            size += table_rows.nbytes
            if sink.tell() >= PARQUET_BYTES or size >= max(PARQUET_BYTES, count * LONG_ROW_BYTES):
                writer.close()
                sink.close()
                writer = None
                yield dlt.mark.with_file_import(str(path), "parquet", count, hints=schema.empty_table())
        if writer is not None:
            writer.close()
            sink.close()
            yield dlt.mark.with_file_import(str(path), "parquet", count, hints=schema.empty_table())

    def _read(self, file: FeedFile, local: Path | HeadraceError) -> Iterator[pa.RecordBatch]:
        if isinstance(local, HeadraceError):
            self.problems[file.path] = local
            return
        source = Source(local, file.path, file.suffix, file.hour, file.modified)
        try:
            formats.reader_of(source)
            found_hash = content_hash(local)
        except UsageError as error:
            self.problems[file.path] = error
            return
        except FileNotFoundError:
            self.problems[file.path] = gone(file)
            return
        except OSError as error:
            self.problems[file.path] = UsageError(f"{file.path}: it can't be read ({error.strerror or error})")
            return
        self.hashes[file.path] = found_hash
        known = self.known.get(file.path)
        if known and known.content_hash == self.hashes[file.path] and not self.again:
            return
        tally = self.tallies[file.path] = Tally()
        if file.kind == "events":
            found = reading.read_events(source, tally)
        else:
            found = reading.read_definitions(source, file.kind, tally)
        yield from checks.short_enough(found, self.max_bytes, tally)
        if known and tally.is_empty:
            tally.cut_off(None, "the file is empty: what it held before stays")
        self._keep_rejections(file.path, tally)

    def _keep_rejections(self, path: str, tally: Tally) -> None:
        """Write the rejected rows of a file to disk, so that memory holds those of one file at most."""
        found = tally.rejections()
        tally.rejected.clear()
        self.reasons.update(row.reason for row in found)
        if found and self.rejects is None:
            self.rejects = pq.ParquetWriter(self.scratch / REJECTS, REJECTED_EVENTS, compression="lz4")
        if found and self.rejects:
            rest = {"file": path, "_dlt_load_id": _load_id()}
            self.rejects.write_table(
                pa.Table.from_pylist([{**asdict(row), **rest} for row in found], schema=REJECTED_EVENTS)
            )

    def rejected_events(self) -> Iterator[pa.Table]:
        """What was rejected of the files that were read."""
        yield REJECTED_EVENTS.empty_table()
        if self.rejects:
            self.rejects.close()
            with pq.ParquetFile(self.scratch / REJECTS) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group)

    def loaded_files(self) -> Iterator[pa.Table]:
        """What the ledger shall know of the files."""
        load_id = _load_id()
        news = [error for path, error in self.problems.items() if is_news(path, self.known)]
        if news and not self.hashes and not self.feed.is_local:
            raise news[0]  # not one of them can be read: the fault lies elsewhere
        self.begins(load_id)
        yield pa.Table.from_pylist(
            [
                self._ledger_row(file, load_id)
                for file in [*self.files, *self.unread]
                if file.path in self.hashes or self._is_to_tell(file)
            ],
            schema=LOADED_FILES,
        )

    def _is_to_tell(self, file: FeedFile) -> bool:
        """Whether the ledger has to learn that the file is not read; not when it has gone."""
        return is_news(file.path, self.known) and not isinstance(self.problems.get(file.path), LoadError)

    def _ledger_row(self, file: FeedFile, load_id: str) -> dict[str, Any]:
        tally = self.tallies.get(file.path)
        is_read = file.path in self.hashes
        before = self.known[file.path].content_hash if file.path in self.known else None
        kind = file.kind if file.kind == "events" else f"{file.kind}_definitions"
        return {
            "path": file.path,
            "kind": kind if is_read else UNREAD,
            "ingested_time": file.hour,
            "size": file.size,
            "version": file.version,
            "content_hash": self.hashes.get(file.path, before),
            "row_count": tally.rows if tally else 0,
            "rejected": tally.rejected_rows if tally else 0,
            "first_event_time": tally.first_event_time if tally else None,
            "last_event_time": tally.last_event_time if tally else None,
            "newest_event_time": tally.newest_event_time if tally else None,
            "wrong_clock": tally.wrong_clock if tally else 0,
            "is_recreated": self._is_recreated(file.path),
            "is_merged": not is_read,
            "is_export": bool(tally and tally.is_export),
            "_dlt_load_id": load_id,
        }

    def _is_recreated(self, path: str) -> bool:
        if path not in self.tallies or path not in self.known or self.known[path].content_hash is None:
            return False
        tally = self.tallies[path]
        # A file that was cut short must not null the events behind the cut: it says nothing of them. Nor does one of
        # which no row can be read, such as a web server's page that says it is busy.
        is_told = tally.is_whole and (tally.rows > 0 or tally.rejected_rows == 0)
        return is_told and self.known[path].content_hash != self.hashes[path]

    def syncs(self) -> Iterator[pa.Table]:
        """The row of the sync, with the last of its packages."""
        found = [{**self.sync, "_dlt_load_id": _load_id()}] if self.sync else []
        yield pa.Table.from_pylist(found, schema=SYNCS)

    def add_to(self, loaded: Loaded) -> None:
        """Count what was read."""
        if self.problems:
            loaded.listing = None
        loaded.files += len(self.tallies)
        loaded.unchanged_files += len(self.hashes) - len(self.tallies)
        loaded.recreated_files += sum(map(self._is_recreated, self.tallies))
        loaded.unread += [f"{file.path}: {file.problem}" for file in self.unread]
        loaded.unread += [str(error) for path, error in self.problems.items() if is_news(path, self.known)]
        kinds = {file.path: file.kind for file in self.files}
        loaded.reasons.update(self.reasons)
        if self.by_insert:
            loaded.inserted += sum(tally.rows for tally in self.tallies.values())
        for path, tally in self.tallies.items():
            if kinds[path] == "events":
                loaded.rows += tally.rows
            else:
                loaded.definitions += tally.rows
            loaded.late += tally.late
            loaded.rejected += tally.rejected_rows
            loaded.unknown_fields.update(tally.unknown_fields)


def _gathered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches as tables of some megabytes, so that a thousand small files don't make a thousand row groups."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= BLOCK_BYTES:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _load_id() -> str:
    return dlt.current.load_package_state()["load_id"]


def content_hash(path: Path) -> str:
    """XXH3 of a file's bytes: it has to tell versions of a file apart, not to withstand an attack."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
