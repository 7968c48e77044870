"""Page views and pages are the same in every mart, whatever the feed tells. Expected values are worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conftest import Warehouse, event, ndjson

URLS = {
    "https://x.example/a": "x.example/a",
    "https://x.example/a/": "x.example/a",
    "https://X.example/a": "x.example/a",
    "https://www.x.example/a": "www.x.example/a",
    "https://x.example:443/a": "x.example/a",
    "https://x.example/a?utm=1": "x.example/a",
    "https://x.example/a#top": "x.example/a",
    "https://x.example/#/cart": "x.example/#/cart",
    "https://x.example/#/pay": "x.example/#/pay",
    "https://x.example/#!/deep?x=1": "x.example/#!/deep",
    "https://x.example/user/1": "x.example/user/1",
    "https://x.example/user/2": "x.example/user/2",
    "https://x.example/p%C3%A4th": "x.example/p%C3%A4th",
    "https://x.example/päth": "x.example/päth",
    "https://xn--bcher-kva.example/": "xn--bcher-kva.example/",
    "https://bücher.example/": "bücher.example/",
    "https://[2001:db8::1]:8080/a": "[2001:db8::1]:8080/a",
    "https://jane:secret@x.example/a": "x.example/a",
    "https://x.example/reset?email=jane@example.com&token=abc": "x.example/reset",
    "myapp://screen/42": "screen/42",
    "about:blank": "blank",
    "file:///C:/a.html": "/C:/a.html",
    "//x.example/a": "x.example/a",
    "http://[::1": "[::1/",
    "https://x.example//a": "x.example//a",
    "": "(not set)",
    "https://x.example/a;jsessionid=99": "x.example/a",
    "https://x.example/a?#": "x.example/a",
    "HTTPS://x.example/%61": "x.example/%61",
}
"""URLs as browsers have them → the page."""


def seen(minute: int, event_type: str, view_id: int | None, page: str, **fields: Any) -> dict[str, Any]:
    """An event of session 1 on a page of the web, or of an app where the page is `app`."""
    source = {"app": {"name": "Shop"}} if page == "app" else {"url": {"full_url": f"https://x/{page}"}}
    return event(
        fields.pop("event_id", f"{event_type} {page} {minute}"),
        minute,
        event_type=event_type,
        event_properties=json.dumps(fields.pop("properties", {})),
        source_type="mobile_app" if page == "app" else "web",
        source_properties=json.dumps(source),
        **{"session_id": 1, "view_id": view_id} | fields,
    )


def counts(warehouse: Warehouse) -> dict[str, int]:
    """Page views by page; every mart that counts them must have as many."""
    pages = dict(warehouse.rows("select page_id, views from {p}_marts.pages where views > 0"))
    assert pages == dict(warehouse.rows("select page_id, count(*) from {p}_marts.page_views group by all"))
    totals = warehouse.rows(
        "select (select sum(total_page_views) from {p}_marts.sessions),"
        " (select sum(page_views) from {p}_marts.daily_metrics)"
    )
    assert totals == [(sum(pages.values()), sum(pages.values()))]
    return pages


def test_a_page_view_is_one_in_every_mart(warehouse: Warehouse, tmp_path: Path) -> None:
    """Screens of an app, page_view events without navigates, and a view whose page_view event comes an hour later."""
    feed = tmp_path / "feed"
    feed.mkdir()
    on_app = [
        seen(0, "navigate", 1, "app", device_id=1),
        seen(1, "page_view", 2, "app", device_id=1, properties={"page_name": "Cart"}),
        seen(2, "page_view", 3, "app", device_id=1, properties={"page_name": "Pay"}),
        seen(3, "click", 3, "app", device_id=1, properties={"fs_rage_count": 3}),
    ]
    on_web = [
        seen(0, "page_view", 1, "a", device_id=2),
        seen(1, "click", 1, "a", device_id=2, properties={"fs_dead_count": 1}),
        seen(2, "page_view", 2, "b", device_id=2),
    ]
    (feed / "1.ndjson").write_bytes(ndjson(*on_app, *on_web))
    warehouse.sync(feed)
    of_feed = {"x/a": 1, "x/b": 1, "app://Shop/Cart": 1, "app://Shop/Pay": 1, "app://Shop/": 1}
    assert counts(warehouse) == of_feed
    named = "select page_name, page_id from {p}_marts.pages where page_name is not null order by 1"
    assert warehouse.rows(named) == [("Cart", "app://Shop/Cart"), ("Pay", "app://Shop/Pay"), ("Shop", "app://Shop/")]
    of_views = "select page_name, next_page_id from {p}_marts.page_views where device_id = 1 order by view_number"
    assert warehouse.rows(of_views) == [("Shop", "app://Shop/Cart"), ("Cart", "app://Shop/Pay"), ("Pay", None)]
    angry = (
        "select page_id, rage_clicks, dead_clicks from {p}_marts.pages where rage_clicks + dead_clicks > 0 order by 1"
    )
    assert warehouse.rows(angry) == [("app://Shop/Pay", 1, 0), ("x/a", 0, 1)]

    # Two views over midnight, each with two navigates; none of them has ended.
    night = {"device_id": 3, "processed_time": "2026-03-03T01:00:00.000000Z"}
    late = {"event_time": "2026-03-02T23:59:00.000000Z", **night}
    early = {"event_time": "2026-03-03T00:01:00.000000Z", **night}
    (feed / "2.ndjson").write_bytes(
        ndjson(
            seen(0, "navigate", 7, "c", **late),
            seen(1, "navigate", 7, "d", **early),
            seen(0, "navigate", 8, "e", **late),
            seen(1, "navigate", 8, "f", **early),
        )
    )
    warehouse.sync(feed)
    assert counts(warehouse) == of_feed | {"x/c": 1, "x/d": 1, "x/e": 1, "x/f": 1}
    days = "select day, page_views from {p}_marts.daily_metrics order by day"
    assert [(str(day), views) for day, views in warehouse.rows(days)] == [("2026-03-02", 7), ("2026-03-03", 2)]
    # One ends: its navigates, on both days, no longer count.
    began = {"start_time": "2026-03-02T23:59:00Z", "end_time": "2026-03-03T00:05:00Z"}
    (feed / "3.ndjson").write_bytes(
        ndjson(seen(5, "page_view", 7, "d", properties=began, **night | {"event_time": "2026-03-03T00:05:00.000000Z"}))
    )
    warehouse.sync(feed)
    assert counts(warehouse) == of_feed | {"x/d": 1, "x/e": 1, "x/f": 1}
    assert [(str(day), views) for day, views in warehouse.rows(days)] == [("2026-03-02", 7), ("2026-03-03", 1)]
    unique = "select total_page_views, total_unique_urls from {p}_marts.sessions where device_id = 3"
    assert warehouse.rows(unique) == [(3, 3)]


EXPORT, RAW = 1, 2


def test_a_url_is_one_page_and_names_no_user(warehouse: Warehouse, tmp_path: Path) -> None:
    """As the parts of an export's PageUrl, and as the whole URL alone that a capture feed gives."""
    feed = tmp_path / "feed"
    feed.mkdir()
    export = [
        {"IndvId": EXPORT, "SessionId": n, "PageId": n, "EventStart": "2026-03-02T10:00:00.000Z"}
        | {"EventType": "navigate", "PageUrl": url, "PageRefererUrl": url}
        for n, url in enumerate(URLS)
    ]
    (feed / "export.json").write_text(json.dumps(export))
    raw = [
        event(
            None,
            device_id=RAW,
            session_id=n,
            event_type="navigate",
            event_properties=json.dumps({"request_url": {"full_url": url}}),
            source_properties=json.dumps({"url": {"full_url": url}, "initial_referrer": {"full_url": url}}),
        )
        for n, url in enumerate(URLS)
    ]
    (feed / "events.ndjson").write_bytes(ndjson(*raw))
    warehouse.sync(feed)
    for device in (EXPORT, RAW):
        of_device = f"from {{p}}_marts.page_views where device_id = '{device}'"
        pages = dict(warehouse.rows(f"select cast(session_id as bigint), page_id {of_device}"))
        assert pages == dict(enumerate(URLS.values()))
    assert counts(warehouse)["x.example/a"] == 2 * 10
    columns = warehouse.rows(
        "select schema_name, table_name, string_agg('cast(\"' || column_name || '\" as varchar)', ', ')"
        " from duckdb_columns() where schema_name like 'product_%' or table_name like 'int_%' group by all"
    )
    assert {"pages", "events", "page_views", "sessions", "int_parsed_events"} < {table for _, table, _ in columns}
    for schema, table, texts in columns:
        told = [row for row in warehouse.rows(f"select {texts} from {schema}.{table}") if "secret" in str(row)]
        assert bool(told) == ((schema, table) == ("product_marts", "events")), (schema, table, told)
    of_events = "from {p}_marts.events where strpos(concat(event_properties, source_properties), 'secret') > 0"
    assert warehouse.rows(f"select distinct device_id {of_events}") == [(str(RAW),)]
