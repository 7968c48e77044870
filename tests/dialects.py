"""What can be known of a run's SQL without the warehouse: from the folder `target` that dbt leaves behind."""

from __future__ import annotations

import csv
import json
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import sqlglot
from sqlfluff.core import FluffConfig, Linter
from sqlglot import exp

BIGQUERY = {
    "bigint": "INT64",
    "boolean": "BOOL",
    "date": "DATE",
    "double": "DOUBLE",
    "json": "JSON",
    "timestamptz": "TIMESTAMP",
}
"""The project's names of types → GoogleSQL's; all else is text."""

Rows = list[dict[str, Any]]

BOUND = (exp.Between, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.EQ)


def nodes(target: Path) -> Iterator[dict[str, Any]]:
    """The models and tests of the last run, in the order of its results."""
    manifest = json.loads((target / "manifest.json").read_text())
    for result in json.loads((target / "run_results.json").read_text())["results"]:
        node = manifest["nodes"].get(result["unique_id"])
        if node and node["resource_type"] in ("model", "test") and result["compiled_code"]:
            yield {**node, "compiled_code": result["compiled_code"]}


def executed(target: Path) -> Iterator[tuple[str, str]]:
    """Names and SQL of what the last run sent to the warehouse for models and tests: select, create, merge."""
    for node in nodes(target):
        path = target / "run" / node["package_name"] / node["original_file_path"]
        if node["resource_type"] == "test":
            yield node["name"], node["compiled_code"]
        elif path.exists():
            yield node["name"], path.read_text()


def unparsable(target: Path, dialect: str) -> list[str]:
    """The queries that are not in the grammar of a dialect of sqlfluff."""
    linter = Linter(config=FluffConfig(overrides={"dialect": dialect, "large_file_skip_byte_limit": 0}))
    found = []
    for node in nodes(target):
        errors = linter.parse_string(node["compiled_code"]).violations
        found += [f"{node['name']}: {error.desc()}" for error in errors]
    return found


def refused_by_bigquery(target: Path) -> list[str]:
    """The queries that Google's analyzer refuses, in types, too; relations are as the project declares them."""
    from standins.bigquery_analyzer import Analyzer, ServerError

    manifest = json.loads((target / "manifest.json").read_text())
    analyzer = Analyzer()
    for node in [*manifest["nodes"].values(), *manifest["sources"].values()]:
        columns = {name: BIGQUERY.get(column["data_type"], "STRING") for name, column in node["columns"].items()}
        analyzer.add_table(node["relation_name"] or node["name"], columns)
    found = []
    for node in nodes(target):
        try:
            analyzer.analyze(node["compiled_code"])
        except ServerError as error:
            found.append(f"{node['name']}: {error}")
    return found


def evaluated_by_bigquery(
    target: Path, sources: dict[str, Rows], wanted: Container[str]
) -> tuple[dict[str, Rows], list[str]]:
    """What Google's evaluator makes of models of the last run from these rows of its sources, and what it refuses."""
    from standins.bigquery_analyzer import Analyzer, ServerError

    manifest = json.loads((target / "manifest.json").read_text())
    relations = {node["unique_id"]: node for node in [*manifest["sources"].values(), *manifest["nodes"].values()]}
    needed = [name for name, node in manifest["nodes"].items() if node["name"] in wanted]
    for name in needed:  # it grows: the walk up the graph
        needed += [parent for parent in relations[name].get("depends_on", {}).get("nodes", []) if parent not in needed]
    analyzer, found, refused = Analyzer(), {}, []
    for node in relations.values():
        columns = {name: BIGQUERY.get(column["data_type"], "STRING") for name, column in node["columns"].items()}
        rows = sources.get(node["name"], [])
        if node["resource_type"] == "seed":
            with (target.parent / node["original_file_path"]).open() as file:
                rows = [{name: value or None for name, value in row.items()} for row in csv.DictReader(file)]
        analyzer.add_rows(flat(node["unique_id"]), columns, rows)
    for node in nodes(target):
        if node["unique_id"] not in needed:
            continue
        sql = node["compiled_code"]
        for relation in relations.values():
            sql = (
                sql.replace(relation["relation_name"], flat(relation["unique_id"]))
                if relation["relation_name"]
                else sql
            )
        try:
            found[node["name"]] = analyzer.evaluate(sql, keep_as=flat(node["unique_id"]))
        except ServerError as error:
            refused.append(f"{node['name']}: {error}")
    return found, refused


def flat(unique_id: str) -> str:
    """A name without datasets: the evaluator reads no tables in them."""
    return f"{unique_id.replace('.', '_')}_"


def scans(sql: str, table: str, dialect: str) -> Iterator[exp.Table]:
    """Where a statement reads a table, or looks for rows of it to merge."""
    for statement in sqlglot.parse(sql, read=dialect):
        if statement is None:
            continue
        for scan in statement.find_all(exp.Table):
            if f"{scan.db}.{scan.name}".lower() == table and not isinstance(scan.parent, (exp.Create, exp.Schema)):
                yield scan


def has_literal_days(scan: exp.Table, column: str = "event_time") -> bool:
    """Whether the statement bounds a column of the scanned table by literals, where it reads the table."""
    statement = scan.find_ancestor(exp.Select, exp.Merge, exp.Delete, exp.Update)
    assert statement is not None
    conditions = [statement.args.get("where"), statement.args.get("on")]
    conditions += [join.args.get("on") for join in statement.args.get("joins") or []]
    return any(
        bound.this.name.lower() == column
        and bound.this.table.lower() in ("", scan.alias_or_name.lower())
        and not any(bound.find_all(exp.Subquery))
        for condition in conditions
        if condition is not None
        for bound in condition.find_all(*BOUND)
        if isinstance(bound.this, exp.Column)
        and not any(isinstance(part, exp.Column) for part in bound.iter_expressions() if part is not bound.this)
    )


def unbounded_scans(target: Path, table: str, dialect: str) -> list[str]:
    """The statements of the last run that read a table without literal bounds of days; views are read later."""
    manifest = json.loads((target / "manifest.json").read_text())
    views = {n["name"] for n in manifest["nodes"].values() if n["config"].get("materialized") == "view"}
    return [
        name
        for name, sql in executed(target)
        if name not in views
        for scan in scans(sql, table, dialect)
        if not has_literal_days(scan)
    ]
