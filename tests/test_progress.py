"""What who calls headrace sees while it runs, and when it is stopped."""

from __future__ import annotations

import os
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
        assert process.end(60) == 130, process.said()
        assert process.said().endswith("headrace: interrupted, run it again\n")
        assert "Traceback" not in process.said()
    warehouse.sync(feed)
    assert warehouse.rows("select event_id from {p}.events order by 1") == [("a",), ("b",)]
    assert warehouse.rows("select count(*) from {p}.raw_events") == [(0,)]
