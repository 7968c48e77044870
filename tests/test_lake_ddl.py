"""The SQL with which engines read a store: DuckDB's is run, that of the others is parsed by the grammar of each."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from conftest import event
from headrace.cli import main
from headrace.errors import UsageError
from headrace.stores.ddl import ENGINES, TABLES, ddl
from sqlfluff.core import FluffConfig, Linter

GRAMMARS = {"spark": "sparksql"}
"""sqlfluff's names of dialects that are not the engine's."""

AWKWARD = "bucket/it's ü/b\\c"
"""What a name may hold: a quote, a blank, an umlaut, a backslash."""

UNKNOWN = {"athena": ("stored as parquet\n", "")}
"""What the documentation of an engine has, and sqlfluff's grammar not in this place."""

FIRST, SECOND = (f"ingested_time=2026-03-02 {hour:02}:00:00" for hour in (0, 1))
MILLIS = 1_772_413_200_000
"""2026-03-02 01:00 UTC."""


def deliver(prefix: Path, folder: str, *rows: dict[str, Any]) -> None:
    """Write rows as a file of the hive layout, in the columns and types that they have."""
    (prefix / folder).mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), prefix / folder / "1.parquet")


def definition(id_: str, **columns: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(("name", "description", "created_by", "modified_by", "fs_link_id"), "x")
    times = {"created_time": "2026-01-01T00:00:00.000000Z", "modified_time": "2026-01-02T00:00:00.000000Z"}
    return {"id": id_, "state": "active", **row, **times, "is_user_defined": True, "updated_time": MILLIS, **columns}


def test_duckdb_shows_the_latest_version_of_each_event(tmp_path):
    prefix = tmp_path / "it's ü [1]*"
    nothing = dict.fromkeys(("event_type", "event_properties", "source_properties"))
    late = {"processed_time": "2026-03-02T02:00:00.000000Z"}
    deliver(
        prefix,
        f"events/{FIRST}",
        event("changed", event_properties='{"n": 1}'),
        event("newer first", updated_time=MILLIS + 1, event_properties='{"n": 2}'),
        event("processed later", **late, event_properties='{"n": 2}'),
        event("tie", event_properties='{"n": 1}'),
        event("gone"),
        event("alone", event_time="2026-03-02T00:00:00.123456Z"),
        event("never updated", updated_time=None, event_properties='{"n": 1}'),
    )
    deliver(
        prefix,
        f"events/{SECOND}",
        event("changed", updated_time=MILLIS + 1, event_properties='{"n": 2}'),
        event("newer first", event_properties='{"n": 1}'),
        event("processed later", event_properties='{"n": 1}'),
        event("tie", event_properties='{"n": 2}'),
        event("gone", updated_time=MILLIS + 1, **nothing),
        event("never updated", event_properties='{"n": 2}'),
    )
    deliver(prefix, f"configuration/page-definitions/{FIRST}", definition("p", name="old"), definition("q"))
    deliver(prefix, f"configuration/page-definitions/{SECOND}", definition("p", name="new", updated_time=MILLIS + 5))
    for kind in ("element", "event"):
        deliver(prefix, f"configuration/{kind}-definitions/{FIRST}", definition("d"))
    printed = CliRunner().invoke(main, ["lake", "ddl", "--engine", "duckdb", str(prefix)])
    assert printed.exit_code == 0, printed.output
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'").fetchall()

        def ask(sql: str) -> list[tuple[Any, ...]]:
            return connection.execute(sql).fetchall()

        ask(printed.output)
        newest = ask(
            "select event_id, event_properties ->> 'n' from lake.events where event_properties ->> 'n' is not null"
        )
        assert dict(newest) == dict.fromkeys(("changed", "newer first", "processed later", "tie", "never updated"), "2")
        assert ask("select count(*), count(distinct event_id) from lake.events") == [(7, 7)]
        assert ask("select event_type, event_properties, device_id from lake.events where event_id = 'gone'") == [
            (None, None, 2**60 + 1)
        ]
        assert ask("select count(*), count(*) filter (event_id = 'gone') from lake.live_events") == [(6, 0)]
        [alone] = ask("select event_time, updated_time from lake.live_events where event_id = 'alone'")
        assert alone == (
            datetime(2026, 3, 2, 0, 0, 0, 123456, tzinfo=UTC),
            datetime(2026, 3, 2, 1, tzinfo=UTC),
        )
        types = {name: type_ for name, type_, *_ in ask("describe lake.events")}
        assert types == {
            **dict.fromkeys(("event_id", "event_type", "source_type"), "VARCHAR"),
            **dict.fromkeys(("event_time", "processed_time", "updated_time"), "TIMESTAMP WITH TIME ZONE"),
            **dict.fromkeys(("device_id", "session_id", "view_id"), "BIGINT"),
            **dict.fromkeys(("event_properties", "source_properties"), "JSON"),
        }
        assert ask("select id, name, modified_time::date::varchar from lake.page_definitions order by id") == [
            ("p", "new", "2026-01-02"),
            ("q", "x", "2026-01-02"),
        ]
        assert ask("select count(*) from lake.element_definitions") == [(1,)]


def statements(engine: str, store: str, fmt: Any) -> list[str]:
    said = ddl(engine, f"{store}://{AWKWARD}/", fmt)
    return [statement + ";\n" for statement in said.removesuffix(";\n").split(";\n\n")]


@pytest.mark.parametrize("fmt", ["parquet", "delta", "iceberg"])
@pytest.mark.parametrize("engine", ENGINES)
def test_each_statement_is_in_the_grammar_of_its_engine(engine, fmt):
    linter = Linter(config=FluffConfig(overrides={"dialect": GRAMMARS.get(engine, engine)}))
    if (engine, fmt) == ("redshift", "delta"):
        return
    found = statements(engine, "gs" if engine == "bigquery" else "s3", fmt)
    for name in ("events", "live_events", "page_definitions", "element_definitions", "event_definitions"):
        assert len([one for one in found if f"create or replace view lake.{name} as\n" in one]) == 1
    for statement in found:
        # The other lookups are as that of pages, and sqlfluff knows no CALL of Trino's.
        if not re.search("(element|event)_definitions", statement) and not statement.startswith("call "):
            parsed = linter.parse_string(statement.replace(*UNKNOWN.get(engine, ("", ""))))
            assert not parsed.violations, (statement, [str(one) for one in parsed.violations])


def test_addresses_are_said_as_each_engine_has_them():
    assert "'s3://bucket/it\\'s ü/b\\\\c/events/'" in ddl("athena", f"s3://{AWKWARD}", "parquet")
    assert "'gs://bucket/it\\'s ü/b\\\\c/events/*'" in ddl("bigquery", f"gs://{AWKWARD}/", "parquet")
    assert "'s3://bucket/it''s ü/b\\c/events'" in ddl("trino", f"s3a://{AWKWARD}", "delta")
    assert "url = 'gcs://bucket/it''s ü/b\\\\c/'" in ddl("snowflake", f"gs://{AWKWARD}", "parquet")
    assert "'s3a://bucket/events'" in ddl("spark", "s3://bucket", "delta")
    account = "abfss://box@shop.dfs.core.windows.net/events"
    assert f"'{account}/events'" in ddl("spark", account, "delta")
    assert "'azure://shop.blob.core.windows.net/box/events/'" in ddl("snowflake", account, "parquet")
    assert "--     YOUR_ACCOUNT: the storage account\n" in ddl("spark", "az://box/events", "delta")
    with pytest.raises(UsageError, match="Redshift reads s3:// only"):
        ddl("redshift", "gs://bucket", "parquet")
    with pytest.raises(UsageError, match="Trino reads s3:// and gs:// and az:// only"):
        ddl("trino", "folder", "parquet")
    with pytest.raises(UsageError, match="take --format iceberg or parquet"):
        ddl("redshift", "s3://bucket", "delta")
    with pytest.raises(UsageError, match="begins with s3://"):
        ddl("duckdb", "ftp://user:secret@host/x", "parquet")
    assert "secret" not in ddl("athena", "s3://bucket/x?secret=1", "parquet")


@pytest.mark.warehouses
def test_bigquerys_views_are_those_of_googles_analyzer():
    """It evaluates no tables in datasets, so the one that is there has a bare name."""
    from standins.bigquery_analyzer import Analyzer

    types = {"text": "STRING", "bigint": "INT64", "boolean": "BOOL"}
    columns = {name: types[kind] for name, kind in TABLES["events"].in_files.items()} | {"_file_name": "STRING"}
    nothing = dict.fromkeys(columns)
    rows = [
        nothing | event("a", event_properties='{"n": 1}') | {"_file_name": f"{FIRST}/a"},
        nothing | event("a", event_properties='{"n": 2}') | {"_file_name": f"{SECOND}/a"},
        nothing | event("b", event_type=None, updated_time=None) | {"_file_name": f"{SECOND}/a"},
    ]
    analyzer = Analyzer()
    analyzer.add_rows("stored_events", columns, rows)
    [view] = [one for one in statements("bigquery", "gs", "parquet") if "view lake.events as" in one]
    query = view.partition(" as\n")[2].removesuffix(";\n").replace("lake.", "")
    found = analyzer.evaluate(
        f"select event_id, event_type, string(event_time, 'UTC') as happened, string(updated_time, 'UTC') as updated,"
        f" json_value(event_properties, '$.n') as n from ({query}) order by event_id"
    )
    at = {"happened": "2026-03-02 00:00:00+00"}
    assert found == [
        {"event_id": "a", "event_type": "click", **at, "updated": "2026-03-02 01:00:00+00", "n": "2"},
        {"event_id": "b", "event_type": None, **at, "updated": None, "n": None},
    ]
