"""The state of a target as Prometheus reads it, in its text exposition format."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from .status import Status

Samples = list[tuple[dict[str, str], float | None]]


def text(now: Status) -> str:
    """All gauges of a target. What is not known has no line, such as the newest hour where nothing is published.

    Times are given as such, and not as ages: an age in a file that nobody writes any more would stand still.
    """
    lines = []
    for name, words, samples in _gauges(now):
        known = [(labels, value) for labels, value in samples if value is not None]
        if known:
            lines += [f"# HELP headrace_{name} {words}", f"# TYPE headrace_{name} gauge"]
        for labels, value in known:
            said = ",".join(f'{label}="{_escaped(one)}"' for label, one in {"target": now.target, **labels}.items())
            lines.append(f"headrace_{name}{{{said}}} {value:.15g}")
    return "\n".join([*lines, ""])


def _gauges(now: Status) -> Iterator[tuple[str, str, Samples]]:
    """Name, meaning and samples of each."""

    def one(value: float | None) -> Samples:
        return [({}, value)]

    yield "published_hour_timestamp_seconds", "The newest hour that is published.", one(_seconds(now.newest_hour))
    yield (
        "published_event_timestamp_seconds",
        "When the newest published event happened.",
        one(_seconds(now.newest_event)),
    )
    yield "loaded_timestamp_seconds", "When the newest complete load ended.", one(_seconds(now.newest_load))
    yield "queue_loads", "Loads that wait for a green build.", one(now.queued_loads)
    yield "queue_rows", "Rows of these loads.", one(now.queued_rows)
    yield "queue_since_timestamp_seconds", "When the oldest of these loads ended.", one(_seconds(now.queued_since))
    yield (
        "failing_builds",
        "Builds that failed since the last green one.",
        one(now.failing.builds if now.failing else 0),
    )
    since = _seconds(now.failing.since) if now.failing else None
    yield "failing_since_timestamp_seconds", "When the first of these builds began.", one(since)
    yield "lost_relations", "What was published, and is gone or can't be read.", one(len(now.lost))
    rejected: Samples = [({"reason": found.reason}, found.rows) for found in now.rejected]
    yield "rejected_rows", "Rows that could not be loaded.", rejected
    states = {**now.files, "unread": len(now.unread)}
    yield "files", "Files in the ledger.", [({"state": state}, count) for state, count in states.items()]
    yield "wrong_clock_events", "Events whose clock was wrong.", one(now.wrong_clocks)
    rows, usual = (now.volume.rows, now.volume.usual_rows) if now.volume else (None, None)
    yield "hour_rows", "Rows that the files of the newest published hour delivered.", one(rows)
    words = "Their median in the same hour of the four weeks before."
    yield "hour_usual_rows", words, one(usual)
    yield (
        "feed_readable",
        "Whether the feed can be listed.",
        [({"feed": feed.feed}, not feed.problem) for feed in now.feeds],
    )
    words = "How much newer the newest waiting hour is than the newest that was loaded."
    yield "feed_lag_seconds", words, [({"feed": feed.feed}, feed.lag_seconds) for feed in now.feeds]
    words = "New or re-created files that no sync has loaded."
    yield "feed_waiting_files", words, [({"feed": feed.feed}, feed.waiting_files) for feed in now.feeds]
    synced: Samples = [({"feed": feed.feed}, _seconds(feed.last_sync)) for feed in now.feeds]
    yield "feed_synced_timestamp_seconds", "When the last sync of the feed began.", synced


def _seconds(at: datetime | None) -> float | None:
    return at.timestamp() if at else None


def _escaped(label: str) -> str:
    """A label's value; what is no printable character is shown by its number, as it may be what a visitor typed."""
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in label)
    return shown.replace("\\", "\\\\").replace('"', '\\"')
