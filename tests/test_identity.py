"""Whose a session is (rule 8), which clock is believed (rule 11), and what an event leaves when it moves (13).

Expected values are worked out by hand.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from test_models import Row, Warehouse, event

CHROME = {
    "user_agent": {"raw_user_agent": "ua", "device": "Desktop", "operating_system": "Windows", "browser": "Chrome"},
    "location": {"country": "DE", "city": "Berlin"},
    "url": {"full_url": "https://shop/p", "host": "shop", "path": "/p"},
}
SERVER: dict[str, Any] = {"source_type": "server", "source_properties": {"entrypoint": "/v2/events"}}


def at(minute: int, event_id: str, event_type: str, device: int | None, session: int | None, **more: Any) -> Row:
    """An event of 2026-03-02, so many minutes after ten, processed at once."""
    time = f"2026-03-02 {10 + minute // 60}:{minute % 60:02d}:00+00"
    columns = {"event_time": time, "processed_time": time, "source_properties": CHROME} | more
    return event(event_id, event_type=event_type, device_id=device, session_id=session, **columns)


def identify(minute: int, event_id: str, device: int | None, session: int | None, said: Row, **more: Any) -> Row:
    return at(minute, event_id, "identify", device, session, event_properties=said, **more)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def owners(warehouse: Warehouse) -> dict[str, str]:
    return {row["full_session_id"]: row["user_id"] for row in warehouse.query("select * from product_marts.sessions")}


PEOPLE = [
    identify(0, "a1", 1, 1, {"user_id": "A", "user_email": "a@mail.example"}),
    at(1, "a2", "navigate", 1, 1),
    identify(60, "b1", 1, 2, {"user_id": "B", "user_email": "b@mail.example"}),
    at(61, "b2", "navigate", 1, 2),
    at(0, "c1", "navigate", 3, 1),
    at(5, "c2", "custom", 3, 1, event_properties={"event_name": "Order"}, **SERVER),
    identify(0, "d1", 4, 1, {"user_id": "C"}),
    identify(1, "d2", 4, 1, {"user_id": "D"}),
    identify(0, "e1", 5, 1, {"user_id": "E", "user_email": "e@mail.example", "user_properties": {"plan": "pro"}}),
    identify(2, "e2", 5, 1, {"user_id": "E", "user_properties": {"plan": "free"}}),
    identify(3, "e3", 5, 1, {"user_id": "E", "user_email": "", "user_display_name": "Eve"}),
    identify(0, "n1", 6, 1, {"user_id": " [object Object]", "user_properties": {"cohort": "x"}}),
    identify(1, "n2", 6, 1, {"user_id": "NULL", "user_display_name": "Green Fox"}),
    identify(2, "n3", 6, 1, {"user_id": "\t\r\n"}),
    identify(3, "n4", 6, 1, {"user_id": "null\n"}),
    identify(0, "f1", 7, 1, {"user_id": "F", "user_email": "f@mail.example"}),
    identify(30, "f2", 8, 1, {"user_id": "F"}),
    identify(120, "f3", 7, None, {"user_id": "F", "user_email": "f2@mail.example"}, **SERVER),
    identify(120, "g1", None, None, {"user_id": "G", "user_email": "g@mail.example"}, **SERVER),
    at(0, "u1", "scroll_depth", 9, 1),
    at(1, "u2", "survey_response", 9, 1),
    at(2, "u3", "survey_response", 9, 1),
    # Before the first log-in, between, and after Bo has left again: a shared device.
    at(0, "s1", "navigate", 11, 1),
    identify(10, "s2", 11, 2, {"user_id": "Al"}),
    at(20, "s3", "navigate", 11, 3),
    identify(30, "s4", 11, 4, {"user_id": "Bo"}),
    at(40, "s5", "navigate", 11, 5),
    identify(41, "s6", 11, 5, {"user_id": "undefined"}),
]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, target_path) -> Warehouse:
    """The newest first, in a build of their own: whatever came first, the result is the same."""
    warehouse = Warehouse(tmp_path_factory.mktemp("people"), target_path, with_analysis=True)
    warehouse.load(PEOPLE[len(PEOPLE) // 2 :], "f2")
    warehouse.run()
    warehouse.load(PEOPLE[: len(PEOPLE) // 2], "f1")
    warehouse.run()
    return warehouse


def test_a_session_belongs_to_the_user_that_it_names(people):
    assert owners(people) == {
        "1:1": "A", "1:2": "B", "3:1": "anon_3", "4:1": "D", "5:1": "E", "6:1": "anon_6", "7:1": "F", "8:1": "F",
        "9:1": "anon_9", "11:1": "Al", "11:2": "Al", "11:3": "Al", "11:4": "Bo", "11:5": "Bo",
    }  # fmt: skip
    users = {row["user_id"]: row["total_sessions"] for row in people.query("select * from product_marts.users")}
    assert users == {
        "A": 1, "B": 1, "D": 1, "E": 1, "F": 2, "Al": 3, "Bo": 2, "anon_3": 1, "anon_6": 1, "anon_9": 1
    }  # fmt: skip
    [day] = people.query("select * from product_marts.daily_metrics")
    assert (day["sessions"], day["users"], day["new_users"]) == (14, 10, 10)
    devices = {row["id"]: (row["user_id"], row["total_sessions"]) for row in people.query("from product_marts.devices")}
    assert devices["1"] == ("B", 2)
    assert devices["11"] == ("Bo", 5)
    anonymous = [row["device_id"] for row in people.query("from product_marts.anonymous_users order by 1")]
    assert anonymous == ["3", "6", "9"]


def test_each_is_the_last_that_was_told_of_a_user(people):
    known = {
        row["user_id"]: (row["user_email"], row["user_display_name"], row["user_properties"], row["last_event_id"])
        for row in people.query("from product_marts.identified_users")
    }
    assert known == {
        "A": ("a@mail.example", None, None, "a2"),
        "B": ("b@mail.example", None, None, "b2"),
        "C": (None, None, None, None),
        "D": (None, None, None, "d2"),
        "E": ("e@mail.example", "Eve", '{"plan":"free"}', "e3"),
        "F": ("f2@mail.example", None, None, "f1"),
        "G": ("g@mail.example", None, None, None),
        "Al": (None, None, None, "s3"),
        "Bo": (None, None, None, "s6"),
    }
    emails = {"A": "a@mail.example", "B": "b@mail.example", "E": "e@mail.example", "F": "f2@mail.example"}
    for relation, user, email in [
        ("product_marts.sessions", "user_id", "last_email"),
        ("product_marts.users", "user_id", "last_email"),
        ("product_marts.identities", "uid", "user_email"),
    ]:
        rows = people.query(f"from {relation}")
        assert {row[user]: row[email] for row in rows if row[email]} == emails | (
            {"G": "g@mail.example"} if relation.endswith("identities") else {}
        ), relation
    devices = {
        row["id"]: (row["uid"], row["user_email"], row["user_display_name"])
        for row in people.query("from product_analysis.users")
    }
    assert devices == {
        "1": ("B", "b@mail.example", None), "3": (None, None, None), "4": ("D", None, None),
        "5": ("E", "e@mail.example", "Eve"), "6": (None, None, "Green Fox"), "7": ("F", "f2@mail.example", None),
        "8": ("F", "f2@mail.example", None), "9": (None, None, None), "11": ("Bo", None, None),
    }  # fmt: skip
    properties = {
        row["user_id"]: row["user_properties"] for row in people.query("from product_analysis.user_properties")
    }
    assert properties == {"5": '{"plan":"free"}', "6": '{"cohort":"x"}'}


def test_who_is_nobody_is_so_everywhere(people):
    ids = [row["user_id"] for row in people.query("select distinct user_id from product_marts.identifies order by 1")]
    assert ids == ["A", "Al", "B", "Bo", "C", "D", "E", "F", "G", None]
    [event_of_nobody] = people.query("from product_marts.events where event_id = 'n1'")
    assert event_of_nobody["user_id"] is None


def test_a_servers_event_leaves_browser_and_place(people):
    session = people.row("product_marts.sessions", full_session_id="3:1")
    assert (session["last_browser"], session["last_country"], session["last_source_type"]) == ("Chrome", "DE", "web")
    assert (session["last_event_id"], session["total_events"]) == ("c2", 2)
    device = people.row("product_marts.devices", id="3")
    assert (device["browser"], device["geo_country"], device["source_type"]) == ("Chrome", "DE", "web")
    assert people.row("product_marts.anonymous_users", device_id="3")["last_device_browser"] == "Chrome"


def test_an_unknown_event_type_is_counted_and_named(people):
    types = people.query("select event_type, events from product_marts.unknown_event_types order by 1")
    assert [tuple(row.values()) for row in types] == [("scroll_depth", 1), ("survey_response", 2)]
    assert people.row("product_marts.sessions", full_session_id="9:1")["total_events"] == 3
    people.load([at(3, "u4", "survey_response", 9, 1)], "f3")
    said: list[str] = []

    def listen(message: Any) -> None:
        if message.info.name == "LogTestResult" and message.data.status == "warn":
            said.append(message.data.name)

    selected = ("--select", "+int_parsed_events", "--exclude-resource-type", "unit_test")
    assert people.dbt("build", *selected, callbacks=[listen], warn_error=False).success
    assert [name for name in said if "event_type" in name]


def test_a_device_of_many_sessions_and_identifies(people):
    """10,000 of each on one device: a join of each with each would be 100 million rows."""
    people.execute(
        "insert into product.int_sessions (full_session_id, device_id, session_id, end_time, _invocation_id) "
        "select '99:' || n, 99, n, timestamptz '2026-03-02 00:00:00+00' + interval (n) minute, '' "
        "from range(10000) t(n)"
    )
    people.execute(
        "insert into product.int_identifies (event_id, device_id, user_id, event_time, _invocation_id) "
        "select 'i' || n, 99, 'u' || n, timestamptz '2026-03-02 00:00:30+00' + interval (n) minute, '' "
        "from range(10000) t(n)"
    )
    started = time.monotonic()
    found = {row["full_session_id"]: row["user_id"] for row in people.query("from product.int_session_users")}
    assert time.monotonic() - started < 5
    assert [found[f"99:{n}"] for n in (0, 1, 2, 9999)] == ["u0", "u0", "u1", "u9998"]


# --- what moves, and wrong clocks -----------------------------------------------------------------------------------

NEWER = "2026-03-03 00:00:00+00"
NEWEST = "2026-03-04 00:00:00+00"
AHEAD = "2037-01-01 00:00:00+00"
BEHIND = "1970-01-01 00:00:05+00"


def rebuilt(warehouse: Warehouse) -> dict[str, list[Row]]:
    """All that is made from events, without what says when and by which run a row was written."""
    relations = [
        "product.int_parsed_events", "product.int_sessions", "product.int_session_pages",
        "product.int_session_elements", "product.int_session_days", "product.int_page_views",
        "product.int_identifies", "product.int_wrong_clocks",
        "product_marts.sessions", "product_marts.users", "product_marts.devices", "product_marts.events",
        "product_marts.daily_metrics", "product_marts.ui_events",
    ]  # fmt: skip
    return {
        relation: warehouse.query(f"select * exclude (_invocation_id) from {relation} order by all")
        if relation.startswith("product.")
        else warehouse.query(f"from {relation} order by all")
        for relation in relations
    }


def test_what_moves_leaves_both_places_right(tmp_path, target_path):
    warehouse = Warehouse(tmp_path, target_path)
    who = {"user_id": "ann", "user_email": "ann@mail.example"}
    click = {"event_properties": {"target": {"raw_selector": "a"}}}
    warehouse.load(
        [
            at(0, "stays", "navigate", 1, 1),
            at(5, "moves", "click", 1, 1, **click),
            identify(6, "who", 1, 1, who),
            at(0, "other", "navigate", 2, 1),
            at(7, "alone", "navigate", 3, 1),
            # The first is a year ahead; the second is right until its newer version says that it was processed before.
            at(8, "ahead", "click", 1, 1, **click | {"event_time": AHEAD}),
            at(9, "turns", "click", 1, 1, **click | {"processed_time": "2026-03-02 10:09:00+00"}),
        ],
        "f1",
    )
    warehouse.run()
    session = warehouse.row("product_marts.sessions", full_session_id="1:1")
    assert (session["user_id"], session["total_events"], session["total_click_events"]) == ("ann", 5, 3)
    assert (session["start_time"], session["end_time"]) == (utc(2026, 3, 2, 10), utc(2026, 3, 2, 10, 9))
    assert warehouse.row("product_marts.events", event_id="ahead")["event_time"] == utc(2026, 3, 2, 10, 8)
    assert warehouse.row("product.events", event_id="ahead")["event_time"] == utc(2037, 1, 1)
    assert owners(warehouse) == {"1:1": "ann", "2:1": "anon_2", "3:1": "anon_3"}

    # All move: to another session, device and day. What was alone in its session leaves none.
    newer = {"updated_time": NEWER}
    warehouse.load(
        [
            at(5, "moves", "click", 2, 1, **click | newer),
            identify(6, "who", 2, 1, who, **newer),
            at(7, "alone", "navigate", 1, 4, **newer),
            at(8, "ahead", "click", 1, 4, **click | newer | {"event_time": AHEAD, "processed_time": NEWER}),
            at(9, "turns", "click", 1, 1, **click | newer | {"processed_time": "2026-03-01 09:00:00+00"}),
        ],
        "f2",
    )
    # Killed when int_parsed_events has what is newer and nothing after it has; then a third version comes.
    warehouse.run("--select", "+int_parsed_events")
    (sessions,) = warehouse.query("select count(distinct full_session_id) as touched from product.touched")
    assert sessions["touched"] == 4
    newest = {"updated_time": NEWEST}
    warehouse.load(
        [
            at(5, "moves", "click", 2, 2, **click | newest),
            at(8, "ahead", "click", 1, 4, **click | newest | {"event_time": AHEAD, "processed_time": NEWEST}),
        ],
        "f3",
    )
    warehouse.run()
    assert warehouse.count("product.touched") == 0
    found = {
        row["full_session_id"]: (row["user_id"], row["total_events"], row["start_time"], row["end_time"])
        for row in warehouse.query("from product_marts.sessions")
    }
    assert found == {
        "1:1": ("anon_1", 2, utc(2026, 3, 1, 9), utc(2026, 3, 2, 10)),
        "1:4": ("anon_1", 2, utc(2026, 3, 2, 10, 7), utc(2026, 3, 4)),
        "2:1": ("ann", 2, utc(2026, 3, 2, 10), utc(2026, 3, 2, 10, 6)),
        "2:2": ("ann", 1, utc(2026, 3, 2, 10, 5), utc(2026, 3, 2, 10, 5)),
    }
    days = {
        row["day"].day: (row["sessions"], row["users"]) for row in warehouse.query("from product_marts.daily_metrics")
    }
    assert days == {1: (1, 1), 2: (4, 2), 4: (1, 1)}
    clicks = {r["full_session_id"]: r["clicks"] for r in warehouse.query("from product.int_session_elements")}
    assert clicks == {"1:1": 1, "1:4": 1, "2:2": 1}
    ids = [row["event_id"] for row in warehouse.query("from product.int_parsed_events order by event_id")]
    assert ids == ["ahead", "alone", "moves", "other", "stays", "turns", "who"]
    clocks = {row["event_id"]: row["event_time"] for row in warehouse.query("from product.int_wrong_clocks")}
    assert clocks == {"ahead": utc(2026, 3, 4), "turns": utc(2026, 3, 1, 9)}

    # And it is right again, all in one build.
    warehouse.load(
        [
            at(9, "turns", "click", 1, 1, **click | {"updated_time": "2026-03-05 00:00:00+00"}),
            at(10, "behind", "navigate", 2, 1, event_time=BEHIND),
        ],
        "f4",
    )
    warehouse.build()
    session = warehouse.row("product_marts.sessions", full_session_id="1:1")
    assert (session["start_time"], session["end_time"]) == (utc(2026, 3, 2, 10), utc(2026, 3, 2, 10, 9))
    session = warehouse.row("product_marts.sessions", full_session_id="2:1")
    assert (session["start_time"], session["end_time"]) == (utc(2026, 3, 2, 10), utc(2026, 3, 2, 10, 10))
    assert [row["event_id"] for row in warehouse.query("from product.int_wrong_clocks order by 1")] == [
        "ahead",
        "behind",
    ]
    by_hours = rebuilt(warehouse)
    assert all(by_hours.values())
    warehouse.run("--full-refresh")
    assert rebuilt(warehouse) == by_hours


def test_what_is_left_out_names_nobody_in_a_full_refresh(tmp_path, target_path):
    """The contract's events keep it; of what is made from them, no table takes it in, so that none can fail for it."""
    warehouse = Warehouse(tmp_path, target_path)
    warehouse.load(
        [
            at(0, "kept", "click", 1, 1),
            identify(1, "left out", 1, 1, {"user_id": "A"}),
            identify(2, "wrong clock", 1, 1, {"user_id": "B"}, event_time="1970-01-01 00:00:00+00"),
        ],
        "f1",
    )
    warehouse.run()
    assert owners(warehouse) == {"1:1": "B"}
    warehouse.execute("create table product.skipped as select unnest(['left out', 'wrong clock']) as name")
    warehouse.run("--full-refresh")
    assert owners(warehouse) == {"1:1": "anon_1"}
    assert warehouse.row("product_marts.sessions", full_session_id="1:1")["total_events"] == 1
    assert warehouse.count("product.int_identifies") == warehouse.count("product.int_wrong_clocks") == 0
    assert warehouse.count("product.events") == 3
