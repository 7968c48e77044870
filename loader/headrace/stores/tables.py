"""What Delta and Iceberg have in common: the columns of the tables, where they lie, and how one logs in there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from fsspec.asyn import sync
from fsspec.implementations.local import LocalFileSystem

from ..errors import HeadraceError, LoadError, UsageError
from ..feed import Feed, asking, words_of
from . import Changes

TIME = pa.timestamp("us", "UTC")

DAY = "event_date"
"""The day (UTC) of event_time, which events are partitioned by; null for a row without a time."""

ORIGIN = "headrace.origin"
"""The property of a table that says which warehouse it follows. A table without it is not Headrace's."""

DEFINITION: list[tuple[str, pa.DataType]] = [
    ("id", pa.string()),
    ("name", pa.string()),
    ("description", pa.string()),
    ("state", pa.string()),
    ("created_time", TIME),
    ("created_by", pa.string()),
    ("modified_time", TIME),
    ("modified_by", pa.string()),
]

SCHEMAS = {
    "events": pa.schema(
        [
            ("event_id", pa.string()),
            ("event_time", TIME),
            ("processed_time", TIME),
            ("updated_time", TIME),
            ("device_id", pa.int64()),
            ("session_id", pa.int64()),
            ("view_id", pa.int64()),
            ("event_type", pa.string()),
            ("event_properties", pa.string()),
            ("source_type", pa.string()),
            ("source_properties", pa.string()),
            (DAY, pa.date32()),
        ]
    ),
    "page_definitions": pa.schema(
        [*DEFINITION, ("fs_link_id", pa.string()), ("is_user_defined", pa.bool_()), ("updated_time", TIME)]
    ),
    "element_definitions": pa.schema([*DEFINITION, ("updated_time", TIME)]),
    "event_definitions": pa.schema([*DEFINITION, ("updated_time", TIME)]),
}

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
    schema = changes.rows.schema
    batches: list[pa.RecordBatch] = []
    size = 0
    for batch in _cut(changes.rows):
        if batches and size + batch.nbytes > PIECE_BYTES:
            yield _typed(pa.Table.from_batches(batches, schema), changes.table), False
            batches, size = [], 0
        batches.append(batch)
        size += batch.nbytes
    yield _typed(pa.Table.from_batches(batches, schema), changes.table), True


def _cut(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, those that are too large for a piece in parts."""
    for batch in batches:
        most = max(batch.num_rows * PIECE_BYTES // max(batch.nbytes, 1), 1)
        yield from (batch.slice(start, most) for start in range(0, batch.num_rows, most))


def _typed(rows: pa.Table, table: str) -> pa.Table:
    """Rows in the types of the files (contract 1.1), in those of the table."""
    columns = {field.name: _column(rows[field.name], field.type) for field in SCHEMAS[table] if field.name != DAY}
    if table == "events":
        columns[DAY] = pc.cast(columns["event_time"], pa.date32())
    return pa.table(columns, SCHEMAS[table])


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

    def probe(self) -> None:
        """Make sure that it can be listed, written and read, and that what was written can be removed.

        Raises:
            UsageError: it can't, until somebody changes something.
            LoadError: it can't be reached.
        """
        name = f"{self.feed.root.rstrip('/')}/_headrace_check"
        with asking(self.address):
            if isinstance(self.store, LocalFileSystem):
                self.store.makedirs(self.feed.root, exist_ok=True)
            self.store.pipe_file(name, b"headrace")
            self.store.invalidate_cache()
            self.store.ls(self.feed.root)
            self.store.cat_file(name)
            self.store.rm_file(name)


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
