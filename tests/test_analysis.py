"""The analysis schema on real DuckDB files: what each relation holds, after whatever came in whatever order."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from test_models import NEWER, PROJECT, Row, Warehouse, event, nulled

SCHEMA = "product_analysis"
AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
TARGET = {"text": "Buy", "raw_selector": "#buy", "element_definition_id": "buy", "element_properties": {"price": 1.2}}
ON_TARGET = {"target_text": "Buy", "target_raw_selector": "#buy"}
URL = {
    "full_url": "https://shop/p?q=1#/a?b",
    "host": "shop",
    "path": "/p",
    "query": "?q=1",
    "hash_path": "#/a",
    "hash_query": "?b",
}
SOURCE = {
    "title": "Crème brûlée",
    "url": URL,
    "page_definition_id": "product",
    "initial_referrer": URL | {"host": "search"},
    "location": {"ip_address": "203.0.113.7", "country": "PL", "city": "Łódź", "region": "LD", "lat_long": "51.8,19.5"},
    "user_agent": {
        "raw_user_agent": "Mozilla/5.0 …",
        "browser": "Firefox",
        "browser_version": "147.0",
        "device": "Desktop",
        "operating_system": "Windows",
    },
    "device": {
        "manufacturer": "Apple",
        "model": "iPhone 17",
        "operating_system": "iOS 26.2",
        "screen_width": 402,
        "screen_height": 874,
        "viewport_width": 400,
        "viewport_height": 800,
    },
    "app": {"name": "Shop", "version": "4.7.1", "package_name": "example.shop", "view_name": "Cart"},
    "entrypoint": "web client",
    "origin": "dom",
    "integration": "fs",
    "page_properties": {"product_id": 2**62 + 1},
}
SOURCE_COLUMNS = {
    "title": "Crème brûlée",
    "url_full_url": "https://shop/p?q=1#/a?b",
    "url_host": "shop",
    "url_path": "/p",
    "url_query": "?q=1",
    "url_hash_path": "#/a",
    "url_hash_query": "?b",
    "page_definition_id": "product",
    "initial_referrer_full_url": "https://shop/p?q=1#/a?b",
    "initial_referrer_host": "search",
    "initial_referrer_path": "/p",
    "initial_referrer_query": "?q=1",
    "initial_referrer_hash_path": "#/a",
    "initial_referrer_hash_query": "?b",
    "location_ip_address": "203.0.113.7",
    "location_country": "PL",
    "location_city": "Łódź",
    "location_region": "LD",
    "location_lat_long": "51.8,19.5",
    "user_agent_raw_user_agent": "Mozilla/5.0 …",
    "user_agent_browser": "Firefox",
    "user_agent_browser_version": "147.0",
    "user_agent_device": "Desktop",
    "user_agent_operating_system": "Windows",
    "device_manufacturer": "Apple",
    "device_model": "iPhone 17",
    "device_operating_system": "iOS 26.2",
    "device_screen_width": 402,
    "device_screen_height": 874,
    "device_viewport_width": 400,
    "device_viewport_height": 800,
    "app_name": "Shop",
    "app_version": "4.7.1",
    "app_package_name": "example.shop",
    "app_view_name": "Cart",
    "entrypoint": "web client",
    "origin": "dom",
    "integration": "fs",
    "current_page_definition_id": "product",
}
OWN = {"event_name": "Bought", "event_properties": {"order_id": 2**62 + 1, "total": 17.5}}
# Each fact: the event type, its properties, and the columns that they become.
FACTS: dict[str, tuple[str, Row, Row]] = {
    "backgrounds": ("background", {}, {}),
    "clicks": (
        "click",
        {
            "target": TARGET,
            "event_definition_id": "bought",
            "fs_rage_count": 3,
            "fs_dead_count": 1,
            "fs_error_kind": "console",
            "is_click_long": True,
            "is_click_unhandled": False,
        },
        ON_TARGET
        | {
            "fs_rage_count": 3,
            "fs_dead_count": 1,
            "fs_error_kind": "console",
            "is_click_long": True,
            "is_click_unhandled": False,
        },
    ),
    "console_messages": (
        "console_message",
        {"message": "no\nprice", "console_message_level": "warn"},
        {"message": "no\nprice", "console_message_level": "warn"},
    ),
    "consents": (
        "consent",
        {"is_consent_given": False, "consent_scope": "analytics", "consent_action_type": "banner"},
        {"is_consent_given": False, "consent_scope": "analytics", "consent_action_type": "banner"},
    ),
    "copies": ("copy", {"target": TARGET}, ON_TARGET),
    "pastes": ("paste", {"target": TARGET}, ON_TARGET),
    "highlights": ("highlight", {"target": TARGET}, ON_TARGET),
    "crashes": ("crash", {}, {}),
    "cumulative_layout_shifts": (
        "cumulative_layout_shift",
        {"cumulative_layout_shift": 0.25},
        {"cumulative_layout_shift": 0.25},
    ),
    "custom_events": ("custom", OWN, OWN),
    "elements_seen": (
        "element_seen",
        {
            "target": TARGET,
            "element_type": "visible",
            "element_start_type": "scroll",
            "element_render_duration_millis": 1540,
            "element_visible_duration_millis": 1500,
        },
        {
            "element_type": "visible",
            "element_start_type": "scroll",
            "element_render_duration_millis": 1540,
            "element_visible_duration_millis": 1500,
        }
        | ON_TARGET,
    ),
    "exceptions": (
        "exception",
        {
            "message": "TypeError",
            "exception_count": 2,
            "exception_source_file": "cart.js",
            "is_exception_handled": True,
        },
        {
            "message": "TypeError",
            "exception_count": 2,
            "exception_source_file": "cart.js",
            "is_exception_handled": True,
        },
    ),
    "first_input_delays": (
        "first_input_delay",
        {"first_input_delay_millis": 12.5},
        {"first_input_delay_millis": 12.5},
    ),
    "force_restarts": ("force_restart", {"elapsed_millis": 9000}, {"elapsed_millis": 9000}),
    "form_abandons": ("form_abandon", {"target": TARGET}, ON_TARGET),
    "form_input_changes": ("change", {"target": TARGET}, ON_TARGET),
    "interaction_to_next_paints": (
        "interaction_to_next_paint",
        {"event_name": "pointerdown", "interaction_to_next_paint_millis": 90, "target": TARGET},
        {"event_name": "pointerdown", "interaction_to_next_paint_millis": 90.0} | ON_TARGET,
    ),
    "loads": (
        "load",
        {
            "dom_content_time_millis": 610,
            "first_paint_time_millis": 420,
            "largest_paint_time_millis": 940.5,
            "load_time_millis": 1200,
            "time_to_first_byte_millis": 300,
            "time_to_interactive_millis": 1000,
            "total_blocking_time_millis": 60,
        },
        {
            "dom_content_time_millis": 610.0,
            "first_paint_time_millis": 420.0,
            "largest_paint_time_millis": 940.5,
            "load_time_millis": 1200.0,
            "time_to_first_byte_millis": 300.0,
            "time_to_interactive_millis": 1000.0,
            "total_blocking_time_millis": 60.0,
        },
    ),
    "mouse_thrashes": ("mouse_thrash", {}, {}),
    "navigates": ("navigate", {"navigate_reason": "reload"}, {"navigate_reason": "reload"}),
    "page_views": (
        "page_view",
        {
            "page_name": "Product",
            "start_time": "2026-03-02T10:00:00.000000Z",
            "end_time": "2026-03-02T10:00:30.000000Z",
            "duration_millis": 30000,
            "active_duration_millis": 20000,
            "inactive_duration_millis": 10000,
            "max_scroll_depth": 0.8,
        },
        {
            "page_name": "Product",
            "start_time": AT,
            "end_time": AT.replace(second=30),
            "duration_millis": 30000,
            "active_duration_millis": 20000,
            "inactive_duration_millis": 10000,
            "max_scroll_depth": 0.8,
        },
    ),
    "requests": (
        "request",
        {
            "request_method": "POST",
            "request_status": 404,
            "request_duration_millis": 180,
            "request_url": {"full_url": "https://api/v2?lang=de", "host": "api", "path": "/v2", "query": "?lang=de"},
        },
        {
            "request_method": "POST",
            "request_status": "404",
            "request_duration_millis": 180.0,
            "request_url_full_url": "https://api/v2?lang=de",
            "request_url_host": "api",
            "request_url_path": "/v2",
            "request_url_query": "?lang=de",
        },
    ),
    "keyboard_opens": ("keyboard_open", {}, {}),
    "keyboard_closes": ("keyboard_close", {}, {}),
    "low_memories": ("low_memory", {}, {}),
    "pinch_gestures": (
        "pinch_gesture",
        {"pinch_gesture_type": "pinch_scale_in"},
        {"pinch_gesture_type": "pinch_scale_in"},
    ),
}
OTHERS = {
    "events": "id",
    "source_properties": "event_id",
    "element_properties": "event_id",
    "page_properties": "event_id",
    "users": "id",
    "user_properties": "user_id",
    "event_definitions": "id",
    "page_definitions": "id",
    "element_definitions": "id",
}
# In the shape of what the vendor publishes for its views (starter queries, attribution, a semantic view): a column that
# only one of the joined relations has is not qualified. Counted by hand: the 26 events of FACTS are of one session and
# on the page `product`; beside them are an identify and a page_properties of that session, an event of device 1, and
# one of a server.
VENDOR_QUERIES: dict[str, list[Row]] = {
    """
    select count(distinct session_id) as sessions
    from product_analysis.events as e
    inner join product_analysis.source_properties as sp on e.id = sp.event_id
    left join product_analysis.page_definitions as pd on sp.page_definition_id = pd.id
    where pd.name = 'Product'
    """: [{"sessions": 1}],
    """
    select user_id, view_id, count(id) as seen, max(url_host) as host, max(location_country) as country
    from product_analysis.events
    inner join product_analysis.source_properties using (event_id)
    where url_path = '/p' and user_agent_browser = 'Firefox'
    group by user_id, view_id
    """: [{"user_id": str(2**60 + 1), "view_id": 3, "seen": 26, "host": "shop", "country": "PL"}],
    """
    select count(distinct user_id) as devices, count(distinct uid) as people
    from product_analysis.events as e
    inner join product_analysis.users as u on e.user_id = u.id
    where event_time >= timestamptz '2026-03-02 00:00:00+00'
    """: [{"devices": 3, "people": 1}],
    """
    with user_session as (
        select session_id, max(e.user_id) as user_id, max(u.uid) as uid
        from product_analysis.events as e
        inner join product_analysis.users as u on e.user_id = u.id
        group by session_id
    )
    select count(distinct coalesce(uid, user_id)) as people from user_session
    """: [{"people": 3}],
    """
    select url_path, sum(fs_rage_count) as rage, count(distinct session_id) as sessions
    from product_analysis.clicks
    inner join product_analysis.source_properties using (event_id)
    inner join product_analysis.element_properties using (event_id)
    where fs_rage_count > 0
    group by url_path
    """: [{"url_path": "/p", "rage": 3, "sessions": 1}],
    """
    select
        count(case when starts_with(request_status, '4') then 1 end) as client_errors,
        count(case when starts_with(request_status, '5') then 1 end) as server_errors
    from product_analysis.requests
    """: [{"client_errors": 1, "server_errors": 0}],
    """
    select page_name, avg(max_scroll_depth) as scrolled, avg(active_duration_millis) as active
    from product_analysis.page_views
    where max_scroll_depth between 0 and 1
    group by page_name
    """: [{"page_name": "Product", "scrolled": 0.8, "active": 20000.0}],
    """
    select ce.event_id, e.user_id as device_id, ce.event_name, e.processed_time is not null as is_processed
    from product_analysis.events as e
    inner join product_analysis.custom_events as ce on e.id = ce.event_id
    inner join product_analysis.event_definitions as ed on ed.id = 'bought'
    where ce.event_name = 'Shipped'
    """: [{"event_id": "server", "device_id": "3", "event_name": "Shipped", "is_processed": True}],
    """
    select pp.session_id, pp.user_id, count(pp.event_id) as pages
    from product_analysis.page_properties as pp
    inner join product_analysis.user_properties as up on pp.user_id = up.user_id
    group by pp.session_id, pp.user_id
    """: [{"session_id": f"{2**60 + 1}:7", "user_id": str(2**60 + 1), "pages": 27}],
}
JSON_COLUMNS = ("event_properties", "element_properties", "page_properties", "user_properties")


@pytest.fixture
def warehouse(tmp_path, target_path):
    return Warehouse(tmp_path, target_path, with_analysis=True)


def rows_of(warehouse, relation: str, order: str = "event_id") -> list[Row]:
    rows = warehouse.query(f"select * from {SCHEMA}.{relation} order by {order}")
    return [{k: json.loads(v) if k in JSON_COLUMNS and v else v for k, v in row.items()} for row in rows]


def everything(warehouse) -> dict[str, list[Row]]:
    """Every relation whole, and the table behind them without the stamp of the run."""
    relations = {relation: rows_of(warehouse, relation) for relation in FACTS}
    relations |= {relation: rows_of(warehouse, relation, key) for relation, key in OTHERS.items()}
    behind = warehouse.query("select * exclude (_invocation_id) from product.int_parsed_events order by event_id")
    return relations | {"int_parsed_events": behind}


def definition(kind: str, id_: str) -> Row:
    return {"kind": kind, "id": id_, "name": id_.title(), "state": "active", "modified_time": "2026-03-01 00:00:00+00"}


def test_every_relation_and_column(warehouse):
    big = 2**60 + 1
    events = [
        event(kind, device_id=big, event_type=kind, event_properties=given, source_properties=SOURCE)
        for kind, given, _ in FACTS.values()
    ]
    who = {"user_id": "ann", "user_email": "ann@example.com", "user_display_name": "Ann"}
    identify = who | {"user_properties": {"plan": "pro"}}
    server = {"session_id": None, "view_id": None, "source_type": "server", "source_properties": {"origin": "server"}}
    events += [
        event("who", device_id=big, event_type="identify", event_properties=identify, source_properties={}),
        event("page", device_id=big, event_type="page_properties", event_properties={"page_properties": {"n": 1}}),
        event("unknown", event_type="custom_error", event_properties={"target": {"text": "not a fact"}}),
        event("gone"),
        event("server", device_id=3, event_type="custom", event_properties={"event_name": "Shipped"}, **server),
    ]
    warehouse.load(events, "f1")
    warehouse.load([nulled("gone")], "f2")
    for kind, id_ in (("event", "bought"), ("page", "product"), ("element", "buy")):
        warehouse.load([definition(kind, id_)], kind, kind="definitions")
    warehouse.build()

    listed = {row["table_name"] for row in warehouse.query(
        f"select table_name from information_schema.tables where table_schema = '{SCHEMA}'"
    )}  # fmt: skip
    assert listed == set(FACTS) | set(OTHERS)

    merged = {row["event_id"]: row["updated_time"] for row in warehouse.query("select * from product.events")}
    processed = AT.replace(minute=30)

    def key(event_id: str) -> Row:
        times = {"event_time": AT, "processed_time": processed, "updated_time": merged[event_id]}
        return {"event_id": event_id} | times

    who_where = {"session_id": f"{big}:7", "view_id": 3, "user_id": str(big)}
    for relation, (kind, _, columns) in FACTS.items():
        rows = [row for row in rows_of(warehouse, relation) if row["event_id"] != "server"]
        assert rows == [{"id": kind} | key(kind) | who_where | columns], relation
        assert list(rows[0]) == ["id", *key(kind), *who_where, *columns], relation
    [shipped] = [row for row in rows_of(warehouse, "custom_events") if row["event_id"] == "server"]
    assert (shipped["session_id"], shipped["view_id"], shipped["user_id"]) == (None, None, "3")
    assert shipped["event_name"] == "Shipped"

    live = {row["event_id"] for row in events} - {"gone"}
    all_events = {row["event_id"]: row for row in rows_of(warehouse, "events")}
    assert set(all_events) == live
    assert all_events["click"] == {"id": "click"} | key("click") | who_where | {
        "event_type": "click",
        "source_type": "web",
        "event_definition_id": "bought",
        "element_definition_id": "buy",
        "current_page_definition_id": "product",
        "current_element_definition_id": "buy",
    }
    sources = {row["event_id"]: row for row in rows_of(warehouse, "source_properties")}
    assert set(sources) == live
    assert sources["click"] == key("click") | SOURCE_COLUMNS
    assert (sources["server"]["origin"], sources["server"]["url_path"]) == ("server", None)
    [element] = [row for row in rows_of(warehouse, "element_properties") if row["event_id"] == "click"]
    assert element == key("click") | {"element_properties": {"price": 1.2}}
    [page] = [row for row in rows_of(warehouse, "page_properties") if row["event_id"] == "click"]
    ids = {"session_id": f"{big}:7", "user_id": str(big)}
    assert page == key("click") | ids | {"page_properties": SOURCE["page_properties"]}
    elements = {row["event_id"]: row["element_properties"] for row in rows_of(warehouse, "element_properties")}
    on_elements = {kind for kind, given, _ in FACTS.values() if "target" in given}
    assert elements == {kind: {"price": 1.2} for kind in on_elements}
    pages = {row["event_id"]: row["page_properties"] for row in rows_of(warehouse, "page_properties")}
    assert pages == {kind: SOURCE["page_properties"] for kind, _, _ in FACTS.values()} | {"page": {"n": 1}}

    def times(device_id: int) -> Row:
        live_events = f"select max(updated_time) as t from product.int_parsed_events where device_id = {device_id}"
        return {"processed_time": processed, "updated_time": warehouse.query(live_events)[0]["t"]}

    nobody = {"uid": None, "user_display_name": None, "user_email": None, "last_updated_time": None}
    ann = {"uid": "ann", "user_display_name": "Ann", "user_email": "ann@example.com", "last_updated_time": AT}
    users = [{"id": "1"} | nobody | times(1), {"id": str(big)} | ann | times(big), {"id": "3"} | nobody | times(3)]
    assert rows_of(warehouse, "users", "id") == users
    told = {"last_updated_time": AT, "processed_time": processed, "updated_time": merged["who"]}
    assert rows_of(warehouse, "user_properties", "user_id") == [
        {"user_id": str(big), "user_properties": {"plan": "pro"}} | told
    ]
    for kind, id_ in (("event", "bought"), ("page", "product"), ("element", "buy")):
        [told] = warehouse.query(f"select * exclude (_content, _load_id) from product.{kind}_definitions")
        assert rows_of(warehouse, f"{kind}_definitions", "id") == [told | {"processed_time": told["modified_time"]}]
        assert told["id"] == id_

    for query, expected in VENDOR_QUERIES.items():
        assert warehouse.query(query) == expected, query
    columns_of: dict[str, set[str]] = {relation: set() for relation in listed}
    for row in warehouse.query(f"from information_schema.columns where table_schema = '{SCHEMA}'"):
        columns_of[row["table_name"]].add(row["column_name"])
    assert all(columns >= {"processed_time", "updated_time"} for columns in columns_of.values())
    ids = {"id", "session_id", "user_id", "view_id"}
    assert not ids & (columns_of["source_properties"] | columns_of["element_properties"])
    # As the vendor's page_properties, which its semantic view asks for both.
    assert ids & columns_of["page_properties"] == {"session_id", "user_id"}


@pytest.mark.soak
def test_incremental_equals_rebuilt_whatever_is_killed(warehouse):
    def click(event_id: str, rage: int, **columns: Any) -> Row:
        given = {"fs_rage_count": rage, "target": {"text": event_id, "element_properties": {"n": rage}}}
        return event(event_id, event_properties=given, **columns)

    last_year = "2025-03-02 10:00:00+00"
    identify = {"user_id": "ann", "user_properties": {"plan": "pro"}}
    warehouse.load(
        [click("stays", 1), click("goes", 1), click("changes", 1), click("turns", 1), click("alone", 1, device_id=9)],
        "f1",
    )
    warehouse.load([event("who", event_type="identify", event_properties=identify)], "f2")
    warehouse.run()
    assert [row["event_id"] for row in rows_of(warehouse, "clicks")] == ["alone", "changes", "goes", "stays", "turns"]

    # Late by a year, nulled with and without its time, changed, of another type, an older version, twice.
    warehouse.load(
        [
            click("late", 2, event_time=last_year),
            nulled("goes"),
            nulled("alone", event_time="2026-03-02 10:00:00+00"),
            click("changes", 5, updated_time=NEWER),
            event("turns", event_type="copy", updated_time=NEWER),
            click("stays", 7, processed_time="2026-03-01 00:00:00+00"),
            click("late", 2, event_time=last_year),
        ],
        "f3",
    )
    warehouse.run()
    rages = {row["event_id"]: row["fs_rage_count"] for row in rows_of(warehouse, "clicks")}
    assert rages == {"changes": 5, "late": 2, "stays": 1}
    assert [row["event_id"] for row in rows_of(warehouse, "copies")] == ["turns"]
    assert [row["id"] for row in rows_of(warehouse, "users", "id")] == ["1"]
    gone = warehouse.query("select event_id from product.events where event_type is null order by 1")
    assert [row["event_id"] for row in gone] == ["alone", "goes"]
    for relation, rows in everything(warehouse).items():
        assert not {"alone", "goes"} & {row.get("event_id") for row in rows}, relation

    # A re-created file without some of its rows, one of which another file holds; the one who identified is gone. A
    # nulled one comes back.
    warehouse.load([click("changes", 6)], "g")
    warehouse.load([click("turns", 3, updated_time="2026-03-05 00:00:00+00")], "f3", recreated=True)
    warehouse.load([nulled("who")], "f4")
    warehouse.load([click("goes", 8, updated_time="2026-03-09 00:00:00+00")], "f5")
    warehouse.run("--select", "+int_parsed_events")  # As after a kill: the queue keeps its batch.
    assert warehouse.count("product.raw_events") == 4
    killed = everything(warehouse)
    rages = {row["event_id"]: row["fs_rage_count"] for row in killed["clicks"]}
    assert rages == {"changes": 5, "goes": 8, "stays": 1, "turns": 3}
    assert killed["copies"] == []
    warehouse.run()
    assert warehouse.count("product.raw_events") == 0
    relations = everything(warehouse)
    assert relations["user_properties"] == []
    # Whose a device is, is known when the build has gone on.
    of_devices = {"users": relations["users"], "user_properties": []}
    assert relations == killed | of_devices
    warehouse.run("--full-refresh")
    assert everything(warehouse) == relations


def column(name: str, data_type: str, path: str | None = None) -> Row:
    """As a user declares one."""
    return {"name": name, "data_type": data_type, "description": name} | (
        {"config": {"meta": {"path": path}}} if path else {}
    )


ADDITIONS = {
    "custom": [column("order_id", "bigint", "event_properties.order_id")],
    "click": [column("target_masked", "boolean")],
    "source_properties": [column("page_product_id", "bigint", "page_properties.product_id")],
    "page_properties": [
        column("product_id", "bigint"),
        column("title", "varchar"),
        column("app_name", "varchar", "app.n"),
    ],
    "element_properties": [column("price", "double"), column("app_name", "varchar")],
    "user_properties": [
        column("plan", "varchar"),
        column("since", "timestamptz"),
        column("seats", "bigint", "team.seats"),
    ],
}


def test_properties_of_ones_own(warehouse):
    target = {"masked": True, "element_properties": {"price": "1.2", "app_name": "Shop"}}
    page = {"product_id": 2**62 + 1, "title": "Crème", "app": {"n": "Inner"}}
    user = {"plan": "pro", "since": "2026-01-02T03:04:05Z", "team": {"seats": "many"}}
    source = SOURCE | {"page_properties": page}
    rows = [
        event("a", event_properties={"target": target}, source_properties=source),
        event("b", event_type="custom", event_properties=OWN, source_properties=SOURCE),
        event("i", event_type="identify", event_properties={"user_id": "ann", "user_properties": user}),
    ]
    warehouse.load([rows[0], rows[2]], "f1")
    warehouse.run()
    assert "target_masked" not in rows_of(warehouse, "clicks")[0]
    additions = json.dumps({"event_catalogue_additions": ADDITIONS})
    warehouse.load([rows[1]], "f2")
    warehouse.run("--vars", additions)
    # From now on, as the description of the var says; what stands inside the objects is known of all events at once.
    assert rows_of(warehouse, "custom_events")[0]["order_id"] == 2**62 + 1
    assert rows_of(warehouse, "clicks")[0]["target_masked"] is None
    inner = warehouse.query(f"select product_id, title, app_name from {SCHEMA}.page_properties order by event_id")
    assert inner == [
        {"product_id": 2**62 + 1, "title": "Crème", "app_name": "Inner"},
        {"product_id": 2**62 + 1, "title": None, "app_name": None},
    ]
    inner = warehouse.query(f"select event_id, price, app_name from {SCHEMA}.element_properties")
    assert inner == [{"event_id": "a", "price": 1.2, "app_name": "Shop"}]
    since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    inner = warehouse.query(f"select user_id, plan, since, seats from {SCHEMA}.user_properties")
    assert inner == [{"user_id": "1", "plan": "pro", "since": since, "seats": None}]
    warehouse.run("--vars", additions, "--full-refresh", "--select", "int_parsed_events+")
    [click], [custom] = rows_of(warehouse, "clicks"), rows_of(warehouse, "custom_events")
    assert (click["target_masked"], custom["order_id"]) == (True, 2**62 + 1)
    products = warehouse.query(f"select page_product_id from {SCHEMA}.source_properties where event_id in ('a', 'b')")
    assert products == [{"page_product_id": 2**62 + 1}] * 2


@pytest.mark.parametrize(
    ("additions", "said"),
    [
        # Of another type in console_message; of another section, but in the same table; in the relation itself.
        (
            {"custom": [column("message", "bigint")]},
            "message, but another path or type. Give this one a name of its own",
        ),
        ({"custom": [column("title", "varchar")]}, "title, but another path or type. Give this one a name of its own"),
        ({"page_properties": [column("user_id", "varchar")]}, "user_id of page_properties is there already. Give this"),
        (
            {"clicks": []},
            "there is no section clicks. There are element_properties, page_properties, user_properties, ",
        ),
        (
            {"click": [column("a", "json") | {"path": "b"}]},
            "column a of click has a key path, which is none. There are",
        ),
        (
            {"click": [column("a", "json") | {"config": {"meta": {"way": "b"}}}]},
            "a of click has a key way, which is none",
        ),
        ({"click": [column("a", "string")]}, "column a of click needs a name and a data_type. The types are varchar, "),
    ],
)
def test_what_is_wrong_in_additions_is_said(warehouse, additions, said):
    """When the project is parsed: what, where, and which there are."""
    result = warehouse.dbt("parse", "--vars", json.dumps({"event_catalogue_additions": additions}))
    assert not result.success
    assert said in " ".join(str(result.exception).split())


def test_the_catalogue_is_the_contract(warehouse):
    """Columns are an expression in the YAML: that dbt still renders it to the list, in order, is tested here."""
    assert warehouse.dbt("parse", "--write-json").success
    manifest = json.loads((warehouse.target / "manifest.json").read_text())
    catalogue = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]["event_catalogue"]
    models = {node["alias"]: node for node in manifest["nodes"].values() if node["schema"] == SCHEMA}
    assert set(models) == set(FACTS) | set(OTHERS)
    sections = {relation: ("identifiers", kind) for relation, (kind, _, _) in FACTS.items()}
    sections |= {
        "events": ("identifiers", "events", "current_page", "current_element"),
        "user_properties": ("user_properties",),
    }
    sections |= {s: ("event_key", s) for s in ("source_properties", "element_properties", "page_properties")}
    sections["source_properties"] += ("current_page",)
    for relation, parts in sections.items():
        said = [(c["name"], c["data_type"], c["description"]) for c in models[relation]["columns"].values()]
        declared = [column for part in parts for column in catalogue[part]]
        assert said == [(c["name"], c["data_type"], c["description"]) for c in declared], relation
    for relation, model in models.items():
        assert model["contract"]["enforced"], relation
        assert model["description"], relation
        assert all(c["data_type"] and c["description"] for c in model["columns"].values()), relation
