"""Headrace as it is installed: a project of the user's own, where files go, one sync to a database, and upgrades."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import jsonschema
import pytest
import yaml
from conftest import PROJECT, build_wheel, event, ndjson
from headrace import __version__
from headrace.build import default_selector
from headrace.definitions.read import read, warnings
from headrace.errors import LoadError, UsageError
from headrace.idle import fingerprint
from headrace.init import init
from headrace.lock import _locked, alone
from headrace.sync import made_from
from headrace.target import SHIPPED, Target, _home_of_nobody, home_of, may_be_written, models, read_target

OWN_VAR = ("fullstory_org_id: org", "fullstory_org_id: MINE")
VARS = "{fullstory_replay_host: replay.example}"
ORDERS = "select session_id, total_click_events from {{ ref('sessions') }}"


@dataclass(frozen=True)
class Installed:
    """A wheel that was unpacked, and who calls it."""

    site: Path
    home: Path

    def run(self, program: str, *arguments: str | Path, at: Path, status: int = 0, **more: str) -> str:
        env = {name: value for name, value in os.environ.items() if not re.match("HEADRACE_|DBT_|XDG_|PYTHON", name)}
        env |= {"PYTHONPATH": str(self.site), "HOME": str(self.home), "COLUMNS": "200", **more}
        command = [sys.executable, "-m", program, *map(str, arguments)]
        done = subprocess.run(command, cwd=at, env=env, capture_output=True, text=True, timeout=300)
        said = done.stdout + done.stderr
        assert done.returncode == status, said
        assert "Traceback" not in said
        return said

    def headrace(self, *arguments: str | Path, at: Path, status: int = 0, **more: str) -> str:
        return self.run("headrace.cli", *arguments, at=at, status=status, **more)


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(build_wheel(folder)) as packed:
        packed.extractall(folder / "site")
    (folder / "home").mkdir()
    return Installed(folder / "site", folder / "home")


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("feed") / "feed.ndjson"
    file.write_bytes(ndjson(event("a"), event("b", minute=1)))
    return file


@pytest.fixture(scope="module")
def shop(wheel: Installed, feed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of the user's own, with a var and a model, loaded and built."""
    folder = tmp_path_factory.mktemp("own") / "Büro & shop"
    assert "written  dbt_project.yml" in wheel.headrace("init", folder, at=folder.parent)
    settings = folder / "dbt_project.yml"
    settings.write_text(settings.read_text().replace(*OWN_VAR))
    (folder / "models" / "orders.sql").write_text(ORDERS)
    wheel.headrace("sync", feed, "--vars", VARS, at=folder, DBT_PROFILE="of_someone_else")
    return folder


def test_a_project_of_ones_own_is_built_with_its_vars_and_models(wheel: Installed, shop: Path, feed: Path) -> None:
    with duckdb.connect(str(shop / "headrace.duckdb"), read_only=True) as connection:
        replays = connection.execute("select replay_url from product_marts.sessions").fetchall()
        orders = connection.execute("select total_click_events from product.orders").fetchall()
        clicks = connection.execute("select count(*) from product_analysis.clicks").fetchall()
        versions = connection.execute("select version from product.versions").fetchall()
    assert [link for (link,) in replays if link.startswith("https://replay.example/ui/MINE/session/")]
    assert (orders, clicks, versions) == ([(2,)], [(2,)], [(__version__,)])
    here = {"models", "dbt_packages", "dbt_project.yml", "packages.yml", "profiles.yml", "selectors.yml", "README.md"}
    here |= {"definitions.example.yml", ".gitignore", ".headrace", "headrace.duckdb", "headrace.duckdb.lock"}
    assert {path.name for path in shop.iterdir()} == here
    assert list(wheel.home.iterdir()) == []
    call = ("sync", feed, "--project-dir", shop, "--vars", VARS)
    assert "nothing new" in wheel.headrace("sync", feed, "--vars", VARS, at=shop, DBT_PROFILE="of_someone_else")
    assert "queue         0 loads" in wheel.headrace("status", "--project-dir", shop, at=feed.parent)
    (shop / "dbt_packages" / "headrace").unlink()
    said = wheel.headrace(*call, at=feed.parent, status=2)
    assert said.count("\n") == 1
    assert f"leads nowhere: `headrace init {shop}` links it" in said
    wheel.headrace("init", shop, at=shop)
    wheel.run("dbt.cli.main", "--warn-error", "deps", at=shop)
    assert (shop / "dbt_packages" / "headrace" / "dbt_project.yml").exists()


def test_init_mends_the_link_and_overwrites_nothing(tmp_path: Path) -> None:
    assert init(tmp_path)[-2:] == [
        f"linked   .headrace/project -> {models()}",
        "linked   dbt_packages/headrace -> ../.headrace/project",
    ]
    for name in ("profiles.yml", "README.md", "packages.yml"):
        (tmp_path / name).write_text("headrace: of my own")
    before = files_of(tmp_path)
    assert init(tmp_path) == []
    link = tmp_path / ".headrace" / "project"
    link.unlink()
    link.symlink_to(tmp_path / "gone")
    assert init(tmp_path) == [f"linked   .headrace/project -> {models()}"]
    (tmp_path / "dbt_packages" / "headrace").unlink()
    shutil.copytree(PROJECT / "seeds", tmp_path / "dbt_packages" / "headrace")  # what dbt does where there are no links
    assert init(tmp_path) == ["linked   dbt_packages/headrace -> ../.headrace/project"]
    assert files_of(tmp_path) == before


def test_init_leaves_another_project_alone(tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    with pytest.raises(UsageError, match=r"has another dbt project: name headrace in its packages.yml"):
        init(tmp_path)
    with pytest.raises(UsageError, match="is headrace's own project"):
        init(PROJECT)
    assert [path.name for path in tmp_path.iterdir()] == ["dbt_project.yml"]
    (tmp_path / "packages.yml").write_text("packages: [{local: .headrace/project}]\n")
    assert len(init(tmp_path)) == 2


def test_the_vars_that_init_shows_are_those_of_the_models(tmp_path: Path) -> None:
    init(tmp_path)
    text = (tmp_path / "dbt_project.yml").read_text()
    shown = re.sub(r"^( *)# (?=[a-z_+ -]+:( |$)| +[-+a-z])", r"\1", text, flags=re.MULTILINE)
    shown = "\n".join(line for line in shown.splitlines() if not re.match(r" *(#|Who|The|A change)", line))
    theirs, ours = yaml.safe_load(shown), yaml.safe_load((PROJECT / "dbt_project.yml").read_text())
    assert len(theirs["vars"]["headrace"]) == 7
    assert theirs["vars"]["headrace"].keys() <= ours["vars"].keys()
    assert theirs["dispatch"][0]["search_order"] == [theirs["name"], "headrace", "dbt"]
    assert theirs["models"]["headrace"].keys() <= ours["models"]["headrace"].keys()
    assert default_selector(tmp_path) == "hourly"


def test_the_definitions_that_init_writes_can_be_used_and_name_their_schema(tmp_path: Path) -> None:
    init(tmp_path)
    file = tmp_path / "definitions.example.yml"
    assert warnings(read(file)) == []
    schema = re.search(r"\$schema=(\S+)", file.read_text(encoding="utf-8").splitlines()[0])[1]
    assert json.loads((tmp_path / schema).read_text())["title"] == "headrace definitions"
    jsonschema.validate(yaml.safe_load(file.read_text(encoding="utf-8")), json.loads((tmp_path / schema).read_text()))


def test_the_project_names_the_profile_and_has_the_models_of_this_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_DUCKDB", "one.duckdb")
    init(tmp_path)
    profiles = yaml.safe_load((tmp_path / "profiles.yml").read_text())
    profiles["shop"] = {"target": "t", "outputs": {"t": {"type": "duckdb", "path": "{{ var('file') }}", "schema": "s"}}}
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump(profiles))
    settings = tmp_path / "dbt_project.yml"
    settings.write_text(settings.read_text().replace("profile: headrace", "profile: shop"))
    found = read_target(None, vars={"file": "two.duckdb"})
    assert (found.profile, found.name, found.settings["path"]) == ("shop", "t", "two.duckdb")
    assert made_from(found) != made_from(replace(found, vars={"file": "three.duckdb"}))
    settings.write_text(settings.read_text().replace("profile: shop", "profile: nowhere"))
    with pytest.raises(UsageError, match="no profile 'nowhere' in"):
        read_target(None)
    package = tmp_path / "dbt_packages" / "headrace"
    package.unlink()
    package.mkdir()
    (package / "dbt_project.yml").write_text("name: headrace\nversion: 0.0.1\n")
    with pytest.raises(UsageError, match=r"has the models of headrace 0.0.1, and this is"):
        read_target(None)
    (package / "dbt_project.yml").unlink()
    with pytest.raises(UsageError, match="is missing or leads nowhere: `headrace init"):
        read_target(None)
    settings.write_text("name: shop\nprofile: headrace\nvars:\n  headrace:\n    # fullstory_org_id: org\n")
    with pytest.raises(UsageError, match="`vars: headrace:` is empty"):
        read_target(None)


def test_a_build_is_made_from_the_packages_too(tmp_path: Path) -> None:
    init(tmp_path)
    link = tmp_path / ".headrace" / "project"
    link.unlink()
    link.mkdir()
    for name in ("dbt_project.yml", "models/one.sql", ".venv/lib.py"):
        path = link / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("one: 1")
    before = fingerprint(tmp_path)
    (link / ".venv/lib.py").write_text("what dbt doesn't read")
    assert fingerprint(tmp_path) == before
    for name in ("models/one.sql", "dbt_project.yml"):
        (link / name).write_text("one: 2")
        assert fingerprint(tmp_path) != before
        before = fingerprint(tmp_path)


# --- where files go -------------------------------------------------------------------------------------------------


def test_state_has_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, bad = tmp_path / "project", tmp_path / "what's [this]"
    for folder in (own, bad):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    users = tmp_path / "user" / ".local" / "state" / "headrace"
    assert home_of(own) == own / ".headrace"
    assert home_of(SHIPPED) == users
    assert home_of(bad) == users
    assert home_of(Path("/proc")) == users
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert home_of(SHIPPED) == tmp_path / "state" / "headrace"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # to be ignored, by its specification
    assert home_of(SHIPPED) == users
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "told"))
    assert home_of(own) == tmp_path / "told"
    assert (tmp_path / "told").stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("HEADRACE_HOME", str(bad))
    with pytest.raises(UsageError, match=r"HEADRACE_HOME: .* has one of"):
        home_of(own)
    assert not may_be_written(Path("/"))
    assert not may_be_written(Path("/nonexistent/state"))


def test_state_of_nobody_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    home = _home_of_nobody()
    assert _home_of_nobody() == home
    assert home.stat().st_mode & 0o777 == 0o700
    home.chmod(0o750)
    with pytest.raises(UsageError, match="name another folder with HEADRACE_HOME"):
        _home_of_nobody()
    home.rmdir()
    home.symlink_to(tmp_path / "of_someone")
    (tmp_path / "of_someone").mkdir(mode=0o700)
    with pytest.raises(UsageError, match="name another folder with HEADRACE_HOME"):
        _home_of_nobody()
    home.unlink()
    if os.getuid() == 0:
        home.mkdir(mode=0o700)
        os.chown(home, 54321, -1)
        with pytest.raises(UsageError, match="is not of this user alone"):
            _home_of_nobody()


def test_nothing_is_written_to_the_root(wheel: Installed, feed: Path, tmp_path: Path) -> None:
    """A container's user without a home, in the folder that such a one starts in."""
    before = sorted(Path("/").iterdir()), sorted(files_of(wheel.site))
    wheel.headrace("sync", feed, "--no-build", at=Path("/"), HOME="/nonexistent", TMPDIR=str(tmp_path), LC_ALL="C")
    assert (sorted(Path("/").iterdir()), sorted(files_of(wheel.site))) == before
    (home,) = tmp_path.iterdir()
    assert (home / "headrace.duckdb").exists()
    assert (home.stat().st_mode & 0o777, home.name) == (0o700, f"headrace-{os.getuid()}")


# --- one sync to a database -----------------------------------------------------------------------------------------


def on(name: str, settings: dict[str, object], home: Path, schema: str = "product") -> Target:
    return Target(name, str(settings["type"]), schema, settings, PROJECT, PROJECT, home)


def test_a_lock_is_the_database_s(tmp_path: Path) -> None:
    (tmp_path / "link.duckdb").symlink_to("one.duckdb")
    one, other = ({"type": "duckdb", "path": str(tmp_path / name)} for name in ("one.duckdb", "two.duckdb"))
    again = {"type": "duckdb", "path": os.path.relpath(tmp_path / "link.duckdb")}
    second = on("prod", again, tmp_path / "elsewhere")
    refused = pytest.raises(LoadError, match=f"'prod' is under way .process {os.getpid()}.; try again")
    first, third = (on("dev", settings, tmp_path / "home") for settings in (one, other))
    with _locked(first), _locked(third), refused, _locked(second):
        pass
    with _locked(second):
        pass
    nowhere = on("dev", {"type": "duckdb", "path": str(tmp_path / "nowhere" / "x.duckdb")}, tmp_path)
    with pytest.raises(UsageError, match=r"nowhere/x.duckdb.lock can't be written: No such file"), _locked(nowhere):
        pass
    assert not (tmp_path / "nowhere").exists()


def test_state_is_the_database_s(tmp_path: Path) -> None:
    server = {"type": "postgres", "host": "db.example", "dbname": "shop", "user": "loader", "password": "one"}
    state = on("dev", server, tmp_path).work_dir
    assert on("prod", {**server, "user": "other", "host": "DB.example"}, tmp_path, "Product").work_dir == state
    others = [{**server, "host": "db2.example"}, {**server, "dbname": "shop2"}]
    assert state not in [on("dev", other, tmp_path).work_dir for other in others]
    assert on("dev", server, tmp_path, "product2").work_dir != state


# --- upgrades -------------------------------------------------------------------------------------------------------


def versions(file: Path) -> list[str]:
    with duckdb.connect(str(file)) as connection:
        return [name for (name,) in connection.execute("select version from product.versions order by all").fetchall()]


def test_a_newer_version_writes_on_and_an_older_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "one.duckdb"
    target = on("dev", {"type": "duckdb", "path": str(file)}, tmp_path)
    for _ in range(2):
        with alone(target):
            pass
        assert versions(file) == [__version__]
    with duckdb.connect(str(file)) as connection:
        connection.execute("update product.versions set version = '0.0.9'").fetchall()
    with alone(target):
        pass
    assert versions(file) == ["0.0.9", __version__]
    with duckdb.connect(str(file)) as connection:
        connection.execute("insert into product.versions values ('0.10.0')").fetchall()
    before = file.stat()
    refused = pytest.raises(UsageError, match=r"headrace 0.10.0 has written here, and this is .* docs/upgrade.md")
    with refused, alone(target):
        pytest.fail("it is refused before anything is done")
    assert file.stat().st_size == before.st_size
    assert versions(file) == ["0.0.9", __version__, "0.10.0"]


def test_the_version_is_said_alike() -> None:
    """sync holds the version of the models against its own."""
    assert yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["version"] == __version__
    assert re.search(r'^version = "(.*)"$', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE)[1] == __version__
    macros = (PROJECT / "macros" / "upgrade.sql").read_text()
    assert re.search(r"macro version_of_headrace.*\s*\{\{ return\('(.*)'\)", macros)[1] == __version__
