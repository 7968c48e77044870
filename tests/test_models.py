"""The dbt project on real DuckDB files whose queue is filled by hand, as the loader fills it."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any
from zlib import crc32

import duckdb
import pytest
import yaml
from conftest import profiles
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner, dbtRunnerResult

PROJECT = Path(__file__).parent.parent
# dbt run would leave out the seeds that models read.
RUN = ("build", "--resource-type", "model", "--resource-type", "seed")
VIEWS = "package:headrace,config.materialized:view"
"""As a sync says it when they stand: contracts are not checked then, and comments stay."""
Row = dict[str, Any]

QUEUE = """
create schema product;
create table product.raw_events (
    event_id varchar not null, event_time timestamptz, processed_time timestamptz, updated_time timestamptz,
    device_id bigint, session_id bigint, view_id bigint, event_type varchar, event_properties varchar,
    source_type varchar, source_properties varchar, _file varchar, _position bigint, _dlt_load_id varchar
);
create table product.raw_definitions (
    kind varchar, id varchar, name varchar, description varchar, state varchar, created_time timestamptz,
    created_by varchar, modified_time timestamptz, modified_by varchar, fs_link_id varchar, is_user_defined boolean,
    _file varchar, _position bigint, _dlt_load_id varchar
);
create table product.loaded_files (
    path varchar, kind varchar, ingested_time timestamptz, size bigint, version varchar, content_hash varchar,
    row_count bigint, rejected bigint, first_event_time timestamptz, last_event_time timestamptz, is_recreated boolean,
    is_merged boolean, _dlt_load_id varchar
);
create table product._dlt_loads (
    load_id varchar, schema_name varchar, status bigint, inserted_at timestamptz, schema_version_hash varchar
);
"""
PUBLISHED = {
    "product_marts.identifies": "event_id",
    "product_marts.sessions": "full_session_id",
    "product_marts.users": "user_id",
    "product_marts.devices": "id",
    "product_marts.session_pages": "full_session_id || page_id",
    "product_marts.pages": "page_id",
    "product_marts.elements": "element_id",
    "product.int_session_pages": "full_session_id || page_key",
    "product.int_session_elements": "full_session_id || element_key",
}


def event(event_id: str, **columns: Any) -> Row:
    """A click of device 1 in session 7, at 2026-03-02 10:00, unless told otherwise; dicts become JSON.

    What is given another time is processed then, so that its clock is right.
    """
    row = {
        "event_id": event_id,
        "event_time": "2026-03-02 10:00:00+00",
        "processed_time": columns.get("event_time") or "2026-03-02 10:30:00+00",
        "updated_time": None,
        "device_id": 1,
        "session_id": 7,
        "view_id": 3,
        "event_type": "click",
        "event_properties": {},
        "source_type": "web",
        "source_properties": {"url": {"full_url": "https://shop/", "host": "shop", "path": "/"}},
    } | columns
    return {k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()}


def nulled(event_id: str, **columns: Any) -> Row:
    """The feed's superseding row: later, without a type, time or identifiers."""
    nothing = dict.fromkeys(
        ["event_time", "device_id", "session_id", "view_id", "event_type", "event_properties", "source_type"]
    )
    return event(
        event_id, **{"updated_time": "2026-03-03 00:00:00+00", "source_properties": None, **nothing, **columns}
    )


class Warehouse:
    """One DuckDB file, loaded as the loader does and built with dbt."""

    def __init__(self, folder: Path, target_path: Path, with_analysis: bool = False, begins_built: bool = True) -> None:
        """Without the views of the analysis schema, on which nothing is built, dbt takes half the time.

        Those without may begin as a copy of a warehouse that was built when nothing was loaded.
        """
        self.excluded = () if with_analysis else ("--exclude", "path:models/analysis")
        self.viewed_with: tuple[str, ...] | None = None
        folder.mkdir(exist_ok=True)
        (folder / "profiles.yml").write_text(profiles())
        self.path = folder / "warehouse.duckdb"
        self.target_path = self.target = target_path
        self.loads = itertools.count(1)
        if begins_built and not with_analysis:
            shutil.copy(built(target_path), self.path)
            self.viewed_with = ()
        else:
            with self.connect() as connection:
                connection.execute(QUEUE)

    @contextmanager
    def connect(self):
        connection = duckdb.connect(str(self.path))
        try:
            connection.execute("set TimeZone = 'UTC'")
            yield connection
        finally:
            connection.close()

    def execute(self, sql: str, *parameters: Any) -> None:
        with self.connect() as connection:
            connection.execute(sql, parameters)

    def query(self, sql: str) -> list[Row]:
        with self.connect() as connection:
            cursor = connection.execute(sql)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def row(self, table: str, **key: Any) -> Row:
        """The one row of a table that has this key."""
        [(column, value)] = key.items()
        [row] = [row for row in self.query(f"select * from {table}") if row[column] == value]
        return row

    def live(self) -> dict[str, str]:
        return {
            r["event_id"]: r["event_type"]
            for r in self.query("select * from product.events where event_type is not null")
        }

    def count(self, table: str) -> int:
        return self.query(f"select count(*) as n from {table}")[0]["n"]

    def _insert(self, connection: duckdb.DuckDBPyConnection, table: str, row: Mapping[str, Any]) -> None:
        marks = ", ".join("?" * len(row))
        connection.execute(f"insert into product.{table} ({', '.join(row)}) values ({marks})", list(row.values()))

    def load(
        self,
        rows: Iterable[Row],
        file: str,
        load_id: str | None = None,
        *,
        kind: str = "events",
        recreated: bool = False,
        complete: bool = True,
    ) -> str:
        """Land rows of one file in a load of their own, or in the load given."""
        rows = list(rows)
        load_id = load_id or f"17954096{next(self.loads):02d}.5"
        table = "raw_events" if kind == "events" else "raw_definitions"
        times = sorted(row["event_time"] for row in rows if row.get("event_time"))
        with self.connect() as connection:
            for position, row in enumerate(rows, start=1):
                self._insert(connection, table, row | {"_file": file, "_position": position, "_dlt_load_id": load_id})
            ledger = {
                "path": file,
                "kind": kind,
                "row_count": len(rows),
                "first_event_time": times[0] if times else None,
                "last_event_time": times[-1] if times else None,
                "is_recreated": recreated,
                "is_merged": False,
                "_dlt_load_id": load_id,
            }
            self._insert(connection, "loaded_files", ledger)
            if (
                complete
                and not connection.execute("select 1 from product._dlt_loads where load_id = ?", [load_id]).fetchall()
            ):
                self._insert(connection, "_dlt_loads", {"load_id": load_id, "status": 0})
        return load_id

    def dbt(
        self, *arguments: str, callbacks: list[Callable[[Any], None]] | None = None, warn_error: bool = True
    ) -> dbtRunnerResult:
        """Run dbt in the folder: all have the same profile, so that it parses the project once for each of the vars."""
        given = arguments[arguments.index("--vars") + 1] if "--vars" in arguments else ""
        self.target = self.target_path / f"{crc32(given.encode()):x}"
        options = ["--project-dir", PROJECT, "--profiles-dir", ".", "--target-path", self.target, "--quiet"]
        options += ["--warn-error"] if warn_error else []
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.path.parent)
            patch.setenv("HEADRACE_DUCKDB", self.path.name)
            try:
                return dbtRunner(callbacks=callbacks).invoke([*arguments, *map(str, options)])
            finally:  # it would go on in this file when the next test names its own the same
                DuckDBConnectionManager.close_all_connections()

    def run(self, *arguments: str) -> None:
        """Models and seeds, the views when they may differ from those that are there."""
        given = tuple(argument for argument in arguments if argument != "--full-refresh")
        are_there = given == self.viewed_with and self.query("from duckdb_views() where schema_name = 'product_marts'")
        excluded = ("--exclude", VIEWS) if are_there else self.excluded
        result = self.dbt(*RUN, *excluded, *arguments)
        assert result.success, result.exception or [r.message for r in result.result if r.status != "success"]
        self.viewed_with = given

    def build(self, *arguments: str) -> None:
        """Models and data tests; `test_an_empty_database_builds` runs the unit tests."""
        result = self.dbt("build", "--exclude-resource-type", "unit_test", *self.excluded, *arguments)
        assert result.success, result.exception or [
            (r.node.name, r.message) for r in result.result if r.status not in ("success", "pass")
        ]

    def published(self) -> dict[str, list[Row]]:
        """Every mart whole, without what says when and by which run a row was written."""
        return {
            table: [
                {k: v for k, v in row.items() if k not in ("updated_time", "_invocation_id")}
                for row in self.query(f"select * from {table} order by {key}")
            ]
            for table, key in PUBLISHED.items()
        }


@cache
def built(target_path: Path) -> Path:
    warehouse = Warehouse(target_path / "built", target_path, begins_built=False)
    warehouse.run()
    return warehouse.path


@pytest.fixture
def warehouse(tmp_path, target_path):
    return Warehouse(tmp_path, target_path)


@pytest.fixture(scope="module")
def empty(tmp_path_factory, target_path) -> Warehouse:
    """A database in which nothing was, with all that there is to build and to test."""
    warehouse = Warehouse(tmp_path_factory.mktemp("empty"), target_path, with_analysis=True)
    warehouse.execute("drop schema product cascade")
    assert warehouse.dbt("build", "--select", "*").success
    return warehouse


def test_an_empty_database_builds(empty):
    warehouse = empty
    assert warehouse.count("product.events") == 0
    warehouse.run("--full-refresh")
    for table in PUBLISHED:
        assert warehouse.count(table) == 0


def test_two_loads_become_tables_once(warehouse):
    home = {"url": {"full_url": "https://shop/", "host": "shop", "path": "/"}}
    cart = {"url": {"full_url": "https://shop/cart", "host": "shop", "path": "/cart"}, "page_definition_id": "cart"}
    big = 2**62 + 1
    last_page = cart | {"location": {"city": "Łódź"}, "user_agent": {"browser": "Firefox"}}
    click = {"target": {"raw_selector": "#go", "text": "Ça va?"}, "fs_rage_count": 3}
    rows = [
        event("a", event_type="navigate", source_properties=home),
        event("b", event_time="2026-03-02 10:01:00+00", source_properties=home, event_properties=click),
        event("c", event_time="2026-03-02 10:02:30+00", event_type="navigate", source_properties=last_page),
    ]
    warehouse.load([row | {"device_id": big} for row in rows], "f1")
    warehouse.load(
        [{"kind": "page", "id": "cart", "name": "Cart", "modified_time": "2026-03-01 00:00:00+00", "state": "active"}],
        "d1",
        kind="definitions",
    )
    warehouse.build()
    first = warehouse.query("select * from product.events order by event_id")
    assert [row["event_id"] for row in first] == ["a", "b", "c"]
    assert json.loads(first[1]["event_properties"])["target"]["text"] == "Ça va?"
    session = warehouse.row("product_marts.sessions", full_session_id=f"{big}:7")
    assert (session["user_id"], session["duration"], session["total_events"]) == (f"anon_{big}", 150, 3)
    assert (session["total_page_views"], session["total_unique_urls"], session["total_click_events"]) == (2, 2, 1)
    assert (session["last_city"], session["last_browser"]) == ("Łódź", "Firefox")
    page = warehouse.row("product_marts.pages", page_id="shop/")
    assert (page["views"], page["entries"], page["exits"], page["rage_clicks"]) == (1, 1, 0, 1)
    page = warehouse.row("product_marts.pages", page_id="cart")
    assert (page["page_name"], page["views"], page["entries"], page["exits"]) == ("Cart", 1, 0, 1)
    element = warehouse.row("product_marts.elements", raw_selector="#go")
    assert (element["text"], element["clicks"], element["rage_clicks"], element["users"]) == ("Ça va?", 1, 1, 1)
    assert warehouse.row("product_marts.users", user_id=f"anon_{big}")["total_sessions"] == 1
    assert warehouse.row("product_marts.devices", id=str(big))["geo_city"] == "Łódź"
    assert warehouse.count("product.raw_events") == warehouse.count("product.raw_definitions") == 0
    assert warehouse.query("select distinct is_merged from product.loaded_files") == [{"is_merged": True}]

    tables = warehouse.published()
    warehouse.run()
    assert warehouse.query("select * from product.events order by event_id") == first
    assert warehouse.published() == tables
    warehouse.load([rows[2] | {"device_id": big}], "f2")
    tables = warehouse.published()
    warehouse.run("--full-refresh")
    assert warehouse.published() == tables
    again = warehouse.query("select * from product.events order by event_id")
    assert again[:2] == first[:2]
    delivery = {"_file": "f2", "_load_id": "1795409603.5", "_has_other_files": True}
    assert again[2] == first[2] | delivery


def test_properties_are_written_once(warehouse):
    """Each copy of the JSON would be the largest part of what an hour writes."""
    warehouse.load([event("a", event_properties={"n": 1}), event("b", event_type="load")], "f1")
    warehouse.load([event("a", event_properties={"n": 2})], "f2")
    warehouse.load([event("b", event_type="load", event_properties={"n": 3}), nulled("c")], "f3")
    warehouse.run()

    kept = "select table_name from information_schema.columns where column_name = 'source_properties'"
    tables = warehouse.query(f"{kept} and table_schema = 'product' order by 1")
    assert [row["table_name"] for row in tables] == ["events", "int_wrong_clocks", "raw_events"]
    rows = warehouse.query("select event_id, event_properties from product.events order by 1")
    assert [(row["event_id"], row["event_properties"] and json.loads(row["event_properties"])) for row in rows] == [
        ("a", {"n": 2}), ("b", {"n": 3}), ("c", None),
    ]  # fmt: skip


# --- what becomes of rows, batch by batch -----------------------------------------------------------------------------
# A build takes seconds, so these go through the same builds of one warehouse: each loads rows under names and devices
# of its own, and yields where it wants a build.

NEWER = "2026-03-03 00:00:00+00"


class Part:
    """What is one scenario's of a warehouse. The names and devices that it gives and sees are without its mark."""

    def __init__(self, warehouse: Warehouse, number: int) -> None:
        self.warehouse, self.mark, self.first_device = warehouse, f"{number:02} ", 1000 * number

    def load(self, rows: Iterable[Row], file: str, **options: Any) -> None:
        marked = [
            row
            | {"event_id": self.mark + row["event_id"], "device_id": row["device_id"] and self.device(row["device_id"])}
            for row in rows
        ]
        self.warehouse.load(marked, self.mark + file, **options)

    def device(self, number: int) -> int:
        return self.first_device + number

    def events(self) -> dict[str, Row]:
        found = {}
        for row in self.warehouse.query(f"from product.events where starts_with(event_id, '{self.mark}')"):
            name = row["event_id"].removeprefix(self.mark)
            assert name not in found, f"{name} stands twice"
            found[name] = row | {"device_id": row["device_id"] and row["device_id"] - self.first_device}
        return found

    def live(self) -> dict[str, str]:
        return {name: row["event_type"] for name, row in self.events().items() if row["event_type"]}

    def sessions(self) -> dict[str, Row]:
        rows = self.warehouse.query(
            f"from product_marts.sessions where device_id::bigint // 1000 = {self.first_device // 1000}"
        )
        return {f"{int(row['device_id']) - self.first_device}:{row['session_id']}": row for row in rows}


def an_older_version_changes_nothing(part: Part) -> Iterator[None]:
    part.load([event("a", updated_time="2026-03-05 00:00:00+00", event_properties={"n": 2})], "f1")
    yield
    first = part.events()["a"]
    part.load([event("a", updated_time="2026-03-04 00:00:00+00", event_properties={"n": 1})], "f1")
    part.load([event("a", processed_time="2026-03-09 00:00:00+00", event_properties={"n": 0})], "f1")
    yield
    assert part.events()["a"] == first
    part.load([event("a", updated_time="2026-03-06 00:00:00+00", event_properties={"n": 2})], "f1")
    yield
    version = {"_feed_updated_time": datetime(2026, 3, 6, tzinfo=UTC)}
    newer_but_same = part.events()["a"]
    assert newer_but_same["_load_id"] > first["_load_id"]
    assert newer_but_same == first | version | {"_load_id": newer_but_same["_load_id"]}
    part.load([event("a", updated_time="2026-03-07 00:00:00+00", event_properties={"n": 3})], "f1")
    yield
    changed = part.events()["a"]
    assert json.loads(changed["event_properties"]) == {"n": 3}
    assert changed["updated_time"] > first["updated_time"]


def a_null_row(order: str, null_time: str | None, part: Part) -> Iterator[None]:
    """Before its event, after it, or in one file with it; with its time or without."""
    typed = [event("a"), event("b", event_time="2026-03-02 10:05:00+00"), event("solo", session_id=8)]
    nulls = [nulled("a", event_time=null_time), nulled("solo", event_time=null_time)]
    for number, rows in enumerate({"after": [typed, nulls], "before": [nulls, typed], "with": [typed + nulls]}[order]):
        part.load(rows, f"f{number}")
        yield
    rows = part.events()
    assert {name: (row["event_type"], row["event_properties"] is None) for name, row in rows.items()} == {
        "a": (None, True),
        "b": ("click", False),
        "solo": (None, True),
    }
    assert {name: (row["device_id"], row["session_id"]) for name, row in rows.items()} == {
        "a": (1, 7),
        "b": (1, 7),
        "solo": (1, 8),
    }
    assert all(row["event_time"] for row in rows.values())
    assert {name: row["total_events"] for name, row in part.sessions().items()} == {"1:7": 1}

    part.load(typed, "again")
    yield
    assert part.live() == {"b": "click"}
    part.load([event("a", updated_time="2026-03-04 00:00:00+00")], "newer")
    yield
    assert part.live() == {"a": "click", "b": "click"}
    assert part.sessions()["1:7"]["total_events"] == 2


def a_null_row_for_an_event_that_never_came(part: Part) -> Iterator[None]:
    part.load([nulled("ghost")], "f1")
    yield
    ghost = part.events()["ghost"]
    assert (ghost["event_time"], ghost["event_type"]) == (None, None)
    part.load([nulled("ghost")], "f2")
    yield
    assert part.events().keys() == {"ghost"}
    part.load([event("ghost", updated_time="2026-03-04 00:00:00+00")], "f3")
    yield
    ghost = part.events()["ghost"]
    assert ghost["event_type"] == "click"
    assert ghost["event_time"] is not None


def a_recreated_file_in_batches_of_its_own(part: Part) -> Iterator[None]:
    last_year = "2025-03-02 10:00:00+00"
    part.load([event("stays"), event("goes", event_time=last_year), event("shared"), event("late")], "f")
    part.load([event("shared"), event("elsewhere", session_id=8)], "g")
    yield
    before = part.events()["goes"]
    part.load([event("stays", updated_time=NEWER, event_properties={"fs_dead_count": 1})], "f", recreated=True)
    yield
    assert part.live() == {"stays": "click", "shared": "click", "elsewhere": "click"}
    after = part.events()["goes"]
    assert after["updated_time"] > before["updated_time"]
    assert (after["device_id"], after["session_id"], after["event_time"]) == (1, 7, before["event_time"])
    assert (after["event_properties"], after["source_properties"]) == (None, None)
    session = part.sessions()["1:7"]
    assert (session["total_events"], session["duration"]) == (2, 0)

    # The same file as it was: it holds again what it dropped, and its older version of the other row changes nothing.
    part.load([event("stays"), event("goes", event_time=last_year), event("shared")], "f", recreated=True)
    yield
    assert set(part.live()) == {"stays", "goes", "shared", "elsewhere"}
    assert json.loads(part.events()["stays"]["event_properties"]) == {"fs_dead_count": 1}
    # Another file delivers it after all, as it would have before the file was re-created.
    part.load([event("late")], "h")
    yield
    assert set(part.live()) == {"stays", "goes", "shared", "elsewhere", "late"}
    # Empty now, and only its row in the ledger says so.
    part.load([], "f", recreated=True)
    yield
    assert set(part.live()) == {"shared", "elsewhere", "late"}


def a_recreated_file_in_one_batch(part: Part) -> Iterator[None]:
    part.load([event("stays"), event("goes"), event("shared"), event("before")], "f")
    part.load([event("shared")], "g")
    part.load([event("stays", updated_time=NEWER)], "f", recreated=True)
    yield
    assert part.live() == {"stays": "click", "shared": "click"}
    assert part.events()["goes"]["session_id"] == 7

    # Twice re-created in one batch, after a merge; the first of them delivers an event that the second drops again.
    part.load([event("stays", updated_time=NEWER), event("short-lived", session_id=9)], "f", recreated=True)
    part.load([event("new", event_properties={"target": {"raw_selector": "kept"}})], "f", recreated=True)
    yield
    assert part.live() == {"shared": "click", "new": "click"}
    assert part.events()["short-lived"]["event_type"] is None
    assert part.sessions().keys() == {"1:7"}


def a_version_on_another_day_is_no_second_row(part: Part) -> Iterator[None]:
    """event_time is immutable: what came first stands, and of one batch the oldest version, whichever wins."""
    other_day, far = "2026-03-05 10:00:00+00", "2025-01-01 10:00:00+00"
    oldest = {"updated_time": "2026-03-02 12:00:00+00"}
    moved = {"updated_time": NEWER, "event_time": other_day, "event_properties": {"n": 2}}
    part.load([event(name) for name in ("a", "b", "c", "d", "stays")], "f1")
    part.load([event("e", event_time=far, updated_time=NEWER)], "f1")
    yield
    part.load(
        [
            event("a", **moved),
            event("b", event_time=other_day, **oldest),
            nulled("c", event_time=other_day),
            event("d", event_time=None, updated_time=NEWER, event_properties={"n": 3}),
            event("e", event_properties={"n": "older"}, **oldest),
            # Both at once: the content of the newer, the time of the older, in whatever order they lie in the file.
            event("new", **moved | {"event_time": far}),
            event("new", event_time=other_day),
            event("newer only", **moved),
        ],
        "f2",
    )
    yield
    rows = part.events()
    assert len(rows) == 8
    days = {name: str(row["event_time"].date()) for name, row in rows.items()}
    first = dict.fromkeys("abcd", "2026-03-02") | {"stays": "2026-03-02", "e": "2025-01-01"}
    assert days == first | {"new": "2026-03-05", "newer only": "2026-03-05"}
    said = {name: row["event_properties"] and json.loads(row["event_properties"]) for name, row in rows.items()}
    assert said == {
        "a": {"n": 2}, "b": {}, "c": None, "d": {"n": 3}, "e": {}, "stays": {}, "new": {"n": 2}, "newer only": {"n": 2},
    }  # fmt: skip

    # What moved is nulled and comes back, each time by a row of yet another day; its session follows.
    part.load([nulled("a", event_time=far, updated_time="2026-03-06 00:00:00+00")], "f3")
    yield
    assert "a" not in part.live()
    part.load([event("a", event_time=far, updated_time="2026-03-07 00:00:00+00")], "f4")
    yield
    assert part.live().keys() == rows.keys() - {"c"}
    assert part.events().keys() == rows.keys()
    [session] = part.sessions().values()
    assert (session["total_events"], str(session["end_time"].date())) == (7, "2026-03-05")


def marts_are_the_same_when_rebuilt(part: Part) -> Iterator[None]:
    url = {"url": {"full_url": "https://rebuilt/p", "host": "rebuilt", "path": "/p"}}
    home = {"source_properties": {"url": {"full_url": "https://rebuilt/", "host": "rebuilt", "path": "/"}}}
    identify = {"user_id": "rebuilt ann", "user_email": "ann@example.com", "user_properties": {"plan": "pro"}}

    def of_mart(name: str, column: str, values: str) -> list[Row]:
        return part.warehouse.query(f"from product_marts.{name} where {column} in ({values}) order by all")

    clicked = {"target": {"raw_selector": "rebuilt a"}}
    part.load(
        [
            event("n1", event_type="navigate", **home),
            event("c1", event_time="2026-03-02 10:01:00+00", event_properties=clicked, **home),
            event("n2", event_time="2026-03-02 10:02:00+00", event_type="navigate", source_properties=url),
            event("v1", session_id=8, event_type="navigate", **home),
            event("i1", device_id=2, session_id=None, source_type="server", event_type="identify",
                  event_properties=identify, **home),
        ],
        "f1",
    )  # fmt: skip
    yield
    anonymous = f"anon_{part.device(1)}"
    session = part.sessions()["1:7"]
    assert (session["user_id"], session["total_events"]) == (anonymous, 3)
    [identified] = of_mart("identifies", "event_id", f"'{part.mark}i1'")
    assert identified["user_email"] == "ann@example.com"

    # Late by a year, an identify after the fact, a session and an identify that vanish, an exit that moves.
    part.load(
        [
            event("late", event_time="2025-03-02 10:00:00+00", event_type="navigate", **home),
            event("i2", event_time="2026-03-04 10:00:00+00", session_id=9, event_type="identify",
                  event_properties=identify, **home),
            event("i3", event_time="2026-03-05 10:00:00+00", session_id=9, event_type="identify",
                  event_properties={"user_id": "", "user_display_name": "Blue Fox"}, **home),
            nulled("v1"),
            nulled("i1"),
            nulled("n2"),
        ],
        "f2",
    )  # fmt: skip
    yield
    session = part.sessions()["1:7"]
    assert (session["user_id"], session["last_email"], session["total_events"]) == ("rebuilt ann", "ann@example.com", 3)
    assert session["duration"] == 365 * 86400 + 60
    assert part.sessions().keys() == {"1:7", "1:9"}
    [user] = of_mart("users", "user_id", f"'rebuilt ann', '{anonymous}'")
    assert (user["user_id"], user["total_sessions"], user["total_events"]) == ("rebuilt ann", 2, 5)
    [device] = of_mart("devices", "id", f"'{part.device(1)}'")
    assert device["user_id"] == "rebuilt ann"
    ids = part.warehouse.query(f"from product_marts.identifies where starts_with(event_id, '{part.mark}') order by 1")
    assert [row["event_id"] for row in ids] == [part.mark + "i2", part.mark + "i3"]
    [page] = of_mart("pages", "page_id", "'rebuilt/', 'rebuilt/p'")
    assert (page["page_id"], page["views"], page["entries"], page["exits"], page["users"]) == ("rebuilt/", 2, 1, 1, 1)
    assert len(of_mart("elements", "raw_selector", "'rebuilt a'")) == 1

    # The session spans a year by now: a day in the middle must not cut it.
    part.load([event("mid", event_time="2025-08-01 10:00:00+00", **home)], "f3")
    yield
    assert part.sessions()["1:7"]["total_events"] == 4
    # An element that leaves its session.
    part.load([nulled("c1"), nulled("mid")], "f4")
    yield
    assert of_mart("elements", "raw_selector", "'rebuilt a'") == []
    assert part.sessions()["1:7"]["total_events"] == 2


def definitions_keep_the_latest(part: Part) -> Iterator[None]:
    warehouse = part.warehouse

    def page(name: str, day: int, **columns: Any) -> Row:
        return {"kind": "page", "id": "p", "name": name, "modified_time": f"2026-03-0{day} 00:00:00+00"} | columns

    warehouse.load([page("Old", 1), page("New", 3), page("Middle", 2)], "d1", kind="definitions")
    warehouse.load([{"kind": "element", "id": "p", "name": "Button"}], "d2", kind="definitions")
    warehouse.load([{"kind": "event", "id": "p", "name": "Bought"}], "d3", kind="definitions")
    yield
    first = warehouse.row("product.page_definitions", id="p")
    assert first["name"] == "New"
    assert warehouse.row("product.element_definitions", id="p")["name"] == "Button"
    assert warehouse.row("product.event_definitions", id="p")["name"] == "Bought"
    warehouse.load([page("Older", 2), page("New", 3)], "d4", kind="definitions")
    yield
    assert warehouse.row("product.page_definitions", id="p") == first
    warehouse.load([page("New", 4, state="archived")], "d5", kind="definitions")
    yield
    last = warehouse.row("product.page_definitions", id="p")
    assert last["state"] == "archived"
    assert last["updated_time"] > first["updated_time"]


SCENARIOS: dict[str, Callable[[Part], Iterator[None]]] = {
    scenario.__name__: scenario
    for scenario in (
        an_older_version_changes_nothing,
        a_null_row_for_an_event_that_never_came,
        a_recreated_file_in_batches_of_its_own,
        a_recreated_file_in_one_batch,
        a_version_on_another_day_is_no_second_row,
        marts_are_the_same_when_rebuilt,
        definitions_keep_the_latest,
    )
} | {
    f"a_null_row {order} its event, {'without' if time is None else 'with'} its time": partial(a_null_row, order, time)
    for order in ("before", "after", "with")
    for time in (None, "2026-03-02 10:00:00+00")
}


@dataclass
class Played:
    """The warehouse that all scenarios went through, and with what each of them failed."""

    warehouse: Warehouse
    failures: dict[str, Exception]


@pytest.fixture(scope="module")
def played(tmp_path_factory, target_path) -> Played:
    warehouse = Warehouse(tmp_path_factory.mktemp("scenarios"), target_path)
    running = {
        name: scenario(Part(warehouse, number)) for number, (name, scenario) in enumerate(SCENARIOS.items(), start=1)
    }
    failures: dict[str, Exception] = {}
    while running:
        for name, steps in list(running.items()):
            try:
                next(steps)
            except StopIteration:
                del running[name]
            except Exception as failure:
                del running[name]
                failures[name] = failure
        if running:
            warehouse.run()
    return Played(warehouse, failures)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_batch_by_batch(played: Played, scenario: str) -> None:
    if scenario in played.failures:
        raise played.failures[scenario]


def test_what_batches_made_is_the_same_when_rebuilt(played: Played) -> None:
    """And it passes the tests of data; should an id stand twice all the same, the build that touches it says so."""
    warehouse = played.warehouse
    warehouse.build("--exclude", "config.materialized:view")
    tables = warehouse.published()
    assert all(tables.values())
    events = warehouse.query("from product.events order by event_id")
    warehouse.run("--full-refresh")
    assert warehouse.published() == tables
    assert warehouse.query("from product.events order by event_id") == events

    twice = next(row for row in events if row["event_type"] == "click")["event_id"]
    warehouse.execute("insert into product.events by name select * replace (timestamptz '2024-01-01' as event_time)"
                      f" from product.events where event_id = '{twice}'")  # fmt: skip
    warehouse.load([event(twice, updated_time="2026-03-08 00:00:00+00")], "twice")
    result = warehouse.dbt("build", "--select", "batch_loads", "delivered_events", "event_batch", "events")
    failed = [r.node.name for r in result.result if r.status == "fail"]
    assert [name for name in failed if name.startswith("unique_in_batch_events_event_id")], failed


# --- the queue ------------------------------------------------------------------------------------------------------


def test_the_queue_loses_only_what_was_merged(warehouse):
    merged = warehouse.load([event("a")], "f1")
    half_done = warehouse.load([event("b")], "f2", complete=False)
    running = []

    def complete_a_load_meanwhile(message: Any) -> None:
        if message.info.name == "NodeFinished" and message.data.node_info.node_name == "batch_loads":
            running.append(warehouse.load([event("c")], "f3"))

    result = warehouse.dbt(*RUN, *warehouse.excluded, callbacks=[complete_a_load_meanwhile])
    assert result.success
    assert len(running) == 1
    assert set(warehouse.live()) == {"a"}
    queue = warehouse.query("select distinct _dlt_load_id as id from product.raw_events order by 1")
    assert [row["id"] for row in queue] == sorted([half_done, *running])
    ledger = {r["_dlt_load_id"]: r["is_merged"] for r in warehouse.query("select * from product.loaded_files")}
    assert ledger == {merged: True, half_done: False, running[0]: False}
    warehouse.run()
    assert set(warehouse.live()) == {"a", "c"}
    assert warehouse.count("product.raw_events") == 1


def test_only_a_whole_green_build_purges_the_queue(warehouse):
    warehouse.load([event("a")], "f1")
    warehouse.run()
    warehouse.load([event("b"), event("i", event_type="identify", event_properties={"user_id": "ann"})], "f2")
    warehouse.run("--select", "+events")
    assert warehouse.count("product.raw_events") == 2
    assert warehouse.row("product_marts.sessions", full_session_id="1:7")["total_events"] == 1

    # A data test fails late in the build, with events merged already.
    warehouse.execute("insert into product.int_identifies (event_id, _invocation_id) values ('i', ''), ('i', '')")
    failing = ("--exclude-resource-type", "unit_test", "--exclude", "config.materialized:view")
    assert not warehouse.dbt("build", *failing).success
    assert warehouse.count("product.raw_events") == 2
    warehouse.execute("delete from product.int_identifies where event_id = 'i'")
    merged = warehouse.query("select * from product.events order by event_id")
    assert len(merged) == 3
    warehouse.run()
    assert warehouse.query("select * from product.events order by event_id") == merged
    assert warehouse.count("product.raw_events") == 0
    session = warehouse.row("product_marts.sessions", full_session_id="1:7")
    assert (session["total_events"], session["user_id"]) == (3, "ann")

    # A model fails, and what is withdrawn is withdrawn by the next run.
    warehouse.load([event("b", event_properties='{"cut off')], "f3")
    warehouse.load([], "f2", recreated=True)
    assert not warehouse.dbt(*RUN, "--exclude", "config.materialized:view").success
    assert warehouse.count("product.raw_events") == 1
    assert set(warehouse.live()) == {"a", "b", "i"}
    warehouse.execute("delete from product.raw_events")
    warehouse.run("--select", "+events")
    warehouse.run()
    assert set(warehouse.live()) == {"a"}
    session = warehouse.row("product_marts.sessions", full_session_id="1:7")
    assert (session["total_events"], session["user_id"]) == (1, "anon_1")
    assert warehouse.count("product_marts.identifies") == 0


OWN_MODELS = {
    "fails": "select cast(replay_url as integer) as number from {{ ref('sessions') }}",
    "left_out": "select full_session_id from {{ ref('sessions') }}",
    "own": "{{ config(materialized='incremental', unique_key='id', incremental_strategy='merge') }} select 'a' as id",
    "clicked": """{{ headrace.funnel([{'name': 'Click', 'where': "event_type = 'click'"}], within='1 hour') }}""",
    "came_back": "{{ headrace.retention('week') }}",
}


def own_macros() -> str:
    """Macros of a user's own that happen to have the names of ours."""
    rooms = "".join(path.read_text() for path in (PROJECT / "macros").glob("*.sql"))
    names = [name for name in re.findall(r"{%-? macro (\w+)", rooms) if "__" not in name]
    assert {"now", "percentile"} <= set(names)
    prefixed = [f"{prefix}{name}" for name in names for prefix in ("", "default__", "duckdb__")]
    return "".join(f"{{% macro {name}() %}}not ours{{% endmacro %}}\n" for name in prefixed)


@pytest.mark.soak
def test_a_project_that_imports_this_one_keeps_no_queue(warehouse, tmp_path):
    """Models and tests of the user's own that fail, also on a model of ours, or are left out, are no part of the merge;
    their macros replace none of ours."""
    shop = tmp_path / "shop"
    (shop / "models").mkdir(parents=True)
    project = {
        "name": "shop",
        "profile": "headrace",
        "models": {"shop": {"+materialized": "table"}},
        "dispatch": [{"macro_namespace": "dbt", "search_order": ["shop", "headrace", "dbt"]}],
        "vars": {"reporting_timezone": "UTC"},
    }
    (shop / "dbt_project.yml").write_text(json.dumps(project))
    (shop / "packages.yml").write_text(json.dumps({"packages": [{"local": str(PROJECT)}]}))
    for name, sql in OWN_MODELS.items():
        (shop / "models" / f"{name}.sql").write_text(sql)
    (shop / "models" / "own.yml").write_text(
        json.dumps(
            {
                "models": [
                    {"name": "sessions_of_ours", "columns": [{"name": "n", "data_tests": ["not_null"]}]},
                    {
                        "name": "own",
                        "config": {"contract": {"enforced": True}, "on_schema_change": "fail"},
                        "columns": [{"name": "id", "data_type": "varchar"}],
                    },
                ]
            }
        )
    )
    (shop / "models" / "sessions_of_ours.sql").write_text("select null as n from {{ ref('sessions') }}")
    (shop / "tests").mkdir()
    (shop / "tests" / "no_identifies.sql").write_text("select count(*) as n from {{ ref('identifies') }}")
    (shop / "macros").mkdir()
    (shop / "macros" / "own.sql").write_text(own_macros())
    warehouse.load([event("a")], "f1")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setenv("HEADRACE_DUCKDB", warehouse.path.name)
        options = ["--project-dir", str(shop), "--profiles-dir", ".", "--quiet"]
        assert dbtRunner().invoke(["deps", *options]).success
        select = ["--exclude", "left_out", "path:dbt_packages/headrace/models/analysis", "headrace,test_type:generic"]
        outcome = dbtRunner().invoke(["build", *select, *options])
        merged = dbtRunner().invoke(["run", "--select", "own", *options])
        DuckDBConnectionManager.close_all_connections()
    assert merged.success, merged.result
    ended = {result.node.name: str(result.status) for result in outcome.result}
    assert ended["fails"] == "error"
    assert ended["not_null_sessions_of_ours_n"] == "fail"
    assert "left_out" not in ended
    # What of ours came after their test is a view, so it lacks no rows.
    assert (ended["no_identifies"], ended["identified_users"]) == ("fail", "skipped")
    assert warehouse.row("product_marts.sessions", full_session_id="1:7")["total_events"] == 1
    assert warehouse.row("product_marts.users", user_id="anon_1")["total_click_events"] == 1
    assert warehouse.row("product.clicked", name="Click")["sessions"] == 1
    assert warehouse.row("product.came_back", weeks_later=0)["returned"] == 1
    assert warehouse.count("product.raw_events") == 0
    assert warehouse.query("select is_merged from product.loaded_files") == [{"is_merged": True}]


def test_every_engine_says_what_each_has_to(empty):
    """What has no default is in each file of macros/engines; elsewhere it is an error that says what to write."""
    assert empty.dbt("parse", "--write-json").success
    manifest = json.loads((empty.target / "manifest.json").read_text())
    macros = [m for m in manifest["macros"].values() if m["package_name"] == "headrace"]
    needed = {
        m["name"].removeprefix("default__")
        for m in macros
        if m["name"].startswith("default__") and "not_supported(" in m["macro_sql"]
    }
    assert needed
    engines = {path.stem for path in (PROJECT / "macros" / "engines").glob("*.sql")} - {"default"}
    assert engines
    for engine in engines:
        says = {m["name"] for m in macros if m["original_file_path"].endswith(f"engines/{engine}.sql")}
        assert {f"{engine}__{name}" for name in needed} <= says, engine
        assert all(name.startswith(f"{engine}__") for name in says), engine
    # dbt looks for PostgreSQL's before any default.
    implemented = {m["name"] for m in macros}
    for name in implemented:
        if name.startswith("postgres__headrace_"):
            assert name.replace("postgres", "redshift", 1) in implemented
    said = []
    heard = {"callbacks": [lambda message: said.append(message.info.msg)]}
    assert not empty.dbt("run-operation", "default__headrace_utc_day", "--args", "{column: x}", **heard).success
    assert "headrace_utc_day is not supported on duckdb; write duckdb__headrace_utc_day in" in "".join(said)


CHANGED_VARS: Row = {
    "bot_user_agents": [],
    "conversions": [
        {"name": "Ann's", "event_name": "It's bought", "event_definition": "dear", "value": "order.total"},
        {"name": "Clicked", "event_type": "click"},
        {"name": "Thanks", "page": "Thank you", "event_type": "page_view", "event_definition": "dear"},
    ],
    "own_columns": {
        "sessions": [
            {"name": "plan", "data_type": "varchar", "user_property": "plan"},
            {"name": "baskets", "data_type": "double", "sum": "basket_total", "where": "event_type = 'click'"},
        ],
        "page_views": [{"name": "channel", "data_type": "varchar", "session": "channel"}],
        "users": [{"name": "plan", "data_type": "varchar", "last": "plan"}],
    },
    "funnels": [{"name": "It's", "within": "1 day", "steps": [{"name": "C", "event_type": "click"}]}],
    "retentions": [{"name": "All", "period": "week"}],
    "touch_lookback_days": 7,
    "definitions_as_of": "stamped",
    "event_catalogue_additions": {
        "click": [{"name": "basket_total", "data_type": "double", "description": "Its total."}],
        "source_properties": [{"name": "shop", "data_type": "varchar", "description": "The shop."}],
    },
    "event_types": ["click", "mine"],
    "export_until": "2026-03-02 09:00:00",
    "fullstory_min_event_time": "2026-03-02 12:00:00",
    "fullstory_org_id": "o-1-na1",
    "fullstory_replay_host": "app.eu1.fullstory.com",
    "grants": {"select": ["reporter"]},
    "internal_traffic": {
        "networks": ["10.1.16.0/20", "2001:db8:1::/48"],
        "hosts": ["*.staging.example", "localhost"],
        "users": ["it's eve", "@shop.example"],
    },
    "max_active_gap_seconds": 7,
    "max_queue_age_hours": 1,
    "min_event_time": "2026-03-02 12:00:00",
    "report_funnel": ["Cart", "Checkout"],
    "reporting_timezone": "America/St_Johns",
    "sequence_views": False,
    "nobody_ids": ["Nobody"],
    "rejected_retention_days": 7,
}


def test_every_var_may_be_set(tmp_path, target_path):
    """All models, tests and unit tests are green with every var changed, in sessions of another zone."""
    documented = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"].keys()
    # What these two say is tested by test_managed.py and test_analysis.py.
    assert documented - {"managed_events", "event_catalogue"} <= CHANGED_VARS.keys()
    warehouse = Warehouse(tmp_path, target_path, with_analysis=True)
    profiles = tmp_path / "profiles.yml"
    profiles.write_text(profiles.read_text().replace("TimeZone: UTC", "TimeZone: Asia/Kolkata"))
    warehouse.load([event("a")], "f1")
    result = warehouse.dbt("build", "--select", "*", "--vars", json.dumps(CHANGED_VARS))
    assert result.success, [r.message for r in result.result if str(r.status) not in ("success", "pass", "no-op")]
    assert any(r.node.resource_type == "unit_test" for r in result.result)
    assert "basket_total" in warehouse.row("product_analysis.clicks", event_id="a")
    assert "shop" in warehouse.row("product_analysis.source_properties", event_id="a")
    assert warehouse.count("product.raw_events") == 0


def some_files(rng: random.Random) -> list[tuple[str, list[Row], bool]]:
    """Files in which events repeat, change, are superseded and late; the last is the first one, re-created."""

    def version(number: int) -> Row:
        event_type = ["click", "navigate", "identify", None][(number * 7 + rng.randrange(2)) % 4] if number else "click"
        day = rng.choice([1, 2, 9])
        path = f"/{number % 3}"
        return event(
            f"e{number}",
            event_time=f"2026-03-{day:02d} 10:{number:02d}:00+00",
            device_id=number % 3,
            session_id=None if number == 5 else number % 2,
            event_type=event_type,
            event_properties={"user_id": f"u{number % 2}", "target": {"raw_selector": path}} if event_type else None,
            source_properties={"url": {"full_url": path, "host": "h", "path": path}} if event_type else None,
        )  # fmt: skip

    def later(row: Row) -> Row:
        content = {"event_properties": json.dumps({"n": rng.random(), "fs_rage_count": 1}), "event_type": "click"}
        gone = {"event_type": None, "event_properties": None, "source_properties": None}
        gone |= rng.choice([{}, dict.fromkeys(["event_time", "device_id", "session_id", "view_id"])])
        return row | {"updated_time": f"2026-03-{rng.randrange(10, 20)} 00:00:00+00"} | rng.choice([content, gone])

    firsts = [version(number) for number in range(12)]
    pool = firsts + [later(row) for row in rng.choices(firsts, k=5)]
    files = [(f"f{n}", rng.sample(pool, 6), False) for n in range(4)]
    # It drops first versions only: a dropped row that another file holds in an older version is nulled or not by order.
    kept = [row for row in files[0][1] if row["updated_time"] or rng.random() < 0.4]
    return [*files, ("f0", [*kept, rng.choice(firsts) | {"updated_time": "2026-03-25 00:00:00+00"}], True)]


@pytest.mark.soak
@pytest.mark.parametrize("seed", [int(s) for s in os.environ.get("HEADRACE_TEST_SEEDS", "1").split()])
def test_any_order_and_split_gives_the_same_tables(tmp_path, target_path, seed):
    files = some_files(random.Random(seed))
    rng = random.Random(seed)
    states = []
    for attempt in range(3):
        warehouse = Warehouse(tmp_path / str(attempt), target_path)
        order = list(range(len(files)))
        while attempt:
            rng.shuffle(order)
            if order.index(0) < order.index(4):
                break
        for position, number in enumerate(order):
            file, rows, recreated = files[number]
            warehouse.load(rows, file, recreated=recreated)
            if attempt and (rng.random() < 0.5 or position == 0):
                warehouse.run()
        warehouse.run()
        events = warehouse.query(
            "select event_id, event_type, event_properties, source_properties, device_id, session_id, event_time"
            " from product.events order by event_id"
        )
        states.append({"events": events, **warehouse.published()})
    assert states[0]["events"]
    assert states[0] == states[1] == states[2]
    tables = warehouse.published()
    warehouse.run("--full-refresh")
    assert warehouse.published() == tables


def test_tables_of_an_earlier_version_are_made_anew(warehouse):
    """A column that int_parsed_events lacks shows that an earlier version made it, and what is made from it."""
    warehouse.load([event("a"), event("b", session_id=8)], "f1")
    warehouse.run()
    events = warehouse.query("select * from product.events order by event_id")
    tables = warehouse.published()
    warehouse.execute("alter table product.int_parsed_events drop column app_name")
    warehouse.execute("update product.int_sessions set total_events = 100")
    for column in ("_source_event_id", "_is_reordered"):  # as a kill after they were added leaves them
        warehouse.execute(f"alter table product.events alter {column} drop not null")
        warehouse.execute(f"update product.events set {column} = null")
    warehouse.load([event("c", session_id=8)], "f2")

    refused = warehouse.dbt("build", "--select", "sessions")
    assert "Run a whole `dbt build` once" in str(refused.exception)
    assert warehouse.row("product_marts.sessions", full_session_id="1:7")["total_events"] == 100

    said = []
    warehouse.dbt(*RUN, *warehouse.excluded, callbacks=[lambda event: said.append(event.info.msg)])
    assert [line for line in said if "made by an earlier version" in line]
    assert warehouse.count("product.raw_events") == 0
    assert warehouse.row("product_marts.sessions", full_session_id="1:7")["total_events"] == 1
    assert warehouse.row("product_marts.sessions", full_session_id="1:8")["total_events"] == 2
    assert warehouse.query("select * from product.events where event_id <> 'c' order by event_id") == events
    assert warehouse.published()["product_marts.sessions"][0] == tables["product_marts.sessions"][0]


def test_models_of_an_older_version_than_has_written_there_are_not_built(warehouse):
    """By dbt alone; `headrace sync` has a look of its own. 0.10 is newer than 0.9, and a candidate than none."""
    warehouse.load([event("a")], "f1")
    warehouse.execute("create table product.versions as select '0.0.9' as version")
    warehouse.run()
    warehouse.load([event("b")], "f2")
    warehouse.execute("insert into product.versions values ('0.10.0rc1')")
    refused = warehouse.dbt("build")
    assert not refused.success
    assert "headrace 0.10.0rc1 has written to product, and these models are of 0.1.0" in str(refused.exception)
    assert warehouse.count("product.events") == 1
    assert warehouse.count("product.raw_events") == 1


def bare(macro: str) -> str:
    """The name by which models call a macro, from what an engine calls its own."""
    return macro.rpartition("__")[2].removeprefix("headrace_")


def test_everything_is_described(empty):
    warehouse = empty
    result = warehouse.dbt("docs", "generate", "--write-json")
    assert result.success
    manifest = json.loads((warehouse.target / "manifest.json").read_text())
    catalog = json.loads((warehouse.target / "catalog.json").read_text())
    nodes = manifest["nodes"] | manifest["sources"]
    ours = [n for n in nodes.values() if n["resource_type"] in ("model", "source") and n["package_name"] == "headrace"]
    assert len(ours) >= 20
    for node in ours:
        assert node["description"], node["name"]
        assert all(column["description"] for column in node["columns"].values()), node["name"]
    built = {n for n in catalog["nodes"] if n.startswith("model.headrace.")}
    assert built == {n["unique_id"] for n in ours if n["resource_type"] == "model"}
    for unique_id in built:
        assert list(catalog["nodes"][unique_id]["columns"]) == list(nodes[unique_id]["columns"]), unique_id
    macros = [m for m in manifest["macros"].values() if m["package_name"] == "headrace"]
    assert macros
    # What differs between warehouses is described once.
    described = {bare(m["name"]) for m in macros if m["description"]}
    for macro in macros:
        assert bare(macro["name"]) in described, macro["name"]
        assert all(argument["description"] for argument in macro["arguments"]), macro["name"]
