"""Kills at every step of a sync: whatever is left, the next sync gives the tables that an undisturbed one gives."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import forked
import killer
import pytest
from conftest import event, link_project, ndjson
from headrace.sample import write_feed

SEED = 20260302
SOAK = "HEADRACE_KILLS" in os.environ
"""Whether each kill is followed by each way to go on; else each by one, so that all together have both."""
KILLS = int(os.environ.get("HEADRACE_KILLS", "4"))
HOURS = 24 if SOAK else 8

Rows = list[tuple[Any, ...]]

BY_CLOCK = {
    *(
        "updated_time",
        "valid_from",
        "valid_until",
        "last_updated_time",
        "properties_updated_time",
        "_load_id",
        "_first_load_id",
        "_changed_load_id",
        "_dlt_load_id",
    ),
    "_invocation_id",
}
OF_THE_RUN = {
    "batch_loads", "delivered_events", "event_batch", "touched", "syncs", "built_views",
}  # fmt: skip
"""What the last run worked on, and how many runs there were: another one after a kill."""

QUEUE = ("raw_events", "raw_definitions")
NEVER_EMPTY = {
    "product.events",
    "product.page_definitions",
    "product.element_definitions",
    "product.event_definitions",
    "product.loaded_files",
    "product.rejected_events",
    "product.int_sessions",
    "product_marts.identifies",
    "product_marts.sessions",
    "product_marts.users",
    "product_marts.pages",
    "product_marts.elements",
}


@dataclass(frozen=True)
class Warehouse:
    """A project folder with its DuckDB file, working folder and what dbt has parsed."""

    project: Path

    @classmethod
    def new(cls, project: Path) -> Warehouse:
        link_project(project)
        return cls(project)

    def copy(self, name: str) -> Warehouse:
        return Warehouse(Path(shutil.copytree(self.project, self.project.parent / name, symlinks=True)))

    def wipe(self) -> None:
        shutil.rmtree(self.project / ".headrace")

    def start(self, *arguments: str | Path, point: str | None = None) -> forked.Process:
        program = partial(killer.main, "duckdb", point) if point else forked.headrace
        env = {"HEADRACE_DUCKDB": "warehouse.duckdb", "COLUMNS": "200"}
        return forked.Process(program, arguments, self.project, {**os.environ, **env})

    def sync(self, feed: Path, *options: str) -> float:
        """Run a sync to its end, and return how many seconds it took."""
        started = time.monotonic()
        process = self.start("sync", feed, *options)
        assert process.end(300) == 0, process.said()
        return time.monotonic() - started

    def kill_at(self, point: str, feed: Path, *options: str) -> None:
        process = self.start("sync", feed, *options, point=point)
        status = process.end(300)
        assert status == -signal.SIGKILL, f"{point} was not reached: {status}, {process.said()}"

    def kill_after(self, seconds: float, feed: Path, *options: str) -> bool:
        """Kill a sync some time after its start; False if it has ended before."""
        process = self.start("sync", feed, *options)
        status = process.end(seconds)
        assert status in (0, -signal.SIGKILL), process.said()
        return status != 0

    @contextmanager
    def query(self) -> Iterator[Callable[[str], Rows]]:
        with duckdb.connect(str(self.project / "warehouse.duckdb"), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'").fetchall()
            yield lambda sql: connection.execute(sql).fetchall()

    def rows(self, sql: str) -> Rows:
        with self.query() as query:
            return query(sql)

    def tables(self, *schemas: str) -> dict[str, Rows]:
        """Every table and view but dlt's own, as sorted rows without what depends on the clock."""
        columns: dict[str, list[str]] = {}
        for schema, table, column in self.rows(
            "select table_schema, table_name, column_name from information_schema.columns "
            "where table_schema like 'product%' order by all"
        ):
            if table not in OF_THE_RUN and not table.startswith("_dlt") and (not schemas or schema in schemas):
                chosen = columns.setdefault(f"{schema}.{table}", [])
                chosen += (
                    [f'"{column}"']
                    if column not in BY_CLOCK or (table, column) == ("raw_events", "updated_time")
                    else []
                )
        with self.query() as query:
            return {
                name: sorted(query(f"select {', '.join(of)} from {name}"), key=repr) for name, of in columns.items()
            }

    def versions(self) -> dict[str, tuple[Any, Any]]:
        """By event_id what a reader sees of a row, and its updated_time."""
        return {
            row[0]: (row[2:], row[1])
            for row in self.rows(
                "select event_id, updated_time, event_time, processed_time, device_id, session_id, view_id, "
                "event_type, event_properties, source_type, source_properties from product.events"
            )
        }


def assert_same(found: dict[str, Rows], expected: dict[str, Rows]) -> None:
    assert sorted(found) == sorted(expected)
    for name, rows in expected.items():
        if found[name] != rows:
            missing, extra = ([row for row in a if row not in b] for a, b in ((rows, found[name]), (found[name], rows)))
            pytest.fail(
                f"{name}: {len(found[name])} rows, not {len(rows)}; missing {missing[:3]}, too many {extra[:3]}"
            )


def assert_whole(tables: dict[str, Rows]) -> None:
    """A comparison of empty tables would show nothing."""
    assert not [name for name in NEVER_EMPTY if not tables[name]]
    assert not [name for name in QUEUE if tables[f"product.{name}"]]


def assert_cursor(before: dict[str, tuple[Any, Any]], after: dict[str, tuple[Any, Any]]) -> None:
    """updated_time stands still where a reader sees no change, and moves where one does."""
    assert before.keys() <= after.keys()
    kept = [key for key in before if after[key][0] == before[key][0]]
    assert 0 < len(kept) < len(before)
    for key in before:
        assert after[key][1] == before[key][1] if after[key][0] == before[key][0] else after[key][1] > before[key][1], (
            key
        )


@dataclass(frozen=True)
class History:
    """A feed that went on after its first hours were merged, and what an undisturbed sync makes of it."""

    feed: Path
    before: Warehouse
    versions: dict[str, tuple[Any, Any]]
    queue: dict[str, Rows]
    tables: dict[str, Rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kill")


@pytest.fixture(scope="module")
def history(folder: Path) -> History:
    feed, before = folder / "feed", Warehouse.new(folder / "before")
    write_feed(feed, 3, 200, SEED)
    before.sync(feed)
    write_feed(feed, 5, 200, SEED)
    damaged = feed / "events" / "ingested_time=2026-03-02 04:00:00" / "damaged.ndjson"
    damaged.write_bytes(ndjson(event("good")) + b'{"event_id": "cut o\n')
    undisturbed = before.copy("undisturbed")
    undisturbed.sync(feed, "--no-build")
    queue = undisturbed.tables("product")
    assert all(queue[f"product.{name}"] for name in QUEUE)
    undisturbed.sync(feed)
    tables = undisturbed.tables()
    assert_whole(tables)
    assert_cursor(before.versions(), undisturbed.versions())
    return History(feed, before, before.versions(), queue, tables)


COMMITTED = "_dlt_load_id in (select load_id from product._dlt_loads)"
BATCH = "product.batch_loads as b inner join product.loaded_files as f on b.load_id = f._dlt_load_id"
NEW_FILES = f"product.loaded_files where not {COMMITTED}"
UNMERGED = "product.loaded_files where not is_merged"
LEFT = {
    "only the events are loaded": f"from product.raw_events where not {COMMITTED} and not exists (from {NEW_FILES})",
    "all but the events are loaded": f"from {NEW_FILES} and not exists (from product.raw_events)",
    "all data is loaded, without the marker": f"from {NEW_FILES} and exists (from product.raw_events)",
    "the marker is set": f"from {UNMERGED} and {COMMITTED}",
    "batch_loads is built": f"from {BATCH} having bool_and(not f.is_merged)",
    "event_batch is built": "from product.event_batch having max(processed_time) > '2026-03-02 04:00+00'",
    "merged into events, uncommitted": "from product.events having max(processed_time) < '2026-03-02 03:00+00'",
    "merged into events": "from product.events having max(processed_time) > '2026-03-02 04:00+00'",
    "merged into int_sessions, uncommitted": "from product.int_sessions having max(end_time) < '2026-03-02 03:00+00'",
    "the stale sessions are deleted": "from product.int_sessions having max(end_time) > '2026-03-02 04:00+00'",
    "before the purge's mark": f"from {UNMERGED}",
    "between the purge's mark and its delete": f"from product.raw_events where not exists (from {UNMERGED})",
    "the events are purged": "from product.raw_definitions where not exists (from product.raw_events)",
    "after the purge": "where not exists (from product.raw_definitions) and not exists (from product.raw_events)",
}
"""What a kill leaves: a query that has rows if it fell where its name says."""


BUILT = {"only the events are loaded", "the marker is set", killer.CLEANING}
"""Where a kill of the load is followed by a build; after the others the queue alone is compared."""
SOAKED = {
    "event_batch is built",
    "the events are purged",
    "batch_loads is built",
    "merged into events, uncommitted",
    "merged into int_sessions, uncommitted",
    "before the purge's mark",
}
"""What the points beside them leave, too: the same tables are built, or a transaction is gone as a whole."""


@dataclass(frozen=True)
class Outcome:
    """What there is after a kill, and after the ways to go on."""

    left: Rows | None
    queues: list[dict[str, Rows]]
    tables: list[dict[str, Rows]]
    versions: list[dict[str, tuple[Any, Any]]]


def kill_and_go_on(history: History, point: str) -> Outcome:
    """Kill a sync, and go on with the working folder as it is, or with none.

    Where the load was killed, it is the queue that must be whole both ways; what is built of it is compared for some.
    """
    feed, name = history.feed, re.sub(r"\W+", "_", point)
    is_load = point not in killer.BUILD_POINTS
    kept = history.before.copy(name)
    if point == killer.CLEANING:
        kept.kill_at("all data is loaded, without the marker", feed, "--no-build")
    kept.kill_at(point, feed, *["--no-build"] * is_load)
    left = kept.rows(f"select 1 {LEFT[point]}") if point in LEFT else None
    wiped = kept.copy(f"{name}_wiped")
    wiped.wipe()
    queues, tables, versions = [], [], []
    ways = [kept, wiped]
    if not (is_load or SOAK):
        ways = ways[list(killer.BUILD_POINTS).index(point) % 2 :][:1]
    for warehouse in ways:
        if is_load:
            warehouse.sync(feed, "--no-build")
            queues.append(warehouse.tables("product"))
        if not is_load or (warehouse is kept and (SOAK or point in BUILT)):
            warehouse.sync(feed)
            tables.append(warehouse.tables())
            versions.append(warehouse.versions())
        shutil.rmtree(warehouse.project)
    return Outcome(left, queues, tables, versions)


@dataclass
class Torment:
    """A warehouse whose syncs are killed at random times."""

    warehouse: Warehouse
    chance: random.Random
    seconds: dict[tuple[str, ...], float]
    """How long a sync with these options takes."""
    kills: int = 0
    tries: int = 0

    def kill(self, feed: Path) -> None:
        options = () if self.chance.random() < 0.2 else ("--no-build",)
        if self.chance.random() < 0.5:
            shutil.rmtree(self.warehouse.project / ".headrace", ignore_errors=True)
        self.tries += 1
        self.kills += self.warehouse.kill_after(self.chance.random() * self.seconds[options], feed, *options)

    def go_on(self, feed: Path, *options: str) -> None:
        self.seconds[options] = self.warehouse.sync(feed, *options)


def kill_at_random(history: History) -> tuple[Torment, Warehouse]:
    """Load a feed hour by hour into two warehouses, one of them under kills."""
    feed = history.feed.parent / "long_feed"
    empty = Warehouse.new(feed.parent / "empty")
    shutil.copytree(history.before.project / "target", empty.project / "target")
    undisturbed, killed = empty.copy("long_undisturbed"), empty.copy("long_killed")
    torment = Torment(killed, random.Random(SEED), {(): 6.0, ("--no-build",): 1.5})
    for hour in range(1, HOURS + 1):
        write_feed(feed, hour, 100, SEED)
        while torment.kills < KILLS * hour // HOURS and torment.tries < 5 * KILLS:
            torment.kill(feed)
        # Each hour is loaded in the end, or the version of a file that is re-created later would be unknown to one.
        torment.go_on(feed, *([] if hour % (HOURS // 2) == 0 else ["--no-build"]))
        undisturbed.sync(feed, *([] if hour == HOURS else ["--no-build"]))
    return torment, undisturbed


@pytest.fixture(scope="module")
def jobs(request: pytest.FixtureRequest, history: History) -> Iterator[dict[str, Future[Any]]]:
    """What the tests that are asked for have to run, two processes at a time."""
    items = [item for item in request.session.items if item.path == request.path]
    points = [item.callspec.params["point"] for item in items if hasattr(item, "callspec")]
    with ThreadPoolExecutor(2) as pool:
        jobs: dict[str, Future[Any]] = {}
        if any(item.name == "test_random_kills" for item in items):
            jobs["random"] = pool.submit(kill_at_random, history)
        jobs |= {point: pool.submit(kill_and_go_on, history, point) for point in points}
        yield jobs
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=[pytest.mark.soak] * (point in SOAKED)) for point in killer.points("duckdb")]
)
def test_killed_at(point: str, history: History, jobs: dict[str, Future[Outcome]]) -> None:
    outcome = jobs[point].result()
    assert outcome.left is None or outcome.left, "the kill left something else than its point says"
    for queue in outcome.queues:
        assert_same(queue, history.queue)
    assert outcome.tables or (outcome.queues and point not in BUILT)
    for tables, versions in zip(outcome.tables, outcome.versions, strict=True):
        assert_same(tables, history.tables)
        assert_cursor(history.versions, versions)


def test_random_kills(jobs: dict[str, Future[tuple[Torment, Warehouse]]]) -> None:
    torment, undisturbed = jobs["random"].result()
    assert torment.kills == KILLS, f"{torment.tries} tries"
    expected, found = undisturbed.tables(), torment.warehouse.tables()
    # A version that only a build between has merged is known where there was such a build.
    for name in ("product.definition_versions", "product_marts.definition_versions"):
        assert not [row for row in expected.pop(name) if row not in found[name]]
        assert found.pop(name)
    assert_same(found, expected)
    assert_whole(expected | {"product.rejected_events": [()]})
    ((distinct, nulled),) = undisturbed.rows(
        "select count(*), count(*) filter (event_type is null) from product.events"
    )
    assert distinct > 20 * HOURS
    assert nulled > 0


def test_two_syncs_at_once(history: History, jobs: dict[str, Future[Any]]) -> None:
    for job in jobs.values():
        job.exception()
    warehouse = history.before.copy("two_at_once")
    processes = [warehouse.start("sync", history.feed) for _ in range(2)]
    assert sorted(process.end(300) for process in processes) == [0, 1]
    assert any("another sync to target 'duckdb' is under way" in process.said() for process in processes)
    assert_same(warehouse.tables(), history.tables)
    assert_cursor(history.versions, warehouse.versions())
