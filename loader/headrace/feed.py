"""Feeds: which files there are, and what each holds. Any store that fsspec knows."""

from __future__ import annotations

import errno
import ftplib
import inspect
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import count
from math import inf
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import unquote, urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem

from . import formats
from .errors import HeadraceError, LoadError, UsageError, gone

HOUR_FOLDER = "ingested_time="
HOUR = re.compile(
    r"(\d{4}-\d\d-\d\d)([ T_+-](\d\d)([:._-]?(\d\d)([:._-]?(\d\d)([.,]\d+)?)?)?)?( ?(Z|UTC|\+00(:?00)?))?",
    re.IGNORECASE,
)
"""What follows in the name of an hour's folder, in the spellings of the tools that write such folders."""

DEFINITIONS = re.compile(r"(element|event|page)[-_]definitions")

HIVE_FOLDERS = (
    "",
    "events",
    "configuration",
    *(f"configuration/{kind}-definitions" for kind in ("element", "event", "page")),
)
"""Where under a root the hours' folders may lie, parents first."""

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure"}
"""What to install for a store, by the beginning of the address."""

VERSIONS = (
    "ETag",
    "etag",
    "md5Hash",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "modify",
    "modified",
    "modificationTime",
    "modifiedTime",
    "CRC",
    "created",
)
"""What stores call the version of a file, or the time of its last change."""

PORTS = {"ftp": 21, "sftp": 22}

PASSWORD = re.compile(r"(://[^/@:\s]*):(?:[^/\s]*@|(?!\d+(?:/|$)).*@)")
"""What stands between the user and the host of an address, also where it holds what a URL may not."""

FETCH_BYTES = 64 * 2**20
FETCH_FILES = 256
"""Up to so much is copied from a store at once, and at least one file: small files cost one round trip together rather
than one each, and large ones are fetched in parts by the store's own package."""

NO_CREDENTIALS = {
    "AuthenticationException",
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

LASTING = {errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EROFS}
"""What a disk says each time, beside what says that access is denied."""

EARLIEST = datetime.min.replace(tzinfo=UTC)

Item = TypeVar("Item")

Kind = Literal["events", "event", "page", "element"]
"""What a file holds: events, or the definitions of events, pages or elements."""


@dataclass(frozen=True)
class FeedFile:
    """One file of a feed."""

    path: str
    """Its address in full, without what is secret in it; it names the file in the ledger, in `_file` and in
    `rejected_events`."""
    name: str
    """What the store calls it."""
    kind: Kind
    hour: datetime | None
    """The ingested_time of the folder it lies in."""
    size: int
    version: str
    """The store's etag, or the time of the last change: another value may mean another content."""
    suffix: str
    """The format and the compression that its name tells, such as `.ndjson.gz`; empty where only its content does."""
    modified: datetime | None = None
    """When it was written, if the store says so."""
    problem: str | None = None
    """Why it is not read, where its name or what it is tells that already."""


def in_order(file: FeedFile) -> tuple[datetime, bool, str]:
    """Files go by hour and name, definitions first: what an event refers to is there before it."""
    return file.hour or EARLIEST, file.kind == "events", file.path


@dataclass(frozen=True)
class Feed:
    """A file or a folder of files."""

    address: str
    """As it was typed, without what is secret in it."""
    store: Any
    root: str
    """What the store calls it."""
    base: str
    """What the addresses of the store's files begin with: the protocol, and the host or account where there are many.
    It stands for `top`, what the store's names begin with."""
    top: str = ""

    @classmethod
    def at(cls, address: str) -> Feed:
        """The feed at a path or URL (`s3://…`, `gs://…`, `az://…`)."""
        try:
            with asking(shown(address)):
                store, root = fsspec.core.url_to_fs(address)
        except ImportError as error:
            extra = EXTRAS.get(address.partition("://")[0])
            remedy = f": pip install 'headrace[{extra}]'" if extra else ""
            raise UsageError(f"{shown(address)}: {error}{remedy}") from None
        if isinstance(store, LocalFileSystem):
            path = Path(root)
            root = (path.resolve() if ".." in path.parts else path).as_posix()  # a link keeps its name
            if not _is_text(root):
                raise UsageError(f"{_as_text(root)}: a feed needs an address in UTF-8")
        return cls(shown(address), store, root.rstrip("/") or root, *_base(store, address, root))

    def files(self, first: date | None = None, roots: Iterable[str] = ()) -> list[FeedFile]:
        """Files in their order, also those that are not read.

        What begins with `_` or `.`, or lies in a folder that does, is no part of a feed: other tools' files under way.

        Args:
            first: the first day to look at, found by the names of the hours' folders, so that the calls to the store
                grow with the days and little with what it holds; files beside those folders are always looked at. None
                looks at all that is there.
            roots: with a first day, folders that hold hours in the hive layout, besides the feed's own.

        Raises:
            UsageError: there is no such path, nothing there that a feed could consist of, or no access to it.
            LoadError: the store can't be reached, or fails.
        """
        self.store.invalidate_cache()
        is_whole = first is None or f"/{HOUR_FOLDER}" in self.root
        listing = self._everything() if is_whole else self._from(first, {self.root, *roots})  # type: ignore[arg-type]
        found = {file.path: file for file in listing}
        if not found and not is_whole:
            self._info()  # nothing new is well, a feed that has gone is not
        if is_whole and all(file.problem for file in found.values()):
            others = "".join(f"; {file.path}: {file.problem}" for file in [*found.values()][:3])
            raise UsageError(f"{self.address} holds no {formats.named()}{others}")
        return sorted(found.values(), key=in_order)

    def _everything(self) -> Iterator[FeedFile]:
        info = self._info()
        if info["type"] == "file":
            file = self._file(info)
            if file.problem or (_is_hidden(self.root.rsplit("/", 1)[-1]) and not file.suffix):
                raise UsageError(f"{self.address} is no {formats.named()}")
            yield file
        elif info["type"] == "directory":
            yield from self._files(self._find(self.root))
        else:
            raise UsageError(f"{self.address} is neither a file nor a folder")

    def _from(self, first: date, roots: set[str]) -> Iterator[FeedFile]:
        """Files of the hours from a day on, and what lies beside the hours' folders."""
        folders = {f"{root.rstrip('/')}/{name}".rstrip("/") for root in roots for name in HIVE_FOLDERS}
        within: dict[str, set[str]] = {}
        for folder in sorted(filter(self._holds_name, folders)):
            is_there = folder in within.get(folder.rpartition("/")[0], {folder})
            hours, within[folder] = [], set()
            if not is_there:
                continue
            for entry in self.ls(folder):
                name = entry["name"].rstrip("/")
                if entry["type"] != "directory":
                    yield from self._files([entry])
                elif not (last := name.rpartition("/")[2]).startswith(HOUR_FOLDER):
                    within[folder].add(name)
                elif (hour := _hour(last)) is None or hour.date() >= first:
                    hours.append(last)
            if self._finds_by_prefix:
                listing = (self._find(folder, prefix=prefix) for prefix in _prefixes(hours))
            else:
                listing = (self._find(f"{folder}/{hour}") for hour in hours)
            for entries in listing:
                yield from (file for file in self._files(entries) if file.hour is None or file.hour.date() >= first)

    @property
    def _finds_by_prefix(self) -> bool:
        """Whether the store itself looks for names by their beginning; others list a folder's names in one call."""
        return "prefix" in inspect.signature(getattr(self.store, "_find", self.store.find)).parameters

    def _info(self) -> dict[str, Any]:
        with asking(self.address):
            return dict(self.store.info(self.root))

    def _find(self, folder: str, **where: str) -> list[dict[str, Any]]:
        """All files in a folder and below."""
        with asking(self.address):
            if self.is_local:
                return list(_walked(folder))
            return list(self.store.find(folder, detail=True, **where).values())

    def ls(self, folder: str) -> list[dict[str, Any]]:
        """The files and folders in a folder; none where there is no such folder."""
        with asking(self.address):
            try:
                return list(_scanned(folder) if self.is_local else self.store.ls(folder, detail=True))
            except (FileNotFoundError, NotADirectoryError):
                return []
            except PermissionError as error:
                if not self.is_local or folder == self.root:
                    raise
                return [_closed(folder, error)]

    def _files(self, listing: Iterable[dict[str, Any]]) -> Iterator[FeedFile]:
        for entry in listing:
            is_folder = entry["type"] == "directory" or entry["name"].endswith("/")
            if not is_folder and not any(map(_is_hidden, entry["name"].removeprefix(self.root).split("/"))):
                yield self._file(entry)

    def _file(self, info: dict[str, Any]) -> FeedFile:
        path = self._path(info["name"])
        definitions = DEFINITIONS.search(path.removeprefix(self.prefix) or path)
        suffix = formats.suffix_of(path)
        problem = None
        if not _is_text(info["name"]):
            problem = "its name is not UTF-8"
        elif info["type"] != "file":
            problem = info.get("problem", "it is no regular file")
        elif suffix is None:
            problem = f"{path[path.rindex('.') :]} is no format that is read"
        return FeedFile(
            path=path,
            name=info["name"],
            kind=definitions[1] if definitions else "events",  # type: ignore[arg-type]
            hour=_hour(path),
            size=info["size"] or 0,
            version=next((str(info[key]) for key in VERSIONS if info.get(key)), ""),
            modified=modified_time(info),
            suffix=suffix or "",
            problem=problem,
        )

    @property
    def prefix(self) -> str:
        """Its own address in full: the same, however it was typed, and another one for each host and account."""
        return self._path(self.root)

    def _path(self, name: str) -> str:
        """The address of what the store calls so."""
        path = self.base + name.removeprefix(self.top)
        return _as_text(path if self.base else shown(path))

    def holds(self, path: str) -> bool:
        """Whether an address is the feed's own or lies below it."""
        return path == self.prefix or path.startswith(self.prefix.rstrip("/") + "/")

    def _holds_name(self, name: str) -> bool:
        return self.holds(self._path(name))

    def root_of(self, path: str) -> str | None:
        """The folder above the hive layout that a file lies in, as the store calls it; None for a loose file."""
        above, mark, _ = path.partition(f"/{HOUR_FOLDER}")
        if not mark:
            return None
        folder = next((name for name in HIVE_FOLDERS if name and above.endswith("/" + name)), "")
        return self.top + (above.removesuffix("/" + folder) if folder else above).removeprefix(self.base)

    @property
    def is_local(self) -> bool:
        """Whether the files can be read where they lie."""
        return isinstance(self.store, LocalFileSystem)

    def fetch(
        self, files: Iterable[FeedFile], folder: Path, most_bytes: float = inf
    ) -> Iterator[list[tuple[FeedFile, Path | HeadraceError]]]:
        """Files, in groups of up to so many bytes, with where they are on local disk: in their place, or as copies.

        A file that can't be fetched comes with the reason instead: a LoadError where it has gone since it was listed.

        Raises:
            LoadError: the store can't be reached or fails.
        """
        if self.is_local:
            for group in groups(files, (BYTES, most_bytes)):
                yield [(file, Path(file.name)) for file in group]
            return
        numbers = count()
        for group in groups(files, (BYTES, min(most_bytes, FETCH_BYTES)), (lambda _: 1, FETCH_FILES)):
            copies = [folder / f"copy_{next(numbers)}" for _ in group]
            problems = self._get(group, copies)
            yield [(file, problems.get(file.path, copy)) for file, copy in zip(group, copies, strict=True)]

    def _get(self, files: list[FeedFile], copies: list[Path]) -> dict[str, HeadraceError]:
        """Copy files from the store together; when that fails for one of them, one by one. What fails, by address."""
        names = [file.name for file in files]
        try:
            with asking(self.address):
                self.store.get(names, [*map(str, copies)])
            return {}
        except UsageError as error:
            if len(files) == 1:
                return {files[0].path: self._gone(files[0], error)}
        problems: dict[str, HeadraceError] = {}
        for file, copy in zip(files, copies, strict=True):
            try:
                with asking(file.path):
                    self.store.get([file.name], [str(copy)])
            except UsageError as error:
                problems[file.path] = self._gone(file, error)
        return problems

    def _gone(self, file: FeedFile, error: UsageError) -> HeadraceError:
        if error.__cause__ is None or not _is_missing(error.__cause__):
            return error
        return gone(file.path)


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8; the bytes of one that is not are surrogates in Python."""
    return name == _as_text(name)


def _as_text(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _scanned(folder: str) -> Iterator[dict[str, Any]]:
    """What is in a folder on disk, links as what they point to; what can't be looked at, with the reason."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            # With slashes on Windows, too, as fsspec has it.
            info: dict[str, Any] = {"name": f"{folder.rstrip('/')}/{entry.name}", "type": "other", "size": 0}
            try:
                if entry.is_dir():
                    info["type"] = "directory"
                elif stat.S_ISREG((found := entry.stat()).st_mode):
                    info |= {"type": "file", "size": found.st_size, "mtime": found.st_mtime}
            except OSError as error:
                if not entry.is_symlink():
                    continue  # it has gone
                info["problem"] = f"it is a link that leads nowhere ({error.strerror})"
            yield info


def _closed(folder: str, error: OSError) -> dict[str, Any]:
    return {"name": folder, "type": "other", "size": 0, "problem": f"the folder can't be opened ({error.strerror})"}


def _walked(folder: str, above: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """All files below a folder on disk, also through links, but not round and round."""
    is_link = Path(folder).is_symlink()
    if is_link and any(Path(one).resolve().is_relative_to(Path(folder).resolve()) for one in above):
        yield {"name": folder, "type": "other", "size": 0, "problem": "it is a link to a folder that it lies in"}
        return
    try:
        entries = list(_scanned(folder))
    except FileNotFoundError:
        return
    except PermissionError as error:
        yield _closed(folder, error)
        return
    for entry in entries:
        if entry["type"] != "directory":
            yield entry
        elif not _is_hidden(entry["name"].rsplit("/", 1)[-1]):
            yield from _walked(entry["name"], (*above, folder))


def groups(items: Iterable[Item], *limits: tuple[Callable[[Item], float], float]) -> Iterator[list[Item]]:
    """Items in order, in groups of at least one.

    Args:
        items: what is grouped.
        limits: each a measure of an item, and what its sum over a group is at most.
    """
    group: list[Item] = []
    sums = [0.0] * len(limits)
    for item in items:
        sizes = [measure(item) for measure, _ in limits]
        if group and any(total + size > most for total, size, (_, most) in zip(sums, sizes, limits, strict=True)):
            yield group
            group, sums = [], [0.0] * len(limits)
        group.append(item)
        sums = [total + size for total, size in zip(sums, sizes, strict=True)]
    if group:
        yield group


BYTES = attrgetter("size")
"""How large a file is."""


def _hour(path: str) -> datetime | None:
    """When the folder of an hour in a path says; None when there is none, or it says no time."""
    folder = next((name for name in path.split("/") if name.startswith(HOUR_FOLDER)), "")
    if not (found := HOUR.fullmatch(unquote(folder.removeprefix(HOUR_FOLDER)))):
        return None
    day, hour, minute, second = found.group(1, 3, 5, 7)
    try:
        return datetime.fromisoformat(f"{day}T{hour or '00'}:{minute or '00'}:{second or '00'}+00:00")
    except ValueError:
        return None


def modified_time(info: dict[str, Any]) -> datetime | None:
    """When a store says that a file was written; each has a name and a form of its own for it."""
    found = next((info[key] for key in ("mtime", "LastModified", "last_modified", "updated") if info.get(key)), None)
    try:
        if isinstance(found, (int, float)):
            return datetime.fromtimestamp(found, UTC)
        at = datetime.fromisoformat(found.replace("Z", "+00:00")) if isinstance(found, str) else found
        return at and at.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _prefixes(hours: list[str]) -> list[str]:
    """What the names of these hours' folders begin with: days, or months or years where that makes fewer calls."""
    for length in (10, 7, 4):
        prefixes = {name[: len(HOUR_FOLDER) + length] for name in hours}
        if len(prefixes) <= 31:
            return sorted(prefixes)
    return [HOUR_FOLDER]


def _base(store: Any, address: str, root: str) -> tuple[str, str]:
    """What the addresses of a store's files begin with, and what of the store's own names it stands for."""
    protocol = store.protocol if isinstance(store.protocol, str) else store.protocol[0]
    if isinstance(store, LocalFileSystem) or protocol in ("http", "https"):
        return "", ""
    if "::" in address:
        return f"{shown(address.partition('::')[2])}::{protocol}://", ""
    if account := _azure_account(store, address):
        container = root.partition("/")[0]
        return f"abfss://{container}@{account}.dfs.core.windows.net", container
    options = store.storage_options
    host = options.get("host") or getattr(store, "host", None)
    if not isinstance(host, str):
        return f"{protocol}://", ""
    user = options.get("username") or options.get("user")
    port = options.get("port")
    base = f"{protocol}://{user}@" if user else f"{protocol}://"
    base += host.lower() + (f":{port}" if port and int(port) != PORTS.get(protocol) else "")
    return base + ("" if root.startswith("/") else "/"), ""


def _azure_account(store: Any, address: str) -> str | None:
    """The account that is asked, which is not part of an `az://container/…`."""
    named: str | None = getattr(store, "account_name", None)
    connection = getattr(store, "connection_string", None)
    found = re.search(r"AccountName=([^;]+)|BlobEndpoint=https?://([^.;/]+)", connection or "")
    account = (found[1] or found[2]) if found else named
    in_address = urlsplit(address).netloc.rpartition("@")[2].partition(".")
    if account and in_address[2] and in_address[0] != account:
        raise UsageError(f"{shown(address)}: the environment logs in to another account, {account}")
    return account


@contextmanager
def asking(address: str, may: str = "list and read") -> Iterator[None]:
    """Turn what a store's package raises into errors of ours, which say whether it is worth running again.

    Args:
        address: what is asked for, as it may be shown.
        may: what the credentials must allow.
    """
    try:
        yield
    except (HeadraceError, ImportError):
        raise
    except Exception as error:  # each package has exceptions of its own, and few have a base in common
        raise _failure(address, error, may) from error


def _failure(address: str, error: Exception, may: str) -> HeadraceError:
    status, code = _answer(error)
    name = code or type(error).__name__
    if _is_missing(error):
        return UsageError(f"{address}: no such file or folder" + (", or bucket" if "://" in address else ""))
    is_denied = (
        isinstance(error, (PermissionError, ftplib.error_perm))
        or status in (401, 403)
        or str(error).startswith("Forbidden")
    )
    if is_denied or type(error).__name__ in NO_CREDENTIALS:
        return UsageError(f"{address}: access denied ({name}): check the credentials, and what they may {may}")
    is_refused = status and 300 <= status < 500 and status not in IN_PASSING  # 301 is a bucket of another region
    if is_refused or isinstance(error, (ValueError, NotImplementedError)) or getattr(error, "errno", None) in LASTING:
        return UsageError(f"{address}: {name}: {words_of(error)}")
    return LoadError(f"{address}: the store fails or can't be reached ({name}: {words_of(error)}); run it again")


def _is_missing(error: BaseException) -> bool:
    return isinstance(error, FileNotFoundError) or _answer(error)[0] == 404


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


def words_of(error: BaseException) -> str:
    """What an exception says, in one line, without what may be secret in it."""
    return re.sub(r"\?[^\s'\"]*", "", PASSWORD.sub(r"\1@", " ".join(str(error).split())))[:300]


def shown(address: str) -> str:
    """An address without what may be secret in it: a password, or a signed query."""
    if "://" not in address:
        return address
    return re.sub(r"\?.*", "", PASSWORD.sub(r"\1@", address), flags=re.DOTALL)
