"""The report: each figure against Python that counts the feed itself; what visitors typed; and a real browser."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from math import ceil, floor
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

import pytest
from bs4 import BeautifulSoup, Tag
from conftest import PROJECT, TESTS, UNREAD, Warehouse, event, leave_out, ndjson
from headrace import report
from headrace.errors import UsageError
from headrace.report import charts
from headrace.report.page import Figures, Notice, Vital, ago, change, render, text
from headrace.report.queries import Answer
from headrace.status import Failing, FeedStatus, Rejections
from headrace.target import Target, read_target

NASTY = """</title><script>alert(1)</script>"'><img src=x onerror=alert(2)>\u202egnp.\u2066"""
PATHS = ["/", "/market", "/cart", "/checkout", "/<b>&amp;'\""]
LAST = datetime(2026, 3, 20, 15, 30, tzinfo=UTC)
DAYS = 14
ASKED = ("analysis_exceptions", "analysis_crashes")
PAID = {"event_name": "Paid", "event_properties": {"price": 2.5}, "event_definition_id": "pays"}
CONVERSIONS = [{"name": "Order", "event_name": "Paid", "value": "price"}]
EMPTY_DAYS = (3, 9)
"""So many days before the last one nothing happened."""


@dataclass
class Visit:
    """A page of a session, with its clicks."""

    path: str
    at: datetime
    rage: int
    dead: int


@dataclass
class Session:
    """What a person did, from which all figures are counted."""

    device: int
    number: int
    browser: str | None
    country: str
    visits: list[Visit]
    errors: list[str]
    loads: list[float]
    defined: int
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def start(self) -> datetime:
        return self.visits[0].at

    @property
    def key(self) -> str:
        return f"{self.device}:{self.number}"

    @property
    def user(self) -> str:
        """Two devices are one user, half of them; the others are nobody's."""
        return f"user-{self.device // 2}" if self.device < 6 else f"anon_{self.device}"

    def days(self) -> set[date]:
        return {datetime.fromisoformat(one["event_time"]).date() for one in self.events}


def made_sessions() -> list[Session]:
    rng = random.Random(7)
    sessions = []
    for number in range(1, 160):
        before = 0 if number == 1 else rng.choice([day for day in range(40) if day not in EMPTY_DAYS])
        start = LAST - timedelta(days=before, minutes=30 if number == 1 else rng.randrange(20, 15 * 60 + 20))
        visits = [
            Visit(rng.choice(PATHS), start + timedelta(minutes=2 * place), rng.randrange(3), rng.randrange(2))
            for place in range(rng.randrange(1, 5))
        ]
        session = Session(
            device=rng.randrange(1, 13),
            number=number,
            browser=rng.choice(["Chrome", "Firefox", NASTY, None]),
            country=rng.choice(["DE", "JP"]),
            visits=visits,
            errors=[rng.choice([NASTY, "TypeError: x"]) for _ in range(rng.randrange(3))],
            loads=[rng.choice([900.0, 2_400.0, 3_000.0, 4_500.0]) for _ in range(rng.randrange(3))],
            defined=rng.randrange(3),
        )
        session.events = list(events_of(session))
        sessions.append(session)
    sessions[0].events.append(one_event(sessions[0], LAST, sessions[0].visits[-1].path, "highlight", {}))
    return sessions


def events_of(session: Session) -> Iterator[dict[str, Any]]:
    for view, visit in enumerate(session.visits):
        yield one_event(session, visit.at, visit.path, "navigate", {"navigate_reason": "navigate"}, view)
        for _ in range(visit.rage):
            yield one_event(session, visit.at, visit.path, "click", {"fs_rage_count": 3}, view)
        for _ in range(visit.dead):
            yield one_event(session, visit.at, visit.path, "click", {"fs_dead_count": 1}, view)
    first = session.visits[0]
    if session.device < 6:
        yield one_event(session, first.at, first.path, "identify", {"user_id": session.user})
    for message in session.errors:
        yield one_event(session, first.at, first.path, "exception", {"message": message})
    for millis in session.loads:
        yield one_event(session, first.at, first.path, "load", {"largest_paint_time_millis": millis})
    for _ in range(session.defined):
        yield one_event(session, first.at, first.path, "custom", PAID)


def one_event(
    session: Session, at: datetime, path: str, event_type: str, properties: dict[str, Any], view: int = 0
) -> dict[str, Any]:
    one_event.ids += 1  # type: ignore[attr-defined]
    moment = f"{at:%Y-%m-%dT%H:%M:%S}.000000Z"
    source = {
        "url": {"full_url": f"https://shop.example{path}", "host": "shop.example", "path": path},
        "user_agent": {"browser": session.browser, "device": "Desktop", "operating_system": "Linux"},
        "location": {"country": session.country},
    }
    return event(
        f"e{one_event.ids}",  # type: ignore[attr-defined]
        event_time=moment,
        processed_time=moment,
        device_id=session.device,
        session_id=session.number,
        view_id=session.number * 10 + view,
        event_type=event_type,
        event_properties=json.dumps(properties),
        source_properties=json.dumps(source),
    )


one_event.ids = 0  # type: ignore[attr-defined]


@dataclass
class Shop:
    """What happened, the warehouse that has it, and the page on it."""

    sessions: list[Session]
    warehouse: Warehouse
    figures: Figures

    @property
    def page(self) -> BeautifulSoup:
        return BeautifulSoup(render(self.figures), "html.parser")

    @property
    def recent(self) -> list[Session]:
        first = LAST.date() - timedelta(days=DAYS - 1)
        return [one for one in self.sessions if one.start.date() >= first]

    @property
    def earlier(self) -> list[Session]:
        first = LAST.date() - timedelta(days=DAYS - 1)
        return [one for one in self.sessions if first - timedelta(days=DAYS) <= one.start.date() < first]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    warehouse = Warehouse(tmp_path_factory.mktemp("report"))
    sessions = made_sessions()
    feed = warehouse.project / "feed" / "events"
    by_day: dict[date, list[dict[str, Any]]] = defaultdict(list)
    for session in sessions:
        by_day[session.start.date()] += session.events
    for day, events in by_day.items():
        folder = feed / f"ingested_time={day} 16:00:00"
        folder.mkdir(parents=True)
        (folder / "part.ndjson").write_bytes(ndjson(*events))
    with (folder / "part.ndjson").open("ab") as file:
        file.write(b"no json\n")
    (feed / "notes.docx").write_bytes(b"PK")
    warehouse.set_vars(conversions=CONVERSIONS)
    warehouse.begins_built = False
    unasked = [
        f"fqn:{model.stem}" for model in (PROJECT / "models" / "analysis").glob("*.sql") if model.stem not in ASKED
    ]
    leave_out(warehouse.project, UNREAD[1], TESTS, *unasked)
    warehouse.sync("feed")
    return Shop(sessions, warehouse, report.read(target_of(warehouse), DAYS))


def target_of(warehouse: Warehouse, **vars: Any) -> Target:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_DUCKDB", str(warehouse.database))
        return read_target(None, warehouse.project, vars=vars)


def words(tag: Tag | None) -> str:
    assert tag is not None
    return " ".join(tag.get_text(" ").split())


def table(page: BeautifulSoup, section: str, place: int = 0) -> list[list[str]]:
    """The cells of a table of a section, without what stands small beside them."""
    found = page.select(f"#{section} table")[place]
    for small in found.select("small"):
        small.decompose()
    return [
        [words(cell) for cell in row.select("th, td") if "bar" not in cell.get("class", [])]
        for row in found.select("tbody tr")
    ]


def test_users_sessions_and_page_views(shop: Shop) -> None:
    page = shop.page
    for name, count in {
        "Users": lambda some: len({one.user for one in some}),
        "Sessions": len,
        "Page views": lambda some: sum(len(one.visits) for one in some),
    }.items():
        assert count(shop.recent) > 5
        figure = page.select_one(f'.hero [data-figure="{name}"]')
        assert words(figure) == f"{count(shop.recent):,}"
        assert f"from {count(shop.earlier):,}" in words(figure.parent)
        share = abs(count(shop.recent) - count(shop.earlier)) / count(shop.earlier)
        assert f"{100 * share:.1f}%" in words(figure.parent)


def test_each_day_is_counted_and_a_day_without_events_is_zero(shop: Shop) -> None:
    page = shop.page
    found = {row[0]: row[1:] for row in table(page, "glance")}
    assert len(found) == DAYS
    for before in range(DAYS):
        day = LAST.date() - timedelta(days=before)
        there = [one for one in shop.sessions if day in one.days()]
        views = [visit for one in shop.sessions for visit in one.visits if visit.at.date() == day]
        firsts = {user for user in {one.user for one in there} if day == first_day(shop, user)}
        clicks = Counter({"rage": sum(one.rage for one in views), "dead": sum(one.dead for one in views)})
        errors = sum(len(one.errors) for one in shop.sessions if one.start.date() == day)
        wanted = [
            len({one.user for one in there}),
            len(there),
            len(views),
            len(firsts),
            clicks["rage"],
            clicks["dead"],
            errors,
        ]
        assert found[f"{day.day} {day:%B %Y}"] == [f"{one:,}" for one in wanted]
        assert bool(there) == (before not in EMPTY_DAYS)
    more = {
        name: words(page.select_one(f'.tiles [data-figure="{name}"]')).split()[0]
        for name in ("Rage clicks", "Exceptions")
    }
    columns = {"Rage clicks": 4, "Exceptions": 6}
    assert more == {name: f"{sum(int(row[place]) for row in found.values()):,}" for name, place in columns.items()}


def first_day(shop: Shop, user: str) -> date:
    return min(day for one in shop.sessions if one.user == user for day in one.days())


def test_pages_and_their_frustration(shop: Shop) -> None:
    page = shop.page
    visits = [(one, visit) for one in shop.recent for visit in one.visits]
    wanted = {
        f"shop.example{path}".rstrip("/") if path != "/" else "shop.example/": [
            sum(visit.path == path for _, visit in visits),
            len({one.user for one, visit in visits if visit.path == path}),
            sum(one.visits[0].path == path for one in shop.recent),
            sum(one.visits[-1].path == path for one in shop.recent),
            sum(visit.rage for _, visit in visits if visit.path == path),
            sum(visit.dead for _, visit in visits if visit.path == path),
        ]
        for path in PATHS
    }
    found = {name: [int(cell) for cell in cells] for name, *cells in table(page, "pages")}
    assert found == wanted
    assert sum(views for views, *_ in found.values()) == sum(len(one.visits) for one in shop.recent)
    order = sorted(wanted, key=lambda name: (-sum(wanted[name][4:]), name))
    cards = page.select("#frustration .worst > li")
    assert [words(card.h3) for card in cards] == order
    for name, card in zip(order, cards, strict=True):
        assert words(card.select_one(".value")).startswith(f"{sum(wanted[name][4:])} rage or dead clicks")
        links = [link["href"] for link in card.select("a")]
        clicks = Counter[str]()
        for one, visit in visits:
            clicks[one.key] += (visit.rage + visit.dead) * (f"shop.example{visit.path}" == name)
        worst = sorted(clicks, key=lambda key: (-clicks[key], key))[:3]
        assert links == [f"https://app.fullstory.com/ui/org/session/{key}?url_source=DD" for key in worst]


def test_vitals_are_rated_by_day(shop: Shop) -> None:
    page = shop.page
    by_day: dict[date, list[float]] = defaultdict(list)
    for one in shop.recent:
        if one.loads:
            by_day[one.start.date()] += one.loads
    p75 = {day: percentile(values, 0.75) for day, values in by_day.items()}
    cards = page.select("#vitals .vital")
    assert [words(card.figcaption) for card in cards] == ["Largest contentful paint"], "no other one was measured"
    rated = Counter(
        "good" if value <= 2500 else "needs improvement" if value <= 4000 else "poor" for value in p75.values()
    )
    assert len(rated) == 3
    said = words(cards[0])
    assert f"{median(p75.values()) / 1000:.2f} s" in said
    kinds = [f"{rated[rating]} {rating}" for rating in ("good", "needs improvement", "poor")]
    assert f"Days: {', '.join(kinds)}" in said


def percentile(values: list[float], fraction: float) -> float:
    ordered, place = sorted(values), fraction * (len(values) - 1)
    low, high = ordered[floor(place)], ordered[ceil(place)]
    return low + (high - low) * (place - floor(place))


def test_a_rating_begins_where_the_standard_says() -> None:
    vital = Vital("x", "x", 2500, 4000)
    assert [vital.rating(one) for one in (2500, 2500.1, 4000, 4000.1)] == ["good", "fair", "fair", "poor"]


def test_errors_audience_and_defined_events(shop: Shop) -> None:
    page = shop.page
    found = {message: cells for message, *cells in table(page, "errors")}
    assert len(found) == 2
    for message in (NASTY, "TypeError: x"):
        hit = [one for one in shop.recent if message in one.errors]
        events = sum(one.errors.count(message) for one in hit)
        last = max(one.start for one in hit)
        wanted = [str(events), str(len(hit)), str(len({one.device for one in hit})), f"{last:%Y-%m-%d %H:%M} UTC"]
        assert found[BeautifulSoup(str(text(message)), "html.parser").get_text()] == wanted
    browsers = {name: cells for name, *cells in table(page, "audience", 2)}
    for browser in ("Chrome", "Firefox", None):
        some = [one for one in shop.recent if one.browser == browser]
        assert browsers[browser or "not set"] == [str(len(some)), str(len({one.user for one in some}))]
    assert len(browsers) == 4
    now, before = (sum(one.defined for one in some) for some in (shop.recent, shop.earlier))
    share = (now - before) / before
    sign = "+" if share > 0 else "−"
    assert table(page, "events") == [["pays", str(now), str(before), f"{sign}{abs(100 * share):.1f}%"]]


def test_conversions_and_the_channels_that_they_came_by(shop: Shop) -> None:
    now, before = (sum(one.defined for one in some) for some in (shop.recent, shop.earlier))
    users = len({one.user for one in shop.recent if one.defined})
    ((name, *cells, _),) = table(shop.page, "conversions")
    assert [name, *cells] == ["Order", str(now), str(users), f"{2.5 * now:,.2f}", str(before)]
    channels = table(shop.page, "audience")
    assert channels == [["Direct", str(len(shop.recent)), str(len({one.user for one in shop.recent}))]]


def test_retention_is_by_calendar_week(shop: Shop) -> None:
    weeks: dict[str, set[date]] = defaultdict(set)
    for one in shop.sessions:
        weeks[one.user].add(one.start.date() - timedelta(days=one.start.weekday()))
    cohorts: dict[date, list[str]] = defaultdict(list)
    for user, came in weeks.items():
        cohorts[min(came)].append(user)
    newest = LAST.date() - timedelta(days=LAST.weekday())
    wanted = []
    for monday, users in sorted(cohorts.items()):
        later = [monday + timedelta(weeks=week) for week in range((newest - monday).days // 7 + 1)]
        shares = [sum(week in weeks[user] for user in users) / len(users) for week in later]
        wanted.append(
            [f"{monday.day} {monday:%B %Y}", str(len(users)), *(f"{round(100 * share)}%" for share in shares)]
        )
    assert table(shop.page, "retention") == wanted
    assert len(wanted) > 1


def test_the_funnel_of_the_var(shop: Shop) -> None:
    assert shop.page.select("#funnel") == []
    steps = ["shop.example/", "shop.example/cart", "shop.example/checkout"]
    figures = report.read(target_of(shop.warehouse, report_funnel=steps), DAYS)
    reached = [0, 0, 0]
    for one in shop.recent:
        left = [visit.path for visit in one.visits]
        for place, step in enumerate(steps):
            path = step.removeprefix("shop.example")
            if path not in left:
                break
            reached[place] += 1
            left = left[left.index(path) + 1 :]
    assert reached[0] > reached[1] > 0
    found = table(BeautifulSoup(render(figures), "html.parser"), "funnel")
    assert [row[1] for row in found] == [str(one) for one in reached]
    for wrong in ("Cart", ["Cart"], [1, 2]):
        with pytest.raises(UsageError, match="report_funnel: it wants two pages"):
            report.read(target_of(shop.warehouse, report_funnel=wrong), DAYS)


def test_the_pipeline_stands_first(shop: Shop) -> None:
    page = shop.page
    assert [section["id"] for section in page.select("main > section")] == [
        "pipeline", "glance", "conversions", "pages", "frustration", "vitals", "errors", "audience", "events",
        "retention",
    ]  # fmt: skip
    tiles = {words(one.dt): words(one.dd) for one in page.select("#pipeline .tiles > div")}
    assert tiles["Newest hour"].startswith("20 Mar 16:00 UTC, ")
    assert tiles["Rows rejected"] == "1 1 reason"
    assert tiles["Files not read"].startswith("1 of ")
    notices = [words(one) for one in page.select("#pipeline .notices li")]
    assert any("1 row rejected" in one for one in notices)
    assert any("notes.docx" in one for one in notices)
    assert any(re.search(r"the newest published hour is \d+ days ago", one) for one in notices)
    delivered = {day: int(rows) for day, rows, _ in table(page, "pipeline")}
    for one in (LAST.date(), LAST.date() - timedelta(days=EMPTY_DAYS[0])):
        rows = sum(len(session.events) for session in shop.sessions if session.start.date() == one)
        assert delivered[f"{one.day} {one:%B %Y}"] == rows
    late = {one.start.date() for one in shop.recent if one.start < datetime(*one.start.timetuple()[:3], 13, tzinfo=UTC)}
    assert tiles["Late hours"].startswith(f"{len(late)} ")


def test_what_is_wrong_is_told_the_worst_first(shop: Shop) -> None:
    at = datetime(2026, 3, 20, tzinfo=UTC)
    now = replace(
        shop.figures.status,
        failing=Failing(at, 3, "model x: <boom>"),
        feeds=[FeedStatus("s3://feed", at, None, None, None, None, "no such bucket")],
        rejected=[Rejections("not JSON", 2, "a.ndjson", 7)],
        unread=[],
        lost=["product_marts.users"],
    )
    notices = replace(shop.figures, status=now).notices
    assert notices[:3] == [
        Notice("bad", "3 builds failed since 2026-03-20 00:00 UTC: model x: <boom>"),
        Notice("bad", "gone, empty or unreadable: product_marts.users"),
        Notice("bad", "s3://feed can't be looked at: no such bucket"),
    ]
    assert Notice("look", "2 rows rejected: not JSON, such as a.ndjson:7") in notices[3:]
    assert "model x: &lt;boom&gt;" in render(replace(shop.figures, status=now))


def test_both_times_are_told(shop: Shop) -> None:
    told = [time["datetime"] for time in shop.page.select("header time")]
    assert datetime.fromisoformat(told[0]) == LAST
    assert datetime.now(UTC) - datetime.fromisoformat(told[1]) < timedelta(minutes=10)
    assert words(shop.page.h1) == "7 March 2026 to 20 March 2026"


def test_days_are_of_the_zone_of_the_var(shop: Shop) -> None:
    figures = report.read(target_of(shop.warehouse, reporting_timezone="Pacific/Kiritimati"), DAYS)
    assert figures.period.last == date(2026, 3, 21)
    assert "start_time < '2026-03-21 10:00:00+00:00'" in figures.answers["totals"].sql
    with pytest.raises(UsageError, match="reporting_timezone: 'Mars' is no time zone"):
        report.read(target_of(shop.warehouse, reporting_timezone="Mars"), DAYS)


def test_what_visitors_typed_is_text_and_nothing_is_fetched(shop: Shop) -> None:
    html = render(shop.figures)
    page = shop.page
    assert page.select("script, img, iframe, link, object, [onerror], [onclick], base") == []
    assert "\u202e" not in html and "\u2066" not in html
    assert "\\u202egnp." in words(page.select_one("#errors"))
    assert page.title and "script" not in page.title.get_text()
    addresses = [tag["href"] for tag in page.select("[href]")] + [tag["src"] for tag in page.select("[src]")]
    outward = [one for one in addresses if not one.startswith("#")]
    assert len(outward) == len(page.select("#frustration .replays a")) > 3
    assert all(one.startswith("https://app.fullstory.com/ui/org/session/") for one in outward)
    assert not re.search(r"url\(|@import", html)
    policy = page.select_one('meta[http-equiv="Content-Security-Policy"]')
    assert policy and policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_a_replay_that_is_no_web_address_is_no_link(shop: Shop) -> None:
    rows = [{**row, "replay_url": "javascript:alert(1)"} for row in shop.figures.rows("frustration")]
    answers = {**shop.figures.answers, "frustration": Answer("select 1", rows)}
    page = BeautifulSoup(render(replace(shop.figures, answers=answers)), "html.parser")
    assert len(page.select("#frustration .replays li")) > 3
    assert page.select("#frustration a") == []


class Balance(HTMLParser):
    """Whether each element is closed where it must be."""

    VOID = ("meta", "br", "img", "link", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("path", "rect"), tag

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())


def check(html: str) -> None:
    """Balanced, ids once, headings in order, and what has to be said to those who don't see."""
    balance = Balance()
    balance.feed(html)
    assert balance.open == []
    assert len(balance.ids) == len(set(balance.ids))
    page = BeautifulSoup(html, "html.parser")
    assert page.html and page.html["lang"] == "en"
    levels = [int(tag.name[1]) for tag in page.find_all(re.compile("^h[1-6]$"))]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(found.caption for found in page.select("table"))
    assert all(cell.get("scope") for cell in page.select("th"))
    for drawn in page.select("svg"):
        is_told = drawn.get("role") == "img" and drawn.title and drawn.title.get_text() and drawn.desc
        assert is_told or drawn.get("aria-hidden") == "true"
    for section in page.select("main > section"):
        assert page.select_one(f"#{section['aria-labelledby']}")
        assert section.select("details.query pre"), section["id"]
    assert all(page.select(link["href"]) for link in page.select("nav a"))


def test_the_page_is_whole_html(shop: Shop) -> None:
    check(render(shop.figures))


@pytest.mark.parametrize("rows", [[], None], ids=["no rows", "not there"])
def test_what_has_no_rows_says_so_and_draws_nothing(shop: Shop, rows: list[Any] | None) -> None:
    answers = {name: replace(answer, rows=rows) for name, answer in shop.figures.answers.items()}
    html = render(replace(shop.figures, answers=answers, steps=[]))
    check(html)
    page = BeautifulSoup(html, "html.parser")
    assert page.select("svg[role=img], #events, #funnel") == []
    said = [words(one) for one in page.select("section > .empty")]
    assert len(said) == 7
    assert all(("not in the warehouse" in one) == (rows is None) for one in said)


def test_one_day_is_no_line(shop: Shop) -> None:
    html = render(report.read(target_of(shop.warehouse), 1))
    check(html)
    page = BeautifulSoup(html, "html.parser")
    assert len(page.select(".hero .empty")) == 3
    assert page.select(".hero svg") == []


def test_a_year_is_less_than_a_megabyte(shop: Shop) -> None:
    html = render(report.read(target_of(shop.warehouse), 366))
    check(html)
    assert len(html.encode()) < 1_000_000
    page = BeautifulSoup(html, "html.parser")
    assert words(page.select_one('.hero [data-figure="Sessions"]')) == str(len(shop.sessions))
    assert "nothing to compare with" in words(page.select_one(".hero"))


def test_the_command_writes_the_file_and_says_where(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "weekly.html"
    assert str(out) in shop.warehouse.headrace("report", "--out", out, "--days", str(DAYS))
    page = BeautifulSoup(out.read_text(encoding="utf-8"), "html.parser")
    assert words(page.select_one('.hero [data-figure="Sessions"]')) == str(len(shop.recent))
    said = shop.warehouse.headrace("report", "--out", tmp_path / "no" / "folder.html", status=2)
    assert "folder.html can't be written" in said


def test_nothing_built_is_one_line(warehouse: Warehouse) -> None:
    said = warehouse.headrace("report", status=2)
    assert "has no sessions to report on yet: run `headrace sync`" in said
    assert len(said.splitlines()) == 1
    assert not warehouse.database.exists()


def test_charts_have_scales_that_halve() -> None:
    assert [charts.nice(one) for one in (0, 2, 3, 11, 45, 101, 999)] == [2, 2, 4, 20, 50, 200, 1000]
    drawn = str(charts.lines([None, 0, 4, None, 2], [None] * 5, "A <b>", "B", ["x"] * 5))
    assert "<title>A &lt;b&gt;</title>" in drawn
    assert 'class="line" d="M1 100.0L2 0.0"' in drawn
    assert str(charts.spark([0, 0])) == "" == str(charts.spark([None, 1]))


def test_words_of_numbers() -> None:
    assert [ago(timedelta(seconds=one)) for one in (0, 59, 60, 7200, 90_000)] == [
        "0 minutes", "less than a minute", "1 minute", "2 hours", "1 day"
    ]  # fmt: skip
    assert (change(3, 2), change(3, 0), change(3, None)) == (0.5, None, None)
    assert str(text("a" * 300)).count("a") == 199


BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
SWITCHES = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]


class Browser:
    """Chromium by WebDriver, which is JSON by HTTP."""

    def __init__(self, driver: subprocess.Popen[str]) -> None:
        assert driver.stdout
        port = next(found[1] for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line)))
        self.address = f"http://127.0.0.1:{port}/session"
        options = {"binary": BROWSER, "args": SWITCHES}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.address += "/" + self.ask("", capabilities={"alwaysMatch": wanted})["sessionId"]

    def ask(self, path: str, method: str = "POST", **content: Any) -> Any:
        data = json.dumps(content).encode() if method == "POST" else None
        call = Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        with urlopen(call, timeout=60) as answer:
            return json.load(answer)["value"]

    def tell(self, command: str, **params: Any) -> Any:
        return self.ask("/goog/cdp/execute", cmd=command, params=params)

    def run(self, script: str) -> Any:
        return self.ask("/execute/sync", script=script, args=[])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        found = Browser(driver)
        yield found
        found.ask("", "DELETE")
        driver.terminate()


@pytest.mark.examples
@pytest.mark.xdist_group("browser")
@pytest.mark.skipif(not (BROWSER and DRIVER), reason="Debian's chromium and chromium-driver are not here")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(shop: Shop, browser: Browser, width: int, scheme: str, tmp_path: Path) -> None:
    """No word in its console, nothing fetched, nothing wider than the window, all text with a contrast of AA."""
    file = tmp_path / "report.html"
    file.write_text(render(shop.figures), encoding="utf-8")
    is_phone = width < 500
    browser.tell("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=is_phone)
    browser.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.ask("/url", url=file.as_uri())
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.run("return matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
    assert browser.run("return document.documentElement.scrollWidth") == width
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.run("return document.querySelectorAll('svg[role=img]').length") > 4
    assert browser.run(FAINT) == []
    assert browser.ask("/se/log", type="browser") == []
    if folder := os.environ.get("HEADRACE_SHOTS"):
        height = browser.run("return document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = browser.tell("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        (Path(folder) / f"report-{width}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))


FAINT = """
const rgb = (color) => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
const behind = (one) => {
  for (let at = one; at; at = at.parentElement) {
    const found = rgb(getComputedStyle(at).backgroundColor);
    if (found[3] === 255) return found;
  }
  return rgb('white');
};
return [...document.querySelectorAll('body *:not(svg *)')]
  .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  .map((one) => {
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(behind(one))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.className, one.textContent.trim().slice(0, 40)];
  })
  .filter(([contrast]) => contrast < 4.5);
"""
"""Text whose contrast with what is behind it is less than AA wants, whatever its size."""
