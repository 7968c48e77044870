"""A sync with nothing new does nothing, and one with something new makes no view again that is there as it would be."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import duckdb
import pytest
from conftest import PROJECT, Warehouse, event, leave_out_what_users_do, ndjson
from headrace import views
from headrace.idle import fingerprint
from headrace.pipeline import connected
from headrace.sync import made_from
from headrace.target import read_target

NOTHING = "nothing new"
MARKED = ["product_analysis.clicks", "product_marts.sessions"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A feed of one file, loaded and built as a user does it."""
    warehouse = Warehouse(tmp_path_factory.mktemp("idle"))
    warehouse.begins_built = False
    leave_out_what_users_do(warehouse.project)
    for name in ("models", "macros"):  # of its own, to change
        (warehouse.project / name).unlink()
        shutil.copytree(PROJECT / name, warehouse.project / name)
    add(warehouse, "first")
    warehouse.sync(feed_of(warehouse))
    return warehouse


def feed_of(warehouse: Warehouse) -> Path:
    return warehouse.project.parent / "feed"


def add(warehouse: Warehouse, event_id: str) -> None:
    feed_of(warehouse).mkdir(exist_ok=True)
    (feed_of(warehouse) / f"{event_id}.ndjson").write_bytes(ndjson(event(event_id)))


def mark(warehouse: Warehouse) -> None:
    """What an administrator attaches to a view is gone when the view is made again."""
    with duckdb.connect(str(warehouse.database)) as connection:
        for view in MARKED:
            connection.execute(f"comment on view {view} is 'marked'")


def marked(warehouse: Warehouse) -> list[str]:
    found = warehouse.rows(
        "select schema_name || '.' || view_name from duckdb_views() where comment = 'marked' order by view_name"
    )
    return [name for (name,) in found]


def stand(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the next sync would leave the views as they are."""
    monkeypatch.chdir(warehouse.project)
    monkeypatch.setenv("HEADRACE_DUCKDB", warehouse.env["HEADRACE_DUCKDB"])
    target = read_target(None)
    with connected(target) as pipeline:
        return views.stand(pipeline, made_from(target))


def test_nothing_new_nothing_done(built: Warehouse) -> None:
    before = built.database.stat()
    assert NOTHING in built.sync(feed_of(built))
    assert NOTHING in built.sync(feed_of(built), "--no-build")
    assert built.database.stat() == before


def test_without_its_memo_no_dbt_runs(built: Warehouse) -> None:
    """On a machine of an hour, such as a container: the warehouse knows what it was built from."""
    shutil.rmtree(built.project / ".headrace")
    shutil.rmtree(built.project / "target")
    assert NOTHING not in built.sync(feed_of(built))
    assert not (built.project / "target").exists()
    assert NOTHING in built.sync(feed_of(built))


def test_an_hour_leaves_the_views(built: Warehouse) -> None:
    mark(built)
    add(built, "second")
    built.sync(feed_of(built))
    assert marked(built) == MARKED
    assert built.rows("select total_click_events from {p}_marts.sessions") == [(2,)]
    assert NOTHING in built.sync(feed_of(built))


@pytest.mark.soak
def test_views_are_made_again(built: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that somebody dropped; what a run of dbt made whose variables and selection the loader does not know."""
    assert stand(built, monkeypatch)
    with duckdb.connect(str(built.database)) as connection:
        connection.execute("alter view product_marts.users rename to persons")
        connection.execute("checkpoint")
    assert not stand(built, monkeypatch)
    with duckdb.connect(str(built.database)) as connection:
        connection.execute("alter view product_marts.persons rename to users")
    assert stand(built, monkeypatch)
    profiles = str(built.project / ".headrace")
    built.dbt("run", "--select", "analysis_clicks", "--vars", "{sequence_views: false}", "--profiles-dir", profiles)
    assert not stand(built, monkeypatch)
    mark(built)
    built.sync(feed_of(built))
    assert marked(built) == []
    assert stand(built, monkeypatch)


def test_what_a_build_is_made_from(built: Warehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Models, variables, packages, the environment, and profiles; but nothing that only says where files go."""
    before = fingerprint(built.project)
    assert fingerprint(built.project) == before
    elsewhere = Warehouse(tmp_path).project
    leave_out_what_users_do(elsewhere)
    assert fingerprint(elsewhere) == before
    monkeypatch.setenv("DBT_LOG_PATH", "elsewhere")
    assert fingerprint(built.project) == before
    monkeypatch.setenv("DBT_FULL_REFRESH", "true")
    assert fingerprint(built.project) != before
    monkeypatch.delenv("DBT_FULL_REFRESH")
    for name in ("models/marts/own.sql", "dbt_packages/other/macros/one.sql", "packages.yml"):
        path = built.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("select '{{ env_var('OWN') }}'")
        there = fingerprint(built.project)
        assert there != before
        monkeypatch.setenv("OWN", "value")
        assert fingerprint(built.project) not in (before, there)
        monkeypatch.delenv("OWN")
        path.unlink()
    shutil.rmtree(built.project / "dbt_packages")
    assert fingerprint(built.project) == before


def test_a_failed_build_is_tried_again(built: Warehouse) -> None:
    model = built.project / "models/marts/anonymous_users.sql"
    sound = model.read_text()
    model.write_text("select 1 as one from nowhere")
    add(built, "third")
    built.sync(feed_of(built), status=1)
    model.write_text(sound)
    assert NOTHING not in built.sync(feed_of(built))
    assert built.rows("select total_click_events from {p}_marts.sessions") == [(3,)]
    assert NOTHING in built.sync(feed_of(built))


def test_what_is_there_is_looked_at(built: Warehouse) -> None:
    """A file changed in place, one that was removed, one that can't be opened."""
    path = feed_of(built) / "first.ndjson"
    path.write_bytes(ndjson(event("first", minute=1)))
    assert NOTHING not in built.sync(feed_of(built))
    assert NOTHING in built.sync(feed_of(built))
    path.unlink()
    assert NOTHING not in built.sync(feed_of(built))
    assert NOTHING in built.sync(feed_of(built))
    if os.getuid():
        path.write_bytes(b"{}\n")
        path.chmod(0)
        assert NOTHING not in built.sync(feed_of(built))
        assert NOTHING not in built.sync(feed_of(built))
