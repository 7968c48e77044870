"""`headrace report`: what is published, as one HTML file that needs nothing beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import UsageError
from ..pipeline import connected
from ..status import status
from ..target import Target, var_of, write_at_once
from . import queries
from .page import Figures, render


def report(target: Target, out: Path, days: int) -> None:
    """Write the report on the days up to that of the newest published event.

    Raises:
        UsageError: nothing is published, a var of it is no good, or the file can't be written.
    """
    found = read(target, days)
    try:
        write_at_once(out, render(found))
    except OSError as error:
        raise UsageError(f"{out} can't be written: {error.strerror}") from None


def read(target: Target, days: int) -> Figures:
    """All that is on the page."""
    zone, steps = _zone(target), _steps(target)
    with connected(target) as pipeline:
        newest = queries.ask(pipeline, target, queries.NEWEST)
        if not newest.rows or newest.rows[0]["newest_event"] is None:
            raise UsageError(f"{target.label} has no sessions to report on yet: run `headrace sync`")
        period = queries.Period(newest.rows[0]["newest_event"], days, zone)
        answers = {name: queries.ask(pipeline, target, sql, period) for name, sql in queries.QUERIES.items()}
        if steps:
            answers["funnel"] = queries.ask(pipeline, target, queries.funnel(len(steps)), period, *steps)
    return Figures(target.label, datetime.now(UTC), period, status(target), answers, steps)


def _zone(target: Target) -> ZoneInfo:
    name = var_of(target, "reporting_timezone") or "UTC"
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"the var reporting_timezone: {name!r} is no time zone such as Europe/Berlin") from None


def _steps(target: Target) -> list[str]:
    told = var_of(target, "report_funnel")
    if told is None:
        return []
    if not isinstance(told, list) or len(told) < 2 or not all(isinstance(step, str) and step for step in told):
        raise UsageError("the var report_funnel: it wants two pages or more, by name or id, such as [Cart, Checkout]")
    return told
