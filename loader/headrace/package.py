"""One load package of dlt: files of a feed as rows of staging, with what was rejected and the ledger's rows of them."""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.pipeline.exceptions import PipelineStepFailed
from dlt.pipeline.helpers import retry_load
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from . import workers
from .definitions.lookups import Lookups
from .definitions.model import Definitions
from .errors import HeadraceError, LoadError
from .feed import BYTES, Feed, FeedFile, groups
from .formats.source import Source
from .idle import Listing
from .ledger import LOADED_FILES, STAGING, SYNCS, UNREAD, Known, discard_unfinished, is_news
from .pipeline import disconnect
from .reading import PARQUET_BYTES, Found, Into, Part, Task, parts, read
from .rows import RAW_DEFINITIONS, RAW_EVENTS, REJECTED_EVENTS
from .target import Target
from .warehouses import warehouse_of
from .warehouses.base import Warehouse

PACKAGE_BYTES = 4 * 2**30
"""A package takes files up to this size in all, and at least one: what a kill can cost, and what the disk must hold."""

ALONE_BYTES = 2**30
"""Files of up to this size in all are read by this process. On two cores others gain nothing before that: 800,000 lines
of 1.1 GB took 14 s either way, with 5 s more of CPU; 2,200,000 lines took 30 s instead of 33."""

COMPRESSED = 8
"""How many bytes of text one of a compressed file stands for, roughly, by the time that it takes."""


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
    """Rows that went by INSERT, as the warehouse took no files."""
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
    return list(groups(files, (BYTES, PACKAGE_BYTES))) or [[]]


class Loadable(Protocol):
    """What goes in one package of dlt."""

    warehouse: Warehouse
    by_insert: bool
    scratch: Path
    """A folder for files, which is deleted after the load."""

    def clear(self) -> None:
        """Make ready to begin, perhaps once more."""

    def tables(self) -> dict[str, Callable[[], Iterator[Any]]]:
        """The rows of each staging table, the ledger among the last."""

    def add_to(self, loaded: Loaded) -> None:
        """Count what was loaded."""


def load_package(pipeline: dlt.Pipeline, package: Loadable, loaded: Loaded) -> None:
    """Load what goes in one package of dlt: rows, rejected rows and ledger count together or not at all.

    What fails in passing is tried again from the start of the package, since nobody can tell which of its rows have
    arrived: they are deleted first.
    """
    again = Retrying(
        stop=stop_after_attempt(4),
        wait=wait_exponential(2, max=60),
        retry=retry_if_exception(lambda error: _passes(package.warehouse, error)),
        reraise=True,
    )
    for attempt in again:
        with attempt:
            if attempt.retry_state.attempt_number > 1:
                pipeline.drop()
                pipeline.sync_destination()
                discard_unfinished(pipeline)
                package.warehouse.before_retry(pipeline)
            disconnect(pipeline)
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


def _short(file: FeedFile) -> str:
    """A file's name and its folder, which may tell the hour."""
    return "/".join(file.path.split("/")[-2:])


def _passes(warehouse: Warehouse, error: BaseException) -> bool:
    """Whether a failed step of dlt may go well next time."""
    return (
        isinstance(error, PipelineStepFailed)
        and error.step == "load"
        and retry_load(("load",))(error)
        and isinstance(warehouse.failure(error.exception or error), LoadError)
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
        definitions: Definitions | None = None,
        told: Lookups | None = None,
        begins: Callable[[str], None] = lambda load_id: None,
        progress: Callable[[str, int, int], None] = lambda step, files, rows: None,
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
            definitions: with whose ids events are stamped.
            told: what the lookups shall know of them.
            begins: is told the load's id before it is committed.
            progress: is told of the file under way, and of the files and rows that have been read.
        """
        self.feed = feed
        self.files = files
        self.known = known
        self.warehouse = warehouse_of(target)
        self.scratch = target.work_dir / "files"
        self.by_insert = self.warehouse.by_insert
        self.sync = sync
        self.unread = list(unread)
        self.again = again
        self.stamps = definitions
        self.told = told
        self.begins = begins
        self.progress = progress
        self.clear()

    def clear(self) -> None:
        """Forget what was read."""
        self.found = Found()
        self.read_files = self.read_rows = 0
        shutil.rmtree(self.scratch, ignore_errors=True)

    def tables(self) -> dict[str, Callable[[], Iterator[Any]]]:
        """The rows of each staging table, the ledger last: it counts what the others have read."""
        self.scratch.mkdir(parents=True)
        if self.files:
            self._tell(f"reading {_short(self.files[0])}")
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
        yield from self._rows("raw_events", [file for file in self.files if file.kind == "events"])

    def definitions(self) -> Iterator[Any]:
        """The rows of `raw_definitions`."""
        yield RAW_DEFINITIONS.empty_table()
        yield from self._rows("raw_definitions", [file for file in self.files if file.kind != "events"])
        if self.told:
            yield self.told.rows_of(load_id())

    def _rows(self, table: str, files: list[FeedFile]) -> Iterator[Any]:
        """The rows of files, as dlt takes them."""
        return imported(self._parts(table, files), table, self.by_insert)

    def _parts(self, table: str, files: list[FeedFile]) -> Iterator[Part]:
        into = Into(STAGING[table], load_id(), self.scratch / table, self.warehouse.max_text_bytes, self.stamps)
        if len(files) < 2 or sum(map(_size, files)) <= ALONE_BYTES or workers.count() < 2:
            yield from parts(self._tasks(self.feed.fetch(files, self.scratch)), into, self.found)
            return
        # So large that few parts are smaller than they would be, and so small that no process waits long for the last.
        most_bytes = min(sum(file.size for file in files) / workers.count() / 2, PARQUET_BYTES)
        fetched: deque[list[tuple[FeedFile, Path | HeadraceError]]] = deque()

        def chunks() -> Iterator[tuple[list[Task], Into]]:
            for number, group in enumerate(self.feed.fetch(files, self.scratch, most_bytes)):
                fetched.append(group)
                tasks = [self._task(file, local) for file, local in group]
                yield tasks, replace(into, stem=self.scratch / f"{table}_{number}")

        for found in workers.in_order(read, chunks()):
            group = fetched.popleft()
            self._delete_copies(group)
            self.found.add(found)
            for file, _ in group:
                self._count(file)
            yield from found.parts

    def _tasks(self, groups: Iterator[list[tuple[FeedFile, Path | HeadraceError]]]) -> Iterator[Task]:
        for group in groups:
            for file, local in group:
                self._tell(f"reading {_short(file)}")
                yield self._task(file, local)
                self._count(file)
            self._delete_copies(group)

    def _count(self, file: FeedFile) -> None:
        """Count a file that has been read."""
        self.read_files += 1
        self.read_rows += self.found.tallies[file.path].rows if file.path in self.found.tallies else 0
        self._tell(f"reading {_short(file)}")

    def _tell(self, step: str) -> None:
        self.progress(step, self.read_files, self.read_rows)

    def _task(self, file: FeedFile, local: Path | HeadraceError) -> Task:
        known = self.known.get(file.path)
        problem = local if isinstance(local, HeadraceError) else None
        path = local if isinstance(local, Path) else Path(file.name)
        return Task(
            Source(path, file.path, file.suffix, file.hour, file.modified),
            file.kind,
            problem,
            known_hash=known.content_hash if known and not self.again else None,
            is_known=known is not None,
        )

    def _delete_copies(self, group: list[tuple[FeedFile, Path | HeadraceError]]) -> None:
        for _, local in group:
            if isinstance(local, Path) and not self.feed.is_local:
                local.unlink(missing_ok=True)

    def rejected_events(self) -> Iterator[pa.Table]:
        """What was rejected of the files that were read."""
        yield REJECTED_EVENTS.empty_table()
        for part in self.found.rejected:
            yield from _tables(part)

    def loaded_files(self) -> Iterator[pa.Table]:
        """What the ledger shall know of the files."""
        of = load_id()
        news = [error for path, error in self.found.problems.items() if is_news(path, self.known)]
        if news and not self.found.hashes and not self.feed.is_local:
            raise news[0]  # not one of them can be read: the fault lies elsewhere
        self.begins(of)
        if self.read_files:
            self._tell("loading what was read")
        yield pa.Table.from_pylist(
            [
                self._ledger_row(file, of)
                for file in [*self.files, *self.unread]
                if file.path in self.found.hashes or self._is_to_tell(file)
            ]
            + ([self.told.ledger_row(of)] if self.told else []),
            schema=LOADED_FILES,
        )

    def _is_to_tell(self, file: FeedFile) -> bool:
        """Whether the ledger has to learn that the file is not read; not when it has gone."""
        return is_news(file.path, self.known) and not isinstance(self.found.problems.get(file.path), LoadError)

    def _ledger_row(self, file: FeedFile, load_id: str) -> dict[str, Any]:
        tally = self.found.tallies.get(file.path)
        is_read = file.path in self.found.hashes
        before = self.known[file.path].content_hash if file.path in self.known else None
        kind = file.kind if file.kind == "events" else f"{file.kind}_definitions"
        return {
            "path": file.path,
            "kind": kind if is_read else UNREAD,
            "ingested_time": file.hour,
            "size": file.size,
            "version": file.version,
            "content_hash": self.found.hashes.get(file.path, before),
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
        if path not in self.found.tallies or path not in self.known or self.known[path].content_hash is None:
            return False
        tally = self.found.tallies[path]
        # A file that was cut short must not null the events behind the cut: it says nothing of them. Nor does one of
        # which no row can be read, such as a web server's page that says it is busy.
        is_told = tally.is_whole and (tally.rows > 0 or tally.rejected_rows == 0)
        return is_told and self.known[path].content_hash != self.found.hashes[path]

    def syncs(self) -> Iterator[pa.Table]:
        """The row of the sync, with the last of its packages."""
        found = [{**self.sync, "_dlt_load_id": load_id()}] if self.sync else []
        yield pa.Table.from_pylist(found, schema=SYNCS)

    def add_to(self, loaded: Loaded) -> None:
        """Count what was read."""
        if self.found.problems:
            loaded.listing = None
        loaded.files += len(self.found.tallies)
        loaded.unchanged_files += len(self.found.hashes) - len(self.found.tallies)
        loaded.recreated_files += sum(map(self._is_recreated, self.found.tallies))
        loaded.unread += [f"{file.path}: {file.problem}" for file in self.unread]
        loaded.unread += [str(error) for path, error in self.found.problems.items() if is_news(path, self.known)]
        kinds = {file.path: file.kind for file in self.files}
        loaded.reasons.update(self.found.reasons)
        loaded.definitions += len(self.told.rows) if self.told else 0
        if self.by_insert:
            loaded.inserted += sum(tally.rows for tally in self.found.tallies.values())
        for path, tally in self.found.tallies.items():
            if kinds[path] == "events":
                loaded.rows += tally.rows
            else:
                loaded.definitions += tally.rows
            loaded.late += tally.late
            loaded.rejected += tally.rejected_rows
            loaded.unknown_fields.update(tally.unknown_fields)


def _size(file: FeedFile) -> int:
    return file.size * (COMPRESSED if file.suffix.endswith((".gz", ".zst", ".parquet")) else 1)


def imported(parts: Iterable[Part], table: str, by_insert: bool) -> Iterator[Any]:
    """The rows of a staging table as Parquet for dlt to import; where the destination takes no files, as tables."""
    for part in parts:
        if by_insert:
            yield from _tables(part)
        else:
            hints = STAGING[table].empty_table()
            yield dlt.mark.with_file_import(str(part.path), "parquet", part.rows, hints=hints)


def _tables(part: Part) -> Iterator[pa.Table]:
    with pq.ParquetFile(part.path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)


def load_id() -> str:
    """The id of the package that dlt is extracting."""
    return dlt.current.load_package_state()["load_id"]
