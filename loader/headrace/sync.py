"""A sync: load what is new in a feed, build the models, and say what came of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import dlt

from . import ledger, redo, views
from .definitions import FILE_NAME, definitions_of, lookups, matches
from .definitions.lookups import Lookups
from .definitions.model import Definitions
from .deliver import Deliveries, Delivery
from .errors import BuildError, HeadraceError, UsageError
from .feed import Feed
from .idle import Call, fingerprint
from .ledger import NEWEST, QUEUED, Plan, Span, plan_of
from .load import ProgressCallback, load, replay
from .lock import alone
from .package import Loaded, load_package
from .pipeline import by_day, connected, query
from .reading import Part
from .stores import Store
from .target import Target
from .warehouses import warehouse_of

if TYPE_CHECKING:
    from .definitions.apply import Applied

NAMED_FILES = 20
"""So many files that are not read a sync names, and as many status."""


@dataclass(frozen=True)
class Merged:
    """What the build made of the queue, in rows."""

    new: int = 0
    duplicate: int = 0
    superseded: int = 0
    moved: int = 0


@dataclass(frozen=True)
class Summary:
    """What one sync did."""

    label: str
    loaded: Loaded
    merged: Merged | None
    build_said: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    """The warehouse's, on how it was loaded."""
    deliveries: list[Delivery] = field(default_factory=list)
    """What came to each store."""

    def counts(self) -> dict[str, int | None]:
        """The numbers of the closing table. Those of the merge are None when nothing was built.

        files: read; rows: good ones in them; new: events that were not there; duplicate: rows that changed nothing;
        superseded: events that were nulled; moved: events that have a new row, and id, as a late one came before them
        in their view; rejected: rows that can't be loaded; late: rows processed 3 h or more after they happened.

        Those of the merge are of all that waited for this build, also when a build before it was killed or failed
        after it had merged a part of that.
        """
        return {
            "files": self.loaded.files,
            "rows": self.loaded.rows,
            "new": self.merged.new if self.merged else None,
            "duplicate": self.merged.duplicate if self.merged else None,
            "superseded": self.merged.superseded if self.merged else None,
            "moved": self.merged.moved if self.merged else None,
            "rejected": self.loaded.rejected,
            "late": self.loaded.late,
        }

    def notes(self) -> list[str]:
        """What else a person should know."""
        notes = [*self.build_said, *([self.loaded.gone_on] if self.loaded.gone_on else [])]
        notes += [f"definitions: {self.loaded.definitions:,}"] if self.loaded.definitions else []
        if self.loaded.recreated_files:
            notes.append(f"re-created files: {self.loaded.recreated_files}")
        notes += [f"rejected: {count:,} x {reason}" for reason, count in self.loaded.reasons.most_common(5)]
        notes += [f"not read: {words}" for words in self.loaded.unread[:NAMED_FILES]]
        if len(self.loaded.unread) > NAMED_FILES:
            notes.append(f"not read: {len(self.loaded.unread) - NAMED_FILES:,} files more; headrace status names them")
        notes += self.advice
        if self.loaded.unknown_fields:
            names = ", ".join(f"{name} ({count:,})" for name, count in self.loaded.unknown_fields.most_common())
            notes.append(f"fields that the contract does not know, left out: {names}")
        return notes + [one.words() for one in self.deliveries if not one.failure]


IDLE = Summary("", Loaded(), Merged())
"""A sync that has nothing to do."""


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild did."""

    label: str
    found: redo.Days
    merged: Merged
    """What the loads came to that waited for a build, too; what is done again counts nowhere."""
    build_said: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int | None]:
        """The numbers of the closing table: days that have events, these events, and those of a sync."""
        return {"days": len(self.found.days), "events": self.found.events, **asdict(self.merged)}

    def notes(self) -> list[str]:
        """What else a person should know."""
        return self.build_said


def sync(
    call: Call,
    target: Target,
    progress: ProgressCallback,
    span: Span = NEWEST,
    build_models: bool = True,
    is_quiet: bool = False,
    stores: Sequence[Store] = (),
) -> Summary:
    """Load what is new in a feed and, unless told otherwise, run the dbt build, and deliver what it changed to stores.

    Args:
        call: the feed and the project.
        target: where to.
        progress: is told how far it is.
        span: which hours of the feed to look at; with all of them, all data tests run, too.
        build_models: whether to build; without, the rows stay in the queue for the next build.
        is_quiet: whether feed and project are as the last sync of this machine left them, so that it is enough to ask
            the warehouse.
        stores: where to deliver; what fails there is in the summary, and holds back nothing.

    Raises:
        HeadraceError: see alone, load and build. What was loaded before a failed build stays in the queue.
        UsageError: a store can't be written to, or is another warehouse's; then nothing was loaded.
    """
    if stores and not build_models:
        raise UsageError("what is delivered is what a build has merged: leave out --to or --no-build")
    if is_quiet and not stores:
        with connected(target) as pipeline:
            if views.stand(pipeline, made_from(target)) and not (_waits(pipeline) or redo.waiting(pipeline)):
                return Summary(target.label, Loaded(), Merged() if build_models else None)
    defined = definitions_of(target.project_dir)
    progress("listing the feed")
    call.forget()
    with alone(target):
        deliveries = Deliveries(target, stores)
        loaded = load(Feed.at(call.feed), target, span, progress, defined)
        said: list[str] = []
        merged = _build(target, progress, said, defined, span.everything) if build_models else None
        delivered = deliveries.run(progress)
        summary = Summary(target.label, loaded, merged, said, warehouse_of(target).advice(loaded.inserted), delivered)
    if merged and loaded.listing and span == NEWEST and not any(one.failure for one in delivered):
        call.remember(target.label, loaded.listing, warehouse_of(target).file)
    return summary


def made_from(target: Target) -> str:
    """What a build on the target is made from."""
    names = ("database", "project", "dbname", "path", "attach")
    place = [str(target.settings.get(name)) for name in names]
    return fingerprint(target.project_dir, repr(target.vars), target.name, target.type, target.schema, *place)


def _waits(pipeline: dlt.Pipeline) -> bool:
    """Whether files wait for a build, or nothing was ever loaded."""
    queue = query(pipeline, f"select count(*) from {QUEUED}")
    return not queue or bool(queue[0][0])


def backfill(address: str, target: Target, progress: ProgressCallback, span: Span) -> Summary:
    """Replay hours of a feed into the events, whatever was loaded before (see load.replay)."""
    defined = definitions_of(target.project_dir)
    progress("listing the feed")
    merged: list[Merged] = []
    said: list[str] = []
    with alone(target):
        loaded = replay(
            Feed.at(address),
            target,
            span,
            build=lambda: merged.append(_build(target, progress, said, defined)),
            progress=progress,
            definitions=defined,
        )
    return Summary(target.label, loaded, _total(merged), said, warehouse_of(target).advice(loaded.inserted))


def rebuild(target: Target, progress: ProgressCallback, since: date, until: date | None = None) -> Rebuilt:
    """Make anew what is made from the events of some days, without loading anything, a few days at a time.

    All of it is requested at once. When it is cut short, the next sync goes on. The same call does all of it again, as
    the project may be another one by then.

    Args:
        target: where.
        progress: is told how far it is.
        since: the first day (UTC).
        until: the last one; None for the last that has events.

    Raises:
        HeadraceError: see redo.days_of, alone and build. What was not done stays requested.
    """
    defined = definitions_of(target.project_dir)
    progress("looking for the days")
    said: list[str] = []
    with alone(target):
        with connected(target, writes=True) as pipeline:
            found = redo.days_of(pipeline, target, since, until)
            reason = f"headrace rebuild --since {since}{f' --until {until}' if until else ''}"
            redo.ask(pipeline, target, found, reason)
        return Rebuilt(target.label, found, _build(target, progress, said, defined), said)


def apply(target: Target, progress: ProgressCallback, since: date, is_dry: bool = False) -> Applied:
    """Stamp the events since a day as if they were loaded with today's definitions.

    Args:
        target: where.
        progress: is told how far it is.
        since: the first day (UTC), by the time that is believed.
        is_dry: count what would change, and change nothing.

    Raises:
        HeadraceError: see definitions_of, Application, alone and build. The same call goes on after it was cut short.
    """
    from .definitions.apply import Application, Applied, Restamped

    definitions = definitions_of(target.project_dir) or Definitions()
    applied = Applied(target.label)
    if is_dry:
        progress("looking for events to stamp")
        with connected(target) as pipeline:
            Application(pipeline, target, definitions, since).count(applied)
        return applied
    folder = target.work_dir / "stamps"

    def load(parts: list[Part], told: Lookups | None = None) -> None:
        with connected(target, loads=True) as pipeline:
            load_package(pipeline, Restamped(target, parts, told), Loaded())

    with alone(target):
        with connected(target, loads=True) as pipeline:
            ledger.discard_unfinished(pipeline)
            told = lookups.waiting(pipeline, definitions, target.project_dir)
        if told:
            load([], told)
        _build(target, progress, applied.said, definitions)
        progress("looking for events to stamp")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with connected(target, writes=True) as pipeline:
            loads = list(Application(pipeline, target, definitions, since).parts(folder, applied))
        for number, parts in enumerate(loads, 1):
            progress("stamping", number, len(loads))
            load(parts)
            _build(target, progress, applied.said, definitions)
        shutil.rmtree(folder)
    return applied


def days_of(target: Target, since: date, until: date | None = None) -> redo.Days:
    """What a rebuild would do again. Raises UsageError as it does."""
    with connected(target) as pipeline:
        return redo.days_of(pipeline, target, since, until)


def plan(address: str, target: Target, span: Span = NEWEST) -> Plan:
    """What a sync would load. Raises UsageError when there is no such feed."""
    with connected(target) as pipeline:
        return plan_of(pipeline, Feed.at(address), span)


def forget(address: str, target: Target) -> None:
    """Let status ask no more for a feed (see ledger.forget)."""
    with alone(target), connected(target, writes=True) as pipeline:
        ledger.forget(pipeline, address)


def match(target: Target) -> int:
    """Match the values that were built with the definitions of the project; how many values are new, or matched anew.

    Raises:
        HeadraceError: see definitions_of and alone; nothing is defined, or nothing was built.
    """
    defined = definitions_of(target.project_dir)
    if defined is None:
        raise UsageError(f"{target.project_dir} has no {FILE_NAME}: nothing is defined")
    with alone(target), connected(target, writes=True) as pipeline:
        if not query(pipeline, "select count(*) from int_definition_values where 1 = 0"):
            raise UsageError(f"{target.label}: nothing was built here yet")
        return _match(pipeline, target, defined)


def _match(pipeline: dlt.Pipeline, target: Target, defined: Definitions) -> int:
    from .definitions.matcher import matcher_of

    return matches.refresh(pipeline, target, matcher_of(defined), matches.set_id(defined))


def _build(
    target: Target,
    progress: ProgressCallback,
    said: list[str],
    defined: Definitions | None = None,
    everything: bool = False,
) -> Merged:
    """Build what waits: the loads, and one request to do days again; and once more for each further request.

    What there is of new values then is matched with the definitions.
    """
    merged = _built(target, progress, said, defined, everything)
    if defined is not None:
        with connected(target, writes=True) as pipeline:
            _match(pipeline, target, defined)
    return merged


def _built(
    target: Target, progress: ProgressCallback, said: list[str], defined: Definitions | None, everything: bool
) -> Merged:
    source = made_from(target)
    with connected(target, writes=True) as pipeline:
        views.prepare(pipeline, target)
        if defined is not None:
            matches.prepare(pipeline, target)
        requests = len(redo.waiting(pipeline))
        stand = not everything and views.stand(pipeline, source)
        if stand and not requests and not _waits(pipeline):
            return Merged()
    builds = max(requests, 1)
    merged = []
    for number in range(builds):

        def of_builds(node: str, done: int, total: int, number: int = number) -> None:
            which = f"build {number + 1} of {builds}: " if builds > 1 else ""
            progress(f"{which}dbt {node}", done, total)

        is_last = number == builds - 1
        merged.append(_build_once(target, of_builds, said, source, everything and is_last, leaves_views=stand))
        stand = True
    return _total(merged)


def _build_once(
    target: Target,
    progress: Callable[[str, int, int], None],
    said: list[str],
    source: str,
    everything: bool,
    leaves_views: bool,
) -> Merged:
    from .build import build  # imports all of dbt, which a sync without a build can do without

    began = datetime.now(UTC)
    try:
        built = build(target, progress, everything, leaves_views)
    except BuildError as error:
        with suppress(HeadraceError):  # what the build failed of comes first
            _remember(target, began, error)
        raise
    said += built.said
    with connected(target, writes=True) as pipeline:
        views.keep(pipeline, source, built.views)
        failed = query(pipeline, "select count(*) from failed_builds")
        if failed and failed[0][0]:
            query(pipeline, "delete from failed_builds where started_time is not null")
        return _merged(pipeline)


def _total(merged: list[Merged]) -> Merged:
    return Merged(*map(sum, zip(*map(astuple, merged), strict=True)))


def _remember(target: Target, began: datetime, error: BuildError) -> None:
    """Write down a build that failed, for status to say since when they do; the next green one forgets them."""
    warehouse = warehouse_of(target)
    with connected(target, writes=True) as pipeline, pipeline.sql_client() as client:
        client.execute_sql(
            f"create table if not exists failed_builds (started_time {warehouse.time_type}, "
            f"ended_time {warehouse.time_type}, queued_loads bigint, message {warehouse.text_type})"
        )
        queue = query(pipeline, f"select count(distinct _dlt_load_id) from {QUEUED}")
        client.execute_sql(
            "insert into failed_builds values (%s, %s, %s, %s)",
            began,
            datetime.now(UTC),
            queue[0][0] if queue else 0,
            str(error)[:1000],
        )


def _merged(pipeline: dlt.Pipeline) -> Merged:
    """Count what the batch of the last build did, by the loads that brought and changed each row.

    A warehouse that bills by the byte reads the days of the batch, and no others.
    """
    days = query(
        pipeline,
        "select min(event_time), max(event_time) from event_batch where event_time is not null and not _is_redone "
        f"group by {by_day('event_time')}",
    )
    counts = query(
        pipeline,
        "select count(case when b._is_delivered then f.load_id end), "
        "sum(case when d._row_count > 0 and c.load_id is not null then d._row_count - 1 else d._row_count end), "
        "count(case when e.event_type is null and not e._is_reordered then c.load_id end), "
        "count(case when e._is_reordered then c.load_id end) "
        "from events as e inner join event_batch as b on e.event_id = b.event_id "
        "left join delivered_events as d on b._source_event_id = d._source_event_id and b._is_delivered "
        "left join batch_loads as f on e._first_load_id = f.load_id "
        "left join batch_loads as c on e._changed_load_id = c.load_id "
        f"where not b._is_redone and ({'e.event_time between %s and %s or ' * len(days)}e.event_time is null)",
        *(moment for day in days for moment in day),
    )
    return Merged(*(int(count or 0) for row in counts for count in row))
