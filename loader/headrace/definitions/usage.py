"""Definitions that nobody uses: nothing that was loaded matches them, or nothing has for long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import dlt

from .. import ledger
from ..errors import LoadError
from ..pipeline import connected, query, utc
from ..target import Target
from . import lookups, matches
from .model import Definition, Definitions
from .shape import Problem, shortened
from .stamp import EVENT_IDS, ids_of

LastSeen = dict[tuple[str, str], datetime]
"""By kind and id of a definition, when what matches it was last seen."""


def unused(target: Target, definitions: Definitions, days: int) -> list[Problem]:
    """Active definitions that matched nothing in so many days before the newest event, or never.

    Pages and elements are told by all values that were ever seen, events by what was stamped on them; where dbt alone
    is run nothing is stamped, and events are not told of.

    Raises:
        LoadError: the warehouse was built with other definitions, or not at all.
    """
    with connected(target) as pipeline:
        values = query(pipeline, "select count(*) from int_definition_values")
        stamped = "select _event_stamp, max(coalesce(event_time, processed_time)) from int_parsed_events group by 1"
        rows = query(pipeline, stamped) if values else []  # the columns are as old as that table
        if not rows:
            raise LoadError(f"{target.label}: nothing was built here yet, or by an old headrace: run `headrace sync`")
        sets = query(pipeline, "select distinct matched_by from definition_matches where is_current")
        if values[0][0] and [matched_by for (matched_by,) in sets] != [matches.set_id(definitions)]:
            raise LoadError(
                f"{target.label} was built with other definitions than these: run `headrace sync`, "
                "or `headrace definitions match` where dbt alone is run"
            )
        seen = {**_values_seen(pipeline), **_events_seen(rows)}
        kinds = ["page", "element", *(["event"] if lookups.PATH in ledger.read(pipeline, []) else [])]
    newest = max(utc(at) for _, at in rows)
    return sorted(_problems(definitions, kinds, seen, newest, timedelta(days=days)))


def _values_seen(pipeline: dlt.Pipeline) -> LastSeen:
    rows = query(
        pipeline,
        "select matches.kind, matches.definition_id, max(seen.last_seen) from definition_matches as matches "
        "inner join int_definition_values as seen on matches.value_id = seen.value_id "
        "where matches.is_current and matches.definition_id is not null "
        "group by matches.kind, matches.definition_id",
    )
    return {(kind, name): utc(at) for kind, name, at in rows}


def _events_seen(rows: list[tuple[str | None, datetime]]) -> LastSeen:
    seen: LastSeen = {}
    for stamp, at in rows:
        for name in ids_of(EVENT_IDS, stamp):
            seen["event", name] = max(utc(at), seen.get(("event", name), utc(at)))
    return seen


def _problems(
    definitions: Definitions, kinds: list[str], seen: LastSeen, newest: datetime, span: timedelta
) -> Iterator[Problem]:
    used = _used(definitions)
    for kind in kinds:
        for one in (each for each in definitions.of(kind) if each.is_active):
            last = seen.get((kind, one.id))
            page = getattr(one, "page", None)
            if kind == "element" and page and last:  # its page may be one that is seen no more
                of_page = seen.get(("page", page))
                last = min(last, of_page) if of_page else None
            if last is None or last < newest - span:
                yield _problem(kind, one, last, (kind, one.id) in used, newest, span)


def _used(definitions: Definitions) -> set[tuple[str, str]]:
    """The pages and elements that active elements and events refer to."""
    used = {("page", element.page) for element in definitions.elements if element.is_active and element.page}
    for event in (one for one in definitions.events if one.is_active):
        used |= {("page", name) for name in event.pages} | {("element", name) for name in event.elements}
    return used


def _problem(
    kind: str, one: Definition, last: datetime | None, is_used: bool, newest: datetime, span: timedelta
) -> Problem:
    what = f"{kind} {shortened(one.id)}"
    if last is None and kind == "event":
        words = f"{what} is unused: no event was stamped with it (`headrace definitions apply` stamps those of before)"
    elif last is None and not is_used:
        words = f"{what} is unused: nothing was seen that matches it, and nothing refers to it"
    else:
        when = f"last on {last:%Y-%m-%d}" if last else "nor ever before"
        words = f"{what} is dead: nothing matched it in the {span.days:,} days up to {newest:%Y-%m-%d}, {when}"
    return Problem(one.place.file, one.place.line, words)
