"""Whatever a visitor sends, the build is green and the columns are right; also where no clock is in UTC."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import anything
import pytest
import yaml
from conftest import VIEWS, Warehouse, event, leave_out_what_users_do, ndjson

ZONE = "Asia/Kolkata"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """All of it loaded and built, with all tests of the data, on a machine and in sessions of another zone."""
    folder = tmp_path_factory.mktemp("casts")
    warehouse = Warehouse(folder)
    warehouse.begins_built = False
    leave_out_what_users_do(warehouse.project)
    output = {"type": "duckdb", "path": warehouse.database.name, "schema": "product", "settings": {"TimeZone": ZONE}}
    profile = {"headrace": {"target": "there", "outputs": {"there": output}}}
    (warehouse.project / "profiles.yml").write_text(yaml.safe_dump(profile))
    warehouse.env["TZ"] = ZONE
    (folder / "feed.ndjson").write_bytes(ndjson(*(row for _, row in anything.cases())))
    warehouse.sync(folder / "feed.ndjson", "--all")
    return warehouse


def test_each_column_is_right_or_null(warehouse: Warehouse) -> None:
    cases = {case.event_id: case for case, _ in anything.cases()}
    names = sorted({case.column for case in cases.values() if case.column})
    found = {row[0]: dict(zip(names, row[1:], strict=True)) for row in warehouse.rows(
        f"select event_id, {', '.join(names)} from {{p}}.int_parsed_events"
    )}  # fmt: skip
    assert found.keys() == cases.keys()
    wrong = [
        (*case[1:], found[case.event_id][case.column])
        for case in cases.values()
        if case.column and not anything.is_right(case, found[case.event_id][case.column])
    ]
    assert wrong == []


def test_a_percentile_is_of_the_finite_measures(warehouse: Warehouse) -> None:
    """At 20:00 in UTC it is the next day on the machine and in the sessions, but not in the marts."""
    (day,) = warehouse.rows(
        f"select day, {', '.join(f'{vital}_p75' for vital in anything.VITALS.values())} from {{p}}_marts.daily_metrics "
        "where sessions > 0"  # a page view may say that it began on another day
    )
    assert day == (date(2026, 3, 2), *(pytest.approx(anything.p75(vital)) for vital in anything.VITALS.values()))


def test_the_hours_after_it_run(warehouse: Warehouse, tmp_path: Path) -> None:
    """An hour with more of it, and one that builds all again; sums and spans are beyond no type."""
    rows = [
        event("first", event_time="0001-01-01T00:00:00Z", session_id=8),
        event("last", event_time="9999-12-31T23:59:59Z", session_id=8),
        *({**row, "event_id": f"again {row['event_id']}"} for case, row in anything.cases() if case.value != "soon"),
    ]
    (tmp_path / "next.ndjson").write_bytes(ndjson(*rows))
    warehouse.sync(tmp_path / "next.ndjson")
    assert warehouse.rows("select count(*) from {p}.events") == [(len(rows) + len(list(anything.cases())),)]
    before = warehouse.rows("select * exclude (updated_time) from {p}_marts.users order by user_id")
    assert before
    warehouse.dbt("run", "--full-refresh", "--exclude", VIEWS)
    assert warehouse.rows("select * exclude (updated_time) from {p}_marts.users order by user_id") == before


def test_a_time_without_an_offset_is_utc(warehouse: Warehouse) -> None:
    found = warehouse.rows(
        "select distinct start_time from {p}_analysis.page_views where extract(year from start_time) = 2026"
    )
    assert {row[0].astimezone(anything.UTC) for row in found} == {
        anything.START + timedelta(hours=1),
        anything.START + timedelta(hours=4, milliseconds=500),
    }
