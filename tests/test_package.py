"""Headrace as a package in a dbt project of the user's own, and what dbt's commands see in this one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner, dbtRunnerResult

PROJECT = Path(__file__).parent.parent
DISPATCH = {"dispatch": [{"macro_namespace": "dbt", "search_order": ["shop", "headrace", "dbt"]}]}
NEEDED = {"sessions", "identifies"}
"""The marts that others of ours are made from."""


def dbt(project: Path, *arguments: str) -> dbtRunnerResult:
    try:
        return dbtRunner().invoke([*arguments, "--project-dir", str(project), "--profiles-dir", ".", "--quiet"])
    finally:
        DuckDBConnectionManager.close_all_connections()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(PROJECT / "profiles.example.yml", tmp_path / "profiles.yml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_DUCKDB", "shop.duckdb")
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "target"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project of a user's own, with one model, that has this one as a package."""
    folder = tmp_path / "shop"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "own.sql").write_text("select full_session_id from {{ ref('sessions') }}")
    (folder / "packages.yml").write_text(json.dumps({"packages": [{"local": str(PROJECT)}]}))
    write(folder)
    assert dbt(folder, "deps").success
    return folder


def write(folder: Path, **settings: object) -> None:
    project = {"name": "shop", "profile": "headrace", "models": {"shop": {"+materialized": "table"}}}
    (folder / "dbt_project.yml").write_text(json.dumps(project | settings))


def test_what_is_published_can_be_disabled(shop):
    """No exposure, test or macro of ours needs a mart or a relation of the analysis schema that others don't need."""
    models = [path.stem for schema in ("marts", "analysis") for path in (PROJECT / "models" / schema).glob("*.sql")]
    disabled = set(models) - NEEDED
    assert {"users", "marts_events", "analysis_clicks"} <= disabled
    off = {name: {"+enabled": False} for name in disabled}
    write(shop, **DISPATCH, models={"shop": {"+materialized": "table"}, "headrace": {"marts": off, "analysis": off}})
    result = dbt(shop, "ls", "--resource-type", "model")
    assert result.success, result.exception
    assert {"shop.own", "headrace.marts.sessions"} <= set(result.result)
    assert not {f"headrace.marts.{name}" for name in disabled} & set(result.result)


def test_a_project_without_dispatch_is_told_so(shop):
    refused = dbt(shop, "run", "--select", "own")
    assert "search_order: [shop, headrace, dbt]" in str(refused.exception)
    write(shop, dispatch=[{"macro_namespace": "dbt", "search_order": ["shop", "dbt", "headrace"]}])
    assert "search_order: [shop, headrace, dbt]" in str(dbt(shop, "run", "--select", "own").exception)
    write(shop, **DISPATCH)
    assert dbt(shop, "run", "--select", "batch_loads").success


def test_the_default_selector_sees_sources():
    listed = dbt(PROJECT, "ls", "--warn-error")
    assert "source:headrace.loader.raw_events" in listed.result
    assert "headrace.events.unique_event_definitions_id" in listed.result
    assert not [name for name in listed.result if name.startswith("headrace.marts.unique_")]
    # Nothing was loaded, so that there is nothing to be fresh.
    freshness = dbt(PROJECT, "source", "freshness")
    looked_at = {node.node.name: str(node.status) for node in freshness.result.results}
    assert looked_at["_dlt_loads"] == "runtime error"


def test_in_another_schema_nothing_is_modified(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    shutil.copytree(PROJECT / "models", folder / "models")
    for name in ("macros", "seeds"):
        (folder / name).symlink_to(PROJECT / name)
    settings = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())
    (folder / "dbt_project.yml").write_text(json.dumps(settings))
    assert dbt(folder, "parse", "--write-json", "--target-path", str(tmp_path / "kept")).success

    def modified() -> list[str]:
        state = ("--select", "state:modified+", "--state", str(tmp_path / "kept"))
        listed = dbt(folder, "ls", "--resource-type", "model", *state)
        assert listed.success, listed.exception
        return listed.result

    monkeypatch.setenv("HEADRACE_SCHEMA", "another")
    assert modified() == []
    with (folder / "models" / "marts" / "users.sql").open("a") as file:
        file.write("\n-- other words\n")
    assert modified() == ["headrace.marts.users"]
