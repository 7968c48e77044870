"""Stores as destinations: files or tables in a bucket or a folder that follow the events of a target, and its lookups.

A store never merges on its own: it gets what a green build has changed in `events` (late, superseded and reordered rows
too), so whoever takes the latest version of each event there has what the warehouse has. What was delivered is written
down in the store itself, in the same step as the rows where the format can do that, so that a kill leaves nothing that
the next delivery does not put right.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from ..feed import Feed, asking
from ..rows import RAW_DEFINITIONS, RAW_EVENTS, TIME

Format = Literal["parquet", "delta", "iceberg"]


def _definitions(*more: str) -> pa.schema:
    """Those that feeds have, and when the warehouse changed them."""
    common = ("id", "name", "description", "state", "created_time", "created_by", "modified_time", "modified_by")
    return pa.schema([*(RAW_DEFINITIONS.field(name) for name in (*common, *more)), ("updated_time", TIME)])


TABLES: dict[str, pa.Schema] = {
    "events": pa.schema([field for field in RAW_EVENTS if not field.name.startswith("_")]),
    "page_definitions": _definitions("fs_link_id", "is_user_defined"),
    "element_definitions": _definitions(),
    "event_definitions": _definitions(),
}
"""The tables that stores hold, with the columns and types of the contract (3.1)."""


def _in_file(field: pa.Field) -> pa.Field:
    if field.name == "updated_time":
        return pa.field(field.name, pa.int64())
    return pa.field(field.name, pa.string() if field.type == TIME else field.type)


FILES = {name: pa.schema(map(_in_file, schema)) for name, schema in TABLES.items()}
"""The same as files have them (contract 1.1): times as text, that of the last change in milliseconds."""

FOLDERS = {
    "events": "events",
    **{f"{kind}_definitions": f"configuration/{kind}-definitions" for kind in ("page", "element", "event")},
}
"""Where files of each lie in the hive layout."""


@dataclass(frozen=True)
class Delivered:
    """What of a table has been delivered, as the store itself says."""

    origin: str
    """The warehouse that it came from, told by the first load that was ever made to it. Another one never goes on."""
    until: str
    """The newest load whose changes are delivered. Ids of loads sort by age, whatever the clocks say."""


@dataclass(frozen=True)
class Changes:
    """Rows of one table of the contract that have changed since a delivery, each in its latest version."""

    table: str
    """`events`, or `page_definitions`, `element_definitions`, `event_definitions`."""
    rows: pa.RecordBatchReader
    """As `FILES` has them; events by day, and by time within it. Read once."""
    delivered: Delivered
    """What is delivered when all rows are written."""


class Store(Protocol):
    """A place that changes are delivered to."""

    address: str
    """Where, without what is secret in it."""

    def check(self) -> None:
        """Make sure that it can be listed, read and written, before anything is loaded.

        Raises:
            UsageError: it can't, until somebody changes the credentials, the grants or the address; or what is there
                was not put there by Headrace.
            LoadError: it can't be reached just now.
        """

    def delivered(self, table: str) -> Delivered | None:
        """What was delivered of a table; None for nothing. An empty `until` is nothing at a place that is taken."""

    def write(self, changes: Changes) -> int:
        """Write the changes and, with or after them, what is delivered by that; return how many rows they were.

        It may have been killed at any point in an earlier try with the same or fewer changes: what that left is
        replaced.
        """


WRITING = "list, read, write and delete"
"""What credentials must allow where something is delivered."""


def probe(place: Feed, name: str) -> None:
    """Make sure that what is written there can be read and deleted again, by a small file of this name.

    Raises:
        UsageError: it can't, until somebody changes something.
        LoadError: the store can't be reached.
    """
    with asking(place.address, WRITING):
        if place.is_local:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
        place.store.pipe_file(name, b"headrace")
        place.store.cat_file(name)
        place.store.rm_file(name)


STORES = {"parquet": ("files", "FileStore"), "delta": ("delta", "DeltaStore"), "iceberg": ("iceberg", "IcebergStore")}
"""For each format the module and its class, which is made from an address. It is imported when it is asked for."""


def store_at(address: str, kind: Format = "parquet") -> Store:
    """The store at an address, for files or for tables of a format.

    Raises:
        UsageError: there can be no such store, or the package for it is not installed.
    """
    module, name = STORES[kind]
    made: Store = getattr(import_module(f".{module}", __name__), name)(address)
    return made
