"""Any history of deliveries gives the tables of the oracle, however it is split into files, syncs and builds.

A build costs seconds, so histories are not built one by one: each has its own ids, files, pages and elements, and many
go through the same few syncs of one warehouse. HEADRACE_HISTORIES says how many, HEADRACE_SEED which.
"""

from __future__ import annotations

import gzip
import json
import os
import random
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import oracle
import pyarrow as pa
import pyarrow.parquet as pq
from conftest import AS_A_SYNC, HOUR, Warehouse, ndjson
from oracle import Row

HISTORIES = int(os.environ.get("HEADRACE_HISTORIES", "80"))
SEED = int(os.environ.get("HEADRACE_SEED", "1"))
ROUND = 250
STEPS = 4

Steps = list[dict[str, list[Row] | None]]
"""By sync: the content that each path is given, or None where the file is only touched."""

TIMES = [
    "2026-03-02T23:59:59.999999Z",
    "2026-03-03T00:00:00.000000Z",
    "2026-03-03T10:00:00.000001Z",
    "2025-11-20T05:00:00.000000Z",
    "1970-01-01T00:00:05.000000Z",
    "2037-05-05T05:05:05.000000Z",
    "2026-03-04T11:30:00.000000Z",
    None,
]
"""Among them two of wrong clocks, and one that is more than a day after one of the times of processing."""
TYPES = ["click", "navigate", "identify", "custom", "page_view"]
USERS = ["ann", "bob", "", " Undefined"]
UPDATED = [None, 1_772_413_200_000, 1_772_500_000_000, 1_772_600_000_000]
PROCESSED = ["2026-03-03T11:00:00.000000Z", "2026-03-05T12:00:00.000000Z"]
VERSIONS = [(updated, processed) for updated in UPDATED for processed in PROCESSED]
"""From the oldest to the newest; a row's version is its place here."""
PER_UPDATE = len(PROCESSED)
FIELDS = ("event_id", *oracle.IDENTIFIERS, *oracle.CONTENT, "processed_time", "updated_time")
INTEGERS = ("updated_time", "device_id", "session_id", "view_id")
SCHEMA = pa.schema([(name, pa.int64() if name in INTEGERS else pa.string()) for name in FIELDS])


def content(event: Row, version: int) -> Row:
    """What an event says in one version: the same whichever file brings it. The last version is of another type."""
    name, place = event["name"], event["place"]
    event_type = TYPES[(event["type"] + version // 7) % len(TYPES)]
    user = USERS[(ord(name) + version) % len(USERS)]
    said: dict[str, dict[str, Any]] = {
        "click": {"target": {"text": f"{place} {name}", "raw_selector": "button"}, "fs_rage_count": version % 2},
        "navigate": {"navigate_reason": "navigate"},
        "identify": {"user_id": user and f"{user} of {place}" if user in ("ann", "bob") else user},
        "custom": {"event_name": name},
        "page_view": {"page_name": f"{place} {name}"},
    }
    if version % 2:
        said["identify"]["user_email"] = f"{name}{version}@{place}"
    url = {"full_url": f"https://{place}/{name}?{version}", "host": place, "path": f"/{name}"}
    return {
        "event_type": event_type,
        "event_properties": json.dumps({**said[event_type], "version": version}),
        "source_properties": json.dumps({"url": url, "user_agent": {"browser": f"{name} {version}"}}),
    }


def time(event: Row, version: int) -> str | None:
    """When an event happened by one version: with each updated_time on a day of its own, for one that changes it."""
    if event["changes_day"] is None:
        return str(event["event_time"]) if event["event_time"] else None
    day = date(2001, 1, 1) + timedelta(days=event["changes_day"] + version // PER_UPDATE)
    return f"{day}T09:00:00.000000Z"


def moved(event: Row, version: int) -> Row:
    """Where an event belongs in one version: some move from view to view, session to session and device to device."""
    identifiers = {name: event[name] for name in oracle.IDENTIFIERS}
    if event["moves"]:
        identifiers["device_id"] += (version // 3) % 2
        identifiers["session_id"] = 7 + version % 3
        identifiers["view_id"] = 70 + version % 2
    return identifiers


def version_of(row: Row) -> int:
    return VERSIONS.index((row["updated_time"], row["processed_time"]))


class Story:
    """One history while it is made up: what each file has held, and what may come next by the contract's promises."""

    def __init__(self, chance: random.Random, number: int) -> None:
        self.chance = chance
        self.events = {
            f"h{number:04}-{name}": {
                "event_id": f"h{number:04}-{name}",
                "event_time": chance.choice(TIMES),
                "changes_day": 10 * (8 * number + place) if chance.random() < 0.2 else None,
                "device_id": 2**60 + 10 * number + chance.randint(0, 1),
                "session_id": chance.choice([7, 7, 8, None]),
                "view_id": chance.choice([70, None]),
                "source_type": chance.choice(["web", "mobile_app", "server"]),
                "moves": chance.choice([True, False, False]),
                "type": chance.randint(0, len(TYPES) - 1),
                "files": chance.choice(["a", "b", "c", "ab", "bc", "abc"]),
                "place": f"h{number:04}.example",
                "name": name,
            }
            for place, name in enumerate("abcdefgh"[: chance.randint(2, 8)])
        }
        self.paths = [f"events/{HOUR}/h{number:04}-{name}" for name in ("a.ndjson", "b.parquet", "c.ndjson.gz")]
        self.deliveries: list[tuple[str, list[Row]]] = []
        self.current: dict[str, list[Row]] = {}

    def row(self, event_id: str, least: int = 0) -> Row:
        """A row of an event: any version from `least` on, typed or null, a null one maybe with less than is known.

        What moves says so: each of its rows has an updated_time, without which it would be looked for on its day alone.
        """
        event = self.events[event_id]
        least = max(least, PER_UPDATE) if event["changes_day"] is not None else least
        version = self.chance.randint(least, len(VERSIONS) - 1)
        if known := sorted(v for v in self.versions(event_id) if v >= least):
            version = self.chance.choice([version, self.chance.choice(known)])
        updated, processed = VERSIONS[version]
        row = {"event_id": event_id, **moved(event, version), "event_time": time(event, version)}
        row |= {"updated_time": updated, "processed_time": processed}
        if self.chance.choice([True, True, True, False]):
            return row | content(event, version)
        # Of an event that moves, a null row says where to: which of the older versions would say it, is not defined.
        bare = [name for name in oracle.IDENTIFIERS if not event["moves"] and self.chance.random() < 0.5]
        return row | dict.fromkeys([*bare, *oracle.CONTENT])

    def versions(self, event_id: str) -> set[int]:
        return {version_of(row) for _, rows in self.deliveries for row in rows if row["event_id"] == event_id}

    def least(self, path: str, event_id: str) -> int:
        """The least version in which a file may bring an event that it does not hold.

        A file brings back what it had dropped with a newer updated_time, by the contract's promise. Where the only file
        of an event has dropped it, another brings it in no older version than was there: what is nulled has lost its
        content, so whether an older one would find it depended on when it was built.
        """
        before = [
            (where, version_of(row)) for where, rows in self.deliveries for row in rows if row["event_id"] == event_id
        ]
        if mine := [version for where, version in before if where == path]:
            return (max(mine) // PER_UPDATE + 1) * PER_UPDATE
        files = {where for where, _ in before}
        if len(files) == 1 and event_id not in ids(self.current[files.pop()]):
            return max(version for _, version in before)
        return 0

    def fresh(self, path: str) -> list[Row]:
        """New rows for a file, of events that it does not hold."""
        held = ids(self.current.get(path, []))
        rows = []
        for event_id in sorted(self.events.keys() - held):
            least = self.least(path, event_id)
            may = least < len(VERSIONS) and path.split("-")[-1][0] in self.events[event_id]["files"]
            if may and self.chance.choice([True, True, False]):
                rows += [self.row(event_id, least) for _ in range(self.chance.choice([1, 1, 2]))]
        return rows

    def again(self, path: str) -> list[Row]:
        """A file as it is re-created: rows stay, change to a newer version, or go; others come."""
        rows = []
        for row in self.current[path]:
            fate = self.chance.choice(["stays", "stays", "changes", "goes"])
            newer = self.least(path, row["event_id"])
            if fate == "stays":
                rows.append(row)
            elif fate == "changes" and newer < len(VERSIONS):
                rows.append(self.row(row["event_id"], newer))
        return rows + self.fresh(path)

    def copy(self, path: str) -> list[Row]:
        """What another file holds or held, under this path, as far as `least` allows."""
        _, rows = self.chance.choice(self.deliveries)
        return [row for row in rows if version_of(row) >= self.least(path, row["event_id"])]

    def step(self) -> dict[str, list[Row] | None]:
        """What one sync finds changed."""
        found: dict[str, list[Row] | None] = {}
        for path in self.paths:
            if path not in self.current:
                ways = ["fresh", "fresh", "copy" if self.deliveries else "nothing", "nothing"]
            else:
                ways = ["again"] * 5 + ["touch", "touch", "empty", "nothing"]
            way = self.chance.choice(ways)
            if way in ("fresh", "again", "copy"):
                found[path] = getattr(self, way)(path)
            elif way != "nothing":
                found[path] = None if way == "touch" else []
        contents = {path: rows for path, rows in found.items() if rows is not None}
        self.current |= contents
        self.deliveries += contents.items()
        return found


def ids(rows: list[Row]) -> set[str]:
    return {row["event_id"] for row in rows}


def history(seed: int, number: int) -> Steps:
    story = Story(random.Random(f"{seed} {number}"), number)
    return [story.step() for _ in range(STEPS)]


def write(feed: Path, step: dict[str, list[Row] | None]) -> None:
    for name, rows in step.items():
        path = feed / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if rows is None:
            os.utime(path)
        elif name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
        else:
            text = ndjson(*rows) or b"\n"  # a file without a byte has not been written to its end, and drops nothing
            path.write_bytes(gzip.compress(text, mtime=0) if name.endswith(".gz") else text)


def built(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """The tables that the oracle knows, each row with its key first."""
    times = {
        name: f"strftime({name}, '%Y-%m-%dT%H:%M:%S.%fZ')"
        for name in ("event_time", "processed_time", "start_time", "end_time", "first_event_time", "last_event_time")
    }
    columns = ", ".join(times.get(name, name) for name in oracle.COLUMNS)
    session = f"{times['start_time']}, {times['end_time']}, total_events, total_page_views, last_browser"
    return {
        "events": warehouse.rows(f"select event_id, {columns} from {{p}}.events"),
        "sessions": warehouse.rows(f"select full_session_id, user_id, {session} from {{p}}_marts.sessions"),
        "totals": warehouse.rows(
            f"select user_id, total_sessions, total_events, {times['first_event_time']}, {times['last_event_time']} "
            "from {p}_marts.users"
        ),
        "page_views": warehouse.rows(
            "select event_id, full_session_id, user_id, view_number, page_id, next_page_id from {p}_marts.page_views"
        ),
        "users": warehouse.rows("select user_id, user_email from {p}_marts.identified_users"),
        "pages": warehouse.rows("select page_id, views from {p}_marts.pages where views > 0"),
        "elements": warehouse.rows("select text, clicks from {p}_marts.elements"),
    }


def page(row: Row) -> str:
    """A screen of an app that has no name, or host and path."""
    if row["source_type"] == "mobile_app" and row["event_type"] == "page_view":
        return "app:///" + str(json.loads(row["event_properties"])["page_name"])
    url = json.loads(row["source_properties"])["url"]
    return str(url["host"] + url["path"])


def totals(sessions: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Of each user: sessions, events, the first and the last of their times."""
    found = []
    for user in {session[0] for session in sessions}:
        starts, ends, events = zip(*(session[1:4] for session in sessions if session[0] == user), strict=True)
        first, last = min(filter(None, starts), default=None), max(filter(None, ends), default=None)
        found.append((user, len(events), sum(events), first, last))
    return found


def expected(steps: Steps, builds: list[bool]) -> dict[str, list[tuple[Any, ...]]]:
    """The same tables as the oracle has them, for one history."""
    merged: list[list[tuple[str, list[Row]]]] = [[]]
    for step, does_build in zip(steps, [*builds, True], strict=True):
        merged[-1] += [(path, rows) for path, rows in step.items() if rows is not None]
        merged += [[]] * does_build
    table = oracle.events(merged)
    sessions = oracle.sessions(table)
    views: list[tuple[Any, ...]] = []
    pages, elements = Counter[str](), Counter[str]()
    for full_id, live in oracle.live_sessions(table).items():
        seen = [(event_id, page(row)) for event_id, row in oracle.views_in_order(table, live)]
        following = [*(page_id for _, page_id in seen), None][1:]
        views += [
            (event_id, full_id, sessions[full_id][0], number, page_id, next_page)
            for number, ((event_id, page_id), next_page) in enumerate(zip(seen, following, strict=True), 1)
        ]
        pages.update(map(page, oracle.page_views(live)))
        clicks = [json.loads(row["event_properties"]) for row in live if row["event_type"] == "click"]
        elements.update(click["target"]["text"] for click in clicks)
    return {
        "events": [(key, *(row[column] for column in oracle.COLUMNS)) for key, row in table.items()],
        "sessions": [(key, *row) for key, row in sessions.items()],
        "totals": totals(list(sessions.values())),
        "page_views": views,
        "users": list(oracle.emails(table).items()),
        "pages": list(pages.items()),
        "elements": list(elements.items()),
    }


def told_row(row: Row) -> str:
    return " ".join(
        f"{name}={value}" for name, value in row.items() if value is not None and not name.endswith("properties")
    )


def differences(warehouse: Warehouse, histories: list[Steps], builds: list[bool]) -> list[tuple[int, str]]:
    """The histories that came out otherwise, each with its size and what to read."""
    read = built(warehouse)
    found = {name: {row[0]: row for row in rows} for name, rows in read.items()}
    wanted = [
        {name: {row[0]: row for row in rows} for name, rows in expected(steps, builds).items()} for steps in histories
    ]
    faults = [(0, f"{name}: a key stands twice") for name, rows in read.items() if len(rows) > len(found[name])]
    for steps, tables in zip(histories, wanted, strict=True):
        wrong = [
            f"{name}: {found[name].get(key)}\n   not {row}"
            for name, rows in tables.items()
            for key, row in rows.items()
            if found[name].get(key) != row
        ]
        if wrong:
            told = "\n".join(
                f"sync {number}: {path[-8:]}:{' touched' if rows is None else ''}"
                + "".join(f"\n   {told_row(row)}" for row in rows or [])
                for number, step in enumerate(steps, 1)
                for path, rows in step.items()
            )
            faults.append(
                (sum(len(rows or []) for step in steps for rows in step.values()), told + "\n" + "\n".join(wrong))
            )
    for name, rows in found.items():
        if extra := set(rows) - {key for tables in wanted for key in tables[name]}:
            faults.append((0, f"{name}: {sorted(extra)[:5]} should not be there"))
    return sorted(faults)


def whole(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """All of the tables and views that are made from events, but for the mark of the build that made them.

    Nor the values that definitions are matched with: until a full refresh they outlast the events that had them.
    """
    names = warehouse.rows(
        "select table_schema, table_name, string_agg('\"' || column_name || '\"', ', ' order by column_name) "
        "from information_schema.columns where column_name <> '_invocation_id' "
        "and (table_schema = '{p}_marts' or table_schema = '{p}' and starts_with(table_name, 'int_')) "
        "and table_name <> 'int_definition_values' group by 1, 2"
    )
    return {
        f"{schema}.{name}": warehouse.rows(f"select {columns} from {schema}.{name} order by all")
        for schema, name, columns in names
    }


def play(warehouse: Warehouse, feed: Path, histories: list[Steps], builds: list[bool]) -> None:
    for number, does_build in enumerate([*builds, True]):
        for steps in histories:
            write(feed, steps[number])
        warehouse.sync(feed, *([] if does_build else ["--no-build"]))


def test_any_history_gives_the_tables_of_the_oracle(tmp_path: Path) -> None:
    for first in range(0, HISTORIES, ROUND):
        histories = [history(SEED, number) for number in range(first, min(first + ROUND, HISTORIES))]
        chance = random.Random(SEED + first)
        builds = [chance.random() < 0.5 for _ in range(STEPS - 1)] if first else [False, True, False]
        folder = tmp_path / str(first)
        warehouse = Warehouse(folder)
        play(warehouse, folder / "feed", histories, builds)
        faults = differences(warehouse, histories, builds)
        assert not faults, (
            f"{len(faults)} of {len(histories)} histories (seed {SEED}, builds {builds}); the smallest:\n{faults[0][1]}"
        )
        incremental = whole(warehouse)
        warehouse.dbt("run", "--quiet", "--full-refresh", *AS_A_SYNC)
        rebuilt = whole(warehouse)
        assert incremental.keys() == rebuilt.keys()
        assert {
            name: sorted(set(rows) ^ set(rebuilt[name]), key=str)[:4]
            for name, rows in incremental.items()
            if rows != rebuilt[name]
        } == {}
