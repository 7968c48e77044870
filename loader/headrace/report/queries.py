"""What the report asks of the warehouse: statements that all warehouses take, and days and times as literals in them.

So what a reader sees under a figure is what was run, and can be run again as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from zoneinfo import ZoneInfo

import dlt

from ..ledger import COMPLETE
from ..pipeline import answer, utc
from ..target import Target

Row = dict[str, Any]

WEEKS = 8
"""How many weeks of first sessions the retention has."""

NEWEST = "select max(end_time) as newest_event from {schema}.int_sessions"
"""The table under `sessions`, which need not ask whose each of them is."""

QUERIES = {
    "deliveries": """
select ingested_time, sum(row_count) as delivered_rows, sum(rejected) as rejected_rows,
    min(first_event_time) as oldest_event_time
from (
    select ingested_time, row_count, rejected, first_event_time, is_merged,
        row_number() over (partition by path order by _dlt_load_id desc) as place
    from {schema}.loaded_files
    where kind = 'events' and row_count + rejected > 0 and _dlt_load_id in {complete}
) as latest
where place = 1 and is_merged and ingested_time >= '{since}' and ingested_time < '{until}'
group by ingested_time
order by ingested_time""",
    "totals": """
select case when start_time >= '{since}' then 1 else 0 end as is_now, count(*) as sessions,
    count(distinct user_id) as users, sum(total_page_views) as page_views
from {marts}.sessions
where start_time >= '{before}' and start_time < '{until}'
group by case when start_time >= '{since}' then 1 else 0 end
order by is_now""",
    "days": """
select day, users, new_users, sessions, page_views, rage_clicks, dead_clicks, exceptions,
    largest_paint_time_millis_p75, interaction_to_next_paint_millis_p75, cumulative_layout_shift_p75,
    first_input_delay_millis_p75
from {marts}.daily_metrics
where day >= '{before_day}' and day <= '{last_day}'
order by day""",
    "conversions": """
select conversion_name, case when event_time >= '{since}' then 1 else 0 end as is_now, count(*) as conversions,
    count(distinct user_id) as users, sum(value) as value
from {marts}.conversions
where event_time >= '{before}' and event_time < '{until}' and not is_bot and not is_internal
group by conversion_name, case when event_time >= '{since}' then 1 else 0 end
order by conversion_name, is_now""",
    "pages": """
select page_id, max(page_name) as page_name, sum(views) as views,
    count(distinct case when views > 0 then user_id end) as users, count(case when is_entry then 1 end) as entries,
    count(case when is_exit then 1 end) as exits, sum(rage_clicks) as rage_clicks, sum(dead_clicks) as dead_clicks
from {marts}.session_pages
where session_start_time >= '{since}' and session_start_time < '{until}'
group by page_id
having sum(views) > 0
order by views desc, page_id
limit 15""",
    "frustration": """
with visits as (
    select page_id, page_name, full_session_id, views, rage_clicks, dead_clicks,
        rage_clicks + dead_clicks as frustrated_clicks
    from {marts}.session_pages
    where session_start_time >= '{since}' and session_start_time < '{until}'
),

pages as (
    select page_id, max(page_name) as page_name, sum(views) as total_views, sum(rage_clicks) as total_rage_clicks,
        sum(dead_clicks) as total_dead_clicks, sum(frustrated_clicks) as total_clicks,
        count(case when frustrated_clicks > 0 then 1 end) as total_sessions
    from visits
    group by page_id
    having sum(frustrated_clicks) > 0
),

worst as (
    select pages.*, row_number() over (order by total_clicks desc, page_id) as place
    from pages
),

replays as (
    select page_id, full_session_id, frustrated_clicks,
        row_number() over (partition by page_id order by frustrated_clicks desc, full_session_id) as replay
    from visits
    where frustrated_clicks > 0
)

select worst.place, worst.page_id, worst.page_name, worst.total_views as views, worst.total_rage_clicks as rage_clicks,
    worst.total_dead_clicks as dead_clicks, worst.total_sessions as sessions, replays.replay,
    replays.frustrated_clicks, sessions.replay_url
from worst
inner join replays on worst.page_id = replays.page_id
inner join {marts}.sessions as sessions on replays.full_session_id = sessions.full_session_id
where worst.place <= 6 and replays.replay <= 3
order by worst.place, replays.replay""",
    "errors": """
with errors as (
    select 'exception' as kind, message, exception_source_file as source_file, session_id, user_id, event_time
    from {analysis}.exceptions
    where event_time >= '{since}' and event_time < '{until}'
    union all
    select 'crash' as kind, null as message, null as source_file, session_id, user_id, event_time
    from {analysis}.crashes
    where event_time >= '{since}' and event_time < '{until}'
)

select kind, message, source_file, count(*) as events, count(distinct session_id) as sessions,
    count(distinct user_id) as devices, max(event_time) as last_seen
from errors
group by kind, message, source_file
order by events desc, kind, message, source_file
limit 12""",
    "audience": """
with recent as (
    select user_id, channel, last_device_type, last_browser, last_operating_system, last_country
    from {marts}.sessions
    where start_time >= '{since}' and start_time < '{until}'
),

counts as (
    select 'Channels' as breakdown, channel as name, count(*) as sessions, count(distinct user_id) as users
    from recent
    group by channel
    union all
    select 'Devices' as breakdown, last_device_type as name, count(*) as sessions, count(distinct user_id) as users
    from recent
    group by last_device_type
    union all
    select 'Browsers' as breakdown, last_browser as name, count(*) as sessions, count(distinct user_id) as users
    from recent
    group by last_browser
    union all
    select 'Systems' as breakdown, last_operating_system as name, count(*) as sessions,
        count(distinct user_id) as users
    from recent
    group by last_operating_system
    union all
    select 'Countries' as breakdown, last_country as name, count(*) as sessions, count(distinct user_id) as users
    from recent
    group by last_country
),

ranked as (
    select breakdown, name, sessions, users, count(*) over (partition by breakdown) as names,
        row_number() over (partition by breakdown order by sessions desc, coalesce(name, '')) as place
    from counts
)

select breakdown, name, sessions, users, names
from ranked
where place <= 8
order by breakdown, place""",
    "definitions": """
select definition_id, definition_name, day, events
from {marts}.events_by_definition
where day >= '{before_day}' and day <= '{last_day}'
order by definition_id, day""",
    "retention": """
with visits as (
    select user_id,
        case
            {weeks}
        end as week_number
    from {marts}.sessions
    where start_time < '{until}'
),

starts as (
    select user_id, min(week_number) as first_week
    from visits
    group by user_id
)

select starts.first_week, visits.week_number, count(distinct visits.user_id) as users
from visits
inner join starts on visits.user_id = starts.user_id
where starts.first_week > 0
group by starts.first_week, visits.week_number
order by starts.first_week, visits.week_number""",
}


@dataclass(frozen=True)
class Answer:
    """A statement, and its rows; None where a relation that it asks is not there."""

    sql: str
    rows: list[Row] | None


@dataclass(frozen=True)
class Period:
    """Days up to that of the newest event, and as many before them."""

    newest: datetime
    days: int
    zone: ZoneInfo

    @property
    def last(self) -> date:
        """The day of the newest event."""
        return self.newest.astimezone(self.zone).date()

    @property
    def first(self) -> date:
        """The first of the days."""
        return self.last - timedelta(days=self.days - 1)

    @property
    def before(self) -> date:
        """The first of the days that they are compared with."""
        return self.first - timedelta(days=self.days)

    @property
    def ends(self) -> str:
        """The time of the newest event, on the clock of its zone."""
        return f"{self.newest.astimezone(self.zone):%H:%M}"

    @property
    def weeks(self) -> list[date]:
        """The Mondays of the last weeks, that of the newest event last."""
        monday = self.last - timedelta(days=self.last.weekday())
        return [monday - timedelta(weeks=weeks) for weeks in reversed(range(WEEKS))]

    def literals(self) -> dict[str, str]:
        """What the statements have of it, to be quoted."""
        ends = [*self.weeks[1:], self.last + timedelta(days=1)]
        cases = [f"when start_time < '{self._begin(self.weeks[0])}' then 0"]
        cases += [f"when start_time < '{self._begin(end)}' then {place}" for place, end in enumerate(ends, start=1)]
        return {
            "since": self._begin(self.first),
            "until": self._begin(self.last + timedelta(days=1)),
            "before": self._begin(self.before),
            "before_day": str(self.before),
            "last_day": str(self.last),
            "weeks": "\n            ".join(cases),
        }

    def _begin(self, day: date) -> str:
        """When a day begins, in UTC, as all warehouses read it beside a column of times."""
        return f"{datetime.combine(day, time(), self.zone).astimezone(UTC):%Y-%m-%d %H:%M:%S}+00:00"


def ask(pipeline: dlt.Pipeline, target: Target, template: str, period: Period | None = None, *names: str) -> Answer:
    """Run a statement; each `%s` in it stands for a name."""
    sql = template.strip().format(
        schema=target.schema,
        marts=f"{target.schema}_marts",
        analysis=f"{target.schema}_analysis",
        complete=COMPLETE.replace("_dlt_loads", f"{target.schema}._dlt_loads"),
        **(period.literals() if period else {}),
    )
    shown = sql
    for name in names:
        shown = shown.replace("%s", "'" + name.replace("'", "''") + "'", 1)
    if (found := answer(pipeline, sql, *names)) is None:
        return Answer(shown, None)
    columns, rows = found
    return Answer(shown, [dict(zip(columns, map(plain, row), strict=True)) for row in rows])


def plain(value: Any) -> Any:
    """A value as Python has it, whatever the client makes of numbers and times."""
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, Decimal | float):
        return int(value) if isfinite(value) and value == int(value) else float(value)
    return value


def funnel(steps: int) -> str:
    """The sessions that viewed one page after the other, each step named by the id or the name of its page."""
    parts = [
        """views as (
    select full_session_id, view_number, page_id, page_name
    from {marts}.page_views
    where start_time >= '{since}' and start_time < '{until}'
)""",
        """step_1 as (
    select full_session_id, min(view_number) as place
    from views
    where %s in (page_id, page_name)
    group by full_session_id
)""",
    ]
    for step in range(2, steps + 1):
        parts.append(
            f"""step_{step} as (
    select views.full_session_id, min(views.view_number) as place
    from views
    inner join step_{step - 1} as earlier on views.full_session_id = earlier.full_session_id
    where %s in (views.page_id, views.page_name) and views.view_number > earlier.place
    group by views.full_session_id
)"""
        )
    counts = [f"select {step} as step, count(*) as sessions from step_{step}" for step in range(1, steps + 1)]
    return "with " + ",\n\n".join(parts) + "\n\n" + "\nunion all\n".join(counts) + "\norder by step"
