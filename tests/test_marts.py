"""The marts that count over sessions, days and people, against Python that does the same from the events one by one."""

from __future__ import annotations

import json
import os
import random
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import combinations, pairwise
from zoneinfo import ZoneInfo

import pytest
from oracle import page_views
from test_models import Row, Warehouse, event, nulled, warehouse

__all__ = ["warehouse"]

ZONE = "America/New_York"
# dbt_fullstory 0.9, whose users switch.
DEVICE = ["device_user_agent", "device_type", "device_operating_system", "device_browser", "device_browser_version"]
PLACE = ["geo_ip_address", "geo_country", "geo_region", "geo_city", "geo_lat_long"]
URL = ["full_url", "host", "path", "query", "hash_path", "hash_query"]
USER = ["user_id", "user_email", "user_display_name", "user_properties"]
EVENT = [
    "event_id", "device_id", "session_id", "view_id", "event_time", "source_type", "updated_time", "processed_time"
]  # fmt: skip
LAST = [f"last_{name}" for name in [*DEVICE, *PLACE, "event_time", "event_id"]]
LAST_OF_SESSION = [
    "last_email", "last_display_name", "last_user_agent", "last_device_type", "last_operating_system", "last_browser",
    "last_browser_version", "last_ip_address", "last_country", "last_region", "last_city", "last_lat_long",
]  # fmt: skip
TOTALS = [
    f"total_{name}_events"
    for name in [
        "background", "change", "click", "consent", "console_message", "copy", "crash", "cumulative_layout_shift",
        "custom", "element_seen", "exception", "first_input_delay", "form_abandon", "highlight", "identify",
        "keyboard_close", "keyboard_open", "load", "low_memory", "mouse_thrash", "navigate", "page_properties", "paste",
        "pinch_gesture", "request", "web", "mobile_app",
    ]
]  # fmt: skip
COLUMNS_OF_0_9 = {
    "events": [
        *EVENT, "event_type", "full_session_id", *DEVICE, *PLACE, *(f"url_{name}" for name in URL),
        *(f"initial_referrer_{name}" for name in URL), "source_properties", "target_text", "target_masked",
        "target_raw_selector", "target_element_properties", "element_definition_id",
        "additional_element_definition_ids", *USER, "event_properties",
    ],
    "identifies": [*EVENT, *USER, "event_seq_num_desc"],
    "devices": [
        "event_id", "id", "event_time", "updated_time", "processed_time", "user_agent", "type", "operating_system",
        "browser", "browser_version", *PLACE, "source_type", "event_seq_num_desc",
    ],
    "identified_users": [*USER, "last_device_id", *LAST, "last_updated_time", "last_processed_time"],
    "anonymous_users": ["device_id", *LAST],
    "sessions": [
        "full_session_id", "user_id", "device_id", "session_id", "start_time", "end_time", "updated_time", "duration",
        "replay_url", "total_events", "total_page_views", "total_unique_urls", *TOTALS, "last_source_type",
        *LAST_OF_SESSION, "initial_referrer_url",
    ],
    "users": [
        "user_id", "updated_time", "last_event_time", *LAST_OF_SESSION, "total_events", "total_sessions",
        "total_session_duration", "total_web_sessions", "total_mobile_app_sessions", *TOTALS,
    ],
}  # fmt: skip
RENEWED = {
    "product_marts.page_views": "event_id",
    "product_marts.daily_metrics": "day",
    "product_marts.pages_daily": "day, page_id",
    "product_marts.vitals": "day, page_id, vital, device_type, browser, country",
    "product_marts.errors": "error_id",
    "product_marts.errors_daily": "day, error_id",
    "product_marts.stability_daily": "day, platform",
    "product_marts.active_users": "day",
    "product_marts.identities": "uid",
    "product_marts.identified_users": "user_id",
    "product_marts.anonymous_users": "device_id",
    "product_marts.devices": "id",
    "product_marts.identifies": "event_id",
    "product_marts.ui_events": "event_id, name",
    "product_marts.events": "event_id",
    "product.int_session_days": "day, full_session_id",
    "product.int_daily_vitals": "day, vital",
}


def tables(warehouse: Warehouse) -> dict[str, list[Row]]:
    """What hours have renewed, without what says when and by which run a row was written."""
    hidden = ("updated_time", "last_updated_time", "_invocation_id")
    return {
        table: [
            {k: v for k, v in row.items() if k not in hidden}
            for row in warehouse.query(f"select * from {table} order by {key}")
        ]
        for table, key in RENEWED.items()
    }


def live(warehouse: Warehouse) -> list[Row]:
    rows = warehouse.query(
        "select * from product.events where event_type is not null order by event_time, processed_time, event_id"
    )
    for row in rows:
        row["event_properties"] = json.loads(row["event_properties"])
    return rows


def test_a_user_of_dbt_fullstory_finds_each_column(shop):
    warehouse = shop
    types: dict[str, dict[str, str]] = defaultdict(dict)
    for row in warehouse.query("from duckdb_columns() where schema_name = 'product_marts'"):
        types[row["table_name"]][row["column_name"]] = row["data_type"]
    for relation, columns in COLUMNS_OF_0_9.items():
        assert not set(columns) - types[relation].keys(), relation
    # Its staging casts them to text; and what has the name of an id joins in all marts.
    ids = {"event_id", "device_id", "session_id", "view_id", "full_session_id", "user_id", "last_device_id"}
    found = {(relation, name): types[relation][name] for relation in types for name in ids & types[relation].keys()}
    assert {"devices", "page_views", "ui_events", *COLUMNS_OF_0_9} - {"users"} <= {relation for relation, _ in found}
    assert set(found.values()) == {"VARCHAR"} == {types["devices"]["id"]}, found


def some_events(rng: random.Random, count: int) -> list[Row]:
    """Events of few devices and sessions around two midnights of the zone, with properties of their type."""
    kinds = [
        ("navigate", {"navigate_reason": "reload"}), ("click", {"fs_rage_count": 3}), ("click", {"fs_dead_count": 1}),
        ("highlight", {}), ("request", {"request_status": 500}), ("exception", {}), ("page_view", {}),
        ("identify", {"user_id": "ann"}), ("identify", {"user_id": "bob"}), ("identify", {"user_id": ""}),
        ("load", {}), ("cumulative_layout_shift", {}), *[("navigate", {}), ("highlight", {})] * 3,
    ]  # fmt: skip
    rows = []
    for number in range(count):
        event_type, properties = rng.choice(kinds)
        start = rng.choice(["2026-03-07 04:57:00+00:00", "2026-03-08 04:57:00+00:00", "2026-03-09 03:57:00+00:00"])
        time = datetime.fromisoformat(start) + timedelta(seconds=rng.randrange(400), milliseconds=rng.choice([0, 250]))
        if event_type == "page_view":
            started, ended = time - timedelta(seconds=rng.choice([0, 100])), time + timedelta(seconds=5)
            properties = {"page_name": "Home", "start_time": started.isoformat(), "end_time": ended.isoformat()}
            properties |= {"duration_millis": 5000, "active_duration_millis": 1000, "inactive_duration_millis": 4000}
        elif event_type == "load":
            properties = {"largest_paint_time_millis": rng.randrange(1000)}
        elif event_type == "cumulative_layout_shift":
            properties = {"cumulative_layout_shift": rng.randrange(100) / 64}
        path = rng.choice(["/", "/cart"])
        device = rng.randrange(1, 4)
        if event_type == "identify" and device == 3:
            properties = {"user_id": ""}
        # The feed has page_view events of a few views only.
        session, view = (
            (2, rng.choice([3, None])) if event_type == "page_view" else (rng.randrange(3), rng.randrange(4))
        )
        rows.append(
            event(
                f"e{number:03}",
                event_time=time.isoformat(),
                device_id=device,
                session_id=session,
                view_id=view or None,
                event_type=event_type,
                event_properties=properties,
                source_properties={"url": {"full_url": path, "host": "shop", "path": path}},
            )
        )
    return rows


def start_of(row: Row) -> datetime:
    return datetime.fromisoformat(row["event_properties"].get("start_time") or row["event_time"].isoformat())


def views_of(session: list[Row]) -> dict[str, tuple]:
    """The views of one session, by event_id: start, end, active milliseconds, path, whether estimated."""
    path = {row["event_id"]: json.loads(row["source_properties"])["url"]["path"] for row in session}
    rows = sorted(session, key=lambda row: (start_of(row), row["event_time"], row["processed_time"], row["event_id"]))
    views = {row["event_id"] for row in page_views(rows)}
    begins = [number for number, row in enumerate(rows) if row["event_id"] in views]
    found = {}
    for begin, end in pairwise([*begins, len(rows)]):
        first, said = rows[begin], rows[begin]["event_properties"]
        if first["event_type"] == "page_view":
            ended = datetime.fromisoformat(said["end_time"])
            told = (start_of(first), ended, said["active_duration_millis"], path[first["event_id"]], False)
            found[first["event_id"]] = told
            continue
        active = [row for row in rows[begin:] if row["event_type"] in ("navigate", "click", "highlight")]
        within = {row["event_id"] for row in rows[begin:end]}
        pauses = [
            after["event_time"] - row["event_time"] for row, after in pairwise(active) if row["event_id"] in within
        ]
        millis = sum(pause // timedelta(milliseconds=1) for pause in pauses if pause <= timedelta(seconds=30))
        ended = start_of(rows[end]) if end < len(rows) else max(row["event_time"] for row in rows)
        found[first["event_id"]] = (first["event_time"], ended, millis, path[first["event_id"]], True)
    return found


def percentile_75(values: list[float]) -> float | None:
    if not values:
        return None
    place = 0.75 * (len(values) - 1)
    below, above = sorted(values)[int(place)], sorted(values)[min(int(place) + 1, len(values) - 1)]
    return below + (above - below) * (place - int(place))


def check_page_views(warehouse: Warehouse) -> None:
    sessions = defaultdict(list)
    for row in live(warehouse):
        sessions[row["device_id"], row["session_id"]].append(row)
    expected: dict[str, tuple] = {}
    for session in sessions.values():
        expected |= views_of(session)
    rows = warehouse.query("select * from product_marts.page_views order by full_session_id, view_number")
    assert {
        row["event_id"]: (
            row["start_time"], row["end_time"], row["active_duration_millis"], row["url_path"], row["is_estimated"]
        )
        for row in rows
    } == expected  # fmt: skip
    assert {row["is_estimated"] for row in rows} == {True, False}
    assert {
        key
        for key, session in sessions.items()
        if len({expected[row["event_id"]][4] for row in page_views(session)}) == 2
    }
    totals = warehouse.query("select device_id, session_id, total_page_views as views from product_marts.sessions")
    assert {(int(row["device_id"]), int(row["session_id"])): row["views"] for row in totals} == {
        key: len(page_views(session)) for key, session in sessions.items()
    }
    pages = warehouse.query("select page_id, views from product_marts.pages where views > 0")
    assert {row["page_id"]: row["views"] for row in pages} == Counter(f"shop{view[3]}" for view in expected.values())
    assert any(row["active_duration_millis"] for row in rows if row["is_estimated"])
    for row, after in pairwise([*rows, {"full_session_id": None}]):
        same = row["full_session_id"] == after["full_session_id"]
        assert row["next_page_id"] == (after["page_id"] if same else None)
        assert row["duration_millis"] == row["active_duration_millis"] + row["inactive_duration_millis"]


def owners_of_sessions(rows: list[Row]) -> dict[tuple[int, int], str]:
    """Whom each session of rows in their order belongs to (rule 8)."""
    owners = {}
    for device, session in {(row["device_id"], row["session_id"]) for row in rows}:
        ended = max(row["event_time"] for row in rows if (row["device_id"], row["session_id"]) == (device, session))
        named = [
            (row["session_id"], row["event_time"], row["event_properties"]["user_id"])
            for row in rows
            if row["event_type"] == "identify" and row["device_id"] == device and row["event_properties"]["user_id"]
        ]
        of_itself = [user for own, _, user in named if own == session]
        before = [user for _, time, user in named if time <= ended]
        owners[device, session] = (of_itself or before or [named[0][2] if named else f"anon_{device}"])[-1]
    return owners


def check_daily_metrics(warehouse: Warehouse) -> None:
    owners = owners_of_sessions(live(warehouse))
    days: dict[date, list[Row]] = defaultdict(list)
    for row in live(warehouse):
        days[row["event_time"].astimezone(ZoneInfo(ZONE)).date()].append(row)
    begun = Counter(
        row["start_time"].astimezone(ZoneInfo(ZONE)).date()
        for row in warehouse.query("select start_time from product_marts.page_views")
    )
    known: set[str] = set()
    expected = []
    for day, rows in sorted(days.items()):
        users = {owners[row["device_id"], row["session_id"]] for row in rows}
        types = [row["event_type"] for row in rows]

        def values(name, rows=rows):
            return [row["event_properties"][name] for row in rows if name in row["event_properties"]]

        expected.append(
            {
                "day": day,
                "sessions": len({(row["device_id"], row["session_id"]) for row in rows}),
                "users": len(users),
                "new_users": len(users - known),
                "page_views": begun[day],
                "rage_clicks": len(values("fs_rage_count")),
                "dead_clicks": len(values("fs_dead_count")),
                "exceptions": types.count("exception"),
                "largest_paint_time_millis_p75": percentile_75(values("largest_paint_time_millis")),
                "first_input_delay_millis_p75": None,
                "interaction_to_next_paint_millis_p75": None,
                "cumulative_layout_shift_p75": percentile_75(values("cumulative_layout_shift")),
            }
        )
        known |= users
    found = warehouse.query("select * from product_marts.daily_metrics order by day")
    assert len(found) == 3
    assert found == expected


@pytest.mark.soak
@pytest.mark.parametrize("seed", [int(s) for s in os.environ.get("HEADRACE_TEST_SEEDS", "1").split()])
def test_hours_add_up_to_a_rebuild(warehouse, seed):
    rng = random.Random(seed)
    zone = ("--vars", json.dumps({"reporting_timezone": ZONE}))
    rows = some_events(rng, 200)
    delivered: list[Row] = []
    for hour in range(4):
        new = rows[hour::4]
        gone = [nulled(row["event_id"], event_time=None) for row in rng.sample(delivered, min(8, len(delivered)))]
        changes = [
            row | {"updated_time": "2026-03-02 12:00:00+00", "event_properties": '{"fs_dead_count": 1}'}
            for row in rng.sample(delivered, min(8, len(delivered)))
            if row["event_type"] == "click"
        ]
        warehouse.load([*new, *gone, *changes], f"f{hour}")
        warehouse.run(*zone)
        delivered += new
    # A whole day, the first, is withdrawn; and views lose their page_view events, so that they are estimated again.
    measured = {row["event_id"] for row in rows if row["event_type"] == "page_view" and row["device_id"] == 2}
    first_day = {
        row["event_id"]
        for row in rows
        if min(row["event_time"], json.loads(row["event_properties"]).get("start_time", "3")) < "2026-03-07T05"
    }
    assert measured
    assert first_day
    warehouse.load([nulled(event_id) for event_id in sorted(measured | first_day)], "f4")
    warehouse.build(*zone)
    check_page_views(warehouse)
    check_daily_metrics(warehouse)
    by_hours = tables(warehouse)
    assert all(by_hours.values())
    assert min(row["day"] for row in by_hours["product_marts.daily_metrics"]) == date(2026, 3, 7)
    warehouse.run(*zone, "--full-refresh")
    assert tables(warehouse) == by_hours


def test_events_before_the_var_are_in_no_mart_and_views_can_be_left_as_they_come(warehouse):
    """Of two vars, so that the project is parsed once: what came without an id keeps the one that the loader gave."""
    warehouse.execute("alter table product.raw_events add column _is_derived_id boolean default true")
    warehouse.load(
        [
            event("old", event_time="2026-03-01 23:59:59+00", session_id=1, event_type="navigate"),
            event("old identify", event_time="2026-03-01 23:59:59+00", session_id=1, event_type="identify",
                  event_properties={"user_id": "ann"}),
            event("new", event_time="2026-03-02 00:00:00+00", session_id=2, event_type="navigate"),
        ],
        "f1",
    )  # fmt: skip
    variables = {"fullstory_min_event_time": "2026-03-02 00:00:00", "sequence_views": False}
    warehouse.run("--vars", json.dumps(variables))
    assert [row["user_id"] for row in warehouse.query("select * from product_marts.sessions")] == ["anon_1"]
    assert [row["event_id"] for row in warehouse.query("select * from product_marts.events")] == ["new"]
    assert [row["event_id"] for row in warehouse.query("select * from product_marts.ui_events")] == ["new"]
    assert warehouse.row("product_marts.daily_metrics", day=date(2026, 3, 2))["users"] == 1
    assert warehouse.count("product_marts.daily_metrics") == warehouse.count("product_marts.page_views") == 1
    assert warehouse.count("product_marts.identified_users") == 0
    assert warehouse.live().keys() == {"old", "old identify", "new"}


STEPS = {"view": "navigate", "click": "click", "pay": "custom"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory, target_path):
    """People who look, click and pay in any order; for funnels and retention, which only read."""
    rng = random.Random(7)
    warehouse = Warehouse(tmp_path_factory.mktemp("shop"), target_path)
    rows = []
    first = datetime(2026, 1, 30, tzinfo=UTC)
    for device in range(1, 25):
        for session in range(rng.randrange(1, 5)):
            start = first + timedelta(hours=rng.randrange(24 * 60))
            for number in range(rng.randrange(1, 8)):
                # Few moments, so that many events fall on the same.
                time = start + timedelta(minutes=rng.randrange(0, 40, 5))
                event_type = rng.choice([*STEPS.values(), "highlight"])
                ids = {"device_id": device, "session_id": session}
                rows.append(
                    event(f"{rng.random()}-{number}", event_time=time.isoformat(), event_type=event_type, **ids)
                )
        if device % 3:
            user = {"user_id": f"user-{device % 7}"}
            rows.append(event(f"i{device}", device_id=device, session_id=None, event_type="identify",
                              event_time=first.isoformat(), source_type="server", event_properties=user))  # fmt: skip
    warehouse.load(rows, "f1")
    warehouse.run()
    return warehouse


def user_of(device: int) -> str:
    return f"user-{device % 7}" if device % 3 else f"anon_{device}"


def ask(warehouse: Warehouse, macros: list[str]) -> list[list[Row]]:
    """What each of the macros' selects finds; compiled in one call, since that takes longer than all of them."""
    inline = "\n;\n".join("{{ " + macro + " }}" for macro in macros)
    result = warehouse.dbt("compile", "--inline", inline, "--vars", json.dumps({"reporting_timezone": ZONE}))
    assert result.success, result.exception
    return [warehouse.query(sql) for sql in result.result.results[0].node.compiled_code.split("\n;\n")]


def reached(events_of_subjects: list[list[tuple[datetime, str, str]]], wanted: list[str], longest: timedelta) -> int:
    """Of how many subjects some events are the wanted ones in order."""
    return sum(
        any(
            [event_type for *_, event_type in chosen] == wanted and chosen[-1][0] - chosen[0][0] <= longest
            for chosen in combinations(sorted(events), len(wanted))
        )
        for events in events_of_subjects
    )


def test_a_funnel_is_what_brute_force_finds(shop):
    funnels = [
        (per, within, longest, names)
        for per in ("session", "user")
        for within, longest, names in [
            ("15 minutes", timedelta(minutes=15), ["view", "click", "pay"]),
            ("2 days", timedelta(days=2), ["view", "click", "click", "pay"]),
            ("1 week", timedelta(weeks=1), ["pay"]),
        ]
    ]
    macros = []
    for per, within, _, names in funnels:
        steps = [{"name": f"{name}'s", "where": f"event_type = '{STEPS[name]}'"} for name in names]
        macros.append(f"funnel({steps}, within={within!r}, per={per!r})")
    for (per, _, longest, names), found in zip(funnels, ask(shop, macros), strict=True):
        subjects = defaultdict(list)
        for row in live(shop):
            if row["event_type"] in STEPS.values():
                subject = (row["device_id"], row["session_id"]) if per == "session" else user_of(row["device_id"])
                subjects[subject].append((row["event_time"], row["event_id"], row["event_type"]))
        wanted = [STEPS[name] for name in names]
        expected = [reached(list(subjects.values()), wanted[:step], longest) for step in range(1, len(names) + 1)]
        assert [(r["step"], r["name"], r[f"{per}s"]) for r in found] == [
            (step, f"{name}'s", count) for step, (name, count) in enumerate(zip(names, expected, strict=True), start=1)
        ]
        assert expected[-1] > 0
        for row, count, before in zip(found, expected, [expected[0], *expected], strict=False):
            assert float(row["share_of_first"]) == pytest.approx(count / expected[0])
            assert float(row["share_of_previous"]) == pytest.approx(count / before)


def first_day_of(period: str, day: date) -> date:
    return {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[period]


def cohorts_of(warehouse: Warehouse, period: str, start: str | None, back: str | None) -> list[tuple]:
    """Cohort, periods later, users and those who returned."""
    events = []
    for row in live(warehouse):
        local = row["event_time"].astimezone(ZoneInfo(ZONE)).date()
        events.append((row["event_time"], row["event_type"], user_of(row["device_id"]), first_day_of(period, local)))
    starts: dict[str, tuple[datetime, date]] = {}
    for time, event_type, user, first_day in sorted(events):
        if start in (None, event_type):
            starts.setdefault(user, (time, first_day))
    came = defaultdict(set)
    for time, event_type, user, first_day in events:
        if back in (None, event_type) and user in starts and time >= starts[user][0]:
            came[starts[user][1], first_day].add(user)
    periods = {first_day for _, event_type, _, first_day in events if start is None or event_type in (start, back)}
    found = []
    for cohort in sorted({cohort for _, cohort in starts.values()}):
        users = sum(first_day == cohort for _, first_day in starts.values())
        for first_day in sorted(day for day in periods if day >= cohort):
            days = (first_day - cohort).days
            months = 12 * (first_day.year - cohort.year) + first_day.month - cohort.month
            later = {"day": days, "week": days // 7, "month": months}[period]
            found.append((cohort, later, users, len(came[cohort, first_day])))
    return found


def test_retention_is_what_brute_force_finds(shop):
    conditions = ", start=\"event_type = 'navigate'\", back=\"event_type = 'custom'\""
    periods = ["day", "week", "month"]
    found = ask(shop, [f"retention('{period}'{more})" for period in periods for more in ("", conditions)])
    for number, rows in enumerate(found):
        period = periods[number // 2]
        expected = cohorts_of(shop, period, *(("navigate", "custom") if number % 2 else (None, None)))
        assert [(r["cohort"], r[f"{period}s_later"], r["users"], r["returned"]) for r in rows] == expected
        assert any(later > 0 and returned for _, later, _, returned in expected)
        assert all(float(row["share"]) == pytest.approx(row["returned"] / row["users"]) for row in rows)
