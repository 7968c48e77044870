"""Conditions on the properties of an event, over the values that its JSON holds.

A value is compared as the type that it has: the text "5" is not the number 5, and true is not 1; but 5 is 5.0, and
whole numbers are exact however long. Null is the same as absent. `greater` and `less` are for numbers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import re2

from .model import Condition

Test = Callable[[Any], bool]
"""Whether a value is as a condition wants it. None is what is absent."""

SOURCE = "source_properties."
"""What a path of a source property begins with."""

MAX_STEPS = 20

MAX_REGEXP_BYTES = 2 * 1024**2
"""What a regular expression may take of memory, of which there may be thousands."""


def steps(path: str) -> tuple[str, tuple[str, ...]]:
    """The column that a path leads into, and the keys on the way.

    Raises:
        ValueError: it is no path.
    """
    column = "source_properties" if path.startswith(SOURCE) else "event_properties"
    keys = tuple(path.removeprefix(SOURCE).split("."))
    if not all(keys):
        raise ValueError("between two dots, and at both ends, there has to be a name")
    if len(keys) > MAX_STEPS:
        raise ValueError(f"it is deeper than {MAX_STEPS} levels")
    return column, keys


def walk(value: Any, keys: Iterable[str]) -> Any:
    """What keys lead to; None where they lead to nothing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def compile_regexp(text: str) -> Any:
    """A regular expression that takes time in proportion to the text, whatever it is.

    Raises:
        ValueError: it is none, or one that would need backtracking.
    """
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = MAX_REGEXP_BYTES
    try:
        return re2.compile(text.encode(), options)
    except re2.error as error:
        words = error.args[0] if error.args else error
        words = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
        raise ValueError(f"{words} (regular expressions are RE2's: without look-around and back references)") from None


def kind_of(value: Any) -> str:
    """What type a value has to a condition."""
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "list" if isinstance(value, list) else "object"


def key_of(value: Any) -> tuple[str, Any] | None:
    """What values are equal by: the same for 5 and 5.0, another for "5". None for what equals nothing."""
    kind = kind_of(value)
    return (kind, value) if kind in ("boolean", "number", "text") else None


def is_in(keys: frozenset[tuple[str, Any]]) -> Test:
    """Whether a value is one of those with these keys."""
    return lambda value: key_of(value) in keys


def keys_of(condition: Condition) -> frozenset[tuple[str, Any]] | None:
    """The keys of the values that alone fulfil a condition; None where it can't be said by these."""
    if condition.operator not in ("equals", "in"):
        return None
    values = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    return frozenset(key for value in values if (key := key_of(value)))


def compiled(condition: Condition) -> Test:
    """The test of a condition."""
    wanted: Any = condition.value
    match condition.operator:
        case "equals" | "in":
            return is_in(keys_of(condition) or frozenset())
        case "contains":
            return _contains(wanted)
        case "matches":
            search = compile_regexp(wanted).search
            return lambda value: isinstance(value, str) and search(value.encode(errors="replace")) is not None
        case "exists":
            return lambda value: (value is not None) is wanted
        case "greater":
            return lambda value: kind_of(value) == "number" and value > wanted
        case "less":
            return lambda value: kind_of(value) == "number" and value < wanted
    raise ValueError(f"{condition.operator} is no operator")


def _contains(wanted: Any) -> Test:
    key = key_of(wanted)

    def contains(value: Any) -> bool:
        if isinstance(value, list):
            return any(key_of(one) == key for one in value)
        return isinstance(value, str) and isinstance(wanted, str) and wanted in value

    return contains
