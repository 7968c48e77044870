"""The figures of the report, and the page that shows them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..checks import LATE_MICROSECONDS
from ..status import Status
from ..visible import visible
from . import charts
from .queries import Answer, Period, Row

LATE = timedelta(microseconds=LATE_MICROSECONDS)
"""What happened so long before the hour of its file came late."""

OLD = timedelta(days=1)
"""A feed whose newest hour was so long ago may have stopped."""


@dataclass(frozen=True)
class Vital:
    """A web vital, and the ends of what is good and of what needs improvement (web.dev/vitals)."""

    column: str
    name: str
    good: float
    fair: float
    is_time: bool = True

    def rating(self, value: float) -> str:
        """Its class."""
        return "good" if value <= self.good else "fair" if value <= self.fair else "poor"

    def shown(self, value: float) -> str:
        """The value with its unit."""
        if not self.is_time:
            return f"{value:.3f}"
        return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms"


VITALS = (
    Vital("largest_paint_time_millis_p75", "Largest contentful paint", 2500, 4000),
    Vital("interaction_to_next_paint_millis_p75", "Interaction to next paint", 200, 500),
    Vital("cumulative_layout_shift_p75", "Cumulative layout shift", 0.1, 0.25, is_time=False),
    Vital("first_input_delay_millis_p75", "First input delay", 100, 300),
)
BREAKDOWNS = ("Channels", "Devices", "Browsers", "Systems", "Countries")
RATINGS = {"good": "good", "fair": "needs improvement", "poor": "poor"}


@dataclass(frozen=True)
class Notice:
    """What somebody should look at: bad when figures may be wrong or old, else worth a look."""

    kind: str
    words: str


@dataclass(frozen=True)
class Series:
    """A figure of each day, with the days before; None where there are none yet."""

    name: str
    total: int
    total_before: int | None
    values: list[float | None]
    before: list[float | None]
    labels: list[str]

    @property
    def is_drawn(self) -> bool:
        """Whether there are two days to draw a line between."""
        return sum(value is not None for value in self.values) > 1

    @property
    def chart(self) -> Markup:
        """Its line."""
        known = [(value, label) for value, label in zip(self.values, self.labels, strict=True) if value is not None]
        most, least = max(known), min(known)
        words = f"From {known[0][1]} to {known[-1][1]}. Most: {most[1]}. Least: {least[1]}."
        return charts.lines(self.values, self.before, f"{self.name} by day", words, self.labels)

    @property
    def top(self) -> float:
        """The end of its scale."""
        return charts.nice(max(value for value in (*self.values, *self.before) if value is not None))


@dataclass(frozen=True)
class Figures:
    """All that the page shows, as the template asks for it."""

    target: str
    written: datetime
    period: Period
    status: Status
    answers: Mapping[str, Answer]
    steps: list[str]

    def rows(self, name: str) -> list[Row]:
        """What a statement found; nothing where its relation is not there."""
        return self.answers[name].rows or []

    @cached_property
    def days(self) -> list[date]:
        """The days of the report."""
        return [self.period.first + timedelta(days=place) for place in range(self.period.days)]

    @cached_property
    def days_before(self) -> list[date]:
        """The days that they are compared with."""
        return [self.period.before + timedelta(days=place) for place in range(self.period.days)]

    @cached_property
    def by_day(self) -> dict[date, Row]:
        """The daily figures of the days that have some."""
        return {row["day"]: row for row in self.rows("days")}

    @property
    def known_before(self) -> int:
        """How many of the days before have events."""
        return sum(day in self.by_day for day in self.days_before)

    @cached_property
    def notices(self) -> list[Notice]:
        """What is wrong with the pipeline, the worst first."""
        return sorted(self._notices(), key=lambda notice: notice.kind)

    def _notices(self) -> Iterator[Notice]:
        now = self.status
        if now.failing:
            since = moment(now.failing.since)
            yield Notice("bad", f"{count(now.failing.builds, 'build')} failed since {since}: {now.failing.message}")
        if now.lost:
            yield Notice("bad", f"gone, empty or unreadable: {', '.join(now.lost[:5])}")
        for feed in now.feeds:
            if feed.problem:
                yield Notice("bad", f"{feed.feed} can't be looked at: {feed.problem}")
            elif feed.waiting_files:
                behind = ago(timedelta(seconds=feed.lag_seconds or 0))
                yield Notice("look", f"{feed.feed}: {count(feed.waiting_files, 'file')} wait, {behind} behind")
        if now.newest_hour and self.written - now.newest_hour > OLD:
            yield Notice("look", f"the newest published hour is {ago(self.written - now.newest_hour)} ago")
        if now.queued_loads:
            yield Notice("look", f"{count(now.queued_loads, 'load')} with {now.queued_rows:,} rows wait for a build")
        for found in now.rejected[:5]:
            yield Notice("look", f"{count(found.rows, 'row')} rejected: {found.reason}, such as {found.place}")
        if now.unread:
            yield Notice("look", f"{count(len(now.unread), 'file')} not read, such as {now.unread[0]}")
        if now.wrong_clocks:
            yield Notice("look", f"{count(now.wrong_clocks, 'event')} with a wrong clock")
        if now.skipped:
            yield Notice("look", f"{count(len(now.skipped), 'file or event', 'files or events')} left out by hand")
        if now.redo:
            yield Notice("look", f"days wait to be done again: {now.redo[0].reason}")

    @cached_property
    def late(self) -> list[Row]:
        """The hours of the feed that brought events which had happened three hours before, or longer ago."""
        rows = self.rows("deliveries")
        return [
            row for row in rows if row["oldest_event_time"] and row["oldest_event_time"] < row["ingested_time"] - LATE
        ]

    @property
    def waiting(self) -> int:
        """Files of all feeds that no sync has loaded."""
        return sum(feed.waiting_files or 0 for feed in self.status.feeds)

    @property
    def lag(self) -> timedelta | None:
        """How far the feed that is furthest behind is; None where no feed can be listed."""
        lags = [feed.lag_seconds for feed in self.status.feeds if feed.lag_seconds is not None]
        return timedelta(seconds=max(lags)) if lags else None

    @property
    def latest(self) -> timedelta:
        """How late the latest of them was."""
        return max((row["ingested_time"] - row["oldest_event_time"] for row in self.late), default=timedelta())

    @cached_property
    def delivered(self) -> list[tuple[date, int, int]]:
        """Rows that were delivered and rejected by day of the feed's hours."""
        rows: dict[date, list[int]] = defaultdict(lambda: [0, 0])
        for row in self.rows("deliveries"):
            day = rows[row["ingested_time"].astimezone(self.period.zone).date()]
            day[0] += row["delivered_rows"]
            day[1] += row["rejected_rows"]
        return [(day, *rows[day]) for day in self.days] if rows else []  # type: ignore[misc]

    @property
    def delivered_top(self) -> float:
        """The end of their scale."""
        return charts.nice(max(rows for _, rows, _ in self.delivered))

    @property
    def delivered_chart(self) -> Markup:
        """A bar for each day."""
        labels = [f"{short(day)}: {rows:,} rows" for day, rows, _ in self.delivered]
        words = f"{sum(rows for _, rows, _ in self.delivered):,} rows in {len(labels)} days."
        return charts.bars([rows for _, rows, _ in self.delivered], "Rows delivered by day", words, labels)

    def total(self, column: str, is_now: int = 1) -> int:
        """A figure of the sessions that began in the days, or in those before."""
        return sum(row[column] or 0 for row in self.rows("totals") if row["is_now"] == is_now)

    @cached_property
    def main(self) -> list[Series]:
        """Users, sessions and page views."""
        names = {"users": "Users", "sessions": "Sessions", "page_views": "Page views"}
        is_known = any(row["is_now"] == 0 for row in self.rows("totals"))
        return [
            self._series(column, name, self.total(column), self.total(column, 0) if is_known else None)
            for column, name in names.items()
        ]

    @cached_property
    def more(self) -> list[Series]:
        """What days add up to."""
        names = {
            "new_users": "New users",
            "rage_clicks": "Rage clicks",
            "dead_clicks": "Dead clicks",
            "exceptions": "Exceptions",
        }
        found = []
        for column, name in names.items():
            now, before = (
                sum(self.by_day[day][column] for day in days if day in self.by_day)
                for days in (self.days, self.days_before)
            )
            found.append(self._series(column, name, now, before if self.known_before else None))
        return found

    def _series(self, column: str, name: str, now: int, before: int | None) -> Series:
        first = min(self.by_day, default=self.period.last)

        def value(day: date) -> float | None:
            found = self.by_day.get(day)
            return found[column] if found else None if day < first else 0

        values, earlier = [value(day) for day in self.days], [value(day) for day in self.days_before]
        labels = [
            f"{short(day)}: {'no events yet' if one is None else f'{one:,} {name.lower()}'}"
            + (f" ({old:,} on {short(then)})" if old is not None else "")
            for day, one, then, old in zip(self.days, values, self.days_before, earlier, strict=True)
        ]
        return Series(name, now, before, values, earlier, labels)

    @cached_property
    def worst(self) -> list[tuple[Row, list[Row]]]:
        """The pages with the most rage and dead clicks, each with sessions to look at."""
        groups = [list(rows) for _, rows in groupby(self.rows("frustration"), key=lambda row: row["place"])]
        return [(rows[0], rows) for rows in groups]

    @cached_property
    def vitals(self) -> list[dict[str, Any]]:
        """Those that were measured, with the rating of each day."""
        return [found for vital in VITALS if (found := self._vital(vital))]

    def _vital(self, vital: Vital) -> dict[str, Any] | None:
        def of(days: Sequence[date]) -> dict[date, float]:
            found = {day: self.by_day[day][vital.column] for day in days if day in self.by_day}
            return {day: float(value) for day, value in found.items() if value is not None}

        now, before = of(self.days), of(self.days_before)
        if not now:
            return None
        typical = median(now.values())
        kinds = {day: vital.rating(value) for day, value in now.items()}
        counts = {kind: list(kinds.values()).count(kind) for kind in RATINGS}
        labels = [
            f"{short(day)}: {f'{vital.shown(now[day])}, {RATINGS[kinds[day]]}' if day in now else 'none'}"
            for day in self.days
        ]
        words = ", ".join(f"{days} {RATINGS[kind]}" for kind, days in counts.items() if days)
        return {
            "vital": vital,
            "value": vital.shown(typical),
            "rating": vital.rating(typical),
            "words": words,
            "before": vital.shown(median(before.values())) if before else None,
            "strip": charts.strip([kinds.get(day, "none") for day in self.days], f"{vital.name} by day", words, labels),
            "days": now,
        }

    @cached_property
    def conversions(self) -> list[Row]:
        """What counts by the var, with the days before."""
        found = []
        for name, rows in groupby(self.rows("conversions"), key=lambda row: row["conversion_name"]):
            periods = {row["is_now"]: row for row in rows}
            now = periods.get(1, {"conversions": 0, "users": 0, "value": None})
            before = periods.get(0, {"conversions": 0})["conversions"]
            found.append({**now, "conversion_name": name, "before": before})
        return sorted(found, key=lambda row: (-row["conversions"], row["conversion_name"]))

    @cached_property
    def audience(self) -> list[tuple[str, list[Row]]]:
        """What people came with and from where."""
        found = {name: list(rows) for name, rows in groupby(self.rows("audience"), key=lambda row: row["breakdown"])}
        return [(name, found[name]) for name in BREAKDOWNS if name in found]

    @cached_property
    def definitions(self) -> list[dict[str, Any]]:
        """The defined events that happened most, each with its days."""
        found = []
        for name, group in groupby(self.rows("definitions"), key=lambda row: row["definition_id"]):
            rows = list(group)
            events = {row["day"]: row["events"] for row in rows}
            values = [events.get(day, 0) for day in self.days]
            now, before = sum(values), sum(events.get(day, 0) for day in self.days_before)
            if now:
                words = {"id": name, "name": rows[-1]["definition_name"] or name}
                found.append({**words, "events": now, "before": before, "spark": charts.spark(values)})
        return sorted(found, key=lambda one: (-one["events"], one["id"]))[:15]

    @cached_property
    def funnel(self) -> list[tuple[str, int]]:
        """The steps, with the sessions that got there."""
        if "funnel" not in self.answers:
            return []
        return [(step, row["sessions"]) for step, row in zip(self.steps, self.rows("funnel"), strict=False)]

    @cached_property
    def retention(self) -> list[tuple[date, int, list[int]]]:
        """By week of the first session: users, and how many of them came in each week from that on."""
        found = {(row["first_week"], row["week_number"]): row["users"] for row in self.rows("retention")}
        weeks = self.period.weeks
        return [
            (monday, found[week, week], [found.get((week, later), 0) for later in range(week, len(weeks) + 1)])
            for week, monday in enumerate(weeks, start=1)
            if (week, week) in found
        ]


def render(figures: Figures) -> str:
    """The page."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "ago": ago,
        "count": count,
        "hour": lambda at: f"{short(at.astimezone(UTC))} {at.astimezone(UTC):%H:%M}",
        "day": lambda day: f"{day.day} {day:%B %Y}",
        "moment": moment,
        "name": name,
        "number": number,
        "percent": lambda share: f"{100 * share:.1f}%",
        "short": short,
        "text": text,
    }
    environment.globals |= {"charts": charts, "change": change, "is_link": is_link, "ratings": RATINGS}
    return environment.get_template("page.html").render(figures=figures, version=__version__)


def text(value: Any, most: int = 200) -> Markup:
    """What somebody typed, in one line, apart from the direction of what stands around it."""
    words = visible(" ".join(str(value).split()))
    return Markup("<bdi>{}</bdi>").format(words if len(words) <= most else words[: most - 1] + "…")


def name(value: Any) -> Markup:
    """The same of what may be not set."""
    return Markup('<span class="unset">not set</span>') if value in (None, "") else text(value)


def number(value: float) -> str:
    """With commas."""
    return f"{value:,}"


def count(value: int, one: str, many: str | None = None) -> str:
    """A number of things."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def short(day: date) -> str:
    """A day of this year or the last."""
    return f"{day.day} {day:%b}"


def moment(at: datetime) -> str:
    """A time, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def ago(span: timedelta) -> str:
    """A span of time in its largest unit."""
    seconds = max(span.total_seconds(), 0)
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            return count(int(seconds // size), unit)
    return "less than a minute" if seconds else "0 minutes"


def change(now: float, before: float | None) -> float | None:
    """By which part of it a figure has changed; None where nothing was before."""
    return (now - before) / before if before else None


def is_link(address: Any) -> bool:
    """Whether a link may lead there: only to a page of the web."""
    return str(address).startswith(("https://", "http://"))
