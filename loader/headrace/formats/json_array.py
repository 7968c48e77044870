"""The objects of a JSON array, one by one, also of an array that is damaged or too large to be held."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

import msgspec
from msgspec import Raw

from .source import BLANK, BOM

HAS_TIME = re.compile(rb'"(?:EventStart|processed_time)"\s*:')

BLOCK_BYTES = 2**20
GAP = re.compile(rb"[\s,]*")
STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
FLAT = re.compile(rb'\{[^{}"]*(?:' + STRING + rb'[^{}"]*)*\}', re.DOTALL)
"""An object with no braces but in strings, as nearly all are."""
TOKEN = re.compile(STRING + rb"?|[{}]", re.DOTALL)
"""What tells where an object ends; a string that is cut off runs to the end."""
NEXT = re.compile(rb'[\s,](\{\s*")')
MOST_DEPTH = 500
"""What is nested deeper is not read as an object."""
MOST_TRIES, DEPTH_OF_TRIES = 20, 8
"""How many objects after a damaged record are looked at before the record is given up with them, and how deep ones:
without bounds a file that is nothing but braces would take hours."""


def records_of_array(stream: BinaryIO, reject: Callable[..., None], limit: int) -> Iterator[tuple[int, bytes]]:
    """The objects of a JSON array with their places in it, from 1, in memory bounded by a few times `limit` bytes.

    What is none is rejected alone: the next one begins where an object begins that can be read and has a record's keys.
    An array that ends without its bracket was cut off, which is a fault of the file.
    """
    at, position, too_long = 0, 0, False
    with stream:
        text = stream.read(BLOCK_BYTES).removeprefix(BOM).lstrip(BLANK).removeprefix(b"[")
        while True:
            if not too_long:
                at = GAP.match(text, at).end()  # type: ignore[union-attr]
                if text[at : at + 1] == b"]":
                    if text[at + 1 :].strip(BLANK):
                        reject(position + 1, "text after the end of the array", text[at + 1 :])
                    return
                if end := _end_of(text, at):
                    position += 1
                    yield position, text[at:end]
                    at = end
                    continue
            if following := _next_record(text, at):
                if not too_long:
                    position += 1
                    reject(position, "no JSON object that can be read", text[at:following])
                at, too_long = following, False
                continue
            if not too_long and len(text) - at > limit:
                position += 1
                reject(position, f"the record is longer than {limit:,} bytes", text[at:])
                too_long = True
            # Each time more than before, so that a long record is not looked through once for each block of it.
            text = text[-BLOCK_BYTES if too_long else at :]
            at, known = 0, len(text)
            block = stream.read(max(BLOCK_BYTES, known))
            text += block
            if not block:
                reject(None, f"the array is cut off after its record {position:,}", text)
                return


def _end_of(text: bytes, at: int, most_depth: int = MOST_DEPTH) -> int | None:
    """Where the object ends that begins at a place; None when none begins there that is whole and can be read."""
    if text[at : at + 1] != b"{":
        return None
    if found := FLAT.match(text, at):
        return found.end() if _is_object(text, at, found.end()) else None
    depth = 0
    for token in TOKEN.finditer(text, at):
        if token[0] == b"{":
            depth += 1
            if depth > most_depth:
                return None
        elif token[0] == b"}":
            depth -= 1
            if depth == 0:
                return token.end() if _is_object(text, at, token.end()) else None
        elif token.end() == len(text):
            return None
    return None


def _is_object(text: bytes, at: int, end: int) -> bool:
    """Whether that is one record, good or bad; not when a quote is missing and others were taken for its text."""
    if not NEXT.search(text, at, end):
        return True
    try:
        msgspec.json.decode(memoryview(text)[at:end], type=dict[str, Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _next_record(text: bytes, at: int) -> int | None:
    """Where behind a damaged record the next one begins, if the text shows it."""
    for tries, found in enumerate(NEXT.finditer(text, at + 1), 1):
        start = found.start(1)
        if tries > MOST_TRIES:
            return start
        if (end := _end_of(text, start, DEPTH_OF_TRIES)) and HAS_TIME.search(text, start, end):
            return start
    return None
