"""What an operator leaves out: a file, or an event, that no build can get past."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dlt

from .errors import UsageError
from .feed import Feed
from .ledger import COMPLETE
from .lock import alone
from .pipeline import connected, query
from .target import Target
from .warehouses import warehouse_of


@dataclass(frozen=True)
class Skipped:
    """A file or an event that is left out."""

    name: str
    """The path of the file as the ledger has it, or the event's id as the feed has it."""
    since: datetime
    waiting_rows: int
    """How many rows of the queue are left out for it; the next green build deletes them with the others."""


@dataclass(frozen=True)
class Undone:
    """A file or an event that is no longer left out."""

    name: str
    since: datetime | None
    """The earliest hour that can hold what was left out meanwhile; None where files lie in no hours."""


def skipped(pipeline: dlt.Pipeline) -> list[Skipped]:
    """What is left out now."""
    found = []
    for name, since in query(pipeline, "select name, skipped_time from skipped order by skipped_time, name"):
        waiting = query(
            pipeline,
            f"select count(*) from raw_events where (event_id = %s or _file = %s) and _dlt_load_id in {COMPLETE}",
            name,
            name,
        )
        found.append(Skipped(name, since, int(waiting[0][0]) if waiting else 0))
    return found


def skip(target: Target, names: tuple[str, ...]) -> list[Skipped]:
    """Leave out files or events from now on, in the queue as in what is loaded later.

    What `events` holds of them stays as it is. The loader passes over a file that is left out.

    Raises:
        UsageError: one of them is a folder.
        LoadError: a sync is under way, or the destination refused.
    """
    if folders := [name for name in names if Path(name).is_dir()]:
        raise UsageError(f"{', '.join(folders)}: a folder can't be left out; name its files")
    with alone(target), connected(target, writes=True) as pipeline:
        warehouse = warehouse_of(target)
        with pipeline.sql_client() as client:
            if not client.has_dataset():
                client.create_dataset()
            client.execute_sql(
                f"create table if not exists skipped (name {warehouse.text_type}, "
                f"first_load_id {warehouse.text_type}, skipped_time {warehouse.time_type})"
            )
        waiting = query(
            pipeline, f"select min(_dlt_load_id) from loaded_files where not is_merged and _dlt_load_id in {COMPLETE}"
        )
        first_load_id = (waiting[0][0] if waiting else None) or str(time.time())
        named = [_named(pipeline, name) for name in names]
        for name in named:
            query(
                pipeline,
                "insert into skipped select %s, %s, current_timestamp from (select 1 as one) as seed "
                "where not exists (select 1 from skipped where name = %s)",
                name,
                first_load_id,
                name,
            )
        return [one for one in skipped(pipeline) if one.name in named]


def undo(target: Target, names: tuple[str, ...]) -> list[Undone]:
    """Leave them out no longer.

    What was left out meanwhile has gone from the queue with its builds: the feed's files have it. The ledger forgets a
    file, so that the next sync that looks at its hour loads it as one that was re-created.

    Raises:
        UsageError: one of them is not left out.
        LoadError: a sync is under way, or the destination refused.
    """
    with alone(target), connected(target, writes=True) as pipeline:
        named = [_named(pipeline, name) for name in names]
        known = dict(query(pipeline, "select name, first_load_id from skipped"))
        if unknown := [name for name in named if name not in known]:
            raise UsageError(f"{target.label}: not left out: {', '.join(unknown)}; `headrace skip` lists what is")
        undone = []
        for name in named:
            # The ledger first: a kill between the two leaves the file out still, and the same call goes on.
            query(pipeline, "update loaded_files set version = '', content_hash = '' where path = %s", name)
            query(pipeline, "delete from skipped where name = %s", name)
            hours = query(pipeline, "select min(ingested_time), count(*) from loaded_files where path = %s", name)
            if not hours or not hours[0][1]:
                oldest = "select min(ingested_time) from loaded_files where _dlt_load_id >= %s"
                hours = query(pipeline, oldest, known[name])
            undone.append(Undone(name, hours[0][0] if hours else None))
        return undone


def _named(pipeline: dlt.Pipeline, name: str) -> str:
    """A file's path as the ledger has it, an event's id as the feed has it."""
    if "://" in name or Path(name).exists():
        return Feed.at(name).prefix
    placed = query(pipeline, "select min(_source_event_id) from event_batch where event_id = %s", name)
    return (placed[0][0] if placed else None) or name
