"""Parquet files in the layout of Data Direct, in a bucket or a folder: what Headrace writes, it reads as a feed.

A file is seen whole or not at all: a PUT of a store is atomic, and on a disk a name. One small object beside them, the
marker, says what is delivered, and before the first file of a delivery what is under way: so the next one knows what a
kill has left, without a listing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UsageError
from ..feed import HOUR_FOLDER, Feed, asking, groups
from ..target import write_at_once
from . import FOLDERS, WRITING, Changes, Delivered, probe

OWN = "_headrace"
"""The folder of the marker. Readers pass over what begins so, as they do for what begins with a dot."""

GROUP_ROWS = 2**17
GROUP_BYTES = 64 * 2**20
"""A row group has up to so many rows, or bytes before they are compressed."""

FILE_BYTES = 512 * 2**20
"""A file that has become so large is the last but one of its delivery."""


@dataclass(frozen=True)
class Marker:
    """What a prefix holds."""

    origin: str
    delivered: dict[str, str] = field(default_factory=dict)
    """By table, the newest load whose changes are there."""
    under_way: dict[str, str] = field(default_factory=dict)
    """Likewise, of a delivery that has begun."""


class FileStore:
    """A prefix of a bucket, or a folder."""

    def __init__(self, address: str) -> None:
        """The prefix; nothing is asked yet. Raises UsageError when the package for such a store is missing."""
        self.place = Feed.at(address)
        self.address = self.place.address

    def check(self) -> None:
        """Make sure that it can be listed, read, written and deleted from; see Store."""
        self.place.store.invalidate_cache()
        self.place.ls(self._name(OWN))  # first, as a listing that is refused says why, and a HEAD does not
        if self._marker() is None and (found := next(self._others(), None)):
            raise UsageError(
                f"{self.address} holds {found}, which Headrace has not delivered there: name another prefix, or empty "
                "this one"
            )
        probe(self.place, self._name(OWN, "probe"))

    def delivered(self, table: str) -> Delivered | None:
        """What was delivered of a table; without a load where the prefix is taken, and nothing of it is there."""
        marker = self._marker()
        return Delivered(marker.origin, marker.delivered.get(table, "")) if marker else None

    def write(self, changes: Changes) -> int:
        """Write the changes as one file, or few; see Store."""
        table, until = changes.table, changes.delivered.until
        marker = self._marker() or Marker(changes.delivered.origin)
        if left := marker.under_way.get(table):
            self._remove(table, left)
        rows = 0
        tables = _groups(changes.rows)
        for number, group in enumerate(tables):
            if not number:
                self._mark(replace(marker, under_way={**marker.under_way, table: until}))
            with self._file(table, until, number) as path:
                rows += _write(path, group, tables)
        under_way = {name: load for name, load in marker.under_way.items() if name != table}
        self._mark(replace(marker, delivered={**marker.delivered, table: until}, under_way=under_way))
        return rows

    @contextmanager
    def _file(self, table: str, until: str, number: int) -> Iterator[Path]:
        """A path to write to. What is there in the end becomes a file of the delivery, at once."""
        folder = _hour_folder(table, until)
        name = f"{until}-{number:04}.parquet"
        if self.place.is_local:
            self._make_folder(folder)
            half = Path(self._name(folder, f".{name}.half"))
            yield half
            half.replace(self._name(folder, name))
        else:
            with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
                yield (half := Path(scratch, name))
                with self._asking():
                    self.place.store.put_file(str(half), self._name(folder, name))

    def _remove(self, table: str, until: str) -> None:
        """Delete what a delivery left that was killed."""
        folder = self._name(_hour_folder(table, until))
        self.place.store.invalidate_cache()
        for entry in self.place.ls(folder):
            if entry["name"].rpartition("/")[2].removeprefix(".").startswith(f"{until}-"):
                with self._asking():
                    self.place.store.rm_file(entry["name"])

    def _others(self) -> Iterator[str]:
        """What lies where the files of deliveries shall lie."""
        for folder in FOLDERS.values():
            for entry in self.place.ls(self._name(folder)):
                name = entry["name"].rstrip("/")
                if name != self._name(folder) and not name.rpartition("/")[2].startswith((".", "_")):
                    yield f"{folder}/{name.rpartition('/')[2]}"

    def _marker(self) -> Marker | None:
        try:
            with self._asking():
                try:
                    content = self.place.store.cat_file(self._name(OWN, "delivered.json"))
                except FileNotFoundError:
                    return None
            return Marker(**json.loads(content))
        except (ValueError, TypeError):
            raise UsageError(
                f"{self.address}/{OWN}/delivered.json can't be read: name another prefix, or empty this one"
            ) from None

    def _mark(self, marker: Marker) -> None:
        name = self._name(OWN, "delivered.json")
        with self._asking():
            self._make_folder(OWN)
            if self.place.is_local:
                write_at_once(Path(name), json.dumps(asdict(marker)))
            else:
                self.place.store.pipe_file(name, json.dumps(asdict(marker)).encode())

    def _make_folder(self, folder: str) -> None:
        if self.place.is_local:
            Path(self._name(folder)).mkdir(parents=True, exist_ok=True)

    def _name(self, *parts: str) -> str:
        """What the store calls it."""
        return "/".join((self.place.root.rstrip("/"), *parts))

    def _asking(self) -> Any:
        return asking(self.address, WRITING)


def _hour_folder(table: str, until: str) -> str:
    """The folder of the hour of a load, whose id is a time: whenever it is delivered, or again, that is the one."""
    return f"{FOLDERS[table]}/{HOUR_FOLDER}{datetime.fromtimestamp(float(until), UTC):%Y-%m-%d %H}:00:00"


def _groups(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Rows, in groups of a sensible size."""
    limits = (attrgetter("num_rows"), GROUP_ROWS), (attrgetter("nbytes"), GROUP_BYTES)
    return map(pa.Table.from_batches, groups((batch for batch in batches if batch.num_rows), *limits))


def _write(path: Path, group: pa.Table, more: Iterator[pa.Table]) -> int:
    """Write a group of rows and those after it to a file, until it is large; how many rows it has."""
    rows: int = group.num_rows
    with pq.ParquetWriter(path, group.schema, compression="zstd") as writer:
        writer.write_table(group, row_group_size=group.num_rows)
        while path.stat().st_size < FILE_BYTES and (group := next(more, None)) is not None:
            writer.write_table(group, row_group_size=group.num_rows)
            rows += group.num_rows
    return rows
