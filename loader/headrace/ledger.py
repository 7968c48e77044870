"""The ledger: what was loaded of a feed and what is new; what a load that never completed left is deleted.

The truth is in the destination: a load counts when `_dlt_loads` has it with status 0.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dlt
import pyarrow as pa

from .errors import HeadraceError, UsageError
from .feed import Feed, FeedFile, shown
from .idle import Listing
from .pipeline import query
from .rows import RAW_DEFINITIONS, RAW_EVENTS, REJECTED_EVENTS, TIME

LOADED_FILES = pa.schema(
    [
        ("path", pa.string()),
        ("kind", pa.string()),
        ("ingested_time", TIME),
        ("size", pa.int64()),
        ("version", pa.string()),
        ("content_hash", pa.string()),
        ("row_count", pa.int64()),
        ("rejected", pa.int64()),
        ("first_event_time", TIME),
        ("last_event_time", TIME),
        ("newest_event_time", TIME),
        ("wrong_clock", pa.int64()),
        ("is_recreated", pa.bool_()),
        ("is_merged", pa.bool_()),
        ("is_export", pa.bool_()),
        ("_dlt_load_id", pa.string()),
    ]
)

SYNCS = pa.schema(
    [
        ("feed", pa.string()),
        ("started_time", TIME),
        ("listed_since", TIME),
        ("listed_files", pa.int64()),
        ("_dlt_load_id", pa.string()),
    ]
)

STAGING = {
    "raw_events": RAW_EVENTS,
    "raw_definitions": RAW_DEFINITIONS,
    "rejected_events": REJECTED_EVENTS,
    "loaded_files": LOADED_FILES,
    "syncs": SYNCS,
}

COMPLETE = "(select load_id from _dlt_loads where status = 0)"
"""The loads that count."""

QUEUED = f"(select * from loaded_files where not is_merged and _dlt_load_id in {COMPLETE}) as queued"
"""The files that no green build has merged yet."""

LOOK_BACK = timedelta(days=2)
"""How far back a load looks for new and re-created files before the newest hour that it knows."""

HOURS_SINCE = datetime(1970, 1, 1, tzinfo=UTC)
"""Hours before are not the newest of any feed."""

UNREAD = "unread"
"""The kind, in the ledger, of a file that is not read; it is there so that it is told once, and counted by status."""


@dataclass(frozen=True)
class Known:
    """What the ledger says of a file."""

    kind: str
    size: int
    version: str
    content_hash: str | None
    """Of what was last read of it."""
    load_id: str

    @property
    def is_read(self) -> bool:
        """Whether its rows were loaded."""
        return self.kind != UNREAD

    def differs(self, file: FeedFile) -> bool:
        """Whether the file may have another content by now."""
        return (self.size, self.version) != (file.size, file.version)


@dataclass(frozen=True)
class Plan:
    """What a load would do."""

    files: list[FeedFile]
    """New ones and those that seem to be re-created, in the order in which they are loaded."""
    unchanged: list[FeedFile]
    unread: list[FeedFile]
    """Those that are not read, whether that is new or not."""
    known: dict[str, Known]
    since: datetime | None
    """The earliest hour that was looked at; None when everything was."""
    listing: Listing

    @property
    def listed(self) -> int:
        """How many files were looked at."""
        return len(self.files) + len(self.unchanged)

    @property
    def newly_unread(self) -> list[FeedFile]:
        """Those of the files that are not read of which nobody has been told."""
        return [file for file in self.unread if is_news(file.path, self.known)]


def is_news(path: str, known: dict[str, Known]) -> bool:
    """Whether nobody has been told that a file is not read."""
    return path not in known or known[path].is_read


@dataclass(frozen=True)
class Span:
    """Which hours of a feed to look at."""

    since: datetime | None = None
    until: datetime | None = None
    everything: bool = False


NEWEST = Span()


def plan_of(pipeline: dlt.Pipeline, feed: Feed, span: Span) -> Plan:
    """Compare the feed with the ledger. Raises UsageError when there is no such feed."""
    first, roots = _first_day(pipeline, feed, span)
    skipped = {name for (name,) in query(pipeline, "select name from skipped")}
    listed = feed.files(first, roots)
    files = [
        file
        for file in listed
        if file.path not in skipped
        and not (file.hour and span.since and file.hour < span.since)
        and not (file.hour and span.until and file.hour > span.until)
    ]
    known = read(pipeline, files)
    plan = Plan([], [], [], known, _midnight(first) if first else None, Listing.of(listed, first, roots))
    for file in files:
        before = known.get(file.path)
        if file.problem:
            plan.unread.append(file)
        elif before is None or before.differs(file) or (file.suffix and not before.is_read):
            plan.files.append(file)
        else:
            (plan.unchanged if before.is_read else plan.unread).append(file)
    return plan


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _first_day(pipeline: dlt.Pipeline, feed: Feed, span: Span) -> tuple[date | None, set[str]]:
    """The day from which on to list, None for all, and the folders in which the ledger has seen hours of this feed.

    An hour that is still to come does not say how far the feed is: one folder of the year 9999 would hide the others.
    """
    if span.everything:
        return None, set()
    in_feed, prefix = _in_feed(feed)
    newest = query(
        pipeline,
        f"select max(ingested_time) from loaded_files where _dlt_load_id in {COMPLETE} and {in_feed} "
        "and ingested_time between %s and %s",
        *prefix,
        HOURS_SINCE,
        datetime.now(UTC) + timedelta(days=1),
    )
    if not newest or newest[0][0] is None:
        return None, set()
    at = newest[0][0].astimezone(UTC)
    paths = query(
        pipeline,
        f"select distinct path from loaded_files where ingested_time >= %s and {in_feed}",
        at - LOOK_BACK,
        *prefix,
    )
    roots = {root for (path,) in paths if (root := feed.root_of(path))}
    return (span.since or min(at, datetime.now(UTC)) - LOOK_BACK).date(), roots


def _in_feed(feed: Feed) -> tuple[str, tuple[str, str]]:
    """A condition that a file is one of a feed, and its parameters: not by `like`, to which `_` is any letter."""
    below = feed.prefix.rstrip("/") + "/"
    return f"(path = %s or left(path, {len(below)}) = %s)", (feed.prefix, below)


def forget_unread(pipeline: dlt.Pipeline, feed: Feed, plan: Plan) -> None:
    """Delete from the ledger what was not read and is there no more, or is read by now."""
    in_feed, prefix = _in_feed(feed)
    unread = query(pipeline, f"select path from loaded_files where kind = '{UNREAD}' and {in_feed}", *prefix)
    for path in {path for (path,) in unread} - {file.path for file in [*plan.files, *plan.unread]}:
        query(pipeline, f"delete from loaded_files where kind = '{UNREAD}' and path = %s", path)


def forget(pipeline: dlt.Pipeline, address: str) -> None:
    """Let status ask no more for a feed. What was loaded of it stays, and so does the ledger.

    Raises:
        UsageError: no such feed was ever synced.
    """
    names = {address, shown(address)}
    with suppress(HeadraceError):  # it may be gone
        names.add(Feed.at(address).prefix)
    feeds = {name for (name,) in query(pipeline, "select distinct feed from syncs")}
    found = {name for name in feeds if name in names or shown(name) in names}
    if not found:
        known = ", ".join(sorted(map(shown, feeds))) or "none"
        raise UsageError(f"{shown(address)}: no such feed was synced to this target; it knows: {known}")
    for name in found:
        query(pipeline, "delete from syncs where feed = %s", name)


def discard_unfinished(pipeline: dlt.Pipeline) -> None:
    """Delete rows of loads that never completed: what a kill between the data and the marker leaves."""
    for table in STAGING:
        query(pipeline, f"delete from {table} where _dlt_load_id not in {COMPLETE}")


def read(pipeline: dlt.Pipeline, files: list[FeedFile]) -> dict[str, Known]:
    """What was loaded of these files last, by path."""
    hours = [file.hour for file in files if file.hour]
    since = "or ingested_time >= %s" if hours else ""
    found = query(
        pipeline,
        "select path, kind, size, version, content_hash, _dlt_load_id from loaded_files "
        f"where (ingested_time is null {since}) and _dlt_load_id in {COMPLETE} "
        "order by _dlt_load_id",
        *([min(hours)] if hours else []),
    )
    return {path: Known(*known) for path, *known in found}
