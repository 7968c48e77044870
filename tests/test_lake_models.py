"""dbt on the lake: the marts from what was delivered to a store are those of the warehouse that it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import HOUR, TESTS, UNREAD, VIEWS, Warehouse, event, leave_out, ndjson
from headrace.sample import write_feed
from test_stores import S3, Store, ready, servers

__all__ = ["servers"]

LAKE = ("--profiles-dir", ".headrace", "--target", "lake", "--vars", "{managed_events: {schema: lake}}")
MARTS = {
    "sessions": "full_session_id",
    "page_views": "full_session_id, start_time, event_id",
    "pages": "page_id",
    "users": "user_id",
    "identifies": "event_id",
}
OF_A_BUILD = ("updated_time", "_invocation_id")
"""The columns that say when and by which build a row was written."""

NULLED = "case when event_type is not null then {0} end as {0}"
ISO = "strftime({0}, '%Y-%m-%dT%H:%M:%S.%fZ') as {0}"
IN_FILES = ", ".join(
    [
        "event_id",
        ISO.format("event_time"),
        ISO.format("processed_time"),
        "epoch_ms(updated_time) as updated_time",
        "device_id, session_id, view_id, event_type",
        "cast(event_properties as varchar) as event_properties",
        "source_type",
        "cast(source_properties as varchar) as source_properties",
    ]
)
"""Events as the files of a delivery have them, by DuckDB and not by what delivers."""


class Lake:
    """What a warehouse delivers into a folder, and the models on it."""

    def __init__(self, warehouse: Warehouse, **env: str) -> None:
        self.warehouse = warehouse
        self.folder = warehouse.project / "lake"
        self.database = warehouse.project / "lake.duckdb"
        warehouse.env |= {"HEADRACE_LAKE": str(self.folder), **env}
        self.until = "2000-01-01"

    def deliver(self, hour: int) -> Path:
        """Copy what has changed since the last time into the folder of an hour."""
        folder = self.folder / f"events/ingested_time=2026-03-02 {hour:02}:00:00"
        folder.mkdir(parents=True)
        with duckdb.connect(str(self.warehouse.database)) as connection:
            connection.execute("set TimeZone = 'UTC'").fetchall()
            changed = f"from product.events where updated_time > '{self.until}'"
            connection.execute(
                f"copy (select {IN_FILES} {changed} order by event_time) to '{folder}/1.parquet' (format parquet)"
            ).fetchall()
            [(self.until,)] = connection.execute("select max(updated_time) from product.events").fetchall()
        return folder / "1.parquet"

    def build(self) -> None:
        excluded = [*UNREAD, TESTS, *[VIEWS] * self.database.exists()]
        leave_out(self.warehouse.project, *excluded)
        self.warehouse.dbt("build", *LAKE)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return ask(self.database, sql)


def ask(database: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'").fetchall()
        return connection.execute(sql).fetchall()


def marts(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of the marts; there are some."""
    found = {}
    for mart, key in MARTS.items():
        names = {name for name, *_ in ask(database, f"describe product_marts.{mart}")}
        hidden = ", ".join(sorted(names & set(OF_A_BUILD)))
        columns = f"* exclude ({hidden})" if hidden else "*"
        found[mart] = ask(database, f"select {columns} from product_marts.{mart} order by {key}")
        assert found[mart], mart
    return found


def test_the_marts_are_those_of_the_warehouse(warehouse, tmp_path):
    feed = tmp_path / "feed"
    write_feed(feed, 2, 300, 1)
    warehouse.sync(feed)
    lake = Lake(warehouse)
    lake.deliver(0)
    lake.build()
    assert marts(lake.database) == marts(warehouse.database)
