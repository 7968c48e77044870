"""Funnels and retentions by their vars: against Python that tries all ways through the raw events."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import oracle
import pytest
import test_channels
from test_conversions import RefusedError, is_defined, live, page_of, returned, visits
from test_models import Row, Warehouse, event, nulled

ZONE = "America/St_Johns"
WITHIN = {
    "1 second": timedelta(seconds=1),
    "40 seconds": timedelta(seconds=40),
    "30 minutes": timedelta(minutes=30),
    "2 weeks": timedelta(weeks=2),
}
COPY, ORDER, THANKS = {"event_type": "copy"}, {"event_name": "Bought"}, {"page": "shop.example/thanks"}
FUNNELS: list[Row] = [
    {"name": "It's short", "within": "40 seconds", "steps": [{"name": "Any", "event_type": "navigate"}, COPY]},
    {"name": "Order", "within": "30 minutes", "per": "session", "steps": [THANKS, ORDER]},
    {"name": "Twice", "within": "30 minutes", "steps": [{"name": "Once", **COPY}, {"name": "Again", **COPY}]},
    {"name": "Of users", "within": "2 weeks", "per": "user", "steps": [
        THANKS, {"event_definition": "it's dear"}, ORDER, {"page": "Thank you", "event_type": "page_view"},
    ]},
    {"name": "Defined page", "within": "2 weeks", "per": "user", "steps": [
        {**THANKS, "event_definition": "big"}, {"event_type": "custom", "event_definition": "big"},
    ]},
    {"name": "One", "within": "1 second", "steps": [ORDER]},
]  # fmt: skip
for funnel in FUNNELS:
    funnel["steps"] = [{"name": f"step {place}", **step} for place, step in enumerate(funnel["steps"])]
RETENTIONS: list[Row] = [
    {"name": "Any day", "period": "day"},
    {"name": "It's buyers", "period": "week", "start": ORDER, "back": ORDER},
    {"name": "Back", "period": "month", "start": THANKS},
    {"name": "From any", "period": "week", "back": COPY},
]
VARS = ("--vars", json.dumps({"funnels": FUNNELS, "retentions": RETENTIONS, "reporting_timezone": ZONE}))


def day_of(time: datetime) -> date:
    return time.astimezone(ZoneInfo(ZONE)).date()


def first_day(day: date, period: str) -> date:
    return {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[period]


class Raw:
    """What is live, and whose it is."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.table = {row["event_id"]: row for row in live(warehouse)}
        self.sessions = oracle.live_sessions(self.table)
        self.arrivals = test_channels.expected(warehouse)
        self.owners = {name: oracle.owner(self.table, rows) for name, rows in self.sessions.items()}
        self.named = {row["device_id"]: user for user, row, _ in oracle.identifies(self.table)}
        ids = {id(row): event_id for event_id, row in self.table.items()}
        self.views = {ids[id(row)] for rows in self.sessions.values() for row in oracle.page_views(rows)}

    def is_person(self, row: Row) -> bool:
        return not (row["session"] and self.arrivals[row["session"]]["is_bot"])

    def user(self, row: Row) -> str:
        if row["session"]:
            return self.owners[row["session"]]
        return self.named.get(row["device_id"], f"anon_{row['device_id']}")

    def group(self, session: str | None) -> tuple[str, str]:
        """Kind of device and channel."""
        if session is None:
            return "(not set)", "(not set)"
        last = oracle.in_order(self.table, self.sessions[session])[-1]["source"]
        return last["user_agent"]["device"], self.arrivals[session]["channel"]

    def steps(self, step: Row) -> list[tuple[datetime, str]]:
        """The events that are a step, with the time by which they count."""
        found = []
        for event_id, row in self.table.items():
            said, kind = row["said"], step.get("event_type")
            time = datetime.fromisoformat(row["event_time"])
            if "event_name" in step and (row["event_type"] != "custom" or said.get("event_name") != step["event_name"]):
                continue
            if "event_definition" in step and not is_defined(row, step["event_definition"]):
                continue
            if kind and row["event_type"] != kind:
                continue
            if "page" in step:
                name = said.get("page_name") if row["event_type"] == "page_view" else None
                if event_id not in self.views or step["page"] not in (page_of(row, False), name):
                    continue
                time = test_channels.began(row)
            if self.is_person(row):
                found.append((time, event_id))
        return found


def funnel_rows(raw: Raw, funnel: Row) -> dict[tuple[Any, ...], tuple[int, int]]:
    """By week, device, channel and step: who entered, and who came so far."""
    of_steps = [set(raw.steps(step)) for step in funnel["steps"]]
    moments: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for moment in set().union(*of_steps):
        row = raw.table[moment[1]]
        subject = raw.user(row) if funnel.get("per") == "user" else row["session"]
        if subject:
            moments[subject].append(moment)
    reached: dict[tuple[Any, ...], set[tuple[int, str]]] = defaultdict(set)
    for subject, times in moments.items():
        times.sort()
        # Of each moment as the step of a number: the moments from which some way by all steps before leads to it.
        ways: list[dict[int, set[int]]] = [{place: {place} for place, one in enumerate(times) if one in of_steps[0]}]
        for of_step in of_steps[1:]:
            ways.append({
                place: set().union(*(starts for before, starts in ways[-1].items() if before < place))
                for place, one in enumerate(times) if one in of_step
            })  # fmt: skip
        for number, way in enumerate(ways, start=1):
            for place, starts in way.items():
                if starts and times[place][0] - times[max(starts)][0] <= WITHIN[funnel["within"]]:
                    time, event_id = times[max(starts)]
                    group = raw.group(raw.table[event_id]["session"])
                    reached[(first_day(day_of(time), "week"), *group)].add((number, subject))
    found = {}
    for group, marks in reached.items():
        entered = sum(number == 1 for number, _ in marks)
        for number, step in enumerate(funnel["steps"], start=1):
            found[(*group, number, step["name"])] = (entered, sum(one == number for one, _ in marks))
    return found


def retention_rows(raw: Raw, retention: Row) -> dict[tuple[Any, ...], tuple[int, int]]:
    """By cohort, device, channel and periods later: the cohort's users, and who of them came back."""
    days = []  # of any visit: user, time, day, session
    for session, rows in raw.sessions.items():
        for day in {day_of(datetime.fromisoformat(row["event_time"])) for row in rows if raw.is_person(row)}:
            days.append((raw.owners[session], raw.arrivals[session]["start_time"], day, session))

    def moments(step: Row | None) -> list[tuple[str, datetime, date, str | None]]:
        if step is None:
            return days  # type: ignore[return-value]
        rows = [(time, raw.table[event_id]) for time, event_id in raw.steps(step)]
        return [(raw.user(row), time, day_of(time), row["session"]) for time, row in rows]

    starts: dict[str, tuple[datetime, date, str | None]] = {}
    for user, time, day, session in moments(retention.get("start")):
        starts[user] = min(starts.get(user, (time, day, session)), (time, day, session))
    back = moments(retention.get("back"))
    periods = {first_day(day, retention["period"]) for _, _, day, _ in back}
    periods |= {first_day(day, retention["period"]) for _, day, _ in starts.values()}
    cohorts: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for user, (_, day, session) in starts.items():
        cohorts[(first_day(day, retention["period"]), *raw.group(session))].add(user)
    found = {}
    for group, users in cohorts.items():
        for period in (period for period in periods if period >= group[0]):
            came = {
                user for user, time, day, _ in back
                if user in users and first_day(day, retention["period"]) == period and day >= starts[user][1]
                and (retention.get("back") is None or time >= starts[user][0])
            }  # fmt: skip
            later = {
                "day": (period - group[0]).days,
                "week": (period - group[0]).days // 7,
                "month": (period.year - group[0].year) * 12 + period.month - group[0].month,
            }
            found[(*group, later[retention["period"]])] = (len(users), len(came))
    return found


def check_rows(
    warehouse: Warehouse, mart: str, name_column: str, name: str, keys: tuple[str, ...], values: tuple[str, ...],
    wanted: dict[tuple[Any, ...], tuple[int, int]],
) -> None:  # fmt: skip
    rows = [row for row in warehouse.query(f"from product_marts.{mart}") if row[name_column] == name]
    found = {tuple(row[key] for key in keys): tuple(row[value] for value in values) for row in rows}
    assert found == wanted, name
    assert len(rows) == len(wanted) > 0


def check(warehouse: Warehouse) -> tuple[list[int], int]:
    """Compare all with Python; who came to the end of each funnel, and how often users came back."""
    raw, counts, returns = Raw(warehouse), [], 0
    for funnel in FUNNELS:
        wanted = funnel_rows(raw, funnel)
        keys = ("week", "device_type", "channel", "step", "step_name")
        check_rows(warehouse, "funnels", "funnel_name", funnel["name"], keys, ("entered", "reached"), wanted)
        counts.append(sum(reached for key, (_, reached) in wanted.items() if key[3] == len(funnel["steps"])))
    for retention in RETENTIONS:
        wanted = retention_rows(raw, retention)
        keys = ("cohort", "device_type", "channel", "periods_later")
        name = retention["name"]
        check_rows(warehouse, "retention_cohorts", "retention_name", name, keys, ("users", "returned"), wanted)
        returns += sum(returned for key, (_, returned) in wanted.items() if key[3] > 0)
    assert returns
    return counts, returns


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, target_path: Any) -> Warehouse:
    return Warehouse(tmp_path_factory.mktemp("journeys"), target_path)


def test_funnels_and_retentions_are_as_the_raw_events_say(shop: Warehouse) -> None:
    """Devices are identified late, events come late and are withdrawn; without the vars there are no rows."""
    rows = visits(random.Random(2)) + [
        {**row, "event_id": f"more {row['event_id']}", "device_id": row["device_id"] + 20}
        for row in visits(random.Random(3))
    ]
    shop.load(rows[::2], "f1")
    shop.run(*VARS)
    first = check(shop)
    people = [
        event(f"is {device}", device_id=device, event_type="identify", session_id=None,
              event_properties={"user_id": user})
        for device, user in ((1, "ann"), (2, "ann"), (3, "bob"), (8, "cat"), (21, "ann"))
    ]  # fmt: skip
    shop.load([*rows[1::2], *people], "f2")
    shop.run(*VARS)
    second = check(shop)
    assert all(second[0]), second
    assert sum(second[0]) > sum(first[0])
    gone = [row["event_id"] for row in rows if row["event_type"] in ("copy", "custom")]
    shop.load([nulled(event_id) for event_id in gone[::4]], "f3")
    shop.run(*VARS)
    assert check(shop) != second
    shop.run()
    counts = "select count(*) as n from product_marts.{}"
    assert [shop.query(counts.format(name))[0]["n"] for name in ("funnels", "retention_cohorts")] == [0, 0]


STEPS = [{"name": "Cart", "page": "Cart"}]


@pytest.mark.parametrize(
    ("macro", "told", "said"),
    [
        ("told_funnels", "Order", "funnels is a list of mappings, such as [{name: Checkout"),
        ("told_funnels", ["Order"], "funnels is a list of mappings"),
        ("told_funnels", [{"within": "1 day", "steps": STEPS}], "needs a name"),
        ("told_funnels", [{"name": "a\\b", "within": "1 day", "steps": STEPS}], "has a backslash"),
        ("told_funnels", [{"name": "A", "within": "1 day", "steps": STEPS}] * 2, "funnels: A is there twice"),
        ("told_funnels", [{"name": "A", "within": "1 day"}], "funnels: A needs steps, as in [{name: Checkout"),
        ("told_funnels", [{"name": "A", "steps": STEPS}], "funnels: A: within is a time such as 30 minutes"),
        ("told_funnels", [{"name": "A", "within": "0 days", "steps": STEPS}], "not 0 days"),
        ("told_funnels", [{"name": "A", "within": "1 month", "steps": STEPS}], "not 1 month"),
        ("told_funnels", [{"name": "A", "within": "1 day", "per": "device", "steps": STEPS}], "per is session or user"),
        ("told_funnels", [{"name": "A", "within": "1 day", "where": "x", "steps": STEPS}], "A has the key where"),
        ("told_funnels", [{"name": "A", "within": "1 day", "steps": [{"page": "Cart"}]}], "{'page': 'Cart'}: needs a"),
        ("told_funnels", [{"name": "A", "within": "1 day", "steps": STEPS * 2}], "A: steps: Cart: is there twice"),
        ("told_funnels", [{"name": "A", "within": "1 day", "steps": [{"name": "B"}]}], "B: says not what counts"),
        ("told_funnels", [{"name": "A", "within": "1 day", "steps": [{**STEPS[0], "value": 1}]}], "has the key value"),
        ("told_retentions", {"name": "A"}, "retentions is a list of mappings, such as [{name: Buyers"),
        ("told_retentions", [{"name": "A", "period": "year"}], "retentions: A: period is day, week or month, not year"),
        ("told_retentions", [{"name": "A", "period": "day", "start": "x"}], "A: start says what counts, as in [{name"),
        ("told_retentions", [{"name": "A", "period": "day", "back": {"event": "x"}}], "A: back: has the key event"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(macro: str, told: Any, said: str) -> None:
    with pytest.raises(RefusedError, match=re.escape(said)):
        returned(("journeys.sql", "conversions.sql", "funnel.sql"), macro, told)


def test_dbt_stops_at_what_is_wrong(shop: Warehouse) -> None:
    outcome = shop.dbt("parse", "--vars", json.dumps({"funnels": [{"name": "A", "within": "1 day"}]}))
    assert "funnels: A needs steps" in str(outcome.exception)
