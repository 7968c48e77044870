"""Feed files into the warehouse's staging: what is new, as load packages of dlt, with a ledger of what was loaded.

The working folder is disposable and is emptied at each start. The truth is in the destination: a load counts when
`_dlt_loads` has it with status 0, and rows of any other load are deleted before the next one begins.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from dlt.common.destination.exceptions import DestinationException
from dlt.common.storages.load_package import create_load_id
from dlt.extract import storage as dlt_storage
from dlt.pipeline.exceptions import PipelineStepFailed
from dlt.pipeline.helpers import retry_load
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from . import rows
from .errors import HeadraceError, LoadError, UsageError
from .feed import Feed, FeedFile, groups, in_order, shown
from .idle import Listing
from .target import Target
from .warehouses import class_of, warehouse_of
from .warehouses.base import Warehouse

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
        ("newest_event_time", rows.TIME),
        ("wrong_clock", pa.int64()),
        ("is_recreated", pa.bool_()),
        ("is_merged", pa.bool_()),
        ("is_export", pa.bool_()),
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

COMPLETE = "(select load_id from _dlt_loads where status = 0)"
"""The loads that count."""

QUEUED = f"(select * from loaded_files where not is_merged and _dlt_load_id in {COMPLETE}) as queued"
"""The files that no green build has merged yet."""

LOOK_BACK = timedelta(days=2)
"""How far back a load looks for new and re-created files before the newest hour that it knows."""

HOURS_SINCE = datetime(1970, 1, 1, tzinfo=timezone.utc)
"""Hours before are not the newest of any feed."""

UNREAD = "unread"
"""The kind, in the ledger, of a file that is not read; it is there so that it is told once, and counted by status."""

PACKAGE_BYTES = 4 * 2**30
"""A package takes files up to this size in all, and at least one: what a kill can cost, and what the disk must hold."""

PARQUET_BYTES = 64 * 2**20
"""The rows of a package are written in files of about this size: what a destination loads at once."""

LONG_ROW_BYTES = 2**16
"""Rows longer than that are measured as they are in memory: compressed, a file of them could stand for gigabytes."""

REPEATING = ["event_type", "source_type", "_file", "_dlt_load_id", "kind"]
"""The columns that a dictionary makes smaller; for the others, trying costs time and saves nothing."""

REJECTS = "rejected_events.parquet"

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
    """Rows that went by INSERT, as the warehouse took no files."""
    unread: list[str] = field(default_factory=list)
    """Files that are not read and were not known yet, each with the reason."""
    gone_on: str | None = None
    """With what backfill this one went on."""
    unknown_fields: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    listing: Listing | None = None
    """What the feed held, all of which is loaded by now; None where some of it could not be read."""


@dataclass(frozen=True)
class Known:
    """What the ledger says of a file."""

    kind: str
    size: int
    version: str
    content_hash: str | None
    """Of what was last read of it."""
    load_id: str

    @property
    def is_read(self) -> bool:
        """Whether its rows were loaded."""
        return self.kind != UNREAD

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
    unread: list[FeedFile]
    """Those that are not read, whether that is new or not."""
    known: dict[str, Known]
    since: datetime | None
    """The earliest hour that was looked at; None when everything was."""
    listing: Listing

    @property
    def listed(self) -> int:
        """How many files were looked at."""
        return len(self.files) + len(self.unchanged)

    @property
    def newly_unread(self) -> list[FeedFile]:
        """Those of the files that are not read of which nobody has been told."""
        return [file for file in self.unread if _is_news(file.path, self.known)]


def _is_news(path: str, known: dict[str, Known]) -> bool:
    """Whether nobody has been told that a file is not read."""
    return path not in known or known[path].is_read


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
        if span.everything:
            _forget_unread(pipeline, feed, plan)
        loaded = Loaded(unchanged_files=len(plan.unchanged), listing=plan.listing)
        done = 0
        for files in packages(plan.files):
            progress(done, len(plan.files), files[0].path if files else "")
            done += len(files)
            sync = {
                "feed": feed.prefix,
                "started_time": started,
                "listed_since": plan.since,
                "listed_files": plan.listed,
            }
            is_last = done == len(plan.files)
            unread = plan.newly_unread if is_last else []
            load_package(pipeline, _Package(feed, files, plan.known, target, sync if is_last else None, unread), loaded)
    return loaded


def plan_of(pipeline: dlt.Pipeline, feed: Feed, span: Span) -> Plan:
    """Compare the feed with the ledger. Raises UsageError when there is no such feed."""
    first, roots = _first_day(pipeline, feed, span)
    skipped = {name for (name,) in query(pipeline, "select name from skipped")}
    listed = feed.files(first, roots)
    files = [
        file
        for file in listed
        if file.path not in skipped
        and not (file.hour and span.since and file.hour < span.since)
        and not (file.hour and span.until and file.hour > span.until)
    ]
    known = ledger(pipeline, files)
    plan = Plan([], [], [], known, _midnight(first) if first else None, Listing.of(listed, first, roots))
    for file in files:
        before = known.get(file.path)
        if file.problem:
            plan.unread.append(file)
        elif before is None or before.differs(file) or (file.suffix and not before.is_read):
            plan.files.append(file)
        else:
            (plan.unchanged if before.is_read else plan.unread).append(file)
    return plan


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)


def _first_day(pipeline: dlt.Pipeline, feed: Feed, span: Span) -> tuple[date | None, set[str]]:
    """The day from which on to list, None for all, and the folders in which the ledger has seen hours of this feed.

    An hour that is still to come does not say how far the feed is: one folder of the year 9999 would hide the others.
    """
    if span.everything:
        return None, set()
    in_feed, prefix = _in_feed(feed)
    newest = query(
        pipeline,
        f"select max(ingested_time) from loaded_files where _dlt_load_id in {COMPLETE} and {in_feed} "
        "and ingested_time between %s and %s",
        *prefix,
        HOURS_SINCE,
        datetime.now(timezone.utc) + timedelta(days=1),
    )
    if not newest or newest[0][0] is None:
        return None, set()
    at = newest[0][0].astimezone(timezone.utc)
    paths = query(
        pipeline,
        f"select distinct path from loaded_files where ingested_time >= %s and {in_feed}",
        at - LOOK_BACK,
        *prefix,
    )
    roots = {root for (path,) in paths if (root := feed.root_of(path))}
    return (span.since or min(at, datetime.now(timezone.utc)) - LOOK_BACK).date(), roots


def _in_feed(feed: Feed) -> tuple[str, tuple[str, str]]:
    """A condition that a file is one of a feed, and its parameters: not by `like`, to which `_` is any letter."""
    below = feed.prefix.rstrip("/") + "/"
    return f"(path = %s or left(path, {len(below)}) = %s)", (feed.prefix, below)


def _forget_unread(pipeline: dlt.Pipeline, feed: Feed, plan: Plan) -> None:
    """Delete from the ledger what was not read and is there no more, or is read by now."""
    in_feed, prefix = _in_feed(feed)
    unread = query(pipeline, f"select path from loaded_files where kind = '{UNREAD}' and {in_feed}", *prefix)
    for path in {path for (path,) in unread} - {file.path for file in [*plan.files, *plan.unread]}:
        query(pipeline, f"delete from loaded_files where kind = '{UNREAD}' and path = %s", path)


def forget(pipeline: dlt.Pipeline, address: str) -> None:
    """Let status ask no more for a feed. What was loaded of it stays, and so does the ledger.

    Raises:
        UsageError: no such feed was ever synced.
    """
    names = {address, shown(address)}
    with suppress(HeadraceError):  # it may be gone
        names.add(Feed.at(address).prefix)
    feeds = {name for (name,) in query(pipeline, "select distinct feed from syncs")}
    found = {name for name in feeds if name in names or shown(name) in names}
    if not found:
        known = ", ".join(sorted(map(shown, feeds))) or "none"
        raise UsageError(f"{shown(address)}: no such feed was synced to this target; it knows: {known}")
    for name in found:
        query(pipeline, "delete from syncs where feed = %s", name)


def replay(feed: Feed, target: Target, span: Span, build: Callable[[], None], progress: Progress = _silent) -> Loaded:
    """Load hours of a feed again, whatever the ledger says of them, a package at a time with a build after each.

    When it is cut short, the same call goes on with the files that it had not loaded itself: the working folder
    remembers its loads. Should that be lost, it begins anew, which costs time and changes nothing.

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
    marker = _Backfill(target.work_dir / "backfill.json", feed, span)
    with connected(target, loads=True) as pipeline:
        discard_unfinished(pipeline)
        plan = plan_of(pipeline, feed, Span(span.since, span.until, everything=True))
    others = [file for file in plan.unread if not file.problem]  # their content decides, perhaps another way by now
    files = sorted([*plan.files, *plan.unchanged, *others], key=in_order)
    todo = [file for file in files if not _is_of(marker.loads, file, plan.known.get(file.path))]
    done = len(files) - len(todo)
    if marker.loads:
        words = f"going on with a backfill begun at {marker.began} UTC, {done:,} files done"
        progress(done, len(files), words)
        loaded.gone_on = f"{words}; to begin anew, delete {marker.path}"
    for package in packages(todo):
        progress(done, len(files), package[0].path if package else "")
        with connected(target, loads=True) as pipeline:
            again = _Package(feed, package, plan.known, target, again=True, begins=marker.add)
            load_package(pipeline, again, loaded)
        build()
        done += len(package)
    marker.path.unlink(missing_ok=True)
    return loaded


def _is_of(loads: list[str], file: FeedFile, known: Known | None) -> bool:
    """Whether one of these loads brought what the file now holds."""
    return known is not None and known.load_id in loads and not known.differs(file)


class _Backfill:
    """What the working folder remembers of a backfill under way: when it began, and its loads.

    A load is written down before it is committed, and counts when it was: so a kill between the two changes nothing.
    """

    def __init__(self, path: Path, feed: Feed, span: Span) -> None:
        """The one that was cut short, if it is the same call, else a new one."""
        self.path = path
        self.call = {"feed": feed.prefix, "since": str(span.since), "until": str(span.until)}
        found: dict[str, Any] = {}
        if path.exists():
            with suppress(ValueError):  # it was cut short, too
                found = json.loads(path.read_text())
        if {name: found.get(name) for name in self.call} != self.call or "loads" not in found:
            found = {"began": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S}", "loads": []}
        self.began: str = found["began"]
        self.loads: list[str] = found["loads"]

    def add(self, load_id: str) -> None:
        """Write down a load that begins."""
        self.loads.append(load_id)
        half = self.path.with_suffix(".half")
        half.write_text(json.dumps({**self.call, "began": self.began, "loads": self.loads}))
        half.replace(self.path)


@contextmanager
def connected(target: Target, loads: bool = False, writes: bool = False) -> Iterator[dlt.Pipeline]:
    """A dlt pipeline on the target that knows nothing of what was before.

    Who loads holds the target's lock and works in its folder, where the next load clears up after a kill; dlt then
    knows what the destination knows. Who writes by statements of its own holds the lock, too. Who only reads may do so
    at any time, in a folder of its own: that makes no DuckDB file, and shares the one that is there with other readers.

    Raises:
        LoadError: the destination refused.
        UsageError: it will do so again until somebody changes the profile, the grants or what is there.
    """
    logging.getLogger("dlt").disabled = True  # dlt itself sets the level, again and again
    for name in ("snowflake", "google", "urllib3", "botocore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warehouse = warehouse_of(target)
    for name, value in {**DLT_SETTINGS, **warehouse.dlt_settings}.items():
        dlt.config[name] = value
    folder = target.work_dir / "dlt" if loads else Path(tempfile.mkdtemp(prefix="headrace-"))
    shutil.rmtree(folder, ignore_errors=True)
    connecting = True
    try:
        with ExitStack() as opened:
            is_changed = loads or writes
            pipeline = dlt.pipeline(
                "headrace",
                pipelines_dir=str(folder),
                destination=warehouse.destination() if is_changed else opened.enter_context(warehouse.reading(folder)),
                staging=warehouse.staging,
                dataset_name=target.schema,
            )
            opened.callback(disconnect, pipeline)
            with client_of(pipeline) as client:
                is_there = client.has_dataset()
            connecting = False
            if not is_there:  # a connection does not see the schema that is made later
                disconnect(pipeline)
            if warehouse.file:  # while a connection is open, dlt's steps don't each close the file, a checkpoint
                held: Any = pipeline.sql_client()
                opened.enter_context(held)
            if loads:
                pipeline.sync_destination()
                newest = query(pipeline, "select max(load_id) from _dlt_loads")
                later = partial(next, _later_ids(newest[0][0] if newest else None))
                dlt_storage.create_load_id = later  # type: ignore[attr-defined]
            yield pipeline
    except PipelineStepFailed as error:
        for cause in _causes(error):
            if isinstance(cause, HeadraceError):
                raise cause from error
        raise warehouse.failure(error.exception or error) from error
    except HeadraceError:
        raise
    except DestinationException as error:
        raise warehouse.failure(error, connecting) from error
    except Exception as error:
        if connecting:  # some clients raise what is not of dlt
            raise warehouse.failure(error, connecting) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _later_ids(newest: str | None) -> Iterator[str]:
    """Ids of loads, each of which sorts after the ones before.

    To dlt a load id is the time. But which of two loads is the newer one is told by it alone, and clocks are set back:
    a load made while a clock was a year ahead would be the newest for a year.
    """
    last = newest or ""
    while True:
        made = create_load_id()
        last = made if made > last else str(float(last) + 0.001)
        yield last


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What an exception was raised from, and that in turn."""
    while cause := error.__cause__ or error.__context__:
        yield cause
        error = cause


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
        "select path, kind, size, version, content_hash, _dlt_load_id from loaded_files "
        f"where (ingested_time is null {since}) and _dlt_load_id in {COMPLETE} "
        "order by _dlt_load_id",
        *([min(hours)] if hours else []),
    )
    return {path: Known(*known) for path, *known in found}


def query(pipeline: dlt.Pipeline, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement on the staging schema, `%s` a parameter; none where its tables are not there yet."""
    try:
        with client_of(pipeline) as client, client.execute_query(sql, *parameters) as cursor:
            return list(cursor.fetchall()) if cursor.description else []
    except DestinationException as error:
        if is_missing(pipeline, error):
            return []
        raise


@contextmanager
def client_of(pipeline: dlt.Pipeline) -> Iterator[Any]:
    """The client for one statement after the other, which stays connected: a login can take a second."""
    if pipeline not in _clients:
        _clients[pipeline] = pipeline.sql_client()
    if _clients[pipeline].native_connection is None:
        _clients[pipeline].open_connection()
    yield _clients[pipeline]


def disconnect(pipeline: dlt.Pipeline) -> None:
    """End the connection; the next statement opens another one.

    So it is done before dlt works for long on connections of its own, as servers and firewalls end those that are idle.
    """
    if pipeline in _clients:
        _clients.pop(pipeline).close_connection()


_clients: WeakKeyDictionary[dlt.Pipeline, Any] = WeakKeyDictionary()


def is_missing(pipeline: dlt.Pipeline, error: DestinationException) -> bool:
    """Whether a statement failed as a table or a schema is not there."""
    return class_of(pipeline.destination.destination_name).is_missing(error)


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


def _passes(warehouse: Warehouse, error: BaseException) -> bool:
    """Whether a failed step of dlt may go well next time."""
    return (
        isinstance(error, PipelineStepFailed)
        and error.step == "load"
        and retry_load(("load",))(error)
        and isinstance(warehouse.failure(error.exception or error), LoadError)
    )


class _Package:
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
        self.warehouse = warehouse_of(target)
        self.scratch = target.work_dir / "files"
        self.by_insert = self.warehouse.by_insert
        self.sync = sync
        self.unread = list(unread)
        self.again = again
        self.begins = begins
        self.clear()

    def clear(self) -> None:
        """Forget what was read."""
        self.tallies: dict[str, rows.Tally] = {}
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
        try:
            self.hashes[file.path] = content_hash(local)
        except OSError as error:
            self.problems[file.path] = UsageError(f"{file.path}: it can't be read ({error.strerror or error})")
            return
        known = self.known.get(file.path)
        if known and known.content_hash == self.hashes[file.path] and not self.again:
            return
        tally = self.tallies[file.path] = rows.Tally()
        if file.kind == "events":
            found = rows.read_events(local, file.path, tally, file.hour, file.modified)
        else:
            found = rows.read_definitions(local, file.path, file.kind, tally)
        yield from rows.short_enough(found, self.warehouse.max_text_bytes, tally)
        if known and tally.is_empty:
            tally.cut_off(None, "the file is empty: what it held before stays")
        self._keep_rejections(file.path, tally)

    def _keep_rejections(self, path: str, tally: rows.Tally) -> None:
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
        yield REJECTED_EVENTS.empty_table()
        if self.rejects:
            self.rejects.close()
            with pq.ParquetFile(self.scratch / REJECTS) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group)

    def loaded_files(self) -> Iterator[pa.Table]:
        load_id = _load_id()
        news = [error for path, error in self.problems.items() if _is_news(path, self.known)]
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
        return _is_news(file.path, self.known) and not isinstance(self.problems.get(file.path), LoadError)

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
        loaded.unread += [str(error) for path, error in self.problems.items() if _is_news(path, self.known)]
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
