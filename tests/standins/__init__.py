"""Local stand-ins for the warehouses: each a server of its own, with an environment of its own, gone when it is left.

They show that our SQL and our calls are accepted and mean what we think; they are not the services. What they get
wrong is in tests/standins/README.md.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parents[1] / ".standins"
"""What is installed, kept from run to run; `make clean` removes it."""

PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")

SNOWFLAKE = ("fakesnow[server]==0.12.1", "snowflake-connector-python<5", "duckdb==2.0.0", "sqlglot==30.22.0", "pyarrow")
REDSHIFT = ("sqlglot==30.30.0", "boto3", "pyarrow", "psycopg2-binary", "moto[s3,server]==5.2.5")
BIGQUERY = ("local-bigquery==0.4.0", "sqlglot==30.30.0")
BIGQUERY_DUCKDB = (
    "duckdb==1.5.5",
    "duckdb-extensions==1.5.5",
    "duckdb-extension-ducklake==1.5.5",
    "duckdb-extension-icu==1.5.5",
    "duckdb-extension-spatial==1.5.5",
)
"""Not the release that local-bigquery asks for: PyPI has extensions for this one only."""

BIGQUERY_FIXES = [
    (
        "api/jobs.py",
        "    if not destination:\n",
        '    if not destination or statistics.statementType == "CREATE_TABLE_AS_SELECT":\n',
    ),
    (
        "jobs/runner.py",
        "        config.destinationTable = destination\n",
        "        config.destinationTable = destination\n"
        '    elif statistics.statementType == "CREATE_TABLE_AS_SELECT":\n'
        "        config.destinationTable = statistics.ddlTargetTable\n",
    ),
    (
        "sql/script.py",
        "            target, value = item.this.this, item.this.expression\n",
        "            target, value = item.this.this, item.this.expression\n"
        "            if isinstance(target, exp.Paren):\n"
        "                target = target.this\n"
        "                for select in value.find_all(exp.Select):\n"
        '                    select.set("kind", None)\n'
        "                    break\n",
    ),
    (
        "sql/native.py",
        "def zone_name(",
        "def json_finite(text: str) -> bool:\n"
        "    try:\n"
        "        json.loads(text, parse_float=lambda number: 1 / (abs(float(number)) < float('inf')))\n"
        "    except (ZeroDivisionError, OverflowError):\n"
        "        return False\n"
        "    except ValueError:\n"
        "        return True\n"
        "    return True\n\n\n"
        "def zone_name(",
    ),
    (
        "sql/native.py",
        '    "_json_exact": (',
        '    "_json_finite": (json_finite, ["VARCHAR"], "BOOLEAN"),\n    "_json_exact": (',
    ),
    (
        "sql/functions/json.sql",
        "    WHEN 'round' THEN CASE\n",
        "    WHEN 'round' THEN CASE\n"
        "        WHEN NOT _json_finite(s) THEN _raise('Invalid input to PARSE_JSON: number overflow')\n",
    ),
]
"""A CREATE TABLE AS has a destination, too, which dbt reads; SET (a, b) = (select as struct …); PARSE_JSON refuses a
number beyond a double, even where it is told to round."""


class MissingError(RuntimeError):
    """What this machine lacks for a stand-in, and where to get it."""


@dataclass(frozen=True)
class StandIn:
    """How to connect to one."""

    output: dict[str, Any]
    """Its output of a dbt profile, but for the schema."""
    env: dict[str, str] = field(default_factory=dict)
    log: Path | None = None
    """What the server wrote."""


@contextmanager
def snowflake() -> Iterator[StandIn]:
    """fakesnow, for one user in one database (see snowflake_server.py)."""
    port = free_port()
    with (
        folder("snowflake") as home,
        server([environment("snowflake", SNOWFLAKE) / "python", HERE / "snowflake_server.py", port], port, home) as log,
    ):
        output = {
            "type": "snowflake",
            "account": "standin",
            "host": "localhost",
            "port": port,
            "protocol": "http",
            "user": "loader",
            "password": "secret",
            "database": "ANALYTICS",
            "warehouse": "WH",
            "role": "LOADER",
        }
        yield StandIn(output, log=log)


@contextmanager
def postgres() -> Iterator[StandIn]:
    """PostgreSQL itself, with the database `dev`."""
    port = free_port()
    with folder("postgres") as home, cluster(home, port):
        output = {"type": "postgres", **login_to(port)}
        yield StandIn(output)


@contextmanager
def redshift() -> Iterator[StandIn]:
    """PostgreSQL with a SUPER type, behind a proxy that rewrites Redshift's SQL; COPY reads from a local S3."""
    programs = environment("redshift", REDSHIFT)
    port, postgres_port, s3_port = free_port(), free_port(), free_port()
    s3 = f"http://127.0.0.1:{s3_port}"
    with (
        folder("redshift") as home,
        cluster(home, postgres_port, HERE / "redshift.sql") as connect,
        server([programs / "moto_server", "-H", "127.0.0.1", "-p", s3_port], s3_port, home, "s3.log"),
    ):
        sql_log = home / "sql.log"
        env = {
            "COPY_COMMAND": f"{programs / 'python'} {HERE / 'redshift_copy.py'}",
            "SQL_LOG": str(sql_log),
            "S3_ENDPOINT": s3,
            "POSTGRES": connect,
            "TMPDIR": str(home),
        }
        with server(
            [programs / "python", HERE / "redshift_proxy.py", port, postgres_port], port, home, "proxy.log", **env
        ):
            output = {"type": "redshift", **login_to(port)}
            yield StandIn(output, {"AWS_ENDPOINT_URL": s3}, sql_log)


@contextmanager
def bigquery() -> Iterator[StandIn]:
    """local-bigquery, on DuckDB."""
    port, grpc_port = free_port(), free_port()
    with folder("bigquery") as home:
        programs = bigquery_environment()
        command = [programs / "local-bigquery", "--host", "127.0.0.1", "--port", port, "--grpc-port", grpc_port]
        command += ["--data-dir", home / "data", "--project", "test-project"]
        login = home / "login.json"  # accepted by Google's client libraries; no server is asked
        login.write_text(
            json.dumps(
                {
                    "type": "authorized_user",
                    "client_id": "x",
                    "client_secret": "x",
                    "refresh_token": "x",
                    "token": "local",
                    "expiry": "2099-01-01T00:00:00Z",
                }
            )
        )
        with server(command, port, home, HOME=str(programs.parent)) as log:
            output = {
                "type": "bigquery",
                "method": "oauth",
                "project": "test-project",
                "api_endpoint": f"http://127.0.0.1:{port}",
            }
            env = {
                "GOOGLE_APPLICATION_CREDENTIALS": str(login),
                "GOOGLE_CLOUD_PROJECT": "test-project",
                "DATA_WRITER__DISABLE_COMPRESSION": "true",
            }
            yield StandIn(output, env, log)


def login_to(port: int) -> dict[str, Any]:
    """The owner of a PostgreSQL server."""
    who = {"user": "loader", "password": "secret", "dbname": "dev"}
    return {"host": "127.0.0.1", "port": port, **who, "sslmode": "disable"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def folder(name: str) -> Iterator[Path]:
    """A folder that every user of the machine may enter: PostgreSQL refuses to run as root."""
    home = Path(tempfile.mkdtemp(prefix=f"headrace-{name}-", dir="/tmp"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def server(command: list[Any], port: int, home: Path, log: str = "log", **env: str) -> Iterator[Path]:
    """A process that listens on a port, with its output in a file."""
    path = home / log
    with path.open("wb") as output:
        process = subprocess.Popen(
            [*map(str, command)],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            cwd=home,
            env={**os.environ, **env},
        )
    try:
        wait_for(port, process, path)
        yield path
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path, seconds: int = 60) -> None:
    for _ in range(seconds * 10):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.3):
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"{process.args[0]} does not listen: {log.read_text()[-2000:]}")  # type: ignore[index]


@contextmanager
def alone(name: str) -> Iterator[None]:
    """While it lasts, no other process is in one of this name: two workers may install the same at once."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    with (ENVIRONMENTS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def environment(
    name: str, requirements: tuple[str, ...], python: str | None = None, more: tuple[str, ...] = ()
) -> Path:
    """The programs of a virtual environment with these packages, `more` without its own needs."""
    where = ENVIRONMENTS / name
    stamp, wanted = where / "requirements.txt", "\n".join((*requirements, *more))
    with alone(name):
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(where, ignore_errors=True)
            if python:
                subprocess.run([python, "-m", "venv", where], check=True)
            else:
                venv.create(where, with_pip=True)
            pip = [where / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *requirements], check=True, stdout=sys.stderr)
            if more:
                subprocess.run([*pip, "--no-deps", *more], check=True, stdout=sys.stderr)
            stamp.write_text(wanted)
    return where / "bin"


def bigquery_environment() -> Path:
    """local-bigquery as released, with its faults mended and DuckDB's extensions where it looks for them."""
    programs = environment("bigquery", BIGQUERY, python_313(), BIGQUERY_DUCKDB)
    ready, wanted = programs.parent / "ready", repr(BIGQUERY_FIXES)
    with alone("bigquery-fixes"):
        if not ready.exists() or ready.read_text() != wanted:
            for extension in ("ducklake", "icu", "spatial"):
                command = f"from duckdb_extensions import import_extension; import_extension({extension!r})"
                env = {**os.environ, "HOME": str(programs.parent)}
                subprocess.run([programs / "python", "-c", command], check=True, stdout=sys.stderr, env=env)
            package = next(programs.parent.glob("lib/python3.*/site-packages/local_bigquery"))
            for file, old, new in BIGQUERY_FIXES:
                text = (package / file).read_text()
                if new not in text:
                    assert old in text, f"local-bigquery has changed: {file} does not hold {old!r}"
                    (package / file).write_text(text.replace(old, new, 1))
            ready.write_text(wanted)
    return programs


def python_313() -> str:
    """An interpreter that local-bigquery runs on."""
    names = [f"python3.{minor}" for minor in (13, 14, 15)]
    candidates = [sys.executable, *filter(None, map(shutil.which, names))]
    candidates += [str(path) for name in names for path in PYENV.glob(f"versions/{name[6:]}*/bin/python3")]
    for candidate in candidates:
        with suppress(OSError, subprocess.CalledProcessError):
            check = "import sys, venv; sys.exit(sys.version_info < (3, 13))"
            subprocess.run([candidate, "-c", check], check=True, capture_output=True)
            return candidate
    raise MissingError(
        "the BigQuery stand-in needs Python 3.13 or newer: `apt-get install python3.13-venv` (Debian 13), "
        "`pyenv install 3.13` or `uv python install 3.13`"
    )


@contextmanager
def cluster(home: Path, port: int, script: Path | None = None) -> Iterator[str]:
    """A PostgreSQL server, and how its owner connects to the database `dev`, in which the script has run."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = found[-1] if found else Path(shutil.which("initdb") or "")
    if not initdb.is_file():
        raise MissingError("the stand-ins for PostgreSQL and Redshift need it: `apt-get install postgresql`")
    as_owner: list[Any] = []
    data, secret = home / "cluster", home / "password"
    secret.write_text("secret")
    data.mkdir()
    if os.geteuid() == 0:
        shutil.chown(data, "postgres")
        as_owner = ["runuser", "-u", "postgres", "--"]

    def owner(program: str, *arguments: Any) -> None:
        command = [*as_owner, initdb.with_name(program), *arguments]
        subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd=home)

    owner("initdb", "-D", data, "-U", "loader", "-E", "UTF8", "--locale=C", "-A", "md5", f"--pwfile={secret}")
    with (data / "postgresql.conf").open("a") as configuration:
        configuration.write(
            f"port={port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='{data}'\nfsync=off\n"
            "synchronous_commit=off\nfull_page_writes=off\nallow_system_table_mods=on\ntimezone='UTC'\n"
        )
    owner("pg_ctl", "-D", data, "-l", data / "log", "-w", "start")
    try:
        connect = f"host=127.0.0.1 port={port} user=loader password=secret"
        run = [initdb.with_name("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-d"]
        subprocess.run([*run, f"{connect} dbname=postgres", "-c", "create database dev"], check=True)
        if script:
            subprocess.run(
                [*run, f"{connect} dbname=dev", "-f", script],
                check=True,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning"},
            )
        yield f"{connect} dbname=dev"
    finally:
        owner("pg_ctl", "-D", data, "-m", "immediate", "stop")
