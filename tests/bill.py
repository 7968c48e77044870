"""What an hour costs by the services' published rules: `make bench` runs this after the rest.

An hour of a small feed is built on each stand-in, and the statements that dbt sent are read from its log. Statements
and commits are counted. For BigQuery each statement is taken apart: which columns of which table it reads, on which
days, and what of a table it changes. A query is billed for the columns that it reads, on the days that its literals
leave; an update, a delete or a merge that updates also for all columns of each day of its target that it scans; an
insert for its query alone (cloud.google.com/bigquery/docs/data-manipulation-language, "on-demand query size
calculation"). What a day of a table weighs is taken from the small feed, so many times larger as EVENTS_PER_HOUR is
than its hour.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import sqlglot
import standins
import yaml
from rich.console import Console
from rich.table import Table
from sqlglot import exp
from sqlglot.errors import OptimizeError
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope

PROJECT = Path(__file__).resolve().parents[1]
HOURS = 8 * 24
"""Of the small feed."""

LAST_HOURS = 6
"""These come in one load, which stands for an hour of many events, some of them late."""

EVENTS_PER_SMALL_HOUR = 100
EVENTS_PER_HOUR = 50_000
DAYS = (8, 30, 365)
FIXED_BYTES = {"BOOLEAN": 1, "BOOL": 1}
"""Of a value that is no text: 8, but for these."""

OF_AN_HOUR = {"raw_events", "event_batch", "delivered_events", "touched"}
"""Tables that hold the events of an hour, not of a history."""

MINIMUM_BYTES = 10 * 2**20
"""Billed for each table that a query reads."""

SERVERS = {"bigquery": standins.bigquery, "snowflake": standins.snowflake, "redshift": standins.redshift}


@dataclass
class Relation:
    """A table of the small feed."""

    name: str
    rows: int
    types: dict[str, str]
    widths: dict[str, float]
    """Mean bytes of a row by column, as BigQuery counts them."""
    day: str | None
    """The column by whose day it is partitioned."""

    def bytes_of(self, column: str, days: float) -> float:
        """What so many days of a column weigh."""
        if self.name in OF_AN_HOUR:
            return self.widths[column] * self.rows * EVENTS_PER_HOUR / (LAST_HOURS * EVENTS_PER_SMALL_HOUR)
        has_events = self.name == "events" or self.name.startswith("int_")
        rows_per_hour = self.rows / HOURS * (EVENTS_PER_HOUR / EVENTS_PER_SMALL_HOUR if has_events else 1)
        return self.widths[column] * rows_per_hour * 24 * days


@dataclass(frozen=True)
class Scan:
    """What a statement reads of a table."""

    table: str
    columns: frozenset[str]
    days: frozenset[date] | None
    """None: all there are."""


def statements(log: str) -> list[tuple[str, str]]:
    """Nodes and SQL of all that dbt sent, from its debug log."""
    found = []
    for entry in re.split(r"\n(?=\S*\d\d:\d\d:\d\d\.\d+ )", log):
        said = re.search(r"On ([\w.]+): (.*)", entry, re.S)
        if said and not said[2].startswith(("Close", "ROLLBACK")):
            found.append((said[1], re.sub(r"/\*.*?\*/", "", said[2], flags=re.S).strip()))
    return found


def scans(statement: exp.Expression, relations: dict[str, Relation]) -> Iterator[Scan]:
    """What a statement reads, and what it scans of the table that it changes."""
    target = statement.this if isinstance(statement, (exp.Merge, exp.Delete, exp.Update)) else None
    if isinstance(target, exp.Table) and name(target) in relations:
        relation = relations[name(target)]
        conditions = [statement.args.get("on"), statement.args.get("where")]
        yield Scan(name(target), frozenset(relation.types), days_of(conditions, relation.day, target.alias_or_name))
    for query in queries(statement):
        schema: dict[str, Any] = {}
        for table, relation in relations.items():
            dataset, _, short = table.partition(".")
            schema.setdefault(dataset, {})[short] = relation.types
        for table in query.find_all(exp.Table):
            table.set("catalog", None)
        query = qualify(
            query,
            dialect="bigquery",
            schema=schema,
            validate_qualify_columns=False,
            quote_identifiers=False,
        )
        with suppress(OptimizeError):  # A star of a table made in between, which is read whole.
            query = pushdown_projections(query)
        for scope in traverse_scope(query):
            conditions = [scope.expression.args.get("where")]
            conditions += [join.args.get("on") for join in scope.expression.args.get("joins") or []]
            for alias, source in scope.sources.items():
                if isinstance(source, exp.Table) and name(source) in relations:
                    used = {c.name for c in scope.columns if c.table == alias}
                    days = days_of(conditions, relations[name(source)].day, alias)
                    yield Scan(name(source), frozenset(used), days)


def name(table: exp.Table) -> str:
    return f"{table.db}.{table.name}".lower()


def queries(statement: exp.Expression) -> Iterator[exp.Expression]:
    """The outermost queries of a statement."""
    if isinstance(statement, exp.Query):
        yield statement.copy()
        return
    for child in statement.iter_expressions():
        found = child.find(exp.Select, exp.SetOperation) if not isinstance(child, exp.Query) else child
        if isinstance(found, exp.Subquery):
            found = found.this
        if found is not None:
            yield found.copy()


def days_of(conditions: list[Any], column: str | None, alias: str) -> frozenset[date] | None:
    """The days that literals leave of a column."""
    if column is None:
        return None
    days: set[date] = set()
    is_bounded = False
    for condition in filter(None, conditions):
        for bound in condition.find_all(exp.Between, exp.LT, exp.In):
            if not (isinstance(bound.this, exp.Column) and bound.this.name.lower() == column):
                continue
            if bound.this.table and bound.this.table.lower() != alias.lower():
                continue
            written = re.findall(r"'(\d{4}-\d\d-\d\d)", bound.sql("bigquery"))
            is_bounded = is_bounded or bool(written)
            if isinstance(bound, exp.Between) and len(written) == 2:
                first, last = map(date.fromisoformat, written)
                days |= {first + timedelta(days=number) for number in range((last - first).days + 1)}
            elif isinstance(bound, exp.In):
                days |= set(map(date.fromisoformat, written))
    return frozenset(days) if is_bounded else None


def reads_nothing(statement: exp.Expression) -> bool:
    """Whether a statement makes a view, or asks a query for its columns alone."""
    condition = statement.args.get("where")
    is_view = isinstance(statement, exp.Create) and statement.args.get("kind") == "VIEW"
    return is_view or (condition is not None and exp.false() in condition.this.flatten())


def billed(sql: str, relations: dict[str, Relation], history: int) -> float:
    """Bytes of one statement (or script) at so many days of history."""
    total = 0.0
    for statement in sqlglot.parse(sql, read="bigquery"):
        if statement is None or reads_nothing(statement):
            continue
        columns: dict[str, dict[str, float]] = defaultdict(dict)
        for scan in scans(statement, relations):
            for column in scan.columns & relations[scan.table].widths.keys():
                days = history if scan.days is None else len(scan.days)
                columns[scan.table][column] = max(columns[scan.table].get(column, 0), days)
        for table, days_by_column in columns.items():
            size = sum(relations[table].bytes_of(column, days) for column, days in days_by_column.items())
            total += max(size, MINIMUM_BYTES)
    return total


def bigquery_relations(output: dict[str, Any], log: str) -> dict[str, Relation]:
    """Every table of the stand-in, with what it is partitioned by (which dbt's first build said)."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    created = re.compile(
        r"create or replace table `[^`]+`\.`(\w+)`\.`(\w+)`.*?"
        r"partition by (?:timestamp_trunc\()?(\w+)(?:, day\))?\s+cluster",
        re.S | re.I,
    )
    partitioned = {
        f"{found[1]}.{found[2]}".lower(): found[3].lower()
        for _, sql in statements(log)
        if (found := created.search(sql))
    }
    options = {"api_endpoint": output["api_endpoint"]}
    relations = {}
    with closing(bigquery.Client("test-project", AnonymousCredentials(), client_options=options)) as client:  # type: ignore[no-untyped-call]
        for item in client.list_tables("product"):
            if item.table_type == "VIEW":
                continue
            table = client.get_table(item.reference)
            types = {column.name.lower(): column.field_type for column in table.schema}
            sizes = ", ".join(f"sum({width(column, kind)})" for column, kind in types.items())
            (row,) = client.query(f"select count(*), {sizes} from `product`.`{item.table_id}`").result()
            widths = {column: float(size or 0) / max(row[0], 1) for column, size in zip(types, row[1:], strict=True)}
            key = f"product.{item.table_id}".lower()
            relations[key] = Relation(item.table_id.lower(), row[0], types, widths, partitioned.get(key))
    return relations


def width(column: str, kind: str) -> str:
    """Bytes of a value, as BigQuery counts them: none for a null."""
    if kind == "STRING":
        return f"coalesce(2 + byte_length({column}), 0)"
    if kind == "JSON":
        return f"coalesce(byte_length(to_json_string({column})), 0)"
    return f"if({column} is null, 0, {FIXED_BYTES.get(kind, 8)})"


def hour(engine: str, folder: Path, keep_days: tuple[int, ...] = DAYS) -> dict[str, Any]:
    """Build the small feed on a stand-in, hour by hour at its end; what its last hour sent, and what that is billed."""
    with SERVERS[engine]() as standin:
        output = {**standin.output, "threads": 2, "dataset" if engine == "bigquery" else "schema": "product"}
        profiles, project = folder / "profiles", folder / "project"
        profiles.mkdir()
        project.mkdir()
        profile = {"headrace": {"target": "warehouse", "outputs": {"warehouse": output}}}
        (profiles / "profiles.yml").write_text(yaml.safe_dump(profile))
        for path in ("dbt_project.yml", "selectors.yml", "models", "macros", "seeds", "profiles.example.yml"):
            (project / path).symlink_to(PROJECT / path)
        env = {**os.environ, **standin.env, "DBT_PROFILES_DIR": str(profiles), "DBT_LOG_LEVEL_FILE": "debug"}
        env |= {"HOME": str(folder), "PYTHONPATH": str(PROJECT / "loader")}

        def sync(hours: int, *options: str) -> str:
            for path in project.rglob("dbt.log"):
                path.unlink()
            size = ["--hours", str(hours), "--events-per-hour", str(EVENTS_PER_SMALL_HOUR)]
            for command in (["sample", str(folder / "feed"), *size], ["sync", str(folder / "feed")]):
                arguments = [sys.executable, "-m", "headrace.cli", *command]
                arguments += ["--project-dir", str(project), *options] if command[0] == "sync" else []
                subprocess.run(arguments, env=env, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            return "\n".join(path.read_text() for path in project.rglob("dbt.log"))

        first = sync(HOURS - LAST_HOURS)
        sync(HOURS, "--no-build")
        queue = bigquery_relations(output, first) if engine == "bigquery" else {}
        sent = statements(sync(HOURS))
        found: dict[str, Any] = {"statements": len(sent)}
        found["commits"] = sum(sql.lower().startswith("commit") for _, sql in sent)
        if engine == "bigquery":
            relations = {**bigquery_relations(output, first), "product.raw_events": queue["product.raw_events"]}
            found["bytes"] = {
                days: [(node, billed(sql, relations, days)) for node, sql in sent if " " in sql] for days in keep_days
            }
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("engines", nargs="*", default=list(SERVERS), help="bigquery, snowflake, redshift")
    table = Table("an hour on", "statements", "commits", *(f"GB at {days} days" for days in DAYS), show_edge=False)
    details = Table("BigQuery", *(f"GB at {days} days" for days in DAYS), show_edge=False)
    for engine in arguments.parse_args().engines:
        folder = Path(tempfile.mkdtemp(prefix="headrace-bill-"))
        found = hour(engine, folder)
        shutil.rmtree(folder)
        bills = found.get("bytes", {})
        totals = [f"{sum(size for _, size in bills[days]) / 1e9:.1f}" for days in bills]
        table.add_row(engine, str(found["statements"]), str(found["commits"]), *totals)
        nodes: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(DAYS))
        for number, days in enumerate(bills):
            for node, size in bills[days]:
                nodes[node][number] += size
        for node, sizes in sorted(nodes.items(), key=lambda item: -item[1][0])[:20]:
            details.add_row(node, *(f"{size / 1e9:.2f}" for size in sizes))
    for printed in (table, details) if details.row_count else (table,):
        Console(width=140).print(printed)


if __name__ == "__main__":
    main()
