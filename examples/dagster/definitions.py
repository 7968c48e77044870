"""An asset per dbt model, and one for what the loader lands, each hour. `dagster dev -f definitions.py` shows them.

The manifest of the dbt project is made when it is missing; `dbt parse` makes it anew after a change.
"""

import subprocess
from collections.abc import Iterator, Mapping
from os import environ
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject, dbt_assets

PROJECT = Path(environ.get("HEADRACE_PROJECT", "/srv/analytics"))
"""The folder that `headrace init` has made."""
FEED = environ.get("HEADRACE_FEED", "s3://bucket/prefix")
TABLES = ("raw_events", "raw_definitions", "rejected_events", "loaded_files")

project = DbtProject(PROJECT)
if not project.manifest_path.exists():
    project.preparer.prepare(project)


class Translator(DagsterDbtTranslator):
    """The sources of the models are what `loaded` makes."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """A source by its table, a model as dagster-dbt has it."""
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey(["loader", dbt_resource_props["name"]])
        return super().get_asset_key(dbt_resource_props)


@dg.multi_asset(specs=[dg.AssetSpec(["loader", table], group_name="loader") for table in TABLES])
def loaded() -> Iterator[dg.MaterializeResult]:
    """Load what is new in the feed. A run that failed is simply run again."""
    subprocess.run(["headrace", "sync", FEED, "--no-build"], cwd=PROJECT, check=True)
    for table in TABLES:
        yield dg.MaterializeResult(asset_key=["loader", table])


@dbt_assets(manifest=project.manifest_path, project=project, dagster_dbt_translator=Translator())
def models(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
    """Build what is made from it, with the tests that an hour calls for."""
    yield from dbt.cli(["build", "--exclude-resource-type", "unit_test"], context=context).stream()


hourly = dg.ScheduleDefinition(
    name="hourly",
    cron_schedule="5 * * * *",
    job=dg.define_asset_job("headrace"),
)

definitions = dg.Definitions(
    assets=[loaded, models],
    resources={"dbt": DbtCliResource(project)},
    schedules=[hourly],
)
