"""The warehouses that the loader writes to: a module for each holds all that is special to it, its grants beside it.

A new one is a module with a subclass of Warehouse (see base.py), a template of grants, a line in WAREHOUSES, and an
extra of its packages in pyproject.toml.
"""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..target import Target

if TYPE_CHECKING:
    from .base import Warehouse

# A module is imported when it is asked for: no driver of another warehouse is needed, and naming them is quick.

WAREHOUSES = {
    "duckdb": "DuckDB",
    "bigquery": "BigQuery",
    "snowflake": "Snowflake",
    "redshift": "Redshift",
    "postgres": "Postgres",
}
"""The class for each type of dbt target, in the module of that name."""


def warehouse_of(target: Target) -> Warehouse:
    """The warehouse of a target.

    Raises:
        UsageError: the loader does not write to such a one, or the packages for it are not installed.
    """
    if target.type not in WAREHOUSES:
        raise UsageError(
            f"target {target.name!r} is of type {target.type!r}; the loader writes to: {', '.join(WAREHOUSES)}"
        )
    try:
        return class_of(target.type)(target)
    except ImportError as error:
        raise not_installed(target, error) from None


def class_of(kind: str) -> type[Warehouse]:
    """The class for a type of target."""
    found: type[Warehouse] = getattr(import_module(f".{kind}", __name__), WAREHOUSES[kind])
    return found


def grants_of(kind: str) -> str | None:
    """The template of the grants that a type of warehouse needs; None where there are no roles."""
    template = files(__name__).joinpath(f"{kind}.sql")
    return template.read_text(encoding="utf-8") if template.is_file() else None


def not_installed(target: Target, said: object) -> UsageError:
    """That the packages for a target have to be installed."""
    return UsageError(f"{target.label}: {said}: pip install 'headrace[{target.type}]'")
