"""A first look at what is there: a few questions to the published models, with their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dlt

from .errors import LoadError
from .pipeline import answer, connected
from .target import Target
from .views import can_be_read

QUESTIONS = {
    "What is there": """
        select 'events' as relation, count(*) as total from {events}
        union all select 'sessions', count(*) from {marts}.sessions
        union all select 'users', count(*) from {marts}.users
        union all select 'devices', count(*) from {marts}.devices
        union all select 'pages', count(*) from {marts}.pages
        union all select 'elements', count(*) from {marts}.elements
        order by total desc, relation""",
    "Longest sessions": """
        select user_id, start_time, duration, total_events, total_page_views, last_browser, last_country
        from {marts}.sessions order by duration desc, full_session_id limit 5""",
    "Most viewed pages": """
        select coalesce(page_name, url_path, page_id) as page, views, sessions, users, entries, exits, rage_clicks,
            dead_clicks
        from {marts}.pages order by views desc, page limit 5""",
    "Most clicked elements": """
        select coalesce(element_name, text, raw_selector) as element, clicks, sessions, users, rage_clicks, dead_clicks
        from {marts}.elements order by clicks desc, element limit 5""",
}


@dataclass(frozen=True)
class Answer:
    """One question, the SQL that asks it, and the rows that answer it."""

    question: str
    sql: str
    columns: list[str]
    rows: list[tuple[Any, ...]]


def show(target: Target) -> list[Answer]:
    """Ask the models a few questions.

    Raises:
        LoadError: nothing has been built in this target yet, or it lacks marts that are asked.
    """
    answers = []
    with connected(target) as pipeline:
        for question, template in QUESTIONS.items():
            sql = template.format(events=f"{target.schema}.events", marts=f"{target.schema}_marts")
            found = answer(pipeline, sql)
            if found is None:
                raise LoadError(f"{target.label} {_lacks(pipeline, target)}")
            answers.append(Answer(question, sql, *found))
    return answers


def _lacks(pipeline: dlt.Pipeline, target: Target) -> str:
    """Why a question can't be asked, in words."""
    if not can_be_read(pipeline, f"{target.schema}.events"):
        return "has no models to look at yet: run `headrace sync`"
    names = [f"{target.schema}_marts.{name}" for name in ("sessions", "users", "devices", "pages", "elements")]
    missing = [name for name in names if not can_be_read(pipeline, name)]
    return (
        f"lacks {', '.join(missing)}, which `show` asks: disabled in the project, or dropped, "
        "and then `headrace sync` makes them again"
    )
