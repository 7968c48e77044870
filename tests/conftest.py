"""What the tests share: a feed on disk, and a warehouse of their own to load it into."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import duckdb
import forked
import pytest
import yaml
from headrace.build import OWN_SELECTOR

PROJECT = Path(__file__).resolve().parents[1]
SHARED = PROJECT.parent / "shared"
HOUR = "ingested_time=2026-03-02 00:00:00"

needs_real_export = pytest.mark.skipif(not SHARED.exists(), reason="the real export is not here")

FIRST_BUILD = "b1c4c32"
"""The first commit with a dbt project: no int_parsed_events, and events without the order of their views."""


def has_history() -> bool:
    git = ["git", "-C", str(PROJECT), "cat-file", "-e", f"{FIRST_BUILD}^{{commit}}"]
    return shutil.which("git") is not None and subprocess.run(git, capture_output=True).returncode == 0


needs_history = pytest.mark.skipif(not has_history(), reason="the history of the repository is not here")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With HEADRACE_NO_SKIPS, what would be skipped fails, but for want of what a copy of the project may lack."""
    report = yield
    may_lack = any(mark in (needs_real_export.mark, needs_history.mark) for mark in item.iter_markers())
    if report.skipped and "HEADRACE_NO_SKIPS" in os.environ and not may_lack:
        report.outcome, report.longrepr = "failed", f"skipped: {report.longrepr}"
    return report


LONGEST = ("rebuild", "models", "sync", "idle", "analysis", "kill", "stamps", "identity")
"""These files first, so that two workers that take a file each end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path.stem, len(first)))


def event(event_id: str | None, minute: int = 0, **fields: Any) -> dict[str, Any]:
    """One event of the raw feed, a click in session 7 of device 2**60 + 1 unless told otherwise."""
    row: dict[str, Any] = {
        "event_id": event_id,
        "event_time": f"2026-03-02T00:{minute:02d}:00.000000Z",
        "processed_time": "2026-03-02T01:00:00.000000Z",
        "updated_time": 1_772_413_200_000,
        "device_id": 2**60 + 1,
        "session_id": 7,
        "view_id": 70,
        "event_type": "click",
        "event_properties": json.dumps({"target": {"text": "Buy", "raw_selector": "button.buy"}}),
        "source_type": "web",
        "source_properties": json.dumps(
            {"url": {"full_url": "https://shop.example/cart", "host": "shop.example", "path": "/cart"}}
        ),
    }
    return {key: value for key, value in {**row, **fields}.items() if value is not ...}


def ndjson(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture(autouse=True, scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The example profile is used whatever lies in the home of who runs the tests; dbt writes what is read, no more."""
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ.pop("DBT_PROFILES_DIR", None)
    os.environ["DBT_WRITE_JSON"] = "false"
    os.environ["DBT_LOG_LEVEL_FILE"] = "none"
    os.environ["DBT_TARGET_PATH"] = "target"  # of the project, so that headrace and dbt parse it once
    forked.collect_seldom()
    Warehouse.parsed = tmp_path_factory.mktemp("parsed") / "partial_parse.msgpack"
    Warehouse.built = tmp_path_factory.mktemp("built") / "built.duckdb"


@pytest.fixture(scope="session")
def target_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For all warehouses, so that dbt parses the project once."""
    return tmp_path_factory.mktemp("target")


UNREAD = ("path:models/analysis", "tag:daily")
"""Nothing is built on them; without them dbt takes half the time."""
VIEWS = "config.materialized:view"
"""They stay the same, so that one build makes them for all that follow."""
TESTS = "resource_type:test"

AS_A_SYNC = ("--profiles-dir", ".headrace", "--profile", "headrace", "--target", "duckdb")
"""What a sync tells dbt, which parses the whole project again when it is told otherwise."""


def leave_out(project: Path, *unbuilt: str, selector: str = OWN_SELECTOR) -> None:
    """Have dbt build all but these in a project, unless it is told otherwise, as a sync does for its own selector."""
    excluded = [dict(zip(("method", "value"), one.split(":"), strict=True)) for one in unbuilt]
    definition = {"union": [{"method": "fqn", "value": "*"}, {"exclude": excluded}]}
    selectors = {"selectors": [{"name": selector, "default": True, "definition": definition}]}
    (project / "selectors.yml").unlink(missing_ok=True)
    (project / "selectors.yml").write_text(yaml.safe_dump(selectors))


def leave_out_what_users_do(project: Path) -> None:
    (project / "selectors.yml").unlink()
    (project / "selectors.yml").symlink_to(PROJECT / "selectors.yml")


def build_wheel(folder: Path) -> Path:
    """Build the wheel of the project into a folder."""
    made = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(made, cwd=PROJECT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def link_project(folder: Path) -> None:
    """A new folder with all that makes the project, for files of its own beside it, such as a selectors.yml."""
    folder.mkdir(parents=True)
    for name in ("dbt_project.yml", "models", "macros", "seeds"):
        (folder / name).symlink_to(PROJECT / name)
    (folder / "profiles.example.yml").write_text(profiles())
    leave_out(folder, *UNREAD, TESTS)


def profiles() -> str:
    """The example, with one thread: two take a third more of the cores, which other tests wait for."""
    return (PROJECT / "profiles.example.yml").read_text().replace("threads: 2", "threads: 1")


class Warehouse:
    """A project folder with a DuckDB file of its own; headrace and dbt run in processes of their own."""

    timeout = 600
    """Seconds that a command may take."""
    begins_built = True
    """Whether a first sync finds what a build has made when nothing was loaded, such as all views."""
    parsed: Path
    """What dbt made of the project in the first of them, for the others to begin with."""
    built: Path
    """The DuckDB file that `begin_built` copies."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        link_project(self.project)
        if self.parsed.exists():
            (self.project / "target").mkdir()
            shutil.copy(self.parsed, self.project / "target")
        self.database = self.project / "warehouse.duckdb"
        self.env = {**os.environ, "HEADRACE_DUCKDB": self.database.name, "COLUMNS": "200"}

    def start(self, program: Callable[[list[str]], None], *arguments: str | Path) -> forked.Process:
        return forked.Process(program, arguments, self.project, self.env)

    def headrace(self, *arguments: str | Path, status: int = 0) -> str:
        """Run the command and return what it printed; the exit status must be the one that is expected."""
        return self._run(forked.headrace, arguments, status)

    def sync(self, feed: str | Path, *arguments: str, status: int = 0) -> str:
        is_as_it_comes = (self.project / "dbt_project.yml").is_symlink()
        builds = status == 0 and not {"--no-build", "--dry-run"} & set(arguments)
        if self.begins_built and is_as_it_comes and builds and not self.database.exists():
            self.begin_built()
        return self.headrace("sync", feed, *arguments, status=status)

    def begin_built(self) -> None:
        """Begin as one that was built when nothing was loaded. Its views stand, so that a first sync leaves them."""
        if not self.built.exists():
            begun = Warehouse(self.built.parent)
            begun._run(forked.build, (), 0)
            shutil.copy(begun.database, self.built)
        shutil.copy(self.built, self.database)

    def dbt(self, *arguments: str, status: int = 0) -> str:
        return self._run(forked.dbt, arguments, status)

    def _run(self, program: Callable[[list[str]], None], arguments: tuple[str | Path, ...], status: int) -> str:
        process = self.start(program, *arguments)
        ended = process.end(self.timeout)
        assert ended == status, process.said()
        if (parsed := self.project / "target" / self.parsed.name).exists() and not self.parsed.exists():
            shutil.copy(parsed, self.parsed)
        return process.said()

    def set_vars(self, **changed: Any) -> None:
        path = self.project / "dbt_project.yml"
        project = yaml.safe_load(path.read_text())
        project["vars"] |= changed
        path.unlink()  # a link to the project's own
        path.write_text(yaml.safe_dump(project))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query; `{p}` stands for the schema `product`."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'").fetchall()
            return connection.execute(sql.format(p="product")).fetchall()

    def clear(self) -> None:
        shutil.rmtree(self.project / ".headrace", ignore_errors=True)
        self.database.unlink(missing_ok=True)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path)
