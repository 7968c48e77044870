"""Reading on all cores: the same rows as by one process, and nothing is left when one of the processes is killed."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from itertools import repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import HOUR, event, ndjson
from headrace import package, stop, workers
from headrace.errors import LoadError
from headrace.reading import Found, Into, Task
from test_loader import Staging, staging

__all__ = ["staging"]


def spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have two processes read, and each file be given to the next that is free."""
    monkeypatch.setattr(package, "ALONE_BYTES", 0)
    monkeypatch.setattr(package, "PARQUET_BYTES", 1)
    monkeypatch.setattr(workers, "count", lambda: 2)


def fill(staging: Staging) -> None:
    """Files of all formats, good and bad ones."""
    for n in range(3):
        bad = ndjson(event(f"no device {n}", device_id=None)) + b"no JSON\n"
        lines = ndjson(*(event(f"{n}-{m}", m, org=1) for m in range(50))) + bad
        staging.put(f"events/{HOUR}/{n}.ndjson", lines)
        staging.put(f"events/{HOUR}/{n}.json.gz", gzip.compress(lines.replace(b'"%d-' % n, b'"gz%d-' % n)))
    pq.write_table(pa.Table.from_pylist([event("p"), event(None, 5)]), staging.put(f"events/{HOUR}/p.parquet", b""))
    records = [{"UserId": 1, "EventStart": f"2026-03-02T10:00:0{n}Z", "EventType": "click"} for n in range(4)]
    staging.put(f"events/{HOUR}/export.json", json.dumps(records).encode()[:-1])
    staging.put(f"events/{HOUR}/cut.ndjson.gz", gzip.compress(ndjson(*map(event, "vwxyz")))[:-20])
    staging.put(f"events/{HOUR}/empty.ndjson", b"")
    staging.put(f"events/{HOUR}/picture", b"\x89PNG")
    for name in "ab":
        staging.put(f"configuration/page-definitions/{HOUR}/{name}.ndjson", b'{"id": "%s"}\n{}\n' % name.encode())


def tables(staging: Staging) -> dict[str, list[tuple[Any, ...]]]:
    """All of staging, but for what differs from load to load."""
    columns = {
        "raw_events": "* exclude _dlt_load_id",
        "raw_definitions": "* exclude _dlt_load_id",
        "rejected_events": "* exclude _dlt_load_id",
        "loaded_files": "* exclude (_dlt_load_id, version)",
        "syncs": "listed_files",
    }
    found = {name: staging.rows(f"select {what} from {{p}}.{name}") for name, what in columns.items()}
    assert all(found.values())
    found["raw_events"].sort(key=lambda row: row[-2:])  # DuckDB loads files in the order of dlt's random names
    found["raw_definitions"].sort()
    return found


def test_rows_rejects_and_ledger_are_the_same(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(staging)
    alone = staging.load()
    expected = tables(staging)
    assert len(expected["raw_events"]) > 300
    assert len(expected["rejected_events"]) >= 14
    staging.database.unlink()
    spread(monkeypatch)
    told = staging.load()
    assert tables(staging) == expected
    assert {**vars(told), "listing": None} == {**vars(alone), "listing": None}
    assert staging.load().files == 0


def read_or_die(tasks: list[Task], into: Into) -> Found:
    if tasks[0].source.name.endswith("1.ndjson"):
        os.kill(os.getpid(), signal.SIGKILL)
    return package.read(tasks, into)


def test_a_process_that_is_killed_costs_no_more_than_the_load(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(staging)
    spread(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(package, "read", read_or_die)
        with pytest.raises(LoadError, match="was killed"):
            staging.load()
    staging.load()
    assert staging.rows("select count(*) from {p}._dlt_loads") == [(1,)]
    assert staging.rows("select count(*), count(distinct event_id) from {p}.raw_events where event_id[2] = '-'") == [
        (150, 150)
    ]
    assert not list((staging.target.work_dir / "files").glob("*"))


def sleep(folder: Path) -> None:
    """What a process does that is busy: say that it is there, and go on for a minute."""
    (folder / str(os.getpid())).touch()
    time.sleep(60)


def is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z" if Path("/proc").exists() else True


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_all_processes_end_at_once_with_the_first(tmp_path: Path, how: signal.Signals) -> None:
    said = tmp_path / "said"
    busy = tmp_path / "busy"
    busy.mkdir()
    with said.open("wb") as file:
        env = {**os.environ, "PYTHONWARNINGS": "ignore"}  # as the command line has it
        first = subprocess.Popen([sys.executable, __file__, busy], stderr=file, env=env, start_new_session=True)
        until = time.monotonic() + 60
        while len(names := [path.name for path in busy.iterdir()]) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        if how is signal.SIGINT:
            os.killpg(first.pid, how)  # as a terminal does
        else:
            first.kill()
        first.wait(timeout=20)
    until = time.monotonic() + 10
    while any(map(is_alive, names)):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert said.read_text() == ("headrace: interrupted, run it again\n" if how is signal.SIGINT else "")


if __name__ == "__main__":
    stop.listen()
    workers.count = lambda: 2
    list(workers.in_order(sleep, repeat((Path(sys.argv[1]),))))
