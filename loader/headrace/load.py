"""Feed files into the warehouse's staging: what is new, as load packages of dlt, with a ledger of what was loaded.

The working folder is disposable and is emptied at each start. The truth is in the destination: a load counts when
`_dlt_loads` has it with status 0, and rows of any other load are deleted before the next one begins.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from dlt.common.destination.exceptions import DestinationException, DestinationUndefinedEntity
from dlt.pipeline.exceptions import PipelineStepFailed
from dlt.pipeline.helpers import retry_load
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from . import rows
from .destination import destination, failure
from .errors import HeadraceError, LoadError
from .feed import Feed, FeedFile, groups, in_order
from .target import Target

LOADED_FILES = pa.schema(
    [
        ("path", pa.string()),
        ("kind", pa.string()),
        ("ingested_time", rows.TIME),
        ("size", pa.int64()),
        ("version", pa.string()),
        ("content_hash", pa.string()),
        ("row_count", pa.int64()),
        ("rejected", pa.int64()),
        ("first_event_time", rows.TIME),
        ("last_event_time", rows.TIME),
        ("is_recreated", pa.bool_()),
        ("is_merged", pa.bool_()),
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

SYNCS = pa.schema(
    [
        ("feed", pa.string()),
        ("started_time", rows.TIME),
        ("listed_since", rows.TIME),
        ("listed_files", pa.int64()),
        ("_dlt_load_id", pa.string()),
    ]
)

STAGING = {
    "raw_events": rows.RAW_EVENTS,
    "raw_definitions": rows.RAW_DEFINITIONS,
    "rejected_events": REJECTED_EVENTS,
    "loaded_files": LOADED_FILES,
    "syncs": SYNCS,
}

NO_SCHEMA = "does not have a current schema"
"""How Snowflake says that the schema is not there yet."""

COMPLETE = "(select load_id from _dlt_loads where status = 0)"
"""The loads that count."""

LOOK_BACK = timedelta(days=2)
"""How far back a load looks for new and re-created files before the newest hour that it knows."""

PACKAGE_BYTES = 4 * 2**30
"""A package takes files up to this size in all, and at least one: what a kill can cost, and what the disk must hold."""

PARQUET_BYTES = 64 * 2**20
"""The rows of a package are written in files of about this size: what a destination loads at once."""

TEXT_BYTES = {"redshift": 65_535}
"""The longest text that a warehouse holds, where it is less than a line of a feed may have."""

INSERTED_ROWS = 10_000
"""More rows than that in one load are worth a staging bucket on Redshift."""

REPEATING = ["event_type", "source_type", "_file", "_dlt_load_id", "kind"]
"""The columns that a dictionary makes smaller; for the others, trying costs time and saves nothing."""

DLT_SETTINGS = {
    "extract.next_item_mode": "fifo",
    "load.delete_completed_jobs": True,
    "load.raise_on_failed_jobs": True,
    "load.raise_on_max_retries": 1,
    "runtime.dlthub_telemetry": False,
    "runtime.log_level": "CRITICAL",
}
"""`fifo`: the ledger's rows come after the events that they count. A job that failed in passing is not tried again by
itself, as its rows may have arrived: see load_package."""


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
    unknown_fields: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Known:
    """What the ledger says of a file."""

    size: int
    version: str
    content_hash: str
    load_id: str

    def differs(self, file: FeedFile) -> bool:
        """Whether the file may have another content by now."""
        return (self.size, self.version) != (file.size, file.version)


Progress = Callable[[int, int, str], None]


def _silent(done: int, total: int, path: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Plan:
    """What a load would do."""

    files: list[FeedFile]
    """New ones and those that seem to be re-created, in the order in which they are loaded."""
    unchanged: list[FeedFile]
    known: dict[str, Known]
    since: datetime | None
    """The earliest hour that was looked at; None when everything was."""

    @property
    def listed(self) -> int:
        """How many files were looked at."""
        return len(self.files) + len(self.unchanged)


@dataclass(frozen=True)
class Span:
    """Which hours of a feed to look at."""

    since: datetime | None = None
    until: datetime | None = None
    everything: bool = False


NEWEST = Span()


def load(feed: Feed, target: Target, span: Span = NEWEST, progress: Progress = _silent) -> Loaded:
    """Load the files of a feed that are new or were re-created since they were loaded.

    Args:
        feed: the file or folder.
        target: where to.
        span: which hours to look at; by default the last two days before the newest one that was loaded, and all that
            came after.
        progress: is told of files done, files in all and the file under way.

    Raises:
        UsageError: there is no such feed.
        LoadError: the destination refused. Packages that were complete stay.
    """
    started = datetime.now(timezone.utc)
    with connected(target, loads=True) as pipeline:
        discard_unfinished(pipeline)
        plan = plan_of(pipeline, feed, span)
        loaded = Loaded(unchanged_files=plan.listed - len(plan.files))
        done = 0
        for files in packages(plan.files):
            progress(done, len(plan.files), files[0].path if files else "")
            done += len(files)
            sync = {
                "feed": feed.address,
                "started_time": started,
                "listed_since": plan.since,
                "listed_files": plan.listed,
            }
            load_package(
                pipeline,
                _Package(feed, files, plan.known, target, sync if done == len(plan.files) else None),
                loaded,
            )
    return loaded


def plan_of(pipeline: dlt.Pipeline, feed: Feed, span: Span) -> Plan:
    """Compare the feed with the ledger. Raises UsageError when there is no such feed."""
    days, roots = _days(pipeline, feed, span)
    files = [
        file
        for file in feed.files(days, roots)
        if not (file.hour and span.since and file.hour < span.since)
        and not (file.hour and span.until and file.hour > span.until)
    ]
    known = ledger(pipeline, files)
    changed = [file for file in files if file.path not in known or known[file.path].differs(file)]
    unchanged = [file for file in files if file.path in known and not known[file.path].differs(file)]
    since = datetime(days[0].year, days[0].month, days[0].day, tzinfo=timezone.utc) if days else None
    return Plan(changed, unchanged, known, since)


def _days(pipeline: dlt.Pipeline, feed: Feed, span: Span) -> tuple[tuple[date, date] | None, set[str]]:
    """The days to list, None for all, and the folders in which the ledger has seen hours of this feed."""
    newest = None
    in_feed = f"left(path, {len(feed.prefix)}) = %s"
    if not span.everything:
        newest = query(
            pipeline,
            f"select max(ingested_time) from loaded_files where _dlt_load_id in {COMPLETE} and {in_feed}",
            feed.prefix,
        )
    if not newest or newest[0][0] is None:
        return None, set()
    at = newest[0][0].astimezone(timezone.utc)
    now = datetime.now(timezone.utc)
    paths = query(
        pipeline,
        f"select distinct path from loaded_files where ingested_time >= %s and {in_feed}",
        at - LOOK_BACK,
        feed.prefix,
    )
    roots = {root for (path,) in paths if (root := feed.root_of(path))}
    since = span.since or min(at, now) - LOOK_BACK
    return (since.date(), (span.until or max(at, now)).date() + timedelta(1)), roots


def replay(feed: Feed, target: Target, span: Span, build: Callable[[], None], progress: Progress = _silent) -> Loaded:
    """Load hours of a feed again, whatever the ledger says of them, a package at a time with a build after each.

    When it is cut short, the same call goes on with the files that it had not reached: the working folder remembers
    when it began. Should that be lost, it begins anew, which costs time and changes nothing.

    Args:
        feed: the file or folder.
        target: where to.
        span: the hours.
        build: merges what was loaded, so that the queue never holds more than a package.
        progress: as in load.

    Raises:
        UsageError: there is no such feed.
        HeadraceError: the destination refused, or the build failed.
    """
    loaded = Loaded()
    marker = target.work_dir / "backfill.json"
    call = {"feed": feed.address, "since": str(span.since), "until": str(span.until)}
    began = json.loads(marker.read_text()) if marker.exists() else {}
    if {**began, "began": None} != {**call, "began": None}:
        began = {**call, "began": time.time()}
        marker.write_text(json.dumps(began))
    with connected(target, loads=True) as pipeline:
        discard_unfinished(pipeline)
        plan = plan_of(pipeline, feed, Span(span.since, span.until, everything=True))
        done_before = {path for path, known in plan.known.items() if float(known.load_id) > began["began"]}
    files = [file for file in sorted(plan.files + plan.unchanged, key=in_order) if file.path not in done_before]
    done = 0
    for package in packages(files):
        progress(done, len(files), package[0].path if package else "")
        with connected(target, loads=True) as pipeline:
            load_package(pipeline, _Package(feed, package, plan.known, target, None, again=True), loaded)
        build()
        done += len(package)
    marker.unlink()
    return loaded


@contextmanager
def connected(target: Target, loads: bool = False) -> Iterator[dlt.Pipeline]:
    """A dlt pipeline on the target that knows what the destination knows, and nothing of what was before.

    Who loads holds the target's lock and works in its folder, where the next load clears up after a kill. Who only
    reads may do so at any time, in a folder of its own.

    Raises:
        LoadError: the destination refused.
    """
    logging.getLogger("dlt").disabled = True  # dlt itself sets the level, again and again
    for name in ("snowflake", "google", "urllib3", "botocore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    one_worker = {"load.workers": 1} if target.type == "duckdb" else {}  # each would buffer a row group of its own
    for name, value in {**DLT_SETTINGS, **one_worker}.items():
        dlt.config[name] = value
    folder = target.work_dir / "dlt" if loads else Path(tempfile.mkdtemp(prefix="headrace-"))
    shutil.rmtree(folder, ignore_errors=True)
    connecting = target.type != "duckdb"
    try:
        pipeline = dlt.pipeline(
            "headrace",
            pipelines_dir=str(folder),
            destination=destination(target),
            staging="filesystem" if _stages(target) else None,
            dataset_name=target.schema,
        )
        if connecting:
            with pipeline.sql_client() as client:
                client.has_dataset()
            connecting = False
        pipeline.sync_destination()
        # While one connection is open, DuckDB does not close its file, a checkpoint, after each of dlt's steps.
        with pipeline.sql_client() if target.type == "duckdb" else nullcontext():
            yield pipeline
    except PipelineStepFailed as error:
        for cause in _causes(error):
            if isinstance(cause, HeadraceError):
                raise cause from error
        raise failure(target, error.exception or error) from error
    except HeadraceError:
        raise
    except DestinationException as error:
        raise failure(target, error, connecting) from error
    except Exception as error:
        if connecting:  # some clients raise what is not of dlt
            raise failure(target, error, connecting) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What an exception was raised from, and that in turn."""
    while cause := error.__cause__ or error.__context__:
        yield cause
        error = cause


def _stages(target: Target) -> bool:
    """Whether files go to S3 for Redshift to copy them from there: dlt has been told of a bucket."""
    return target.type == "redshift" and bool(dlt.config.get("destination.filesystem.bucket_url"))


def discard_unfinished(pipeline: dlt.Pipeline) -> None:
    """Delete rows of loads that never completed: what a kill between the data and the marker leaves."""
    for table in STAGING:
        query(pipeline, f"delete from {table} where _dlt_load_id not in {COMPLETE}")


def ledger(pipeline: dlt.Pipeline, files: list[FeedFile]) -> dict[str, Known]:
    """What was loaded of these files last, by path."""
    hours = [file.hour for file in files if file.hour]
    since = "or ingested_time >= %s" if hours else ""
    found = query(
        pipeline,
        "select path, size, version, content_hash, _dlt_load_id from loaded_files "
        f"where (ingested_time is null {since}) and _dlt_load_id in {COMPLETE} "
        "order by _dlt_load_id",
        *([min(hours)] if hours else []),
    )
    return {path: Known(*known) for path, *known in found}


def query(pipeline: dlt.Pipeline, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement on the staging schema, `%s` a parameter; none where its tables are not there yet."""
    try:
        with pipeline.sql_client() as client, client.execute_query(sql, *parameters) as cursor:
            return list(cursor.fetchall()) if cursor.description else []
    except DestinationException as error:
        if isinstance(error, DestinationUndefinedEntity) or NO_SCHEMA in str(error):
            return []
        raise


def packages(files: list[FeedFile]) -> list[list[FeedFile]]:
    """Files in order, in groups of up to PACKAGE_BYTES; one empty group when there are none."""
    return list(groups(files, PACKAGE_BYTES)) or [[]]


def load_package(pipeline: dlt.Pipeline, package: _Package, loaded: Loaded) -> None:
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


class _Package:
    """The files of one load package as the resources of dlt, which asks for them in the order of STAGING."""

    def __init__(
        self,
        feed: Feed,
        files: list[FeedFile],
        known: dict[str, Known],
        target: Target,
        sync: dict[str, Any] | None,
        again: bool = False,
    ) -> None:
        """Files of a feed, what the ledger knows of them, and the row of `syncs` when this is the last package.

        With `again`, a file is loaded even when it has the content that was loaded.
        """
        self.feed = feed
        self.files = files
        self.known = known
        self.target = target
        self.scratch = target.work_dir / "files"
        self.max_bytes = TEXT_BYTES.get(target.type)
        self.by_insert = target.type == "redshift" and not _stages(target)
        self.sync = sync
        self.again = again
        self.clear()

    def clear(self) -> None:
        """Forget what was read."""
        self.tallies: dict[str, rows.Tally] = {}
        self.hashes: dict[str, str] = {}
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
        yield rows.RAW_EVENTS.empty_table()
        yield from self._parquet("raw_events", (file for file in self.files if file.kind == "events"))

    def definitions(self) -> Iterator[Any]:
        yield rows.RAW_DEFINITIONS.empty_table()
        yield from self._parquet("raw_definitions", (file for file in self.files if file.kind != "events"))

    def _parquet(self, table: str, files: Iterator[FeedFile]) -> Iterator[Any]:
        """The rows of files as Parquet for dlt to import, so that no row becomes a Python dict on its way.

        For a destination that takes no files, as tables of which dlt makes statements.
        """
        schema, load_id = STAGING[table], pa.scalar(_load_id())
        writer, path, count = None, self.scratch, 0
        for table_rows in _gathered(
            batch for file, copy in self.feed.fetch(files, self.scratch) for batch in self._read(file, copy)
        ):
            if self.by_insert:
                yield table_rows.append_column(schema.field("_dlt_load_id"), pa.repeat(load_id, table_rows.num_rows))
                continue
            if writer is None:
                path = self.scratch / f"{table}_{len(list(self.scratch.glob(f'{table}_*')))}.parquet"
                sink = path.open("wb")
                writer, count = (
                    pq.ParquetWriter(sink, schema, compression="lz4", use_dictionary=REPEATING, write_statistics=False),
                    0,
                )
            writer.write_table(table_rows.append_column("_dlt_load_id", pa.repeat(load_id, table_rows.num_rows)))
            count += table_rows.num_rows
            if sink.tell() >= PARQUET_BYTES:
                writer.close()
                sink.close()
                writer = None
                yield dlt.mark.with_file_import(str(path), "parquet", count, hints=schema.empty_table())
        if writer is not None:
            writer.close()
            sink.close()
            yield dlt.mark.with_file_import(str(path), "parquet", count, hints=schema.empty_table())

    def _read(self, file: FeedFile, local: Path) -> Iterator[pa.RecordBatch]:
        self.hashes[file.path] = content_hash(local)
        known = self.known.get(file.path)
        if known and known.content_hash == self.hashes[file.path] and not self.again:
            return
        tally = self.tallies[file.path] = rows.Tally()
        if file.kind == "events":
            found = rows.read_events(local, file.path, tally)
        else:
            found = rows.read_definitions(local, file.path, file.kind, tally)
        yield from rows.short_enough(found, self.max_bytes, tally) if self.max_bytes else found

    def rejected_events(self) -> Iterator[pa.Table]:
        load_id = _load_id()
        yield pa.Table.from_pylist(
            [
                {
                    "file": path,
                    "position": row.position,
                    "reason": row.reason,
                    "content": row.content,
                    "_dlt_load_id": load_id,
                }
                for path, tally in self.tallies.items()
                for row in tally.rejected
            ],
            schema=REJECTED_EVENTS,
        )

    def loaded_files(self) -> Iterator[pa.Table]:
        load_id = _load_id()
        yield pa.Table.from_pylist([self._ledger_row(file, load_id) for file in self.files], schema=LOADED_FILES)

    def _ledger_row(self, file: FeedFile, load_id: str) -> dict[str, Any]:
        tally = self.tallies.get(file.path)
        return {
            "path": file.path,
            "kind": file.kind if file.kind == "events" else f"{file.kind}_definitions",
            "ingested_time": file.hour,
            "size": file.size,
            "version": file.version,
            "content_hash": self.hashes[file.path],
            "row_count": tally.rows if tally else 0,
            "rejected": len(tally.rejected) if tally else 0,
            "first_event_time": tally.first_event_time if tally else None,
            "last_event_time": tally.last_event_time if tally else None,
            "is_recreated": self._is_recreated(file.path),
            "is_merged": False,
            "_dlt_load_id": load_id,
        }

    def _is_recreated(self, path: str) -> bool:
        if path not in self.tallies or path not in self.known:
            return False
        # A file that was cut short must not null the events behind the cut: it says nothing of them.
        is_whole = all(row.position is not None for row in self.tallies[path].rejected)
        return is_whole and self.known[path].content_hash != self.hashes[path]

    def syncs(self) -> Iterator[pa.Table]:
        found = [{**self.sync, "_dlt_load_id": _load_id()}] if self.sync else []
        yield pa.Table.from_pylist(found, schema=SYNCS)

    def add_to(self, loaded: Loaded) -> None:
        """Count what was read."""
        loaded.files += len(self.tallies)
        loaded.unchanged_files += len(self.files) - len(self.tallies)
        loaded.recreated_files += sum(map(self._is_recreated, self.tallies))
        kinds = {file.path: file.kind for file in self.files}
        if self.by_insert:
            loaded.inserted += sum(tally.rows for tally in self.tallies.values())
        for path, tally in self.tallies.items():
            if kinds[path] == "events":
                loaded.rows += tally.rows
            else:
                loaded.definitions += tally.rows
            loaded.late += tally.late
            loaded.rejected += len(tally.rejected)
            loaded.unknown_fields.update(tally.unknown_fields)
            loaded.reasons.update(row.reason for row in tally.rejected)


def _gathered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches as tables of some megabytes, so that a thousand small files don't make a thousand row groups."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= rows.BLOCK_BYTES:
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
