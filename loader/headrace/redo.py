"""Days to do again: requests that wait beside the loads until a green build has met them.

A build takes one request, so each asks for a few days only: however long a time is asked for, no batch holds all of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from datetime import time as clock

import dlt

from .errors import UsageError
from .pipeline import by_day, client_of, query, utc_days
from .target import Target
from .warehouses import warehouse_of

REQUEST_DAYS = 8
"""A request asks for so many days that have events."""


@dataclass(frozen=True)
class Request:
    """Days to do again."""

    first_day: date
    last_day: date
    devices: int
    """How many devices' events; 0 for those of all devices."""
    reason: str
    since: datetime

    def holds(self, day: date) -> bool:
        """Whether all events of a day will be done again for it."""
        return not self.devices and self.first_day <= day <= self.last_day


@dataclass(frozen=True)
class Days:
    """The days of a span that have events."""

    days: list[date]
    events: int

    def slices(self) -> list[tuple[date, date]]:
        """First and last days of the requests that they take."""
        parts = [self.days[at : at + REQUEST_DAYS] for at in range(0, len(self.days), REQUEST_DAYS)]
        return [(part[0], part[-1]) for part in parts]


def waiting(pipeline: dlt.Pipeline) -> list[Request]:
    """The requests that no green build has met, in the order in which builds take them."""
    found = query(
        pipeline,
        "select min(first_day), max(last_day), count(device_id), min(reason), min(requested_time) "
        "from redo group by request_id order by request_id",
    )
    return [Request(*one) for one in found]


def days_of(pipeline: dlt.Pipeline, target: Target, since: date, until: date | None) -> Days:
    """The days of `events` on which there is what is of a span of days, by the time that is believed.

    An event of a wrong clock lies in `events` on the day that its clock said.

    Raises:
        UsageError: the span ends before it begins, or nothing was built yet.
    """
    if until and until < since:
        raise UsageError(f"--until {until} is before --since {since}")
    if not query(pipeline, "select count(*) from int_wrong_clocks where 1 = 0"):
        raise UsageError(f"{target.label}: nothing was built here yet; `headrace sync` loads and builds")
    last = until or date.max
    span = (datetime.combine(since, clock.min, UTC), datetime.combine(last, clock.max, UTC))
    found = query(
        pipeline,
        "select min(event_time), max(event_time), count(*) from ("
        "select event_time from events where event_time between %s and %s union all "
        "select device_time as event_time from int_wrong_clocks where event_time between %s and %s "
        f"and not device_time between %s and %s) as found group by {by_day('event_time')}",
        *span * 3,
    )
    seen = {day for first, last, _ in found for day in utc_days(first, last)}
    return Days(sorted(seen), sum(count for _, _, count in found))


def ask(pipeline: dlt.Pipeline, target: Target, found: Days, reason: str) -> None:
    """Request days to be done again, all at once; not those that wait for it already."""
    waits = waiting(pipeline)
    days = [day for day in found.days if not any(one.holds(day) for one in waits)]
    if not days:
        return
    now = time.time()
    rows = [
        (f"{now:.6f}-{number:04}", first, last, reason, datetime.fromtimestamp(now, UTC))
        for number, (first, last) in enumerate(Days(days, 0).slices())
    ]
    warehouse = warehouse_of(target)
    with client_of(pipeline) as client:
        client.execute_sql(
            f"create table if not exists redo (request_id {warehouse.text_type}, first_day date, last_day date, "
            f"device_id bigint, reason {warehouse.text_type}, requested_time {warehouse.time_type})"
        )
        client.execute_sql(
            "insert into redo (request_id, first_day, last_day, reason, requested_time) values "
            + ", ".join(["(%s, %s, %s, %s, %s)"] * len(rows)),
            *(value for row in rows for value in row),
        )
