"""JSON text as all four warehouses take it: what one of them can't store or parse is refused, and a key stands once.

BigQuery's parser raises at a number beyond a double, Snowflake's and Redshift's at a key that comes twice, and
Redshift's text holds no NUL. Text that all of them take is carried as it was written.
"""

from __future__ import annotations

import re
from json.decoder import scanstring  # type: ignore[attr-defined]
from math import isinf

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

MAX_DEPTH = 500
"""How deep objects and arrays may lie in each other: BigQuery takes no more, Redshift 1,000."""

OBJECT = msgspec.json.Decoder(dict)
ENCODER = msgspec.json.Encoder()
NOT_READ = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

SPELLED_OUT = re.compile(rb"\\u00(?:00|3[aA])")
"""A NUL, or a colon that is not written as one."""

NUL = "holds a NUL character"
TOO_LARGE = "holds a number that is too large for a double"

TOKEN = re.compile(r"[{}\[\],:]|[^\s{}\[\],:\"]+")

LONG_NUMBER = re.compile(rb"[0-9]{10}")
"""In every thirtieth byte: an integer that a double can't hold has 309 digits or more."""


def checked(texts: pa.Array) -> tuple[pa.StringArray, dict[int, str]]:
    """JSON objects as the warehouses take them, and by index, why one of them does not. Nulls stay."""
    coded = texts.dictionary_encode()  # an hour's source_properties are few, and each is looked at once
    distinct = coded.dictionary
    if _all_are_sound(distinct):
        return texts, {}
    mended: list[str | None] = []
    faults: dict[int, str] = {}
    for code, text in enumerate(distinct.to_pylist()):
        try:
            mended.append(text if _are_sound(text.encode(), 1) else _mended(text))
        except (*NOT_READ, ValueError) as error:
            mended.append(None)
            faults[code] = _words(error)
    found = pa.DictionaryArray.from_arrays(coded.indices, pa.array(mended, pa.string())).cast(pa.string())
    if not faults:
        return found, {}
    return found, {index: faults[code] for index, code in enumerate(coded.indices.to_pylist()) if code in faults}


def _words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"is nested too deep: more than {MAX_DEPTH} levels"
    if isinstance(error, msgspec.MsgspecError):
        return f"is no JSON object: {error}"
    return str(error)


def _all_are_sound(texts: pa.StringArray) -> bool:
    """Whether nothing is to be said of any of these texts, found out in one go: as lines.

    A text that begins with `{` and ends with `}` can't be completed by the next line, as no comma stands between; so
    fewer or more objects than texts is the only way left to be no object.
    """
    if len(texts) == 0:
        return True
    if not (pc.all(pc.starts_with(texts, "{")).as_py() and pc.all(pc.ends_with(texts, "}")).as_py()):
        return False
    # Only a text with so many brackets can be nested too deep.
    if pc.any(pc.greater(pc.binary_length(texts), 2 * MAX_DEPTH)).as_py():
        long = texts.filter(pc.greater(pc.binary_length(texts), 2 * MAX_DEPTH)).to_pylist()
        if any(text.count("{") + text.count("[") > MAX_DEPTH for text in long):
            return False
    return _are_sound(as_lines(texts).to_pybytes(), len(texts))


def as_lines(texts: pa.StringArray) -> pa.Buffer:
    """Texts as the lines of one."""
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts), "\n")
    return joined[0].as_buffer()


def _are_sound(lines: bytes, count: int) -> bool:
    """Whether lines are so many JSON objects in which nothing is to be mended or refused. False may also mean: perhaps.

    What msgspec makes of them has each key once. A key that comes twice takes its colon along, so that they have as
    many colons only when there is none, as long as colons are written as such.
    """
    if SPELLED_OUT.search(lines) or LONG_NUMBER.search(lines[::30]):
        return False
    try:
        objects = OBJECT.decode_lines(lines)
    except NOT_READ:
        return False
    if len(objects) != count or (count == 1 and lines.count(b"{") + lines.count(b"[") > MAX_DEPTH):
        return False
    again = ENCODER.encode_lines(objects)[:-1]
    return lines == again or lines.count(b":") == again.count(b":")


def _mended(text: str) -> str:
    """The text of an object without the members whose keys come again, otherwise as it was written.

    Raises:
        ValueError: a warehouse can't take it.
        msgspec.MsgspecError: it is no JSON object.
        RecursionError: it is nested deeper than `MAX_DEPTH`.
    """
    try:
        OBJECT.decode(text)
    except msgspec.ValidationError as error:
        if "out of range" in str(error):
            raise ValueError(TOO_LARGE) from None
        raise
    at, gone = 0, []
    open_ones: list[_Object | None] = []  # None for an array
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        inner = open_ones[-1] if open_ones else None
        if text[at] == '"':
            string, end = scanstring(text, at + 1)
            if "\0" in string:
                raise ValueError(NUL)
            if inner is not None and inner.wants_key:
                gone += inner.begin(string, at)
        else:
            word = TOKEN.match(text, at)[0]  # type: ignore[index]
            end = at + len(word)
            if word in ("{", "["):
                open_ones.append(_Object() if word == "{" else None)
                if len(open_ones) > MAX_DEPTH:
                    raise RecursionError
            elif word in ("}", "]"):
                open_ones.pop()
            elif word == "," and inner is not None:
                inner.wants_key = True
            elif word[0] in "-0123456789" and isinf(float(word)):
                raise ValueError(TOO_LARGE)
        at = end
    kept, last = [], 0
    for start, end in sorted(gone):
        if start >= last:  # else it lies in what has gone
            kept.append(text[last:start])
            last = end
        last = max(last, end)
    return "".join(kept) + text[last:]


class _Object:
    """An object that is being read: where each of its members begins and ends."""

    def __init__(self) -> None:
        self.wants_key = True
        self.members: dict[str, tuple[int, int]] = {}
        self.key: str | None = None
        self.start = 0

    def begin(self, key: str, start: int) -> list[tuple[int, int]]:
        """Note a member; the place of an earlier one with its key, from its key to the next, when there is one."""
        if self.key is not None:
            self.members[self.key] = self.start, start
        self.key, self.start, self.wants_key = key, start, False
        earlier = self.members.pop(key, None)
        return [earlier] if earlier else []
