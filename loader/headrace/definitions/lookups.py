"""The definitions of a project as rows of `raw_definitions`, with the times and authors that git knows.

They are loaded beside the feed's files, like one more file of these: when they changed, and never without the ledger.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import dlt
import msgspec
import pyarrow as pa
import xxhash
from dlt.common.destination.exceptions import DestinationException

from .. import ledger
from ..pipeline import query
from ..rows import RAW_DEFINITIONS
from . import FILE_NAME
from .model import KINDS, Definition, Definitions

PATH = FILE_NAME
"""Under which name the ledger knows them, wherever they lie."""

GIT_SECONDS = 20
HEADER = re.compile(r"[0-9a-f]{40,64} \d+ \d+")


@dataclass(frozen=True)
class Lookups:
    """What the lookups shall know."""

    rows: list[dict[str, Any]]
    content_hash: str

    def rows_of(self, load_id: str) -> pa.Table:
        """The rows of `raw_definitions` of a load."""
        place = {"_file": PATH, "_dlt_load_id": load_id}
        rows = [{**row, **place, "_position": position} for position, row in enumerate(self.rows, 1)]
        return pa.Table.from_pylist(rows, schema=RAW_DEFINITIONS)

    def ledger_row(self, load_id: str) -> dict[str, Any]:
        """What the ledger shall know of them."""
        return ledger_row(PATH, "definitions", len(self.rows), load_id) | {"content_hash": self.content_hash}


def ledger_row(path: str, kind: str, rows: int, load_id: str) -> dict[str, Any]:
    """The ledger's row of what is loaded and is no file of a feed."""
    return {
        "path": path,
        "kind": kind,
        "size": 0,
        "version": "",
        "row_count": rows,
        "rejected": 0,
        "wrong_clock": 0,
        "is_recreated": False,
        "is_merged": False,
        "is_export": False,
        "_dlt_load_id": load_id,
    }


def waiting(pipeline: dlt.Pipeline, definitions: Definitions | None, folder: Path) -> Lookups | None:
    """The rows of all definitions, to be loaded; None when they are as they were loaded last.

    What is defined no more is there as archived: events were stamped with it, and it keeps its name.

    Args:
        pipeline: asked for what the lookups have.
        definitions: those of the project; None where it has none.
        folder: what the files of the definitions are told from, to ask git for them.
    """
    known = ledger.read(pipeline, []).get(PATH)
    known_hash = known.content_hash if known else None
    found = definitions or Definitions()
    content_hash = set_id(found)
    if content_hash == known_hash or (definitions is None and known_hash is None):
        return None
    earlier = _earlier(pipeline) if known_hash else {}
    authors, now = _Authors(folder), datetime.now(UTC)
    rows = []
    for kind, one in _each(found):
        row = _row(kind, one)
        told = authors.of(one) | {name: value for name, value in row.items() if value is not None}
        before = earlier.pop((kind, one.id), {})
        times = {"created_time": before.get("created_time") or now, "created_by": before.get("created_by")}
        times["modified_time"] = before["modified_time"] if _is_same(row, before) else now
        rows.append(row | times | told)
    gone = [row | {"state": "archived", "modified_time": now} for row in earlier.values() if row["state"] != "archived"]
    return Lookups([*rows, *gone], content_hash)


def set_id(definitions: Definitions) -> str:
    """What tells a set of definitions from all others."""
    rules = [asdict(rule) | {"place": None} for rule in definitions.page_rules]
    return xxhash.xxh3_128_hexdigest(
        msgspec.json.encode([*(_row(kind, one) for kind, one in _each(definitions)), rules])
    )


def _each(definitions: Definitions) -> Iterator[tuple[str, Definition]]:
    for kind in KINDS:
        for one in definitions.of(kind):
            yield kind, one


def _row(kind: str, one: Definition) -> dict[str, Any]:
    said = {name: value for name, value in asdict(one).items() if name not in COMMON}
    return {
        "kind": kind,
        "id": one.id,
        "name": one.name,
        "description": one.description,
        "state": one.state,
        "created_time": one.created_time,
        "created_by": one.created_by,
        "modified_time": one.modified_time,
        "modified_by": one.modified_by,
        "is_user_defined": True if kind == "page" else None,
        "content": msgspec.json.encode(said, order="sorted").decode(),
    }


COMMON = {field.name for field in fields(Definition)}
"""What all definitions have: columns of the lookups, and their place."""


def _is_same(row: dict[str, Any], before: dict[str, Any]) -> bool:
    return bool(before) and all(row[name] == before[name] for name in ("name", "description", "state", "content"))


def _earlier(pipeline: dlt.Pipeline) -> dict[tuple[str, str], dict[str, Any]]:
    """What the lookups have of the definitions of a project, or will have by the next build, by kind and id."""
    names = ("id", "name", "description", "state", "created_time", "created_by", "modified_time", "modified_by")
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for kind in KINDS:
        with suppress(DestinationException):  # no build has made the column yet; if more is wrong, the load fails, too
            for values in query(
                pipeline, f"select {', '.join(names)}, _content from {kind}_definitions where _content is not null"
            ):
                row = dict(zip((*names, "content"), values, strict=True))
                found[kind, row["id"]] = {"kind": kind, **row, "is_user_defined": True if kind == "page" else None}
    with suppress(DestinationException):  # those of loads that wait for a build, each of them whole
        for values in query(
            pipeline,
            f"select kind, {', '.join(names)}, content from raw_definitions "
            "where content is not null and _file = %s order by _dlt_load_id, _position",
            PATH,
        ):
            row = dict(zip(("kind", *names, "content"), values, strict=True))
            found[row["kind"], row["id"]] = row | {"is_user_defined": True if row["kind"] == "page" else None}
    return found


class _Authors:
    """Who wrote a definition and when, as git tells it of its lines; nothing where git is not there, or not whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._of_file = lru_cache(None)(self._blame)
        self._is_whole = self._git("rev-parse", "--is-shallow-repository").strip() == b"false"

    def of(self, one: Definition) -> dict[str, Any]:
        """The times and authors of a definition that does not tell them itself."""
        lines = self._of_file(one.place.file) if self._is_whole else {}
        found = [lines.get(line) for line in _lines_of(self.folder / one.place.file, one.place.line)] if lines else []
        known = [line for line in found if line]
        first, last = min(known, default=None), max(known, default=None)
        told: dict[str, Any] = {}
        if first and not (one.created_time or one.created_by):
            told |= {"created_time": first[0], "created_by": first[1]}
        if last and None not in found and not (one.modified_time or one.modified_by):
            told |= {"modified_time": last[0], "modified_by": last[1]}
        return told

    def _blame(self, file: str) -> dict[int, tuple[datetime, str] | None]:
        """When and by whom each line was written; None for what is not committed."""
        lines: dict[int, tuple[datetime, str] | None] = {}
        commit, author, at = "", "", 0
        for line in self._git("blame", "--line-porcelain", "--", file).decode(errors="replace").split("\n"):
            if line.startswith("\t"):
                is_committed = bool(commit.strip("0"))
                lines[len(lines) + 1] = (datetime.fromtimestamp(at, UTC), author) if is_committed else None
            elif HEADER.match(line):
                commit = line.partition(" ")[0]
            elif line.startswith("author "):
                author = line.removeprefix("author ")
            elif line.startswith("author-time "):
                at = int(line.removeprefix("author-time "))
        return lines

    def _git(self, *arguments: str) -> bytes:
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        with suppress(OSError, subprocess.TimeoutExpired):
            found = subprocess.run(  # noqa: S603 (no shell, and no argument that is read as an option)
                ["git", "-C", str(self.folder), *arguments],  # noqa: S607 (whichever git the user has)
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=environment,
                timeout=GIT_SECONDS,
            )
            return found.stdout if found.returncode == 0 else b""
        return b""


def _lines_of(file: Path, first: int) -> range:
    """The lines of what begins on a line: those after it that stand further to the right."""
    lines = file.read_text(encoding="utf-8-sig").split("\n")
    indent = _indent(lines[first - 1])
    last = first
    for number, line in enumerate(lines[first:], first + 1):
        if line.strip():
            if _indent(line) <= indent:
                break
            last = number
    return range(first, last + 1)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
