"""The dbt project on real DuckDB files whose queue is filled by hand, as the loader fills it."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import duckdb
import pytest
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner, dbtRunnerResult

PROJECT = Path(__file__).parent.parent
# dbt run would leave out the seeds that models read.
RUN = ("build", "--resource-type", "model", "--resource-type", "seed")
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
    "product_marts.pages": "page_id",
    "product_marts.elements": "element_id",
    "product.int_session_pages": "full_session_id || page_id",
    "product.int_session_elements": "full_session_id || element_id",
}


def event(event_id: str, **columns: Any) -> Row:
    """A click of device 1 in session 7, at 2026-03-02 10:00, unless told otherwise; dicts become JSON."""
    row = {
        "event_id": event_id,
        "event_time": "2026-03-02 10:00:00+00",
        "processed_time": "2026-03-02 10:30:00+00",
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

    def __init__(self, folder: Path, target_path: Path, with_analysis: bool = False) -> None:
        """Without the views of the analysis schema, on which nothing is built, dbt takes half the time."""
        self.excluded = () if with_analysis else ("--exclude", "path:models/analysis")
        self.viewed_with: tuple[str, ...] | None = None
        folder.mkdir(exist_ok=True)
        (folder / "profiles.yml").write_text((PROJECT / "profiles.example.yml").read_text())
        self.path = folder / "warehouse.duckdb"
        self.target_path = self.target = target_path
        self.loads = itertools.count(1)
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
        excluded = ("--exclude", "config.materialized:view") if are_there else self.excluded
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


@pytest.fixture
def warehouse(tmp_path, target_path):
    return Warehouse(tmp_path, target_path)


def test_an_empty_database_builds(tmp_path, target_path):
    warehouse = Warehouse(tmp_path, target_path, with_analysis=True)
    warehouse.execute("drop schema product cascade")
    assert warehouse.dbt("build", "--select", "*").success
    assert warehouse.count("product.events") == 0
    warehouse.build()
    warehouse.build("--full-refresh")
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
    assert warehouse.row("product_marts.devices", id=big)["geo_city"] == "Łódź"
    assert warehouse.count("product.raw_events") == warehouse.count("product.raw_definitions") == 0
    assert warehouse.query("select distinct is_merged from product.loaded_files") == [{"is_merged": True}]

    warehouse.run()
    assert warehouse.query("select * from product.events order by event_id") == first
    warehouse.load([rows[2] | {"device_id": big}], "f2")
    tables = warehouse.published()
    warehouse.build("--full-refresh")
    assert warehouse.published() == tables
    again = warehouse.query("select * from product.events order by event_id")
    assert again[:2] == first[:2]
    delivery = {"_file": "f2", "_load_id": "1795409603.5", "_has_other_files": True}
    assert again[2] == first[2] | delivery


def test_an_older_version_changes_nothing(warehouse):
    warehouse.load([event("a", updated_time="2026-03-05 00:00:00+00", event_properties={"n": 2})], "f1")
    warehouse.run()
    first = warehouse.row("product.events", event_id="a")
    warehouse.load([event("a", updated_time="2026-03-04 00:00:00+00", event_properties={"n": 1})], "f1")
    warehouse.load([event("a", processed_time="2026-03-09 00:00:00+00", event_properties={"n": 0})], "f1")
    warehouse.run()
    assert warehouse.row("product.events", event_id="a") == first
    warehouse.load([event("a", updated_time="2026-03-06 00:00:00+00", event_properties={"n": 2})], "f1")
    warehouse.run()
    version = {"_feed_updated_time": warehouse.query("select timestamptz '2026-03-06 00:00:00+00' as t")[0]["t"]}
    newer_but_same = warehouse.row("product.events", event_id="a")
    assert newer_but_same == first | version | {"_load_id": "1795409604.5"}
    warehouse.load([event("a", updated_time="2026-03-07 00:00:00+00", event_properties={"n": 3})], "f1")
    warehouse.run()
    changed = warehouse.row("product.events", event_id="a")
    assert json.loads(changed["event_properties"]) == {"n": 3}
    assert changed["updated_time"] > first["updated_time"]


@pytest.mark.parametrize("null_time", [None, "2026-03-02 10:00:00+00"])
def test_a_null_row_before_or_after_its_event(warehouse, null_time):
    typed = [event("a"), event("b", event_time="2026-03-02 10:05:00+00"), event("solo", session_id=8)]
    nulls = [nulled("a", event_time=null_time), nulled("solo", event_time=null_time)]
    states = []
    for order in ([typed, nulls], [nulls, typed], [typed + nulls]):
        warehouse.execute("drop schema product cascade")
        warehouse.execute("drop schema if exists product_marts cascade")
        warehouse.execute(QUEUE)
        for number, rows in enumerate(order):
            warehouse.load(rows, f"f{number}")
            warehouse.run()
        rows = warehouse.query("select * from product.events order by event_id")
        assert [(row["event_id"], row["event_type"], row["event_properties"] is None) for row in rows] == [
            ("a", None, True),
            ("b", "click", False),
            ("solo", None, True),
        ]
        assert [row["device_id"] for row in rows] == [1, 1, 1]
        assert [row["session_id"] for row in rows] == [7, 7, 8]
        assert all(row["event_time"] for row in rows)
        tables = warehouse.published()
        assert [row["full_session_id"] for row in tables["product_marts.sessions"]] == ["1:7"]
        assert tables["product_marts.sessions"][0]["total_events"] == 1
        states.append(tables)
    assert states[0] == states[1] == states[2]

    warehouse.load(typed, "again")
    warehouse.run()
    assert warehouse.live() == {"b": "click"}
    warehouse.load([event("a", updated_time="2026-03-04 00:00:00+00")], "newer")
    warehouse.run()
    assert warehouse.live() == {"a": "click", "b": "click"}
    assert warehouse.row("product_marts.sessions", full_session_id="1:7")["total_events"] == 2


def test_a_null_row_for_an_event_that_never_came(warehouse):
    warehouse.load([nulled("ghost")], "f1")
    warehouse.run()
    ghost = warehouse.row("product.events", event_id="ghost")
    assert (ghost["event_time"], ghost["event_type"]) == (None, None)
    warehouse.load([nulled("ghost")], "f2")
    warehouse.run()
    assert warehouse.count("product.events") == 1
    warehouse.load([event("ghost", updated_time="2026-03-04 00:00:00+00")], "f3")
    warehouse.run()
    assert warehouse.count("product.events") == 1
    ghost = warehouse.row("product.events", event_id="ghost")
    assert ghost["event_type"] == "click"
    assert ghost["event_time"] is not None


NEWER = "2026-03-03 00:00:00+00"


def test_a_recreated_file_in_batches_of_its_own(warehouse):
    last_year = "2025-03-02 10:00:00+00"
    warehouse.load([event("stays"), event("goes", event_time=last_year), event("shared"), event("late")], "f")
    warehouse.load([event("shared"), event("elsewhere", session_id=8)], "g")
    warehouse.run()
    before = warehouse.row("product.events", event_id="goes")
    warehouse.load([event("stays", updated_time=NEWER, event_properties={"fs_dead_count": 1})], "f", recreated=True)
    warehouse.run()
    assert warehouse.live() == {"stays": "click", "shared": "click", "elsewhere": "click"}
    after = warehouse.row("product.events", event_id="goes")
    assert after["updated_time"] > before["updated_time"]
    assert (after["device_id"], after["session_id"], after["event_time"]) == (1, 7, before["event_time"])
    assert (after["event_properties"], after["source_properties"]) == (None, None)
    session = warehouse.row("product_marts.sessions", full_session_id="1:7")
    assert (session["total_events"], session["duration"]) == (2, 0)

    # The same file as it was: it holds again what it dropped, and its older version of the other row changes nothing.
    warehouse.load([event("stays"), event("goes", event_time=last_year), event("shared")], "f", recreated=True)
    warehouse.run()
    assert set(warehouse.live()) == {"stays", "goes", "shared", "elsewhere"}
    assert json.loads(warehouse.row("product.events", event_id="stays")["event_properties"]) == {"fs_dead_count": 1}
    # Another file delivers it after all, as it would have before the file was re-created.
    warehouse.load([event("late")], "h")
    warehouse.run()
    assert set(warehouse.live()) == {"stays", "goes", "shared", "elsewhere", "late"}
    # Empty now, and only its row in the ledger says so.
    warehouse.load([], "f", recreated=True)
    warehouse.run()
    assert set(warehouse.live()) == {"shared", "elsewhere", "late"}
    tables = warehouse.published()
    warehouse.run("--full-refresh")
    assert warehouse.published() == tables


def test_a_recreated_file_in_one_batch(warehouse):
    warehouse.load([event("stays"), event("goes"), event("shared"), event("before")], "f")
    warehouse.load([event("shared")], "g")
    warehouse.load([event("stays", updated_time=NEWER)], "f", recreated=True)
    warehouse.run()
    assert warehouse.live() == {"stays": "click", "shared": "click"}
    assert warehouse.row("product.events", event_id="goes")["session_id"] == 7

    # Twice re-created in one batch, after a merge; the first of them delivers an event that the second drops again.
    warehouse.load([event("stays", updated_time=NEWER), event("short-lived", session_id=9)], "f", recreated=True)
    warehouse.load([event("new")], "f", recreated=True)
    warehouse.run()
    assert warehouse.live() == {"shared": "click", "new": "click"}
    assert warehouse.row("product.events", event_id="short-lived")["event_type"] is None
    assert [row["full_session_id"] for row in warehouse.query("select * from product_marts.sessions")] == ["1:7"]


def test_marts_are_the_same_when_rebuilt(warehouse):
    url = {"url": {"full_url": "https://shop/p", "host": "shop", "path": "/p"}}
    identify = {"user_id": "ann", "user_email": "ann@example.com", "user_properties": {"plan": "pro"}}
    warehouse.load(
        [
            event("n1", event_type="navigate"),
            event("c1", event_time="2026-03-02 10:01:00+00", event_properties={"target": {"raw_selector": "a"}}),
            event("n2", event_time="2026-03-02 10:02:00+00", event_type="navigate", source_properties=url),
            event("v1", session_id=8, event_type="navigate"),
            event("i1", device_id=2, session_id=None, source_type="server", event_type="identify",
                  event_properties=identify),
        ],
        "f1",
    )  # fmt: skip
    warehouse.run()
    session = warehouse.row("product_marts.sessions", full_session_id="1:7")
    assert (session["user_id"], session["total_events"]) == ("anon_1", 3)
    assert warehouse.row("product_marts.identifies", event_id="i1")["user_email"] == "ann@example.com"

    # Late by a year, an identify after the fact, a session and an identify that vanish, an exit that moves.
    warehouse.load(
        [
            event("late", event_time="2025-03-02 10:00:00+00", event_type="navigate"),
            event("i2", event_time="2026-03-04 10:00:00+00", session_id=9, event_type="identify",
                  event_properties=identify),
            event("i3", event_time="2026-03-05 10:00:00+00", session_id=9, event_type="identify",
                  event_properties={"user_id": "", "user_display_name": "Blue Fox"}),
            nulled("v1"),
            nulled("i1"),
            nulled("n2"),
        ],
        "f2",
    )  # fmt: skip
    warehouse.run()
    session = warehouse.row("product_marts.sessions", full_session_id="1:7")
    assert (session["user_id"], session["last_email"], session["total_events"]) == ("ann", "ann@example.com", 3)
    assert session["duration"] == 365 * 86400 + 60
    ids = [row["full_session_id"] for row in warehouse.query("select * from product_marts.sessions order by 1")]
    assert ids == ["1:7", "1:9"]
    user = warehouse.row("product_marts.users", user_id="ann")
    assert (user["total_sessions"], user["total_events"]) == (2, 5)
    assert [row["user_id"] for row in warehouse.query("select * from product_marts.users")] == ["ann"]
    assert warehouse.row("product_marts.devices", id=1)["user_id"] == "ann"
    assert [row["event_id"] for row in warehouse.query("select * from product_marts.identifies order by 1")] == [
        "i2",
        "i3",
    ]
    [page] = warehouse.query("select * from product_marts.pages")
    assert (page["page_id"], page["views"], page["entries"], page["exits"], page["users"]) == ("shop/", 2, 1, 1, 1)

    # The session spans a year by now: a day in the middle must not cut it.
    warehouse.load([event("mid", event_time="2025-08-01 10:00:00+00")], "f3")
    warehouse.run()
    assert warehouse.row("product_marts.sessions", full_session_id="1:7")["total_events"] == 4
    # An element that leaves its session.
    warehouse.load([nulled("c1"), nulled("mid")], "f4")
    warehouse.run()
    assert warehouse.count("product_marts.elements") == 0
    tables = warehouse.published()
    events = warehouse.query("select * from product.events order by event_id")
    warehouse.run("--full-refresh")
    assert warehouse.published() == tables
    assert warehouse.query("select * from product.events order by event_id") == events
    assert {table: len(rows) for table, rows in tables.items()} == {
        "product_marts.identifies": 2, "product_marts.sessions": 2, "product_marts.users": 1,
        "product_marts.devices": 1, "product_marts.pages": 1, "product_marts.elements": 0,
        "product.int_session_pages": 1, "product.int_session_elements": 0,
    }  # fmt: skip


def test_definitions_keep_the_latest(warehouse):
    def page(name: str, day: int, **columns: Any) -> Row:
        return {"kind": "page", "id": "p", "name": name, "modified_time": f"2026-03-0{day} 00:00:00+00"} | columns

    warehouse.load([page("Old", 1), page("New", 3), page("Middle", 2)], "d1", kind="definitions")
    warehouse.load([{"kind": "element", "id": "p", "name": "Button"}], "d2", kind="definitions")
    warehouse.load([{"kind": "event", "id": "p", "name": "Bought"}], "d3", kind="definitions")
    warehouse.run()
    first = warehouse.row("product.page_definitions", id="p")
    assert first["name"] == "New"
    assert warehouse.row("product.element_definitions", id="p")["name"] == "Button"
    assert warehouse.row("product.event_definitions", id="p")["name"] == "Bought"
    warehouse.load([page("Older", 2), page("New", 3)], "d4", kind="definitions")
    warehouse.run()
    assert warehouse.row("product.page_definitions", id="p") == first
    warehouse.load([page("New", 4, state="archived")], "d5", kind="definitions")
    warehouse.run()
    last = warehouse.row("product.page_definitions", id="p")
    assert last["state"] == "archived"
    assert last["updated_time"] > first["updated_time"]


def test_the_queue_loses_only_what_was_merged(warehouse):
    merged = warehouse.load([event("a")], "f1")
    half_done = warehouse.load([event("b")], "f2", complete=False)
    running = []

    def complete_a_load_meanwhile(message: Any) -> None:
        if message.info.name == "NodeFinished" and message.data.node_info.node_name == "batch_loads":
            running.append(warehouse.load([event("c")], "f3"))

    result = warehouse.dbt(*RUN, callbacks=[complete_a_load_meanwhile])
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
    assert not warehouse.dbt("build").success
    assert warehouse.count("product.raw_events") == 2
    warehouse.execute("delete from product.int_identifies where event_id = 'i'")
    merged = warehouse.query("select * from product.events order by event_id")
    assert len(merged) == 3
    warehouse.build()
    assert warehouse.query("select * from product.events order by event_id") == merged
    assert warehouse.count("product.raw_events") == 0
    session = warehouse.row("product_marts.sessions", full_session_id="1:7")
    assert (session["total_events"], session["user_id"]) == (3, "ann")

    # A model fails, and what is withdrawn is withdrawn by the next run.
    warehouse.load([event("b", event_properties='{"cut off')], "f3")
    warehouse.load([], "f2", recreated=True)
    assert not warehouse.dbt(*RUN).success
    assert warehouse.count("product.raw_events") == 1
    assert set(warehouse.live()) == {"a", "b", "i"}
    warehouse.execute("delete from product.raw_events")
    warehouse.run("--select", "+events")
    warehouse.run()
    assert set(warehouse.live()) == {"a"}
    session = warehouse.row("product_marts.sessions", full_session_id="1:7")
    assert (session["total_events"], session["user_id"]) == (1, "anon_1")
    assert warehouse.count("product_marts.identifies") == 0


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


def test_everything_is_described(tmp_path, target_path):
    warehouse = Warehouse(tmp_path, target_path, with_analysis=True)
    warehouse.run()
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
    described = {m["name"].rpartition("__")[2] for m in macros if m["description"]}
    for macro in macros:
        assert macro["name"].rpartition("__")[2] in described, macro["name"]
        assert all(argument["description"] for argument in macro["arguments"]), macro["name"]
