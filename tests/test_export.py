"""Segment exports: what becomes of their fields, in each form they come in, again and again, beside a raw feed."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Warehouse, event, leave_out_what_users_do, ndjson
from headrace.formats import export, json_array
from headrace.formats.source import Source
from headrace.status import status
from headrace.sync import Summary
from test_loader import Staging


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Staging:
    return Staging(tmp_path, monkeypatch)


def record(second: int = 0, kind: str = "click", **fields: Any) -> dict[str, Any]:
    """One record of an export, a click of session 5 on device 11 unless told otherwise."""
    made = {
        "IndvId": 100,
        "UserId": 11,
        "SessionId": 5,
        "PageId": 1,
        "EventStart": f"2026-03-02T10:00:{second:02d}.000Z",
        "EventType": kind,
        "PageUrl": "https://shop.example/p",
    }
    return {name: value for name, value in {**made, **fields}.items() if value is not ...}


def array(*records: dict[str, Any]) -> bytes:
    return json.dumps(records).encode()


def as_csv(*records: dict[str, Any]) -> bytes:
    names = list(dict.fromkeys(name for one in records for name in one))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    for one in records:
        cells = [one.get(name, "") for name in names]
        writer.writerow(json.dumps(cell) if isinstance(cell, (list, dict, bool)) else cell for cell in cells)
    return text.getvalue().encode()


# An export with each form of field: what it is in events, worked out by hand from the contract (1.2).
USER = {"UserAppKey": "u-1", "UserEmail": "a@mail.example", "UserDisplayName": "A", "user_plan_str": "pro"}
RECORDS = [
    record(0, "uservar", **USER),
    record(1, "navigate", EventSubType="reload", **USER),
    record(2, "consolemessage", EventSubType="error", EventTargetText="boom", **USER),
    record(
        3,
        "exception",
        EventSubType="uncaught",
        EventTargetText="TypeError: x",
        EventWebSourceFileUrl="https://shop.example/a.js",
        **USER,
    ),
    record(4, "cumulative_layout_shift", EventCumulativeLayoutShift=0.21, **USER),
    record(5, "first_input_delay", EventFirstInputDelay=120, **USER),
    record(6, "pinch_gesture", EventSubType="pinch_scale_in", **USER),
    record(
        7,
        "seen",
        EventSubType="visible",
        EventTargetText="Banner",
        EventTargetSelector="div.banner",
        EventDuration=900,
        EventSecondaryDuration=700,
        **USER,
    ),
    record(
        8,
        EventTargetText="Buy",
        EventTargetSelectorTok="div .col%2Dsm button =href=%23%2Fbuy",
        EventModFrustrated=3,
        EventModDead=0,
        EventModError=2,
        **USER,
    ),
    record(
        9,
        "pageview",
        PageName="Product",
        PageStart="2026-03-02T10:00:00.000Z",
        PageDuration=60000,
        PageActiveDuration=20000,
        PageMaxScrollDepthPercent=80,
        PageViewportWidth=1000,
        PageScreenWidth=1920,
        **USER,
    ),
    record(10, "click_error", EventVarErrorKind="RATE_LIMIT", **USER),
    record(11, "request", ReqUrl="https://api.example/x?y=1", ReqMethod="GET", ReqStatus=500, EventDuration=33, **USER),
    record(
        12,
        "custom",
        EventCustomName="Order",
        evt_total_real=9.5,
        evt_items_strs=["a", "b"],
        evt_paid_bool=True,
        evt_when_date="2026-03-01T00:00:00Z",
        **{"evt_cart.id_str": "c1"},
        page_kind_str="shop",
        **USER,
    ),
    record(13, "load", LoadDomContentTime=10, LoadFirstPaintTime=20, LoadLargestPaintTime=30, LoadEventTime=40, **USER),
    record(14, "thrash", UserId=22, **USER),
    record(15, "backgrounded", UserId=22, **USER),
    record(
        16,
        "crashed",
        UserId=22,
        AppName="Shop",
        AppPackageName="example.shop",
        AppVersion="1.2",
        AppViewName="MainActivity",
        AppDeviceVendor="Google",
        AppDeviceModel="Pixel 9",
        AppOsVersion="16",
        PageOperatingSystem="Android",
        **USER,
    ),
]


CUT = "2026-03-02 12:00:00"

SHARED = [
    (55, 1, "2026-03-02T10:05:10Z", "Al"),
    (55, 1, "2026-03-02T10:09:50Z", "Al"),
    (55, 2, "2026-03-02T10:20:05Z", "Bo"),
    (55, 2, "2026-03-02T10:30:00Z", "Bo"),
    (55, 3, "2026-03-02T10:40:00Z", "Al"),
]
"""A device that two users share within an hour: device, session, when, and who."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """The records as an export, and beside them an export and a raw feed that reach across the cut."""
    folder = tmp_path_factory.mktemp("export")
    warehouse = Warehouse(folder)
    warehouse.begins_built = False
    leave_out_what_users_do(warehouse.project)
    project = warehouse.project / "dbt_project.yml"
    text = project.read_text()
    project.unlink()
    assert "export_until: null" in text
    project.write_text(text.replace("export_until: null", f"export_until: '{CUT}'"))
    feed = folder / "feed"
    feed.mkdir()
    across = ["2026-03-02T11:59:59.999999Z", "2026-03-02T12:00:00.000000Z"]
    (feed / "export.json").write_bytes(array(*RECORDS))
    # An earlier export of the same, with fewer fields and shorter measures, that is read last: its versions are older.
    told = ("UserId", "SessionId", "PageId", "Event", "evt_")
    less = [{name: value for name, value in one.items() if name.startswith(told)} for one in RECORDS]
    (feed / "export_before.ndjson").write_bytes(ndjson(*({**one, "PageDuration": 1} for one in less)))
    os.utime(feed / "export_before.ndjson", (1_772_500_000, 1_772_500_000))
    (feed / "across.ndjson").write_bytes(
        ndjson(*(record(kind="copy", UserId=33, EventStart=at, UserAppKey="u-3") for at in across))
    )
    names = ("UserId", "SessionId", "EventStart", "UserAppKey")
    shared = (record(kind="highlight", **dict(zip(names, one, strict=True))) for one in SHARED)
    (feed / "shared.ndjson").write_bytes(ndjson(*shared))
    identify = {"event_type": "identify", "event_properties": '{"user_id": "u-4"}'}
    raw = [event(f"raw {at}", event_time=at, device_id=44, event_type="copy") for at in across]
    raw += [event(f"identify {at}", event_time=at, device_id=44, **identify) for at in across]
    (feed / "raw.ndjson").write_bytes(ndjson(*raw))
    warehouse.sync(feed)
    return warehouse


ERROR = "fs_rage_count, fs_dead_count, fs_error_kind"
COLUMNS = {
    "navigates": ("navigate_reason", ("reload",)),
    "console_messages": ("message, console_message_level", ("boom", "error")),
    "exceptions": (
        "message, exception_source_file, is_exception_handled",
        ("TypeError: x", "https://shop.example/a.js", False),
    ),
    "cumulative_layout_shifts": ("cumulative_layout_shift", (0.21,)),
    "first_input_delays": ("first_input_delay_millis", (120,)),
    "pinch_gestures": ("pinch_gesture_type", ("pinch_scale_in",)),
    "elements_seen": (
        "element_start_type, element_render_duration_millis, element_visible_duration_millis, target_text, "
        "target_raw_selector",
        ("visible", 900, 700, "Banner", "div.banner"),
    ),
    "clicks": (
        f"target_text, target_raw_selector, {ERROR}",
        ("Buy", "div .col-sm button =href=#/buy", 3, None, "console"),
    ),
    "page_views": (
        "page_name, cast(start_time as varchar), cast(end_time as varchar), duration_millis, active_duration_millis, "
        "inactive_duration_millis, max_scroll_depth, device_viewport_width, device_screen_width",
        ("Product", "2026-03-02 10:00:00+00", "2026-03-02 10:01:00+00", 60000, 20000, 40000, 0.8, 1000, 1920),
    ),
    "requests": (
        "request_method, cast(request_status as varchar), request_duration_millis, request_url_host, request_url_query",
        ("GET", "500", 33, "api.example", "?y=1"),
    ),
    "custom_events": (
        "event_name, cast(event_properties as varchar)",
        (
            "Order",
            '{"cart":{"id":"c1"},"items":["a","b"],"paid":true,"total":9.5,"when":"2026-03-01T00:00:00Z"}',
        ),
    ),
    "loads": (
        "dom_content_time_millis, first_paint_time_millis, largest_paint_time_millis, load_time_millis",
        (10, 20, 30, 40),
    ),
    "mouse_thrashes": ("user_id", ("22",)),
    "backgrounds": ("user_id", ("22",)),
    "crashes": (
        "device_manufacturer, device_model, device_operating_system, app_name, app_version, app_package_name, "
        "user_agent_operating_system",
        ("Google", "Pixel 9", "Android 16", "Shop", "1.2", "example.shop", "Android"),
    ),
}


@pytest.mark.parametrize("relation", COLUMNS)
def test_every_field_is_in_its_column(built: Warehouse, relation: str) -> None:
    columns, expected = COLUMNS[relation]
    joined = f"{{p}}_analysis.{relation} inner join {{p}}_analysis.source_properties using (event_id)"
    assert built.rows(f"select {columns} from {joined}") == [expected]


def test_a_session_is_of_its_cookie_and_every_record_identifies_its_device(built: Warehouse) -> None:
    # Fourteen records of device 11, three of device 22, whose sessions have one number; device 22 has no uservar.
    sessions = (
        "select full_session_id, user_id, total_events, cast(start_time as varchar) from {p}_marts.sessions "
        "where device_id in (11, 22) order by 1"
    )
    assert built.rows(sessions) == [
        ("11:5", "u-1", 14, "2026-03-02 10:00:00+00"),
        ("22:5", "u-1", 3, "2026-03-02 10:00:14+00"),
    ]
    # The uservar, and for each device one that its other records imply.
    identifies = (
        "select device_id::bigint, session_id::bigint, user_id, user_email, user_display_name, "
        "user_properties ->> '$.plan' from"
    )
    assert built.rows(identifies + " {p}_marts.identifies where device_id::bigint < 33 order by 1, 2 nulls last") == [
        (11, 5, "u-1", "a@mail.example", "A", "pro"),
        (11, None, "u-1", "a@mail.example", "A", "pro"),
        (22, None, "u-1", "a@mail.example", "A", "pro"),
    ]
    users = "select uid, user_email from {p}_analysis.users where id < '33'"
    assert built.rows(users) == [("u-1", "a@mail.example")] * 2
    # Besides identify events nothing says who it was; the person across devices stays a property.
    elsewhere = (
        "select count(*), count(source_properties ->> '$.indv_id') from {p}.events "
        "where event_type <> 'identify' and device_id < 33"
    )
    assert built.rows(elsewhere) == [(16, 16)]
    told = "select count(*) from {p}.events where event_type <> 'identify' and event_properties::varchar like '%mail%'"
    assert built.rows(told) == [(0,)]


def test_users_who_share_a_device_within_an_hour_keep_their_sessions(built: Warehouse) -> None:
    sessions = "select full_session_id, user_id, total_events from {p}_marts.sessions where device_id::bigint > 44"
    assert built.rows(f"{sessions} order by 1") == [
        ("55:1", "Al", 2),
        ("55:2", "Bo", 2),
        ("55:3", "Al", 1),
    ]


def test_types_that_failed_are_kept_apart_and_the_screen_is_where_pages_look_for_it(built: Warehouse) -> None:
    kinds = "select event_properties ->> '$.error_kind' from {p}.events where event_type = 'click_error'"
    assert built.rows(kinds) == [("RATE_LIMIT",)]
    totals = "select total_click_events, total_click_error_events from {p}_marts.sessions where device_id = '11'"
    assert built.rows(totals) == [(1, 1)]
    assert built.rows("select count(*) from {p}_marts.ui_events where name = 'Click Limit Reached'") == [(1,)]
    screen = "select source_type, source_properties ->> '$.app.view_name' from {p}.events where event_type = 'crash'"
    assert built.rows(screen) == [("mobile_app", "MainActivity")]
    page = "select page_properties ->> '$.kind' from {p}_analysis.page_properties where page_properties is not null"
    assert built.rows(page) == [("shop",)]


def test_each_event_counts_on_its_side_of_the_cut(built: Warehouse) -> None:
    # The export's copy of 11:59:59 and the raw feed's of 12:00:00; identifies likewise, the export's of whole minutes.
    kept = (
        "select device_id, event_type, count(*) from {p}.events where device_id in (33, 44) group by all order by all"
    )
    assert built.rows(kept) == [(33, "copy", 2), (33, "identify", 2), (44, "copy", 2), (44, "identify", 2)]
    for relation, device in (("{p}_analysis.events", "user_id"), ("{p}_marts.events", "device_id")):
        found = (
            f"select {device}::bigint, event_type, cast(event_time as varchar) from {relation} "
            f"where {device} in ('33', '44')"
        )
        assert built.rows(found + " order by all") == [
            (33, "copy", "2026-03-02 11:59:59.999999+00"),
            (33, "identify", "2026-03-02 11:59:00+00"),
            (44, "copy", "2026-03-02 12:00:00+00"),
            (44, "identify", "2026-03-02 12:00:00+00"),
        ]
    identifies = (
        "select device_id::bigint, count(*) from {p}_marts.identifies where device_id::bigint in (33, 44) "
        "group by all order by all"
    )
    assert built.rows(identifies) == [(33, 1), (44, 1)]
    ui = "select device_id::bigint, count(*) from {p}_marts.ui_events where event_type = 'copy' group by 1 order by 1"
    assert built.rows(ui) == [(33, 1), (44, 1)]
    assert built.rows(
        "select user_id, total_events from {p}_marts.sessions where device_id::bigint in (33, 44) order by 1"
    ) == [
        ("u-3", 1),
        ("u-4", 2),
    ]
    assert "exports" not in built.headrace("status")


# --- the loader alone -----------------------------------------------------------------------------------------------


def newest(staging: Staging, columns: str, where: str = "true") -> list[tuple[Any, ...]]:
    """The rows that the merge would keep: by version, of those with one id."""
    return staging.rows(
        f"select {columns} from {{p}}.raw_events where {where} "
        "qualify row_number() over (partition by event_id order by updated_time desc, processed_time desc) = 1 "
        "order by all"
    )


def put_at(staging: Staging, name: str, content: bytes, hours_ago: float) -> Path:
    path = staging.put(name, content)
    at = time.time() - 3600 * hours_ago
    os.utime(path, (at, at))
    return path


FORMS = {
    "a.json": array,
    "b.json.gz": lambda *records: gzip.compress(array(*records)),
    "c.ndjson": ndjson,
    "d.json": ndjson,
    "e.jsonl.gz": lambda *records: gzip.compress(b"\xef\xbb\xbf" + ndjson(*records)),
    "f.csv": as_csv,
    "g.csv.gz": lambda *records: gzip.compress(b"\xef\xbb\xbf" + as_csv(*records).replace(b"\r\n", b"\n")),
}


def test_each_form_of_an_export_is_the_same_events(staging: Staging) -> None:
    for name, form in FORMS.items():
        staging.put(name, form(*RECORDS))
    loaded = staging.load()
    # 17 records, and an identify of each of the two devices; a uservar is its own.
    assert (loaded.rows, loaded.rejected, dict(loaded.unknown_fields)) == (19 * len(FORMS), 0, {})
    columns = "event_time, processed_time, device_id, session_id, view_id, event_type, source_type"
    alike = (
        "select event_id, count(*), count(distinct _file), bool_and(_is_export), bool_or(_is_derived_id) "
        f"from {{p}}.raw_events group by event_id, {columns}"
    )
    assert {row[1:] for row in staging.rows(alike)} == {(len(FORMS), len(FORMS), True, False)}
    texts = (
        "select event_id, count(distinct replace(event_properties, ' ', '')), count(distinct source_properties) "
        "from {p}.raw_events group by event_id"
    )
    found = staging.rows(texts)
    assert len(found) == 19
    assert {row[1:] for row in found} == {(1, 1)}


def test_the_same_window_again_is_newer_whatever_is_loaded_first(staging: Staging) -> None:
    first = [
        record(1, EventTargetText="Buy", EventTargetSelectorTok="div .col%2Dsm", PageDuration=1000),
        record(2, "thrash"),
    ]
    grown = [
        record(1, EventTargetText="Buy", EventTargetSelector="div.col-sm", PageDuration=9000, PageName="Product"),
        record(2, "thrash", PageDuration=9000),
        record(3, "copy"),
    ]
    # Named so that the older one is loaded last.
    put_at(staging, "b.json", array(*first), hours_ago=2)
    put_at(staging, "a.csv", as_csv(*grown), hours_ago=1)
    staging.load()
    duration = "source_properties ->> '$.page.duration_millis'"
    assert newest(staging, f"event_type, {duration}") == [("click", "9000"), ("copy", None), ("mouse_thrash", "9000")]
    # An hour's folder tells when it was exported, whenever the file was copied there.
    put_at(staging, "ingested_time=2020-01-01 00:00:00/c.json", array(record(2, "thrash", PageDuration=5)), hours_ago=0)
    staging.load()
    assert newest(staging, duration, "event_type = 'mouse_thrash'") == [("9000",)]


def test_records_that_are_alike_are_kept_apart_by_their_place(staging: Staging) -> None:
    # Two in the same millisecond, which happens, as the real export shows.
    twins = [record(1, "custom", EventCustomName="Failed", evt_code_int=n) for n in (1, 2)]
    put_at(staging, "a.json", array(*twins), hours_ago=2)
    put_at(staging, "b.ndjson", ndjson(record(0), *reversed(twins)), hours_ago=1)
    staging.load()
    code = "event_properties ->> '$.event_properties.code'"
    assert newest(staging, code, "event_type = 'custom'") == [("1",), ("2",)]


def test_who_a_device_is_does_not_depend_on_the_window(staging: Staging) -> None:
    records = [record(s, UserAppKey="u-1", user_plan_str="pro") for s in range(6)]
    records += [record(7, UserAppKey="u-1", user_plan_str="free"), record(8, UserAppKey="", UserEmail=None)]
    records += [record(9, UserAppKey="u-1", user_plan_str="pro", EventStart="2026-03-02T10:01:59.999Z")]
    staging.put("whole.json", array(*records))
    assert staging.load().rows == 9 + 3
    identifies = (
        "select distinct event_id, cast(event_time as varchar), device_id, session_id, view_id, event_properties, "
        "source_type, source_properties from {p}.raw_events where event_type = 'identify' order by 2, 6"
    )
    whole = staging.rows(identifies)
    assert [row[1:6] for row in whole] == [
        ("2026-03-02 10:00:00+00", 11, None, None, '{"user_id":"u-1","user_properties":{"plan":"free"}}'),
        ("2026-03-02 10:00:00+00", 11, None, None, '{"user_id":"u-1","user_properties":{"plan":"pro"}}'),
        ("2026-03-02 10:01:00+00", 11, None, None, '{"user_id":"u-1","user_properties":{"plan":"pro"}}'),
    ]
    for n, one in enumerate(records):
        staging.put(f"part{n}.ndjson", ndjson(one))
    staging.load()
    assert staging.rows(identifies) == whole


def test_a_record_that_can_t_be_read_costs_that_record(staging: Staging) -> None:
    good = [json.dumps(record(second)) for second in range(9)]
    bad = [
        "5",
        '{"EventType": "click", "EventStart"}',
        '{"EventType": "cli, "EventStart": "x", "UserId": 1',
        json.dumps(record(1, EventStart="yesterday")),
        json.dumps(record(1, UserId="x1")),
        json.dumps(record(1, EventType=...)),
        '["nested", {"EventType": "click"}]',
    ]
    mixed = [one for pair in zip(good, bad, strict=False) for one in pair] + good[len(bad) :]
    staging.put("a.json", ("[" + ",\n".join(mixed) + "]").encode())
    staging.put("b.ndjson", "\n".join(mixed).encode())
    staging.load()
    for name in ("a.json", "b.ndjson"):
        loaded = staging.rows(f"select event_time from {{p}}.raw_events where _file like '%{name}' group by all")
        assert len(loaded) == 9, name
        reasons = {at: why for file, at, why in staging.rejected() if file == name}
        assert sorted(reasons) == [2, 4, 6, 8, 10, 12, 14], name
        assert "EventStart" in reasons[8] or "event_time" in reasons[8]
        assert reasons[10] == "UserId is no integer: 'x1'"
        assert reasons[12] == "EventType is missing in a record of an export"


def test_an_object_in_a_record_is_a_value_and_an_array_of_events_is_one_of_events(staging: Staging) -> None:
    staging.put("a.json", array(record(1, evt_cart_obj={"items": [{"id": 1}, {"id": 2}]}), record(2)))
    # As some tool saved a feed: no export.
    own = event("900", event_properties={"a": [{"b": 1}]}, source_properties={})
    staging.put("b.json", array(own, event("901"), event("902", device_id=...)))
    assert staging.load().rows == 4
    item = "event_properties ->> '$.event_properties.cart.items[1].id'"
    assert staging.rows(f"select {item} from {{p}}.raw_events where _is_export order by 1") == [("2",), (None,)]
    assert staging.rows("select event_id from {p}.raw_events where not _is_export order by 1") == [("900",), ("901",)]
    assert staging.rejected() == [("b.json", 3, "device_id is missing")]


def test_an_array_that_is_cut_off_drops_nothing(staging: Staging) -> None:
    content = array(*(record(second) for second in range(9)))
    staging.put("a.json", content[:-100])
    assert staging.load().rows == 8
    (rejected,) = staging.rejected()
    assert rejected == ("a.json", None, "the array is cut off after its record 8")


def test_a_long_record_is_rejected_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "BLOCK_BYTES", 512)
    records = [record(1), record(2, EventTargetText="x" * 9000), record(3), record(4, evt_a_obj={"b": {"c": "}"}})]
    rejected: list[tuple[Any, ...]] = []
    stream = io.BytesIO(array(*records))
    found = list(json_array.records_of_array(stream, lambda *what: rejected.append(what), 2000))
    assert [(at, json.loads(text)) for at, text in found] == [(n, records[n - 1]) for n in (1, 3, 4)]
    assert [what[:2] for what in rejected] == [(2, "the record is longer than 2,000 bytes")]


def test_csv_is_read_by_its_header(staging: Staging) -> None:
    quoted = record(1, EventTargetText='Say "hi",\r\nplease', evt_n_int=7, evt_on_bool=False, evt_s_str="7")
    text = as_csv(quoted, record(2)) + b"1,2\r\n" + as_csv(quoted, record(3)).split(b"\r\n", 1)[1]
    staging.put("a.csv", text)
    staging.put("b.csv", b"EventStart,device\n2026-03-02T10:00:00Z,1\n")
    loaded = staging.load()
    assert loaded.rows == 4
    ((properties,),) = staging.rows("select distinct event_properties from {p}.raw_events where second(event_time) = 1")
    assert json.loads(properties) == {
        "target": {"text": 'Say "hi",\r\nplease'},
        "event_properties": {"n": 7, "on": False, "s": "7"},
    }
    assert staging.rejected() == [("a.csv", 3, f"it has 2 values, and the header {len(quoted)}")]
    (unread,) = loaded.unread
    assert "b.csv: neither name nor content is that of a format that is read" in unread


def test_a_quote_that_nothing_closes_costs_its_row() -> None:
    rows = as_csv(*(record(n, EventTargetText='a "b"') for n in range(6))).split(b"\r\n")
    for at, unclosed in ((3, b'"c'), (6, b'"c')):
        damaged = [*rows]
        damaged[at] = rows[at].replace(b'"a ""b"""', unclosed)
        rejected: list[tuple[Any, ...]] = []
        stream = io.BytesIO(b"\r\n".join(damaged))
        found = list(export.records_of_csv(stream, lambda *what, kept=rejected: kept.append(what), 10_000))
        assert [position for position, _ in found] == [n for n in range(1, 7) if n != at]
        assert [what[:2] for what in rejected] == [(at, "it has 1 values, and the header 8")]


def test_content_tells_an_export(tmp_path: Path) -> None:
    cases = {
        b'[{"UserId": 1, "EventStart" : "x"}]': True,
        b'\xef\xbb\xbf\n{"EventType":"click"}': True,
        b'{"event_type": "custom", "event_properties": {"EventType": 1}}': False,
        b'{"event_type": "custom", "event_properties": "{\\"EventType\\": 1}"}': False,
        b'"EventType",UserId,"EventStart"\r\n': True,
        b"EventType,UserId\n": False,
        b"PAR1": False,
        b"EventType,EventStart,a\rb,\0": False,
        b"": False,
    }
    for head, expected in cases.items():
        path = tmp_path / "x"
        path.write_bytes(head)
        assert export.matches(Source(path, "x.csv" if b"," in head[:20] else "x")) is expected, head


def test_ids_as_text_and_who_stands_in_for_a_device(staging: Staging) -> None:
    large = 2**62 + 1
    staging.put("a.ndjson", ndjson(record(1, UserId=str(large), SessionId="0"), record(2, UserId=..., IndvId=large)))
    staging.load()
    found = staging.rows("select device_id, session_id from {p}.raw_events order by event_time")
    assert found == [(large, 0), (large, 5)]


def test_every_field_that_is_left_out_is_named(staging: Staging) -> None:
    staging.put("a.json", array(record(1, **{f"Later{n}": 1 for n in range(15)})))
    notes = Summary("x", staging.load(), None).notes()
    assert [n for n in range(15) if f"Later{n} (1)" in notes[-1]] == list(range(15))


def test_a_field_without_the_name_of_a_property_costs_nothing(staging: Staging) -> None:
    staging.put("a.json", array(record(1, user_="x", evt_="y", **{"user_a\nb_str": "z"})))
    loaded = staging.load()
    assert (loaded.rows, loaded.rejected, dict(loaded.unknown_fields)) == (2, 0, {"user_": 1, "evt_": 1})
    ((text,),) = staging.rows("select event_properties from {p}.raw_events where event_type = 'identify'")
    assert json.loads(text) == {"user_properties": {"a\nb": "z"}}


def test_two_properties_that_want_one_place_are_both_kept(staging: Staging) -> None:
    properties = {"evt_price_str": "6.75", "evt_price_real": 6.75, "evt_a_str": "x", "evt_a.b_str": "y"}
    staging.put("a.json", array(record(1, "custom", **properties)))
    staging.load()
    ((text,),) = staging.rows("select event_properties from {p}.raw_events")
    assert json.loads(text)["event_properties"] == {
        "a": {"b": "y"},
        "evt_a_str": "x",
        "price": 6.75,
        "evt_price_str": "6.75",
    }


def test_status_suggests_where_to_cut(staging: Staging) -> None:
    staging.put("export.json", array(record(1), record(2, EventStart="2026-03-03T10:00:00Z")))
    staging.load()
    assert status(staging.target).export_until is None
    # Its first hour is of 12:00, and brings an event of 11:00: before the hour the feed is not whole.
    late = event("a", event_time="2026-03-02T11:00:00Z", processed_time="2026-03-02T12:00:00Z")
    later = event("b", event_time="2026-03-04T00:00:00Z", processed_time="2026-03-04T00:00:00Z")
    staging.put("events/ingested_time=2026-03-02 12:00:00/a.ndjson", ndjson(late, later))
    staging.load()
    assert status(staging.target).export_until == datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_a_clock_that_is_ahead_of_the_export_is_not_believed(staging: Staging) -> None:
    path = put_at(staging, "a.json", array(record(1, EventStart="2037-01-01T00:00:00Z"), record(2)), hours_ago=0)
    staging.load()
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    found = staging.rows("select event_time = processed_time, processed_time from {p}.raw_events order by event_time")
    assert [row[0] for row in found] == [True, False]
    assert abs(found[1][1] - written).total_seconds() < 0.001
