"""The whole, as users run it: the command in a process of its own, on real files, into a DuckDB file."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SHARED, Warehouse, event, leave_out_what_users_do, ndjson, needs_real_export

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
CLOCK = {
    *("updated_time", "_load_id", "_first_load_id", "_changed_load_id", "_dlt_load_id", "_invocation_id"),
    *("_file", "_has_other_files"),
}
HASHES = {"_content_hash", "element_id"}


def contents(warehouse: Warehouse, left_out: set[str] = CLOCK) -> dict[str, list[tuple[Any, ...]]]:
    """Every published table whole, but for what the clock or the names of files decide."""
    tables = {}
    for table in ("product.events", *PUBLISHED):
        columns = [row[0] for row in warehouse.rows(f"describe {table}") if row[0] not in left_out]
        tables[table] = sorted(warehouse.rows(f"select {', '.join(columns)} from {table}"), key=repr)
    return tables


@needs_real_export
def test_the_real_export_agrees_with_a_count_by_hand(warehouse: Warehouse) -> None:
    source = SHARED / "data" / "segment_export.json"
    said = warehouse.sync(source)
    assert "150" in said  # 144 records, and six minutes in which one of four devices says whose it is
    sessions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in json.loads(source.read_text()):
        sessions[f"{record['UserId']}:{record['SessionId']}"].append(record)
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


WAYS = ("in order", "backwards", "copied", "in three")


@pytest.mark.soak
def test_any_order_any_repetition_and_any_split_give_the_same_tables(warehouse: Warehouse, tmp_path: Path) -> None:
    """Four ways to deliver the same three hours, each for a device of its own, through the same three builds."""
    feed, copied, moved = (tmp_path / name for name in ("feed", "copied", "moved"))

    def deliver(way: str, hour: int, file: str = "a.ndjson", rows: slice = slice(None), to: Path = feed) -> None:
        put(to, f"{way} {file}", of(way, history())[hour][rows], hour)

    for hour in range(3):
        deliver("in three", hour, "a.ndjson", slice(1))
        deliver("in three", hour, "b.ndjson", slice(2, None))
        for file in ("a.ndjson", "copy.parquet"):
            deliver("copied", hour, file, to=copied)
    warehouse.sync(feed, "--no-build")
    warehouse.sync(copied, "--no-build")
    for hour in range(3):
        deliver("in three", hour, "c.ndjson", slice(1, 2))
        deliver("in order", hour)
    deliver("backwards", 2, rows=slice(None, None, -1))
    warehouse.sync(feed)
    shutil.copytree(copied, moved)
    warehouse.sync(moved, "--no-build")
    deliver("backwards", 1, rows=slice(None, None, -1))
    warehouse.sync(feed)
    deliver("backwards", 0, rows=slice(None, None, -1))
    warehouse.sync(feed)
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(0,)]

    found = contents(warehouse, CLOCK | HASHES)
    for table, rows in found.items():
        by_way = {way: [unmarked(way, row) for row in rows if is_of(way, row)] for way in WAYS}
        assert sum(map(len, by_way.values())) == len(rows), table
        assert bool(rows) == ("definitions" not in table)
        for way in WAYS:
            assert sorted(by_way[way]) == sorted(by_way["in order"]), (table, way)

    columns = [row[0] for row in warehouse.rows("describe {p}.events") if row[0] not in CLOCK | HASHES]
    events = {row[0]: row for row in found["product.events"] if is_of("in order", row)}
    names = {"n1", "c1", "c2", "gone", "n2", "i1", "alone", "early"}
    assert set(events) == {f"{name}@way0" for name in names}
    gone = dict(zip(columns, events["gone@way0"], strict=True))
    assert gone["event_type"] is None
    assert gone["event_properties"] is None
    assert gone["source_properties"] is None
    device = device_of("in order")
    assert (gone["device_id"], gone["session_id"], gone["event_time"].minute) == (device, 7, 59)
    of_device = f"from {{p}}_marts.sessions where device_id = '{device}'"
    assert warehouse.rows(f"select full_session_id, total_events, user_id {of_device} order by 1") == [
        (f"{device}:7", 4, "ada@way0"),
        (f"{device}:8", 2, "ada@way0"),
    ]
    assert warehouse.rows(f"select end_time::varchar {of_device} and session_id = '7'") == [("2026-03-02 00:03:00+00",)]
    assert warehouse.rows(
        "select views, sessions, users, entries, exits, rage_clicks from {p}_marts.pages "
        "where page_id = 'way0.example/cart'"
    ) == [(2, 2, 1, 2, 2, 1)]
    assert warehouse.rows(
        "select text, clicks, sessions, rage_clicks from {p}_marts.elements where text = 'Buy@way0'"
    ) == [("Buy@way0", 3, 1, 1)]


def device_of(way: str) -> int:
    return 2**60 + 1 + WAYS.index(way)


def of(way: str, hours: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """The same hours with names, a device, a host and a user of their own."""
    mark = f"way{WAYS.index(way)}"
    text = json.dumps(hours).replace(str(2**60 + 1), str(device_of(way))).replace("shop.example", f"{mark}.example")
    for name in ("Buy", "ada"):
        text = text.replace(name, f"{name}@{mark}")
    return [[row | {"event_id": f"{row['event_id']}@{mark}"} for row in hour] for hour in json.loads(text)]


def is_of(way: str, row: tuple[Any, ...]) -> bool:
    return f"way{WAYS.index(way)}" in repr(row) or str(device_of(way)) in repr(row)


def unmarked(way: str, row: tuple[Any, ...]) -> str:
    return repr(row).replace(f"way{WAYS.index(way)}", "way").replace(str(device_of(way)), "device")


@pytest.mark.soak
def test_a_build_by_the_scheduler_from_the_profile_example(warehouse: Warehouse, tmp_path: Path) -> None:
    shutil.copy(warehouse.project / "profiles.example.yml", warehouse.project / "profiles.yml")
    leave_out_what_users_do(warehouse.project)
    put(tmp_path / "feed", "a.ndjson", history()[0], 0)
    warehouse.sync(tmp_path / "feed", "--no-build")
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(4,)]
    warehouse.dbt("--warn-error", "build")
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(0,)]
    assert warehouse.rows("select total_events from {p}_marts.sessions") == [(4,)]


def test_status_says_what_waits_and_what_was_rejected(warehouse: Warehouse, tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    assert "newest load   never" in warehouse.headrace("status")
    assert "nothing is published" in warehouse.headrace("status", "--max-age", "1h", status=1)
    assert not warehouse.database.exists()
    put(feed, "a.ndjson", [event("a"), event("b", device_id=...)], 0)
    warehouse.sync(feed, "--no-build")
    put(feed, "b.ndjson", [event("c")], 5)
    now = json.loads(warehouse.headrace("status", "--json"))
    assert (now["newest_hour"], now["newest_event"]) == (None, None)  # loaded is not published
    assert (now["queued_loads"], now["queued_rows"], now["files"]) == (1, 1, {"queued": 1})
    (one,) = now["feeds"]
    assert (one["feed"], one["waiting_files"], one["lag_seconds"]) == (str(feed), 1, 5 * 3600)
    (rejected,) = now["rejected"]
    assert (rejected["reason"], rejected["rows"], rejected["position"]) == ("device_id is missing", 1, 2)
    assert rejected["file"].endswith("a.ndjson")
    (feed / "c.avro").write_bytes(b"Obj")
    assert "c.avro: .avro is no format that is read" in warehouse.sync(feed, "--no-build")
    assert "no format" not in warehouse.sync(feed, "--no-build")
    said = warehouse.headrace("status")
    assert "1 x device_id is missing, such as" in said
    assert f"not read      1 files:\n              {feed / 'c.avro'}" in said
    warehouse.headrace("forget", feed)
    assert f"feed          {feed}" in said
    assert f"feed          {feed}" not in warehouse.headrace("status")


def test_a_dry_run_loads_nothing_and_backfill_brings_events_back(warehouse: Warehouse, tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    for hour, rows in enumerate(history()):
        put(feed, "a.ndjson", rows, hour)
    assert "3 of 3 files would be loaded" in warehouse.sync(feed, "--dry-run")
    assert not warehouse.database.exists()
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
