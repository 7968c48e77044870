"""What today's definitions answer to each distinct value that events have, for the marts to join.

Readers take the rows of one set of definitions, those that are current. Another set shows when all of it is there, at
once, by one statement; and whatever a kill leaves the next call mends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dlt

from .. import views
from ..pipeline import client_of, query
from ..target import Target
from ..warehouses import warehouse_of
from . import lookups
from .model import Definitions
from .pages import called

if TYPE_CHECKING:
    from .matcher import Matcher

BATCH_VALUES = 10_000
"""So many values are in memory at once."""

MATCHES = 500
"""So many definitions of a value are kept, the best ones."""

LONGEST_PAGE = 4_000
"""Bytes of a page that the shortest of the warehouses' text types holds. A longer one is no page of a rule."""

COLUMNS = {
    "kind": "",
    "value_id": "",
    "definition_id": "",
    "page_definition_id": "",
    "page": "",
    "match_rank": "bigint",
    "is_best": "boolean",
    "matched_by": "",
    "is_current": "boolean",
}
"""With their types, where it is not that of texts. The source of this name says what they mean."""

Row = tuple[str, str, str | None, str | None, str | None, int, bool]
"""All of `COLUMNS` but the last two."""


def set_id(definitions: Definitions) -> str:
    """What tells a set of definitions and the version of the matcher from all others."""
    from .matcher import VERSION

    return f"{VERSION}-{lookups.set_id(definitions)}"


def prepare(pipeline: dlt.Pipeline, target: Target) -> None:
    """Make the table `definition_matches` where it is missing; before a build, whose views read it from then on."""
    if query(pipeline, "select count(*) from definition_matches where 1 = 0"):
        return
    views.forget(pipeline)
    text = warehouse_of(target).text_type
    columns = ", ".join(f"{name} {data_type or text}" for name, data_type in COLUMNS.items())
    with client_of(pipeline) as client:
        client.execute_sql(f"create table if not exists definition_matches ({columns})")


def refresh(pipeline: dlt.Pipeline, target: Target, matcher: Matcher, set_id: str) -> int:
    """Match the values of `int_definition_values` that are not matched yet; all of them, where the set is another one.

    Args:
        pipeline: may write to the target.
        target: where.
        matcher: answers for the set.
        set_id: tells the set of definitions and the version of the matcher from all others.

    Returns:
        How many values were matched.
    """
    prepare(pipeline, target)
    sets = dict(query(pipeline, "select distinct matched_by, is_current from definition_matches"))
    is_whole = sets.get(set_id, False)
    count = 0
    for values in _unmatched(pipeline, set_id):
        _insert(pipeline, target, [_rows_of(matcher, value) for value in values], set_id, is_whole)
        count += len(values)
    with client_of(pipeline) as client:
        if not is_whole:
            client.execute_sql(
                "update definition_matches set is_current = (matched_by = %s) where matched_by is not null", set_id
            )
        if sets.keys() - {set_id}:
            client.execute_sql("delete from definition_matches where matched_by <> %s", set_id)
    return count


def forget(pipeline: dlt.Pipeline) -> None:
    """Have no answers, where there are no definitions any more."""
    query(pipeline, "delete from definition_matches where matched_by is not null")


Value = tuple[str, str, str | None, str | None, str | None, str | None, str | None, str | None]
"""Kind, id, URL, screen, app, its package, path and text."""


def _unmatched(pipeline: dlt.Pipeline, set_id: str) -> Iterator[list[Value]]:
    """The values that have no row of a set, in batches; which have none is asked when a batch is."""
    last = ""
    while True:
        values: list[Value] = query(
            pipeline,
            "select kind, value_id, url, screen, app, app_package_name, path, text from int_definition_values as v "
            "where value_id > %s and not exists (select 1 from definition_matches as m "
            "where m.value_id = v.value_id and m.matched_by = %s) "
            f"order by value_id limit {BATCH_VALUES}",
            last,
            set_id,
        )
        if values:
            yield values
        if len(values) < BATCH_VALUES:
            return
        last = values[-1][1]


def _rows_of(matcher: Matcher, value: Value) -> list[Row]:
    """What a value matches; one row without a definition where it matches none."""
    kind, value_id, url, screen, app, package, path, text = value
    names = called(app, package)
    if kind == "page":
        page = None if screen else matcher.rule_of(url)
        if page and len(page.encode()) > LONGEST_PAGE:
            page = None
        return [(kind, value_id, matcher.page_of(url, screen, names), None, page, 1, True)]
    rows: list[Row] = []
    answered: set[str | None] = set()
    for rank, one in enumerate(matcher.elements_of(path, text, names)[:MATCHES], 1):
        is_best = answered.isdisjoint({None, one.page_definition_id})
        answered.add(one.page_definition_id)
        rows.append((kind, value_id, one.definition_id, one.page_definition_id, None, rank, is_best))
    return rows or [(kind, value_id, None, None, None, 1, True)]


def _insert(pipeline: dlt.Pipeline, target: Target, answers: list[list[Row]], set_id: str, is_whole: bool) -> None:
    """Write the rows of values, those of one value by one statement, so that none is ever there in part."""
    warehouse = warehouse_of(target)
    types = [data_type or warehouse.text_type for data_type in COLUMNS.values()]
    rows: list[tuple[Any, ...]] = []
    with client_of(pipeline) as client:
        for number, answer in enumerate(answers, 1):
            rows += [(*row, set_id, is_whole) for row in answer]
            if len(rows) >= warehouse.statement_rows or number == len(answers):
                values, parameters = warehouse.values(rows, types)
                client.execute_sql(f"insert into definition_matches ({', '.join(COLUMNS)}) {values}", *parameters)
                rows = []
