"""The dbt build, in this process, with the profile and target that the loader used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dbt.cli.main import dbtRunner

from .errors import BuildError
from .target import Target


def build(target: Target, progress: Callable[[str], None] = lambda _: None, everything: bool = False) -> None:
    """Run `dbt build` for all models and their data tests; unit tests are for who changes a model.

    Args:
        target: where to build.
        progress: is told of each node that ends.
        everything: whether to run all data tests, also those that the project's default selector leaves out.

    Raises:
        BuildError: a model or a test failed; says which, with dbt's words.
    """

    def ended(event: Any) -> None:
        if event.info.name in ("LogModelResult", "LogTestResult", "LogSeedResult"):
            progress(event.data.node_info.node_name)

    arguments = ["build", "--quiet", "--exclude-resource-type", "unit_test", "--target", target.name]
    arguments += ["--project-dir", str(target.project_dir), "--profiles-dir", str(target.profiles_dir)]
    arguments += ["--select", "*"] if everything else []
    if target.home != target.project_dir:
        arguments += ["--target-path", str(target.home / "target"), "--log-path", str(target.home / "logs")]
    outcome = dbtRunner(callbacks=[ended]).invoke(arguments)
    if outcome.success:
        return
    if outcome.exception:
        raise BuildError(f"dbt build: {' '.join(str(outcome.exception).split())}")
    results: Any = outcome.result or []
    failed = [result for result in results if str(result.status) in ("error", "fail", "runtime error")]
    words = "; ".join(f"{result.node.name}: {' '.join((result.message or '').split())}" for result in failed[:5])
    raise BuildError(f"dbt build failed in {len(failed)} of its nodes, the queue is kept for the next build: {words}")
