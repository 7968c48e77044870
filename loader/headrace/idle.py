"""Whether a sync has nothing to do: what a build is made from, and what a sync that left nothing to do wrote down.

It imports neither dlt nor dbt, which take longer than the answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .definitions import FILE_NAME, files_of
from .errors import HeadraceError
from .feed import Feed, FeedFile
from .target import home_of, installed, profile_folders, settings_of, write_at_once
from .warehouses import WAREHOUSES

PATHS = {
    "model-paths": ["models"],
    "macro-paths": ["macros"],
    "seed-paths": ["seeds"],
    "snapshot-paths": ["snapshots"],
    "test-paths": ["tests"],
}
"""Where dbt finds what it builds, with its defaults."""

DISTRIBUTIONS = ("headrace", "dbt-core", *(f"dbt-{name}" for name in WAREHOUSES))
ENV_VAR = re.compile(rb"env_var\(\s*['\"](\w+)['\"]")
NOT_OF_A_BUILD = re.compile(r"DBT_(LOG_\w+|ENV_SECRET_\w+|\w+_(PATH|DIR)|WRITE_JSON)")
"""Variables of the environment that dbt reads, and that change nothing of what it builds."""


def fingerprint(project: Path, *more: str) -> str:
    """What a build of a dbt project is made from: its files, versions, and the environment that dbt and the files read.

    Equal on every machine that builds the same. `more` is what else it depends on, such as the target's name.
    """
    digest = hashlib.sha256(repr(more).encode())
    names = {name for name in os.environ if name.startswith("DBT_") and not NOT_OF_A_BUILD.fullmatch(name)}
    for file in _project_files(project):
        content = file.read_bytes()
        names |= {name.decode() for name in ENV_VAR.findall(content)}
        digest.update(f"{os.path.relpath(file, project)}\0{len(content)}\0".encode())
        digest.update(content)
    digest.update(repr([(name, os.environ.get(name)) for name in sorted(names)]).encode())
    digest.update(repr([_version(name) for name in DISTRIBUTIONS]).encode())
    return digest.hexdigest()


def _project_files(project: Path) -> Iterator[Path]:
    """The files of a project and of its packages."""
    yield from sorted(file for file in project.glob("*.y*ml") if file.name != FILE_NAME)
    settings = settings_of(project)
    for name, default in PATHS.items():
        folders = settings.get(name, default)
        for folder in [folders] if isinstance(folders, str) else folders:
            for below, _, files in sorted(os.walk(project / folder, followlinks=True)):
                yield from (Path(below, file) for file in sorted(files))
    for package in sorted(installed(project, settings).parent.glob("*")):
        yield from _project_files(package)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Listing:
    """What a feed held when it was listed."""

    first: str | None
    """The first day that was looked at, None for all."""
    roots: list[str]
    digest: str

    @classmethod
    def of(cls, files: Iterable[FeedFile], first: date | None, roots: Iterable[str]) -> Listing:
        """What was found when the files from a day on were listed."""
        found = [(file.path, file.size, file.version, file.problem) for file in files]
        digest = hashlib.sha256(repr(found).encode()).hexdigest()
        return cls(first.isoformat() if first else None, sorted(roots), digest)

    def is_still(self, feed: Feed) -> bool:
        """Whether the feed holds the same now."""
        first = date.fromisoformat(self.first) if self.first else None
        return Listing.of(feed.files(first, self.roots), first, self.roots) == self


@dataclass(frozen=True)
class Memo:
    """That a sync left nothing to do: it is so still where all of this is the same."""

    label: str
    made_from: str
    """The fingerprint of the project, with the profile and the options of the call."""
    listing: Listing
    database: str | None
    """The DuckDB file; None for a warehouse, which has to be asked itself."""
    stat: list[list[int]]
    """Sizes and times of the DuckDB file and its log."""

    def is_still(self) -> bool:
        """Whether nobody has written to the DuckDB file since."""
        return self.database is not None and self.stat == _stat(Path(self.database))


@dataclass(frozen=True)
class Call:
    """A sync as it was called."""

    feed: str
    made_from: str
    """The fingerprint of the project and of the profile that the call takes, when it began."""
    file: Path
    """Where the memo of the last such call is."""

    @classmethod
    def of(
        cls,
        feed: str,
        target: str | None,
        project: Path,
        profiles: Path | None,
        vars: Mapping[str, Any],
        stores: Sequence[str] = (),
    ) -> Call:
        """The call with these arguments, from the working directory."""
        key = repr((feed, str(Path.cwd()), target, str(project), str(profiles), *stores))
        file = home_of(project) / "idle" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        texts = []
        for folder in profile_folders(project, profiles):
            with suppress(OSError):
                texts.append((folder / "profiles.yml").read_bytes())
        names = sorted({name.decode() for text in texts for name in ENV_VAR.findall(text)} | {"HEADRACE_DUCKDB"})
        found = [(name, os.environ.get(name)) for name in names]
        defined = [file.read_bytes() for file in files_of(project)]  # no view is made from them
        return cls(feed, fingerprint(project, repr(vars), repr(texts), repr(found), repr(defined)), file)

    def forget(self) -> None:
        """Begin to change something."""
        self.file.unlink(missing_ok=True)

    def remember(self, label: str, listing: Listing, database: Path | None) -> None:
        """Write down that there is nothing left to do."""
        memo = Memo(label, self.made_from, listing, str(database) if database else None, _stat(database))
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_at_once(self.file, json.dumps(asdict(memo)))

    def recall(self) -> Memo | None:
        """What the last sync left, where there is nothing new in the feed, the project and the profile since."""
        try:
            kept = json.loads(self.file.read_text(encoding="utf-8"))
            memo = Memo(**{**kept, "listing": Listing(**kept["listing"])})
            is_same = memo.made_from == self.made_from and memo.listing.is_still(Feed.at(self.feed))
        except (OSError, ValueError, TypeError, KeyError, HeadraceError):
            return None
        return memo if is_same else None


def _stat(database: Path | None) -> list[list[int]]:
    found = []
    for path in [database, Path(f"{database}.wal")] if database else []:
        with suppress(OSError):
            stat = path.stat()
            found.append([stat.st_size, stat.st_mtime_ns])
    return found
