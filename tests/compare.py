"""The published relations of a warehouse as plain values, so that two warehouses can be compared row by row.

A warehouse is asked through `query`, which takes SQL and returns the names of the columns and the rows, as its own
client gives them. What engines spell differently is put into one form: times in UTC, JSON parsed, numbers by value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

Query = Callable[[str], tuple[list[str], Iterable[tuple[Any, ...]]]]
Rows = list[dict[str, Any]]

OF_THE_RUN = {
    *("updated_time", "_invocation_id", "_load_id", "_first_load_id", "_changed_load_id"),
    *("properties_updated_time", "identified_users.last_updated_time", "valid_from", "valid_until"),
}
"""Columns that tell when or by which run a row was written."""


def relations(manifest: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """The published relations of a compiled project: name → where it is, and its columns' types."""
    nodes = json.loads(manifest.read_text())["nodes"].values()
    return {
        f"{node['schema']}.{node['alias']}": (
            ".".join(filter(None, (node["database"], node["schema"], node["alias"]))),
            {name: column["data_type"] for name, column in node["columns"].items()},
        )
        for node in nodes
        if node["resource_type"] == "model" and node["config"]["materialized"] in ("view", "incremental")
    }


def published(query: Query, manifest: Path) -> dict[str, Rows]:
    """All rows of all published relations, in one form and one order."""
    tables = {}
    for name, (relation, types) in relations(manifest).items():
        columns, rows = query(f"select * from {relation}")
        names = [column.lower() for column in columns]
        tables[name] = sorted(
            (
                {
                    key: plain(value, types[key])
                    for key, value in zip(names, row, strict=True)
                    if not OF_THE_RUN & {key, f"{name.partition('.')[2]}.{key}"}
                }
                for row in rows
            ),
            key=lambda row: json.dumps(row, sort_keys=True, default=str),
        )
    return tables


def plain(value: Any, data_type: str) -> Any:
    """A value in the one form of its type, which is DuckDB's name for it."""
    if value is None:
        return None
    if data_type == "json":
        return json.loads(value) if isinstance(value, str) else value
    if data_type == "timestamptz":
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if data_type == "date":
        return value if isinstance(value, date) else date.fromisoformat(str(value))
    if data_type == "bigint":
        return int(value)
    if data_type == "double":
        return float(f"{float(value):.12g}")
    return float(value) if isinstance(value, Decimal) else value


def differences(one: dict[str, Rows], other: dict[str, Rows]) -> list[str]:
    """What differs, in words: relations that only one has, and the first rows of each that are not the same."""
    found = [f"only one of them has {name}" for name in sorted(one.keys() ^ other.keys())]
    for name in sorted(one.keys() & other.keys()):
        if len(one[name]) != len(other[name]):
            found.append(f"{name}: {len(one[name])} rows, and {len(other[name])}")
        for row, opposite in zip(one[name], other[name], strict=False):
            columns = {
                key: (row.get(key), opposite.get(key))
                for key in row.keys() | opposite.keys()
                if not same(row.get(key), opposite.get(key))
            }
            if columns:
                found.append(f"{name}: {columns}")
                break
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, numbers by their value."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) or isinstance(other, float):
        numbers = (int, float)
        return isinstance(one, numbers) and isinstance(other, numbers) and math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)
