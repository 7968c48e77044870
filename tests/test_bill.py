"""The model of BigQuery's bill, held against bills that were worked out by hand."""

from __future__ import annotations

import bill
import pytest

MB = 10**6
A_DAY = 24 * bill.EVENTS_PER_HOUR / bill.EVENTS_PER_SMALL_HOUR
"""Rows of a day in a table that has one row for each hour of the small feed."""

NARROW, WIDE = 1_000, 5_000
"""Bytes of a row's id and of its JSON: 12 and 60 MB a day."""

EVENTS = bill.Relation(
    "events",
    bill.HOURS,
    {"event_id": "STRING", "event_time": "TIMESTAMP", "properties": "JSON"},
    {"event_id": NARROW, "event_time": 0, "properties": WIDE},
    "event_time",
)
IN_TWO_DAYS = "event_time between timestamp '2026-01-01 00:00:00' and timestamp '2026-01-02 23:59:59.999999'"


@pytest.mark.parametrize(
    ("sql", "megabytes"),
    [
        ("select event_id from p.events", 8 * 12),
        (f"select event_id from p.events where {IN_TWO_DAYS}", 2 * 12),
        (f"select * from p.events where {IN_TWO_DAYS}", 2 * 72),
        (f"with e as (select * from p.events where {IN_TWO_DAYS}) select event_id from e", 2 * 12),
        (f"create or replace table p.other as (select event_id from p.events where {IN_TWO_DAYS})", 2 * 12),
        ("create or replace view p.other as select * from p.events", 0),
        ("select * from (select * from p.events) as x where false and current_timestamp() = current_timestamp()", 0),
        (f"delete from p.events where event_id = '1' and {IN_TWO_DAYS}", 2 * 72),
        (f"update p.events set properties = null where {IN_TWO_DAYS}", 2 * 72),
        (
            "merge into p.events as t using (select 'a' as event_id) as s "
            f"on t.event_id = s.event_id and t.{IN_TWO_DAYS} when matched then update set properties = null",
            2 * 72,
        ),
        (f"insert into p.events (event_id) select event_id from p.events where {IN_TWO_DAYS}", 2 * 12),
        ("select event_time from p.events", bill.MINIMUM_BYTES / MB),
    ],
)
def test_a_statement_is_billed_by_the_published_rules(sql: str, megabytes: float) -> None:
    assert A_DAY * NARROW == 12 * MB
    assert bill.billed(sql, {"p.events": EVENTS}, history=8) == pytest.approx(megabytes * MB)
