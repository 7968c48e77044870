"""Stores as destinations: files or tables in a bucket or a folder that follow the events of a target, and its lookups.

A store never merges on its own: it gets what a green build has changed in `events` (late, superseded and reordered rows
too), so whoever takes the latest version of each event there has what the warehouse has. What was delivered is written
down in the store itself, in the same step as the rows where the format can do that, so that a kill leaves nothing that
the next delivery does not put right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from typing import Literal, Protocol

import pyarrow as pa

from ..errors import UsageError

Format = Literal["parquet", "delta", "iceberg"]


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
    """In the columns and types of the contract (1.1); events by day, and by time within it. Read once."""
    delivered: Delivered
    """What is delivered when all rows are written."""
    days: Sequence[date | None]
    """The days (UTC) of event_time that the rows are of, None for rows without a time; empty for the lookups."""
    is_first: bool
    """Whether the store has nothing of this table, so that no row can be there already."""


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


STORES = {"parquet": ("files", "FileStore"), "delta": ("delta", "DeltaStore"), "iceberg": ("iceberg", "IcebergStore")}
"""For each format the module and its class, which is made from an address. It is imported when it is asked for."""


def store_at(address: str, kind: Format = "parquet") -> Store:
    """The store at an address, for files or for tables of a format.

    Raises:
        UsageError: there can be no such store, or the package for it is not installed.
    """
    module, name = STORES[kind]
    try:
        made: Store = getattr(import_module(f".{module}", __name__), name)(address)
    except ImportError as error:
        raise UsageError(f"--format {kind}: {error}: pip install 'headrace[{kind}]'") from None
    return made
