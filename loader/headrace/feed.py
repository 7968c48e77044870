"""Feeds: which files there are, and what each holds. Any store that fsspec knows."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from math import inf
from pathlib import Path
from typing import Any, Literal

import fsspec
from fsspec.implementations.local import LocalFileSystem

from .errors import HeadraceError, LoadError, UsageError

FORMATS = re.compile(r"\.(parquet|(ndjson|jsonl|json)(\.(gz|zst))?)$")
HOUR = re.compile(r"ingested_time=(\d{4}-\d\d-\d\d)[ T_](\d\d)[:.]?(\d\d)[:.]?(\d\d)")
DEFINITIONS = re.compile(r"(element|event|page)[-_]definitions")

HIVE_FOLDERS = ("", "events", *(f"configuration/{kind}-definitions" for kind in ("element", "event", "page")))
"""Where under a root the hours' folders may lie."""

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure"}
"""What to install for a store, by the beginning of the address."""

FETCH_BYTES = 64 * 2**20
FETCH_FILES = 256
"""Up to so much is copied from a store at once, and at least one file: small files cost one round trip together rather
than one each, and large ones are fetched in parts by the store's own package."""

NO_CREDENTIALS = {
    "ClientAuthenticationError",
    "CredentialRetrievalError",
    "CredentialUnavailableError",
    "DefaultCredentialsError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "RefreshError",
    "SSOTokenLoadError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}
"""Exceptions of the stores' packages that carry no status; by name, as no package must be there to import them from."""

IN_PASSING = {408, 425, 429}
"""The statuses below 500 that say: not now."""

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
            with _asking(address):
                store, root = fsspec.core.url_to_fs(address)
        except ImportError as error:
            extra = EXTRAS.get(address.partition("://")[0])
            remedy = f": pip install 'headrace[{extra}]'" if extra else ""
            raise UsageError(f"{_shown(address)}: {error}{remedy}") from None
        return cls(address, store, root)

    def files(self, days: tuple[date, date] | None = None, roots: Iterable[str] = ()) -> list[FeedFile]:
        """Files in their order.

        Args:
            days: the first and the last day to look at, found by the names of the hours' folders, so that the calls
                to the store grow with the days and not with what it holds; None looks at all that is there.
            roots: with days, folders that hold hours in the hive layout, besides the feed's own.

        Raises:
            UsageError: there is no such path, nothing there that a feed could consist of, or no access to it.
            LoadError: the store can't be reached, or fails.
        """
        self.store.invalidate_cache()
        listing = self._everything() if days is None else self._hours(*days, {self.root, *roots})
        found = {file.path: file for file in listing}
        if not found and days is None:
            raise UsageError(
                f"{_shown(self.address)} holds no .parquet, .ndjson, .jsonl or .json file (nor any with .gz or .zst)"
            )
        if not found:
            self._info()  # nothing new is well, a feed that has gone is not
        return sorted(found.values(), key=in_order)

    def _everything(self) -> Iterator[FeedFile]:
        info = self._info()
        if info["type"] == "file":
            if not FORMATS.search(self.root):
                raise UsageError(
                    f"{_shown(self.address)} is no .parquet, .ndjson, .jsonl or .json file (nor any with .gz or .zst)"
                )
            yield self._file(info)
            return
        yield from self._files(self._find(self.root))

    def _hours(self, first: date, last: date, roots: set[str]) -> Iterator[FeedFile]:
        for folder in sorted(f"{root.rstrip('/')}/{name}".rstrip("/") for root in roots for name in HIVE_FOLDERS):
            if self._finds_by_prefix:
                for prefix in _prefixes(first, last):
                    for file in self._files(self._find(folder, prefix=f"ingested_time={prefix}")):
                        if file.hour and first <= file.hour.date() <= last:
                            yield file
            else:
                for hour in self._folders(folder):
                    found = HOUR.search(hour.rsplit("/", 1)[-1])
                    if found and str(first) <= found[1] <= str(last):
                        yield from self._files(self._find(hour))

    @property
    def _finds_by_prefix(self) -> bool:
        """Whether the store itself looks for names by their beginning; others list a folder's names in one call."""
        return "prefix" in inspect.signature(getattr(self.store, "_find", self.store.find)).parameters

    def _info(self) -> dict[str, Any]:
        with _asking(self.address):
            return dict(self.store.info(self.root))

    def _find(self, folder: str, **where: str) -> dict[str, dict[str, Any]]:
        with _asking(self.address):
            return dict(self.store.find(folder, detail=True, **where))

    def _folders(self, folder: str) -> list[str]:
        with _asking(self.address):
            try:
                return list(self.store.ls(folder, detail=False))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def _files(self, listing: dict[str, dict[str, Any]]) -> Iterator[FeedFile]:
        for entry in listing.values():
            name = entry["name"].rsplit("/", 1)[-1]
            if FORMATS.search(name) and not name.startswith((".", "_")):
                yield self._file(entry)

    def _file(self, info: dict[str, Any]) -> FeedFile:
        path = self.store.unstrip_protocol(info["name"]) if not self.is_local else info["name"]
        below = path.removeprefix(self.prefix) or path
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
            hour=_time(*hour.groups()) if hour else None,
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

    def fetch(self, files: Iterable[FeedFile], folder: Path) -> Iterator[tuple[FeedFile, Path]]:
        """Files with where they are on local disk: in their place, or copies that are gone when the next is asked for.

        Raises:
            UsageError: the store denies access.
            LoadError: the store can't be reached or fails, or a file has gone since it was listed.
        """
        if self.is_local:
            yield from ((file, Path(file.path)) for file in files)
            return
        for group in groups(files, FETCH_BYTES, FETCH_FILES):
            copies = [folder / f"{n}{FORMATS.search(file.path)[0]}" for n, file in enumerate(group)]  # type: ignore[index]
            with _asking(self.address):
                try:
                    self.store.get([self.store._strip_protocol(file.path) for file in group], [*map(str, copies)])
                except FileNotFoundError as error:
                    raise LoadError(
                        f"{_shown(self.address)}: a file has gone since it was listed ({_words(error)}); run it again"
                    ) from error
            for file, copy in zip(group, copies, strict=True):
                yield file, copy
                copy.unlink()


def groups(files: Iterable[FeedFile], most_bytes: int, most_files: float = inf) -> Iterator[list[FeedFile]]:
    """Files in order, in groups of up to so many bytes and files, and of at least one."""
    group: list[FeedFile] = []
    size = 0
    for file in files:
        if group and (size + file.size > most_bytes or len(group) == most_files):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group


def _time(day: str, hour: str, minute: str, second: str) -> datetime | None:
    """When the name of a folder says; None when that is no time."""
    try:
        return datetime.fromisoformat(f"{day}T{hour}:{minute}:{second}+00:00")
    except ValueError:
        return None


def _prefixes(first: date, last: date) -> list[str]:
    """What the names of the folders of these days begin with: days, or months or years where that makes fewer calls."""
    span = (last - first).days
    if span > 20 * 366:
        return [""]
    length = 10 if span <= 31 else 7 if span <= 2 * 366 else 4
    return sorted({str(first + timedelta(n))[:length] for n in range(span + 1)})


@contextmanager
def _asking(address: str) -> Iterator[None]:
    """Turn what a store's package raises into errors of ours, which say whether it is worth running again."""
    try:
        yield
    except (HeadraceError, ImportError):
        raise
    except Exception as error:  # each package has exceptions of its own, and few have a base in common
        raise _failure(_shown(address), error) from error


def _failure(address: str, error: Exception) -> HeadraceError:
    status, code = _answer(error)
    name = code or type(error).__name__
    if isinstance(error, FileNotFoundError) or status == 404:
        return UsageError(f"{address}: no such file or folder" + (", or bucket" if "://" in address else ""))
    is_denied = isinstance(error, PermissionError) or status in (401, 403) or str(error).startswith("Forbidden")
    if is_denied or type(error).__name__ in NO_CREDENTIALS:
        return UsageError(f"{address}: access denied ({name}): check the credentials, and what they may list and read")
    if isinstance(error, ValueError) or (status and 400 <= status < 500 and status not in IN_PASSING):
        return UsageError(f"{address}: {name}: {_words(error)}")
    return LoadError(f"{address}: the store fails or can't be reached ({name}: {_words(error)}); run it again")


def _answer(error: BaseException) -> tuple[int | None, str | None]:
    """The HTTP status and the store's own word for the fault, where the exception or its cause holds them."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)  # botocore
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return status, response.get("Error", {}).get("Code")
        for name in ("status_code", "code", "status"):  # azure, gcsfs, aiohttp
            if isinstance(status := getattr(one, name, None), int):
                return status, None
    return None, None


def _words(error: BaseException) -> str:
    return re.sub(r"\?[^\s'\"]*", "", " ".join(str(error).split()))[:300]


def _shown(address: str) -> str:
    """An address without what may be secret in it: a password, or a signed query."""
    return re.sub(r"(?<=//)[^/@]*:[^/@]*@|\?.*", "", address)
