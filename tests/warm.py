"""Imported by the server of `forked.py`: what dbt compiles of its own classes when it first parses a project is then in
all processes that are forked. This saves a quarter of a build."""

import tempfile
from pathlib import Path

from dbt.cli.main import dbtRunner

PROJECT = Path(__file__).resolve().parents[1]

with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "profiles.yml").symlink_to(PROJECT / "profiles.example.yml")
    options = ["--project-dir", PROJECT, "--profiles-dir", folder, "--target-path", folder, "--log-path", folder]
    for _ in range(2):  # the second reads what the first has written
        dbtRunner().invoke(["--quiet", "parse", *map(str, options)])
