"""Feeds: which files there are, and what each holds. Any store that fsspec knows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import fsspec
from fsspec.implementations.local import LocalFileSystem

from .errors import UsageError

FORMATS = re.compile(r"\.(parquet|(ndjson|jsonl|json)(\.(gz|zst))?)$")
HOUR = re.compile(r"ingested_time=(\d{4}-\d\d-\d\d)[ T_](\d\d)[:.]?(\d\d)[:.]?(\d\d)")
DEFINITIONS = re.compile(r"(element|event|page)[-_]definitions")

HIVE_FOLDERS = ("", "events", *(f"configuration/{kind}-definitions" for kind in ("element", "event", "page")))
"""Where under a root the hours' folders may lie."""

EARLIEST = datetime.min.replace(tzinfo=timezone.utc)

Kind = Literal["events", "event", "page", "element"]
"""What a file holds: events, or the definitions of events, pages or elements."""


@dataclass(frozen=True)
class FeedFile:
    """One file of a feed."""

    path: str
    """Its address in full; it names the file in the ledger, in `_file` and in `rejected_events`."""
    kind: Kind
    hour: datetime | None
    """The ingested_time of the folder it lies in."""
    size: int
    version: str
    """The store's etag, or the time of the last change: another value may mean another content."""


def in_order(file: FeedFile) -> tuple[datetime, bool, str]:
    """Files go by hour and name, definitions first: what an event refers to is there before it."""
    return file.hour or EARLIEST, file.kind == "events", file.path


@dataclass(frozen=True)
class Feed:
    """A file or a folder of files."""

    address: str
    store: Any
    root: str

    @classmethod
    def at(cls, address: str) -> Feed:
        """The feed at a path or URL (`s3://…`, `gs://…`, `az://…`)."""
        try:
            store, root = fsspec.core.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{address}: {error}") from None
        return cls(address, store, root)

    def files(self, days: tuple[date, date] | None = None, roots: Iterable[str] = ()) -> list[FeedFile]:
        """Files in their order.

        Args:
            days: the first and the last day to look at, found by the names of the hours' folders, so that the calls
                to the store grow with the days and not with what it holds; None looks at all that is there.
            roots: with days, folders that hold hours in the hive layout, besides the feed's own.

        Raises:
            UsageError: there is no such path, or nothing there that a feed could consist of.
        """
        listing = self._everything() if days is None else self._hours(*days, {self.root, *roots})
        found = {file.path: file for file in listing}
        if not found and days is None:
            raise UsageError(
                f"{self.address} holds no .parquet, .ndjson, .jsonl or .json file (nor any with .gz or .zst)"
            )
        return sorted(found.values(), key=in_order)

    def _everything(self) -> Iterator[FeedFile]:
        self.store.invalidate_cache()
        try:
            info = self.store.info(self.root)
        except FileNotFoundError:
            raise UsageError(f"{self.address}: no such file or folder") from None
        if info["type"] == "file":
            if not FORMATS.search(self.root):
                raise UsageError(
                    f"{self.address} is no .parquet, .ndjson, .jsonl or .json file (nor any with .gz or .zst)"
                )
            yield self._file(info)
            return
        yield from self._files(self.store.find(self.root, detail=True))

    def _hours(self, first: date, last: date, roots: set[str]) -> Iterator[FeedFile]:
        self.store.invalidate_cache()
        for folder in sorted(f"{root.rstrip('/')}/{name}".rstrip("/") for root in roots for name in HIVE_FOLDERS):
            if self.is_local:
                for hour in Path(folder).glob("ingested_time=*"):
                    if (found := HOUR.search(hour.name)) and str(first) <= found[1] <= str(last):
                        yield from self._files(self.store.find(str(hour), detail=True))
            else:
                for prefix in _prefixes(first, last):
                    found_here = self.store.find(folder, prefix=f"ingested_time={prefix}", detail=True)
                    yield from (
                        file for file in self._files(found_here) if file.hour and first <= file.hour.date() <= last
                    )

    def _files(self, listing: dict[str, dict[str, Any]]) -> Iterator[FeedFile]:
        for entry in listing.values():
            name = entry["name"].rsplit("/", 1)[-1]
            if FORMATS.search(name) and not name.startswith((".", "_")):
                yield self._file(entry)

    def _file(self, info: dict[str, Any]) -> FeedFile:
        path = self.store.unstrip_protocol(info["name"]) if not self.is_local else info["name"]
        below = path.removeprefix(self.root)
        definitions = DEFINITIONS.search(below)
        hour = HOUR.search(path)
        version = next(
            (
                str(info[key])
                for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated")
                if info.get(key)
            ),
            "",
        )
        return FeedFile(
            path=path,
            kind=definitions[1] if definitions else "events",  # type: ignore[arg-type]
            hour=datetime.fromisoformat(f"{hour[1]}T{hour[2]}:{hour[3]}:{hour[4]}+00:00") if hour else None,
            size=info["size"],
            version=version,
        )

    @property
    def prefix(self) -> str:
        """What the paths of its files begin with."""
        return self.root if self.is_local else str(self.store.unstrip_protocol(self.root))

    def root_of(self, path: str) -> str | None:
        """The folder above the hive layout that a file lies in; None for a loose file."""
        above, mark, _ = path.partition("/ingested_time=")
        if not mark:
            return None
        folder = next((name for name in HIVE_FOLDERS if name and above.endswith("/" + name)), "")
        root = above.removesuffix("/" + folder) if folder else above
        return root if self.is_local else str(self.store._strip_protocol(root))

    @property
    def is_local(self) -> bool:
        """Whether the files can be read where they lie."""
        return isinstance(self.store, LocalFileSystem)

    def fetch(self, file: FeedFile, folder: Path) -> Path:
        """The file on local disk: where it lies, or a copy in the folder under its own name."""
        if self.is_local:
            return Path(file.path)
        copy = folder / file.path.rsplit("/", 1)[-1]
        self.store.get_file(file.path, str(copy))
        return copy


def _prefixes(first: date, last: date) -> list[str]:
    """What the names of the folders of these days begin with: days, or months where that makes fewer calls."""
    days = [first + timedelta(n) for n in range((last - first).days + 1)]
    return sorted({f"{day:%Y-%m}" if len(days) > 31 else str(day) for day in days})
