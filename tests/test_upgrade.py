"""Tables that earlier commits of this repository made, and a sync by this one: they are as those of a fresh load."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from compare import OF_THE_RUN
from conftest import FIRST_BUILD, HOUR, PROJECT, TESTS, Warehouse, event, leave_out, ndjson, needs_history

FIRST_WAREHOUSES = "131c4ad"
PARSED_ONCE = "57a4d7f"
BEFORE_REBUILD = "2851e61"
BEFORE_VERSIONS = "2a642f8"
"""Before the table `versions`."""


pytestmark = needs_history


def feed_of(folder: Path, sample: Path, hours: int) -> Path:
    """The first hours of a feed: in the second one comes a file of the first hour again, without one of its events."""
    shutil.copytree(sample / "configuration", folder / "configuration", dirs_exist_ok=True)
    for hour in sorted((sample / "events").iterdir())[:hours]:
        shutil.copytree(hour, folder / "events" / hour.name, dirs_exist_ok=True)
    events = [event("stays"), event("is dropped", minute=1)][: 3 - hours]
    again = folder / "events" / HOUR / "again.ndjson"
    again.write_bytes(ndjson(*events))
    os.utime(again, (1_800_000_000 + hours, 1_800_000_000 + hours))
    return folder


def tables(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of what is published and of the tables under it, but for columns that tell who wrote a row, or when."""
    left_out = {*OF_THE_RUN, "_file", "_is_export"}  # that is null where it was not there yet, and means false
    with duckdb.connect(str(warehouse.database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'").fetchall()
        columns = connection.execute(
            "select table_schema || '.' || table_name, list(column_name order by column_name) "
            "from information_schema.columns where table_schema like 'product%' "
            "and (table_schema <> 'product' or table_name similar to 'events|int_.*|.*_definitions') "
            "and table_name <> 'int_definition_values' group by 1"  # values outlast the events that had them
        ).fetchall()
        found = {}
        for table, names in columns:
            kept = [f'"{name}"' for name in names if not {name, f"{table.partition('.')[2]}.{name}"} & left_out]
            found[table] = sorted(connection.execute(f"select {', '.join(kept)} from {table}").fetchall(), key=str)
        return found


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    Warehouse(folder / "made").headrace("sample", folder / "feed", "--hours", "2")
    return folder / "feed"


@pytest.fixture(scope="module")
def fresh(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Any, ...]]]:
    """What this commit makes of the same two hours."""
    folder = tmp_path_factory.mktemp("fresh")
    warehouse = Warehouse(folder)
    leave_out(warehouse.project, TESTS)
    for hours in (1, 2):
        warehouse.headrace("sync", feed_of(folder / "feed", sample, hours))
    found = tables(warehouse)
    assert len(found) > 60
    assert [row for row in found["product.events"] if "is dropped" in row and "click" not in row]
    return found


@pytest.mark.parametrize(
    ("commit", "options"),
    [
        pytest.param(FIRST_BUILD, [], id="the first build"),
        pytest.param(FIRST_WAREHOUSES, ["--no-build"], id="a queue that waits"),
        *(
            pytest.param(commit, [], id=commit, marks=pytest.mark.soak)
            for commit in (FIRST_WAREHOUSES, PARSED_ONCE, BEFORE_REBUILD, BEFORE_VERSIONS)
        ),
    ],
)
def test_what_an_earlier_commit_made_becomes_as_a_fresh_load(
    commit: str, options: list[str], sample: Path, fresh: dict[str, list[tuple[Any, ...]]], tmp_path: Path
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    archive = subprocess.run(["git", "-C", str(PROJECT), "archive", commit], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(old)], input=archive, check=True)
    warehouse = Warehouse(tmp_path / "new")
    leave_out(warehouse.project, TESTS)
    env = {name: value for name, value in os.environ.items() if not name.startswith("DBT_")}
    env |= {"PYTHONPATH": str(old / "loader"), "HEADRACE_DUCKDB": str(warehouse.database)}
    feed = tmp_path / "feed"
    call = [sys.executable, "-m", "headrace.cli", "sync", str(feed_of(feed, sample, 1)), *options]
    done = subprocess.run(call, cwd=old, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    said = warehouse.headrace("sync", feed_of(feed, sample, 2))
    assert ("made by an earlier version" in said) is (not options)
    upgraded = tables(warehouse)
    assert upgraded.keys() == fresh.keys()
    for table, rows in fresh.items():
        assert upgraded[table] == rows, table
