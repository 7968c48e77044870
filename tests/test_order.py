"""The order of views (rule 4): events that come without an id take their place in their view, whenever they come."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from headrace.formats.source import Source
from headrace.reading import read_events
from headrace.rows import Tally
from test_models import Row, Warehouse, event, nulled, warehouse

__all__ = ["warehouse"]

MERGED = ["batch_loads", "delivered_events", "event_batch", "events"]
PLACES = (
    "select event_id, _source_event_id, event_type, _is_reordered, event_properties, updated_time"
    " from product.events order by event_id"
)


def captured(source_id: str, time: str, **columns: Any) -> Row:
    """An event that came without an id at a time of 2026-03-02, as the loader lands it."""
    return event(source_id, **{"event_time": f"2026-03-02 {time}+00", "_is_derived_id": True, **columns})


def prepared(warehouse: Warehouse) -> None:
    warehouse.execute("alter table product.raw_events add column if not exists _is_derived_id boolean")


def merge(warehouse: Warehouse) -> None:
    """What concerns `events` of a green build."""
    warehouse.run("--select", *MERGED)
    warehouse.execute("update product.loaded_files set is_merged = true")
    warehouse.execute("delete from product.raw_events")


def live(warehouse: Warehouse) -> list[str]:
    return [row["event_id"] for row in warehouse.query(PLACES) if row["event_type"]]


@pytest.mark.soak
def test_a_late_event_reorders_its_view_whatever_is_killed(warehouse):
    prepared(warehouse)
    identify = {"event_type": "identify", "event_properties": {"user_id": "ann"}}
    warehouse.load([captured("first", "10:00:00"), captured("third", "10:02:00", **identify)], "f1")
    warehouse.load([captured("elsewhere", "10:09:00", view_id=4), event("own")], "f1")
    warehouse.run()
    before = {row["event_id"]: row for row in warehouse.query(PLACES)}
    assert list(before) == [
        "2026-03-02-000001-elsewhere",
        "2026-03-02-000001-first",
        "2026-03-02-000002-third",
        "own",
    ]

    warehouse.load([captured("second", "10:01:00"), captured("fourth", "10:03:00")], "f2")
    warehouse.run("--select", *MERGED)  # killed before anything after events was built: the next build heals it
    merged = warehouse.query(PLACES)
    warehouse.build()
    assert warehouse.query(PLACES) == merged
    after = {row["event_id"]: row for row in warehouse.query(PLACES)}
    left_behind = after.pop("2026-03-02-000002-third")
    assert (left_behind["event_type"], left_behind["event_properties"], left_behind["_is_reordered"]) == (
        None,
        None,
        True,
    )
    assert left_behind["updated_time"] > before["2026-03-02-000002-third"]["updated_time"]
    assert [(row["event_id"], row["event_type"]) for row in after.values()] == [
        ("2026-03-02-000001-elsewhere", "click"),
        ("2026-03-02-000001-first", "click"),
        ("2026-03-02-000002-second", "click"),
        ("2026-03-02-000003-third", "identify"),
        ("2026-03-02-000004-fourth", "click"),
        ("own", "click"),
    ]
    assert json.loads(after["2026-03-02-000003-third"]["event_properties"]) == {"user_id": "ann"}
    for kept in ("2026-03-02-000001-first", "2026-03-02-000001-elsewhere", "own"):
        assert after[kept] == before[kept]
    [identified] = warehouse.query("select event_id from product_marts.identifies")
    assert identified["event_id"] == "2026-03-02-000003-third"
    assert warehouse.row("product_marts.sessions", full_session_id="1:7")["total_events"] == 6

    # Again, by another file: nothing moves. And a rebuild is the same.
    events = warehouse.query(PLACES)
    warehouse.load([captured("first", "10:00:00"), captured("second", "10:01:00")], "f3")
    warehouse.run()
    assert warehouse.query(PLACES) == events
    tables = warehouse.published()
    warehouse.run("--full-refresh")
    assert warehouse.published() == tables


def test_versions_find_an_event_by_its_id_of_before(warehouse):
    prepared(warehouse)
    warehouse.load([captured("b", "10:02:00"), captured("c", "10:03:00"), captured("d", "10:04:00")], "f1")
    merge(warehouse)
    warehouse.load([captured("a", "10:01:00")], "f2")
    merge(warehouse)
    # Its file is re-created without one event, and with another version of the next; others are superseded by name.
    newer = {"updated_time": "2026-03-05 00:00:00+00", "event_properties": {"n": 2}}
    warehouse.load([captured("c", "10:03:00", **newer), captured("d", "10:04:00")], "f1", recreated=True)
    merge(warehouse)
    assert live(warehouse) == ["2026-03-02-000001-a", "2026-03-02-000003-c", "2026-03-02-000004-d"]
    changed = warehouse.row("product.events", event_id="2026-03-02-000003-c")
    assert json.loads(changed["event_properties"]) == {"n": 2}
    warehouse.load([nulled("a"), nulled("d", event_time="2026-03-02 10:04:00+00")], "f3")
    merge(warehouse)
    assert live(warehouse) == ["2026-03-02-000003-c"]
    # An event that was nulled keeps its place, so that no id ever comes back for another row; it comes back itself.
    warehouse.load([captured("b", "10:02:00"), captured("late", "10:02:30")], "f4")
    merge(warehouse)
    assert live(warehouse) == ["2026-03-02-000002-b", "2026-03-02-000003-late", "2026-03-02-000004-c"]
    sources = warehouse.query(
        "select _source_event_id from product.events where not _is_reordered group by 1 having count(*) > 1"
    )
    assert sources == []


def some_captured_files(rng: random.Random) -> list[tuple[str, list[Row], bool]]:
    """Files of two views over midnight, in which events repeat and share their time; the last is a re-created one."""
    pool = [
        captured(
            hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest(),
            "",
            event_time=f"2026-03-0{2 + number % 2} {rng.choice(['00:00:00', '10:00:00', '23:59:59.999999'])}+00",
            view_id=rng.choice([3, 4]),
            event_type=rng.choice(["click", "identify"]),
            event_properties={"user_id": f"u{number}"},
            session_id=None if number == 7 else 7,
            _is_derived_id=number != 8,
        )
        for number in range(14)
    ]
    files = [(f"f{number}", rng.sample(pool, 5), False) for number in range(4)]
    return [*files, ("f0", [row for row in files[0][1] if rng.random() < 0.6] + rng.sample(pool, 1), True)]


def expected(files: list[tuple[str, list[Row], bool]]) -> dict[str, str]:
    """The id in events of each live event by its own, said once more and without any order of arrival."""
    holds = {path: {row["event_id"] for row in content} for path, content, _ in files}
    delivered = {row["event_id"]: row for _, content, _ in files for row in content}
    by: dict[str, set[str]] = {}
    for path, content, _ in files:
        for row in content:
            by.setdefault(row["event_id"], set()).add(path)
    dropped = {source for source, paths in by.items() if len(paths) == 1 and source not in holds[min(paths)]}
    ids = {source: source for source in delivered}
    views: dict[tuple[Any, ...], list[str]] = {}
    for source, row in sorted(delivered.items(), key=lambda item: (item[1]["event_time"], item[0])):
        if row["_is_derived_id"] and row["session_id"]:
            view = views.setdefault((row["view_id"], row["event_time"][:10]), [])
            view.append(source)
            ids[source] = f"{row['event_time'][:10]}-{len(view):06}-{source}"
    return {source: event_id for source, event_id in ids.items() if source not in dropped}


@pytest.mark.parametrize("seed", [int(s) for s in os.environ.get("HEADRACE_TEST_SEEDS", "1").split()])
@pytest.mark.soak
def test_the_order_of_arrival_does_not_matter(tmp_path, target_path, seed):
    rng = random.Random(seed)
    files = some_captured_files(rng)
    for attempt in ("at once", "in some order"):
        warehouse = Warehouse(tmp_path / attempt, target_path)
        prepared(warehouse)
        order = list(range(len(files)))
        while attempt != "at once":
            rng.shuffle(order)
            if order.index(0) < order.index(4):
                break
        for number in order:
            path, content, recreated = files[number]
            warehouse.load(content, path, recreated=recreated)
            if attempt != "at once" and rng.random() < 0.6:
                merge(warehouse)
        merge(warehouse) if attempt == "at once" else warehouse.run()
        found = warehouse.query("select _source_event_id, event_id from product.events where event_type is not null")
        assert {row["_source_event_id"]: row["event_id"] for row in found} == expected(files)
        assert len(found) == len(expected(files))
    assert any(row["_is_reordered"] for row in warehouse.query(PLACES))
    tables = warehouse.published()
    warehouse.run("--full-refresh")
    assert warehouse.published() == tables


def test_the_loader_says_which_ids_it_derived(tmp_path: Path) -> None:
    row = {
        "event_time": "2026-03-02T00:00:00Z",
        "processed_time": "2026-03-02T01:00:00Z",
        "device_id": 1,
        "event_type": "click",
        "event_properties": {},
        "source_type": "web",
        "source_properties": {},
    }
    path = tmp_path / "events.ndjson"
    path.write_text("".join(json.dumps(row | more) + "\n" for more in ({"event_id": "a"}, {}, {"event_id": ""})))
    [batch] = read_events(Source(path, "f"), Tally())
    assert batch.column("_is_derived_id").to_pylist() == [False, True, True]
