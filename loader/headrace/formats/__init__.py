"""The formats of feed files. A further one is a module here, as `Reader` says, and a line in `FORMATS`.

The modules are imported when a file is read, so that looking for new files doesn't wait for what reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

import pyarrow as pa

from ..errors import UsageError
from ..rows import Tally
from .source import COMPRESSION, Source


class Reader(Protocol):
    """What the module of a format has."""

    def matches(self, source: Source) -> bool:
        """Whether a file is of this format, by its suffix or its first bytes; the first one in `FORMATS` has it."""

    def events(self, source: Source, tally: Tally) -> Iterator[pa.RecordBatch]:
        """The file's events as batches that went through `checks`, which take what they reject to the tally.

        Of a file that can't be read on, what there is before, and then an OSError or one of Arrow's.
        """

    def objects(self, source: Source, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
        """The objects of a small file of definitions, with their positions from 1."""


@dataclass(frozen=True)
class Format:
    """A format of feed files, and which names are its own."""

    module: str
    """Where its `Reader` is."""
    suffixes: tuple[str, ...] = ()
    """How names end that say this format, but for the compression."""
    shared_suffixes: tuple[str, ...] = ()
    """How names end that may be of this format: their content decides."""
    is_compressed: bool = True
    """Whether such files may also be `.gz` or `.zst`."""

    @property
    def reader(self) -> Reader:
        """The module."""
        return cast(Reader, import_module(self.module, __name__))


FORMATS = [
    Format(".parquet", suffixes=(".parquet",), is_compressed=False),
    Format(".export", shared_suffixes=(".csv",)),
    Format(".ndjson", suffixes=(".ndjson", ".jsonl", ".json")),
]

SUFFIX = re.compile(r"\.[a-z]\w{0,9}$", re.IGNORECASE)
"""An end of a name that says what is in the file; that of `part-00000` or `events.2026-03-02` says nothing."""


def named() -> str:
    """The files that are read, in words."""
    *suffixes, last = (suffix for one in FORMATS for suffix in one.suffixes)
    return f"{', '.join(suffixes)} or {last} file (nor any with .gz or .zst)"


def suffix_of(name: str) -> str | None:
    """The format and the compression that a name tells; empty where only the content does, None for other formats."""
    found = COMPRESSION.search(name)
    compression = f".{found[1].lower()}" if found else ""
    ending = SUFFIX.search((name[: found.start()] if found else name).rsplit("/", 1)[-1])
    suffix = ending[0].lower() if ending else ""
    for one in FORMATS:
        if suffix in one.suffixes:
            return suffix + compression if one.is_compressed or not compression else None
    return "" if not suffix or any(suffix in one.shared_suffixes for one in FORMATS) else None


def reader_of(source: Source) -> Reader:
    """What reads a file.

    Raises:
        UsageError: it is of no format that is read.
        OSError: it can't be opened.
    """
    for one in FORMATS:
        if one.reader.matches(source):
            return one.reader
    raise UsageError(f"{source.name}: neither name nor content is that of a format that is read")
