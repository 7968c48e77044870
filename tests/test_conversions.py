"""What converts, and which sessions led to it: against Python that goes through the raw events one by one."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from unittest.mock import patch

import jinja2
import jinja2.runtime
import oracle
import pytest
import test_channels
from conftest import PROJECT
from test_models import Row, Warehouse, event, nulled

Found = tuple[dict[tuple[str, ...], Row], dict[tuple[str, ...], Row]]
"""Conversions by name and event, touches by these and the session."""

LOOKBACK = 20
CONVERSIONS: list[Row] = [
    {"name": "Order", "event_name": "Bought", "value": "order.total"},
    {"name": "Ann's dear one", "event_name": "Bought", "event_definition": "it's dear"},
    {"name": "Defined", "event_definition": "big", "value": "order.total"},
    {"name": "Copied", "event_type": "copy"},
    {"name": "Thanks", "page": "shop.example/thanks"},
    {"name": "Told", "page": "Thank you", "event_type": "page_view"},
    {"name": "Thanks, defined", "page": "shop.example/thanks", "event_definition": "big"},
    {"name": "Order page", "page": "shop.example/orders/:id"},
]
VARS = ("--vars", json.dumps({"conversions": CONVERSIONS, "touch_lookback_days": LOOKBACK}))
LANDINGS = [
    "", "?utm_source=news&utm_medium=email&utm_campaign=Spring", "?gclid=G1&utm_campaign=Brand", "",
    "?utm_source=facebook&utm_medium=paid_social", "?utm_source=partner&utm_medium=affiliate",
]  # fmt: skip
BOUGHT = [{"order": {"total": 12.5}}, {"order": {"total": "20"}}, {"order": {"total": "soon"}}, {"total": 3}, {}]
DEFINED = [
    {}, {}, {"event_definition_id": "big"},
    {"event_definition_id": "other", "additional_event_definition_ids": ["it's dear", "big"]},
    {"event_definition_id": "it's dear", "additional_event_definition_ids": ["big", "big"]},
]  # fmt: skip
START = datetime(2026, 3, 1, 8)


def visits(rng: random.Random) -> list[Row]:
    """Sessions of few devices over a month, most of which begin by a campaign, and what servers tell of the devices."""
    rows: list[Row] = []
    for number in range(60):
        device, session = 1 + number % 7, 100 + number
        time = START + timedelta(days=rng.randrange(40), seconds=rng.randrange(50_000))
        agent = "Mozilla/5.0 (compatible; Googlebot/2.1)" if number % 11 == 4 else "Mozilla/5.0 (X11) Firefox/147.0"
        browser = {"raw_user_agent": agent, "device": rng.choice(["Desktop", "Mobile"])}
        place = {"country": rng.choice(["DE", "FR"])}
        pages = [(f"/{rng.choice(LANDINGS)}", ["click"] * rng.randrange(2))]
        pages += [(rng.choice(["/thanks", "/orders/7", "/orders/8", "/a"]), rng.choices(
            ["custom", "custom", "copy", "page_view", "click"], k=rng.randrange(4)
        )) for _ in range(rng.randrange(4))]  # fmt: skip
        for view, (path, kinds) in enumerate(pages):
            bare, _, query = path.partition("?")
            url = {"full_url": f"https://shop.example{path}", "host": "shop.example", "path": bare}
            source = {"url": url | ({"query": f"?{query}"} if query else {})}
            source |= {"user_agent": browser, "location": place}
            opened = time + timedelta(seconds=1)
            for place_in_view, kind in enumerate(["navigate", *kinds]):
                time += timedelta(seconds=rng.randrange(1, 60))
                said: Row = dict(rng.choice(DEFINED))
                if kind == "custom":
                    name = rng.choice(["Bought", "Bought", "bought", "Viewed"])
                    said |= {"event_name": name, "event_properties": rng.choice(BOUGHT)}
                if kind == "page_view":
                    said |= {"page_name": rng.choice(["Thank you", "Thanks"]), "start_time": f"{opened}Z"}
                    said |= {"active_duration_millis": 1000}
                rows.append(
                    event(
                        f"{number:02}-{view}-{place_in_view}", event_time=f"{time}+00", device_id=device,
                        session_id=session, view_id=view, event_type=kind, event_properties=said,
                        source_properties=source,
                    )
                )  # fmt: skip
    for number in range(20):
        time = START + timedelta(days=rng.randrange(40), seconds=rng.randrange(50_000))
        said = {"event_name": "Bought", "event_properties": rng.choice(BOUGHT)} | rng.choice(DEFINED)
        rows.append(
            event(
                f"server {number:02}", event_time=f"{time}+00", device_id=1 + number % 9, session_id=None, view_id=None,
                event_type="custom", event_properties=said, source_type="server", source_properties={},
            )
        )  # fmt: skip
    return rows


def live(warehouse: Warehouse) -> list[Row]:
    rows = warehouse.query("from product.events where event_type is not null")
    for row in rows:
        for name in ("event_time", "processed_time"):
            row[name] = f"{row[name]:%Y-%m-%dT%H:%M:%SZ}"
        row["said"] = json.loads(row["event_properties"])
        row["source"] = json.loads(row["source_properties"])
        row["session"] = None if row["session_id"] is None else f"{row['device_id']}:{row['session_id']}"
    return rows


def number_at(said: Any, path: str) -> float | None:
    for key in path.split("."):
        said = said.get(key) if isinstance(said, dict) else None
    try:
        return float(said)
    except (TypeError, ValueError):
        return None


def is_defined(row: Row, definition: str) -> bool:
    said = row["said"]
    return definition in (said.get("event_definition_id"), *said.get("additional_event_definition_ids", []))


def page_of(row: Row, has_rule: bool) -> str:
    url = row["source"].get("url")
    if not url:
        return "(not set)"
    if has_rule and re.fullmatch("/orders/[0-9]+", url["path"]):
        return "shop.example/orders/:id"
    return "shop.example" + (url["path"].rstrip("/") or "/")


def expected(warehouse: Warehouse, has_rule: bool) -> Found:
    """Each conversion, and what each session gets of each of them by each model."""
    rows = live(warehouse)
    table = {row["event_id"]: row for row in rows}
    of_sessions = oracle.live_sessions(table)
    arrivals = test_channels.expected(warehouse)
    users = {full_id: oracle.owner(table, events) for full_id, events in of_sessions.items()}
    named: dict[int, str] = {row["device_id"]: user for user, row, _ in oracle.identifies(table)}
    views = {row["event_id"]: row for events in of_sessions.values() for row in oracle.page_views(events)}
    conversions = {}
    for entry in CONVERSIONS:
        for row in rows:
            name, definition, kind = entry.get("event_name"), entry.get("event_definition"), entry.get("event_type")
            if name and (row["event_type"] != "custom" or row["said"].get("event_name") != name):
                continue
            if (definition and not is_defined(row, definition)) or (kind and row["event_type"] != kind):
                continue
            time = datetime.fromisoformat(row["event_time"])
            called = row["said"].get("page_name") if row["event_type"] == "page_view" else None
            if page := entry.get("page"):
                if row["event_id"] not in views or page not in (page_of(row, has_rule), called):
                    continue
                time = test_channels.began(row)
            session = row["session"]
            arrival = arrivals[session] if session else {}
            last = oracle.in_order(table, of_sessions[session])[-1]["source"] if session else {}
            sold = row["said"].get("event_properties")
            conversions[entry["name"], row["event_id"]] = {
                "event_time": time,
                "full_session_id": session,
                "user_id": users[session] if session else named.get(row["device_id"], f"anon_{row['device_id']}"),
                "device_id": str(row["device_id"]),
                "value": number_at(sold, entry["value"]) if "value" in entry else None,
                "page_id": page_of(row, has_rule),
                "page_name": called if page else None,
                **{name: arrival.get(name) for name in ("channel", "traffic_source", "traffic_medium", "utm_campaign")},
                "last_device_type": last.get("user_agent", {}).get("device"),
                "last_country": last.get("location", {}).get("country"),
                "is_bot": arrival["is_bot"] if session else False,
                "is_internal": False,
            }
    return conversions, attributed(conversions, users, arrivals)


def attributed(
    conversions: dict[tuple[str, ...], Row], users: dict[str, str], arrivals: dict[str, Row]
) -> dict[tuple[str, ...], Row]:
    found = {}
    for key, conversion in conversions.items():
        time = conversion["event_time"]
        ages = {}
        for session, arrival in arrivals.items():
            age = (time - arrival["start_time"]) / timedelta(days=1)
            is_near = 0 <= age <= LOOKBACK or session == conversion["full_session_id"]
            if users[session] == conversion["user_id"] and is_near and not arrival["is_bot"]:
                ages[session] = age
        if conversion["is_bot"] or not ages:
            continue
        touches = sorted(ages, key=lambda session: (arrivals[session]["start_time"], session))
        decays = {session: 0.5 ** (age / 7) for session, age in ages.items()}
        others = [session for session in touches if arrivals[session]["channel"] != "Direct"]
        for number, session in enumerate(touches, start=1):
            is_end = session in (touches[0], touches[-1])
            between = {1: 1, 2: 0.5}.get(len(touches), 0.4 if is_end else 0.2 / max(len(touches) - 2, 1))
            arrived = ("channel", "traffic_source", "traffic_medium", "utm_campaign")
            found[(*key, session)] = {
                **{name: conversion[name] for name in ("event_time", "user_id", "value")},
                "touch_time": arrivals[session]["start_time"],
                "touch_number": number,
                "total_touches": len(touches),
                **{name: arrivals[session][name] for name in arrived},
                "first_touch": float(session == touches[0]),
                "last_touch": float(session == touches[-1]),
                "last_non_direct": float(session == (others or touches)[-1]),
                "linear": pytest.approx(1 / len(touches)),
                "position_based": pytest.approx(between),
                "time_decay": pytest.approx(decays[session] / sum(decays.values())),
            }
    return found


def found_in(warehouse: Warehouse) -> Found:
    keys = ("conversion_name", "event_id")
    conversions = warehouse.query("from product_marts.conversions")
    touches = warehouse.query("from product_marts.attribution")
    found = (
        {tuple(row.pop(name) for name in keys): row for row in conversions},
        {tuple(row.pop(name) for name in (*keys, "touch_session_id")): row for row in touches},
    )
    assert (len(conversions), len(touches)) == (len(found[0]), len(found[1]))
    return found


def check(warehouse: Warehouse, has_rule: bool = False) -> tuple[dict[Any, Row], dict[Any, Row]]:
    found, wanted = found_in(warehouse), expected(warehouse, has_rule)
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        for key, row in other.items():
            assert one[key] == row, key
    sessions: dict[str, list[Any]] = defaultdict(list)
    users: dict[str, list[Any]] = defaultdict(list)
    for row in found[0].values():
        sessions[row["full_session_id"]].append(row["value"])
        users[row["user_id"]].append(row["value"])
    for relation, key, values in (("sessions", "full_session_id", sessions), ("users", "user_id", users)):
        for row in warehouse.query(f"from product_marts.{relation}"):
            told = [value for value in values[row[key]] if value is not None]
            assert row["total_conversions"] == len(values[row[key]]), (relation, row[key])
            assert row["conversion_value"] == (pytest.approx(sum(told)) if told else None), (relation, row[key])
    models = ("first_touch", "last_touch", "last_non_direct", "linear", "position_based", "time_decay")
    shares: Counter[Any] = Counter()
    for (name, event_id, _), row in found[1].items():
        shares.update({(name, event_id, model): row[model] for model in models})
    assert len(shares) > 100
    assert all(share == pytest.approx(1) for share in shares.values())
    return found


def by_channel(warehouse: Warehouse, event_id: str) -> dict[str, float]:
    sql = "select channel, sum(linear) as share from product_marts.attribution where conversion_name = 'Order' "
    return {
        row["channel"]: row["share"] for row in warehouse.query(f"{sql} and event_id = '{event_id}' group by channel")
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, target_path: Any) -> Warehouse:
    return Warehouse(tmp_path_factory.mktemp("conversions"), target_path)


def test_conversions_are_as_the_raw_events_say_hour_by_hour(shop: Warehouse) -> None:
    """Devices are identified late, a touch comes late, conversions are withdrawn and change; a rule comes later."""
    rng = random.Random(1)
    rows = visits(rng)
    said = {"event_name": "Bought", "event_properties": {"order": {"total": 7}}}
    source = {"url": {"full_url": "https://shop.example/", "host": "shop.example", "path": "/"}}

    def of_zoe(event_id: str, day: int, session: int, event_type: str, **more: Any) -> Row:
        return event(event_id, event_time=f"2026-03-{day:02d} 12:00:00+00", device_id=50, session_id=session,
                     event_type=event_type, source_properties=source, **more)  # fmt: skip

    zoe = [
        of_zoe("zoe came", 20, 2, "navigate"),
        of_zoe("zoe bought", 20, 2, "custom", event_properties=said),
        of_zoe("zoe bought more", 20, 2, "custom", event_properties=said),
    ]
    shop.load([*rows[::2], *zoe], "f1")
    shop.run(*VARS)
    first, _ = check(shop)
    assert by_channel(shop, "zoe bought") == {"Direct": 1}

    names = {"event_type": "identify", "session_id": None}
    people = [
        event(f"is {device}", device_id=device, event_properties={"user_id": user}, **names)
        for device, user in ((1, "ann"), (2, "ann"), (3, "bob"), (8, "cat"))
    ]
    shop.load([*rows[1::2], *people], "f2")
    shop.run(*VARS)
    second, shares = check(shop)
    assert {"ann", "bob", "cat"} <= {row["user_id"] for row in second.values()}
    assert {"Order", "Defined"} == {name for (name, _), row in second.items() if row["full_session_id"] is None} - {
        "Ann's dear one"
    }
    assert {name["name"] for name in CONVERSIONS} - {"Order page"} == {name for name, _ in second}
    assert max(row["total_touches"] for row in shares.values()) >= 4
    assert any(key not in {(name, one) for name, one, _ in shares} for key in second)

    # A touch of 14 days before comes late; of the conversions some are withdrawn, and one is something else by now.
    news = {"url": {**source["url"], "query": LANDINGS[1], "full_url": f"https://shop.example/{LANDINGS[1]}"}}
    touch = of_zoe("zoe came first", 6, 1, "navigate") | {"source_properties": json.dumps(news)}
    sold = [key for key, row in second.items() if key[0] == "Order" and row["full_session_id"]]
    sold = [key for key in sold if not key[1].startswith("zoe")]
    gone = [event_id for _, event_id in sold[:3]]
    [before] = [row for row in rows if row["event_id"] == sold[4][1]]
    other = before | {"event_properties": '{"event_name": "Viewed"}', "updated_time": "2026-04-20 00:00:00+00"}
    shop.load([touch, other, nulled("zoe bought more"), *(nulled(event_id) for event_id in gone)], "f3")
    # By a rule of today these are one page, whenever they were viewed.
    shop.execute(
        "create table product.definition_matches as select kind, value_id, null::varchar as page_definition_id, "
        "null::varchar as definition_id, 'shop.example/orders/:id' as page, true as is_best, true as is_current "
        "from product.int_definition_values where kind = 'page' and url like '%/orders/%'"
    )
    shop.viewed_with = None
    shop.run(*VARS)
    third, _ = check(shop, has_rule=True)
    assert not {("Order", event_id) for event_id in (*gone, other["event_id"], "zoe bought more")} & third.keys()
    assert ("Order", "zoe bought") in first.keys() & third.keys()
    assert by_channel(shop, "zoe bought") == {"Direct": 0.5, "Email": 0.5}
    assert sum(name == "Order page" for name, _ in third) > 5

    tables = found_in(shop)
    shop.run(*VARS, "--full-refresh")
    assert found_in(shop) == tables


class RefusedError(Exception):
    pass


class ReturnedError(Exception):
    pass


class Exceptions:
    @staticmethod
    def raise_compiler_error(said: str) -> None:
        raise RefusedError(said)


def give(value: Any) -> None:
    raise ReturnedError(value)


INVOKE = jinja2.runtime.Macro._invoke


def invoke(macro: jinja2.runtime.Macro, arguments: list[Any], autoescape: bool) -> Any:
    """What a macro returns, as dbt does it, else its text."""
    try:
        return INVOKE(macro, arguments, autoescape)
    except ReturnedError as error:
        return error.args[0]


@cache
def macros(*files: str) -> jinja2.Template:
    env = jinja2.Environment(extensions=["jinja2.ext.do"])
    env.globals |= {"exceptions": Exceptions, "return": give, "modules": {"re": re}}
    return env.from_string("".join((PROJECT / "macros" / file).read_text(encoding="utf-8") for file in files))


def returned(files: tuple[str, ...], macro: str, told: Any, *arguments: str) -> Any:
    """What a macro returns, of files whose one var is told."""
    with patch.object(jinja2.runtime.Macro, "_invoke", invoke):
        return getattr(macros(*files).make_module({"var": lambda _: told}), macro)(*arguments)


def counted(conversions: Any) -> list[Row]:
    return returned(("conversions.sql",), "counted_conversions", conversions)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("conversions", "said"),
    [
        ("Order", "conversions is a list, such as [{name: Order"),
        ({"name": "Order"}, "conversions is a list"),
        (["Order"], "each entry is a mapping, as in [{name: Order"),
        ([{"event_name": "Bought"}], "{'event_name': 'Bought'}: needs a name"),
        ([{"name": " ", "event_name": "Bought"}], "name is a text"),
        ([{"name": "Order"}], "Order: says not what counts: write event_name, event_type, event_definition or page"),
        ([{"name": "Order", "event": "Bought"}], "Order: has the key event; known are name, event_type"),
        ([{"name": "Order", "event_name": ["Bought"]}], "Order: event_name is a text, not ['Bought']"),
        ([{"name": "Order", "event_name": True}], "Order: event_name is a text, not True"),
        ([{"name": "Order", "event_name": "a\\b"}], "Order: event_name has a backslash"),
        ([{"name": "Order", "page": "a"}, {"name": "Order", "page": "b"}], "Order: is there twice"),
        ([{"name": "Order", "page": "a", "event_name": "b"}], "views of a page, which have no event_name"),
        ([{"name": "Order", "page": "a", "event_type": "click"}], "leave out the event_type click"),
        ([{"name": "Order", "event_name": "a", "event_type": "click"}], "leave out the event_type click"),
        ([{"name": "Order", "page": "a", "value": "total"}], "only custom events have properties of their own"),
        ([{"name": "Order", "event_type": "click", "value": "total"}], "only custom events"),
        ([{"name": "Order", "event_name": "a", "value": "order..total"}], "value is the path of a property by dots"),
        ([{"name": "Order", "event_name": "a", "value": 'a"b'}], "such as order.total, not a\"b"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(conversions: Any, said: str) -> None:
    with pytest.raises(RefusedError, match=re.escape(said)):
        counted(conversions)


def test_what_is_right_is_taken() -> None:
    none = dict.fromkeys(["event_type", "event_name", "event_definition", "page", "value"])
    assert counted(None) == counted([]) == []
    told = [{"name": 2026, "event_type": "custom", "value": "größe.x y"}, {"name": "b", "event_definition": 7}]
    assert counted(told) == [
        none | {"name": "2026", "event_type": "custom", "value": "größe.x y"},
        none | {"name": "b", "event_definition": "7"},
    ]


def test_dbt_stops_at_what_is_wrong(shop: Warehouse) -> None:
    outcome = shop.dbt("parse", "--vars", '{"conversions": [{"name": "Order"}]}')
    assert "conversions: Order: says not what counts" in str(outcome.exception)
