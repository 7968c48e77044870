"""A plugin of dbt-duckdb: what a store holds as `lake.events`, for the models in managed mode.

The SQL is that of `headrace lake ddl --engine duckdb`. As DuckDB's extensions may not be at hand, a file system of fsspec
reads what is not on disk, and the tables' own libraries read Delta and Iceberg.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin

from ..feed import Feed
from .ddl import TABLES, Address, DuckDB

EVENTS = TABLES["events"]


class Lake(DuckDB):
    """DuckDB, given by Python what it can't open itself."""

    def __init__(self, address: str, format: Any) -> None:
        super().__init__(Address.of(address), format)
        self.typed = address
        self.given: dict[str, Any] = {}
        """What each connection must know, by the name that it has there. Opened once, so that a build sees one version."""
        if format != "parquet":
            self.given["stored_events_of_lake"] = (_delta if format == "delta" else _iceberg)(address)

    def delta(self, table: Any) -> str:
        """By the library of Delta."""
        return self.reading(table, next(iter(self.given)))

    iceberg = delta

    def ready(self, connection: Any) -> None:
        """Make the views that lead to the store; only the events', as managed mode reads nothing else."""
        if self.address.store and self.format == "parquet":
            connection.register_filesystem(Feed.at(self.typed).store)
        self.give(connection)
        for statement in self.statements([EVENTS]):
            connection.execute(statement).fetchall()

    def give(self, connection: Any) -> None:
        """Have a connection know what the views read."""
        for name, found in self.given.items():
            connection.register(name, found)


def _delta(address: str) -> Any:
    from deltalake import DeltaTable

    from .delta import storage_options
    from .tables import Place

    place = Place.at(address)
    return DeltaTable(place.path("events"), storage_options=storage_options(place)).to_pyarrow_dataset()


def _iceberg(address: str) -> Any:
    raise NotImplementedError


class Plugin(BasePlugin):
    """What the profile names: `module: headrace.stores.plugin`, with `address` and `format`."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Open the store."""
        self._lake = Lake(plugin_config["address"], plugin_config.get("format", "parquet"))

    def configure_connection(self, conn: Any) -> None:
        """Make the views."""
        self._lake.ready(conn)

    def configure_cursor(self, cursor: Any) -> None:
        """A cursor is a connection of its own."""
        self._lake.give(cursor)
