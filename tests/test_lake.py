"""Delta and Iceberg tables as destinations, read by what did not write them wherever that is here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import forked
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from conftest import PROJECT, event
from headrace.cli import main
from headrace.errors import UsageError
from headrace.stores import Changes, Delivered
from killer import Call
from test_stores import S3, Azure, Relay, Store, configure, ready, servers  # noqa: F401 (a fixture)

deltalake = pytest.importorskip("deltalake", minversion="1.6", reason="deltalake 1.6 is not installed")
pytest.importorskip("pyiceberg", reason="pyiceberg is not installed")

ORIGIN = "duckdb:shop"
FIRST, SECOND, THIRD = "1764273000.1234567", "1764276600.5", "1764280200.0"

FILE = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_time", pa.string()),
        ("processed_time", pa.string()),
        ("updated_time", pa.int64()),
        ("device_id", pa.int64()),
        ("session_id", pa.int64()),
        ("view_id", pa.int64()),
        ("event_type", pa.string()),
        ("event_properties", pa.string()),
        ("source_type", pa.string()),
        ("source_properties", pa.string()),
    ]
)
"""Events in the types of the files, as the contract has them (1.1)."""

PAGES = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "name", "description", "state", "created_time", "created_by")),
        *((name, pa.string()) for name in ("modified_time", "modified_by", "fs_link_id")),
        ("is_user_defined", pa.bool_()),
        ("updated_time", pa.int64()),
    ]
)

TIME = pa.timestamp("us", "UTC")
TYPES = {
    "event_id": pa.string(),
    "event_time": TIME,
    "processed_time": TIME,
    "updated_time": TIME,
    "device_id": pa.int64(),
    "session_id": pa.int64(),
    "view_id": pa.int64(),
    "event_type": pa.string(),
    "event_properties": pa.string(),
    "source_type": pa.string(),
    "source_properties": pa.string(),
    "event_date": pa.date32(),
}


def on(day: int, event_id: str, **fields: Any) -> dict[str, Any]:
    return event(event_id, event_time=f"2026-03-{day:02d}T12:00:00.123456Z", **fields)


def nulled(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "event_type": None, "event_properties": None, "source_properties": None, "updated_time": 1}


def changes(until: str, *rows: dict[str, Any], origin: str = ORIGIN) -> Changes:
    """What a build has changed in events; each row is a batch of its own."""
    ordered = sorted(rows, key=lambda row: row["event_time"] or "")
    batches = [pa.RecordBatch.from_pylist([row], FILE) for row in ordered]
    reader = pa.RecordBatchReader.from_batches(FILE, batches)
    return Changes("events", reader, Delivered(origin, until))


def pages(until: str, *rows: dict[str, Any]) -> Changes:
    reader = pa.Table.from_pylist(list(rows), PAGES).to_reader()
    return Changes("page_definitions", reader, Delivered(ORIGIN, until))


class Delta:
    """Delta tables as readers see them."""

    def __init__(self, address: Any, options: dict[str, str] | None = None) -> None:
        from headrace.stores.delta import DeltaStore

        self.address, self.options = str(address), options
        self.store = DeltaStore(self.address)

    def dataset(self, table: str = "events") -> ds.Dataset:
        return self.table(table).to_pyarrow_dataset()

    def table(self, table: str = "events") -> deltalake.DeltaTable:
        return deltalake.DeltaTable(f"{self.address}/{table}", storage_options=self.options)

    def files(self) -> dict[str, set[str]]:
        """The files that a reader sees, by their day."""
        found: dict[str, set[str]] = {}
        for uri in self.table().file_uris():
            found.setdefault(uri.split("event_date=")[1][:10], set()).add(uri)
        return found


def seen_names(lake: Any) -> set[str]:
    """The names, in the folder of the table, of the files that a reader sees."""
    return {uri.split("/events/")[1] for uris in lake.files().values() for uri in uris}


class Iceberg:
    """Iceberg tables as readers see them, by the catalog that the environment names."""

    def __init__(self, address: Any) -> None:
        from headrace.stores.iceberg import IcebergStore

        self.address = str(address)
        self.store = IcebergStore(self.address)

    def table(self, table: str = "events") -> Any:
        found = self.store.table(table)
        assert found is not None
        return found

    def dataset(self, table: str = "events") -> ds.Dataset:
        found = self.table(table).scan()
        return ds.InMemoryDataset(found.to_arrow())

    def files(self) -> dict[str, set[str]]:
        """The files that a reader sees, by their day."""
        found: dict[str, set[str]] = {}
        for task in self.table().scan().plan_files():
            found.setdefault(task.file.file_path.split("event_date=")[1][:10], set()).add(task.file.file_path)
        return found


KINDS = {"delta": Delta, "iceberg": Iceberg}


@pytest.fixture(params=list(KINDS))
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PYICEBERG_CATALOG__HEADRACE__URI", f"sqlite:///{tmp_path}/catalog.db")
    return KINDS[request.param](tmp_path / "lake")


def rows(lake: Any, columns: str = "event_id, event_type", table: str = "events") -> list[tuple[Any, ...]]:
    """What DuckDB sees, without the libraries that wrote it but for the list of files."""
    seen = lake.dataset(table)
    assert seen is not None
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'").fetchall()
        return connection.execute(f"select {columns} from seen order by 1").fetchall()


def test_a_table_holds_the_latest_version_of_each_event_in_the_types_of_the_contract(lake: Any) -> None:
    lake.store.check()
    assert lake.store.delivered("events") is None
    old, late = on(1, "old", device_id=2**62 + 1), on(2, "changed", event_properties='{"é": 1.10}')
    timeless = event("timeless", event_time=None)

    first = changes(FIRST, old, late, on(2, "nulled"), timeless)
    assert lake.store.write(first) == 4
    assert lake.store.delivered("events") == Delivered(ORIGIN, FIRST)
    second = changes(SECOND, {**late, "event_type": "tap"}, nulled(on(2, "nulled")), on(3, "new"))
    assert lake.store.write(second) == 3
    assert lake.store.delivered("events") == Delivered(ORIGIN, SECOND)

    assert dict(zip(lake.dataset().schema.names, lake.dataset().schema.types, strict=True)) == TYPES
    assert lake.dataset().schema.names == list(TYPES)
    assert rows(lake) == [
        ("changed", "tap"),
        ("new", "click"),
        ("nulled", None),
        ("old", "click"),
        ("timeless", "click"),
    ]
    at = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
    processed, updated = datetime(2026, 3, 2, 1, tzinfo=UTC), datetime(2026, 3, 2, 1, tzinfo=UTC)
    found = rows(lake, "* exclude (event_properties, source_properties)")
    assert found[3] == ("old", at, processed, updated, 2**62 + 1, 7, 70, "click", "web", date(2026, 3, 1))
    assert found[4][:2] == ("timeless", None) and found[4][-1] is None
    assert rows(lake, "event_id, event_properties, source_properties, updated_time")[0][1:3] == (
        '{"é": 1.10}',
        late["source_properties"],
    )
    assert rows(lake, "event_id, event_properties, updated_time")[2] == (
        "nulled",
        None,
        datetime(1970, 1, 1, 0, 0, 0, 1000, UTC),
    )


def test_what_is_delivered_already_changes_nothing(lake: Any) -> None:
    lake.store.write(changes(FIRST, on(1, "a"), on(2, "b")))
    seen = lake.files()
    assert lake.store.write(changes(FIRST, on(1, "a"), on(2, "b"))) == 0
    assert lake.files() == seen
    lake.store.write(changes(SECOND, on(1, "a"), on(2, "b")))  # the same rows once more
    assert rows(lake) == [("a", "click"), ("b", "click")]


def test_a_delivery_without_rows_is_written_down(lake: Any) -> None:
    assert lake.store.write(changes(FIRST)) == 0
    assert lake.store.delivered("events") == Delivered(ORIGIN, FIRST)
    lake.store.write(changes(SECOND, on(1, "a")))
    assert lake.store.write(changes(THIRD)) == 0
    assert lake.store.delivered("events") == Delivered(ORIGIN, THIRD)
    assert rows(lake) == [("a", "click")]


def test_a_merge_leaves_the_files_of_other_days(lake: Any) -> None:
    lake.store.write(changes(FIRST, *(on(day, f"e{day}") for day in range(1, 10)), event("t", event_time=None)))
    before = lake.files()
    assert len(before) == 10
    lake.store.write(changes(SECOND, {**on(3, "e3"), "event_type": "tap"}, on(4, "new")))
    after = lake.files()
    assert {day for day in after if after[day] != before[day]} == {"2026-03-03", "2026-03-04"}
    assert dict(rows(lake))["e3"] == "tap"
    assert len(rows(lake)) == 11


def test_an_event_that_gets_its_time_moves_to_its_day(lake: Any) -> None:
    lake.store.write(changes(FIRST, nulled(event("a", event_time=None)), on(1, "b")))
    lake.store.write(changes(SECOND, on(2, "a")))
    assert rows(lake, "event_id, event_date") == [("a", date(2026, 3, 2)), ("b", date(2026, 3, 1))]
    for until in (THIRD, "1764283800.7"):
        lake.store.write(changes(until, event("c", event_time=None, event_type="tap")))
    assert rows(lake)[2:] == [("c", "tap")]


def test_definitions_are_known_by_their_id(lake: Any) -> None:
    page = {"id": "p1", "name": "Cart", "state": "active", "modified_time": "2026-01-02T00:00:00.000000Z"}
    page |= {"is_user_defined": True, "updated_time": 1_772_413_200_000}
    lake.store.write(pages(FIRST, page, {**page, "id": "p2"}))
    lake.store.write(pages(SECOND, {**page, "state": "archived"}))
    assert rows(lake, "id, state, is_user_defined, modified_time, updated_time", "page_definitions") == [
        ("p1", "archived", True, datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 3, 2, 1, tzinfo=UTC)),
        ("p2", "active", True, datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 3, 2, 1, tzinfo=UTC)),
    ]
    assert lake.store.delivered("page_definitions") == Delivered(ORIGIN, SECOND)
    assert lake.store.delivered("events") is None


def test_what_is_large_goes_in_pieces_and_only_the_last_one_says_delivered(
    lake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.stores.tables.PIECE_BYTES", 1)
    lake.store.write(changes(FIRST, *(on(day, f"e{day}") for day in range(1, 5))))
    assert lake.store.delivered("events") == Delivered(ORIGIN, FIRST)
    lake.store.write(changes(SECOND, on(5, "e5"), on(1, "e1", event_type="tap"), on(2, "e2", event_type="tap")))
    expected = [("e1", "tap"), ("e2", "tap"), ("e3", "click"), ("e4", "click"), ("e5", "click")]
    assert rows(lake) == expected
    assert lake.store.delivered("events") == Delivered(ORIGIN, SECOND)


def test_another_warehouse_is_refused(lake: Any) -> None:
    lake.store.write(changes(FIRST, on(1, "a")))
    with pytest.raises(UsageError, match="follows duckdb:shop, not bigquery:other"):
        lake.store.write(changes(SECOND, on(1, "b"), origin="bigquery:other"))
    assert rows(lake) == [("a", "click")]


def test_what_others_put_there_is_refused(lake: Any) -> None:
    folder = Path(lake.address) / "events"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), folder / "precious.parquet")
    with pytest.raises(UsageError, match=r"precious\.parquet"):
        lake.store.check()
    assert (folder / "precious.parquet").exists()


def test_maintenance_compacts_and_removes_and_keeps_what_is_delivered(lake: Any) -> None:
    for number, until in enumerate((FIRST, SECOND, THIRD)):
        lake.store.write(changes(until, on(1, f"a{number}"), on(2, "changed", updated_time=number)))
    stray = Path(lake.address) / "events/event_date=2026-03-01/stray.parquet"
    stray.parent.mkdir(exist_ok=True, parents=True)
    stray.write_bytes(b"of a delivery that was killed")
    expected = rows(lake, "*")
    assert len(expected) == 4

    [kept] = lake.store.maintain(timedelta(days=7))
    assert (kept.table, kept.removed) == ("events", 0)
    assert rows(lake, "*") == expected and stray.exists()
    [done] = lake.store.maintain(timedelta(0))
    assert done.removed >= 1 and not stray.exists()
    assert rows(lake, "*") == expected
    assert {day: len(files) for day, files in lake.files().items()} == {"2026-03-01": 1, "2026-03-02": 1}
    on_disk = {path.name for path in Path(lake.address).rglob("*.parquet") if "_delta_log" not in path.parts}
    assert on_disk == {Path(name).name for files in lake.files().values() for name in files}
    assert lake.store.delivered("events") == Delivered(ORIGIN, THIRD)
    lake.store.write(changes("1764283800.7", on(2, "changed", event_type="tap")))
    assert dict(rows(lake))["changed"] == "tap"


def test_maintenance_is_a_command(lake: Any) -> None:
    kind = "delta" if isinstance(lake, Delta) else "iceberg"
    call = ["lake", "maintain", lake.address, "--format", kind]
    nothing = CliRunner().invoke(main, call)
    assert nothing.exit_code == 2
    for number, until in enumerate((FIRST, SECOND)):
        lake.store.write(changes(until, on(1, f"a{number}")))
    assert CliRunner().invoke(main, [*call, "--keep", "5m"]).exit_code == 2
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    assert re.search(r"events +\D+2 +\D+0", done.output), done.output
    assert rows(lake) == [("a0", "click"), ("a1", "click")]


# --- killed ---------------------------------------------------------------------------------------------------------

DELIVERIES = (
    (FIRST, (on(1, "a"), on(2, "b"), event("t", event_time=None))),
    (SECOND, (on(1, "a", event_type="tap"), on(2, "c"), on(3, "d"))),
)


def deliver(arguments: list[str]) -> None:
    """Deliver all, or be killed at the point that the last argument names."""
    kind, address, point = arguments
    if point != "none":
        POINTS[kind][point].plant()
    lake = KINDS[kind](address)
    for until, some in DELIVERIES:
        if (lake.store.delivered("events") or Delivered(ORIGIN, "")).until < until:
            lake.store.write(changes(until, *some))


def is_merge(transaction: Any) -> bool:
    """Whether it takes rows out and puts rows in."""
    return sum(update.action == "add-snapshot" for update in transaction._updates) > 1


POINTS: dict[str, dict[str, Call]] = {
    "delta": {
        "the table is there, its rows are not": Call("after", "headrace.stores.delta:DeltaStore._create"),
        "the first rows are there": Call("after", "headrace.stores.delta:_append"),
        "after a merge": Call("after", "headrace.stores.delta:_merge"),
    },
    "iceberg": {
        "the table's file is there, the catalog doesn't know it": Call(
            "after", "pyiceberg.serializers:ToOutputFile.table_metadata"
        ),
        "the files of rows are there, the commit is not": Call(
            "before", "pyiceberg.table:Transaction.commit_transaction", is_merge
        ),
        "after a merge": Call("after", "pyiceberg.table:Transaction.commit_transaction", is_merge),
    },
}


@pytest.mark.parametrize(("kind", "point"), [(kind, point) for kind in POINTS for point in POINTS[kind]])
def test_killed_and_run_again_the_table_is_as_undisturbed(
    kind: str, point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYICEBERG_CATALOG__HEADRACE__URI", f"sqlite:///{tmp_path}/catalog.db")
    address = str(tmp_path / "lake")
    assert forked.Process(deliver, [kind, address, point], tmp_path, dict(os.environ)).end(60) == -9
    deliver([kind, address, "none"])
    lake = KINDS[kind](address)
    assert rows(lake) == [("a", "tap"), ("b", "click"), ("c", "click"), ("d", "click"), ("t", "click")]
    assert lake.store.delivered("events") == Delivered(ORIGIN, SECOND)
    lake.store.maintain(timedelta(0))
    on_disk = {path for path in Path(address).rglob("*.parquet") if "_delta_log" not in path.parts}
    assert len(on_disk) == sum(map(len, lake.files().values()))


# --- Delta's own ----------------------------------------------------------------------------------------------------


def test_a_merge_scans_the_files_of_its_days_alone(tmp_path: Path) -> None:
    lake = Delta(tmp_path)
    lake.store.write(changes(FIRST, *(on(day, f"e{day}") for day in range(1, 31))))
    lake.store.write(changes(SECOND, on(3, "e3", event_type="tap"), on(4, "new")))
    done = lake.table().history(1)[0]
    metrics = done["operationMetrics"]
    assert done["operation"] == "MERGE"
    assert (metrics["num_target_files_scanned"], metrics["num_target_files_skipped_during_scan"]) == (2, 28)


@pytest.mark.parametrize("load", ["1764273000.1234567", "1764273000.5", "1764273000.0", "1764273000", "1.0000001"])
def test_a_load_is_told_exactly(load: str, tmp_path: Path) -> None:
    lake = Delta(tmp_path)
    lake.store.write(changes(load, on(1, "a")))
    assert lake.store.delivered("events") == Delivered(ORIGIN, load)


# --- by Spark -------------------------------------------------------------------------------------------------------

SPARK = """
import json, sys
from pysail.spark import SparkConnectServer
from pyspark.sql import SparkSession

kind, place = sys.argv[1:]
server = SparkConnectServer("127.0.0.1", 0)
server.start(background=True)
spark = SparkSession.builder.remote(f"sc://127.0.0.1:{server.listening_address[1]}").getOrCreate()
spark.conf.set("spark.sql.session.timeZone", "UTC")
spark.sql(f"create table events using {kind} location '{place}'")
print(json.dumps(spark.table("events").dtypes))
print(json.dumps([list(row) for row in spark.sql(
    "select event_id, event_type, device_id, cast(event_time as string), cast(event_date as string) from events"
    " where event_date = date '2026-03-01' or event_date is null order by 1").collect()]))
"""


@pytest.mark.examples
def test_spark_reads_the_table_in_the_types_of_the_contract(lake: Any) -> None:
    """By Sail, a Spark Connect server that shares no code with Spark, in an environment of its own (Makefile)."""
    python = PROJECT / ".venv-spark" / "bin" / "python"
    if not python.exists():
        pytest.skip("pysail and pyspark-client are not installed in .venv-spark")
    for until, some in DELIVERIES:
        lake.store.write(changes(until, *some))
    script = Path(lake.address).with_name("by_spark.py")  # pyspark looks for a Java where there is no file
    script.write_text(SPARK)
    said = subprocess.run(
        [python, script, "delta" if isinstance(lake, Delta) else "iceberg", f"file://{lake.address}/events"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.returncode == 0, said.stderr
    types, found = map(json.loads, said.stdout.splitlines()[-2:])
    text, time = "string", "timestamp"
    assert [tuple(one) for one in types] == list(
        zip(TYPES, (text, time, time, time, *["bigint"] * 3, text, text, text, text, "date"), strict=True)
    )
    assert found == [
        ["a", "tap", 2**60 + 1, "2026-03-01 12:00:00.123456", "2026-03-01"],
        ["t", "click", 2**60 + 1, None, None],
    ]


# --- in stores ------------------------------------------------------------------------------------------------------


def start_where_asked(relay: Relay, status: int, body: bytes, headers: dict[str, str], cut: bool = False) -> None:
    """Azurite lists a folder from its beginning, whatever `startFrom` says; delta-rs believes Azure to heed it."""
    if first := parse_qs(urlsplit(relay.path).query).get("startFrom"):
        blobs = rb"<Blob><Name>([^<]*)</Name>.*?</Blob>"
        body = re.sub(blobs, lambda blob: blob[0] if blob[1] >= first[0].encode() else b"", body, flags=re.DOTALL)
    answer(relay, status, body, headers, cut)


answer = Relay.answer


@pytest.fixture(params=[S3, Azure], ids=["s3", "azure"])
def remote(request: pytest.FixtureRequest, servers: Any, monkeypatch: pytest.MonkeyPatch) -> Store:  # noqa: F811
    monkeypatch.setattr(Relay, "answer", start_where_asked)
    return ready(servers(request.param), monkeypatch)


def test_delta_in_a_store_is_reached_as_a_feed_is(remote: Store) -> None:
    from headrace.stores.delta import storage_options

    lake = Delta(remote.address)
    lake.options = storage_options(lake.store._place)
    lake.address = lake.store._place.path("")[:-1]
    lake.store.check()
    lake.store.write(changes(FIRST, on(1, "a"), on(2, "b")))
    assert lake.store.write(changes(SECOND, on(2, "b", event_type="tap"), on(3, "c"))) == 2
    assert Delta(remote.address).store.delivered("events") == Delivered(ORIGIN, SECOND)
    assert rows(lake) == [("a", "click"), ("b", "tap"), ("c", "click")]
    [done] = lake.store.maintain(timedelta(0))
    assert done.removed == 1
    assert rows(lake) == [("a", "click"), ("b", "tap"), ("c", "click")]


def test_iceberg_in_a_store_is_reached_as_a_feed_is(
    remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside_the_wire = property(lambda store: f"http://127.0.0.1:{store.wire.upstream}")  # it can't relay in chunks
    monkeypatch.setattr(type(remote), "url", beside_the_wire)
    configure(monkeypatch, remote.environment())
    monkeypatch.setenv("PYICEBERG_CATALOG__HEADRACE__URI", f"sqlite:///{tmp_path}/catalog.db")
    lake = Iceberg(remote.address)
    lake.store.check()
    lake.store.write(changes(FIRST, on(1, "a"), on(2, "b")))
    assert lake.store.write(changes(SECOND, on(2, "b", event_type="tap"), on(3, "c"))) == 2
    assert Iceberg(remote.address).store.delivered("events") == Delivered(ORIGIN, SECOND)
    assert rows(lake) == [("a", "click"), ("b", "tap"), ("c", "click")]
    [done] = lake.store.maintain(timedelta(0))
    assert done.removed >= 1
    assert rows(lake) == [("a", "click"), ("b", "tap"), ("c", "click")]


def test_what_the_catalogs_configuration_says_of_the_store_counts(
    servers: Any,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s3 = ready(servers(S3), monkeypatch)
    monkeypatch.setenv("PYICEBERG_CATALOG__HEADRACE__URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__HEADRACE__S3__ENDPOINT", "http://127.0.0.1:9")
    assert Iceberg(s3.address).store._catalog.properties["s3.endpoint"] == "http://127.0.0.1:9"
    assert "s3.access-key-id" not in Iceberg(s3.address).store._catalog.properties


def test_without_a_catalog_it_says_what_to_write_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PYICEBERG_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="PYICEBERG_CATALOG__HEADRACE__URI=sqlite:"):
        Iceberg(tmp_path / "lake").store.check()


@pytest.mark.parametrize(("kind", "module"), [("delta", "deltalake"), ("iceberg", "pyiceberg.catalog")])
def test_without_its_package_it_says_what_to_install(
    kind: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=re.escape(f"pip install 'headrace[{kind}]'")):
        KINDS[kind](tmp_path)


def test_killed_between_the_files_of_rows_and_their_commit(
    servers: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    s3 = ready(servers(S3), monkeypatch)
    lake = Delta(s3.address)
    lake.store.write(changes(FIRST, *DELIVERIES[0][1]))
    process = forked.Process(deliver, ["delta", s3.address, "none"], tmp_path, dict(os.environ))

    def kill(method: str, path: str) -> Any:
        if method == "PUT" and "/_delta_log/" in path:
            process.process.kill()
            return "drop"
        return None

    s3.wire.fault = kill
    assert process.end(60) == -9
    s3.wire.fault = lambda method, path: None
    assert any(method == "PUT" and path.endswith(".parquet") for method, path in s3.wire.asked)
    from headrace.stores.delta import storage_options

    lake.options = storage_options(lake.store._place)
    assert lake.store.delivered("events") == Delivered(ORIGIN, FIRST)
    assert rows(lake) == [("a", "click"), ("b", "click"), ("t", "click")]
    strays = {name for name in lake.store._place.files("events") if name.startswith("event_date=")} - seen_names(lake)
    assert strays

    deliver(["delta", s3.address, "none"])
    assert rows(lake) == [("a", "tap"), ("b", "click"), ("c", "click"), ("d", "click"), ("t", "click")]
    lake.store.maintain(timedelta(0))
    assert {name for name in lake.store._place.files("events") if name.startswith("event_date=")} == seen_names(lake)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (S3.denied, "access denied"),
        ((404, b"<Error><Code>NoSuchBucket</Code></Error>", {"Content-Type": "application/xml"}), "no such"),
    ],
    ids=["denied", "no bucket"],
)
def test_without_access_it_is_one_clear_line_before_anything_is_written(
    fault: Any,
    message: str,
    servers: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s3 = ready(servers(S3), monkeypatch)
    lake = Delta(s3.address)
    s3.wire.fault = lambda method, path: fault
    with pytest.raises(UsageError, match=message) as raised:
        lake.store.check()
    assert "c2VjcmV0c2VjcmV0" not in str(raised.value) and "\n" not in str(raised.value)
