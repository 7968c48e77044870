"""The checks of dialects.py, on SQL by hand. What they say of the project's SQL is asked where it is run."""

from __future__ import annotations

import pytest
from dialects import has_literal_days, scans

DAY = "event_time between cast('2026-03-02' as timestamp) and cast('2026-03-03' as timestamp)"


@pytest.mark.parametrize(
    ("sql", "bounded"),
    [
        ("select event_id from p.product.events", [False]),
        (f"select event_id from `p`.`product`.`events` where {DAY} or event_time is null", [True]),
        (f"select e.event_id from product.events as e inner join b on e.id = b.id and e.{DAY}", [True]),
        (f"select e.event_id from product.events as e inner join b on e.id = b.id and b.{DAY}", [False]),
        ("select event_id from product.events where event_time >= (select max(t) from b)", [False]),
        ("select event_id from product.events where event_time >= processed_time", [False]),
        (f"with e as (select * from product.events) select * from e where {DAY}", [False]),
        (f"with e as (select * from product.events where {DAY}) select * from e union all select 1", [True]),
        (f"merge into product.events as d using s on (d.{DAY}) and d.id = s.id when matched then delete", [True]),
        ("merge into product.events as d using s on d.id = s.id when matched then delete", [False]),
        ("create table product.events (id int64) as select * from s", []),
        ("select * from product_marts.events", []),
    ],
)
def test_literal_days(sql: str, bounded: list[bool]) -> None:
    assert [has_literal_days(scan) for scan in scans(sql, "product.events", "bigquery")] == bounded
