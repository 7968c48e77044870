"""dbt on the lake: the marts of what was delivered to a store are those of the warehouse that delivered it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from conftest import TESTS, UNREAD, VIEWS, Warehouse, event, leave_out
from dbt_common.exceptions import DbtRuntimeError
from headrace.sample import write_feed
from headrace.stores import Changes
from headrace.stores import Delivered as Loaded
from headrace.stores.iceberg import IcebergStore
from headrace.stores.plugin import Plugin, by_ranges
from headrace.stores.tables import DAY, SCHEMAS
from test_stores import BUCKET, S3, Store, ready, servers

__all__ = ["servers"]

LAKE = ("--profiles-dir", ".headrace", "--target", "lake", "--vars", "{managed_events: {schema: lake}}")
HOURS = ("ingested_time=2026-03-02 00:00:00", "ingested_time=2026-03-02 01:00:00")
MARTS = ("sessions", "page_views", "pages", "users", "identifies")
OF_A_BUILD = {"updated_time", "_invocation_id"}
"""The columns that say when and by which build a row was written."""

FILE_TYPES = {"event_time": pa.string(), "processed_time": pa.string(), "updated_time": pa.int64()}
"""Where the files of a delivery have another type than a table."""

ISO = "strftime({0}, '%Y-%m-%dT%H:%M:%S.%fZ') as {0}"
IN_FILES = f"""
    event_id, {ISO.format("event_time")}, {ISO.format("processed_time")}, epoch_ms(updated_time) as updated_time,
    device_id, session_id, view_id, event_type, cast(event_properties as varchar) as event_properties, source_type,
    cast(source_properties as varchar) as source_properties
"""
"""Events as the files of a delivery have them, by DuckDB and not by what delivers them."""


def ask(database: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'").fetchall()
        return connection.execute(sql).fetchall()


def marts(database: Path) -> dict[str, list[str]]:
    """The rows of each mart, of which there are some, in an order of their own."""
    found = {}
    for mart in MARTS:
        names = [name for name, *_ in ask(database, f"describe product_marts.{mart}") if name not in OF_A_BUILD]
        found[mart] = sorted(map(repr, ask(database, f"select {', '.join(names)} from product_marts.{mart}")))
        assert found[mart], mart
    return found


@dataclass
class Delivered:
    """Two deliveries of a warehouse, and what its marts were at each."""

    warehouse: Warehouse
    files: list[Path]
    marts: list[dict[str, list[str]]]


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    folder = tmp_path_factory.mktemp("delivered")
    warehouse = Warehouse(folder)
    found = Delivered(warehouse, [], [])
    until = "2000-01-01"
    for hours in (2, 5):  # from the fourth on, a file is re-created
        write_feed(folder / "feed", hours, 150, 1)
        shutil.rmtree(folder / "feed/configuration", ignore_errors=True)  # managed mode reads no definitions
        warehouse.sync(folder / "feed")
        file = folder / f"{hours}.parquet"
        changed = f"select {IN_FILES} from product.events where updated_time > '{until}' order by event_time"
        ask(warehouse.database, f"copy ({changed}) to '{file}' (format parquet)")
        [(until,)] = ask(warehouse.database, "select max(updated_time) from product.events")
        found.files.append(file)
        found.marts.append(marts(warehouse.database))
    again = ask(
        warehouse.database,
        f"select count(*) filter (after.event_type is null), count(*) from '{found.files[0]}' as before"
        f" inner join '{found.files[1]}' as after using (event_id)",
    )
    assert again[0][0] > 0, again  # some are superseded
    assert found.marts[0] != found.marts[1]
    return found


class Lake:
    """The models on a store, in a DuckDB file of their own."""

    def __init__(self, delivered: Delivered, name: str, address: str | Path, format: str = "parquet") -> None:
        self.warehouse = delivered.warehouse
        self.database = self.warehouse.project / f"of_{name}.duckdb"
        self.env = {
            "HEADRACE_LAKE": str(address),
            "HEADRACE_LAKE_FORMAT": format,
            "HEADRACE_LAKE_DUCKDB": self.database.name,
        }

    def build(self, **env: str) -> None:
        leave_out(self.warehouse.project, *UNREAD, TESTS, *[VIEWS] * self.database.exists())
        before = self.warehouse.env
        self.warehouse.env = before | self.env | env
        try:
            self.warehouse.dbt("build", "--exclude-resource-type", "unit_test", *LAKE)
        finally:
            self.warehouse.env = before


def put(file: Path, prefix: Path, hour: str) -> None:
    (prefix / "events" / hour).mkdir(parents=True)
    shutil.copy(file, prefix / "events" / hour)


def test_the_marts_of_a_folder_are_those_of_the_warehouse(delivered, tmp_path):
    prefix = tmp_path / "it's a [lake]"
    lake = Lake(delivered, "files", prefix)
    for file, hour, expected in zip(delivered.files, HOURS, delivered.marts, strict=True):
        put(file, prefix, hour)
        lake.build()
        assert marts(lake.database) == expected
    # Read up to there: the next build begins at it.
    [(until,)] = ask(lake.database, "select epoch_ms(merged_until) from product.managed_cursor")
    assert [(until,)] == ask(lake.database, f"select max(updated_time) from '{delivered.files[1]}'")


@pytest.mark.soak
def test_the_marts_of_a_delta_table_are_those_of_the_warehouse(delivered, tmp_path):
    deltalake = pytest.importorskip("deltalake", reason="deltalake is not installed")
    table = tmp_path / "delta" / "events"
    lake = Lake(delivered, "delta", table.parent, "delta")
    for file in delivered.files:
        typed = (
            "select * replace (cast(event_time as timestamptz) as event_time, cast(processed_time as timestamptz) as"
            " processed_time, make_timestamptz(updated_time * 1000) as updated_time),"
            f" cast(left(event_time, 10) as date) as event_date from '{file}'"
        )
        with duckdb.connect() as connection:
            connection.execute("set TimeZone = 'UTC'").fetchall()
            rows = connection.execute(typed).to_arrow_table().cast(SCHEMAS["events"])
        if not table.exists():
            deltalake.write_deltalake(str(table), rows, partition_by=["event_date"])
            continue
        merger = deltalake.DeltaTable(str(table)).merge(
            rows, "target.event_id = source.event_id", source_alias="source", target_alias="target"
        )
        merger.when_matched_update_all().when_not_matched_insert_all().execute()
    lake.build()
    assert marts(lake.database) == delivered.marts[1]


@pytest.fixture
def s3(servers: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    yield ready(servers(S3), monkeypatch)


@pytest.mark.soak
def test_the_marts_of_a_bucket_are_those_of_the_warehouse(delivered, s3):
    for file, hour in zip(delivered.files, HOURS, strict=True):
        s3.client().put_file(str(file), f"{BUCKET}/{s3.feed}/events/{hour}/1.parquet")
    lake = Lake(delivered, "bucket", s3.address)
    lake.build(**s3.environment())
    assert marts(lake.database) == delivered.marts[1]


def test_what_is_not_there_is_said_so_that_dbt_shows_it_in_a_line(tmp_path):
    pytest.importorskip("deltalake", reason="deltalake is not installed")
    plugin = Plugin("lake", {"address": str(tmp_path / "nothing")})
    with duckdb.connect() as connection, pytest.raises(DbtRuntimeError, match=r"No files found.*nothing/events/ing"):
        plugin.configure_connection(connection)
    with pytest.raises(DbtRuntimeError, match="nothing: there is no such table: has anything been delivered there"):
        Plugin("lake", {"address": str(tmp_path / "nothing"), "format": "delta"})


def test_a_file_is_read_by_threads_at_the_same_time(s3):
    """DuckDB has them share it: one seeks while the other is about to read."""
    s3.client().pipe_file(f"{BUCKET}/digits", b"0123456789")
    file = by_ranges(s3.client()).open(f"s3://{BUCKET}/digits", "rb")
    file.seek(2)
    with ThreadPoolExecutor() as other:
        assert other.submit(lambda: (file.seek(7), file.read(9), file.read(9))).result() == (7, b"789", b"")
    assert (file.read(3), file.tell()) == (b"234", 5)


def test_an_iceberg_table_is_read_by_its_catalog(tmp_path, monkeypatch):
    pytest.importorskip("pyiceberg", reason="pyiceberg is not installed")
    monkeypatch.setenv("PYICEBERG_CATALOG__HEADRACE__URI", f"sqlite:///{tmp_path}/catalog.db")
    schema = pa.schema(
        [(field.name, FILE_TYPES.get(field.name, field.type)) for field in SCHEMAS["events"] if field.name != DAY]
    )
    rows = [event("a"), event("b", event_type=None), event("c", event_time="2026-03-03T00:00:00.000000Z")]
    changes = Changes(
        "events",
        pa.Table.from_pylist(rows, schema).to_reader(),
        Loaded("duckdb:shop", "1764273000.1234567"),
    )
    IcebergStore(str(tmp_path / "shop")).write(changes)
    plugin = Plugin("lake", {"address": str(tmp_path / "shop"), "format": "iceberg"})
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        plugin.configure_connection(connection)
        cursor = connection.cursor()
        plugin.configure_cursor(cursor)
        cursor.execute("set TimeZone = 'UTC'").fetchall()
        found = "select event_id, cast(event_time as varchar), device_id, event_properties ->> '$.target.text'"
        assert cursor.execute(f"{found} from lake.live_events order by 1").fetchall() == [
            ("a", "2026-03-02 00:00:00+00", 2**60 + 1, "Buy"),
            ("c", "2026-03-03 00:00:00+00", 2**60 + 1, "Buy"),
        ]
        assert cursor.execute("select count(*) from lake.events where event_date = '2026-03-02'").fetchall() == [(2,)]
        cursor.close()
