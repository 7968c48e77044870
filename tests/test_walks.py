"""People's first days with the wheel: walks/*.walk, each a list of commands and what they must print; and `make sync`.

`$` begins a command, `!` its exit status where that is not 0, `>` a part of what it says. A trace is wrong in any case.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from conftest import PROJECT, build_wheel

pytestmark = pytest.mark.examples
WALKS = sorted((Path(__file__).parent / "walks").glob("*.walk"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel and what runs, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    venv.create(folder / "venv", with_pip=True)
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", str(PROJECT / "requirements.lock")], check=True)
    subprocess.run([*pip, "--no-deps", str(build_wheel(folder))], check=True)
    return folder / "venv" / "bin"


@pytest.mark.parametrize("walk", WALKS, ids=[path.stem for path in WALKS])
def test_walk(walk: Path, installed: Path, tmp_path: Path) -> None:
    env = {"PATH": f"{installed}:/usr/bin:/bin", "HOME": str(tmp_path / "home"), "LC_ALL": "C"}
    folder = tmp_path / "a folder, schön"
    folder.mkdir()
    _, *steps = walk.read_text(encoding="utf-8").split("\n$ ")
    assert len(steps) > 5
    for step in steps:
        command, *wanted = [line for line in step.splitlines() if not line.startswith("#")]
        status = int(next((line[2:] for line in wanted if line.startswith("! ")), "0"))
        done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True)
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == status, f"{command}: {done.returncode}\n{said}"
        assert "Traceback" not in said, f"{command}\n{said}"
        for line in wanted:
            if line.startswith("> "):
                assert line[2:] in said, f"{command}\n{said}"


def test_make_sync_ends_as_readme_shows(tmp_path: Path) -> None:
    """In a checkout, with the environment of the tests for the one that it would install."""
    left_out = shutil.ignore_patterns(".*", "target", "logs", "tests", "*.duckdb*", "sample-feed", "__pycache__")
    checkout = shutil.copytree(PROJECT, tmp_path / "headrace", ignore=left_out)
    env = {name: value for name, value in os.environ.items() if not re.match("HEADRACE_|DBT_|XDG_", name)}
    env |= {"PYTHONPATH": str(checkout / "loader"), "HOME": str(tmp_path)}
    made = ["make", "sync", f"BIN={Path(sys.executable).parent}", "--old-file=.venv/ready"]
    done = subprocess.run(made, cwd=checkout, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"of which this is the middle:\n\n```\n(.*?)```", readme, re.DOTALL)
    lines = [line for line in shown[0].splitlines() if line]
    assert len(lines) > 10
    said = [line.rstrip() for line in done.stdout.splitlines()]
    assert [line for line in lines if line.rstrip() not in said] == [], done.stdout
    assert (checkout / "profiles.yml").exists()
