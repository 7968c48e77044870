"""Days that are done again: `headrace rebuild` gives what a full refresh gives; requests are a part of the queue."""

from __future__ import annotations

import json
import re
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import killer
import pytest
from conftest import AS_A_SYNC, HOUR, Warehouse, ndjson
from conftest import event as fed
from test_history import SEED, STEPS, TIMES, Steps, history, whole, write
from test_models import Warehouse as Queue
from test_models import event
from test_models import warehouse as queue
from test_status import counts, status

__all__ = ["queue"]

HISTORIES = 6
ALL = ("--since", "0001-01-01")

CHANGES: list[dict[str, Any]] = [
    {
        "reporting_timezone": "Pacific/Auckland",
        "min_event_time": "1960-01-01 00:00:00",
        "nobody_ids": [f"ann of h{number:04}.example" for number in range(HISTORIES)],
        "max_active_gap_seconds": 1_000_000,
        "event_catalogue_additions": {"custom": [{"name": "version", "data_type": "bigint"}]},
    },
    {
        "reporting_timezone": "America/Los_Angeles",
        "min_event_time": "2026-01-01 00:00:00",
        "fullstory_min_event_time": "2025-11-01 00:00:00",
        "conversions": [{"name": "Told", "event_type": "custom"}, {"name": "Seen", "event_type": "navigate"}],
        "event_catalogue_additions": {
            "custom": [{"name": "version", "data_type": "bigint", "config": {"meta": {"path": "none"}}}]
        },
    },
    {"reporting_timezone": "Pacific/Kiritimati", "export_until": "2026-03-03 10:00:00"},
]
"""Of vars, one after the other."""

FIRST_DAYS = {
    "int_parsed_events": "event_time",
    "int_identifies": "event_time",
    "int_converting_events": "event_time",
    "int_wrong_clocks": "device_time",
    "int_sessions": "start_time",
    "int_session_pages": "session_start_time",
    "int_session_elements": "session_start_time",
    "int_page_views": "session_start_time",
    "int_session_days": "day",
    "int_daily_vitals": "day",
}
"""Each table that is made from events, and by which of its columns it has days."""


Played = tuple[Warehouse, Path, list[Steps]]


@pytest.fixture(scope="module")
def played_once(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """A warehouse to which all but the last step of random histories were synced, with a build after each."""
    folder = tmp_path_factory.mktemp("played")
    warehouse = Warehouse(folder)
    feed = warehouse.project / "feed"
    warehouse.set_vars(
        conversions=[{"name": "Done", "event_type": "click"}, {"name": "Seen", "event_type": "navigate"}]
    )
    told = [history(SEED, number) for number in range(HISTORIES)]
    times = [*TIMES, *(f"2026-04-{day}T09:00:00Z" for day in range(10, 20))]
    vitals = [vital(number, at) for number, at in enumerate(times)]
    path = feed / "events" / HOUR / "vitals.ndjson"
    path.parent.mkdir(parents=True)
    path.write_bytes(ndjson(*vitals))
    for number in range(STEPS - 1):
        write_step(feed, told, number)
        warehouse.sync(feed)
    shutil.copytree(warehouse.project, folder / "kept", symlinks=True)
    return warehouse, feed, told


@pytest.fixture
def played(played_once: Played) -> Played:
    """It for each test, as it was then."""
    warehouse, _, _ = played_once
    shutil.rmtree(warehouse.project)
    shutil.copytree(warehouse.project.parent / "kept", warehouse.project, symlinks=True)
    return played_once


def vital(number: int, at: str | None) -> dict[str, Any]:
    """What the histories lack: an event of a vital."""
    said = {"event_type": "first_input_delay", "event_properties": json.dumps({"first_input_delay_millis": number})}
    return fed(f"vital {number}", event_time=at, processed_time="2026-04-20T00:00:00Z", updated_time=None, **said)


def write_step(feed: Path, histories: list[Steps], number: int) -> None:
    for steps in histories:
        write(feed, steps[number])


def changed(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The relations that differ, each with some of the rows that only one has."""
    return {
        name: sorted(set(one.get(name, [])) ^ set(other.get(name, [])), key=str)[:4]
        for name in one.keys() | other.keys()
        if one.get(name) != other.get(name)
    }


def fully_refreshed(warehouse: Warehouse) -> dict[str, list[Any]]:
    warehouse.dbt("run", "--quiet", "--full-refresh", *AS_A_SYNC)
    return whole(warehouse)


def requests(warehouse: Warehouse) -> int:
    return int(warehouse.rows("select count(*) from {p}.redo")[0][0])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([CHANGES[1] | CHANGES[2]], id="at once", marks=pytest.mark.soak),
        pytest.param(CHANGES, id="one after the other", marks=pytest.mark.soak),
    ],
)
def test_after_a_change_of_vars_a_rebuild_gives_what_a_full_refresh_gives(
    played: Played, changes: list[dict[str, Any]]
) -> None:
    warehouse, _, _ = played
    events = warehouse.rows("from {p}.events order by all")
    assert len(events) > 20
    before = whole(warehouse)
    seen: set[str] = set()
    for vars_changed in changes:
        warehouse.set_vars(**vars_changed)
        said = warehouse.headrace("rebuild", *ALL)
        assert " │ ".join(["0"] * 4) in " ".join(said.split()), "what is done again is neither new nor changed"
        assert requests(warehouse) == 0
        rebuilt = whole(warehouse)
        seen |= changed(before, rebuilt).keys()
        assert changed(rebuilt, fully_refreshed(warehouse)) == {}
        before = rebuilt
    assert seen >= {f"product.{name}" for name in FIRST_DAYS}
    assert warehouse.rows("from {p}.events order by all") == events


def test_a_rebuild_of_some_days_mends_these_and_changes_nothing_else(played: Played) -> None:
    warehouse, feed, histories = played
    write_step(feed, histories, STEPS - 1)
    warehouse.sync(feed)
    before = whole(warehouse)
    days = ("--since", "2026-03-02", "--until", "2026-03-04")
    stamp = warehouse.database.stat()
    ((events,),) = warehouse.rows(
        "select count(*) from {p}.events left join {p}.int_wrong_clocks as clocks using (event_id) "
        "where date '2026-03-02' <= coalesce(clocks.event_time, events.event_time) "
        "and coalesce(clocks.event_time, events.event_time) < date '2026-03-05'"
    )
    said = warehouse.headrace("rebuild", *days, "--dry-run")
    assert "1970-01-01 to 2037-05-05" in said, "two events of these days lie on those that their clocks said"
    assert f"5 days with {events} events would be done again" in said
    assert warehouse.database.stat() == stamp
    warehouse.headrace("rebuild", *days)
    assert changed(whole(warehouse), before) == {}

    losses = {"2026-03-03": FIRST_DAYS.keys() - {"int_wrong_clocks"}, "1970-01-01": {"int_wrong_clocks"}}
    for day, tables in losses.items():
        lost = set()
        with duckdb.connect(str(warehouse.database)) as connection:
            connection.execute("set TimeZone = 'UTC'").fetchall()
            for table in tables:
                is_of_day = f"where cast({FIRST_DAYS[table]} as date) = '{day}'"
                ((rows,),) = connection.execute(f"delete from product.{table} {is_of_day}").fetchall()
                if rows:
                    lost.add(f"product.{table}")
        assert lost == {f"product.{table}" for table in tables}
        assert changed(whole(warehouse), before).keys() >= lost
        warehouse.headrace("rebuild", "--since", day, "--until", day)
        assert changed(whole(warehouse), before) == {}


def test_a_call_that_is_wrong_says_so(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    said = warehouse.headrace("rebuild", "--since", "2026-03-03", "--until", "2026-03-02", status=2)
    assert "--until 2026-03-02 is before --since 2026-03-03" in said
    assert "does not match the format" in warehouse.headrace("rebuild", "--since", "yesterday", status=2)
    for options in ([], ["--dry-run"]):
        assert "nothing was built here yet" in warehouse.headrace("rebuild", *ALL, *options, status=2)


CHAIN = [
    "the days are requested",
    "event_batch is built",
    "merged into int_sessions, uncommitted",
    "the request has gone",
]
"""A rebuild is killed at each of these, one after the other."""
OTHERS = [
    "batch_loads is built",
    "merged into events",
    "merged into int_parsed_events",
    "the stale sessions are deleted",
    "before the purge's mark",
    "after the purge",
]


@pytest.mark.soak
def test_a_rebuild_that_was_killed_goes_on_by_itself(played: Played) -> None:
    """By the same call, which asks again for what does not wait, and at last by a sync with something of its own."""
    warehouse, feed, histories = played
    warehouse.set_vars(**CHANGES[0])
    waiting = []
    for point in CHAIN:
        process = warehouse.start(partial(killer.main, "duckdb", point), "rebuild", *ALL)
        ended = process.end(300)
        assert ended == -signal.SIGKILL, f"{point} was not reached: {ended}, {process.said()}"
        waiting.append(requests(warehouse))
    assert waiting[0] > 2, "one request for all would not be a test"
    assert waiting == [waiting[0]] * 3 + [waiting[0] - 1]
    (asked, *_) = status(warehouse)["redo"]
    assert (asked["first_day"] >= "1970-01-01", asked["reason"]) == (True, "headrace rebuild --since 0001-01-01")
    said = warehouse.headrace("status")
    assert "to do again" in said and "headrace rebuild --since" in said

    new = warehouse.rows("select count(*) from {p}.events")[0][0]
    write_step(feed, histories, STEPS - 1)
    said = warehouse.headrace("sync", feed)
    new = warehouse.rows("select count(*) from {p}.events")[0][0] - new
    assert new > 0
    assert counts(said)["new"] == str(new)
    assert requests(warehouse) == 0
    assert status(warehouse)["redo"] == []
    assert changed(whole(warehouse), fully_refreshed(warehouse)) == {}


@pytest.mark.soak
@pytest.mark.parametrize("point", [*CHAIN, *OTHERS])
def test_a_rebuild_killed_at(point: str, played: Played) -> None:
    warehouse, feed, _ = played
    warehouse.set_vars(**CHANGES[0])
    assert warehouse.start(partial(killer.main, "duckdb", point), "rebuild", *ALL).end(300) == -signal.SIGKILL
    warehouse.headrace("sync", feed)
    assert changed(whole(warehouse), fully_refreshed(warehouse)) == {}


# --- the queue ------------------------------------------------------------------------------------------------------


def request(queue: Queue, *rows: tuple[str, str, str, int | None]) -> None:
    queue.execute(
        "create table if not exists product.redo (request_id varchar, first_day date, last_day date, device_id bigint, "
        "reason varchar, requested_time timestamptz)"
    )
    for row in rows:
        queue.execute("insert into product.redo values (?, ?, ?, ?, 'a test', now())", *row)


def damage(queue: Queue) -> None:
    queue.execute("update product.int_parsed_events set url_host = 'damaged'")


def damaged(queue: Queue) -> set[str]:
    return {row["event_id"] for row in queue.query("from product.int_parsed_events") if row["url_host"] == "damaged"}


@pytest.mark.soak
def test_a_build_takes_the_oldest_request_beside_its_loads(queue: Queue) -> None:
    day, later = "2026-03-02", "2026-03-05"
    rows = [
        event("a"),
        event("b", device_id=2),
        event("c", device_id=2**62 + 1, event_time=f"{day} 23:59:59.999999+00"),
        event("later", event_time=f"{later} 00:00:00+00"),
        event("no time", event_time=None),
        event("wrong clock", event_time="2037-01-01 00:00:00+00", processed_time=f"{day} 12:00:00+00"),
    ]
    queue.load(rows, "f1")
    queue.run()
    events = queue.query("from product.events order by event_id")
    assert len(events) == 6
    damage(queue)
    request(queue, ("2", "2026-01-01", "2026-12-31", None))
    request(queue, ("1", day, day, 1), ("1", day, day, 2**62 + 1), ("3", later, later, None))
    queue.run("--select", "+events")
    assert queue.count("product.redo") == 4, "only a whole build meets a request"
    assert damaged(queue) == {row["event_id"] for row in rows}

    queue.load([event("b", device_id=2), event("new", device_id=3)], "f2")  # what came once more changed nothing
    queue.build()
    assert damaged(queue) == {"b", "later", "wrong clock"}
    assert [row["request_id"] for row in queue.query("from product.redo order by 1")] == ["2", "3"]
    assert queue.count("product.int_parsed_events") == 7

    # Of one batch it is both: a delivery that changed nothing, and to be done again.
    queue.load([event("b", device_id=2)], "f3")
    queue.build()
    assert damaged(queue) == {"wrong clock"}, "it lies on the day that its clock said"
    assert [row["request_id"] for row in queue.query("from product.redo")] == ["3"]
    now = {row["event_id"]: row for row in queue.query("from product.events")}
    assert [now[row["event_id"]] for row in events if row["event_id"] != "b"] == [
        row for row in events if row["event_id"] != "b"
    ]
    assert queue.count("product.touched") == 0


def test_a_request_that_comes_meanwhile_waits(queue: Queue) -> None:
    queue.load([event("a")], "f1")
    queue.run()
    damage(queue)
    request(queue, ("1", "2026-04-01", "2026-04-02", None))

    def ask(message: Any) -> None:
        if message.info.name == "NodeFinished" and message.data.node_info.node_name == "batch_loads":
            request(queue, ("0", "2026-03-01", "2026-03-02", None))

    assert queue.dbt("build", "--resource-type", "model", *queue.excluded, callbacks=[ask]).success
    assert [row["request_id"] for row in queue.query("from product.redo")] == ["0"]
    assert damaged(queue) == {"a"}
    queue.run()
    assert (queue.count("product.redo"), damaged(queue)) == (0, set())


@pytest.mark.soak
def test_an_hour_without_a_request_asks_once_at_most(queue: Queue) -> None:
    def statements(number: int) -> int:
        queue.load([event(f"e{number}", event_time=f"2026-03-02 10:{number:02}:00+00")], f"f{number}")
        sent: list[str] = []

        def listen(message: Any) -> None:
            if message.info.name == "SQLQuery":
                sent.append(message.data.sql)

        views = ("--exclude", "config.materialized:view")
        assert queue.dbt("build", "--exclude-resource-type", "unit_test", *views, callbacks=[listen]).success
        assert len(sent) > 50
        return len([sql for sql in sent if not re.match(r"(?i)(/\*.*?\*/)?\s*(begin|commit)", sql, re.S)])

    queue.load([event("first")], "first")
    queue.run()
    statements(1)
    without = statements(2)
    assert statements(3) == without
    request(queue)
    assert queue.count("product.redo") == 0
    assert statements(4) <= without + 1
    request(queue, ("1", "2026-03-02", "2026-03-02", None))
    assert statements(5) > without + 1
