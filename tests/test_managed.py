"""Managed mode, dbt alone on a table that someone else keeps; and what a build says of the health of its input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_models import Row, Warehouse, event, warehouse

__all__ = ["warehouse"]

VARS = ["--vars", "{managed_events: {schema: vendor, table: fullstory_events_o_1}}"]
PUBLISHED = {
    "product_marts.identifies": "event_id",
    "product_marts.sessions": "full_session_id",
    "product_marts.users": "user_id",
}


class Managed:
    """The table of someone else, `vendor.fullstory_events_o_1`, and the models on it."""

    def __init__(self, warehouse: Warehouse, properties: str) -> None:
        self.warehouse = warehouse
        warehouse.execute("drop schema product cascade")
        warehouse.execute("create schema vendor")
        warehouse.execute(
            "create table vendor.fullstory_events_o_1 (event_id varchar primary key, event_time timestamptz,"
            " processed_time timestamptz, updated_time timestamptz, device_id bigint, session_id bigint,"
            f" view_id bigint, event_type varchar, event_properties {properties}, source_type varchar,"
            f" source_properties {properties})"
        )

    def write(self, *rows: Row) -> None:
        for row in rows:
            self.warehouse.execute(
                f"insert or replace into vendor.fullstory_events_o_1 ({', '.join(row)})"
                f" values ({', '.join('?' * len(row))})",
                *row.values(),
            )

    def batch(self) -> list[str]:
        return [r["event_id"] for r in self.warehouse.query("select event_id from product.event_batch order by 1")]

    def marts(self) -> dict[str, list[Row]]:
        return {
            table: self.warehouse.query(f"select * from {table} order by {key}") for table, key in PUBLISHED.items()
        }


def at(hour: int, event_id: str, **columns: Any) -> Row:
    """An event that the owner of the table wrote at that hour of 2026-03-03."""
    return event(event_id, **{"updated_time": f"2026-03-03 {hour:02}:00:00+00", **columns})


def test_the_marts_follow_a_table_that_someone_else_keeps(warehouse):
    managed = Managed(warehouse, "json")
    identify = {"event_type": "identify", "event_properties": {"user_id": "ann", "user_email": "ann@example.com"}}
    managed.write(at(1, "a"), at(1, "b", session_id=8), at(1, "never updated", updated_time=None))
    warehouse.build(*VARS)
    assert warehouse.row("product_marts.sessions", full_session_id="1:7")["user_id"] == "anon_1"
    [clicked] = warehouse.query("select * from product.events where event_id = 'a'")
    assert json.loads(clicked["source_properties"])["url"]["host"] == "shop"

    # Later, and one at the very time that has been read; one superseded, one late by a year.
    managed.write(
        at(1, "tie", **identify),
        at(2, "b", session_id=8, event_type=None, event_properties=None, source_properties=None),
        at(2, "late", event_time="2025-03-02 10:00:00+00"),
    )
    warehouse.run("--select", "+int_sessions", *VARS)  # only a whole green build moves the cursor
    managed.write(at(3, "last"))
    warehouse.run(*VARS)
    assert managed.batch() == ["a", "b", "last", "late", "tie"]
    [session] = warehouse.query("select * from product_marts.sessions")
    assert (session["user_id"], session["total_events"]) == ("ann", 5)
    assert session["duration"] == 365 * 86400
    tables = managed.marts()

    # Nothing new: what was read last is read again, and changes nothing.
    warehouse.run(*VARS)
    assert managed.batch() == ["last"]
    assert managed.marts() == tables
    cursor = warehouse.query("select merged_until = batch_until as is_read from product.managed_cursor")
    assert cursor == [{"is_read": True}]
    warehouse.run("--full-refresh", *VARS)
    assert managed.marts() == tables


@pytest.mark.soak
def test_a_nulled_row_need_not_carry_its_time(warehouse):
    """Of its day nothing else is written since then; of a wrong clock, neither of the day that stands for it."""
    managed = Managed(warehouse, "json")
    wrong = {"event_time": "1970-01-01 00:00:00+00", "processed_time": "2026-03-01 10:00:00+00"}
    managed.write(at(1, "a"), at(1, "b"), at(1, "wrong", session_id=8, **wrong))
    warehouse.run(*VARS)
    managed.write(at(2, "later", event_time="2026-03-03 01:00:00+00", session_id=9))
    warehouse.run(*VARS)
    assert {row["full_session_id"]: row["total_events"] for row in managed.marts()["product_marts.sessions"]} == {
        "1:7": 2, "1:8": 1, "1:9": 1,
    }  # fmt: skip
    nulled = {"event_time": None, "event_type": None, "event_properties": None, "source_properties": None}
    managed.write(at(3, "a", **nulled), at(3, "wrong", session_id=8, **wrong | nulled))
    warehouse.run(*VARS)
    assert {row["full_session_id"]: row["total_events"] for row in managed.marts()["product_marts.sessions"]} == {
        "1:7": 1, "1:9": 1,
    }  # fmt: skip
    assert [row["event_id"] for row in warehouse.query("from product_marts.events order by 1")] == ["b", "later"]


@pytest.mark.soak
def test_the_table_may_be_empty_and_of_text(warehouse):
    managed = Managed(warehouse, "varchar")
    warehouse.run(*VARS)
    assert warehouse.count("product_marts.sessions") == 0
    managed.write(at(1, "a"), at(1, "b", session_id=8))
    warehouse.build(*VARS, "--exclude", "config.materialized:view")
    assert warehouse.row("product_marts.sessions", full_session_id="1:7")["total_events"] == 1
    [clicked] = warehouse.query("select * from product.events where event_id = 'a'")
    assert json.loads(clicked["source_properties"])["url"]["host"] == "shop"


@pytest.mark.soak
def test_what_was_rejected_or_waits_is_warned_of_and_merged_all_the_same(warehouse):
    load_id = warehouse.load([event("a", source_type="tv")], "f1")
    warehouse.execute("update product._dlt_loads set inserted_at = now() - interval 7 hour")
    warehouse.execute(
        "create table product.rejected_events as select 'f1' as file, cast(2 as bigint) as position,"
        f" 'no JSON' as reason, 'x' as content, '{load_id}' as _dlt_load_id"
    )
    result = warehouse.dbt("build", "--exclude-resource-type", "unit_test", *warehouse.excluded, warn_error=False)
    assert result.success
    warned = {r.node.name for r in result.result if r.status == "warn"}
    assert len(warned) == 3, warned
    assert any(name.startswith("nothing_rejected") for name in warned)
    assert any(name.startswith("loaded_within") for name in warned)
    assert any(name.startswith("accepted_values_event_batch_source_type") for name in warned)
    assert warehouse.count("product.raw_events") == 0
    warehouse.build("--exclude", "config.materialized:view")
