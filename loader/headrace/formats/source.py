"""One file of a feed on local disk, and its decompressed bytes."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from ..rows import BLOCK_BYTES

COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
COMPRESSION = re.compile(r"\.(gz|zst)(ip|d)?$", re.IGNORECASE)
"""How a name ends that says a compression."""

MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}

HEAD_BYTES = 2**16
"""So much of a file's beginning shows what it holds."""

BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r\n"


@dataclass(frozen=True)
class Source:
    """A file to read."""

    path: Path
    name: str
    """What `_file` shall say: the file's address in the feed."""
    suffix: str = ""
    """The format and the compression that the name tells, such as `.ndjson.gz`; empty where only the content does."""
    hour: datetime | None = None
    """The ingested_time of its folder."""
    modified: datetime | None = None
    """When it was written; with hour, what tells of two exports of an event which is the later one."""

    @property
    def stem(self) -> str:
        """The name but for the compression, in lower case."""
        return COMPRESSION.sub("", self.name).lower()

    @cached_property
    def magic(self) -> bytes:
        """Its first bytes as they are."""
        with self.path.open("rb") as file:
            return file.read(4)

    @cached_property
    def compression(self) -> str:
        """`.gz` or `.zst`, as the first bytes say, else the name.

        A store may keep `a.ndjson` compressed (`Content-Encoding: gzip`) and not say so when it is read.
        """
        named = Path(self.suffix).suffix if self.suffix.count(".") > 1 else ""
        return next((suffix for magic, suffix in MAGIC.items() if self.magic.startswith(magic)), named)

    @cached_property
    def head(self) -> bytes:
        """The first bytes, decompressed, as far as they can be read."""
        head = b""
        try:
            with self.text() as stream:
                while len(head) < HEAD_BYTES and (block := stream.read(1024)):
                    head += block
        except OSError:  # whoever reads it on says so
            pass
        return head

    @property
    def opening(self) -> bytes:
        """The first byte that is not blank: `[` of an array, `{` of lines of objects."""
        return self.head.removeprefix(BOM).lstrip(BLANK)[:1]

    def text(self) -> _Text:
        """The decompressed bytes, up to the very byte from which on the file is damaged."""
        return _Text(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """The same in pieces of some megabytes.

        A reader that fails gives nothing of what it had read by then, so it is asked again for less. Zeros that fill up
        the last block of a tape or disk may follow a gzip file: Python's own reader, which is slower, knows them.

        Raises:
            OSError: the file is damaged here.
        """
        if self.compression and self.path.stat().st_size == 0:
            raise OSError("it is empty")
        done = 0
        for read_by, size in READERS[self.compression]:
            try:
                with read_by(self) as stream:
                    read = getattr(stream, "read1", stream.read)
                    to_skip = done
                    while to_skip and (piece := read(min(to_skip, size))):
                        to_skip -= len(piece)
                    while piece := read(size):
                        done += len(piece)
                        yield piece
                    return
            except (OSError, EOFError, zlib.error) as error:
                failed: Exception = error
        raise failed if isinstance(failed, OSError) else OSError(str(failed)) from failed


class _Text(io.RawIOBase, BinaryIO):
    """A stream of pieces of bytes that remembers the last byte that was read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.found = pieces
        self.rest = b""
        self.last = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.rest = self.rest or next(self.found, b"")
        count = min(len(buffer), len(self.rest))
        buffer[:count], self.rest = self.rest[:count], self.rest[count:]
        self.last = buffer[count - 1] if count else self.last
        return count


def _by_arrow(source: Source) -> Any:
    raw = pa.OSFile(str(source.path))
    return pa.CompressedInputStream(raw, COMPRESSED[source.compression]) if source.compression else raw


def _by_python(source: Source) -> Any:
    return gzip.open(source.path)


READERS: dict[str, list[tuple[Callable[[Source], Any], int]]] = {
    "": [(_by_arrow, BLOCK_BYTES)],
    ".gz": [(_by_arrow, BLOCK_BYTES), (_by_python, 2**16)],
    ".zst": [(_by_arrow, BLOCK_BYTES), (_by_arrow, 2**16), (_by_arrow, 2**8), (_by_arrow, 1)],
}
"""What reads a file by its compression, and how much at once; the next one is asked when one has failed."""
