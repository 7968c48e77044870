"""The views of the last green build, which need not be made again while what they are made from is the same."""

from __future__ import annotations

import dlt
from dlt.common.destination.exceptions import DestinationException

from .pipeline import client_of, query
from .target import Target
from .warehouses import warehouse_of


def prepare(pipeline: dlt.Pipeline, target: Target) -> None:
    """Make the table `built_views` where it is missing. The build's macros empty its `made_from` when they begin."""
    with client_of(pipeline) as client:
        text = warehouse_of(target).text_type
        client.execute_sql(f"create table if not exists built_views (relation_name {text}, made_from {text})")


def stand(pipeline: dlt.Pipeline, made_from: str) -> bool:
    """Whether the last build was green and made of the same, and all of its views are there and can be read."""
    views = query(pipeline, "select relation_name, made_from from built_views order by relation_name")
    if not views or any(found != made_from for _, found in views):
        return False
    return can_be_read(pipeline, *(name for name, _ in views))


def can_be_read(pipeline: dlt.Pipeline, *names: str) -> bool:
    """Whether relations, as SQL names them, are there and can be read."""
    try:
        with client_of(pipeline) as client:
            client.execute_sql(" union all ".join(f"select 1 as one from {name} where 1 = 0" for name in names))
    except DestinationException:
        return False
    return True


def unreadable(pipeline: dlt.Pipeline) -> list[str]:
    """Those of the last green sync's views that are gone or can't be read."""
    names = [name for (name,) in query(pipeline, "select relation_name from built_views order by relation_name")]
    if not names or can_be_read(pipeline, *names):
        return []
    return [name for name in names if not can_be_read(pipeline, name)]


def keep(pipeline: dlt.Pipeline, made_from: str, views: list[str]) -> None:
    """Write down that a build was green, and the views that it made; none when it left them as they were."""
    with client_of(pipeline) as client:
        if not views:
            client.execute_sql("update built_views set made_from = %s where made_from <> %s", made_from, made_from)
            return
        client.execute_sql("delete from built_views where made_from is not null")
        rows = ", ".join(["(%s, %s)"] * len(views))
        client.execute_sql(
            f"insert into built_views (relation_name, made_from) values {rows}",
            *(value for name in sorted(views) for value in (name, made_from)),
        )


def forget(pipeline: dlt.Pipeline) -> None:
    """Have the next build make all views again."""
    query(pipeline, "update built_views set made_from = '' where made_from <> ''")
