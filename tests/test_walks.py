"""Three people's first days with the wheel: walks/*.walk, each a list of commands and what they must print.

`$` begins a command, `!` its exit status where that is not 0, `>` a part of what it says. A trace is wrong in any case.
"""

from __future__ import annotations

import subprocess
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
