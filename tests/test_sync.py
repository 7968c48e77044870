"""The whole, as users run it: the command in a process of its own, on real files, into a DuckDB file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import PROJECT, SHARED, Warehouse, event, leave_out_what_users_do, ndjson

PUBLISHED = (
    "product.event_definitions",
    "product.page_definitions",
    "product.element_definitions",
    "product_marts.sessions",
    "product_marts.users",
    "product_marts.devices",
    "product_marts.pages",
    "product_marts.elements",
    "product_marts.identifies",
)
CLOCK = {"updated_time", "_load_id", "_dlt_load_id", "_invocation_id", "_file", "_has_other_files"}


def contents(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """Every published table whole, but for what the clock or the names of files decide."""
    tables = {}
    for table in ("product.events", *PUBLISHED):
        columns = [row[0] for row in warehouse.rows(f"describe {table}") if row[0] not in CLOCK]
        tables[table] = sorted(warehouse.rows(f"select {', '.join(columns)} from {table}"), key=repr)
    return tables


@pytest.mark.skipif(not SHARED.exists(), reason="the real export is not here")
def test_the_real_export_agrees_with_a_count_by_hand(warehouse: Warehouse) -> None:
    source = SHARED / "data" / "segment_export.json"
    said = warehouse.sync(source)
    assert "144" in said
    sessions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in json.loads(source.read_text()):
        sessions[f"{record['IndvId']}:{record['SessionId']}"].append(record)
    assert sorted(map(len, sessions.values())) == [13, 28, 50, 53]
    found = warehouse.rows(
        "select full_session_id, start_time, end_time, total_events, total_page_views, total_click_events, "
        "total_custom_events, total_custom_error_events, user_id, last_display_name from {p}_marts.sessions"
    )
    assert len(found) == 4
    for session_id, start, end, total, views, clicks, custom, failed, user_id, name in found:
        records = sessions[session_id]
        times = [datetime.fromisoformat(record["EventStart"].replace("Z", "+00:00")) for record in records]
        assert (start, end, total) == (min(times), max(times), len(records))
        counts = [
            sum(record["EventType"] == kind for record in records)
            for kind in ("navigate", "click", "custom", "custom_error")
        ]
        assert [views, clicks, custom, failed] == counts
        assert user_id == f"anon_{session_id.split(':')[0]}"
        assert name == records[0]["UserDisplayName"]
    assert warehouse.rows("select count(*) from {p}_marts.devices") == [(4,)]
    assert warehouse.rows("select sum(dead_clicks), sum(clicks) from {p}_marts.elements") == [(8, 42)]
    price = (
        "select distinct event_properties ->> '$.event_properties.price', "
        "event_properties -> '$.event_properties.price_raw' from {p}.events "
        "where event_type = 'custom' and event_properties ->> '$.event_properties.imgName' = 'bluebs'"
    )
    assert warehouse.rows(price) == [("6.75", "6.75")]


def history() -> list[list[dict[str, Any]]]:
    """Three hours: two sessions, an identify after the fact, a late event, an older version, and two nulled rows."""
    late = {"processed_time": "2026-03-05T00:00:00.000000Z", "updated_time": 1_772_670_000_000}
    identify = json.dumps({"user_id": "ada", "user_email": "ada@shop.example", "user_display_name": "Ada"})
    return [
        [
            event("n1", 1, event_type="navigate", event_properties="{}"),
            event("c1", 2),
            event(
                "c2",
                3,
                event_properties=json.dumps(
                    {"target": {"text": "Buy", "raw_selector": "button.buy"}, "fs_rage_count": 4}
                ),
            ),
            event("gone", 59),
        ],
        [
            event("n2", 5, session_id=8, event_type="navigate", event_properties="{}"),
            event("c1", 2, source_type="mobile_app", **late),
            event("i1", 6, session_id=8, event_type="identify", event_properties=identify),
            event("alone", 7, session_id=9),
        ],
        [
            event("early", 0, event_time="2026-03-01T23:59:59.999999Z"),
            event(
                "gone",
                event_time=None,
                device_id=...,
                session_id=...,
                event_type=None,
                event_properties=...,
                source_properties=...,
                **late,
            ),
            event("alone", event_time=None, event_type=None, event_properties="{}", **late),
            event("n1", 1, event_type="navigate", event_properties="{}"),
        ],
    ]


def put(folder: Path, name: str, rows: list[dict[str, Any]], hour: int) -> None:
    path = folder / "events" / f"ingested_time=2026-03-02 {hour:02d}:00:00" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(ndjson(*rows))


def test_any_order_any_repetition_and_any_split_give_the_same_tables(tmp_path: Path) -> None:
    hours = history()

    def in_order(warehouse: Warehouse, feed: Path) -> None:
        for hour, rows in enumerate(hours):
            put(feed, "a.ndjson", rows, hour)
        warehouse.sync(feed)

    def hour_by_hour_backwards(warehouse: Warehouse, feed: Path) -> None:
        for hour, rows in reversed(list(enumerate(hours))):
            put(feed, "a.ndjson", rows[::-1], hour)
            warehouse.sync(feed)

    def twice_and_copied(warehouse: Warehouse, feed: Path) -> None:
        for hour, rows in enumerate(hours):
            put(feed, "a.ndjson", rows, hour)
            put(feed, "copy.parquet", rows, hour)
        warehouse.sync(feed)
        shutil.copytree(feed, feed.with_name("moved"))
        warehouse.sync(feed.with_name("moved"))

    def one_hour_in_three(warehouse: Warehouse, feed: Path) -> None:
        for hour, rows in enumerate(hours):
            put(feed, "a.ndjson", rows[:1], hour)
            put(feed, "b.ndjson", rows[2:], hour)
            warehouse.sync(feed, "--no-build")
            put(feed, "c.ndjson", rows[1:2], hour)
            warehouse.sync(feed, "--no-build")
        warehouse.sync(feed)

    found = {}
    for way in (in_order, hour_by_hour_backwards, twice_and_copied, one_hour_in_three):
        warehouse = Warehouse(tmp_path / way.__name__)
        way(warehouse, tmp_path / way.__name__ / "feed")
        found[way.__name__] = contents(warehouse)
        assert warehouse.rows("select count(*) from {p}.raw_events") == [(0,)]
    expected = found.pop("in_order")
    for tables in found.values():
        for table, rows in tables.items():
            assert rows == expected[table], table

    events = {row[0]: row for row in expected["product.events"]}
    assert set(events) == {"n1", "c1", "c2", "gone", "n2", "i1", "alone", "early"}
    columns = [row[0] for row in warehouse.rows("describe {p}.events") if row[0] not in CLOCK]
    gone = dict(zip(columns, events["gone"], strict=True))
    assert gone["event_type"] is None
    assert gone["event_properties"] is None
    assert gone["source_properties"] is None
    assert (gone["device_id"], gone["session_id"], gone["event_time"].minute) == (2**60 + 1, 7, 59)
    assert warehouse.rows("select full_session_id, total_events, user_id from {p}_marts.sessions order by 1") == [
        (f"{2**60 + 1}:7", 4, "ada"),
        (f"{2**60 + 1}:8", 2, "ada"),
    ]
    assert warehouse.rows("select end_time::varchar from {p}_marts.sessions where session_id = 7") == [
        ("2026-03-02 00:03:00+00",)
    ]
    assert warehouse.rows("select views, sessions, users, entries, exits, rage_clicks from {p}_marts.pages") == [
        (2, 2, 1, 2, 2, 1)
    ]
    assert warehouse.rows("select text, clicks, sessions, rage_clicks from {p}_marts.elements") == [("Buy", 3, 1, 1)]


def test_a_build_by_the_scheduler_from_the_profile_example(warehouse: Warehouse, tmp_path: Path) -> None:
    shutil.copy(warehouse.project / "profiles.example.yml", warehouse.project / "profiles.yml")
    leave_out_what_users_do(warehouse.project)
    warehouse.dbt("--warn-error", "build", "--select", "*")
    put(tmp_path / "feed", "a.ndjson", history()[0], 0)
    warehouse.sync(tmp_path / "feed", "--no-build")
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(4,)]
    warehouse.dbt("--warn-error", "build")
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(0,)]
    assert warehouse.rows("select total_events from {p}_marts.sessions") == [(4,)]


def test_status_says_what_waits_and_what_was_rejected(warehouse: Warehouse, tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    assert "newest load   never" in warehouse.headrace("status")
    assert "older than" in warehouse.headrace("status", "--max-age", "1h", status=1)
    put(feed, "a.ndjson", [event("a"), event("b", device_id=...)], 0)
    warehouse.sync(feed, "--no-build")
    put(feed, "b.ndjson", [event("c")], 5)
    now = json.loads(warehouse.headrace("status", "--json", "--max-age", "1h"))
    assert (now["queued_loads"], now["queued_rows"], now["files"]) == (1, 1, {"queued": 1})
    (one,) = now["feeds"]
    assert (one["feed"], one["waiting_files"], one["lag_seconds"]) == (str(feed), 1, 5 * 3600)
    (rejected,) = now["rejected"]
    assert (rejected["reason"], rejected["rows"], rejected["position"]) == ("device_id is missing", 1, 2)
    assert rejected["file"].endswith("a.ndjson")
    assert "1 x device_id is missing, such as" in warehouse.headrace("status")


def test_a_dry_run_loads_nothing_and_backfill_brings_events_back(warehouse: Warehouse, tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    for hour, rows in enumerate(history()):
        put(feed, "a.ndjson", rows, hour)
    assert "3 of 3 files would be loaded" in warehouse.sync(feed, "--dry-run")
    assert (
        not warehouse.database.exists()
        or warehouse.rows("select * from information_schema.tables where table_name = 'raw_events'") == []
    )
    warehouse.sync(feed)
    before = contents(warehouse)
    import duckdb

    with duckdb.connect(str(warehouse.database)) as connection:
        connection.execute("delete from product.events where event_time >= '2026-03-02'").fetchall()
    assert "2 of 2 files would be loaded" in warehouse.headrace(
        "backfill", feed, "--since", "2026-03-02T01:00", "--dry-run"
    )
    warehouse.headrace("backfill", feed, "--since", "2026-03-02")
    assert contents(warehouse) == before


def test_the_call_or_the_configuration_is_wrong(warehouse: Warehouse, tmp_path: Path) -> None:
    def says(*arguments: str) -> str:
        said = warehouse.headrace(*arguments, status=2)
        assert "Traceback" not in said
        return said

    assert "no such file or folder" in says("sync", str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert "holds no .parquet" in says("sync", str(tmp_path / "empty"))
    assert "no target 'prod'" in says("sync", str(tmp_path), "--target", "prod")
    assert "no dbt_project.yml" in says("status", "--project-dir", str(tmp_path))
    assert "No such option" in says("sync", "--fast")
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "profiles.yml").write_text(
        "headrace: {target: d, outputs: {d: {type: duckdb, schema: s, path: \"{{ env_var('NOT_SET') }}\"}}}"
    )
    assert "NOT_SET" in says("sync", str(tmp_path), "--profiles-dir", str(profiles))
    (profiles / "profiles.yml").write_text("other: {}")
    assert "no profile 'headrace'" in says("sync", str(tmp_path), "--profiles-dir", str(profiles))


def test_a_failed_build_ends_with_status_1_and_the_next_one_merges_the_queue(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    put(tmp_path / "feed", "a.ndjson", history()[0], 0)
    models = warehouse.project / "models"
    models.unlink()
    shutil.copytree(Path(__file__).resolve().parents[1] / "models", models)
    (models / "marts" / "broken.sql").write_text("select no_such_column from {{ ref('sessions') }}")
    said = warehouse.sync(tmp_path / "feed", status=1)
    assert "broken" in said
    assert "Traceback" not in said
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(4,)]
    (models / "marts" / "broken.sql").unlink()
    warehouse.sync(tmp_path / "feed")
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(0,)]
    assert warehouse.rows("select count(*) from {p}.events") == [(4,)]


def test_an_installed_headrace_writes_where_it_is_called(tmp_path: Path) -> None:
    """From a wheel, in an empty folder: nothing is written beside the package."""
    made = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*made, str(PROJECT)], check=True, capture_output=True)
    feed = tmp_path / "feed.ndjson"
    feed.write_bytes(ndjson(event("a")))
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    before = sorted(path for path in site.rglob("*") if "__pycache__" not in path.parts)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    command = [sys.executable, "-m", "headrace.cli", "sync", str(feed)]
    done = subprocess.run(
        command, cwd=here, env={**environment, "PYTHONPATH": str(site)}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path for path in site.rglob("*") if "__pycache__" not in path.parts) == before
    assert {"headrace.duckdb", ".headrace"} <= {path.name for path in here.iterdir()}
