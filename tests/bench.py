"""What a load and an hour cost: `make bench`.

load: whole processes on one core, or on as many as --cores says; for each format, over the same files of 100,000 events
(1 KB of properties each):
  floor     DuckDB alone: insert … select from read_json or read_parquet
  headrace  headrace sync --no-build
  plain     dlt as its tutorial shows it: a generator of dicts, loaded as Parquet
The floor and headrace take turns, and the median counts. Plain dlt is so slow that it gets the first size only, once.

hour: `headrace sync` of an hour of 50,000 events, some late, repeated or superseded, into a history of 1 million events
and of 8 million, at the same hours of a day. The two take turns, and the medians of five hours count: of the seconds,
and of the ratio within a turn. `models` is from the start of dbt's first model to the end of its last, `build` the same
with dbt's tests, `sync` the whole process.

definitions: `sync --no-build` of 300,000 events with 200 definitions of each kind and without any, in turns, into an
empty warehouse; and `definitions apply` after a change of one element, into a history of 8 million events, beside a
full refresh of the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table

PROJECT = Path(__file__).resolve().parents[1]
FORMATS = ("ndjson", "ndjson.gz", "parquet")
COLUMNS = (
    "{event_id: 'VARCHAR', event_time: 'TIMESTAMPTZ', processed_time: 'TIMESTAMPTZ', updated_time: 'BIGINT', "
    "device_id: 'BIGINT', session_id: 'BIGINT', view_id: 'BIGINT', event_type: 'VARCHAR', event_properties: 'VARCHAR', "
    "source_type: 'VARCHAR', source_properties: 'VARCHAR'}"
)

FLOOR = f"""
import sys, duckdb
database, files = sys.argv[1:]
columns = "format='newline_delimited', columns={COLUMNS}, hive_partitioning=false"
parquet = f"read_parquet('{{files}}', hive_partitioning=false)"
reader = parquet if files.endswith("parquet") else f"read_json('{{files}}', {{columns}})"
connection = duckdb.connect(database)
connection.execute(f"create table raw_events as select * from read_json('/dev/null', {{columns}})").fetchall()
connection.execute(f"insert into raw_events by name select * from {{reader}}").fetchall()
connection.close()
"""

PLAIN = """
import glob, gzip, json, sys, dlt, pyarrow.parquet as pq
database, files = sys.argv[1:]
@dlt.resource(name="raw_events")
def events():
    for path in sorted(glob.glob(files)):
        if path.endswith("parquet"):
            for batch in pq.ParquetFile(path).iter_batches():
                yield from batch.to_pylist()
        else:
            with (gzip.open if path.endswith("gz") else open)(path, "rt") as lines:
                for line in lines:
                    yield json.loads(line)
dlt.pipeline("plain", destination=dlt.destinations.duckdb(database), pipelines_dir=database + ".dlt") \\
    .run(events(), loader_file_format="parquet")
"""


@dataclass(frozen=True)
class Run:
    """One finished process."""

    seconds: float
    megabytes: float


def measure(command: list[str], cores: int, **env: str) -> Run:
    """Run a process on some cores; its time from start to end, and the peak resident memory of its largest process."""
    usable = sorted(os.sched_getaffinity(0))[:cores]
    before = os.times().elapsed
    process = subprocess.Popen(
        command,
        env={**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "false", **env},
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, usable),
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"bench: {' '.join(command[:4])} ended with {process.returncode}")
    return Run(os.times().elapsed - before, usage.ru_maxrss / 1024)


def feed(folder: Path, file_format: str, events: int) -> Path:
    """The sample feed of so many events in files of 100,000, made once."""
    out = folder / f"{file_format}-{events}"
    if not out.exists():
        half = folder / "half"
        shutil.rmtree(half, ignore_errors=True)
        hours, rest = divmod(events, 300_000)
        size = 300_000 if not rest else events
        command = ["-m", "headrace.cli", "sample", str(half), "--format", file_format]
        run([*command, "--hours", str(hours or 1), "--events-per-hour", str(size)])
        (half / "events").rename(out)
    return out


class Bench:
    """The three ways to load a feed."""

    def __init__(self, folder: Path, cores: int) -> None:
        """Everything that is written goes into the folder."""
        self.folder, self.cores = folder, cores
        self.project = folder / "project"
        self.project.mkdir(parents=True, exist_ok=True)
        for name in ("dbt_project.yml", "profiles.example.yml"):
            shutil.copy(PROJECT / name, self.project)

    def _empty(self) -> str:
        for path in self.folder.glob("bench.duckdb*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return str(self.folder / "bench.duckdb")

    def floor(self, feed: Path) -> Run:
        files = f"{feed}/*/*{feed.name.partition('-')[0]}"
        return measure([sys.executable, "-c", FLOOR, self._empty(), files], self.cores)

    def headrace(self, feed: Path) -> Run:
        command = [sys.executable, "-m", "headrace.cli", "sync", str(feed), "--no-build"]
        return measure([*command, "--project-dir", str(self.project)], self.cores, HEADRACE_DUCKDB=self._empty())

    def plain(self, feed: Path) -> Run:
        return measure([sys.executable, "-c", PLAIN, self._empty(), f"{feed}/*/*"], self.cores)


HISTORY_HOURS = 20
EVENTS_PER_HOUR = 50_000
COPY = """
insert into product.events by name
select
    event_id || '-' || $days as event_id,
    event_id || '-' || $days as _source_event_id,
    event_time - to_days($days) as event_time,
    device_id + $days as device_id,
    * exclude (event_id, _source_event_id, event_time, device_id)
from product.events
where strpos(event_id, '-') = 0
"""
"""The events of the first day once more, on an earlier one."""


class HourBench:
    """A feed with a million events behind it, warehouses that hold them once and eight times, and the next hours."""

    def __init__(self, folder: Path) -> None:
        """Make, load and build the history, unless the folder has it."""
        self.feed, self.feed_before = folder / "feed", folder / "feed-before"
        self.histories = {1: folder / "history-1.duckdb", 8: folder / "history-8.duckdb"}
        self.database = folder / "hours.duckdb"
        if not self.histories[8].exists():
            self._make_histories()

    def _make_histories(self) -> None:
        for path in (self.feed, self.feed_before):
            shutil.rmtree(path, ignore_errors=True)
        self.database.unlink(missing_ok=True)
        self._sample(HISTORY_HOURS)
        self._sync()
        shutil.copytree(self.feed, self.feed_before)
        shutil.copy(self.database, self.histories[1])
        with duckdb.connect(str(self.database)) as connection:
            for days in range(7, 0, -1):
                connection.execute(COPY, {"days": days}).fetchall()
        profile = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT / ".headrace")]
        program = "from dbt.cli.main import cli; cli()"
        run(["-c", program, "run", "--quiet", "--full-refresh", *profile], self.database)
        self.database.rename(self.histories[8])

    def _sample(self, hours: int) -> None:
        size = ["--hours", str(hours), "--events-per-hour", str(EVENTS_PER_HOUR)]
        run(["-m", "headrace.cli", "sample", str(self.feed), "--format", "parquet", *size])

    def _sync(self) -> None:
        run(["-m", "headrace.cli", "sync", str(self.feed), "--project-dir", str(PROJECT)], self.database)

    def turns(self) -> Iterator[dict[int, dict[str, float]]]:
        """Sync five hours, each into both; by size of the history, seconds of models, build and process."""
        shutil.rmtree(self.feed)
        shutil.copytree(self.feed_before, self.feed)
        copies = {size: Path(shutil.copy(path, f"{path}.copy")) for size, path in self.histories.items()}
        for hour in range(1, 6):
            self._sample(HISTORY_HOURS + hour)
            yield {size: self._hour(copy) for size, copy in copies.items()}

    def _hour(self, database: Path) -> dict[str, float]:
        database.rename(self.database)  # one name for both, or dbt would parse the project in each turn
        began = os.times().elapsed
        self._sync()
        sync = os.times().elapsed - began
        self.database.rename(database)
        results = json.loads((PROJECT / "target" / "run_results.json").read_text())["results"]
        return {"models": spent(results, "model."), "build": spent(results, ""), "sync": sync}


UNMATCHED = """
pages:
{pages}
  - {{id: page-of-help, name: Help, url: "https://shop.example/help"}}
elements:
{elements}
  - {{id: changed, name: Changed, selector: "{selector}"}}
events:
{events}
"""
DEFINITION = {
    "pages": '  - {{id: p{n}, name: P{n}, url: "https://shop.example/section-{n}/*"}}',
    "elements": '  - {{id: e{n}, name: E{n}, selector: "main .section-{n} > button.action"}}',
    "events": "  - {{id: v{n}, name: V{n}, type: custom, where: [{{property: event_name, equals: event {n}}}]}}",
}


def definitions(selector: str) -> str:
    """200 of each kind; one of the elements has this selector."""
    filled = {kind: "\n".join(line.format(n=n) for n in range(199)) for kind, line in DEFINITION.items()}
    return UNMATCHED.format(selector=selector, **filled)


class DefinitionsBench:
    """Projects with and without definitions, and a history of 8 million events that was loaded with them."""

    def __init__(self, folder: Path) -> None:
        """Make what is missing in the folder."""
        self.folder = folder / "definitions"
        self.projects = {name: self._project(name) for name in ("without", "with")}
        self.history = self.folder / "history-8.duckdb"
        if not self.history.exists():
            self._make_history()

    def _project(self, name: str) -> Path:
        project = self.folder / name
        project.mkdir(parents=True, exist_ok=True)
        for part in ("dbt_project.yml", "profiles.example.yml", "selectors.yml", "models", "macros", "seeds"):
            if not (project / part).exists():
                (project / part).symlink_to(PROJECT / part)
        if name == "with":
            (project / "definitions.yml").write_text(definitions("section.story p"))
        return project

    def _make_history(self) -> None:
        feed, database = self.folder / "feed", self.folder / "making.duckdb"
        database.unlink(missing_ok=True)
        size = ["--hours", str(HISTORY_HOURS), "--events-per-hour", str(EVENTS_PER_HOUR)]
        run(["-m", "headrace.cli", "sample", str(feed), "--format", "parquet", *size])
        run(["-m", "headrace.cli", "sync", str(feed), "--project-dir", str(self.projects["with"])], database)
        with duckdb.connect(str(database)) as connection:
            for days in range(7, 0, -1):
                connection.execute(COPY, {"days": days}).fetchall()
        self.refresh(database)
        database.rename(self.history)

    def refresh(self, database: Path) -> float:
        """Seconds of a full refresh."""
        project = str(self.projects["with"])
        profile = ["--project-dir", project, "--profiles-dir", f"{project}/.headrace"]
        began = os.times().elapsed
        run(["-c", "from dbt.cli.main import cli; cli()", "run", "--quiet", "--full-refresh", *profile], database)
        return os.times().elapsed - began

    def load(self, name: str, feed: Path, database: Path) -> float:
        """Seconds of a load without a build."""
        project = str(self.projects[name])
        env = {"HEADRACE_DUCKDB": str(database)}
        command = [sys.executable, "-m", "headrace.cli", "sync", str(feed), "--no-build", "--project-dir", project]
        return measure(command, 2, **env).seconds

    def apply(self, selector: str, database: Path) -> float:
        """Seconds of stamping anew after a change of one element."""
        project = self.projects["with"]
        (project / "definitions.yml").write_text(definitions(selector))
        command = [sys.executable, "-m", "headrace.cli", "definitions", "apply", "--since", "2026-01-01"]
        env = {"HEADRACE_DUCKDB": str(database)}
        return measure([*command, "--project-dir", str(project)], 2, **env).seconds


def bench_definitions(options: argparse.Namespace) -> None:
    """Print what definitions cost."""
    bench = DefinitionsBench(options.folder)
    first = feed(options.folder, "ndjson", 300_000)
    ratios = []
    for _ in range(options.runs):
        took = {}
        for name in bench.projects:
            database = bench.folder / f"{name}.duckdb"
            database.unlink(missing_ok=True)
            took[name] = bench.load(name, first, database)
        ratios.append(took["with"] / took["without"])
        print(
            f"300,000 events: {took['without']:.2f} s without, {took['with']:.2f} s with 200 definitions of each kind"
        )
    print(f"median: {statistics.median(ratios):.3f}")
    database = bench.folder / "making.duckdb"
    shutil.copy(bench.history, database)
    for selector in ("li.tile", "section.story p", "li.tile, section.story p"):
        print(f"one element of 8 million events, {selector}: {bench.apply(selector, database):.1f} s")
    print(f"full refresh: {bench.refresh(database):.1f} s")


def run(command: list[str], database: Path | None = None) -> None:
    """Run a Python program with a warehouse."""
    env = {**os.environ, **({"HEADRACE_DUCKDB": str(database)} if database else {})}
    subprocess.run([sys.executable, *command], env=env, check=True)


def spent(results: list[dict[str, Any]], prefix: str) -> float:
    """Seconds from the start of the first node of a kind to the end of the last one."""
    times = [
        datetime.fromisoformat(timing[end].replace("Z", "+00:00"))
        for result in results
        if result["unique_id"].startswith(prefix)
        for timing in result["timing"]
        for end in ("started_at", "completed_at")
    ]
    return (max(times) - min(times)).total_seconds()


def median(runs: list[Run]) -> Run:
    return Run(statistics.median(run.seconds for run in runs), max(run.megabytes for run in runs))


def bench_loads(options: argparse.Namespace) -> None:
    """Print what loads cost."""
    bench = Bench(options.folder, options.cores)
    table = Table("format", show_edge=False)
    for column in (
        "events",
        "floor",
        "headrace",
        "plain dlt",
        "headrace/floor",
        "headrace/plain",
        "MB floor",
        "MB headrace",
    ):
        table.add_column(column, justify="right")
    for file_format in options.formats:
        plain = options.events[0] / bench.plain(feed(options.folder, file_format, options.events[0])).seconds
        for events in options.events:
            files = feed(options.folder, file_format, events)
            turns = [(bench.floor(files), bench.headrace(files)) for _ in range(options.runs)]
            floor, ours = median([turn[0] for turn in turns]), median([turn[1] for turn in turns])
            ratio = statistics.median(turn[0].seconds / turn[1].seconds for turn in turns)
            table.add_row(
                file_format,
                f"{events:,}",
                *(f"{value:,.0f}/s" for value in (events / floor.seconds, events / ours.seconds, plain)),
                f"{ratio:.2f}",
                f"{events / ours.seconds / plain:.1f}",
                *(f"{run.megabytes:,.0f}" for run in (floor, ours)),
            )
    Console(width=140).print(table)


def bench_hours(options: argparse.Namespace) -> None:
    """Print what an hour costs, by the size of the history."""
    bench = HourBench(options.folder)
    table = Table("history", "models", "build", "sync", show_edge=False)
    turns = list(bench.turns())
    for size in bench.histories:
        table.add_row(
            f"{size} million",
            *(f"{statistics.median(turn[size][name] for turn in turns):.1f} s" for name in turns[0][size]),
        )
    ratios = ([turn[8][name] / turn[1][name] for turn in turns] for name in turns[0][8])
    table.add_row("ratio", *(f"{statistics.median(ratio):.2f}" for ratio in ratios))
    Console(width=140).print(table)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", nargs="*", default=["load", "hour", "definitions"], help="load, hour, definitions")
    arguments.add_argument("--events", type=int, nargs="+", default=[300_000, 3_000_000])
    arguments.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--cores", type=int, default=1, help="that a load may use")
    arguments.add_argument("--folder", type=Path, default=PROJECT / ".headrace" / "bench")
    options = arguments.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if "load" in options.what:
        bench_loads(options)
    if "hour" in options.what:
        bench_hours(options)
    if "definitions" in options.what:
        bench_definitions(options)


if __name__ == "__main__":
    main()
