"""What a person who was paged wants to know first: when the last load was, what waits, and what was rejected."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import dlt

from .errors import HeadraceError
from .feed import Feed
from .load import COMPLETE, NEWEST, connected, plan_of, query
from .target import Target


@dataclass(frozen=True)
class FeedStatus:
    """One feed that was synced to the target."""

    feed: str
    last_sync: datetime
    last_full_listing: datetime | None
    """When all of the feed was last looked at, and not the newest days only."""
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


@dataclass(frozen=True)
class Status:
    """The state of one target."""

    target: str
    newest_load: datetime | None
    """When the newest complete load ended."""
    queued_loads: int
    """Loads that no build has merged yet."""
    queued_rows: int
    files: dict[str, int]
    """Files in the ledger by state: merged, queued, empty (nothing could be loaded)."""
    feeds: list[FeedStatus]
    rejected: list[Rejections]

    def is_stale(self, max_age: timedelta) -> bool:
        """Whether the newest complete load is older than that, or there is none."""
        return self.newest_load is None or datetime.now(timezone.utc) - self.newest_load > max_age

    def as_json(self) -> dict[str, Any]:
        """The same for machines, times as ISO 8601."""
        return asdict(self)


def status(target: Target) -> Status:
    """Read the state of a target. Writes nothing; an empty warehouse has an empty state."""
    with connected(target) as pipeline:
        newest = query(pipeline, "select max(inserted_at) from _dlt_loads where status = 0")
        queue = query(
            pipeline,
            "select count(distinct _dlt_load_id), coalesce(sum(row_count), 0) from loaded_files "
            f"where not is_merged and _dlt_load_id in {COMPLETE}",
        )
        files = query(
            pipeline,
            "select case when row_count = 0 then 'empty' when is_merged then 'merged' else 'queued' end as state, "
            "count(*) from (select path, row_count, rejected, is_merged, row_number() over (partition by path "
            "order by _dlt_load_id desc) as n from loaded_files where row_count + rejected > 0 "
            f"and _dlt_load_id in {COMPLETE}) as latest where n = 1 group by 1 order by 1",
        )
        rejected = query(
            pipeline,
            "select reason, count(*), min(file), min(position) from rejected_events "
            f"where _dlt_load_id in {COMPLETE} group by reason order by 2 desc, 1",
        )
        return Status(
            target=target.label,
            newest_load=newest[0][0] if newest else None,
            queued_loads=int(queue[0][0]) if queue else 0,
            queued_rows=int(queue[0][1]) if queue else 0,
            files={state: int(count) for state, count in files},
            feeds=_feeds(pipeline),
            rejected=[Rejections(*row) for row in rejected],
        )


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
        return FeedStatus(address, last_sync, last_full, None, None, " ".join(str(error).split())[:200])
    hours = [file.hour for file in plan.files if file.hour]
    loaded = [file.hour for file in plan.unchanged if file.hour]
    lag = (max(hours) - max(loaded)).total_seconds() if hours and loaded else 0.0
    return FeedStatus(address, last_sync, last_full, len(plan.files), max(lag, 0.0), None)
