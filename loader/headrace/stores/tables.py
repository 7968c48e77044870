"""What Delta and Iceberg have in common: the columns of the tables, where they lie, and how one logs in there."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from importlib import import_module
from operator import attrgetter
from typing import Any, ClassVar, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from fsspec.asyn import sync

from ..errors import HeadraceError, LoadError, UsageError
from ..feed import Feed, asking, groups, shown, words_of
from ..rows import TIME
from . import TABLES, Changes, Delivered, probe

DAY = "event_date"
"""The day (UTC) of event_time, which events are partitioned by; null for a row without a time."""

ORIGIN = "headrace.origin"
"""The property of a table that says which warehouse it follows. A table without it is not Headrace's."""

SCHEMAS = {**TABLES, "events": TABLES["events"].append(pa.field(DAY, pa.date32()))}
"""The columns of the tables."""

PIECE_BYTES = 128 * 2**20
"""So much of the changes is in memory at once, and in a commit."""

SMALL_BYTES = 32 * 2**20
"""Maintenance makes one file of several that are smaller than this."""

CLOUDS = {"s3": "s3", "gs": "gs", "abfs": "azure"}
"""The stores that both formats can be written to beside the disk, by what fsspec calls them first."""

DENIED = re.compile(r"access.?denied|forbidden|unauthorized|InvalidAccessKeyId|SignatureDoesNotMatch", re.I)
MISSING = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist", re.I)
COLOURS = re.compile(r"\x1b\[\d*m")


def key(table: str) -> str:
    """The column that a row is known by."""
    return "event_id" if table == "events" else "id"


def pieces(changes: Changes) -> Iterator[tuple[pa.Table, bool]]:
    """The rows in the tables' types, a piece that memory bears at a time, and whether it is the last one.

    There is a last one even where there are no rows: what is delivered is written down with it.
    """
    group: list[pa.RecordBatch] = []
    for following in groups(_cut(changes.rows), (attrgetter("nbytes"), PIECE_BYTES)):
        if group:
            yield _typed(group, changes), False
        group = following
    yield _typed(group, changes), True


def _cut(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, those that are too large for a piece in parts."""
    for batch in batches:
        most = max(batch.num_rows * PIECE_BYTES // max(batch.nbytes, 1), 1)
        yield from (batch.slice(start, most) for start in range(0, batch.num_rows, most))


def _typed(batches: list[pa.RecordBatch], changes: Changes) -> pa.Table:
    """Rows as files have them, in the types of the table."""
    rows, schema = pa.Table.from_batches(batches, changes.rows.schema), SCHEMAS[changes.table]
    columns = {field.name: _column(rows[field.name], field.type) for field in schema if field.name != DAY}
    if changes.table == "events":
        columns[DAY] = pc.cast(columns["event_time"], pa.date32())
    return pa.table(columns, schema)


def _column(values: pa.ChunkedArray, to: pa.DataType) -> pa.ChunkedArray:
    if to == TIME and pa.types.is_integer(values.type):
        values = values.cast(pa.timestamp("ms", "UTC"))
    return values.cast(to)


def days_of(rows: pa.Table) -> list[date]:
    """The days of a piece, but for the rows without one."""
    return sorted(day for day in pc.unique(rows[DAY]).to_pylist() if day)


@dataclass(frozen=True)
class Maintained:
    """What maintenance has done to a table."""

    table: str
    compacted: int
    """Files that were made one with others."""
    removed: int
    """Files that no version of the table needs that is kept."""


@dataclass(frozen=True)
class Place:
    """The folder or the prefix that holds the tables."""

    feed: Feed
    """It is opened as a feed is, so that a store is described once, for reading and for writing."""

    @classmethod
    def at(cls, address: str) -> Place:
        """The place at a path or URL (`s3://…`, `gs://…`, `az://…`)."""
        place = cls(Feed.at(address))
        if not place.feed.is_local and place.cloud is None:
            raise UsageError(f"{place.address}: tables go to a folder, s3://, gs:// or az://")
        return place

    @property
    def address(self) -> str:
        """As it was typed, without what is secret in it."""
        return self.feed.address

    @property
    def store(self) -> Any:
        """The file system that fsspec has for it."""
        return self.feed.store

    @property
    def cloud(self) -> str | None:
        """`s3`, `gs` or `azure`; None for the disk, and for what is none of them."""
        protocol = self.store.protocol if isinstance(self.store.protocol, str) else self.store.protocol[0]
        return CLOUDS.get(protocol)

    @cached_property
    def login(self) -> S3Login | AzureLogin | None:
        """How one has logged in, where others can be told so."""
        if self.cloud == "s3":
            return S3Login(self.store, self.feed.root.partition("/")[0])
        return AzureLogin(self.store) if self.cloud == "azure" else None

    def path(self, table: str) -> str:
        """The address of a table in full."""
        return f"{self.feed.prefix.rstrip('/')}/{table}"

    def files(self, table: str) -> dict[str, dict[str, Any]]:
        """All files in the folder of a table, whosever they are, by their names in it."""
        root = f"{self.feed.root.rstrip('/')}/{table}"
        with asking(self.path(table)):
            self.store.invalidate_cache()
            found = self.store.find(root, detail=True)
        return {name.removeprefix(root + "/"): info for name, info in found.items()}

    def remove(self, infos: list[dict[str, Any]]) -> None:
        """Delete files that `files` has listed."""
        with asking(self.address):
            for info in infos:
                with suppress(FileNotFoundError):
                    self.store.rm_file(info["name"])


@dataclass(frozen=True)
class S3Login:
    """How s3fs has logged in, whichever way it found to do so."""

    store: Any
    bucket: str

    @cached_property
    def _client(self) -> Any:
        self.store.connect()
        return self.store.s3

    @property
    def endpoint(self) -> str | None:
        """Where it is, if it isn't Amazon's own."""
        url: str = self._client.meta.endpoint_url
        is_amazons = re.fullmatch(r"https://s3(\.dualstack)?([.-][a-z0-9-]+)?\.amazonaws\.com(\.cn)?", url)
        return None if is_amazons else url

    @cached_property
    def region(self) -> str:
        """That of the bucket: s3fs follows a redirection to it, which others don't."""
        found = self.store.call_s3("head_bucket", Bucket=self.bucket).get("BucketRegion")
        return found or self._client.meta.region_name or "us-east-1"

    @property
    def keys(self) -> tuple[str, str, str | None] | None:
        """The key, the secret and the token as of now; None for one that is anonymous."""
        if self.store.anon:
            return None
        _ = self._client

        async def frozen() -> Any:
            credentials = await self.store.session.get_credentials()
            return credentials and await credentials.get_frozen_credentials()

        found = sync(self.store.loop, frozen)
        if not found:
            raise UsageError(f"s3://{self.bucket}: access denied (no credentials): check the credentials")
        return found.access_key, found.secret_key, found.token


@dataclass(frozen=True)
class AzureLogin:
    """How adlfs has logged in."""

    store: Any

    @cached_property
    def _said(self) -> dict[str, str]:
        """The connection string, by its parts."""
        parts = (part.partition("=") for part in (self.store.connection_string or "").split(";"))
        return {name: value for name, _, value in parts if name}

    @property
    def account(self) -> str:
        """Its name."""
        return self._said.get("AccountName") or str(self.store.account_name)

    @property
    def endpoint(self) -> str | None:
        """Where it is, if it isn't Microsoft's own."""
        return self._said.get("BlobEndpoint")

    @property
    def key(self) -> str | None:
        """The account's key."""
        return self._said.get("AccountKey") or self.store.account_key

    @property
    def sas(self) -> str | None:
        """A shared access signature."""
        return self._said.get("SharedAccessSignature") or self.store.sas_token

    @property
    def token(self) -> str | None:
        """What an identity gets to show, where one logs in."""
        credential: Any = getattr(self.store, "sync_credential", None)
        if self.key or self.sas or not hasattr(credential, "get_token"):
            return None
        return str(credential.get_token("https://storage.azure.com/.default").token)


@contextmanager
def asking_library(address: str) -> Iterator[None]:
    """Turn what a table's library raises into errors of ours: its words are all that most of them have."""
    try:
        with asking(address):
            yield
    except HeadraceError as error:
        cause = error.__cause__
        if cause is None:
            raise
        words = COLOURS.sub("", str(cause))
        if DENIED.search(words):
            raise UsageError(f"{address}: access denied: check the credentials, and what they may do") from cause
        if MISSING.search(words):
            raise UsageError(f"{address}: no such bucket") from cause
        if isinstance(error, LoadError):
            raise LoadError(f"{address}: {words_of(Exception(words.replace('↳', '')))}; run it again") from cause
        raise


Opened = TypeVar("Opened")
"""A table, as the library of its format has it."""


class TableStore(ABC, Generic[Opened]):
    """Tables of one format in a folder or a bucket."""

    format: ClassVar[str]
    """Its name."""

    library: ClassVar[str]
    """The module that must be there."""

    def __init__(self, address: str) -> None:
        try:
            import_module(self.library)
        except ImportError:
            extra = self.format.lower()
            wanted = f"{self.format} wants a package: pip install 'headrace[{extra}]'"
            raise UsageError(f"{shown(address)}: {wanted}") from None
        self._place = Place.at(address)
        self.address = self._place.address

    @abstractmethod
    def table(self, name: str) -> Opened | None:
        """A table of Headrace's, if there is one. Raises UsageError when what is there is somebody else's."""

    @abstractmethod
    def delivered(self, table: str) -> Delivered | None:
        """What was delivered of a table; None for nothing."""

    @abstractmethod
    def _create(self, changes: Changes) -> Opened:
        """Make the table of the changes, without rows."""

    @abstractmethod
    def _origin(self, table: Opened) -> str:
        """The warehouse that a table follows."""

    @abstractmethod
    def _is_empty(self, table: Opened) -> bool:
        """Whether a table has no rows yet. The first delivery may have been killed when it was half done."""

    @abstractmethod
    def _commit(self, table: Opened, rows: pa.Table, id_: str | None, until: str | None) -> Opened:
        """One commit of rows.

        Args:
            table: where to.
            rows: in its types.
            id_: the column by which they replace others; None where there are none.
            until: what is delivered by that; None before the last commit of a delivery.
        """

    @abstractmethod
    def _maintain(self, name: str, table: Opened, keep: timedelta) -> Maintained:
        """Compact a table and remove what is no longer needed; see maintain."""

    def _location(self, name: str) -> str:
        """The address of a table, as the library has it."""
        return self._place.path(name)

    def _reopened(self, name: str, table: Opened) -> Opened:
        """The table for the next commit."""
        return table

    def check(self) -> None:
        """Make sure that it can be listed, read and written, by the library too, and that the tables are Headrace's.

        Raises:
            UsageError: it can't, until somebody changes something; or what is there is somebody else's.
            LoadError: it can't be reached just now.
        """
        feed = self._place.feed
        feed.store.invalidate_cache()
        feed.ls(feed.root)
        probe(feed, f"{feed.root.rstrip('/')}/_headrace_check")
        for name in SCHEMAS:
            self.table(name)

    def write(self, changes: Changes) -> int:
        """Write the changes and, in the last of their commits, what is delivered by that; return how many rows."""
        name = changes.table
        if self.delivered(name) == changes.delivered:
            return 0
        table = self.table(name) or self._create(changes)
        if (origin := self._origin(table)) != changes.delivered.origin:
            raise UsageError(f"{self._location(name)} follows {origin}, not {changes.delivered.origin}")
        id_ = None if self._is_empty(table) else key(name)
        count = 0
        for rows, is_last in pieces(changes):
            table = self._reopened(name, table) if count else table
            with asking_library(self._location(name)):
                table = self._commit(table, rows, id_, changes.delivered.until if is_last else None)
            count += rows.num_rows
        return count

    def maintain(self, keep: timedelta) -> list[Maintained]:
        """Make few large files of many small ones, and remove those that no version needs that is younger than `keep`.

        What a killed delivery left is removed with them once it is as old.
        """
        return [self._maintain(name, table, keep) for name in SCHEMAS if (table := self.table(name))]
