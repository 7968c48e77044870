"""What the tables must be, in plain Python from the contract's rules: and no order but that of a file's versions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]

IMMUTABLE = ("event_time", "device_id", "session_id", "view_id", "source_type")
CONTENT = ("event_type", "event_properties", "source_properties")
COLUMNS = (*IMMUTABLE, *CONTENT, "processed_time")


def events(deliveries: Iterable[tuple[str, list[Row]]]) -> dict[str, Row]:
    """The table `events` by event_id, after these file versions (path, rows) were delivered in this order."""
    holds: dict[str, set[str]] = {}
    delivered: dict[str, list[Row]] = defaultdict(list)
    files: dict[str, set[str]] = defaultdict(set)
    for path, rows in deliveries:
        holds[path] = {row["event_id"] for row in rows}
        for row in rows:
            delivered[row["event_id"]].append(row)
            files[row["event_id"]].add(path)
    merged = {}
    for event_id, rows in delivered.items():
        only, *others = files[event_id]
        merged[event_id] = _merged(rows, is_dropped=not others and event_id not in holds[only])
    return merged


def _merged(versions: list[Row], is_dropped: bool) -> Row:
    latest = max(versions, key=_version)
    merged = {column: next((row[column] for row in versions if row[column] is not None), None) for column in IMMUTABLE}
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


def users(table: dict[str, Row]) -> dict[int, str]:
    """Who each device belongs to: the user of its last identify that names one (rule 8)."""
    identifies = [
        (row["event_time"] or "", row["processed_time"], event_id, row["device_id"], said["user_id"])
        for event_id, row in table.items()
        if row["event_type"] == "identify" and (said := json.loads(row["event_properties"])).get("user_id")
    ]
    return {device_id: user_id for *_, device_id, user_id in sorted(identifies)}


def sessions(table: dict[str, Row]) -> dict[str, tuple[Any, ...]]:
    """(user_id, start_time, end_time, total_events, total_page_views) of each session."""
    user_of = users(table)
    found = {}
    for full_id, live in live_sessions(table).items():
        times = [row["event_time"] for row in live if row["event_time"]]
        user_id = user_of.get(live[0]["device_id"], f"anon_{live[0]['device_id']}")
        views = sum(row["event_type"] == "navigate" for row in live)
        found[full_id] = (user_id, min(times, default=None), max(times, default=None), len(live), views)
    return found
