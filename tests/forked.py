"""Runs headrace and dbt in processes forked from a server that has imported both and parsed a project, which saves
seconds each."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from fsspec.config import conf, set_conf_env

server = multiprocessing.get_context("forkserver")
WAREHOUSES = ("duckdb", "bigquery", "postgres", "redshift", "snowflake")
server.set_forkserver_preload(
    [
        "headrace.sync",
        "headrace.build",
        "dbt.cli.main",
        *(f"dbt.adapters.{name}.impl" for name in WAREHOUSES),
        *(
            f"dlt.destinations.impl.{name}.factory"
            for name in ("duckdb", "bigquery", "postgres", "redshift", "snowflake")
        ),
        "warm",
    ]
)
numbers = count(1)


def collect_seldom() -> None:
    """What dbt and dlt import is much to walk through, and little of it becomes garbage: this saves 7 %."""
    gc.set_threshold(200_000, 20, 100)


def headrace(arguments: list[str]) -> None:
    from headrace.__main__ import main

    main(arguments)


def dbt(arguments: list[str]) -> None:
    from dbt.cli.main import cli

    cli(arguments)


def build(arguments: list[str]) -> None:
    """What a sync builds, without a feed."""
    from headrace.pipeline import connected
    from headrace.sync import _built
    from headrace.target import read_target

    target = read_target(None)
    with connected(target, writes=True) as pipeline, pipeline.sql_client() as client:
        client.create_dataset()  # as a load does
    _built(target, lambda *_: None, [], None, everything=False)


class Process:
    """A program that runs in a folder, with an environment of its own."""

    def __init__(
        self, program: Callable[[list[str]], None], arguments: Sequence[object], folder: Path, env: dict[str, str]
    ) -> None:
        self.said_to = [folder.with_name(f"{folder.name}.{next(numbers)}.{name}") for name in ("stdout", "stderr")]
        run = (program, [*map(str, arguments)], folder, env, self.said_to)
        self.process = server.Process(target=_run, args=run)
        self.process.start()

    def end(self, timeout: float) -> int:
        """Wait for its end, and return the exit status. It is killed when it takes longer than `timeout` seconds."""
        self.process.join(timeout)
        self.process.kill()
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode

    def said(self) -> str:
        """Stdout, and stderr after it."""
        return "".join(path.read_text() for path in self.said_to if path.exists())


def _run(
    program: Callable[[list[str]], None], arguments: list[str], folder: Path, env: dict[str, str], said_to: list[Path]
) -> None:
    collect_seldom()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    set_conf_env(conf)  # fsspec reads the environment when it is imported
    sys.argv = ["headrace", *arguments]
    for descriptor, path in enumerate(said_to, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    program(arguments)
