"""What an operator sees and can do: what is published, builds that fail, what is left out, and errors told apart."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import killer
import pytest
from conftest import AS_A_SYNC, HOUR, PROJECT, Warehouse, event, link_project, ndjson
from headrace import cli, prometheus
from headrace.build import KEPT
from headrace.cli import plain
from headrace.errors import LoadError, UsageError
from headrace.failures import lasts
from headrace.formats.source import Source
from headrace.pipeline import connected
from headrace.reading import read_events
from headrace.redo import Request
from headrace.rows import Tally
from headrace.skip import skip
from headrace.status import Failing, FeedStatus, Rejections, Status, Volume
from headrace.status import status as read_status
from headrace.target import Target
from headrace.warehouses.bigquery import BigQuery
from headrace.warehouses.duckdb import refusal_of_file
from rich.console import Console
from test_loader import Staging, staging  # noqa: F401 (a fixture)

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def put(feed: Path, name: str, hour: datetime, *events: dict[str, Any]) -> Path:
    path = feed / "events" / f"ingested_time={hour:%Y-%m-%d %H:%M:%S}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(ndjson(*events))
    return path


def at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"


def recent(event_id: str, **fields: Any) -> dict[str, Any]:
    return event(event_id, **{"event_time": at(NOW), "processed_time": at(NOW), **fields})


def counts(said: str) -> dict[str, str]:
    """The closing table of a sync."""
    lines = said.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("files ┃"))
    return dict(zip(lines[head].replace(" ", "").split("┃"), lines[head + 2].replace(" ", "").split("│"), strict=True))


def status(warehouse: Warehouse, *arguments: str, code: int = 0) -> dict[str, Any]:
    said = warehouse.headrace("status", "--json", *arguments, status=code)
    return json.JSONDecoder().raw_decode(said)[0]


def break_model(warehouse: Warehouse, name: str) -> Callable[[], None]:
    """Give the project a copy of the models in which one fails; what is returned mends it."""
    models = warehouse.project / "models"
    if models.is_symlink():
        models.unlink()
        shutil.copytree(PROJECT / "models", models)
    path = next(models.rglob(f"{name}.sql"))
    whole = path.read_text()
    # A cast that fails on one event alone, as a strict one of a user's own would.
    value = "case when live.event_id = 'poison' then 'no number' || chr(27) || '[2J' else '1' end"
    path.write_text(whole.replace("from live\n", f"from live\nwhere cast({value} as bigint) = 1\n"))
    assert path.read_text() != whole
    return lambda: path.write_text(whole) and None


def test_an_event_that_no_build_gets_past_is_left_out_and_comes_back(warehouse: Warehouse, tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    mend = break_model(warehouse, "int_parsed_events")
    put(feed, "a.ndjson", NOW - timedelta(hours=1), recent("good"), recent("poison"))
    said = warehouse.sync(feed, status=1)
    assert "int_parsed_events" in said
    assert "the queue is kept for the next build" in said
    assert KEPT in (PROJECT / "macros" / "queue.sql").read_text()  # by which the build knows that it is
    assert "no number\\x1b[2J" in said
    assert "headrace skip EVENT_ID" in said
    assert "Traceback" not in said
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(2,)]
    failing = status(warehouse)["failing"]
    assert failing["builds"] == 1
    assert "int_parsed_events" in failing["message"]
    assert "builds fail since" in warehouse.headrace("status", "--max-age", "9h", status=1)
    with duckdb.connect(str(warehouse.database)) as connection:  # one that failed before it
        connection.execute(
            "insert into product.failed_builds select started_time - interval 2 hour, ended_time, 1, 'earlier' "
            "from product.failed_builds"
        ).fetchall()
    again = status(warehouse)["failing"]
    first = datetime.fromisoformat(failing["since"]) - timedelta(hours=2)
    assert (datetime.fromisoformat(again["since"]), again["builds"]) == (first, 2)
    assert again["message"] == failing["message"]
    assert "builds        fail since" in warehouse.headrace("status")

    # events has it already, as the model after that failed; in the queue it is left out. dbt alone merges the rest.
    assert "left out: poison, 1 rows" in warehouse.headrace("skip", "poison")
    warehouse.dbt("build", *AS_A_SYNC, "--exclude-resource-type", "unit_test")
    assert warehouse.rows("select event_id from {p}.int_parsed_events") == [("good",)]
    now = status(warehouse, "--max-age", "9h")
    assert (now["failing"], now["queued_loads"]) == (None, 0)
    assert [(one["name"], one["waiting_rows"]) for one in now["skipped"]] == [("poison", 0)]
    assert "left out      poison, since" in warehouse.headrace("status")
    assert "poison, since" in warehouse.headrace("skip")

    # It stays left out when another file brings it.
    put(feed, "b.ndjson", NOW, recent("poison"), recent("other"))
    assert counts(warehouse.sync(feed))["new"] == "1"
    assert warehouse.rows("select event_id from {p}.int_parsed_events order by 1") == [("good",), ("other",)]
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(0,)]
    assert warehouse.rows("select count(*) from {p}.failed_builds") == [(0,)]

    mend()
    assert "not left out: nothing" in warehouse.headrace("skip", "--undo", "nothing", status=2)
    said = warehouse.headrace("skip", "--undo", "poison")
    since = f"{NOW - timedelta(hours=1):%Y-%m-%dT%H:%M}"
    assert f"`headrace backfill FEED --since {since}`" in said
    warehouse.headrace("backfill", feed, "--since", since)
    expected = [("good",), ("other",), ("poison",)]
    assert warehouse.rows("select event_id from {p}.int_parsed_events order by 1") == expected
    assert status(warehouse)["skipped"] == []


@pytest.mark.soak
def test_a_file_that_is_left_out_drops_nothing_and_comes_back_as_it_is_then(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    feed = tmp_path / "feed"
    path = put(feed, "a.ndjson", NOW, recent("kept"), recent("dropped"))
    put(feed, "b.ndjson", NOW, recent("b"))
    warehouse.sync(feed)
    live = "select event_id from {p}.events where event_type is not null order by 1"
    assert warehouse.rows(live) == [("b",), ("dropped",), ("kept",)]

    path.write_bytes(ndjson(recent("kept"), recent("new")))
    warehouse.sync(feed, "--no-build")
    assert f"left out: {path}, 2 rows" in warehouse.headrace("skip", path)
    put(feed, "c.ndjson", NOW, recent("c"))
    warehouse.sync(feed)
    assert warehouse.rows(live) == [("b",), ("c",), ("dropped",), ("kept",)]
    path.write_bytes(ndjson(recent("kept"), recent("newer")))
    assert counts(warehouse.sync(feed, "--no-build"))["files"] == "0"
    assert [one["name"] for one in status(warehouse)["skipped"]] == [str(path)]

    warehouse.headrace("skip", "--undo", path)
    warehouse.sync(feed)
    assert warehouse.rows(live) == [("b",), ("c",), ("kept",), ("newer",)]


def test_a_monitor_is_red_when_nothing_is_published(warehouse: Warehouse, tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    assert "nothing is published" in warehouse.headrace("status", "--max-age", "3h", status=1)
    assert not warehouse.database.exists()
    wrong = [
        recent("ahead", event_time=at(NOW + timedelta(days=1, seconds=1))),
        recent("of 1999", event_time="1999-12-31T23:59:59.999999Z"),
        recent(
            "a day ahead", event_time=at(NOW - timedelta(hours=1)), processed_time=at(NOW - timedelta(days=1, hours=1))
        ),
        recent("of 2000", event_time="2000-01-01T00:00:00.000000Z"),
    ]
    put(feed, "a.ndjson", NOW, recent("a", event_time=at(NOW - timedelta(hours=1))), *wrong)
    put(
        feed,
        "b.ndjson",
        datetime(9999, 1, 1, tzinfo=UTC),
        recent("b", processed_time=at(datetime(9999, 1, 1))),
    )
    assert "would be loaded" in warehouse.sync(feed, "--dry-run")
    assert not warehouse.database.exists()

    warehouse.sync(feed, "--no-build")
    now = status(warehouse, "--max-age", "3h", code=1)  # loaded is not published
    assert (now["newest_hour"], now["newest_event"], now["queued_loads"], now["wrong_clocks"]) == (None, None, 1, 2)
    warehouse.sync(feed)
    with duckdb.connect(str(warehouse.database), read_only=True):  # as a BI tool has it open
        now = status(warehouse, "--max-age", "3h")
        assert "newest event" in warehouse.headrace("status")
        assert "0 of 2 files would be loaded" in warehouse.sync(feed, "--dry-run")
    # Of "ahead" the processed_time, which is now, and not the day after.
    assert datetime.fromisoformat(now["newest_event"]) == NOW
    assert datetime.fromisoformat(now["newest_hour"]) == NOW
    assert now["queued_loads"] == 0

    with held(warehouse.database) as commit:  # as a sync has it open
        commit("create table product.other as select 1")
        assert status(warehouse, "--max-age", "3h") == now
        assert "0 of 2 files would be loaded" in warehouse.headrace("sync", feed, "--dry-run")

    # Empty syncs publish nothing: the newest load is new, what is published gets old.
    warehouse.sync(feed, "--no-build")
    said = warehouse.headrace("status", "--max-age", "1s", status=1)
    for words in ("the newest published hour is", "the newest published event is of", "stands still"):
        assert words in said


def state(**fields: Any) -> Status:
    now = datetime.now(UTC)
    feed = FeedStatus("feed", now, now, now, 0, 0.0, None)
    known: dict[str, Any] = {
        "target": "t",
        "newest_hour": now,
        "newest_event": now,
        "failing": None,
        "newest_load": now,
    }
    known |= {"queued_loads": 0, "queued_rows": 0, "queued_since": None, "files": {}, "feeds": [feed], "rejected": []}
    known |= {"export_until": None, "unread": []}
    return Status(**{**known, "wrong_clocks": 0, "skipped": [], "redo": [], **fields})


def test_each_reason_to_be_red() -> None:
    now, old = datetime.now(UTC), datetime.now(UTC) - timedelta(hours=4)

    def problems(**fields: Any) -> list[str]:
        return list(state(**fields).problems(timedelta(hours=3)))

    assert problems() == []
    assert "loads wait for a green build" in problems(queued_loads=1, queued_since=old)[0]
    assert problems(queued_loads=1, queued_since=now) == []
    asked = Request(old.date(), old.date(), 0, "a new zone", old)
    assert "days wait to be done again" in problems(redo=[asked])[0]
    assert problems(redo=[replace(asked, since=now)]) == []
    assert "newest published hour" in problems(newest_hour=old)[0]
    assert problems(newest_hour=None) == []  # a feed of loose files
    assert "newest published event" in problems(newest_event=old)[0]
    assert "events is gone" in problems(lost=["events", "sessions"])[0]
    assert "stands still" in problems(feeds=[FeedStatus("f", now, now, old, 0, 0.0, None)])[0]
    assert "2 files wait" in problems(feeds=[FeedStatus("f", old, old, now, 2, 0.0, None)])[0]
    assert problems(feeds=[FeedStatus("f", now, now, now, 2, 0.0, None)]) == []  # they came after the last sync
    assert "gone" in problems(feeds=[FeedStatus("f", now, now, None, None, None, "gone")])[0]


def sequenced(minute: int, **fields: Any) -> dict[str, Any]:
    return {**event(..., minute, **fields)}


@pytest.mark.soak
def test_the_counts_are_of_the_batch_whatever_was_killed(warehouse: Warehouse, tmp_path: Path) -> None:
    """Two hours, counted by hand; the second twice, once without a kill, once after one that events had merged."""
    feed = tmp_path / "feed"
    hour = NOW - timedelta(hours=2)
    put(
        feed,
        "a.ndjson",
        hour,
        event("1"),
        event("2"),
        event("2"),
        event("null", event_type=None, event_properties=None),
    )
    put(feed, "b.ndjson", hour, sequenced(10), sequenced(20), sequenced(30))
    first = counts(warehouse.sync(feed))
    # 1, 2, null and three without an id are new, one row of 2 is a duplicate, null is superseded.
    assert [first[name] for name in ("rows", "new", "duplicate", "superseded", "moved")] == ["7", "6", "1", "1", "0"]

    later = {"updated_time": 1_772_500_000_000}
    put(
        feed,
        "c.ndjson",
        hour + timedelta(hours=1),
        event("1"),
        event("2", event_type=None, **later),
        event("3"),
        event("3"),
    )
    put(feed, "d.ndjson", hour + timedelta(hours=1), sequenced(15), sequenced(10))
    killed = Warehouse(tmp_path / "killed")
    for path in warehouse.project.glob("warehouse.duckdb*"):
        shutil.copy(path, killed.project)
    # 3 and the event at 15 are new, 1, one row of 3 and the event at 10 are duplicates, 2 is superseded, and those at
    # 20 and 30 move behind the one at 15.
    expected = ["6", "2", "3", "1", "2"]
    second = counts(warehouse.sync(feed))
    assert [second[name] for name in ("rows", "new", "duplicate", "superseded", "moved")] == expected

    program = partial(killer.main, "duckdb", "merged into int_sessions, uncommitted")
    process = killed.start(program, "sync", feed)
    assert process.end(300) == -9, process.said()
    assert killed.rows("select count(*) from {p}.raw_events") == [(6,)]
    again = counts(killed.sync(feed))
    assert [again[name] for name in ("files", "new", "duplicate", "superseded", "moved")] == ["0", *expected[1:]]
    # Nothing new: nothing counted.
    assert "nothing new" in killed.sync(feed)


ODD = "\x1b[2J\x1b]0;title\x07 \r\x9b31m\u202egnp.exe\u2066 [red]x[/]"


def test_what_visitors_send_does_nothing_to_a_terminal(warehouse: Warehouse, tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    put(
        feed,
        f"{ODD.replace('/', '')}.ndjson",
        NOW,
        recent("a", event_type="identify", event_properties=json.dumps({"user_id": ODD})),
        recent("b", event_properties=json.dumps({"target": {"text": ODD, "raw_selector": ODD}})),
        recent("c", device_id=ODD),
        recent("d", **{ODD: 1}),
    )
    said = warehouse.sync(feed, "--dry-run") + warehouse.sync(feed) + warehouse.headrace("status")
    with held(warehouse.database) as commit:  # what is made of views is read past the lock, too
        commit("select 1")
        said += warehouse.headrace("show")
    said += warehouse.headrace("skip", ODD) + warehouse.headrace("skip")
    said += warehouse.headrace("skip", "--undo", f"no{ODD}", status=2)
    assert "gnp.exe" in said
    assert "[red]x" in said
    assert not set(said) & set("\x1b\x07\r\x9b\u202e\u2066")
    assert said.isprintable() or set(filter(lambda c: not c.isprintable(), said)) <= {"\n", "\u00a0"}
    now = status(warehouse)
    assert any(ODD.replace("/", "") in one["file"] for one in now["rejected"])
    words = "\U0001f469\u200d\U0001f680 é クリック"
    assert plain(words) == words


def test_a_traceback_does_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(cli, "errors", Console(stderr=True, soft_wrap=True))
    try:
        raise ValueError(ODD)
    except ValueError:
        cli._unforeseen(*sys.exc_info())
    said = capsys.readouterr().err
    assert "ValueError: \\x1b[2J" in said
    assert not set(said) & set("\x1b\x07\r\x9b\u202e")


def test_a_ledger_of_an_earlier_version(staging: Staging) -> None:  # noqa: F811
    staging.put(f"{HOUR}/a.ndjson", ndjson(event("a", 7)))
    staging.load()
    later = {"newest_event_time": "timestamptz", "wrong_clock": "bigint", "is_export": "boolean"}
    changes = [
        ["update product.loaded_files set is_merged = true"]
        + [f"alter table product.loaded_files drop column {column}" for column in later],
        # What the next sync does, before it loads anything.
        [f"alter table product.loaded_files add column {column} {kind}" for column, kind in later.items()],
    ]
    for statements in changes:
        with duckdb.connect(str(staging.database)) as connection:
            for statement in statements:
                connection.execute(statement).fetchall()
        now = read_status(staging.target)
        assert now.newest_event == datetime(2026, 3, 2, 0, 7, tzinfo=UTC)
        assert (now.files["merged"], now.wrong_clocks, now.export_until) == (1, 0, None)


def test_a_folder_is_not_left_out(staging: Staging) -> None:  # noqa: F811
    staging.put(f"{HOUR}/a.ndjson", ndjson(event("a")))
    with pytest.raises(UsageError, match="name its files"):
        skip(staging.target, (str(staging.feed),))
    (left_out,) = skip(staging.target, (str(staging.feed / HOUR / "a.ndjson"),))
    assert left_out.name == str(staging.feed / HOUR / "a.ndjson")
    assert staging.load().files == 0


def test_a_full_disk_is_one_line_and_what_is_there_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_DUCKDB", str(tmp_path / "none.duckdb"))
    monkeypatch.setattr(cli, "errors", Console(stderr=True, soft_wrap=True))
    link_project(tmp_path / "project")
    half = tmp_path / "project" / ".headrace" / f"profiles.{os.getpid()}.half"
    half.parent.mkdir()
    half.symlink_to("/dev/full")
    call = ["status", "--project-dir", str(tmp_path / "project")]
    with pytest.raises(SystemExit) as ended:
        cli.main(call)
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.count("\n") == 1
    assert "No space left on device" in said
    shutil.copy(tmp_path / "project" / "profiles.example.yml", half.parent / "profiles.yml")
    with pytest.raises(SystemExit) as ended:
        cli.main(call)
    assert ended.value.code == 0


# --- failures by what they carry ------------------------------------------------------------------------------------


def on_duckdb(path: Path) -> Target:
    settings = {"type": "duckdb", "path": str(path)}
    return Target(
        "t", "duckdb", "product", settings, PROJECT, PROJECT, path.parent if path.parent.exists() else Path.cwd()
    )


HOLDING = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print(flush=True)
for line in sys.stdin:
    connection.execute(line).fetchall()
    print(flush=True)
"""


@contextmanager
def held(path: Path) -> Iterator[Callable[[str], None]]:
    """A DuckDB file that another process writes to, as it is told."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"

        def commit(sql: str) -> None:
            process.stdin.write(f"{sql}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "\n"

        yield commit
        process.stdin.close()


def opened(path: Path, **how: bool) -> None:
    with connected(on_duckdb(path), **how):
        pass


def test_a_duckdb_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """DuckDB has one class for all of these, and no code: the system is asked."""
    with pytest.raises(UsageError, match="can't connect"):
        opened(tmp_path / "missing" / "x.duckdb", writes=True)
    (tmp_path / "text.duckdb").write_text("access denied, not found, permission denied" * 500)
    for how in ({"writes": True}, {}):
        with pytest.raises(UsageError, match="not a valid DuckDB"):
            opened(tmp_path / "text.duckdb", **how)
    with pytest.raises(UsageError):
        opened(tmp_path, writes=True)
    path = tmp_path / "x.duckdb"
    with held(path) as commit:
        commit("create schema product")
        with pytest.raises(LoadError, match="lock"):
            opened(path, writes=True)
        opened(path)
    opened(path, writes=True)
    opened(path)


def test_a_folder_that_cannot_be_written() -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        try:
            os.seteuid(user or 65534)  # root may write everywhere
            refused = refusal_of_file(Path(folder) / "x.duckdb")
        finally:
            os.seteuid(user)
    assert refused is not None
    assert refused.errno == errno.EACCES
    assert lasts(refused) is True


def caused(outer: Exception, inner: BaseException) -> Exception:
    outer.__cause__ = inner
    return outer


class Answered(Exception):  # noqa: N818
    """As Google's clients have it."""

    def __init__(self, code: int, reason: str = "") -> None:
        self.code = code
        self.errors = [{"reason": reason}]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "try again"), False),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), False),
        (ConnectionRefusedError(errno.ECONNREFUSED, "permission denied"), False),
        (TimeoutError("access denied"), False),
        (OSError(errno.ENOSPC, "disk full"), False),
        (PermissionError(errno.EACCES, "x"), True),
        (FileNotFoundError(errno.ENOENT, "key.p8"), True),
        (Answered(403), True),
        (Answered(404), True),
        (Answered(429), False),
        (Answered(503), False),
        (Answered(400), None),
        (ValueError("permission denied: 403, not authorized"), None),
        (caused(ValueError("x"), caused(KeyError("y"), ConnectionResetError(errno.ECONNRESET, "z"))), False),
        (Exception("communication error", ConnectionRefusedError(errno.ECONNREFUSED, "x")), False),
        (Exception({"S": "FATAL", "C": "28P01", "M": "password"}), True),
        (Exception({"S": "FATAL", "C": "57P03", "M": "starting up; access denied"}), False),
        (Exception({"S": "FATAL", "C": "53300", "M": "too many connections"}), False),
    ],
)
def test_a_failure_passes_or_lasts_by_its_code(error: Exception, expected: bool | None) -> None:
    assert lasts(error) is expected


def test_a_quota_of_bigquery_is_no_missing_privilege() -> None:
    assert lasts(Answered(403, "rateLimitExceeded"), BigQuery.verdict) is False
    assert lasts(Answered(403, "accessDenied"), BigQuery.verdict) is True


def test_wrong_clocks_are_counted_by_file(tmp_path: Path) -> None:
    """A day ahead to the microsecond is believed, and the first moment of 2000."""
    path = tmp_path / "a.ndjson"
    day = "2026-03-03T01:00:00"
    path.write_bytes(
        ndjson(
            event("a", event_time=f"{day}.000000Z"),
            event("b", event_time=f"{day}.000001Z"),
            event("c", event_time="1999-12-31T23:59:59.999999Z"),
            event("d", event_time="2000-01-01T00:00:00Z"),
            event("e", event_time=None, event_type=None),
        )
    )
    tally = Tally()
    assert sum(batch.num_rows for batch in read_events(Source(path, "f"), tally)) == 5
    assert tally.wrong_clock == 2
    assert tally.newest_event_time == datetime(2026, 3, 3, 1, tzinfo=UTC)


def test_prometheus_reads_the_state_of_a_target() -> None:
    hour = datetime(2026, 3, 2, 14, tzinfo=UTC)
    now = Status(
        target='duckdb (C:\\a "b")',
        newest_hour=hour,
        newest_event=None,
        failing=Failing(hour, 3, "it says"),
        newest_load=hour,
        queued_loads=2,
        queued_rows=12_345_678,
        queued_since=hour,
        files={"merged": 7},
        feeds=[
            FeedStatus("s3://feed", hour, None, hour, 4, 3600.0, None),
            FeedStatus("gone", hour, None, None, None, None, "no such feed"),
        ],
        rejected=[Rejections("no\n\x1b[2J time", 5, "a", 1)],
        export_until=None,
        unread=["b.txt"],
        wrong_clocks=0,
        skipped=[],
        redo=[],
        volume=Volume(100, 250.5),
    )
    said = prometheus.text(now)
    target = r'target="duckdb (C:\\a \"b\")"'
    assert said.startswith(
        "# HELP headrace_published_hour_timestamp_seconds The newest hour that is published.\n"
        "# TYPE headrace_published_hour_timestamp_seconds gauge\n"
        f"headrace_published_hour_timestamp_seconds{{{target}}} 1772460000\n"
    )
    assert said.endswith("\n")
    lines = said.splitlines()
    for line in (
        f"headrace_queue_rows{{{target}}} 12345678",
        f"headrace_failing_builds{{{target}}} 3",
        f"headrace_failing_since_timestamp_seconds{{{target}}} 1772460000",
        f'headrace_rejected_rows{{{target},reason="no\\\\n\\\\x1b[2J time"}} 5',
        f'headrace_files{{{target},state="merged"}} 7',
        f'headrace_files{{{target},state="unread"}} 1',
        f"headrace_hour_rows{{{target}}} 100",
        f"headrace_hour_usual_rows{{{target}}} 250.5",
        f'headrace_feed_readable{{{target},feed="gone"}} 0',
        f'headrace_feed_lag_seconds{{{target},feed="s3://feed"}} 3600',
    ):
        assert line in lines
    assert "published_event" not in said
    assert not any("feed_lag" in line and "gone" in line for line in lines)


def test_the_volume_of_an_hour_is_told_beside_what_is_usual(warehouse: Warehouse, tmp_path: Path) -> None:
    """Hours of one, two and six rows in the weeks before, and one of another weekday that doesn't count."""
    feed = tmp_path / "feed"
    hour = NOW - timedelta(hours=1)
    for weeks, rows in {0: 3, 1: 1, 2: 2, 4: 6, 5: 9}.items():
        name = f"{weeks}.ndjson"
        put(feed, name, hour - timedelta(weeks=weeks), *(recent(f"{weeks}-{number}") for number in range(rows)))
    put(feed, "other.ndjson", hour - timedelta(days=1), *(recent(f"other-{number}") for number in range(8)))
    warehouse.headrace("sync", feed, "--no-build")
    assert "headrace_hour_rows" not in warehouse.headrace("status", "--format", "prometheus")
    with duckdb.connect(str(warehouse.database)) as connection:  # as a green build marks them
        connection.execute("update product.loaded_files set is_merged = true")
    said = warehouse.headrace("status", "--format", "prometheus")
    assert [line.rpartition(" ")[2] for line in said.splitlines() if line.startswith("headrace_hour_")] == ["3", "2"]
    assert status(warehouse)["volume"] == {"rows": 3, "usual_rows": 2}


@pytest.mark.soak
def test_what_was_published_and_dropped_is_red(tmp_path: Path, warehouse: Warehouse) -> None:
    put(tmp_path / "feed", "a.ndjson", NOW, recent("a"))
    warehouse.headrace("sync", tmp_path / "feed")
    assert status(warehouse, "--max-age", "3h")["lost"] == []
    execute(warehouse, "drop view product_marts.pages", "drop view product_marts.elements")
    said = warehouse.headrace("status", "--max-age", "3h", status=1)
    assert "headrace: 2 of the published views are gone or can't be read, such as" in said
    assert '"product_marts"."elements": `headrace sync` makes them again' in said
    asked = warehouse.headrace("show", status=1)
    assert "lacks product_marts.pages, product_marts.elements, which `show` asks: disabled in the project" in asked
    warehouse.headrace("sync", tmp_path / "feed")
    assert status(warehouse, "--max-age", "3h")["lost"] == []

    # A build makes it again, without rows.
    back = "events is gone or empty: `headrace backfill FEED --since HOUR`"
    execute(warehouse, "drop table product.events cascade")
    assert back in warehouse.headrace("status", "--max-age", "3h", status=1)
    warehouse.headrace("sync", tmp_path / "feed")
    assert warehouse.rows("select count(*) from {p}.events") == [(0,)]
    assert back in warehouse.headrace("status", "--max-age", "3h", status=1)
    warehouse.headrace("backfill", tmp_path / "feed", "--since", f"{NOW:%Y-%m-%dT%H:%M}")
    assert status(warehouse, "--max-age", "3h")["lost"] == []


def test_two_spellings_of_a_schema_are_one_line(tmp_path: Path, warehouse: Warehouse) -> None:
    execute(warehouse, "create schema Product")
    put(tmp_path / "feed", "a.ndjson", NOW, recent("a"))
    said = warehouse.headrace("sync", tmp_path / "feed", status=2)
    assert "has the schema 'Product', which to DuckDB is the same as 'product'" in said
    assert said.count("headrace:") == 1


def execute(warehouse: Warehouse, *statements: str) -> None:
    with duckdb.connect(str(warehouse.database)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()


def test_what_is_not_there_is_not_green(tmp_path: Path, warehouse: Warehouse) -> None:
    assert "nothing is published" in warehouse.headrace("status", "--max-age", "3h", status=1)
    assert not warehouse.database.exists()
    duckdb.connect(str(warehouse.database)).close()
    assert "nothing is published" in warehouse.headrace("status", "--max-age", "9999d", status=1)
    put(tmp_path / "feed", "a.ndjson", NOW, recent("a"))
    warehouse.headrace("sync", tmp_path / "feed", "--no-build")
    assert "nothing is published" in warehouse.headrace("status", "--max-age", "9999d", status=1)
