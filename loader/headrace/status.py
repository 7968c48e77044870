"""What a person who was paged wants to know first: what is published, what waits, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import dlt
from dlt.common.destination.exceptions import DestinationException

from . import views
from .errors import HeadraceError
from .feed import Feed, shown
from .ledger import COMPLETE, NEWEST, QUEUED, UNREAD, plan_of
from .pipeline import connected, query
from .redo import Request, waiting
from .skip import Skipped, skipped
from .target import Target, var_of

EVENTS = "events"

AHEAD = timedelta(days=1)
"""What lies further ahead does not tell how new a feed is: an hour of the year 9999 would hide that it stands still."""


@dataclass(frozen=True)
class FeedStatus:
    """One feed that was synced to the target."""

    feed: str
    last_sync: datetime
    last_full_listing: datetime | None
    """When all of the feed was last looked at, and not the newest days only."""
    newest_hour: datetime | None
    """The newest hour that the feed holds; None when it can't be listed, or has no hours."""
    waiting_files: int | None
    """New or re-created files in the feed; None when it can't be listed."""
    lag_seconds: float | None
    """How much newer the newest waiting hour is than the newest that was loaded; 0 when nothing waits."""
    problem: str | None


@dataclass(frozen=True)
class Rejections:
    """Rows that could not be loaded for one reason, with one of them."""

    reason: str
    rows: int
    file: str
    position: int | None

    @property
    def place(self) -> str:
        """Where that one is."""
        return self.file if self.position is None else f"{self.file}:{self.position}"


@dataclass(frozen=True)
class Failing:
    """Builds that fail."""

    since: datetime
    """When the first of them began."""
    builds: int
    message: str
    """What the last one said."""


@dataclass(frozen=True)
class Volume:
    """What the files of one hour delivered, by the ledger."""

    rows: int
    usual_rows: float | None
    """The median of the same hour of the same weekday in the four weeks before, of those that have files."""


@dataclass(frozen=True)
class Status:
    """The state of one target."""

    target: str
    newest_hour: datetime | None
    """The newest hour of a feed that a green build has merged."""
    newest_event: datetime | None
    """When the newest event that a green build has merged happened; by processed_time where its clock is wrong."""
    failing: Failing | None
    """None when the last build was green, or when another one has merged since what it left."""
    newest_load: datetime | None
    """When the newest complete load ended."""
    queued_loads: int
    """Loads that no build has merged yet."""
    queued_rows: int
    queued_since: datetime | None
    """When the oldest of these loads ended."""
    files: dict[str, int]
    """Files in the ledger by state: merged, queued, empty (nothing could be loaded)."""
    feeds: list[FeedStatus]
    rejected: list[Rejections]
    export_until: datetime | None
    """What to set the var to: exports and a raw feed hold events of the same time, and no cut says which counts."""
    unread: list[str]
    """Files that are not read, from their names or what they are."""
    wrong_clocks: int
    """Events whose clock was wrong when they were loaded: more than a day ahead of processed_time, or before 2000."""
    skipped: list[Skipped]
    redo: list[Request]
    """Days that wait to be done again."""
    volume: Volume | None = None
    """Of the newest published hour."""
    lost: list[str] = field(default_factory=list)
    """What a green build has published, and can't be read now; events also when it is empty."""

    def problems(self, max_age: timedelta) -> Iterator[str]:
        """Why what is published is older than that, or will be; nothing when all is well."""
        oldest = datetime.now(UTC) - max_age
        if self.failing:
            yield f"builds fail since {_utc(self.failing.since)}: {self.failing.message}"
        if self.queued_since and self.queued_since < oldest:
            yield f"loads wait for a green build since {_utc(self.queued_since)}"
        if EVENTS in self.lost:
            yield "events is gone or empty: `headrace backfill FEED --since HOUR` brings back what its files hold"
        elif self.lost:
            yield (
                f"{len(self.lost)} of the published views are gone or can't be read, such as {self.lost[0]}: "
                "`headrace sync` makes them again"
            )
        if self.redo and self.redo[0].since < oldest:
            yield f"days wait to be done again since {_utc(self.redo[0].since)}: {self.redo[0].reason}"
        if self.newest_event is None:
            yield "nothing is published"
        elif self.newest_event < oldest:
            yield f"the newest published event is of {_utc(self.newest_event)}"
        if self.newest_hour and self.newest_hour < oldest:
            yield f"the newest published hour is {_utc(self.newest_hour)}"
        for feed in self.feeds:
            if feed.problem:
                yield f"{feed.feed} can't be looked at: {feed.problem}"
            elif feed.newest_hour and feed.newest_hour < oldest:
                yield (
                    f"{feed.feed} stands still: its newest hour is {_utc(feed.newest_hour)} "
                    "(`headrace forget FEED`, if it has ended)"
                )
            # A sync loads all that it finds, so what waits came after the last one.
            if feed.waiting_files and feed.last_sync < oldest:
                yield f"{feed.feed}: {feed.waiting_files:,} files wait; it was last read {_utc(feed.last_sync)}"

    def as_json(self) -> dict[str, Any]:
        """The same for machines, times as ISO 8601."""
        return asdict(self)


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def status(target: Target) -> Status:
    """Read the state of a target. Writes nothing; an empty warehouse has an empty state."""
    soon = datetime.now(UTC) + AHEAD
    with connected(target) as pipeline:
        ledger = _ledger(pipeline)
        newest = query(pipeline, "select max(inserted_at) from _dlt_loads where status = 0")
        published = query(
            pipeline,
            "select max(case when ingested_time < %s then ingested_time end), "
            "max(case when coalesce(newest_event_time, last_event_time) < %s "
            "then coalesce(newest_event_time, last_event_time) end) "
            f"from {ledger} where kind = 'events' and is_merged and _dlt_load_id in {COMPLETE}",
            soon,
            soon,
        )
        queue = query(
            pipeline,
            "select count(distinct queued._dlt_load_id), coalesce(sum(row_count), 0), min(loads.inserted_at) "
            f"from {QUEUED} inner join _dlt_loads as loads on queued._dlt_load_id = loads.load_id",
        )
        latest = (
            "(select path, kind, ingested_time, row_count, rejected, wrong_clock, is_merged, "
            f"row_number() over (partition by path order by _dlt_load_id desc) as n from {ledger} "
            f"where row_count + rejected > 0 and _dlt_load_id in {COMPLETE}) as latest where n = 1"
        )
        files = query(
            pipeline,
            "select case when row_count = 0 then 'empty' when is_merged then 'merged' else 'queued' end as state, "
            f"count(*) from {latest} group by 1 order by 1",
        )
        clocks = query(pipeline, f"select coalesce(sum(wrong_clock), 0) from {latest}")
        rejected = query(
            pipeline,
            # A file that was read again since then says anew what is wrong with it.
            "select reason, count(*), min(file), min(position) from rejected_events inner join (select path, "
            "max(_dlt_load_id) as load_id from loaded_files where row_count + rejected > 0 "
            f"and _dlt_load_id in {COMPLETE} group by path) as latest on file = path and _dlt_load_id = load_id "
            "group by reason order by 2 desc, 1",
        )
        unread = query(
            pipeline,
            "select path from (select path, kind, row_number() over (partition by path order by _dlt_load_id desc) "
            f"as n from loaded_files where _dlt_load_id in {COMPLETE} and path in (select path from loaded_files "
            f"where kind = '{UNREAD}')) as latest where n = 1 and kind = '{UNREAD}' order by path",
        )
        return Status(
            target=target.label,
            newest_hour=published[0][0] if published else None,
            newest_event=published[0][1] if published else None,
            failing=_failing(pipeline),
            newest_load=newest[0][0] if newest else None,
            queued_loads=int(queue[0][0]) if queue else 0,
            queued_rows=int(queue[0][1]) if queue else 0,
            queued_since=queue[0][2] if queue else None,
            files={state: int(count) for state, count in files},
            feeds=_feeds(pipeline),
            rejected=[Rejections(*row) for row in rejected],
            wrong_clocks=int(clocks[0][0]) if clocks else 0,
            skipped=skipped(pipeline),
            redo=waiting(pipeline),
            export_until=None if var_of(target, "export_until") else _export_until(pipeline, ledger),
            unread=[path for (path,) in unread],
            volume=_volume(pipeline, latest, published[0][0]) if published and published[0][0] else None,
            lost=_lost(pipeline) if published and published[0][1] else [],
        )


def _lost(pipeline: dlt.Pipeline) -> list[str]:
    lost = [] if query(pipeline, f"select 1 from {EVENTS} limit 1") else [EVENTS]
    return [*lost, *views.unreadable(pipeline)]


def _volume(pipeline: dlt.Pipeline, latest: str, newest: datetime) -> Volume | None:
    """The rows of an hour, and how many are usual: what re-created files hold now, duplicates counted in."""
    hours = [newest - timedelta(weeks=weeks) for weeks in range(5)]
    found = query(
        pipeline,
        f"select ingested_time, sum(row_count) from {latest} and kind = 'events' "
        "and ingested_time in (%s, %s, %s, %s, %s) group by ingested_time",
        *hours,
    )
    rows = {hour: int(count) for hour, count in found}
    usual = [rows[hour] for hour in hours[1:] if hour in rows]
    return Volume(rows[newest], median(usual) if usual else None) if newest in rows else None


LATER = {"newest_event_time": "null", "wrong_clock": "0", "is_export": "false"}
"""Columns of the ledger that a first version did not have, and what stands for them."""


def _ledger(pipeline: dlt.Pipeline) -> str:
    """The ledger with all of its columns, also where one of an earlier version lacks some until the next sync."""
    with suppress(DestinationException), pipeline.sql_client() as client:  # there is none yet
        with client.execute_query("select * from loaded_files where 1 = 0") as cursor:
            there = {column[0].lower() for column in cursor.description}
        if missing := [f"{value} as {name}" for name, value in LATER.items() if name not in there]:
            return f"(select *, {', '.join(missing)} from loaded_files) as loaded_files"
    return "loaded_files"


def _export_until(pipeline: dlt.Pipeline, ledger: str) -> datetime | None:
    """Where to cut: at the raw feed's first hour, or where the exports end before it; None where they don't overlap."""
    ((first_export, last_export, first, last, first_hour),) = query(
        pipeline,
        "select min(case when is_export then first_event_time end), "
        "max(case when is_export then last_event_time end), "
        "min(case when is_export then null else first_event_time end), "
        "max(case when is_export then null else last_event_time end), "
        "min(case when is_export then null else ingested_time end) "
        f"from {ledger} where kind = 'events' and row_count > 0 and _dlt_load_id in {COMPLETE}",
    ) or [(None,) * 5]
    if not (first_export and first) or last_export < first or last < first_export:
        return None
    return min(first_hour or first, last_export)  # type: ignore[no-any-return]


def _failing(pipeline: dlt.Pipeline) -> Failing | None:
    """The builds that failed since the last green one, unless a build that is not in the list has merged since."""
    builds = query(pipeline, "select started_time, queued_loads, message from failed_builds order by started_time")
    if not builds:
        return None
    started, queued_loads, message = builds[-1]
    left = query(
        pipeline,
        f"select count(*) from {QUEUED} inner join _dlt_loads as loads on queued._dlt_load_id = loads.load_id "
        "where loads.inserted_at <= %s",
        started,
    )
    if queued_loads and not (left and left[0][0]):
        return None
    return Failing(builds[0][0], len(builds), message)


def _feeds(pipeline: dlt.Pipeline) -> list[FeedStatus]:
    syncs = query(
        pipeline,
        "select feed, max(started_time), max(case when listed_since is null then started_time end) from syncs "
        f"where _dlt_load_id in {COMPLETE} group by feed order by feed",
    )
    return [_feed(pipeline, *sync) for sync in syncs]


def _feed(pipeline: dlt.Pipeline, address: str, last_sync: datetime, last_full: datetime | None) -> FeedStatus:
    try:
        feed = Feed.at(address)
        plan = plan_of(pipeline, feed, NEWEST)
    except (HeadraceError, OSError) as error:
        words = " ".join(str(error).split())[:200]
        return FeedStatus(shown(address), last_sync, last_full, None, None, None, words)
    hours = [file.hour for file in plan.files if file.hour]
    loaded = [file.hour for file in plan.unchanged if file.hour]
    lag = (max(hours) - max(loaded)).total_seconds() if hours and loaded else 0.0
    newest = max((hour for hour in [*hours, *loaded] if hour < datetime.now(UTC) + AHEAD), default=None)
    return FeedStatus(shown(address), last_sync, last_full, newest, len(plan.files), max(lag, 0.0), None)
