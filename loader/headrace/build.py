"""The dbt build, in this process, with the profile and target that the loader used."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]
from dbt.adapters.factory import cleanup_connections
from dbt.cli.main import dbtRunner
from dbt_common.events.functions import reset_metadata_vars

from .errors import BuildError
from .failures import words
from .target import PACKAGE, Target
from .warehouses import warehouse_of

OWN_SELECTOR = "hourly"

KEPT = "The queue keeps its batch"
"""So begins what the macro purge_queue says of a build that has not merged all of its batch."""

ADVICE = (
    ". If an event is the cause (event_batch holds those of this build, event_id and _file beside what is wrong), "
    "`headrace skip EVENT_ID` or `headrace skip FILE` leaves it out, and the next sync goes on without it"
)


@dataclass(frozen=True)
class Built:
    """What a green build did."""

    said: list[str]
    """By the project's macros, such as that tables of an earlier version are made anew."""
    views: list[str]
    """The views of headrace's own that it made, as SQL names them."""


def build(
    target: Target,
    progress: Callable[[str, int, int], None] = lambda node, done, total: None,
    everything: bool = False,
    leaves_views: bool = False,
) -> Built:
    """Run `dbt build` for all models and their data tests; unit tests are for who changes a model.

    Args:
        target: where to build.
        progress: is told of each node that ends, how many have ended, and of how many.
        everything: whether to run all data tests, also those that the project's default selector leaves out.
        leaves_views: whether headrace's own views, and its seed, are there already as this build would make them.

    Raises:
        BuildError: a model or a test failed; says which, with the warehouse's words (it may name the column) and what
            to do.
    """
    macros_said: list[str] = []
    done = 0

    def ended(event: Any) -> None:
        if event.info.name == "JinjaLogInfo":
            macros_said.append(event.info.msg)
        if event.info.name in ("LogModelResult", "LogTestResult", "LogSeedResult"):
            nonlocal done
            done += 1
            total = event.data.num_models if event.info.name == "LogTestResult" else event.data.total
            progress(event.data.node_info.node_name, done, total)

    # What dbt says of a failure comes by way of BuildError: it may quote what a visitor typed.
    arguments = ["build", "--quiet", "--log-level", "none", "--target", target.name]
    arguments += ["--exclude-resource-type", "unit_test"]
    arguments += ["--project-dir", str(target.project_dir), "--profiles-dir", str(target.profiles_dir)]
    arguments += ["--profile", target.profile, *(["--vars", yaml.safe_dump(dict(target.vars))] if target.vars else [])]
    arguments += _selection(target, everything, leaves_views)
    # Not in the project's folder, where builds for two databases at once would write the same files.
    for option, variable, name in (
        ("--target-path", "DBT_TARGET_PATH", "target"),
        ("--log-path", "DBT_LOG_PATH", "logs"),
    ):
        if variable not in os.environ:
            arguments += [option, str(target.work_dir / name)]
    os.environ.setdefault("DBT_WRITE_JSON", "false")  # a manifest for nobody to read, in a tenth of the time of a build
    # Macros read it in dbt_metadata_envs, which no parse depends on: versions.claim has looked.
    os.environ["DBT_ENV_CUSTOM_ENV_HEADRACE_SYNC"] = "1"
    reset_metadata_vars()
    try:
        outcome = dbtRunner(callbacks=[ended]).invoke(arguments)
    finally:
        del os.environ["DBT_ENV_CUSTOM_ENV_HEADRACE_SYNC"]
    cleanup_connections()  # type: ignore[no-untyped-call]
    warehouse_of(target).after_build()
    if outcome.success:
        made = [result.node for result in outcome.result or []]  # type: ignore[union-attr]
        views = [node.relation_name for node in made if node.package_name == PACKAGE and _is_view(node)]
        return Built(macros_said, views)
    if outcome.exception:
        raise BuildError(f"{target.label}: dbt build: {words(target, outcome.exception)}")
    results: Any = outcome.result or []
    failed = [result for result in results if str(result.status) in ("error", "fail", "runtime error")]
    said = "; ".join(f"{_what(result.node)}: {_short(target.hidden(result.message or ''))}" for result in failed[:5])
    advice = ADVICE if any(result.node.resource_type == "model" for result in failed) else ""
    queue = "kept for the next build" if any(line.startswith(KEPT) for line in macros_said) else "merged all the same"
    raise BuildError(f"dbt build failed in {len(failed)} of its nodes, the queue is {queue}: {said}{advice}")


def _selection(target: Target, everything: bool, leaves_views: bool) -> list[str]:
    """The hour's nodes, as the selector `hourly` has them. dbt knows the selectors of the root project only."""
    if everything:
        return ["--select", "*"]
    if default_selector(target.project_dir) not in (None, OWN_SELECTOR):
        return []
    kept = [f"package:{PACKAGE},config.materialized:{kind}" for kind in ("view", "seed")]
    return ["--exclude", "tag:daily", *(kept if leaves_views else [])]


def default_selector(project: Path) -> str | None:
    """The name of the selector by which dbt builds a project unless it is told otherwise."""
    try:
        selectors = yaml.safe_load((project / "selectors.yml").read_text(encoding="utf-8"))["selectors"]
        return next((str(one["name"]) for one in selectors if one.get("default")), None)
    except FileNotFoundError:
        return None
    except (yaml.YAMLError, LookupError, TypeError, AttributeError):  # dbt says what is wrong with it
        return ""


def _is_view(node: Any) -> bool:
    return bool(node.resource_type == "model" and node.config.materialized == "view")


def _what(node: Any) -> str:
    """A node in words: the name of a model, or of a test with what it tests."""
    if node.resource_type != "test":
        return str(node.name)
    model = (getattr(node, "attached_node", None) or "").rpartition(".")[2] or "the project"
    column = getattr(node, "column_name", None)
    return f"{model}{f'.{column}' if column else ''} ({node.name})"


def _short(said: str) -> str:
    """Begin and end: a warehouse may quote a long text between what is wrong and the column."""
    return said if len(said) <= 600 else f"{said[:300]} … {said[-300:]}"
