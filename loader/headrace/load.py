"""Feed files into the warehouse's staging: what is new, or hours of a feed again, a load package at a time.

The working folder is disposable and is emptied at each start: every recovery follows from what the destination has.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from .definitions import lookups, matches
from .definitions.model import Definitions
from .feed import Feed, FeedFile, in_order
from .ledger import NEWEST, Known, Span, discard_unfinished, forget_unread, plan_of
from .package import Loaded, Package, load_package, packages
from .pipeline import connected
from .target import Target


class ProgressCallback(Protocol):
    """Is told of the step under way and how far it is. The first word of a step names the stage that it is of."""

    def __call__(self, step: str, done: int | None = None, total: int | None = None, rows: int = 0) -> None:
        """Say it."""


def _silent(step: str, done: int | None = None, total: int | None = None, rows: int = 0) -> None:
    """Tell nobody."""


def load(
    feed: Feed,
    target: Target,
    span: Span = NEWEST,
    progress: ProgressCallback = _silent,
    definitions: Definitions | None = None,
) -> Loaded:
    """Load the files of a feed that are new or were re-created since they were loaded.

    Args:
        feed: the file or folder.
        target: where to.
        span: which hours to look at; by default the last two days before the newest one that was loaded, and all that
            came after.
        progress: is told of the file under way, files done and files in all.
        definitions: with whose ids events are stamped.

    Raises:
        UsageError: there is no such feed.
        LoadError: the destination refused. Packages that were complete stay.
    """
    started = datetime.now(UTC)
    with connected(target, loads=True) as pipeline:
        discard_unfinished(pipeline)
        plan = plan_of(pipeline, feed, span)
        if span.everything:
            forget_unread(pipeline, feed, plan)
        told = lookups.waiting(pipeline, definitions, target.project_dir)
        if told and definitions is None:  # before the ledger knows that there are none
            matches.forget(pipeline)
        # With the first package: what is stamped has a name, whatever comes between it and the last one.
        loaded = Loaded(unchanged_files=len(plan.unchanged), listing=plan.listing)
        done = 0
        for files in packages(plan.files):
            tell = _of_all(progress, done, len(plan.files), loaded.rows)
            is_first = done == 0
            done += len(files)
            sync = {
                "feed": feed.prefix,
                "started_time": started,
                "listed_since": plan.since,
                "listed_files": plan.listed,
            }
            is_last = done == len(plan.files)
            unread = plan.newly_unread if is_last else []
            package = Package(
                feed,
                files,
                plan.known,
                target,
                sync if is_last else None,
                unread,
                definitions=definitions,
                told=told if is_first else None,
                progress=tell,
            )
            load_package(pipeline, package, loaded)
    return loaded


def replay(
    feed: Feed,
    target: Target,
    span: Span,
    build: Callable[[], None],
    progress: ProgressCallback = _silent,
    definitions: Definitions | None = None,
) -> Loaded:
    """Load hours of a feed again, whatever the ledger says of them, a package at a time with a build after each.

    When it is cut short, the same call goes on with the files that it had not loaded itself: the working folder
    remembers its loads. Should that be lost, it begins anew, which costs time and changes nothing.

    Args:
        feed: the file or folder.
        target: where to.
        span: the hours.
        build: merges what was loaded, so that the queue never holds more than a package.
        progress: as in load.
        definitions: as in load.

    Raises:
        UsageError: there is no such feed.
        HeadraceError: the destination refused, or the build failed.
    """
    loaded = Loaded()
    marker = _Backfill(target.work_dir / "backfill.json", feed, span)
    with connected(target, loads=True) as pipeline:
        discard_unfinished(pipeline)
        plan = plan_of(pipeline, feed, Span(span.since, span.until, everything=True))
        told = lookups.waiting(pipeline, definitions, target.project_dir)
        if told and definitions is None:
            matches.forget(pipeline)
    others = [file for file in plan.unread if not file.problem]  # their content decides, perhaps another way by now
    files = sorted([*plan.files, *plan.unchanged, *others], key=in_order)
    todo = [file for file in files if not _is_of(marker.loads, file, plan.known.get(file.path))]
    done = len(files) - len(todo)
    if marker.loads:
        words = f"going on with a backfill begun at {marker.began} UTC, {done:,} files done"
        progress(words, done, len(files))
        loaded.gone_on = f"{words}; to begin anew, delete {marker.path}"
    for package in packages(todo):
        tell = _of_all(progress, done, len(files), loaded.rows)
        with connected(target, loads=True) as pipeline:
            again = Package(
                feed,
                package,
                plan.known,
                target,
                again=True,
                definitions=definitions,
                told=told,
                begins=marker.add,
                progress=tell,
            )
            load_package(pipeline, again, loaded)
        told = None
        build()
        done += len(package)
    marker.path.unlink(missing_ok=True)
    return loaded


def _of_all(progress: ProgressCallback, done: int, total: int, rows: int) -> Callable[[str, int, int], None]:
    """Tells of a package as of a part of all files, those before it with their rows counted in."""

    def tell(step: str, read_files: int, read_rows: int) -> None:
        progress(step, done + read_files, total, rows + read_rows)

    return tell


def _is_of(loads: list[str], file: FeedFile, known: Known | None) -> bool:
    """Whether one of these loads brought what the file now holds."""
    return known is not None and known.load_id in loads and not known.differs(file)


class _Backfill:
    """What the working folder remembers of a backfill under way: when it began, and its loads.

    A load is written down before it is committed, and counts when it was: so a kill between the two changes nothing.
    """

    def __init__(self, path: Path, feed: Feed, span: Span) -> None:
        """The one that was cut short, if it is the same call, else a new one."""
        self.path = path
        self.call = {"feed": feed.prefix, "since": str(span.since), "until": str(span.until)}
        found: dict[str, Any] = {}
        if path.exists():
            with suppress(ValueError):  # it was cut short, too
                found = json.loads(path.read_text(encoding="utf-8"))
        if {name: found.get(name) for name in self.call} != self.call or "loads" not in found:
            found = {"began": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}", "loads": []}
        self.began: str = found["began"]
        self.loads: list[str] = found["loads"]

    def add(self, load_id: str) -> None:
        """Write down a load that begins."""
        self.loads.append(load_id)
        half = self.path.with_suffix(".half")
        half.write_text(json.dumps({**self.call, "began": self.began, "loads": self.loads}), encoding="utf-8")
        half.replace(self.path)
