"""Columns of one's own: against Python that goes through the raw events one by one."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from typing import Any

import oracle
import pytest
import test_channels
from test_conversions import RefusedError, live, number_at, returned, visits
from test_models import Row, Warehouse, event, nulled

COLUMNS: dict[str, list[Row]] = {
    "sessions": [
        {"name": "plan", "data_type": "varchar", "user_property": "account.plan"},
        {"name": "first_copied", "data_type": "varchar", "first": "url_path", "where": "event_type = 'copy'"},
        {"name": "last_total", "data_type": "double", "last": "order_total"},
        {"name": "least_total", "data_type": "double", "min": "order_total"},
        {"name": "all_totals", "data_type": "double", "sum": "order_total", "where": "event_name = 'Bought'"},
        {"name": "copies", "data_type": "bigint", "count": "event_type = 'copy'", "description": "Texts copied."},
        {"name": "is_mobile", "data_type": "boolean", "max": "user_agent_device = 'Mobile'"},
        {"name": "is_all_mobile", "data_type": "boolean", "min": "user_agent_device = 'Mobile'"},
        {"name": "is_last_told", "data_type": "boolean", "last": "order_total > 15"},
        {"name": "bought_time", "data_type": "timestamptz", "max": "event_time", "where": "event_name = 'Bought'"},
    ],
    "page_views": [
        {"name": "channel", "data_type": "varchar", "session": "channel"},
        {"name": "copies", "data_type": "bigint", "count": "event_type = 'copy'"},
        {"name": "last_total", "data_type": "double", "last": "order_total"},
    ],
    "users": [
        {"name": "plan", "data_type": "varchar", "last": "plan"},
        {"name": "email_sessions", "data_type": "bigint", "count": "channel = 'Email'"},
        {"name": "all_totals", "data_type": "double", "sum": "all_totals"},
        {"name": "copies", "data_type": "bigint", "sum": "copies"},
        {"name": "first_copied", "data_type": "varchar", "first": "first_copied"},
        {"name": "is_mobile", "data_type": "boolean", "max": "is_mobile", "where": "total_events > 3"},
    ],
}
ADDITIONS = {"custom": [
    {"name": "order_total", "data_type": "double", "config": {"meta": {"path": "event_properties.order.total"}}},
]}  # fmt: skip
VARS = ("--vars", json.dumps({"own_columns": COLUMNS, "event_catalogue_additions": ADDITIONS}))
"""order_total is a number, a text that is one, a text that is none, or not there."""


def total_of(row: Row) -> float | None:
    return number_at(row["said"].get("event_properties"), "order.total") if row["event_type"] == "custom" else None


def is_bought(row: Row) -> bool:
    return row["event_type"] == "custom" and row["said"].get("event_name") == "Bought"


def of_session(rows: list[Row]) -> Row:
    copied = [row for row in rows if row["event_type"] == "copy"]
    totals = [total for row in rows if (total := total_of(row)) is not None]
    bought = [total for row in rows if is_bought(row) and (total := total_of(row)) is not None]
    mobile = [row["source"]["user_agent"]["device"] == "Mobile" for row in rows]
    return {
        "first_copied": copied[0]["source"]["url"]["path"] if copied else None,
        "last_total": totals[-1] if totals else None,
        "least_total": min(totals, default=None),
        "all_totals": pytest.approx(sum(bought)) if bought else None,
        "copies": len(copied),
        "is_mobile": any(mobile),
        "is_all_mobile": all(mobile),
        "is_last_told": totals[-1] > 15 if totals else None,
        "bought_time": max((row["event_time"] for row in rows if is_bought(row)), default=None),
    }


def of_views(table: dict[str, Row], rows: list[Row]) -> dict[str, Row]:
    """By the event that begins it: a view has what happens in its session until the next begins."""
    ids = {id(row): event_id for event_id, row in table.items()}
    views = {ids[id(row)] for row in oracle.page_views(rows)}
    found: dict[str, Row] = {}
    current = None
    for row in sorted(rows, key=lambda row: (test_channels.began(row), row["event_time"], ids[id(row)])):
        if (event_id := ids[id(row)]) in views:
            current = found[event_id] = {"copies": 0, "last_total": []}
        if current:
            current["copies"] += row["event_type"] == "copy"
            current["last_total"].append((row["event_time"], event_id, total_of(row)))
    for view in found.values():
        totals = [total for _, _, total in sorted(view["last_total"], key=lambda one: one[:2]) if total is not None]
        view["last_total"] = totals[-1] if totals else None
    return found


def told_plans(table: dict[str, Row]) -> dict[str, str | None]:
    told: dict[str, Row] = {}
    for user, _, said in oracle.identifies(table):
        told[user] = said.get("user_properties") or told.get(user, {})
    return {user: properties.get("account", {}).get("plan") for user, properties in told.items()}


def check(warehouse: Warehouse) -> int:
    """Compare all three with Python; how many values other than null there were."""
    table = {row["event_id"]: row for row in live(warehouse)}
    of_sessions = oracle.live_sessions(table)
    arrivals, plans = test_channels.expected(warehouse), told_plans(table)
    users: dict[str, list[tuple[Any, str, Row]]] = defaultdict(list)
    wanted: dict[str, dict[str, Row]] = {"sessions": {}, "page_views": {}, "users": {}}
    for session, rows in of_sessions.items():
        user = oracle.owner(table, rows)
        told = of_session(oracle.in_order(table, rows)) | {"plan": plans.get(user)}
        wanted["sessions"][session] = told
        users[user].append((arrivals[session]["start_time"], session, told | {"total_events": len(rows)}))
        for event_id, view in of_views(table, rows).items():
            wanted["page_views"][event_id] = view | {"channel": arrivals[session]["channel"]}
    for user, sessions in users.items():
        of_user = [told for *_, told in sorted(sessions, key=lambda one: one[:2])]
        copied = [told["first_copied"] for told in of_user if told["first_copied"] is not None]
        totals = [told["all_totals"].expected for told in of_user if told["all_totals"] is not None]
        mobile = [told["is_mobile"] for told in of_user if told["total_events"] > 3]
        wanted["users"][user] = {
            "plan": plans.get(user),
            "email_sessions": sum(arrivals[session]["channel"] == "Email" for _, session, _ in sessions),
            "all_totals": pytest.approx(sum(totals)) if totals else None,
            "copies": sum(told["copies"] for told in of_user),
            "first_copied": copied[0] if copied else None,
            "is_mobile": any(mobile) if mobile else None,
        }
    values = 0
    for relation, key in (("sessions", "full_session_id"), ("page_views", "event_id"), ("users", "user_id")):
        found = {row[key]: row for row in warehouse.query(f"from product_marts.{relation}")}
        assert found.keys() == wanted[relation].keys() != set()
        for name, row in wanted[relation].items():
            if time := found[name].get("bought_time"):
                found[name]["bought_time"] = f"{time:%Y-%m-%dT%H:%M:%SZ}"
            assert {column: found[name][column] for column in row} == row, (relation, name)
            values += sum(value is not None for value in row.values())
    return values


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, target_path: Any) -> Warehouse:
    return Warehouse(tmp_path_factory.mktemp("own"), target_path)


def test_own_columns_are_as_the_raw_events_say_hour_by_hour(shop: Warehouse) -> None:
    """Devices are identified late, events come late and are withdrawn, a plan changes."""
    rows = visits(random.Random(1))
    shop.load(rows[::2], "f1")
    shop.run(*VARS)
    assert check(shop) > 300
    said = {"user_id": "ann", "user_properties": {"account": {"plan": "plus"}}}
    names = {"event_type": "identify", "session_id": None}
    people = [event(f"is {device}", device_id=device, event_properties=said, **names) for device in (1, 2)]
    people.append(event("is 3", device_id=3, event_properties={"user_id": "bob"}, **names))
    shop.load([*rows[1::2], *people], "f2")
    shop.run(*VARS)
    before = check(shop)
    query = "select distinct plan from product_marts.{} where user_id = 'ann'"
    assert shop.query(query.format("sessions")) == shop.query(query.format("users")) == [{"plan": "plus"}]

    said["user_properties"] = {"account": {"plan": "free"}}
    later = event("is 2 later", event_time="2026-04-30 10:00:00+00", device_id=2, event_properties=said, **names)
    copies = [row["event_id"] for row in rows if row["event_type"] == "copy"]
    shop.load([later, *(nulled(event_id) for event_id in copies[::3])], "f3")
    shop.run(*VARS)
    assert check(shop) < before
    assert shop.query(query.format("sessions")) == shop.query(query.format("users")) == [{"plan": "free"}]

    tables = [shop.query(f"from product_marts.{name} order by all") for name in COLUMNS]
    shop.run(*VARS, "--full-refresh")
    renewed = [shop.query(f"from product_marts.{name} order by all") for name in COLUMNS]
    assert [[{**row, "updated_time": 0} for row in rows] for rows in renewed] == [
        [{**row, "updated_time": 0} for row in rows] for rows in tables
    ]


COUNT = {"name": "n", "data_type": "bigint", "count": "1 = 1"}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ([COUNT], "own_columns has sessions, page_views and users, as in {sessions: [{name: adds"),
        ({"session": [COUNT]}, "own_columns has sessions, page_views and users"),
        ({"sessions": COUNT}, "own_columns: sessions is a list, as in"),
        ({"sessions": ["n"]}, "own_columns: sessions: n needs a name of small letters"),
        ({"sessions": [{**COUNT, "name": "N n"}]}, "N n needs a name of small letters"),
        ({"sessions": [COUNT, COUNT]}, "own_columns: sessions: n is there twice"),
        (
            {"sessions": [{**COUNT, "of": "x"}]},
            "n has the key of; known are name, data_type, description, where, first",
        ),
        ({"sessions": [{**COUNT, "data_type": "json"}]}, "n needs a data_type, one of varchar, bigint"),
        ({"sessions": [{**COUNT, "data_type": "double"}]}, "n is a count: write data_type: bigint"),
        ({"sessions": [{"name": "n", "data_type": "varchar", "sum": "x"}]}, "n is a sum: write data_type: bigint or"),
        ({"sessions": [{"name": "n", "data_type": "bigint"}]}, "n needs one of first, last, min, max, sum, count"),
        ({"sessions": [{**COUNT, "sum": "view_id"}]}, "n needs one of first, last, min, max, sum, count"),
        ({"sessions": [{**COUNT, "count": True}]}, "n needs one of first, last, min, max, sum, count"),
        (
            {"sessions": [{"name": "n", "data_type": "varchar", "user_property": "it's"}]},
            "n needs the path of a property",
        ),
        ({"sessions": [{**COUNT, "where": "1 = 1"}]}, "n has a where, a condition for first, last, min, max and sum"),
    ],
)
def test_what_is_wrong_is_said(told: Any, said: str) -> None:
    with pytest.raises(RefusedError, match=re.escape(said)):
        returned(("own_columns.sql",), "own_columns", told, "sessions", "user_property")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"sessions": ["n"]}, "own_columns: sessions: n needs a name"),
        ([COUNT], "own_columns has sessions, page_views and users"),
        ({"sessions": [{"name": "n", "data_type": "varchar", "session": "channel"}]}, "n has the key session"),
        ({"page_views": [{"name": "n", "data_type": "varchar", "session": "a b"}]}, "n needs a column of sessions"),
    ],
)
def test_dbt_stops_at_what_is_wrong(shop: Warehouse, told: Any, said: str) -> None:
    outcome = shop.dbt("parse", "--vars", json.dumps({"own_columns": told}))
    assert said in str(outcome.exception)
