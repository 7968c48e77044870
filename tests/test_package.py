"""The models as a package of another project, which sets vars, disables models, and has models and tests of its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import forked
import pytest
import yaml
from conftest import PROJECT, Warehouse, event, ndjson
from dbt.adapters.factory import cleanup_connections
from dbt.cli.main import dbtRunner, dbtRunnerResult
from headrace.init import init


class Own:
    """A project of a user's own, as `headrace init` makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        init(folder)
        self.settings: dict[str, Any] = yaml.safe_load((folder / "dbt_project.yml").read_text())

    def set(self, **settings: Any) -> None:
        self.settings |= settings
        (self.folder / "dbt_project.yml").write_text(yaml.safe_dump(self.settings))

    def dbt(self, *arguments: str) -> dbtRunnerResult:
        own = ["--project-dir", ".", "--profiles-dir", ".", "--quiet"]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            outcome = dbtRunner().invoke([*arguments, *own])
            cleanup_connections()  # type: ignore[no-untyped-call]
        return outcome

    def parsed(self) -> Any:
        outcome = self.dbt("--warn-error", "parse")
        assert outcome.success, outcome.exception
        return outcome.result


HARSH_VARS: dict[str, Any] = {
    "bot_user_agents": ["mozilla"],
    "conversions": [{"name": "Seen by nobody", "event_type": "custom"}],
    "funnels": [{"name": "Of none", "within": "1 second", "steps": [{"name": "C", "event_type": "custom"}]}],
    "retentions": [{"name": "Of none", "period": "day", "start": {"event_type": "custom"}}],
    "own_columns": {
        "sessions": [{"name": "mine", "data_type": "varchar", "last": "event_type"}],
        "page_views": [{"name": "mine", "data_type": "varchar", "last": "event_type"}],
        "users": [{"name": "mine", "data_type": "varchar", "last": "mine"}],
    },
    "touch_lookback_days": 0,
    "event_catalogue_additions": {
        "click": [{"name": "basket_total", "data_type": "double", "description": "Its total."}],
        "source_properties": [{"name": "shop", "data_type": "varchar", "description": "The shop."}],
    },
    "event_types": ["mine"],
    "export_until": "2030-01-01 00:00:00",
    "fullstory_min_event_time": "2030-01-01 00:00:00",
    "fullstory_org_id": "o-1-na1",
    "fullstory_replay_host": "replay.example",
    "internal_traffic": {"users": ["ann", "bob", "cat", "eve", "customer-1", "u1", "u2", "@shop.example"]},
    "max_active_gap_seconds": 0,
    "max_queue_age_hours": 0,
    "min_event_time": "2030-01-01 00:00:00",
    "nobody_ids": ["ann", "bob", "customer-1", "u1", "u2", "1", "2"],
    "rejected_retention_days": 0,
    "report_funnel": ["Cart", "Checkout"],
    "reporting_timezone": "Pacific/Kiritimati",
    "sequence_views": False,
}
"""Values by which each row of a unit test would be left out, if the test took them."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    return Own(tmp_path_factory.mktemp("own") / "shop")


@pytest.fixture
def restored(own: Own) -> Iterator[Own]:
    """The project, whose settings a test changes."""
    before = dict(own.settings)
    yield own
    own.settings = before
    own.set()


def published(manifest: Any) -> dict[str, Any]:
    """Our models that others read, by their names."""
    nodes = [
        node for node in manifest.nodes.values() if node.resource_type == "model" and node.package_name == "headrace"
    ]
    return {node.name: node for node in nodes if node.fqn[1] in ("marts", "analysis")}


def needed(manifest: Any) -> set[str]:
    """The ids of what a model of ours reads."""
    models = [node for node in manifest.nodes.values() if node.resource_type == "model"]
    return {parent for model in models for parent in model.depends_on.nodes}


def test_what_no_model_of_ours_needs_can_be_disabled(restored: Own) -> None:
    """All of it at once; `users` alone, which a test of `devices` reads; and both folders whole."""
    manifest = restored.parsed()
    leaves = {n: node for n, node in published(manifest).items() if node.unique_id not in needed(manifest)}
    assert len(leaves) > 40
    assert {"pages", "users", "analysis_clicks"} <= leaves.keys()
    assert not manifest.exposures
    for names in (leaves.keys(), {"users"}, published(manifest).keys()):
        disabled: dict[str, Any] = {"marts": {}, "analysis": {}}
        for name in names:
            disabled[published(manifest)[name].fqn[1]][name] = {"+enabled": False}
        restored.set(models={"headrace": disabled})
        left = restored.parsed()
        assert published(left).keys() == published(manifest).keys() - names
        assert not [test for test in left.unit_tests.values() if test.model in names]


def test_a_seed_of_sources_of_ones_own_takes_the_place_of_ours(restored: Own) -> None:
    """As docs/channels.md says, with a warning of dbt's."""
    seed = restored.folder / "seeds" / "channel_sources.csv"
    seed.parent.mkdir(exist_ok=True)
    seed.write_text("source,category\nintranet,search\n")
    restored.set(seeds={"headrace": {"channel_sources": {"+enabled": False}}})
    try:
        outcome = restored.dbt("parse")
    finally:
        seed.unlink()
    assert outcome.success, outcome.exception
    read = outcome.result.nodes["model.headrace.sessions"].depends_on.nodes  # type: ignore[union-attr]
    assert {one for one in read if one.startswith("seed.")} == {"seed.product_analytics.channel_sources"}


def test_a_project_without_dispatch_is_told_which_line_to_add(restored: Own) -> None:
    for dispatch in ([], [{"macro_namespace": "dbt", "search_order": ["product_analytics", "dbt"]}]):
        restored.set(dispatch=dispatch)
        said = str(restored.dbt("parse").exception)
        assert "headrace needs this line in dbt_project.yml" in said
        assert "dispatch: [{macro_namespace: dbt, search_order: [product_analytics, headrace, dbt]}]" in said


@pytest.mark.soak
def test_unit_tests_hold_whatever_vars_are_set(restored: Own) -> None:
    restored.set(vars={"headrace": HARSH_VARS})
    outcome = restored.dbt("build", "--select", "*")
    assert outcome.success, [(r.node.name, r.message) for r in outcome.result if r.status in ("error", "fail")]
    tested = [result.node.name for result in outcome.result if result.node.resource_type == "unit_test"]
    assert len(tested) >= 40


@pytest.mark.soak
def test_state_modified_is_what_was_modified(restored: Own) -> None:
    model = restored.folder / "models" / "orders.sql"
    model.write_text("select 1 as n from {{ ref('sessions') }}")
    modified = (
        "ls",
        "--select",
        "state:modified",
        "--resource-type",
        "model",
        "--state",
        "old",
        "--target-path",
        "new",
    )
    try:
        assert restored.dbt("parse", "--write-json", "--target-path", "old").success
        assert restored.dbt(*modified).result == []
        # Of vars dbt sees no more than the columns that they declare.
        said = restored.dbt(*modified, "--vars", "{event_types: [click]}").result
        assert {line.split(".")[-1] for line in said} == {"int_sessions", "sessions", "users"}
        model.write_text("select 2 as n from {{ ref('sessions') }}")
        assert restored.dbt(*modified).result == ["product_analytics.orders"]
    finally:
        model.unlink()


def test_the_default_selector_has_all_sources(own: Own) -> None:
    assert "source:headrace.loader.raw_events" in (listed := own.dbt("ls", "--resource-type", "source").result)
    assert listed == own.dbt("ls", "--resource-type", "source", "--select", "*", "source:*").result


def test_loader_and_dbt_mean_the_same_schema(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    warehouse.env["HEADRACE_SCHEMA"] = "My shop"
    feed = tmp_path / "feed.ndjson"
    feed.write_bytes(ndjson(event("a")))
    (warehouse.project / "profiles.yml").symlink_to(PROJECT / "profiles.example.yml")
    warehouse.headrace("sync", feed, "--no-build")
    warehouse.dbt("run", "--select", "batch_loads")
    assert warehouse.rows('select count(*) from "My shop".batch_loads') == [(1,)]
    assert "queue         1 loads with 1 rows" in warehouse.headrace("status")


def test_the_example_on_top_is_built(tmp_path: Path) -> None:
    project = tmp_path / "analytics"
    shutil.copytree(PROJECT / "examples" / "analytics", project)
    shutil.copy(PROJECT / "profiles.example.yml", project / "profiles.yml")
    init(project)
    order = {"event_name": "Order Completed", "event_properties": {"revenue": 12.5}}
    person = {"user_id": "ann", "user_properties": {"plan": "plus"}}
    rows = [
        event("a", event_type="custom", event_properties=json.dumps(order)),
        event("b", minute=1, event_type="custom", event_properties=json.dumps({**order, "event_name": "Order Begun"})),
        event("c", minute=2, event_type="identify", event_properties=json.dumps(person)),
    ]
    (tmp_path / "feed.ndjson").write_bytes(ndjson(*rows))
    sync = forked.Process(forked.headrace, ["sync", tmp_path / "feed.ndjson"], project, dict(os.environ))
    assert sync.end(300) == 0, sync.said()
    with duckdb.connect(str(project / "headrace.duckdb"), read_only=True) as connection:
        found = connection.execute("select event_id, user_id, plan, revenue from product_shop.orders").fetchall()
        assert found == [("a", "ann", "plus", 12.5)]
        assert connection.execute("from duckdb_views() where view_name = 'ui_events'").fetchall() == []
