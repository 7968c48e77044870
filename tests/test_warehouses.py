"""The loader on every warehouse: DuckDB, PostgreSQL, and the stand-ins for BigQuery, Snowflake and Redshift."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import anything
import compare
import dialects
import forked
import killer
import pyarrow.parquet as pq
import pytest
import standins
import yaml
from conftest import HOUR, PROJECT, TESTS, Warehouse, event, leave_out, leave_out_what_users_do, ndjson
from standins import StandIn
from test_channels import PAGES, REFERRERS
from test_pages import URLS

pytestmark = pytest.mark.warehouses

Rows = list[tuple[Any, ...]]
Table = tuple[list[str], Rows]
numbers = count(1)

SECRET = "s3cret-that-nobody-sees"

HOME_OF_USER = os.environ["HOME"]
PROFILES_OF_USER = Path(os.environ.get("DBT_PROFILES_DIR") or Path.home() / ".dbt")
LIVE = os.environ.get("HEADRACE_LIVE_TARGET")
"""An output of the user's dbt profile `headrace`: a real account, on which the comparison runs, too."""


class Remote(Warehouse):
    """A warehouse with a profile of its own, in a schema that no other test has."""

    timeout = 3000
    begins_built = False

    def __init__(self, folder: Path, standin: StandIn | None, schema: str | None = None) -> None:
        super().__init__(folder)
        leave_out_what_users_do(self.project)
        self.log = standin.log if standin else None
        self.type = standin.output["type"] if standin else "duckdb"
        self.schema = schema or f"product_{next(numbers)}"
        self.output: dict[str, Any] = (
            dict(standin.output) if standin else {"type": "duckdb", "path": str(self.database)}
        )
        self.output |= {"dataset" if self.type == "bigquery" else "schema": self.schema, "threads": 2}
        self.profiles = folder / "profiles"
        self.profiles.mkdir()
        self.env |= {**(standin.env if standin else {}), "DBT_PROFILES_DIR": str(self.profiles)}
        self.write_profile()

    def write_profile(self, **changes: Any) -> None:
        """Write the profile anew; None leaves a setting out."""
        output = {name: value for name, value in {**self.output, **changes}.items() if value is not None}
        profile = {"headrace": {"target": "warehouse", "outputs": {"warehouse": output}}}
        (self.profiles / "profiles.yml").write_text(yaml.safe_dump(profile))

    def rows(self, sql: str) -> Rows:
        """Rows of a query; `{p}` stands for the schema. Numbers are int, times in UTC, whatever the client gives."""
        _, found = self.table(sql)
        return [tuple(map(plain, row)) for row in found]

    def table(self, sql: str) -> Table:
        """Names of the columns and rows of a query, as the warehouse's own client gives them."""
        return QUERY[self.type](self, sql.format(p=self.schema))

    def execute(self, sql: str) -> None:
        self.table(sql)

    def drop(self) -> None:
        for name in ("", "_analysis", "_marts"):
            self.execute(f"drop schema if exists {{p}}{name} cascade")


class Live(Remote):
    """An account of the user's profile, asked with the login of the profile, whatever it is."""

    def table(self, sql: str) -> Table:
        from headrace.pipeline import connected
        from headrace.target import read_target

        target = read_target(None, self.project, self.profiles)
        sql = sql.format(p=self.schema)
        with connected(target) as pipeline, pipeline.sql_client() as client, client.execute_query(sql) as cursor:
            return [name for name, *_ in cursor.description or ()], cursor.fetchall() if cursor.description else []


def plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return value


def query_duckdb(warehouse: Remote, sql: str) -> Table:
    import duckdb

    with duckdb.connect(warehouse.output["path"]) as connection:
        connection.execute("set TimeZone = 'UTC'").fetchall()
        found = connection.execute(sql)
        return [name for name, *_ in found.description], found.fetchall()


def query_bigquery(warehouse: Remote, sql: str) -> Table:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    options = {"api_endpoint": warehouse.output["api_endpoint"]}
    with closing(bigquery.Client("test-project", AnonymousCredentials(), client_options=options)) as client:  # type: ignore[no-untyped-call]
        found = client.query(sql).result()
        return [column.name for column in found.schema], [tuple(row) for row in found]


def query_snowflake(warehouse: Remote, sql: str) -> Table:
    import snowflake.connector

    names = ("account", "host", "port", "protocol", "user", "password", "database", "warehouse", "role")
    with closing(snowflake.connector.connect(**{name: warehouse.output[name] for name in names})) as connection:
        cursor = connection.cursor().execute(sql)
        return [name for name, *_ in cursor.description], list(cursor)


def query_postgres(warehouse: Remote, sql: str) -> Table:
    import psycopg2.extras

    names = ("host", "port", "user", "password", "dbname", "sslmode")
    with closing(psycopg2.connect(**{name: warehouse.output[name] for name in names})) as connection:
        connection.autocommit = True
        psycopg2.extras.register_default_jsonb(connection, loads=str)  # parsed in one place, for all (see compare.py)
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return [name for name, *_ in cursor.description or ()], cursor.fetchall() if cursor.description else []


QUERY: dict[str, Callable[[Remote, str], Table]] = {
    "duckdb": query_duckdb,
    "bigquery": query_bigquery,
    "snowflake": query_snowflake,
    "redshift": query_postgres,
    "postgres": query_postgres,
}
SERVERS = {
    "bigquery": standins.bigquery,
    "snowflake": standins.snowflake,
    "redshift": standins.redshift,
    "postgres": standins.postgres,
}


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[[str], StandIn | None]]:
    """Starts a stand-in when it is first asked for; all end with the session."""
    running: dict[str, StandIn] = {}
    with ExitStack() as stack:

        def start(name: str) -> StandIn | None:
            if name == "duckdb":
                return None
            if name not in running:
                running[name] = stack.enter_context(SERVERS[name]())
            return running[name]

        yield start


@pytest.fixture(params=QUERY)
def warehouse(
    request: pytest.FixtureRequest, tmp_path: Path, start: Callable[[str], StandIn | None]
) -> Iterator[Remote]:
    """Each warehouse in turn; `on` chooses."""
    remote = live(tmp_path) if request.param == "live" else Remote(tmp_path, start(request.param))
    yield remote
    # On these two stand-ins each statement takes longer with each table that is there.
    if request.param in ("live", "bigquery", "snowflake"):
        remote.drop()


def live(folder: Path) -> Live:
    outputs = yaml.safe_load((PROFILES_OF_USER / "profiles.yml").read_text())["headrace"]["outputs"]
    output = {name: value for name, value in outputs[LIVE].items() if name not in ("schema", "dataset")}
    return Live(folder, StandIn(output, {"HOME": HOME_OF_USER}), f"headrace_test_{os.getpid()}")


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    path = tmp_path / "feed.ndjson"
    path.write_bytes(ndjson(event("a")))
    return path


def on(*names: str | pytest.ParameterSet) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("warehouse", names, indirect=True)


BIGQUERY, SNOWFLAKE, REDSHIFT = (
    pytest.param(name, marks=pytest.mark.soak) for name in ("bigquery", "snowflake", "redshift")
)
"""For what `make soak` alone runs on their stand-ins, on which a whole build takes minutes."""


# --- what arrives --------------------------------------------------------------------------------------------------

JSON_TEXTS = {
    "numbers": '{"a": 1.10, "b":1e3,"c":4611686018427387905, "d":-0.0}',
    "quotes": """{"a":"it's \\"so\\"", "b": "'', ''';--", "c":"%s %(a)s %d 100%", "$$": "{p} $1 ?"}""",
    "backslashes": r'{"a":"\\", "b":"C:\\temp\\new", "c":"\n\t\u00e9\\u0041", "d":"\\\\\""}',
    "unicode": '{"é":"ß\u2028🙂 \u200b", "クリック":"\U0001f469\u200d\U0001f680"}',
    "no escaped zero": '{"a":"before\\\\u0000after"}',
    "spaces": '{ "b" : 1 ,\t"a" : [ ] , "c" : null }',
    "empty": "{}",
}


def test_what_a_file_holds_arrives(warehouse: Remote, tmp_path: Path) -> None:
    """The text of the JSON to the byte, ids of 64 bits, times to the microsecond, and a path that wants quoting."""
    feed = tmp_path / "it's 100% \\ odd_" / "events" / HOUR
    feed.mkdir(parents=True)
    path = feed / "a.ndjson"
    lines = [
        ndjson(event(name, event_properties=text, device_id=2**62 + number, session_id=-(2**63), view_id=2**63 - 1))
        for number, (name, text) in enumerate(JSON_TEXTS.items())
    ]
    lines.append(ndjson(event("null", event_type=None, event_properties=None, session_id=None)))
    lines.append(ndjson(event("early", event_time="1970-01-01T00:00:00.000001Z")))
    lines.append(ndjson(event("precise", event_time="2026-03-02T23:59:59.999999Z")))
    path.write_bytes(b"".join(lines) + b"not json\n")
    assert "rejected: 1 x" in warehouse.sync(feed.parents[1], "--no-build")
    assert (
        dict(warehouse.rows("select event_id, event_properties from {p}.raw_events where view_id > 70")) == JSON_TEXTS
    )
    ids = warehouse.rows("select event_id, device_id, session_id, view_id from {p}.raw_events where view_id > 70")
    assert sorted(ids, key=lambda row: row[1]) == [
        (name, 2**62 + number, -(2**63), 2**63 - 1) for number, name in enumerate(JSON_TEXTS)
    ]
    times = dict(warehouse.rows("select event_id, event_time from {p}.raw_events"))
    assert times["early"] == datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)
    assert times["precise"] == datetime(2026, 3, 2, 23, 59, 59, 999_999, UTC)
    assert warehouse.rows(
        "select event_type, event_properties, session_id, processed_time from {p}.raw_events where event_id = 'null'"
    ) == [(None, None, None, datetime(2026, 3, 2, 1, tzinfo=UTC))]
    assert {row[0] for row in warehouse.rows("select _file from {p}.raw_events")} == {str(path)}
    assert warehouse.rows("select position, content from {p}.rejected_events") == [(len(lines) + 1, "not json")]
    ((rows, rejected, is_merged),) = warehouse.rows("select row_count, rejected, is_merged from {p}.loaded_files")
    assert (rows, rejected, bool(is_merged)) == (len(lines), 1, False)


@on("duckdb", "redshift", "postgres")
def test_texts_that_mean_something_to_a_copy_arrive(warehouse: Remote, tmp_path: Path) -> None:
    """Empty is not null, and no text ends a line, a field or the data; of a NUL the rejected row tells."""
    texts = ["", " ", '"', '""', ",", "\n", "\r\n", "\\.", "a\n\\.\nb", "\\N", "NULL", "null", "\t\v", "'", "\x01"]
    feed = tmp_path / "feed.ndjson"
    rows = [event(f"{number}", source_type=text) for number, text in enumerate(texts)]
    feed.write_bytes(ndjson(*rows) + b"\\.\n" + b"a\0b\n" + ndjson(event("nul", source_type="a\0b")))
    warehouse.sync(feed, "--no-build")
    found = warehouse.rows("select event_id, source_type from {p}.raw_events")
    assert sorted(found, key=lambda row: int(row[0])) == [(str(number), text) for number, text in enumerate(texts)]
    rejected = dict(warehouse.rows("select position, content from {p}.rejected_events"))
    assert sorted(rejected) == [len(texts) + 1, len(texts) + 2, len(texts) + 3]
    assert rejected[len(texts) + 1] == "\\."
    assert all("\0" not in content for content in rejected.values())


def test_the_ledger_is_believed(warehouse: Remote, tmp_path: Path) -> None:
    feed = tmp_path / "feed" / "events" / HOUR
    feed.mkdir(parents=True)
    (feed / "a.ndjson").write_bytes(ndjson(event("a")))
    assert json.loads(warehouse.headrace("status", "--json"))["newest_load"] is None
    warehouse.sync(tmp_path / "feed", "--no-build")
    later = feed.with_name("ingested_time=2026-03-02 05:00:00")
    later.mkdir()
    (later / "b.ndjson").write_bytes(ndjson(event("b"), event("c")))
    (feed / "a.ndjson").write_bytes(ndjson(event("a", updated_time=1_772_413_300_000)))
    warehouse.sync(tmp_path / "feed", "--no-build")
    warehouse.sync(tmp_path / "feed", "--no-build")
    ledger = warehouse.rows("select path, row_count, is_recreated from {p}.loaded_files order by _dlt_load_id, path")
    assert [(Path(path).name, rows, bool(again)) for path, rows, again in ledger] == [
        ("a.ndjson", 1, False),
        ("a.ndjson", 1, True),
        ("b.ndjson", 2, False),
    ]
    status = json.loads(warehouse.headrace("status", "--json"))
    assert (status["queued_loads"], status["queued_rows"], status["files"]) == (2, 4, {"queued": 2})
    assert [(feed["waiting_files"], feed["lag_seconds"]) for feed in status["feeds"]] == [(0, 0.0)]


LONG = json.dumps({"a": "é" * 33_000}, ensure_ascii=False)


@pytest.mark.parametrize("bucket", [False, True], ids=["insert", "copy"])
@on("redshift")
def test_redshift_holds_no_longer_text(warehouse: Remote, tmp_path: Path, bucket: bool) -> None:
    """65,535 bytes: what is longer is a rejected row, not a failed load. With a bucket, Redshift copies from there."""
    if bucket:
        stage(warehouse)
    fits = json.dumps({"a": "é" * ((65_535 - 8) // 2)}, ensure_ascii=False, separators=(",", ":"))
    feed = tmp_path / "feed.ndjson"
    feed.write_bytes(ndjson(event("long", event_properties=LONG), event("fits", event_properties=fits), event("short")))
    warehouse.sync(feed, "--no-build")
    found = dict(warehouse.rows("select event_id, event_properties from {p}.raw_events"))
    assert sorted(found) == ["fits", "short"]
    assert found["fits"] == fits
    ((position, reason, content),) = warehouse.rows("select position, reason, content from {p}.rejected_events")
    assert (position, reason) == (1, "event_properties is longer than the 65,535 bytes that the warehouse holds")
    assert json.loads(content[: content.index("ééé")] + '"}')["event_id"] == "long"
    assert warehouse.rows("select row_count, rejected from {p}.loaded_files") == [(2, 1)]


@on("duckdb", "bigquery", "snowflake", "postgres")
def test_others_hold_long_text(warehouse: Remote, tmp_path: Path) -> None:
    feed = tmp_path / "feed.ndjson"
    feed.write_bytes(ndjson(event("long", event_properties=LONG)))
    warehouse.sync(feed, "--no-build")
    assert warehouse.rows("select event_properties from {p}.raw_events") == [(LONG,)]


def stage(warehouse: Remote) -> None:
    """A bucket for Redshift to copy from, on the S3 of its stand-in."""
    import boto3

    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=warehouse.env["AWS_ENDPOINT_URL"], **keys)
    client.create_bucket(Bucket=warehouse.schema.replace("_", "-"))
    names = {name.upper(): value for name, value in keys.items() if name != "region_name"}
    bucket = f"s3://{warehouse.schema.replace('_', '-')}/staging"
    warehouse.env |= {**names, "AWS_DEFAULT_REGION": "us-east-1", "DESTINATION__FILESYSTEM__BUCKET_URL": bucket}


# --- the same tables ------------------------------------------------------------------------------------------------


def click(event_id: Any, minute: int, **properties: Any) -> dict[str, Any]:
    return event(event_id, minute, event_properties=json.dumps(properties), updated_time=...)


def other(event_id: str, event_type: str, minute: int, **properties: Any) -> dict[str, Any]:
    return {**click(event_id, minute, **properties), "event_type": event_type}


WITHOUT_IDS = [click(..., minute, target={"text": f"b{minute}", "Mixed Case": minute}) for minute in (1, 3, 5, 7)]
FAR = {"event_time": "2025-11-30T23:59:59.999999Z"}
QUOTES = {"Total": 12.5, "total": 12.5, "id": 2**62 + 1, "null": None}
QUOTES |= {"quote": 'it\'s "so" \\ ü€', "list": [1, "two", {"Three": 3}]}
ON_ELEMENTS = [
    click(
        "on three", 13, target={"text": "Buy", "raw_selector": "form.order > button.buy", "x": {"target": 2**62 + 1}}
    ),
    click("on another", 14, target={"text": "Menü", "raw_selector": "nav button.menu"}, **QUOTES),
    {**click("elsewhere", 15, target={"raw_selector": "form.order"}), "source_properties": "{}"},
]


def arrival(query: str, referrer: str | None) -> str:
    agent = {"raw_user_agent": f"Mozilla/5.0 {'(compatible; bingBot)' if query == '?page=2' else '(Cubot)'}"}
    source: dict[str, Any] = {"url": {"full_url": f"https://shop.example/cart{query}#top"}, "user_agent": agent}
    return json.dumps(source | ({"initial_referrer": {"full_url": referrer}} if referrer else {}))


EXTRA_ROWS: dict[int, dict[str, list[dict[str, Any]]]] = {
    1: {
        "00/a": [
            *WITHOUT_IDS,
            other("own", "custom", 2, event_name="Bought", event_properties=QUOTES),
            other("dropped", "load", 4, largest_paint_time_millis="1234.5", load_time_millis="soon"),
            {**click("in two files", 4), "session_id": 8},
            {**other("server", "identify", 6, user_id="ann", user_properties={"plan": "pro"}), "session_id": None},
            click("timeless", 8, fs_rage_count=3, fs_dead_count="2", is_click_long="yes"),
            other("text", "request", 9, request_status="200", request_duration_millis=1e3, request_url={"path": None}),
            {**other("far", "navigate", 10), **FAR},
            *ON_ELEMENTS,
            other("told", "page_view", 11, page_name="Cart", start_time="2026-03-02T00:00:01Z", end_time="1970-01-01"),
        ],
        "00/pages": [
            {**other(f"url {view}", "navigate", view, request_url={"full_url": url}), "session_id": 9, "view_id": view}
            | {"source_properties": json.dumps({"url": {"full_url": url}, "initial_referrer": {"full_url": url}})}
            for view, url in enumerate(URLS)
        ],
        "00/arrivals": [
            {**other(f"arrival {number}", "navigate", number), "session_id": 100 + number}
            | {"source_properties": arrival(url, REFERRERS[number % len(REFERRERS)])}
            for number, url in enumerate(PAGES)
        ],
        "01/b": [
            {**click("in two files", 4), "session_id": 8},
            other("shift", "cumulative_layout_shift", 11, cumulative_layout_shift=0.1),
            *(other(f"paint {n}", "load", 12 + n, largest_paint_time_millis=100 * n + 0.5) for n in range(6)),
        ],
    },
    # The first file again, without most of its rows; an event between two others of its view; a null without a time.
    2: {
        "00/a": [*WITHOUT_IDS, {**other("own", "custom", 2, event_name="Again"), "updated_time": 1_772_600_000_000}],
        "02/c": [
            click(..., 4, target={"text": "late"}),
            {
                **dict.fromkeys(event("timeless")),
                "event_id": "timeless",
                "processed_time": "2026-03-02T03:00:00.000000Z",
            },
            {**other("as far", "navigate", 1), "event_time": "2025-12-01T00:00:00.000000Z"},
        ],
    },
    3: {
        "04/d": [
            click(..., 6, target={"text": "later"}),
            other("dropped", "load", 4, largest_paint_time_millis=99),
            {**event("far", event_type=None, updated_time=1_772_700_000_000), **FAR},
        ],
    },
}
"""Rows beside the sample's, by step and file: of types that JSON should not have, from months ago, re-created."""


DEFINITIONS = {
    2: """
pages:
  - {id: cart, name: Cart, url: "https://shop.example/cart", created_time: 2026-01-01, modified_time: 2026-01-01}
elements:
  - {id: order, name: Order, selector: form.order, page: cart, created_time: 2026-01-01, modified_time: 2026-01-01}
  - {id: button, name: A button, selector: button, created_time: 2026-01-01, modified_time: 2026-01-01}
events:
  - {id: clicked, name: Clicked, type: click, element: button, created_time: 2026-01-01, modified_time: 2026-01-01}
page_rules:
  - {url: "https://shop.example/*", path: "/products/:id"}
""",
    3: """
pages:
  - {id: cart, name: Cart, screen: Cart, state: archived, created_time: 2026-01-01, modified_time: 2026-01-02}
  - {id: basket, name: Bä 'é', url: "https://shop.example/cart", created_time: 2026-01-02, modified_time: 2026-01-02}
elements:
  - {id: order, name: Order, selector: form.order, created_time: 2026-01-01, modified_time: 2026-01-02}
  - {id: button, name: A button, selector: button, state: archived, created_time: 2026-01-01, modified_time: 2026-01-02}
  - {id: buy, name: Buy, selector: button.buy, created_time: 2026-01-02, modified_time: 2026-01-02}
events:
  - {id: clicked, name: Clicked, type: click, page: basket, created_time: 2026-01-01, modified_time: 2026-01-02}
  - id: dear
    name: Dear
    where: [{property: Total, greater: 12}]
    created_time: 2026-01-02
    modified_time: 2026-01-02
""",
}
"""By step: of the first one no event is stamped, by the last one all are stamped anew."""

CONVERSIONS = [
    {"name": "Order", "event_name": "Order Completed", "value": "revenue"},
    {"name": "It's bought", "event_type": "custom", "event_name": "Bought", "value": "total"},
    {"name": "Shipped", "event_name": "Order Shipped"},
    {"name": "Dear", "event_definition": "dear"},
    {"name": "Clicked", "event_definition": "clicked"},
    {"name": "Basket", "page": "Bä 'é'"},
    {"name": "Product", "page": "shop.example/products/:id", "event_type": "navigate"},
]

OWN_VARS: dict[str, Any] = {
    "conversions": CONVERSIONS,
    "event_catalogue_additions": {
        "custom": [{"name": "total", "data_type": "double", "config": {"meta": {"path": "event_properties.total"}}}]
    },
    "own_columns": {
        "sessions": [
            {"name": "plan", "data_type": "varchar", "user_property": "plan"},
            {"name": "first_text", "data_type": "varchar", "first": "target_text", "where": "event_type = 'click'"},
            {"name": "totals", "data_type": "double", "sum": "total"},
            {"name": "is_paid", "data_type": "boolean", "last": "total > 1"},
            {"name": "seen_time", "data_type": "timestamptz", "min": "event_time"},
            {"name": "clicks", "data_type": "bigint", "count": "event_type = 'click'"},
        ],
        "page_views": [
            {"name": "channel", "data_type": "varchar", "session": "channel"},
            {"name": "is_clicked", "data_type": "boolean", "max": "event_type = 'click'"},
            {"name": "last_view", "data_type": "bigint", "last": "view_id"},
        ],
        "users": [
            {"name": "clicks", "data_type": "bigint", "sum": "clicks"},
            {"name": "last_plan", "data_type": "varchar", "last": "plan"},
        ],
    },
    "funnels": [
        {
            "name": "It's bought",
            "within": "1 day",
            "steps": [{"name": "Basket", "page": "Bä 'é'"}, {"name": "Click", "event_type": "click"}],
        },
        {
            "name": "Of users",
            "per": "user",
            "within": "2 weeks",
            "steps": [
                {"name": "Clicked", "event_definition": "clicked"},
                {"name": "B", "event_name": "Order Completed"},
            ],
        },
    ],
    "retentions": [
        {"name": "It's all", "period": "month"},
        {"name": "Clicks", "period": "day", "start": {"event_type": "click"}, "back": {"page": "Bä 'é'"}},
    ],
}

ALL_STEPS = "HEADRACE_ALL_STEPS" in os.environ
"""Whether a full refresh, a third hour and `definitions apply` are compared, too, as in `make soak`."""

LOST = ("int_parsed_events", "int_sessions", "int_page_views", "int_converting_events")
"""What a rebuild has to make anew."""


def steps(
    warehouse: Remote, feed: Path, deadly: Callable[[list[str]], None] | None = None
) -> Iterator[tuple[str, dict[str, compare.Rows]]]:
    """Build hour by hour, with a rebuild between; all that is published, after each.

    Where there is a program that dies, it is run before each sync, which then goes on from what it left.
    """
    shutil.rmtree(feed, ignore_errors=True)
    warehouse.env["DBT_WRITE_JSON"] = "true"
    settings = warehouse.project / "dbt_project.yml"
    project = yaml.safe_load(settings.read_text(encoding="utf-8"))
    project["vars"] |= OWN_VARS
    settings.unlink()
    settings.write_text(yaml.safe_dump(project, allow_unicode=True), encoding="utf-8")
    for step, files in EXTRA_ROWS.items():
        size = ["--hours", str(2 * step), "--events-per-hour", "120"]
        warehouse.headrace("sample", feed, *size, "--format", "ndjson")
        for name, rows in files.items():
            hour, file = name.split("/")
            folder = feed / "events" / f"ingested_time=2026-03-02 {hour}:00:00"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{file}.ndjson").write_bytes(ndjson(*rows))
        if step in DEFINITIONS:
            (warehouse.project / "definitions.yml").write_text(DEFINITIONS[step], encoding="utf-8")
        if deadly:
            killed = warehouse.start(deadly, "sync", feed)
            assert killed.end(warehouse.timeout) == -signal.SIGKILL, killed.said()
        warehouse.sync(feed)
        yield f"hour {step}", published(warehouse)
        if step == 2:
            if ALL_STEPS:
                warehouse.dbt("run", "--full-refresh")
                yield "full refresh", published(warehouse)
            for table in LOST:
                warehouse.execute(f"delete from {{p}}.{table} where 1 = 1")
            warehouse.headrace("rebuild", "--since", "2000-01-01")
            made = {table: warehouse.rows(f"select count(*) from {{p}}.{table}")[0][0] for table in LOST}
            assert all(made.values()), made
            yield "rebuild", published(warehouse)
            if not ALL_STEPS:
                return
    warehouse.headrace("definitions", "apply", "--since", "2000-01-01")
    yield "apply", published(warehouse)


def published(warehouse: Remote) -> dict[str, compare.Rows]:
    found = compare.published(warehouse.table, warehouse.project / "target" / "manifest.json")
    return {name.replace(warehouse.schema, "product", 1): rows for name, rows in found.items()}


@pytest.fixture(scope="session")
def shared_feed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One path for all, as a file's path is in its rows."""
    return tmp_path_factory.mktemp("shared") / "feed"


@pytest.fixture(scope="session")
def on_duckdb(tmp_path_factory: pytest.TempPathFactory, shared_feed: Path) -> dict[str, dict[str, compare.Rows]]:
    return dict(steps(Remote(tmp_path_factory.mktemp("duckdb"), None), shared_feed))


@on(BIGQUERY, SNOWFLAKE, "redshift", "postgres", *(["live"] if LIVE else []))
def test_the_same_feed_gives_the_same_tables(
    warehouse: Remote,
    shared_feed: Path,
    on_duckdb: dict[str, dict[str, compare.Rows]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every published relation, row by row; and what the last run sent is cheap, and SQL of the real warehouse."""
    for step, found in steps(warehouse, shared_feed):
        assert compare.differences(on_duckdb[step], found) == []
        with capsys.disabled():
            rows = sum(map(len, found.values()))
            print(f"\n{warehouse.type}, {step}: {len(found)} relations, {rows:,} rows as on DuckDB", end="")
        target = warehouse.project / "target"
        if step not in ("rebuild", "hour 3"):
            continue
        if warehouse.type == "bigquery":
            assert dialects.refused_by_bigquery(target) == []
            for table in ("events", "int_parsed_events"):
                assert dialects.unbounded_scans(target, f"{warehouse.schema}.{table}", "bigquery") == []
        elif warehouse.type != "duckdb":
            assert dialects.unparsable(target, warehouse.type) == []
    if warehouse.log and warehouse.type == "redshift":
        assert "PASS-THROUGH" not in warehouse.log.read_text()


@on(BIGQUERY, SNOWFLAKE, REDSHIFT, "postgres")
def test_the_report_has_the_same_figures(warehouse: Remote, tmp_path: Path) -> None:
    """Its whole page, without what says where and when it was written, and the queries, which name the schema."""
    (tmp_path / "duckdb").mkdir()
    pages = []
    for one in (warehouse, Remote(tmp_path / "duckdb", None)):
        one.headrace("sample", tmp_path / "feed", "--hours", "3", "--events-per-hour", "400")
        one.sync(tmp_path / "feed")
        out = one.project / "report.html"
        (one.project / "dbt_project.yml").unlink()
        text = (PROJECT / "dbt_project.yml").read_text(encoding="utf-8")
        asked = text.replace("report_funnel: null", "report_funnel: [Home, Product, Cart]")
        (one.project / "dbt_project.yml").write_text(asked, encoding="utf-8")
        one.headrace("report", "--out", out)
        page = out.read_text(encoding="utf-8")
        assert "not in the warehouse" not in page
        assert all(f'id="{section}"' in page for section in ("frustration", "events", "funnel", "retention"))
        pages.append(re.sub("(?s)<header>.*</header>|<footer>.*</footer>|<pre.*?</pre>|[^<>]* ago</small>", "", page))
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("warehouse", "sql"),
    [
        ("redshift", """select json_parse('{"a": 1, "a": 2}')"""),
        ("redshift", """select json_parse('[{"a": {"b": 1, "c": 2, "b": 3}}]')"""),
        ("redshift", f"""select json_parse('{{"a": "{"x" * 65_530}"}}')"""),
        ("redshift", """select json_parse('{"a": "' || chr(92) || 'u0000"}')"""),
        ("bigquery", """select parse_json('{"a": 1e400}', wide_number_mode => 'round')"""),
        ("bigquery", """select parse_json('{"a": [{"b": -1e309}]}', wide_number_mode => 'round')"""),
    ],
    indirect=["warehouse"],
)
def test_a_stand_in_refuses_what_the_service_refuses(warehouse: Remote, sql: str) -> None:
    with pytest.raises(Exception, match=r"(?i)duplicate key|too long|u0000|unicode|overflow"):
        QUERY[warehouse.type](warehouse, sql)
    accepted = """'{"a": {"a": 1e308}, "b": [{"a": 1}, {"a": 2}]}'"""
    parsed = f"parse_json({accepted}, wide_number_mode => 'round')"
    asked = parsed if warehouse.type == "bigquery" else f"json_parse({accepted})"
    assert QUERY[warehouse.type](warehouse, f"select {asked}")[1]


# --- whatever a visitor sends ---------------------------------------------------------------------------------------


@on(BIGQUERY, SNOWFLAKE, REDSHIFT, "postgres")
def test_each_column_is_right_or_null(warehouse: Remote, tmp_path: Path) -> None:
    """As on DuckDB (test_casts.py), and all tests of the data pass; the hour after it runs."""
    cases = {case.event_id: (case, row) for case, row in anything.cases()}
    (tmp_path / "feed.ndjson").write_bytes(ndjson(*(row for _, row in cases.values())))
    warehouse.env["DBT_WRITE_JSON"] = "true"
    warehouse.sync(tmp_path / "feed.ndjson", "--all")
    assert warehouse.rows("select count(*) from {p}.rejected_events") == [(0,)]
    names = sorted({case.column for case, _ in cases.values() if case.column})
    found = warehouse.rows(f"select event_id, {', '.join(names)} from {{p}}.int_parsed_events")
    assert {row[0] for row in found} == cases.keys()
    values = {row[0]: dict(zip(names, row[1:], strict=True)) for row in found}
    wrong = [
        (*case[1:], values[case.event_id][case.column])
        for case, _ in cases.values()
        if case.column and not anything.is_right(case, values[case.event_id][case.column])
    ]
    assert wrong == []
    vitals = ", ".join(f"{vital}_p75" for vital in anything.VITALS.values())
    ((*percentiles,),) = warehouse.rows(
        f"select {vitals} from {{p}}_marts.daily_metrics where sessions > 0"  # as in test_casts.py
    )
    assert percentiles == [pytest.approx(anything.p75(vital)) for vital in anything.VITALS.values()]
    if warehouse.type == "bigquery":
        evaluate(warehouse.project / "target")

    rows = [{**row, "event_id": f"again {row['event_id']}"} for case, row in cases.values() if case.value != "soon"]
    (tmp_path / "next.ndjson").write_bytes(ndjson(*rows))
    warehouse.sync(tmp_path / "next.ndjson")
    assert warehouse.rows("select count(*) from {p}.int_parsed_events") == [(len(cases) + len(rows),)]


def evaluate(target: Path) -> None:
    """What the service refuses and the stand-in forgives: the SQL of the first build, in Google's own evaluator."""
    full = {row["event_id"]: (value, row) for value, row in anything.full_events()}
    vitals = [*anything.VITALS.values(), "max_scroll_depth", "start_time", "duration_millis"]
    others = [row for case, row in anything.cases() if case.column in vitals or case.event_type == "identify"]
    load = {"_dlt_load_id": "1.0", "_file": "feed", "_position": 1}
    sources = {
        "raw_events": [{**row, "updated_time": None, **load} for row in [*others, *(row for _, row in full.values())]],
        "loaded_files": [{"path": "feed", "kind": "events", "is_merged": False, "_dlt_load_id": "1.0"}],
        "_dlt_loads": [{"load_id": "1.0", "status": 0, "inserted_at": "2026-03-02T22:00:00Z"}],
    }
    models = (
        "int_parsed_events",
        "daily_metrics",
        "users",
        "pages",
        "elements",
        "page_views",
        "ui_events",
        "marts_events",
    )
    found, refused = dialects.evaluated_by_bigquery(target, sources, models)
    assert refused == []
    assert all(found[name] for name in models)
    parsed = {row["event_id"]: row for row in found["int_parsed_events"]}
    assert parsed.keys() >= full.keys()
    columns = [column for column in anything.columns() if column.name not in (None, "page_properties")]
    wrong = [
        (column.name, value, parsed[event_id][column.name])
        for event_id, (value, _) in full.items()
        for column in columns
        if not anything.is_right(
            anything.Case(event_id, column.name, column.data_type, value, ""), parsed[event_id][column.name]
        )
    ]
    assert wrong == []


# --- one machine at a time -----------------------------------------------------------------------------------------


def another_machine(warehouse: Remote, tmp_path: Path) -> Remote:
    """The same target from another working folder, which is what the lease takes for another machine."""
    other = Remote(tmp_path / "other", None)
    other.type, other.schema, other.output, other.env = (
        warehouse.type,
        warehouse.schema,
        warehouse.output,
        {**warehouse.env},
    )
    return other


@on("bigquery", "snowflake", "redshift", "postgres")
def test_two_machines_at_once(warehouse: Remote, tmp_path: Path) -> None:
    """One loads, the other says who has the lease and ends with 1; nothing of the first is taken for unfinished."""
    feed = tmp_path / "feed.ndjson"
    feed.write_bytes(b"".join(ndjson(event(f"{number}")) for number in range(1000)))
    machines = [warehouse, another_machine(warehouse, tmp_path)]
    running = [one.start(forked.headrace, "sync", feed, "--no-build") for one in machines]
    failed = [process.said() for process in running if process.end(300)]
    assert all("a sync from another machine is under way" in words for words in failed), failed
    assert len(failed) < 2
    assert warehouse.rows("select count(*), count(distinct _dlt_load_id) from {p}.raw_events") == [(1000, 1)]


@on("bigquery", "snowflake", "redshift", "postgres")
def test_a_lease_ends(warehouse: Remote, tmp_path: Path) -> None:
    """Another machine's lease keeps a sync away until it expires; one's own, left by a kill, does not."""
    feed = tmp_path / "feed.ndjson"
    feed.write_bytes(ndjson(event("a")))
    warehouse.sync(feed, "--no-build")
    ((owner, expires),) = warehouse.rows("select owner, expires from {p}.lease")
    assert str(warehouse.project) in owner
    assert expires == 0
    soon = int(time.time()) + 200
    warehouse.execute(f"update {{p}}.lease set owner = 'other machine', expires = {soon} where expires = 0")
    assert "a sync from another machine is under way (other machine)" in warehouse.sync(feed, "--no-build", status=1)
    warehouse.execute("update {p}.lease set expires = 1 where expires > 0")
    warehouse.sync(feed, "--no-build")
    warehouse.execute(f"update {{p}}.lease set owner = '{owner}', expires = {soon} where expires = 0")
    warehouse.sync(feed, "--no-build")
    warehouse.execute(
        "update {p}.lease set owner = 'a machine whose clock was ahead', expires = 32503680000 where expires = 0"
    )
    warehouse.sync(feed, "--no-build")


def terminated(arguments: list[str]) -> None:
    """A sync that a scheduler ends while it loads."""
    killer.die = lambda: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(60)
    killer.load_points("postgres")["the package is extracted"].plant()
    forked.headrace(arguments)


@on("postgres")
def test_who_is_terminated_gives_the_lease_back(warehouse: Remote, tmp_path: Path) -> None:
    feed = tmp_path / "feed.ndjson"
    feed.write_bytes(ndjson(event("a")))
    process = warehouse.start(terminated, "sync", feed, "--no-build")
    assert process.end(60) == 143, process.said()
    assert process.said().endswith("headrace: terminated, run it again\n")
    assert "Traceback" not in process.said()
    assert warehouse.rows("select expires from {p}.lease") == [(0,)]
    another_machine(warehouse, tmp_path).sync(feed, "--no-build")
    assert warehouse.rows("select event_id from {p}.raw_events") == [("a",)]


LOSING = """
import sys, time
import headrace.lock, headrace.load
headrace.lock.RENEW_SECONDS = 0.2
load_package = headrace.load.load_package
headrace.load.load_package = lambda *arguments: (print("loading", flush=True), time.sleep(60))
from headrace.cli import main
main(sys.argv[1:])
"""


@on("snowflake")
def test_who_loses_the_lease_stops(warehouse: Remote, tmp_path: Path) -> None:
    """A machine that slept past its lease ends before it writes on."""
    feed = tmp_path / "feed.ndjson"
    feed.write_bytes(ndjson(event("a")))
    command = [sys.executable, "-c", LOSING, "sync", str(feed), "--no-build"]
    with subprocess.Popen(
        command, cwd=warehouse.project, env=warehouse.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "loading\n"
        soon = int(time.time()) + 200
        warehouse.execute(f"update {{p}}.lease set owner = 'other machine', expires = {soon} where expires > 0")
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said.strip().endswith("this sync could not renew its lease and has stopped; run it again")
    assert "Traceback" not in said


@on("postgres")
def test_statements_share_a_connection_until_dlt_works(warehouse: Remote, feed: Path) -> None:
    from headrace.pipeline import connected, disconnect, query
    from headrace.target import read_target

    process = "select pg_backend_pid()"
    target = read_target(None, warehouse.project, warehouse.profiles)
    with connected(target) as pipeline:  # where the schema is not there yet
        assert query(pipeline, "select * from nothing") == []
    warehouse.sync(feed, "--no-build")
    with connected(target) as pipeline:
        first = query(pipeline, process)
        assert query(pipeline, "select * from nothing") == []
        assert query(pipeline, "select count(*) from raw_events") == [(1,)]
        assert query(pipeline, process) == first
        disconnect(pipeline)
        assert query(pipeline, process) != first
    open_ones = "select count(*) from pg_stat_activity where datname = 'dev' and pid <> pg_backend_pid()"
    until = time.monotonic() + 10  # the server notices after a moment
    while warehouse.rows(open_ones) != [(0,)] and time.monotonic() < until:
        time.sleep(0.1)
    assert warehouse.rows(open_ones) == [(0,)]


@on(BIGQUERY, SNOWFLAKE, REDSHIFT, "postgres")
def test_what_was_loaded_before_is_stamped_anew(warehouse: Remote, tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    feed.mkdir()
    (feed / "events.ndjson").write_bytes(ndjson(ON_ELEMENTS[0], ON_ELEMENTS[1], event(None, minute=20)))
    warehouse.sync(feed)
    stamps = (
        "select _page_stamp, _element_stamp, _event_stamp, _matcher_version, count(*) from {p}.events "
        "group by 1, 2, 3, 4 order by 2"
    )
    assert warehouse.rows(stamps) == [(None, None, None, None, 3)]
    (warehouse.project / "definitions.yml").write_text(DEFINITIONS[3], encoding="utf-8")
    for read in (3, 0):
        said = warehouse.headrace("definitions", "apply", "--since", "2026-01-01", "--json")
        assert f'"stamped": {read},' in said
    page, buy, clicked = (
        '"page_definition_id":"basket",',
        '"element_definition_id":"buy",',
        '"event_definition_id":"clicked",',
    )
    assert sorted(warehouse.rows(stamps), key=str) == sorted(
        [
            (page, buy.replace('",', '","additional_element_definition_ids":["order"],'), clicked, 1, 1),
            (page, buy, clicked, 1, 1),
            (page, None, clicked.replace('",', '","additional_event_definition_ids":["dear"],'), 1, 1),
        ],
        key=str,
    )


@on(BIGQUERY, SNOWFLAKE, REDSHIFT, "postgres")
def test_a_folder_gets_what_changed(warehouse: Remote, tmp_path: Path) -> None:
    views = ("path:models/analysis", "path:models/marts")
    leave_out(warehouse.project, *views, TESTS, "resource_type:unit_test", selector="tables")
    feed, store = tmp_path / "feed", tmp_path / "store"
    feed.mkdir()
    late, untimed = {"event_time": "2026-03-01T23:59:59.999999Z"}, {"event_time": None, "session_id": None}
    (feed / "events.ndjson").write_bytes(ndjson(event("a"), event("b", **late), event("c", **untimed)))
    page = {"id": "p1", "name": "Cart", "state": "active", "modified_time": "2026-01-02T00:00:00.5Z"}
    (feed / "page_definitions.ndjson").write_bytes(ndjson(page))
    assert "1 page definitions, 3 events delivered" in warehouse.sync(feed, "--to", str(store))
    (feed / "more.ndjson").write_bytes(ndjson(event("a", event_type=None, updated_time=1_772_500_000_000)))
    assert "store: 1 events delivered" in warehouse.sync(feed, "--to", str(store))
    assert "store: nothing new" in warehouse.sync(feed, "--to", str(store), "--all")
    files = sorted(store.glob("events/*/*.parquet"))
    assert len(files) == 2
    first, second = (pq.read_table(file, partitioning=None) for file in files)
    assert first.schema.equals(second.schema)
    assert [str(kind) for kind in first.schema.types] == ["string"] * 3 + ["int64"] * 4 + ["string"] * 4
    names = ("event_id", "event_time", "processed_time", "device_id", "session_id", "event_type")
    rows = [tuple(row[name] for name in names) for table in (first, second) for row in table.to_pylist()]
    processed, device = "2026-03-02T01:00:00.000000Z", 2**60 + 1
    assert rows == [
        ("b", "2026-03-01T23:59:59.999999Z", processed, device, 7, "click"),
        ("a", "2026-03-02T00:00:00.000000Z", processed, device, 7, "click"),
        ("c", None, processed, device, None, "click"),
        ("a", "2026-03-02T00:00:00.000000Z", processed, device, 7, None),
    ]
    text = first.column("event_properties").to_pylist()[0]
    assert json.loads(text) == {"target": {"text": "Buy", "raw_selector": "button.buy"}}
    assert second.column("updated_time")[0].as_py() > first.column("updated_time")[1].as_py() > 1_772_500_000_000
    ((page_file,),) = [[*store.glob("configuration/page-definitions/*/*.parquet")]]
    (told,) = pq.read_table(page_file, partitioning=None).to_pylist()
    assert (told["id"], told["name"], told["modified_time"]) == ("p1", "Cart", "2026-01-02T00:00:00.500000Z")


@on("bigquery", "snowflake", REDSHIFT, "postgres")
def test_definitions_of_today_name_what_was_there(
    warehouse: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worked out in test_definition_matches.py, but that the lookups know none of what was stamped: it stays."""
    from headrace.definitions import matches
    from headrace.pipeline import connected
    from headrace.target import read_target
    from test_definition_matches import BOUND, FIRST, history

    for name, value in warehouse.env.items():
        monkeypatch.setenv(name, value)
    feed = tmp_path / "feed"
    feed.mkdir()
    (feed / "history.ndjson").write_bytes(ndjson(*history()))
    target = read_target(None, warehouse.project, warehouse.profiles)
    warehouse.sync(feed, "--no-build")
    with connected(target, writes=True) as pipeline:
        matches.prepare(pipeline, target)
    relations = ["int_definition_values", "pages", "elements", "page_views", "events_by_definition", "analysis_events"]
    kinds = ("--resource-type", "model", "--resource-type", "seed")
    warehouse.dbt("build", "--quiet", *kinds, "--select", *(f"+{name}" for name in relations))
    pages = "select page_id, views, entries, exits from {p}_marts.pages where page_id in ('cart', 'shop.example/p/:id')"
    elements = "select element_definition_id, clicks from {p}_marts.elements where element_definition_id like '%button'"
    facts = (
        "select current_page_definition_id, current_element_definition_id, count(*) from {p}_analysis.events "
        "where current_element_definition_id like '%button' group by 1, 2"
    )
    for set_id, matcher, of_pages, of_elements, of_facts in (
        (
            "first", FIRST, [("cart", 4, 2, 2)],
            [("any-button", 4)], [(None, "any-button", 2), ("cart", "any-button", 2)],
        ),
        (
            "bound", BOUND, [("cart", 3, 1, 1), ("shop.example/p/:id", 2, 1, 0)],
            [("any-button", 2), ("cart-button", 3)], [(None, "any-button", 2), ("cart", "cart-button", 3)],
        ),
    ):  # fmt: skip
        with connected(target, writes=True) as pipeline:
            assert matches.refresh(pipeline, target, matcher, set_id) == 12
            assert matches.refresh(pipeline, target, matcher, set_id) == 0
        assert sorted(warehouse.rows(pages)) == of_pages
        assert sorted(warehouse.rows(elements)) == of_elements
        assert sorted(warehouse.rows(facts), key=str) == sorted(of_facts, key=str)
    defined = "select definition_id, events, sessions, users from {p}_marts.events_by_definition order by 1"
    assert warehouse.rows(defined) == [("helped", 1, 1, 1), ("paid", 2, 2, 2)]
    with connected(target, writes=True) as pipeline:
        matches.forget(pipeline)
    assert warehouse.rows(pages) == []


# --- kills ----------------------------------------------------------------------------------------------------------

KILLS = [
    "before the ledger is read",
    "the package is normalized",
    "only the events are loaded",
    "all but the events are loaded",
    "all data is loaded, without the marker",
    "the marker is set",
    "the package is put away",
]
ONE_KILL = "only the events are loaded"
"""That of BigQuery and Snowflake which does not wait for `make soak`."""
COMPLETE = "_dlt_load_id in (select load_id from {p}._dlt_loads where status = 0)"


@pytest.mark.parametrize(
    ("warehouse", "point"),
    [
        pytest.param(name, point, marks=[pytest.mark.soak] * (name != "postgres" and point != ONE_KILL))
        for name in ("bigquery", "snowflake", "postgres")
        for point in KILLS
    ],
    indirect=["warehouse"],
)
def test_killed_at(warehouse: Remote, tmp_path: Path, point: str) -> None:
    """Two hours, killed in each at the same point: one goes on with the working folder, the other without."""
    warehouse.env["LOAD__WORKERS"] = "1"  # so that the jobs go in the order that the point asks for
    hours = tmp_path / "feed" / "events"
    expected: list[tuple[str, str]] = []
    for hour in (1, 2):
        folder = hours / f"ingested_time=2026-03-02 0{hour}:00:00"
        folder.mkdir(parents=True)
        for file in ("a", "b"):
            names = [f"{hour}{file}{number}" for number in range(50)]
            (folder / f"{file}.ndjson").write_bytes(b"".join(ndjson(event(name)) for name in names) + b"cut o\n")
            expected += [(name, f"{folder}/{file}.ndjson") for name in names]
        killed = warehouse.start(partial(killer.main, warehouse.type, point), "sync", tmp_path / "feed", "--no-build")
        assert killed.end(warehouse.timeout) == -signal.SIGKILL, killed.said()
        if hour == 2:
            shutil.rmtree(warehouse.project / ".headrace")
        warehouse.sync(tmp_path / "feed", "--no-build")
        assert sorted(warehouse.rows("select event_id, _file from {p}.raw_events")) == sorted(expected)
        assert sorted(warehouse.rows(f"select event_id, _file from {{p}}.raw_events where {COMPLETE}")) == sorted(
            expected
        )
        files = sorted({file for _, file in expected})
        for table, columns, rows in (
            ("loaded_files", "path, row_count, rejected", [(file, 50, 1) for file in files]),
            ("rejected_events", "file, position, content", [(file, 51, "cut o") for file in files]),
        ):
            assert sorted(warehouse.rows(f"select {columns} from {{p}}.{table} where {COMPLETE}")) == rows
            assert sorted(warehouse.rows(f"select {columns} from {{p}}.{table}")) == rows


KILLED_BUILDS = [
    "batch_loads is built",
    "between the purge's mark and its delete",
    "the events are purged",
]


@pytest.mark.parametrize(
    "point",
    [pytest.param(point, marks=[pytest.mark.soak] * (point != "batch_loads is built")) for point in KILLED_BUILDS],
)
@on("postgres")
def test_killed_in_a_build(
    warehouse: Remote, shared_feed: Path, on_duckdb: dict[str, dict[str, compare.Rows]], point: str
) -> None:
    """Killed in the first hour and in one with events to change: then the tables are those of DuckDB."""
    for step, found in steps(warehouse, shared_feed, partial(killer.main, warehouse.type, point)):
        assert compare.differences(on_duckdb[step], found) == []
        if step == "hour 2":
            return


# --- logins ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["key", "key with passphrase", "key file", "oauth", "programmatic_access_token"])
@on("snowflake")
def test_logins_to_snowflake(warehouse: Remote, feed: Path, tmp_path: Path, way: str) -> None:
    passphrase = SECRET if way == "key with passphrase" else None
    if way == "key file":
        path = tmp_path / "key.p8"
        path.write_text(private_key())
        login = {"private_key_path": str(path)}
    elif way.startswith("key"):
        login = {"private_key": private_key(passphrase), "private_key_passphrase": passphrase}
    else:
        login = {"authenticator": way, "token": "the-token"}
    warehouse.write_profile(password=None, **login)
    warehouse.sync(feed, "--no-build")
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(1,)]


@pytest.mark.parametrize("way", ["service-account", "service-account-json", "oauth-secrets"])
@on("bigquery")
def test_logins_to_bigquery(warehouse: Remote, feed: Path, tmp_path: Path, way: str, token_server: str) -> None:
    """That of the other tests is `oauth`: application default credentials."""
    del warehouse.env["GOOGLE_APPLICATION_CREDENTIALS"]
    account = service_account(token_server)
    (tmp_path / "key.json").write_text(json.dumps(account))
    secrets = {"refresh_token": "x", "client_id": "x", "client_secret": "x", "token_uri": token_server}
    login = {
        "service-account": {"keyfile": str(tmp_path / "key.json")},
        "service-account-json": {"keyfile_json": account},
        "oauth-secrets": secrets,
    }[way]
    warehouse.write_profile(method=way, **login)
    warehouse.sync(feed, "--no-build")
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(1,)]


@on("redshift")
def test_iam_login_to_redshift(warehouse: Remote, feed: Path) -> None:
    """AWS gives a user and a password; the stand-in's PostgreSQL does not know that user, and says so."""
    import boto3

    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    aws = boto3.client("redshift", endpoint_url=warehouse.env["AWS_ENDPOINT_URL"], **keys)
    cluster = warehouse.schema.replace("_", "-")
    aws.create_cluster(
        ClusterIdentifier=cluster, NodeType="ra3.large", MasterUsername="admin", MasterUserPassword="Passw0rd"
    )
    warehouse.write_profile(
        method="iam",
        cluster_id=cluster,
        region="us-east-1",
        access_key_id="key",
        secret_access_key=SECRET,
        password=None,
    )
    assert 'password authentication failed for user "IAM:loader"' in complaint(warehouse, feed)


@pytest.mark.parametrize("way", ["socket", "role", "odd password"])
@on("postgres")
def test_logins_to_postgres(warehouse: Remote, feed: Path, way: str) -> None:
    name = f"{way.replace(' ', '_')}_{warehouse.schema}"
    if way == "socket":
        ((folder,),) = warehouse.rows("show unix_socket_directories")
        warehouse.write_profile(host=folder)
    elif way == "role":
        warehouse.execute(f'create role "{name} \\ \'x" noinherit')
        warehouse.execute(f'grant create on database dev to "{name} \\ \'x"')
        warehouse.execute(f"create role {name} noinherit login password '{SECRET}'")
        warehouse.execute(f'grant "{name} \\ \'x" to {name}')
        warehouse.write_profile(user=name, password=SECRET, role=f"{name} \\ 'x")
    else:
        password = "p%40 @:/?#&=\\'\"é"
        warehouse.execute(f"create role {name} superuser login password '{password.replace(chr(39), chr(39) * 2)}'")
        warehouse.write_profile(user=name, password=password)
    warehouse.sync(feed, "--no-build")
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(1,)]
    ((owner,),) = warehouse.rows("select tableowner from pg_tables where schemaname || '.' || tablename = '{p}.lease'")
    assert owner == {"socket": "loader", "role": f"{name} \\ 'x", "odd password": name}[way]


@on("redshift", "bigquery")
def test_a_login_that_cannot_be_mapped(warehouse: Remote, feed: Path) -> None:
    other = {"role": "analyst"} if warehouse.type == "redshift" else {"execution_project": "payer"}
    warehouse.write_profile(**other)
    assert f"can't log in with '{next(iter(other))}' as dbt does" in complaint(warehouse, feed)


# --- set-up ---------------------------------------------------------------------------------------------------------

PRINCIPALS = {
    "loader": "serviceAccount:loader@test-project.iam.gserviceaccount.com",
    "dbt": "serviceAccount:dbt@test-project.iam.gserviceaccount.com",
    "reader": "group:readers@example.com",
}


def options(who: dict[str, str]) -> list[str]:
    return [word for option, name in who.items() for word in (f"--{option}", name)]


@on("bigquery", "snowflake", "redshift", "postgres")
def test_the_grants_are_sql(warehouse: Remote) -> None:
    import sqlfluff

    who = options(PRINCIPALS) if warehouse.type == "bigquery" else []
    said = warehouse.headrace("setup", *who)
    if warehouse.type != "bigquery":  # whose grants sqlfluff does not know
        known = said.replace("on tables to role", "on tables to group")  # sqlfluff has no roles there
        sqlfluff.parse(known, dialect=warehouse.type)
    assert "$" not in said
    wrong = {**PRINCIPALS, "reader": 'x"; drop schema'} if who else {"reader": "x; drop schema"}
    assert "--reader must be" in warehouse.headrace("setup", *options(wrong), status=2)


@on("duckdb")
def test_duckdb_has_no_roles(warehouse: Remote) -> None:
    assert "there are no roles to set up" in warehouse.headrace("setup", status=2)


@on("snowflake")
def test_setup_runs_on_snowflake(warehouse: Remote) -> None:
    assert "30 statements have run" in warehouse.headrace("setup", "--apply")
    schemas = {name.lower() for (name,) in warehouse.rows("select schema_name from information_schema.schemata")}
    assert {warehouse.schema, f"{warehouse.schema}_analysis", f"{warehouse.schema}_marts"} <= schemas


@on("redshift", "postgres")
def test_setup_gives_no_more_than_each_needs(warehouse: Remote, feed: Path) -> None:
    """PostgreSQL's privileges are Redshift's, so this shows who may do what."""
    import psycopg2

    who = {name: f"{name}_{warehouse.schema}" for name in ("loader", "dbt", "reader")}
    for _ in range(2):  # the second time all is there already
        warehouse.headrace("setup", *options(who), "--apply")
    for name in who.values():
        warehouse.execute(f"alter role {name} login password '{SECRET}'")
    owner = warehouse.output
    warehouse.write_profile(user=who["loader"], password=SECRET)
    warehouse.sync(feed, "--no-build")
    warehouse.output = {**owner, "user": who["dbt"], "password": SECRET}
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(1,)]
    warehouse.execute("create table {p}.events as select * from {p}.raw_events")
    warehouse.execute("create view {p}_marts.sessions as select session_id from {p}.events")
    warehouse.execute("delete from {p}.raw_events")
    warehouse.execute("update {p}.loaded_files set is_merged = true")
    for sql in ("drop table {p}.raw_events", "insert into {p}.raw_events select * from {p}.events"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            warehouse.execute(sql)
    warehouse.output = {**owner, "user": who["loader"], "password": SECRET}
    assert warehouse.rows("select count(*) from {p}.events") == [(1,)]
    for sql in ("delete from {p}.events", "create table {p}_marts.mine (a int)", "select * from {p}_marts.sessions"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            warehouse.execute(sql)
    warehouse.output = {**owner, "user": who["reader"], "password": SECRET}
    assert warehouse.rows("select session_id from {p}_marts.sessions") == [(7,)]
    assert warehouse.rows("select session_id from {p}.events") == [(7,)]
    for sql in ("delete from {p}.events", "select * from {p}.raw_events", "create table {p}_marts.mine (a int)"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            warehouse.execute(sql)


@on("postgres")
def test_an_hour_runs_with_these_roles(warehouse: Remote, feed: Path) -> None:
    """Loader, dbt and readers as users of their own, for two hours, as the second merges and updates."""
    import psycopg2

    who = {name: f"{name}_{warehouse.schema}" for name in ("loader", "dbt", "reader")}
    warehouse.headrace("setup", *options(who), "--apply")
    for name in who.values():
        warehouse.execute(f"alter role {name} login password '{SECRET}'")
    owner = warehouse.output
    for events in ([event("a")], [event("b", minute=1), event("c", minute=2)]):  # the file is re-created without a
        feed.write_bytes(ndjson(*events))
        warehouse.write_profile(user=who["loader"], password=SECRET)
        warehouse.sync(feed, "--no-build")
        warehouse.write_profile(user=who["dbt"], password=SECRET)
        warehouse.dbt("build", "--exclude-resource-type", "unit_test", "--profiles-dir", warehouse.profiles)
    warehouse.output = {**owner, "user": who["reader"], "password": SECRET}
    assert warehouse.rows("select total_events from {p}_marts.sessions") == [(2,)]
    assert warehouse.rows("select count(*) from {p}_analysis.clicks") == [(2,)]
    assert warehouse.rows("select event_id, event_type from {p}.events order by 1") == [
        ("a", None),
        ("b", "click"),
        ("c", "click"),
    ]
    for sql in ("select * from {p}.rejected_events", "delete from {p}.events"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            warehouse.execute(sql)


# --- what is wrong is said in one line, with status 2; what may go well next time with status 1 ----------------------

SECONDS = 45
"""All of it: a third is the start of Python on a busy machine."""


def complaint(warehouse: Remote, feed: Path, status: int = 2) -> str:
    """The one line in which a sync says what is wrong, beside those that say with the time of day how far it is."""
    started = time.monotonic()
    said = warehouse.sync(feed, "--no-build", status=status)
    assert time.monotonic() - started < SECONDS
    assert SECRET not in said
    (line,) = [line for line in said.splitlines() if line.strip() and not re.match(r"\d\d:\d\d:\d\d ", line)]
    assert line.startswith("headrace: warehouse (")
    return line


@on("snowflake", "redshift", "postgres")
def test_wrong_password(warehouse: Remote, feed: Path) -> None:
    warehouse.write_profile(password=SECRET)
    assert re.search("(?i)password", complaint(warehouse, feed))


@on("bigquery")
def test_a_service_account_that_google_does_not_know(warehouse: Remote, feed: Path, token_server: str) -> None:
    account = service_account(f"{token_server}/unknown")
    warehouse.write_profile(method="service-account-json", keyfile_json=account)
    line = complaint(warehouse, feed)
    assert "invalid_grant" in line
    assert "PRIVATE KEY" not in line


@on("snowflake", "redshift", "postgres")
def test_missing_database(warehouse: Remote, feed: Path) -> None:
    name = "database" if warehouse.type == "snowflake" else "dbname"
    warehouse.write_profile(**{name: "nowhere"})
    assert re.search("(?i)nowhere|current database", complaint(warehouse, feed))


@on("snowflake", "redshift", "postgres")
def test_missing_privilege(warehouse: Remote, feed: Path) -> None:
    if warehouse.type == "snowflake":
        warehouse.write_profile(role="READER")
    else:
        warehouse.execute(f"create role reader_{warehouse.schema} login password '{SECRET}'")
        warehouse.write_profile(user=f"reader_{warehouse.schema}", password=SECRET)
    assert re.search("(?i)permission denied|insufficient privileges", complaint(warehouse, feed))


@on("bigquery", "snowflake", "redshift", "postgres")
def test_unreachable_host(warehouse: Remote, feed: Path) -> None:
    nobody = standins.free_port()
    there = {"api_endpoint": f"http://127.0.0.1:{nobody}"} if warehouse.type == "bigquery" else {"port": nobody}
    warehouse.write_profile(**there)
    assert "can't connect" in complaint(warehouse, feed, 1)


def failures_of_drivers() -> Iterator[tuple[str, BaseException, bool]]:
    """What drivers and clients raise, as they make it, and whether it lasts. The words say the opposite."""
    import google.auth.exceptions as auth
    import psycopg2
    import redshift_connector
    import snowflake.connector.errors as snowflake
    from dlt.destinations.exceptions import DatabaseTransientException, DestinationConnectionError
    from google.api_core import exceptions as google
    from google.cloud.bigquery.dbapi import exceptions as dbapi

    lasting, passing = "try again later, connection timed out", "access denied, not authorized, does not exist"
    yield "wrong password", snowflake.DatabaseError(lasting, errno=390100, sqlstate="08001"), True
    yield "the role is not granted", snowflake.DatabaseError(lasting, errno=390189, sqlstate="08001"), True
    yield "a refused login", snowflake.DatabaseError(lasting, errno=394400, sqlstate="28000"), True
    yield "a key that was not registered", snowflake.DatabaseError(lasting, errno=390144, sqlstate="08001"), True
    yield "no such account", snowflake.HttpError(msg=lasting, errno=290404, sqlstate="08001"), True
    yield "an address that may not log in", snowflake.ForbiddenError(msg=lasting, errno=250001, sqlstate="08001"), True
    yield "no password", snowflake.ProgrammingError(lasting, errno=251006), True
    yield "no privilege", snowflake.ProgrammingError(lasting, errno=3001, sqlstate="42501"), True
    yield "no such table", snowflake.ProgrammingError(lasting, errno=2003, sqlstate="42S02"), True
    yield "no database", snowflake.ProgrammingError(lasting, errno=90105, sqlstate="22000"), True
    yield "no warehouse", snowflake.ProgrammingError(lasting, errno=606, sqlstate="57P03"), True
    yield "unreachable", snowflake.OperationalError(passing, errno=250001, sqlstate="08001"), False
    yield "no answer", snowflake.OperationalError(passing, errno=250003), False
    yield "503", snowflake.ServiceUnavailableError(msg=passing, errno=250001), False
    yield "429", snowflake.HttpError(msg=passing, errno=290429, sqlstate="08001"), False
    yield "an ended session", snowflake.ProgrammingError(passing, errno=390112, sqlstate="08001"), False
    yield "a statement that was cancelled", snowflake.ProgrammingError(passing, errno=604, sqlstate="57014"), False

    def from_redshift(state: str, said: str) -> Exception:
        return redshift_connector.ProgrammingError({"S": "FATAL", "C": state, "M": said})

    yield "wrong password", from_redshift("28P01", lasting), True
    yield "no such database", from_redshift("3D000", lasting), True
    yield "it starts", from_redshift("57P03", passing), False
    yield "too many connections", from_redshift("53300", passing), False
    refused = ConnectionRefusedError(111, passing)
    yield "unreachable", redshift_connector.InterfaceError("communication error", refused), False
    yield "no answer", redshift_connector.OperationalError("connection time out", TimeoutError(passing)), False
    denied = psycopg2.errors.lookup("42501")(lasting)
    denied.__setstate__({"pgcode": "42501"})
    yield "no privilege", DatabaseTransientException(denied), True
    ended = psycopg2.errors.lookup("57P01")(passing)
    ended.__setstate__({"pgcode": "57P01"})
    yield "it is shut down", DatabaseTransientException(ended), False

    yield "no privilege", DatabaseTransientException(dbapi.DatabaseError(google.Forbidden(lasting))), True
    yield "no such project", google.NotFound(lasting), True
    quota = google.Forbidden(passing, errors=[{"reason": "quotaExceeded"}])
    yield "a quota", quota, False
    yield "503", google.ServiceUnavailable(passing), False
    yield "429", google.TooManyRequests(passing), False
    cause = auth.TransportError(passing)
    yield "no answer for long", google.RetryError(passing, cause), False
    yield "the token's server can't be reached", auth.TransportError(passing), False
    yield "an account that Google does not know", auth.RefreshError(lasting, {"error": "invalid_grant"}), True
    yield "a token's server that fails", auth.RefreshError(passing, retryable=True), False
    yield "no credentials", auth.DefaultCredentialsError(lasting), True
    yield "through dlt", DestinationConnectionError("client", "schema", passing, auth.TransportError(passing)), False


def test_failures_are_told_apart_by_what_drivers_carry() -> None:
    from headrace.failures import lasts
    from headrace.warehouses import WAREHOUSES, class_of

    def own(error: BaseException) -> bool | None:
        """What the one warehouse that knows such an error says of it."""
        return next((said for kind in WAREHOUSES if (said := class_of(kind).verdict(error)) is not None), None)

    found = [(name, type(error).__name__, lasts(error, own)) for name, error, _ in failures_of_drivers()]
    assert found == [(name, type(error).__name__, expected) for name, error, expected in failures_of_drivers()]


@pytest.mark.parametrize(("state", "is_lasting"), [("28P01", True), ("3D000", True), ("57P03", False)])
def test_a_login_that_redshift_refuses(tmp_path: Path, state: str, is_lasting: bool) -> None:
    """psycopg2 keeps no SQLSTATE of it: the driver of dbt is asked."""
    from headrace.errors import LoadError, UsageError
    from headrace.pipeline import connected
    from headrace.target import Target

    class Refuses(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            (size,) = struct.unpack("!i", self.request.recv(4))
            self.request.recv(size - 4)
            fields = f"SFATAL\0C{state}\0Msomething is the matter\0\0".encode()
            self.request.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        login = {"host": "127.0.0.1", "port": server.server_address[1], "user": "u", "password": SECRET, "dbname": "d"}
        settings = {"type": "redshift", "schema": "s", "sslmode": "disable", **login}
        target = Target("t", "redshift", "s", settings, tmp_path, tmp_path, tmp_path)
        expected = UsageError if is_lasting else LoadError
        with pytest.raises(expected, match="something is the matter") as caught, connected(target):
            pass
        server.shutdown()
    assert SECRET not in str(caught.value)


@on("bigquery", "snowflake", "redshift", "postgres")
def test_a_profile_with_a_fault(warehouse: Remote, feed: Path) -> None:
    required = {"bigquery": "method", "snowflake": "account", "redshift": "host", "postgres": "host"}[warehouse.type]
    warehouse.write_profile(**{required: None})
    line = complaint(warehouse, feed)
    assert "the profile can't be used" in line or "the login in the profile can't be used" in line
    assert ("authentication method" if warehouse.type == "bigquery" else f"'{required}' is a required") in line
    warehouse.write_profile(**{"token" if warehouse.type == "bigquery" else "password": [SECRET]})
    assert "is of a wrong type" in complaint(warehouse, feed)


@pytest.fixture
def token_server() -> Iterator[str]:
    """Google's token endpoint: `/unknown` answers as for an account that it does not know."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            unknown = {"error": "invalid_grant", "error_description": "Invalid grant: account not found"}
            known = {"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}
            self.send_response(400 if self.path == "/unknown" else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(unknown if self.path == "/unknown" else known).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def service_account(token_uri: str) -> dict[str, str]:
    return {
        "type": "service_account",
        "project_id": "test-project",
        "private_key_id": "1",
        "private_key": private_key(),
        "client_email": "loader@test-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    }


def private_key(passphrase: str | None = None) -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    secret = passphrase and serialization.BestAvailableEncryption(passphrase.encode())
    return (
        rsa.generate_private_key(65537, 2048)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            secret or serialization.NoEncryption(),
        )
        .decode()
    )
