"""What who calls headrace sees while it runs, and when it is stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import forked
import killer
import pytest
from conftest import Warehouse, event, ndjson
from headrace import cli


def interrupted(arguments: list[str]) -> None:
    """Headrace, which Ctrl-C reaches at the point that is named first, in a query that takes hours."""
    point, *others = arguments

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        duckdb.sql("select sum(a.range * b.range % 7) from range(10_000_000) as a, range(10_000_000) as b")

    killer.die = interrupt
    killer.points("duckdb")[point].plant()
    forked.headrace(others)


def blocks_interrupts(pid: int) -> bool:
    """Whether its first thread leaves SIGINT to another one."""
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(fields["SigBlk"], 16) >> (signal.SIGINT - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says whether it is listening by then")
def test_ctrl_c_while_it_starts(warehouse: Warehouse) -> None:
    command = [sys.executable, "-m", "headrace", "status"]
    with subprocess.Popen(command, cwd=warehouse.project, stderr=subprocess.PIPE, text=True) as process:
        while not blocks_interrupts(process.pid):
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (said, process.returncode) == ("headrace: interrupted, run it again\n", 130)


def test_ctrl_c_while_it_loads_and_builds(warehouse: Warehouse, tmp_path: Path) -> None:
    feed = tmp_path / "feed.ndjson"
    feed.write_bytes(ndjson(event("a"), event("b", 1)))
    for point in ("the package is extracted", "event_batch is built"):
        process = warehouse.start(interrupted, point, "sync", feed)
        assert process.end(300) == 130, process.said()
        assert process.said().endswith("headrace: interrupted, run it again\n")
        assert "Traceback" not in process.said()
    said = warehouse.sync(feed, "--json")
    done, end = json.JSONDecoder().raw_decode(said)  # stdout; stderr after it says each stage
    counts = {"files": 0, "rows": 0, "new": 2, "duplicate": 0, "superseded": 0, "moved": 0, "rejected": 0, "late": 0}
    assert done["counts"] == counts
    assert done["target"].startswith("duckdb ")
    assert done["seconds"] > 0
    assert done["notes"] == []
    stages = [line.split(" ", 1)[1] for line in said[end:].split("\n") if line]
    assert stages[0] == "listing the feed"
    built = [stage for stage in stages if stage.startswith("dbt ")]  # more than one where it takes half a minute
    assert stages[-len(built) :] == built
    assert re.fullmatch(r"dbt \w+, 1 of \d{3}", built[0])
    assert json.JSONDecoder().raw_decode(warehouse.headrace("sync", feed, "--json"))[0]["counts"] == {
        **counts,
        "new": 0,
    }
    assert warehouse.rows("select event_id from {p}.events order by 1") == [("a",), ("b",)]
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(0,)]


def test_lines_say_how_far_a_load_is_where_there_is_no_terminal(warehouse: Warehouse, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "feed" / f"hour={number}").mkdir(parents=True)
        (tmp_path / "feed" / f"hour={number}" / "a.ndjson").write_bytes(ndjson(event(f"{number}")))
    said = warehouse.headrace("sync", tmp_path / "feed", "--no-build", "--json")
    assert json.JSONDecoder().raw_decode(said)[0]["counts"]["new"] is None
    lines = [line[9:] for line in said.splitlines()[-3:]]
    assert lines == [
        "listing the feed",
        "reading hour=0/a.ndjson, 0 of 3",
        "loading what was read, 3 rows, 3 of 3",
    ]


def test_how_fast_and_how_long_still() -> None:
    began = cli._Seen("reading a", 2, 12, 1_000, began=time.monotonic() - 60)
    assert began.line()[9:] == "reading a, 1,000 rows, 2 of 12"
    line = cli._Seen("reading \x1b[2Jb", 4, 12, 7_000, first=began).line()[9:]
    assert line == "reading \\x1b[2Jb, 7,000 rows, 100 a second, 4 of 12, 0:04:00 left"


def test_help_shows_its_examples_and_output_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    env |= {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "headrace"]
    said = subprocess.run([*command, "--help"], env=env, capture_output=True, check=True).stdout.decode()
    assert "\n    headrace sample feed      make a believable feed to try things on\n    headrace sync feed" in said
    assert "\\b" not in said
    made = subprocess.run(
        [*command, "sample", "fééd", "--hours", "1"], env=env, cwd=tmp_path, capture_output=True, check=True
    )
    assert made.stdout.decode().startswith("fééd: ")
