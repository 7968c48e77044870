"""Runs headrace in this process and kills it (SIGKILL) at a named point.

The product has no hooks for this: the function or statement that a point names is wrapped from outside.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
from dlt.common.storages.load_storage import LoadStorage

COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Call:
    """Before or after a function is called with the arguments that `only` wants."""

    when: Literal["before", "after"]
    function: str
    only: Callable[..., bool] = lambda *_: True
    events: Callable[[str], bool] | None = None
    """Orders the jobs, which dlt takes in the order of random names."""

    def plant(self) -> None:
        if self.events:
            list_jobs, by = LoadStorage.list_new_jobs, self.events
            LoadStorage.list_new_jobs = lambda *arguments: sorted(list_jobs(*arguments), key=by)
        module, _, path = self.function.partition(":")
        owner: Any = import_module(module)
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        original = getattr(owner, name)

        def deadly(*arguments: Any, **named: Any) -> Any:
            hit = self.only(*arguments)
            if hit and self.when == "before":
                die()
            result = original(*arguments, **named)
            if hit:
                die()
            return result

        setattr(owner, name, deadly)


@dataclass(frozen=True)
class Statement:
    """Before dbt runs the statement that a pattern finds, after it within its transaction, or once it is committed."""

    when: Literal["before", "after", "committed"]
    pattern: str

    def plant(self) -> None:
        from dbt.adapters.sql.connections import SQLConnectionManager

        original = SQLConnectionManager.add_query
        open_transactions: set[int] = set()
        doomed: set[int] = set()

        def deadly(manager: Any, sql: str, *arguments: Any, **named: Any) -> Any:
            statement = " ".join(COMMENT.sub("", sql).split()).rstrip(";").lower()
            hit = re.search(self.pattern, statement)
            if hit and self.when == "before":
                die()
            connection, cursor = original(manager, sql, *arguments, **named)
            if statement == "begin":
                open_transactions.add(id(connection))
            if statement in ("commit", "rollback"):
                open_transactions.discard(id(connection))
            if hit:
                doomed.add(id(connection))
            if id(connection) in doomed and (self.when == "after" or id(connection) not in open_transactions):
                with suppress(Exception):  # not all statements have rows
                    cursor.fetchall()  # what is not fetched may not have run to its end
                die()
            return connection, cursor

        SQLConnectionManager.add_query = deadly


def has_events(job: Any) -> bool:
    """Whether it loads rows of raw_events; another job has none, and creates the table."""
    return job.load_table_name == "raw_events" and pq.read_metadata(job._file_path).num_rows > 0


def first(file: str) -> bool:
    return "raw_events" not in file


def last(file: str) -> bool:
    return "raw_events" in file


COPY = {
    "duckdb": "dlt.destinations.impl.duckdb.duck:DuckDbCopyJob.run",
    "bigquery": "dlt.destinations.impl.bigquery.bigquery:_BigQueryLoadJobBase.run",
    "postgres": "headrace.warehouses.postgres:CopyJob.run",
    "snowflake": "dlt.destinations.impl.snowflake.snowflake:SnowflakeLoadJob.run",
}
MARKER = "dlt.destinations.job_client_impl:SqlJobClientBase.complete_load"
RENAME = "dlt.common.storages.load_storage:LoadStorage.complete_load_package"


def load_points(warehouse: str) -> dict[str, Call]:
    """Points of `sync --no-build`."""
    copy = COPY[warehouse]
    return {
        "before the ledger is read": Call("before", "headrace.ledger:read"),
        "the first Parquet file is written": Call("after", "pyarrow.parquet:ParquetWriter.close"),
        "the package is extracted": Call("after", "dlt.pipeline.pipeline:Pipeline.extract"),
        "the package is normalized": Call("after", "dlt.pipeline.pipeline:Pipeline.normalize"),
        "only the events are loaded": Call("after", copy, has_events, events=first),
        "all but the events are loaded": Call("before", copy, has_events, events=last),
        "all data is loaded, without the marker": Call("before", MARKER),
        "the marker is set": Call("after", MARKER),
        "the package is put away": Call("after", RENAME),
    }


BUILD_POINTS: dict[str, Call | Statement] = {
    "batch_loads is built": Statement("committed", r'^create \S* ?table \S*"batch_loads__dbt_tmp"'),
    "event_batch is built": Statement("committed", r'^create \S* ?table \S*"event_batch__dbt_tmp"'),
    "merged into events, uncommitted": Statement("after", r'^merge into \S*"events"'),
    "merged into events": Statement("committed", r'^merge into \S*"events"'),
    "merged into int_sessions, uncommitted": Statement("after", r'^merge into \S*"int_sessions"'),
    "the stale sessions are deleted": Statement("committed", r'^delete from \S*"int_sessions"'),
    "before the purge's mark": Statement("before", r'^update \S*"loaded_files"'),
    "between the purge's mark and its delete": Statement("committed", r'^update \S*"loaded_files"'),
    "the events are purged": Statement("committed", r'^delete from \S*"raw_events"'),
    "after the purge": Call("after", "headrace.build:build"),
}
"""Points of `sync` after its load."""

REBUILD_POINTS: dict[str, Call | Statement] = {
    "the days are requested": Call("after", "headrace.redo:ask"),
    "merged into int_parsed_events": Statement("committed", r'^merge into \S*"int_parsed_events"'),
    "the request has gone": Statement("committed", r'^delete from \S*"redo"'),
}
"""Points of `rebuild` beside those."""

STAMPING_POINTS: dict[str, Call | Statement] = {
    "the rows are stamped": Call("after", "headrace.definitions.apply:Application.parts"),
    "the values are matched": Call("after", "headrace.definitions.matches:_insert"),
    "the build is done, the values are not matched": Call("before", "headrace.definitions.matches:refresh"),
}
"""Points of `sync` and of `definitions apply` with definitions."""

MARK = "headrace.stores.files:FileStore._mark"


def has_all(_: Any, marker: Any) -> bool:
    """Whether a marker says that the events are there, which come last."""
    return not marker.under_way and marker.delivered.get("events", "") == max(marker.delivered.values())


DELIVERY_POINTS: dict[str, Call | Statement] = {
    "one of the lookups is there": Call("after", MARK, lambda _, marker: [*marker.delivered] == ["page_definitions"]),
    "the events are under way": Call("before", "headrace.stores.files:_write", lambda _, rows, __: has_ids(rows)),
    "a file of events is half there": Call("after", "headrace.stores.files:_write", lambda _, rows, __: has_ids(rows)),
    "the events are there without the marker": Call("before", MARK, has_all),
    "all is there": Call("after", MARK, has_all),
}
"""Points of a first delivery to a store."""


def has_ids(rows: Any) -> bool:
    return "event_id" in rows.schema.names


CLEANING = "cleaning up after a kill"


def points(warehouse: str) -> dict[str, Call | Statement]:
    """By name, in the order of a sync."""
    cleaning = Call("after", "headrace.ledger:query", lambda _, sql: sql.startswith("delete from"))
    return {**load_points(warehouse), **BUILD_POINTS, CLEANING: cleaning}


def main(warehouse: str, point: str, arguments: list[str]) -> None:
    """Run headrace in this process to the point where it is to die."""
    from headrace.cli import main as headrace

    {**points(warehouse), **REBUILD_POINTS, **STAMPING_POINTS, **DELIVERY_POINTS}[point].plant()
    headrace(arguments)


def deliver(point: str | None, arguments: list[str]) -> None:
    """Deliver what a DuckDB file has to a store, to the point where it is to die."""
    from headrace.deliver import Deliveries
    from headrace.stores import store_at
    from headrace.target import read_target

    if point:
        DELIVERY_POINTS[point].plant()
    project, database, home, address = arguments
    os.environ["HEADRACE_DUCKDB"] = database
    target = replace(read_target(None, Path(project)), home=Path(home))
    failures = [one.failure for one in Deliveries(target, [store_at(address)]).run(lambda _: None) if one.failure]
    if failures:
        raise failures[0]
