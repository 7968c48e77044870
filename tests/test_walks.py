"""People's first days with the wheel: walks/*.walk, each a list of commands and what they must print; and `make sync`.

`$` begins a command, `!` its exit status where that is not 0, `>` a part of what it says. A trace is wrong in any case.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, build_wheel

pytestmark = pytest.mark.examples
WALKS = sorted((Path(__file__).parent / "walks").glob("*.walk"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def install(python: str, wheel: Path, folder: Path) -> Path:
    """The programs of an environment that has the wheel and what runs, and nothing else."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", str(PROJECT / "requirements.lock")], check=True)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(sys.executable, wheel, tmp_path_factory.mktemp("installed") / "venv")


@pytest.mark.parametrize("walk", WALKS, ids=[path.stem for path in WALKS])
def test_walk(walk: Path, installed: Path, tmp_path: Path) -> None:
    env = {"PATH": f"{installed}:/usr/bin:/bin", "HOME": str(tmp_path / "home"), "LC_ALL": "C"}
    folder = tmp_path / "a folder, schön"
    folder.mkdir()
    _, *steps = walk.read_text(encoding="utf-8").split("\n$ ")
    assert len(steps) > 5
    take(steps, folder, env)


def take(steps: list[str], folder: Path, env: dict[str, str]) -> None:
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


def test_what_the_page_on_definitions_shows_is_what_is_said(installed: Path, tmp_path: Path) -> None:
    env = {"PATH": f"{installed}:/usr/bin:/bin", "HOME": str(tmp_path / "home"), "LC_ALL": "C", "COLUMNS": "200"}
    steps = shown((PROJECT / "docs" / "definitions.md").read_text(encoding="utf-8"))
    assert len(steps) > 12
    take(steps, tmp_path, env)


def shown(page: str) -> list[str]:
    """The steps of a page's console blocks: `$` begins a command, all other lines are parts of what it says."""
    steps: list[str] = []
    place = ""
    for line in "".join(re.findall(r"```console\n(.*?)```", page, re.DOTALL)).splitlines():
        if line.startswith("$ cd "):
            place += f"{line[2:]} && "
        elif line.startswith("$ "):
            steps.append(place + line[2:])
        else:
            steps[-1] += f"\n> {line}"
    return steps


PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")


def is_there(python: str) -> bool:
    """Whether it runs: a shim of pyenv may stand for one that is not chosen."""
    found = shutil.which(python)
    return found is not None and subprocess.run([found, "--version"], capture_output=True).returncode == 0


@pytest.mark.parametrize("python", [pytest.param(name, marks=pytest.mark.soak) for name in PYTHONS])
def test_a_new_user_anywhere(python: str, wheel: Path, tmp_path: Path) -> None:
    """Whatever Python, zone and locale, in a path with blanks and umlauts, without a home; then from the root."""
    if not is_there(python):
        pytest.skip(f"{python} is not here")
    folder = tmp_path / "ein Ordner, größer"
    folder.mkdir()
    installed = install(python, wheel, folder / "Umgebung für alle")
    env = {"PATH": f"{installed}:/usr/bin:/bin", "LC_ALL": "C", "TZ": "Asia/Kolkata"}
    env |= {"XDG_STATE_HOME": str(tmp_path)}  # not in the home that the system knows of
    _, *steps = (WALKS[0].parent / "new_user.walk").read_text(encoding="utf-8").split("\n$ ")
    take(steps, folder, env)
    root = sorted(Path("/").iterdir())
    env |= {"HEADRACE_DUCKDB": str(folder / "headrace.duckdb"), "FEED": str(folder / "feed")}
    calls = ['headrace sync "$FEED" --all', "headrace show\n> Longest sessions", "headrace status\n> 02 01:00:00 UTC"]
    take(calls, Path("/"), env)
    assert sorted(Path("/").iterdir()) == root


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
