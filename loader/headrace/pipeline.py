"""A dlt pipeline on a target, and statements on its staging schema."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import dlt
from dlt.common.destination.exceptions import DestinationException
from dlt.common.storages.load_package import create_load_id
from dlt.extract import storage as dlt_storage
from dlt.pipeline.exceptions import PipelineStepFailed

from .errors import HeadraceError, UsageError
from .target import Target
from .warehouses import class_of, warehouse_of

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
            if not is_there:
                if is_changed and warehouse.file:
                    _refuse_another_spelling(pipeline, target)
                disconnect(pipeline)  # a connection does not see the schema that is made later
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


def _refuse_another_spelling(pipeline: dlt.Pipeline, target: Target) -> None:
    """DuckDB has one schema of all spellings of a name, by the first of them; dlt and dbt look for their own."""
    found = query(
        pipeline,
        "select schema_name from information_schema.schemata "
        "where catalog_name = current_database() and lower(schema_name) = lower(%s)",
        target.schema,
    )
    if found:
        raise UsageError(
            f"{target.label} has the schema {found[0][0]!r}, which to DuckDB is the same as {target.schema!r}, "
            "but not to dbt: spell it like that in the profile"
        )


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


def by_day(column: str) -> str:
    """What to group by for the days of a time, in the session's time zone, whichever that is."""
    return ", ".join(f"extract({part} from {column})" for part in ("year", "month", "day"))


def utc_days(first: datetime, last: datetime) -> set[date]:
    """The days in UTC of a group by the day of another time zone: those of its first and its last time."""
    return {utc(first).date(), utc(last).date()}


def utc(at: datetime) -> datetime:
    """A time of a table of dbt's, which on Snowflake has no zone and is in UTC."""
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def query(pipeline: dlt.Pipeline, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement on the staging schema, `%s` a parameter; none where its tables are not there yet."""
    found = answer(pipeline, sql, *parameters)
    return found[1] if found else []


def answer(pipeline: dlt.Pipeline, sql: str, *parameters: Any) -> tuple[list[str], list[tuple[Any, ...]]] | None:
    """The names of a statement's columns, in lower case, and its rows; None where a table of it is not there."""
    try:
        with client_of(pipeline) as client, client.execute_query(sql, *parameters) as cursor:
            if not cursor.description:
                return [], []
            return [column[0].lower() for column in cursor.description], list(cursor.fetchall())
    except DestinationException as error:
        if is_missing(pipeline, error):
            return None
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
