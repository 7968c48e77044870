"""Every hour: load what is new, then build. For Airflow 3; headrace is in an environment of its own."""

from __future__ import annotations

from datetime import datetime, timedelta
from os import environ

from airflow.sdk import dag, task

PROJECT = environ.get("HEADRACE_PROJECT", "/srv/analytics")
"""The folder that `headrace init` has made, with headrace installed in its .venv."""
FEED = environ.get("HEADRACE_FEED", "s3://bucket/prefix")


@dag(
    schedule="5 * * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,  # a sync loads all that was missed
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
)
def headrace() -> None:
    """A task that failed is simply run again: nothing is loaded twice, and what was not merged still waits."""

    @task.bash(cwd=PROJECT)
    def load() -> str:
        return f".venv/bin/headrace sync '{FEED}' --no-build"

    @task.bash(cwd=PROJECT)
    def build() -> str:
        return ".venv/bin/dbt build --exclude-resource-type unit_test"

    load() >> build()


headrace()
