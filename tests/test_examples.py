"""What examples/ has, run by whom it is for; make test-examples has Airflow, Dagster and MetricFlow at hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
import yaml
from conftest import PROJECT

pytestmark = pytest.mark.examples
EXAMPLES = PROJECT / "examples"
BIN = Path(sys.executable).parent
HOUR_ROWS = 2_000
"""Of the sample feed, each hour."""


class Folder:
    """A project that `headrace init` has made, and a feed of one hour that waits."""

    def __init__(self, folder: Path) -> None:
        self.project, self.feed = folder / "analytics", folder / "feed"
        others = {name: value for name, value in os.environ.items() if not name.startswith("DBT_")}
        self.env = {**others, "HEADRACE_PROJECT": str(self.project), "HEADRACE_FEED": str(self.feed)}
        self.run(BIN / "headrace", "sample", self.feed, "--hours", "1", cwd=folder)
        self.run(BIN / "headrace", "init", self.project, cwd=folder)
        (self.project / ".venv").mkdir()
        (self.project / ".venv" / "bin").symlink_to(BIN)

    def run(self, *command: str | Path, cwd: Path | None = None, **env: str) -> str:
        done = subprocess.run(
            [*map(str, command)], cwd=cwd or self.project, env={**self.env, **env}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def shell(self, line: str, **env: str) -> str:
        return self.run("bash", "-euc", line, **env)

    def published(self) -> tuple[int, int]:
        """Events that views show, and events that wait."""
        with duckdb.connect(str(self.project / "headrace.duckdb"), read_only=True) as connection:
            sql = "select (select count(*) from product_marts.events), (select count(*) from product.raw_events)"
            return connection.execute(sql).fetchall()[0]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """Whatever runs it, in the end the hour is published: 2,000 rows, less duplicates and superseded ones."""
    found = Folder(tmp_path)
    yield found
    events, waiting = found.published()
    assert HOUR_ROWS * 0.95 < events <= HOUR_ROWS
    assert waiting == 0


def test_cron(folder: Folder) -> None:
    lines = [line for line in (EXAMPLES / "crontab").read_text().splitlines() if re.match(r"\d", line)]
    assert len(lines) == 2
    for line in lines:
        command = " ".join(line.split()[5:])
        command = command.replace("/srv/analytics", str(folder.project)).replace("s3://bucket/prefix", str(folder.feed))
        assert folder.shell(command, HEADRACE_HOME=str(folder.project / "state")).strip() == ""


def test_systemd(folder: Folder, tmp_path: Path) -> None:
    service = (EXAMPLES / "systemd" / "headrace.service").read_text().replace("/srv/analytics", str(folder.project))
    (tmp_path / "headrace.service").write_text(service.replace("User=headrace", "User=root"))
    (tmp_path / "headrace.timer").write_text((EXAMPLES / "systemd" / "headrace.timer").read_text())
    assert folder.run("systemd-analyze", "verify", tmp_path / "headrace.service", tmp_path / "headrace.timer") == ""
    (command,) = re.findall("^ExecStart=(.*)$", service, re.M)
    folder.shell(command.replace("s3://bucket/prefix", str(folder.feed)))


def test_github_actions(folder: Folder) -> None:
    workflow = yaml.safe_load((EXAMPLES / "github-actions" / "headrace.yml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["sync"]["steps"] if "run" in step]
    assert steps[0].startswith("pip install")
    for step in steps[1:]:
        folder.shell(step, FEED=str(folder.feed), PATH=f"{BIN}:{os.environ['PATH']}")


def test_airflow(folder: Folder, tmp_path: Path) -> None:
    airflow = PROJECT / ".venv-airflow" / "bin" / "airflow"
    settings = {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
    }
    folder.run(airflow, "db", "migrate", **settings)
    said = folder.run(airflow, "dags", "test", "headrace", **settings)
    assert len(re.findall("new_state=success", said)) == 2


def test_dagster(folder: Folder, tmp_path: Path) -> None:
    tools = PROJECT / ".venv-dagster" / "bin"
    (tmp_path / "dagster").mkdir()
    settings = {"DAGSTER_HOME": str(tmp_path / "dagster"), "PATH": f"{tools}:{os.environ['PATH']}"}
    file = EXAMPLES / "dagster" / "definitions.py"
    folder.run(tools / "headrace", "init", ".", **settings)
    said = folder.run(tools / "dagster", "job", "execute", "-f", file, "-j", "headrace", **settings)
    assert said.count("ASSET_MATERIALIZATION") > 60  # an asset for each model


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a root that is read-only")
def test_docker(folder: Folder, tmp_path: Path) -> None:
    """As the container runs it, without an engine: as nobody, and nothing can be written but the state and /tmp."""
    dockerfile = (EXAMPLES / "docker" / "Dockerfile").read_text()
    settings = dict(re.findall(r"^(USER|ENV HEADRACE_HOME=)\s*(\S+)$", dockerfile, re.M))
    assert settings == {"USER": "65534:65534", "ENV HEADRACE_HOME=": "/state"}
    tmp_path.chmod(0o755)
    state = folder.project / "state"
    state.mkdir()
    os.chown(state, 65534, 65534)
    mounts = ["mount --rbind / /mnt", "mount -o remount,ro,bind /mnt", "mount -t tmpfs tmpfs /mnt/var/tmp"]
    mounts += [f"mount --bind {tmp_path} /mnt/srv", "mount -o remount,ro,bind /mnt/srv"]
    mounts += [f"mount --bind {state} /mnt/srv/analytics/state"]
    for home in homes():
        mounts += [
            "mount -t tmpfs -o mode=755 tmpfs /mnt/root",
            f"mkdir -p /mnt{home}",
            f"mount --bind {home} /mnt{home}",
        ]
    inside = (
        "cd /srv/analytics && env -i PATH=/usr/bin:/bin TMPDIR=/var/tmp HEADRACE_HOME=/srv/analytics/state "
        f"HEADRACE_DUCKDB=/srv/analytics/state/headrace.duckdb {BIN}/headrace sync ../feed && ! touch x 2>/dev/null"
    )
    enter = f"exec chroot --userspec=65534:65534 /mnt sh -c '{inside}'"
    folder.run("unshare", "-m", "bash", "-ec", "\n".join([*mounts, enter]))
    (state / "headrace.duckdb").rename(folder.project / "headrace.duckdb")


def homes() -> list[Path]:
    """Where Python is, if that is in the home of root, which nobody may enter."""
    return [Path(sys.base_prefix)] if Path("/root") in Path(sys.base_prefix).parents else []


def test_metricflow_answers_what_sql_answers(tmp_path: Path) -> None:
    environment = PROJECT / ".venv-metricflow" / "bin"
    if not (environment / "mf").exists():
        pytest.skip("dbt-metricflow is not installed in .venv-metricflow")
    found = Folder(tmp_path)
    shutil.copytree(EXAMPLES / "analytics", found.project, dirs_exist_ok=True)
    found.run(BIN / "headrace", "sync", found.feed)
    env = {"PATH": f"{environment}:{os.environ['PATH']}", "DBT_PROFILES_DIR": str(found.project)}
    shutil.copy(PROJECT / "profiles.example.yml", found.project / "profiles.yml")
    found.run(environment / "dbt", "parse", "--warn-error", **env)
    found.run(environment / "mf", "validate-configs", **env)
    asked = "sessions,users,page_views,bounce_rate,rage_click_rate,crash_free_session_rate,engaged_seconds_per_session"
    query = ("query", "--metrics", asked, "--group-by", "session__channel", "--csv", "answer.csv")
    found.run(environment / "mf", *query, **env)
    with duckdb.connect(str(found.project / "headrace.duckdb"), read_only=True) as connection:
        expected = connection.execute(
            "select channel, count(*), count(distinct user_id), sum(total_page_views)::bigint, avg(is_bounce::int), "
            "avg((rage_clicks > 0)::int), avg((crashes = 0)::int), sum(engaged_time_millis) / 1000 / count(*) "
            "from product_marts.sessions where not is_bot group by channel order by channel"
        ).fetchall()
        assert len(expected) > 3
        answer = f"from read_csv('{found.project / 'answer.csv'}') order by session__channel"
        assert connection.execute(answer).fetchall() == [(name, *map(pytest.approx, rest)) for name, *rest in expected]
