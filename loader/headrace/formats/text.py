"""Lines of a text file, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from ..rows import BAD_ROW, MAX_LINE_BYTES, TOO_LONG, Tally
from .source import BOM, Source


def blocks(source: Source, tally: Tally) -> Iterator[tuple[int, int, memoryview]]:
    """Whole lines in blocks of some megabytes, each with the number of its first line and how many it holds.

    Memory is bounded by `MAX_LINE_BYTES`: what is longer is rejected as it passes.
    """
    too_long = f"the line {TOO_LONG}"
    number, rest, skipping, is_empty = 1, b"", False, True
    try:
        for block in source.pieces():
            is_empty = False
            whole = block if number > 1 and not rest else (rest + block).removeprefix(BOM if number == 1 else b"")
            first, end = whole.find(b"\n") + 1, whole.rfind(b"\n") + 1
            if not (skipping or 0 < first <= MAX_LINE_BYTES) and len(whole) > MAX_LINE_BYTES:
                tally.reject(number, too_long, whole)
                skipping = True
            if not end:
                rest = b"" if skipping else whole
                continue
            start = first if skipping else 0
            number += skipping
            count = whole.count(b"\n", start)
            yield number, count, memoryview(whole)[start:end]
            number, rest, skipping = number + count, whole[end:], False
    except OSError:
        if rest:
            tally.reject(number, "the file ends in the middle of this row", rest)
        raise
    if is_empty or skipping or (rest and not _is_json(rest)):
        tally.is_whole = False
    if rest:
        yield number, 1, memoryview(rest)


def _is_json(line: bytes) -> bool:
    """Whether a last line without its end has all the same been written to its end."""
    try:
        msgspec.json.decode(line, type=Raw)
    except msgspec.DecodeError:
        return False
    return True


def lines(source: Source, tally: Tally) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; empty ones are passed over."""
    for first, _, block in blocks(source, tally):
        yield from numbered_lines(first, block)


def numbered_lines(first: int, block: memoryview) -> Iterator[tuple[int, bytes]]:
    """The lines of one block."""
    for number, line in enumerate(bytes(block).split(b"\n"), first):
        if line and not line.isspace():
            yield number, line


def objects(source: Source, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of lines, with their positions."""
    for position, line in lines(source, tally):
        try:
            yield position, msgspec.json.decode(line, type=dict[str, Any])
        except BAD_ROW as error:
            tally.reject(position, error, line)
