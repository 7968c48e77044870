"""What the tables must be, in plain Python from the contract's rules: and no order but that of a file's versions.

And one more: event_time is immutable, so that of versions which say several the one stands that was merged first.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

Row = dict[str, Any]

IDENTIFIERS = ("event_time", "device_id", "session_id", "view_id", "source_type")
CONTENT = ("event_type", "event_properties", "source_properties")
MIN_TIME = datetime(2000, 1, 1, tzinfo=UTC)
NOBODY = {"", "undefined", "null", "none", "[object object]", "anonymous"}
"""Of the ids that mean nobody, those that tests use."""
COLUMNS = (*IDENTIFIERS, *CONTENT, "processed_time")


def events(builds: Iterable[Iterable[tuple[str, list[Row]]]]) -> dict[str, Row]:
    """The table `events` by event_id, after each build merged these file versions (path, rows) in this order."""
    holds: dict[str, set[str]] = {}
    delivered: dict[str, list[Row]] = defaultdict(list)
    files: dict[str, set[str]] = defaultdict(set)
    times: dict[str, str] = {}
    for deliveries in builds:
        batch: list[Row] = []
        for path, rows in deliveries:
            holds[path] = {row["event_id"] for row in rows}
            batch += rows
            for row in rows:
                delivered[row["event_id"]].append(row)
                files[row["event_id"]].add(path)
        for row in sorted(batch, key=_version):
            if row["event_time"]:
                times.setdefault(row["event_id"], row["event_time"])
    merged = {}
    for event_id, rows in delivered.items():
        only, *others = files[event_id]
        merged[event_id] = _merged(rows, is_dropped=not others and event_id not in holds[only])
        merged[event_id]["event_time"] = times.get(event_id)
    return merged


def _merged(versions: list[Row], is_dropped: bool) -> Row:
    latest = max(versions, key=_version)
    known = [latest, *versions]
    merged = {column: next((row[column] for row in known if row[column] is not None), None) for column in IDENTIFIERS}
    merged["processed_time"] = latest["processed_time"]
    is_null = is_dropped or latest["event_type"] is None
    merged |= {column: None if is_null else latest[column] for column in CONTENT}
    return merged


def _version(row: Row) -> tuple[int, str, bool]:
    """Rule 2, and null before a type where the version is the same."""
    updated = -1 if row["updated_time"] is None else row["updated_time"]
    return updated, row["processed_time"], row["event_type"] is None


def live_sessions(table: dict[str, Row]) -> dict[str, list[Row]]:
    """The live events of each session, under `<device_id>:<session_id>`."""
    sessions = defaultdict(list)
    for row in table.values():
        if None not in (row["event_type"], row["device_id"], row["session_id"]):
            sessions[f"{row['device_id']}:{row['session_id']}"].append(row)
    return sessions


def page_views(live: list[Row]) -> list[Row]:
    """The page views among a session's live events: a view's page_view events, or its navigates if it has none."""
    tells = {row["view_id"] for row in live if row["event_type"] == "page_view"}
    return [
        row
        for row in live
        if row["event_type"] == "page_view" or (row["event_type"] == "navigate" and row["view_id"] not in tells)
    ]


def views_in_order(table: dict[str, Row], live: list[Row]) -> list[tuple[str, Row]]:
    """The page views of a session with their event_id, as they began: one without a time, when it was processed."""
    ids = {id(row): event_id for event_id, row in table.items()}
    views = [(ids[id(row)], row) for row in page_views(live)]
    return sorted(
        views,
        key=lambda view: (
            believed(view[1]) or view[1]["processed_time"],
            not believed(view[1]),
            view[1]["processed_time"],
            view[0],
        ),
    )


def believed(row: Row) -> str:
    """The time that the marts go by (rule 11), as text that sorts; what has no time comes first."""
    if row["event_time"] is None:
        return ""
    happened, processed = (
        datetime.fromisoformat(row[name][:-1] + "+00:00") for name in ("event_time", "processed_time")
    )
    is_wrong = happened > processed + timedelta(days=1) or happened < MIN_TIME
    return row["processed_time"] if is_wrong else row["event_time"]


def in_order(table: dict[str, Row], rows: Iterable[Row]) -> list[Row]:
    """Rows of the table from the first that happened to the last."""
    ids = {id(row): event_id for event_id, row in table.items()}
    return sorted(rows, key=lambda row: (believed(row), row["processed_time"], ids[id(row)]))


def identifies(table: dict[str, Row]) -> list[tuple[str, Row, dict[str, Any]]]:
    """The identify events that name somebody, in order: whom, the row, and all that it told."""
    rows = in_order(table, (row for row in table.values() if row["event_type"] == "identify"))
    told = [(row, json.loads(row["event_properties"])) for row in rows]
    named = [(said.get("user_id"), row, said) for row, said in told]
    return [(user, row, said) for user, row, said in named if user and user.strip().lower() not in NOBODY]


def emails(table: dict[str, Row]) -> dict[str, str | None]:
    """By user the last e-mail address that was told."""
    found: dict[str, str | None] = {}
    for user, _, said in identifies(table):
        found[user] = said.get("user_email") or found.get(user)
    return found


def owner(table: dict[str, Row], live: list[Row]) -> str:
    """Whom a session belongs to (rule 8)."""
    device_id, session_id = live[0]["device_id"], live[0]["session_id"]
    ended = max(believed(row) for row in live)
    named = [(user, row) for user, row, _ in identifies(table) if row["device_id"] == device_id]
    of_itself = [user for user, row in named if row["session_id"] == session_id]
    before = [user for user, row in named if believed(row) <= ended]
    return (of_itself or before or [user for user, _ in named[:1]] or [f"anon_{device_id}"])[-1]


def sessions(table: dict[str, Row]) -> dict[str, tuple[Any, ...]]:
    """(user_id, start_time, end_time, total_events, total_page_views, last_browser) of each session."""
    found = {}
    for full_id, live in live_sessions(table).items():
        times = [believed(row) for row in live if row["event_time"]]
        last = in_order(table, [row for row in live if row["source_type"] != "server"] or live)[-1]
        browser = json.loads(last["source_properties"]).get("user_agent", {}).get("browser")
        first, last_time = min(times, default=None), max(times, default=None)
        found[full_id] = (owner(table, live), first, last_time, len(live), len(page_views(live)), browser)
    return found
