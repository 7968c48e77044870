"""A plugin of dbt-duckdb: what a store holds as `lake.events`, for the models in managed mode.

The views are those of `headrace lake ddl --engine duckdb`. DuckDB's extensions need not be there: fsspec's file system
reads what is not on disk, and the tables' own libraries read Delta and Iceberg.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
import pyarrow.dataset
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from ..errors import HeadraceError, UsageError
from ..feed import Feed, shown
from . import Format
from .ddl import TABLES, Address, DuckDB, Table
from .tables import SCHEMAS, Place, asking_library

GIVEN = "stored_events_of_lake"
"""What a connection knows the events of a Delta or Iceberg table by."""


class File:
    """A file of a store that threads read at the same time: each of them has a place of its own in it.

    DuckDB shares one file among its threads, and has each of them seek before it reads.
    """

    def __init__(self, store: Any, path: str) -> None:
        self._store, self._path = store, path
        self._size: int = store.info(path)["size"]
        self._place = threading.local()

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int) -> int:
        """Have this thread read from there on."""
        self._place.offset = offset
        return offset

    def tell(self) -> int:
        """Where this thread reads."""
        return getattr(self._place, "offset", 0)

    def read(self, count: int) -> bytes:
        """The next bytes, by one request."""
        begin = self.tell()
        end = min(begin + count, self._size)
        found: bytes = self._store.cat_file(self._path, start=begin, end=end) if begin < end else b""
        self._place.offset = begin + len(found)
        return found

    def close(self) -> None:
        """Nothing is open."""


def by_ranges(store: Any) -> Any:
    """The same store, opening each file as a `File`."""

    class Store(type(store)):  # type: ignore[misc]
        cachable = False

        def open(self, path: str, *_: Any, **__: Any) -> File:
            return File(self, path)

    return Store(*store.storage_args, **store.storage_options)


class Lake(DuckDB):
    """DuckDB, given by Python what it can't open itself."""

    def __init__(self, address: str, fmt: Format) -> None:
        super().__init__(Address.of(address), fmt)
        self.files_of = by_ranges(Feed.at(address).store) if fmt == "parquet" and self.address.store else None
        self.rows = None if fmt == "parquet" else _events(address, fmt)
        """Opened once, so that a build sees one version of the table."""

    def delta(self, table: Table) -> str:
        """By the library of Delta."""
        return self.reading(table, GIVEN)

    def iceberg(self, table: Table) -> str:
        """By the library of Iceberg."""
        return self.reading(table, GIVEN)

    def ready(self, connection: Any) -> None:
        """Make the views that lead to the store; of events alone, as managed mode reads nothing else."""
        if self.files_of is not None:
            connection.register_filesystem(self.files_of)
        self.give(connection)
        for statement in self.statements([TABLES["events"]]):
            connection.execute(statement).fetchall()

    def give(self, connection: Any) -> None:
        """Have a connection know what the views read."""
        if self.rows is not None:
            connection.register(GIVEN, self.rows)


def _events(address: str, fmt: Format) -> Any:
    """The events of a table as an Arrow dataset: DuckDB hands it the columns and the filters of a query."""
    found = (_delta if fmt == "delta" else _iceberg)(address)
    if found is None:
        raise UsageError("there is no such table: has anything been delivered there?")
    return found


def _delta(address: str) -> Any:
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError
    except ImportError:
        raise UsageError("Delta wants a package: pip install 'headrace[delta]'") from None
    from .delta import storage_options

    place = Place.at(address)
    path = place.path("events")
    with asking_library(path), suppress(TableNotFoundError):
        return DeltaTable(path, storage_options=storage_options(place)).to_pyarrow_dataset()
    return None


def _iceberg(address: str) -> Any:
    from .iceberg import IcebergStore

    store = Place.at(address).store
    if (table := IcebergStore(address).table("events")) is None:
        return None
    with asking_library(table.location()):
        scan = table.scan()
        tasks = list(scan.plan_files())
        if not tasks or any(task.delete_files for task in tasks):  # others than Headrace delete so
            return pyarrow.dataset.dataset(scan.to_arrow())
        files = [store._strip_protocol(task.file.file_path) for task in tasks]
        return pyarrow.dataset.dataset(files, SCHEMAS["events"], format="parquet", filesystem=store)


@contextmanager
def _foreseen(address: str) -> Iterator[None]:
    """Have dbt say in a line what is wrong with the store."""
    try:
        yield
    except (HeadraceError, duckdb.Error) as error:
        raise DbtRuntimeError(f"the lake {shown(address)}: {error}") from None


class Plugin(BasePlugin):
    """What the profile names: `module: headrace.stores.plugin`, with `address` and `format`."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Open the store."""
        self._address = str(plugin_config["address"])
        with _foreseen(self._address):
            self._lake = Lake(self._address, plugin_config.get("format", "parquet"))

    def configure_connection(self, conn: Any) -> None:
        """Make the views."""
        with _foreseen(self._address):
            self._lake.ready(conn)

    def configure_cursor(self, cursor: Any) -> None:
        """A cursor is a connection of its own."""
        self._lake.give(cursor)
