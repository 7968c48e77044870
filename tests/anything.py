"""Each column of the event catalogue with whatever a visitor may send, and what the column must hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, NamedTuple

import yaml
from compare import same
from conftest import PROJECT, event

VALUES: list[Any] = [
    *(1e308, -1e308, 1e20, 10**20, 9 * 10**18, 9_100_000_000_000_000_000, -(2**63), 2.5, -2.5, 0, True, False),
    *("1e308", "-1e308", "1e20", "1e309", "-1e400", "9" * 400, "NaN", "nan", "-NaN", "Infinity", "-Infinity", "inf"),
    *("", " ", "{}", "true", "No", "2.5", "soon", "é" * 5_000, {}, [], {"NaN": "NaN"}, [1e308], None),
    *("0001-01-01", "9999-12-31", "0001-01-01T00:00:00", "9999-12-31T23:59:59.999999Z"),
    *("0001-01-01T00:00:00+05:30", "9999-12-31T23:59:59-05:00", "0000-01-01T00:00:00Z", "2026-02-30T00:00:00Z"),
    *("2026-03-02T21:00:00", "2026-03-02 21:00", "2026-03-02T21:00:00.5-0300", "now", "infinity", "1772485200000"),
]

EVENT, SOURCE = "event_properties", "source_properties"
OBJECTS = ("target", "request_url", "url", "initial_referrer", "location", "user_agent", "device", "app")
VITALS = {
    "load": "largest_paint_time_millis",
    "first_input_delay": "first_input_delay_millis",
    "interaction_to_next_paint": "interaction_to_next_paint_millis",
    "cumulative_layout_shift": "cumulative_layout_shift",
}
START = datetime(2026, 3, 2, 20, tzinfo=UTC)
"""In Asia/Kolkata it is the third of March."""


class Case(NamedTuple):
    """One event with one value, and the column that it is for (None: only the build is asked)."""

    event_id: str
    column: str | None
    data_type: str
    value: Any
    event_type: str


class Column(NamedTuple):
    """Where the value of a column lies in an event."""

    name: str | None
    data_type: str
    event_type: str
    properties: str
    path: str


def columns() -> list[Column]:
    """Those of the catalogue, by the event types that have them; and places that no column stands for."""
    variables = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]
    catalogue = variables["event_catalogue"]
    keys = {column["name"] for column in catalogue["identifiers"]}
    found = [
        Column(column["name"], column["data_type"], event_type, properties, path_of(column))
        for event_type, properties in [(one, EVENT) for one in variables["event_types"]] + [(SOURCE, SOURCE)]
        for column in catalogue.get(event_type, [])
        if column["name"] not in keys
    ]
    found = [column._replace(event_type="click") if column.event_type == SOURCE else column for column in found]
    found += [
        Column("event_definition_id", "varchar", "click", EVENT, "event_definition_id"),
        Column("element_definition_id", "varchar", "click", EVENT, "target.element_definition_id"),
    ]
    paths = {
        ("identify", EVENT): ["user_id", "user_email", "user_display_name", "user_properties"],
        ("click", EVENT): ["target", "target.masked", "target.element_properties"],
        ("page_properties", EVENT): ["page_properties"],
        ("navigate", SOURCE): ["url", "url.host", "location", "user_agent", "page_properties"],
    }
    return found + [Column(None, "json", *where, path) for where, those in paths.items() for path in those]


def cases() -> Iterator[tuple[Case, dict[str, Any]]]:
    """Each value in each column, in an event of its own."""
    for number, column in enumerate(columns()):
        for place, value in enumerate(VALUES):
            case = Case(f"{number}.{place}", column.name, column.data_type, value, column.event_type)
            properties = {EVENT: "{}", SOURCE: "{}", column.properties: nested({column.path: value})}
            time = START + timedelta(seconds=number * 10 + place % 10)
            yield case, event(case.event_id, event_type=column.event_type, event_time=time.isoformat(), **properties)


def full_events() -> Iterator[tuple[Any, dict[str, Any]]]:
    """Each value, in all columns of one event."""
    paths = {
        of: {column.path: None for column in columns() if column.name and column.properties == of}
        for of in (EVENT, SOURCE)
    }
    for place, value in enumerate(VALUES):
        properties = {of: nested(dict.fromkeys(paths[of], value)) for of in paths}
        time = START + timedelta(seconds=place)
        yield value, event(f"full {place}", event_time=time.isoformat(), **properties)


def path_of(column: dict[str, Any]) -> str:
    if path := column.get("config", {}).get("meta", {}).get("path"):
        return str(path)
    name = column["name"]
    found = next((one for one in OBJECTS if name.startswith(f"{one}_")), None)
    return f"{found}.{name[len(found) + 1 :]}" if found else str(name)


def nested(values: dict[str, Any]) -> str:
    """JSON with a value at each of the paths."""
    found: dict[str, Any] = {}
    for path, value in values.items():
        *folders, name = path.split(".")
        place = found
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value
    return json.dumps(found, ensure_ascii=False)


def right(value: Any, data_type: str) -> Any:
    """What a column of a type must hold of a value: itself, or None."""
    if data_type == "json":
        return value
    if value is None or isinstance(value, (dict, list)):
        return None
    text = json.dumps(value) if not isinstance(value, str) else value
    if data_type == "varchar":
        return text
    if data_type == "boolean":
        return {"true": True, "no": False, "false": False, "0": False}.get(text.lower())
    if data_type == "timestamptz":
        return time_of(text)
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    if not number.is_finite():
        return None
    if data_type == "double":
        return float(text) if math.isfinite(float(text)) else None
    assert data_type == "bigint", data_type
    whole = number.quantize(1, ROUND_HALF_UP) if abs(number) < 10**20 else number
    return int(whole) if -(2**63) <= whole < 2**63 else None


def time_of(text: str) -> datetime | None:
    if not re.match(r"\d{4}-\d\d-\d\d", text):
        return None
    try:
        time = datetime.fromisoformat(re.sub(r"\.5-0300$", ".500000-03:00", text.replace("Z", "+00:00")))
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def is_right(case: Case, found: Any) -> bool:
    """Whether a column holds what it must; a number's text may be spelled in another way."""
    expected = right(case.value, case.data_type)
    if expected is None or found is None:
        return found is expected
    if case.data_type == "json":
        return same(found, expected) or (isinstance(found, str) and same(json.loads(found), expected))
    if case.data_type == "varchar" and not isinstance(case.value, (str, bool)):
        return float(found) == case.value
    if case.data_type == "timestamptz":
        return bool((found if found.tzinfo else found.replace(tzinfo=UTC)) == expected)
    return bool(found == expected) and isinstance(found, bool) == isinstance(expected, bool)


def p75(vital: str) -> float:
    """The 75th percentile of the finite values of a vital, between two of them where it lies there."""
    measures = sorted(
        Fraction(right(case.value, "double"))
        for case, _ in cases()
        if case.column == vital and right(case.value, "double") is not None
    )
    place = Fraction(3, 4) * (len(measures) - 1)
    below = int(place)
    return float(measures[below] + (place - below) * (measures[below + 1] - measures[below]))
