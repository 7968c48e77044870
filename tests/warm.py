"""Imported by the server of `forked.py`: what dbt compiles of its own classes and of macros when it first runs is then
in all processes that are forked. This saves a third of a build."""

import tempfile
from pathlib import Path

from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest
from dbt_common.clients.jinja import template_cache

PROJECT = Path(__file__).resolve().parents[1]

with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "profiles.yml").symlink_to(PROJECT / "profiles.example.yml")
    options = ["--project-dir", PROJECT, "--profiles-dir", folder, "--target-path", folder, "--log-path", folder]
    for _ in range(2):  # the second reads what the first has written
        parsed = dbtRunner().invoke(["--quiet", "parse", *map(str, options)]).result
    assert isinstance(parsed, Manifest)
    for macro in parsed.macros.values():
        template_cache.get_node_template(macro)
