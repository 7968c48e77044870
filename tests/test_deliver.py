"""Stores as destinations: what arrives there is what the warehouse has, whoever reads it and whatever was killed."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import forked
import fsspec
import killer
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from conftest import PROJECT, Warehouse, event, ndjson
from headrace.deliver import Deliveries
from headrace.errors import UsageError
from headrace.stores import FILES, Changes, Delivered, store_at
from headrace.stores import files as store_files
from headrace.target import Target, read_target
from test_stores import BUCKET, GCS, S3, SECRET, SERVERS, Azure, Staging, Store, configure, forget_clients, wired

PREFIX = "delivered"
KINDS: dict[str, type[Store]] = {"s3": S3, "gcs": GCS, "azure": Azure}
COLUMNS = (
    "event_id, event_time, processed_time, device_id, session_id, view_id, event_type, event_properties, source_type, "
    "source_properties"
)

Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Store]]:
    """The stores that are installed here, each with a bucket."""
    with ExitStack() as stack:
        started = {}
        for name, kind in KINDS.items():
            pytest.importorskip(kind.module, reason=f"{kind.module} is not installed")
            port = stack.enter_context(SERVERS[kind](tmp_path_factory.mktemp(name)))
            started[name] = kind(stack.enter_context(wired(port)))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        configure(patch, environment(started))
        for store in started.values():
            store.feed = PREFIX
            store.create_bucket()
        yield started


def environment(stores: dict[str, Store]) -> dict[str, str]:
    return {name: value for store in stores.values() for name, value in store.environment().items()}


# --- an hour after the other ----------------------------------------------------------------------------------------

PAGE = {"id": "p1", "name": "Cart", "state": "active", "modified_time": "2026-01-02T00:00:00Z"}
EXACT = event("e", 50, event_properties=r'{"n": 1.10, "é": "\u00e9"}', device_id=2**62)
HOURS: list[dict[str, bytes]] = [
    {
        "events/ingested_time=2026-03-02 00:00:00/a.ndjson": ndjson(
            event("a"), event("b", 1), event("c", 2, session_id=None), event("d", 3, event_time=None)
        ),
        # Without ids, so that the loader puts them in the order of their view.
        "events/ingested_time=2026-03-02 00:00:00/capture.ndjson": ndjson(
            event(..., 10, view_id=71, event_type="navigate"), event(..., 30, view_id=71, event_properties="{}")
        ),
        "configuration/page-definitions/ingested_time=2026-03-02 00:00:00/a.ndjson": ndjson(PAGE),
    },
    {
        "events/ingested_time=2026-03-02 01:00:00/a.ndjson": ndjson(
            event("late", event_time="2026-03-01T23:59:59.999999Z"),
            event("b", event_type=None, updated_time=1_772_416_800_000),
            EXACT,
        ),
        "events/ingested_time=2026-03-02 01:00:00/capture.ndjson": ndjson(
            event(..., 20, view_id=71, event_properties='{"late": true}')
        ),
        "configuration/page-definitions/ingested_time=2026-03-02 01:00:00/a.ndjson": ndjson(
            {**PAGE, "name": "Basket", "modified_time": "2026-01-03T00:00:00Z"}
        ),
    },
    {
        # Created anew, without c.
        "events/ingested_time=2026-03-02 00:00:00/a.ndjson": ndjson(
            event("a", event_properties='{"anew": true}', updated_time=1_772_420_400_000),
            event("b", 1),
            event("d", 3, event_time=None),
        ),
        "events/ingested_time=2026-03-02 02:00:00/again.ndjson": ndjson(EXACT, event("b", 1)),
    },
]


@dataclass
class Followed:
    """A warehouse after these hours, and the stores that followed it."""

    warehouse: Warehouse
    feed: Path
    folder: Path
    addresses: dict[str, str]
    said: list[str] = field(default_factory=list)
    seen: list[tuple[Rows, Rows]] = field(default_factory=list)
    """After each hour the rows of the warehouse, and the latest ones of the folder."""
    listed: list[list[str]] = field(default_factory=list)

    def sync(self, *arguments: str) -> str:
        return self.warehouse.sync(self.feed, *arguments)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, stores: dict[str, Store]) -> Followed:
    base = tmp_path_factory.mktemp("followed")
    warehouse = Warehouse(base)
    warehouse.env.update(environment(stores))
    folder = base / "folder"
    places = {"folder": str(folder), **{name: store.address for name, store in stores.items()}}
    found = Followed(warehouse, base / "feed", folder, places)
    for files in HOURS:
        for name, content in files.items():
            path = found.feed / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        found.said.append(found.sync(*(word for address in places.values() for word in ("--to", address))))
        found.seen.append((rows_of(warehouse), latest(folder)))
        found.listed.append(listing(folder))
    return found


TEXT = "'%Y-%m-%dT%H:%M:%S.%fZ'"
EVENTS = (
    f"select event_id, strftime(event_time, {TEXT}), strftime(processed_time, {TEXT}), epoch_us(updated_time) // 1000, "
    "device_id, session_id, view_id, event_type, event_properties::varchar, source_type, source_properties::varchar "
    "from product.events order by 1"
)


def rows_of(warehouse: Warehouse) -> Rows:
    return warehouse.rows(EVENTS)


def latest(folder: Path) -> Rows:
    """The latest version of each event, as any reader takes it."""
    with duckdb.connect() as connection:
        return connection.execute(
            f"select * exclude (ingested_time) from read_parquet('{folder}/events/*/*.parquet', "
            "hive_partitioning = true) "
            "qualify row_number() over (partition by event_id order by updated_time desc) = 1 order by event_id"
        ).fetchall()


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in listing(folder)}


def test_after_each_hour_a_reader_has_what_the_warehouse_has(followed: Followed) -> None:
    assert [len(rows) for rows, _ in followed.seen] == [6, 10, 10]
    for rows, found in followed.seen:
        assert found == rows
    types = {row[0]: row[7] for row in followed.seen[-1][1]}
    assert (types["b"], types["c"], types["e"]) == (None, None, "click")
    assert sum(kind is None for kind in types.values()) == 3  # and the one that the late event moved
    assert "6 events delivered" in followed.said[0]
    assert "1 page definitions" in followed.said[1]


def test_each_version_is_there_once(followed: Followed) -> None:
    versions = duckdb.sql(
        f"select count(*), count(distinct (event_id, updated_time)), count(distinct event_id) "
        f"from read_parquet('{followed.folder}/events/*/*.parquet')"
    ).fetchall()
    # b was nulled and one moved in the second hour, a and c changed in the third.
    assert versions == [(14, 14, 10)]
    files = [sum(name.startswith("events/") for name in names) for names in followed.listed]
    assert files == [1, 2, 3]


# --- read by others, and by Headrace --------------------------------------------------------------------------------

CONTRACT = {
    **dict.fromkeys(("event_id", "event_time", "processed_time"), "string"),
    **dict.fromkeys(("updated_time", "device_id", "session_id", "view_id"), "int64"),
    **dict.fromkeys(("event_type", "event_properties", "source_type", "source_properties"), "string"),
}


def test_types_of_the_contract_for_any_reader(followed: Followed) -> None:
    dataset = ds.dataset(followed.folder / "events", partitioning="hive")
    assert {one.name: str(one.type) for one in dataset.schema} == {**CONTRACT, "ingested_time": "string"}
    table = dataset.to_table(filter=ds.field("event_id") == "late")
    assert table.column("event_time").to_pylist() == ["2026-03-01T23:59:59.999999Z"]
    assert table.column("device_id").to_pylist() == [2**60 + 1]
    exact = dataset.to_table(filter=ds.field("event_id") == "e").column("event_properties").to_pylist()
    assert exact == [r'{"n": 1.10, "é": "\u00e9"}']
    told = duckdb.sql(f"describe from read_parquet('{followed.folder}/events/*/*.parquet', hive_partitioning = true)")
    types = {"string": "VARCHAR", "int64": "BIGINT"}
    expected = {name: types[kind] for name, kind in CONTRACT.items()}
    assert {row[0]: row[1] for row in told.fetchall()} == {**expected, "ingested_time": "TIMESTAMP"}


def test_events_are_in_the_order_of_their_time(followed: Followed) -> None:
    for path in followed.folder.glob("events/*/*.parquet"):
        times = duckdb.sql(f"select event_time from read_parquet('{path}', hive_partitioning = false)").fetchall()
        assert times == sorted(times, key=lambda row: (row[0] is None, row[0]))
    assert times


@pytest.fixture
def configured(stores: dict[str, Store], monkeypatch: pytest.MonkeyPatch) -> dict[str, Store]:
    """The stores, and this process set up for them."""
    for store in stores.values():
        store.wire.clear()
    configure(monkeypatch, environment(stores))
    return stores


def objects(address: str) -> dict[str, bytes]:
    """All that is below an address, by name."""
    forget_clients()
    client, root = fsspec.core.url_to_fs(address)
    names = client.find(root)
    return {name.removeprefix(f"{root}/"): client.cat_file(name) for name in names}


@pytest.mark.parametrize("name", KINDS)
def test_all_stores_have_the_same(followed: Followed, configured: dict[str, Store], name: str) -> None:
    found = objects(followed.addresses[name])
    assert found == contents(followed.folder)
    assert len(found) == 6


MARTS = ("sessions", "page_views")


@pytest.mark.parametrize("name", ["folder", *KINDS])
def test_a_store_is_a_feed(
    followed: Followed, configured: dict[str, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    staging = Staging(tmp_path, monkeypatch)
    loaded = staging.load(followed.addresses[name])
    assert (loaded.rows, loaded.definitions, loaded.rejected, loaded.unread) == (14, 2, 0, [])
    assert not loaded.unknown_fields
    found = staging.rows(f"select {COLUMNS}, epoch_ms(updated_time) from {{p}}.raw_events order by all")
    times = "event_time::timestamptz, processed_time::timestamptz"
    columns = COLUMNS.replace("event_time, processed_time", times)
    told = f"select {columns}, updated_time from read_parquet('{followed.folder}/events/*/*.parquet') order by all"
    assert found == staging.rows(told)


def test_another_warehouse_makes_the_same_of_it(followed: Followed, tmp_path: Path) -> None:
    other = Warehouse(tmp_path)
    other.sync(followed.folder)
    events = f"select {COLUMNS} from {{p}}.events where event_type is not null order by event_id"
    assert len(other.rows(events)) == 7
    definitions = "select id, name, state, modified_time from {p}.page_definitions"
    assert other.rows(definitions)[0][:2] == ("p1", "Basket")
    sessions, views = (
        f"select columns(lambda c: c <> 'updated_time') from {{p}}_marts.{mart} order by 1, 2" for mart in MARTS
    )
    for rows in (events, definitions, sessions, views):
        assert other.rows(rows)
        assert other.rows(rows) == followed.warehouse.rows(rows), rows


# --- killed ---------------------------------------------------------------------------------------------------------


def deliver(followed: Followed, address: str | Path, database: Path | None = None, point: str | None = None) -> int:
    """Deliver in a process of its own; its exit status."""
    base = followed.warehouse.project.parent
    program = partial(killer.deliver, point)
    arguments = (PROJECT, database or followed.warehouse.database, base / "home", address)
    process = forked.Process(program, arguments, base, followed.warehouse.env)
    status = process.end(120)
    assert status in (0, -signal.SIGKILL), process.said()
    return status


@pytest.fixture(scope="module")
def undisturbed(followed: Followed, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a new store gets of the warehouse at once."""
    folder = tmp_path_factory.mktemp("undisturbed") / "folder"
    assert deliver(followed, folder) == 0
    assert latest(folder) == rows_of(followed.warehouse)
    found = contents(folder)
    assert [name.split("/")[0] for name in sorted(found)] == ["_headrace", "configuration", "events"]
    return found


@pytest.mark.parametrize("point", killer.DELIVERY_POINTS)
@pytest.mark.parametrize("name", ["folder", "s3"])
def test_a_kill_leaves_nothing(
    followed: Followed,
    configured: dict[str, Store],
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    name: str,
    point: str,
) -> None:
    number = [*killer.DELIVERY_POINTS].index(point)
    address = str(tmp_path / "folder") if name == "folder" else f"s3://{BUCKET}/killed{number}"
    assert deliver(followed, address, point=point) == -signal.SIGKILL
    left = objects(address)
    assert (left == undisturbed) == (point == "all is there")
    readable = [one for one in left if not any(part.startswith(("_", ".")) for part in one.split("/"))]
    assert all(left[one] == undisturbed[one] for one in readable)  # nothing is there in half
    assert deliver(followed, address) == 0
    assert objects(address) == undisturbed


@dataclass
class Copy:
    """A copy of the DuckDB file, with loads that only it has."""

    followed: Followed
    path: Path
    loads: int = 0

    @classmethod
    def of(cls, followed: Followed, folder: Path) -> Copy:
        return cls(followed, Path(shutil.copy(followed.warehouse.database, folder / "copy.duckdb")))

    def change(self, *ids: str) -> str:
        """What a build after a further load does to events."""
        self.loads += 1
        with duckdb.connect(str(self.path)) as connection:
            load = str(float(connection.execute("select max(load_id) from product._dlt_loads").fetchall()[0][0]) + 3600)
            for table, column in (("_dlt_loads", "load_id"), ("loaded_files", "_dlt_load_id")):
                connection.execute(
                    f"insert into product.{table} select * replace ('{load}' as {column}) from product.{table} limit 1"
                ).fetchall()
            connection.execute(
                "update product.events set _changed_load_id = ?, updated_time = updated_time + to_hours(?) "
                "where event_id in (select unnest(?))",
                [load, self.loads, list(ids)],
            ).fetchall()
        return load

    def rows(self) -> Rows:
        with duckdb.connect(str(self.path), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'").fetchall()
            return connection.execute(EVENTS).fetchall()


def test_what_a_kill_left_goes_when_more_was_loaded_meanwhile(followed: Followed, tmp_path: Path) -> None:
    copied, folder = Copy.of(followed, tmp_path), tmp_path / "folder"
    with duckdb.connect(str(copied.path)) as connection:  # from before there was such a column
        connection.execute("update product.events set _changed_load_id = null where event_id = 'e'").fetchall()
    copied.change("a")
    assert deliver(followed, folder, copied.path) == 0
    assert latest(folder) == copied.rows()
    killed = copied.change("a", "b")
    assert deliver(followed, folder, copied.path, "the events are there without the marker") == -signal.SIGKILL
    assert any(killed in name for name in listing(folder))
    copied.change("a", "e")
    assert deliver(followed, folder, copied.path) == 0
    assert not any(killed in name for name in listing(folder))
    assert latest(folder) == copied.rows()
    files = f"read_parquet('{folder}/events/*/*.parquet')"
    counts = duckdb.sql(f"select event_id, count(*), count(distinct updated_time) from {files} group by 1")
    assert {name: (rows, versions) for name, rows, versions in counts.fetchall() if rows > 1} == dict.fromkeys(
        ("a", "b", "e"), (2, 2)
    )


def test_a_killed_build_and_days_that_are_done_again(followed: Followed, tmp_path: Path) -> None:
    """What a killed build has changed goes out after the one that gets through, which also has a request to meet."""
    base = tmp_path / "copy"
    shutil.copytree(followed.warehouse.project.parent, base, symlinks=True)
    warehouse, folder, feed = copy(followed.warehouse), base / "folder", tmp_path / "feed"
    warehouse.project = base / "project"
    warehouse.database = warehouse.project / followed.warehouse.database.name
    before = listing(folder)
    feed.mkdir()
    (feed / "a.ndjson").write_bytes(
        ndjson(event("killed"), event("a", event_type=None, updated_time=1_772_500_000_000))
    )
    program = partial(killer.main, "duckdb", "merged into events")
    process = warehouse.start(program, "sync", feed, "--to", str(folder))
    assert process.end(warehouse.timeout) == -signal.SIGKILL, process.said()
    assert warehouse.rows("select event_type from {p}.events where event_id = 'killed'") == [("click",)]
    (feed / "b.ndjson").write_bytes(ndjson(event("more")))
    warehouse.sync(feed, "--no-build")
    warehouse.headrace("rebuild", "--since", "2026-03-02")
    assert listing(folder) == before
    assert "3 events delivered" in warehouse.sync(feed, "--to", str(folder))
    assert latest(folder) == rows_of(warehouse)


# --- refusals and failures ------------------------------------------------------------------------------------------


def test_another_warehouse_is_refused(followed: Followed, tmp_path: Path) -> None:
    copied, folder = Copy.of(followed, tmp_path), tmp_path / "folder"
    assert deliver(followed, folder, copied.path) == 0
    before = contents(folder)
    with duckdb.connect(str(copied.path)) as connection:
        connection.execute(
            "delete from product._dlt_loads where load_id = (select min(load_id) from product._dlt_loads)"
        )
    with pytest.raises(UsageError, match=r"another warehouse delivers there.*name another prefix"):
        Deliveries(target_of(copied.path, tmp_path), [store_at(str(folder))])
    assert contents(folder) == before


def target_of(database: Path, home: Path) -> Target:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_DUCKDB", str(database))
        return replace(read_target(None, PROJECT), home=home)


def test_a_prefix_with_files_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "events/ingested_time=2026-03-02 00:00:00").mkdir(parents=True)
    before = listing(tmp_path)
    with pytest.raises(UsageError, match=r"holds events/ingested_time=2026-03-02 00:00:00, which Headrace has not"):
        store_at(str(tmp_path)).check()
    assert listing(tmp_path) == before


def error(status: int, code: str, words: str = "") -> tuple[int, bytes, dict[str, str]]:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{words}</Message></Error>"
    return status, body.encode(), {"Content-Type": "application/xml"}


REFUSALS = {
    "a wrong key": (S3.denied, "", "access denied"),
    "an expired token": (error(400, "ExpiredToken", "The provided token has expired."), "", "ExpiredToken"),
    "another region": (
        error(301, "PermanentRedirect", "must be addressed by another endpoint"),
        "",
        "PermanentRedirect",
    ),
    "no right to write": (error(403, "AccessDenied"), "PUT", "what they may list, read, write and delete"),
    "no right to delete": (error(403, "AccessDenied"), "DELETE", "what they may list, read, write and delete"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_somebody_has_to_mend_is_told_before_anything_is_loaded(configured: dict[str, Store], case: str) -> None:
    answer, method, words = REFUSALS[case]
    s3 = configured["s3"]
    # For the region of a bucket the client asks by itself.
    s3.wire.fault = lambda asked, path: answer if asked == method or (not method and path != f"/{BUCKET}") else None
    said = refused(f"s3://{BUCKET}/refused")
    assert words in said


def refused(address: str) -> str:
    with pytest.raises(UsageError) as caught:
        store_at(address).check()
    said = str(caught.value)
    assert said.startswith(address)
    assert "\n" not in said
    assert SECRET not in said
    return said


def test_no_bucket_and_no_credentials(configured: dict[str, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such file or folder, or bucket" in refused("s3://nowhere/prefix")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    forget_clients()
    assert "access denied (NoCredentialsError)" in refused(f"s3://{BUCKET}/refused")


def test_a_store_that_fails_holds_back_no_other(
    followed: Followed, configured: dict[str, Store], tmp_path: Path
) -> None:
    """On the command line: the exit status, and what is told of each."""
    s3, good, bad = configured["s3"], tmp_path / "good", f"s3://{BUCKET}/failing"
    s3.wire.fault = lambda method, path: S3.denied if method == "PUT" and ".parquet" in path else None
    to = ("--to", bad, "--to", str(good))
    said = followed.warehouse.headrace("sync", followed.feed, *to, "--json", status=2)
    told = json.loads(said[: said.rindex("}") + 1])
    assert [(one["store"], one["rows"].get("events")) for one in told["stores"]] == [(bad, None), (str(good), 10)]
    assert "access denied" in told["stores"][0]["failure"]
    assert f"headrace: {bad}: access denied" in said
    assert latest(good) == rows_of(followed.warehouse)
    s3.wire.clear()
    said = followed.warehouse.headrace("sync", followed.feed, *to)  # its failure was not taken for nothing new
    assert f"{bad}: 1 page definitions, 10 events delivered" in said
    assert f"{good}: nothing new" in said
    assert objects(bad) == contents(good)
    assert "nothing new: the feed" in followed.warehouse.headrace("sync", followed.feed, *to)
    assert "nothing new: the feed" not in followed.warehouse.headrace("sync", followed.feed, *to[:2])


def test_a_store_that_can_not_be_used_is_told_before_the_load(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    (tmp_path / "feed").mkdir()
    (tmp_path / "feed/a.ndjson").write_bytes(ndjson(event("a")))
    (tmp_path / "file").write_bytes(b"")
    said = warehouse.headrace("sync", tmp_path / "feed", "--to", tmp_path / "file/prefix", status=2)
    assert f"{tmp_path}/file/prefix: " in said
    assert not warehouse.rows("from duckdb_tables() where table_name = 'raw_events'")
    said = warehouse.headrace("sync", tmp_path / "feed", "--to", tmp_path / "lake", "--no-build", status=2)
    assert "leave out --to or --no-build" in said


# --- files ----------------------------------------------------------------------------------------------------------


def changes(until: str, rows: int = 1) -> Changes:
    batches = [
        pa.RecordBatch.from_pylist([{"event_id": f"{until}-{n}", "updated_time": n}], schema=FILES["events"])
        for n in range(rows)
    ]
    reader = pa.RecordBatchReader.from_batches(FILES["events"], batches)
    return Changes("events", reader, Delivered("1.0", until))


def test_hourly_deliveries_leave_a_file_each(tmp_path: Path) -> None:
    store = store_at(str(tmp_path))
    for hour in range(30):
        store.check()
        assert store.write(changes(f"{1_772_409_600 + hour * 3600}.5")) == 1
    assert len(listing(tmp_path)) == 31
    assert store.write(changes("1772600000.5", rows=0)) == 0
    assert len(listing(tmp_path)) == 31
    assert store.delivered("events") == Delivered("1.0", "1772600000.5")
    assert "events/ingested_time=2026-03-02 00:00:00/1772409600.5-0000.parquet" in listing(tmp_path)


def test_large_deliveries_are_several_files_of_several_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_files, "GROUP_ROWS", 2)
    monkeypatch.setattr(store_files, "FILE_BYTES", 2_500)
    assert store_at(str(tmp_path)).write(changes("1772409600.5", rows=9)) == 9
    found = sorted(tmp_path.glob("events/*/*.parquet"))
    assert len(found) > 1
    groups = [pq.ParquetFile(path).metadata.num_row_groups for path in found]
    assert sum(groups) == 5
    assert max(groups) > 1
    ids = [row for path in found for row in pq.read_table(path, partitioning=None).column("event_id").to_pylist()]
    assert ids == [f"1772409600.5-{n}" for n in range(9)]


def test_a_large_day_is_in_order(tmp_path: Path) -> None:
    database, load = tmp_path / "large.duckdb", "1772409600.5"
    with duckdb.connect(str(database)) as connection:
        for statement in (
            "create schema product",
            f"create table product._dlt_loads as select '{load}' as load_id, 0 as status",
            f"create table product.loaded_files as select '{load}' as _dlt_load_id, true as is_merged",
            "create table product.events as select range::varchar as event_id, "
            "timestamptz '2026-03-02 00:00:00+00' + to_microseconds((hash(range) % 80_000_000_000)::bigint) "
            "as event_time, event_time as processed_time, event_time as updated_time, 1::bigint as device_id, "
            "2::bigint as session_id, 3::bigint as view_id, 'click' as event_type, "
            "repeat('x', 200) as event_properties, 'web' as source_type, "
            f"'{{}}' as source_properties, '{load}' as _changed_load_id from range(100_000)",
        ):
            connection.execute(statement).fetchall()
    (done,) = Deliveries(target_of(database, tmp_path), [store_at(str(tmp_path / "folder"))]).run(lambda _: None)
    assert (done.rows, done.failure) == ({"events": 100_000}, None)
    (path,) = tmp_path.glob("folder/events/*/*.parquet")
    times = pq.read_table(path, partitioning=None).column("event_time").to_pylist()
    assert len(set(times)) > 99_000
    assert times == sorted(times)


def test_what_a_bucket_asks_for_is_in_the_request(
    configured: dict[str, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {
        "s3_additional_kwargs": {
            "ServerSideEncryption": "aws:kms",
            "SSEKMSKeyId": "arn:aws:kms:us-east-1:123456789012:key/of-ours",
            "StorageClass": "STANDARD_IA",
        },
        "requester_pays": True,
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }
    configure(monkeypatch, {**environment(configured), "FSSPEC_S3": json.dumps(asked)})
    store = store_at(f"s3://{BUCKET}/encrypted")
    store.check()
    store.write(changes("1772409600.5"))
    forget_clients()
    client = fsspec.filesystem("s3")
    found = [client.info(name) for name in client.find(f"{BUCKET}/encrypted")]
    assert len(found) == 2
    for name in client.find(f"{BUCKET}/encrypted"):
        head = client.call_s3("head_object", Bucket=BUCKET, Key=name.removeprefix(f"{BUCKET}/"))
        assert head["SSEKMSKeyId"].endswith("key/of-ours")
        assert head["StorageClass"] == "STANDARD_IA"
        grants = client.call_s3("get_object_acl", Bucket=BUCKET, Key=name.removeprefix(f"{BUCKET}/"))["Grants"]
        assert all("URI" not in grant["Grantee"] for grant in grants)
