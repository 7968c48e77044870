"""A sync: load what is new in a feed, build the models, and say what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .feed import Feed
from .load import INSERTED_ROWS, NEWEST, Loaded, Plan, Span, connected, load, plan_of, query, replay
from .lock import alone
from .target import Target


class Tell(Protocol):
    """Is told of the step under way and how far it is."""

    def __call__(self, step: str, done: int | None = None, total: int | None = None) -> None:
        """Say it."""


@dataclass(frozen=True)
class Merged:
    """What the build made of the queue, in rows."""

    new: int
    duplicate: int
    superseded: int


@dataclass(frozen=True)
class Summary:
    """What one sync did."""

    label: str
    loaded: Loaded
    merged: Merged | None

    def counts(self) -> dict[str, int | str]:
        """The numbers of the closing table. Those of the merge are `-` when nothing was built.

        files: read; rows: good ones in them; new: events that were not there; duplicate: rows that changed nothing;
        superseded: events that were nulled; rejected: rows that can't be loaded; late: rows processed 3 h or more after
        they happened.
        """
        return {
            "files": self.loaded.files,
            "rows": self.loaded.rows,
            "new": self.merged.new if self.merged else "-",
            "duplicate": self.merged.duplicate if self.merged else "-",
            "superseded": self.merged.superseded if self.merged else "-",
            "rejected": self.loaded.rejected,
            "late": self.loaded.late,
        }

    def notes(self) -> list[str]:
        """What else a person should know."""
        notes = [f"definitions: {self.loaded.definitions:,}"] if self.loaded.definitions else []
        if self.loaded.recreated_files:
            notes.append(f"re-created files: {self.loaded.recreated_files}")
        notes += [f"rejected: {count:,} x {reason}" for reason, count in self.loaded.reasons.most_common(5)]
        if self.loaded.inserted > INSERTED_ROWS:
            notes.append(
                f"{self.loaded.inserted:,} rows went by INSERT, which is slow: "
                "set DESTINATION__FILESYSTEM__BUCKET_URL to an S3 folder, for Redshift to copy them from there"
            )
        if self.loaded.unknown_fields:
            names = ", ".join(f"{name} ({count:,})" for name, count in self.loaded.unknown_fields.most_common(10))
            notes.append(f"fields that the contract does not know, left out: {names}")
        return notes


def sync(address: str, target: Target, tell: Tell, span: Span = NEWEST, build_models: bool = True) -> Summary:
    """Load what is new in a feed and, unless told otherwise, run the dbt build.

    Args:
        address: path or URL of the feed.
        target: where to.
        tell: is told how far it is.
        span: which hours of the feed to look at; with all of them, all data tests run, too.
        build_models: whether to build; without, the rows stay in the queue for the next build.

    Raises:
        HeadraceError: see alone, load and build. What was loaded before a failed build stays in the queue.
    """
    tell("listing the feed")
    with alone(target):
        loaded = load(
            Feed.at(address), target, span, lambda done, total, path: tell(path.rsplit("/", 1)[-1], done, total)
        )
        return Summary(target.label, loaded, _build(target, tell, span.everything) if build_models else None)


def backfill(address: str, target: Target, tell: Tell, span: Span) -> Summary:
    """Replay hours of a feed into the events, whatever was loaded before (see load.replay)."""
    tell("listing the feed")
    merged: list[Merged] = []
    with alone(target):
        loaded = replay(
            Feed.at(address),
            target,
            span,
            build=lambda: merged.append(_build(target, tell)),
            progress=lambda done, total, path: tell(path.rsplit("/", 1)[-1], done, total),
        )
    totals = Merged(*(sum(getattr(one, name) for one in merged) for name in ("new", "duplicate", "superseded")))
    return Summary(target.label, loaded, totals)


def plan(address: str, target: Target, span: Span = NEWEST) -> Plan:
    """What a sync would load. Raises UsageError when there is no such feed."""
    with connected(target) as pipeline:
        return plan_of(pipeline, Feed.at(address), span)


def _build(target: Target, tell: Tell, everything: bool = False) -> Merged:
    from .build import build  # imports all of dbt, which a sync without a build can do without

    with connected(target) as pipeline:
        before = (query(pipeline, "select count(*) from events") or [(0,)])[0][0]
        (started,) = query(pipeline, "select current_timestamp")[0]
    build(target, lambda node: tell(f"dbt {node}"), everything)
    with connected(target) as pipeline:
        (after,) = query(pipeline, "select count(*) from events")[0]
        (delivered,) = query(
            pipeline,
            "select coalesce(sum(row_count), 0) from loaded_files "
            "where kind = 'events' and _dlt_load_id in (select load_id from batch_loads)",
        )[0]
        # A warehouse that bills by the byte reads the days of the batch, and no others.
        days = query(
            pipeline,
            "select min(event_time), max(event_time) from event_batch where event_time is not null group by "
            "extract(year from event_time), extract(month from event_time), extract(day from event_time)",
        )
        moved, superseded, withdrawn = query(
            pipeline,
            "select count(*), count(case when e.event_type is null then 1 end), "
            "count(case when b._is_withdrawn then 1 end) "
            "from events as e inner join event_batch as b on e.event_id = b.event_id where e.updated_time >= %s "
            f"and ({'e.event_time between %s and %s or ' * len(days)}e.event_time is null)",
            started,
            *(moment for day in days for moment in day),
        )[0]
    return Merged(after - before, int(delivered) - (moved - withdrawn), superseded)
