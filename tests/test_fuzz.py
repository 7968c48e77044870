"""Damaged lines and files, thrown at the loader alone: nothing crashes, no good row is lost, every bad one is told.

HEADRACE_FUZZ_LINES says how many lines, HEADRACE_SEED which.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import event
from headrace import rows
from headrace.formats.source import BOM, Source
from headrace.reading import read_events
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loader import Staging, staging  # noqa: F401 (a fixture)

LINES = int(os.environ.get("HEADRACE_FUZZ_LINES", "12000"))
SEED = int(os.environ.get("HEADRACE_SEED", "1"))
LINES_PER_FILE = 150

# --- the judge: which lines are good, by Python's json module and the contract's rules for the fields ----------------

Pairs = list[tuple[str, Any]]


class BadLineError(ValueError):
    """The line breaks the contract."""


def judged(line: bytes) -> dict[str, Any]:
    """The fields of a good line.

    Where JSON leaves a choice, the loader's is: a lone surrogate is no text, since no warehouse can store it, nor is
    what holds a NUL; of a key that comes twice the last counts, but each must be of the right type; no value is nested
    deeper than Python can follow, properties not deeper than 500; a number in them is one that a double can hold. A
    field that the contract does not know is left out, so its value must be JSON but need not be UTF-8.
    """
    if len(line) > 16 * 2**20:
        raise BadLineError("longer than a warehouse takes")
    check_text(strict(line.decode(errors="replace")))
    pairs = strict(line.decode(errors="surrogateescape"))
    if not isinstance(pairs, Object):
        raise BadLineError("no object")
    for name, value in pairs:
        check_text(name)
        if name in rows.EVENT_FIELDS:
            check_text(value)
            if isinstance(value, str) and "\0" in value and value == dict(pairs)[name]:
                raise BadLineError("NUL")
        check_type(name, value)
    fields = dict(pairs)
    properties = [fields.get("event_properties"), fields.get("source_properties")]
    for value in properties:
        if isinstance(value, str):
            value = strict(value)
            check_text(value)
        if not isinstance(value, Object | None):
            raise BadLineError("properties that are no object")
        check_stored(value)
    for name in ("event_time", "processed_time", "updated_time"):
        check_time(fields.get(name))
    event_type = fields.get("event_type")
    if event_type is None:
        # Some exporters leave nulls out: without a type and properties it supersedes, too.
        if "event_type" not in fields and properties[0] is not None:
            raise BadLineError("the type is missing")
        if not fields.get("event_id"):
            raise BadLineError("supersedes nothing")
    elif event_type == "" or None in [fields.get(name) for name in ("device_id", "source_type")] + properties:
        raise BadLineError("a field is missing")
    if fields.get("processed_time") is None:
        raise BadLineError("processed_time is missing")
    return fields


class Object(list[tuple[str, Any]]):
    """A JSON object with each of its pairs."""


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise BadLineError(f"{constant} is no JSON")

    return json.loads(text, object_pairs_hook=Object, parse_constant=refuse, parse_int=integer)


def check_text(value: Any) -> None:
    """Raises at a lone surrogate, which is also what bytes that are no UTF-8 were read as."""
    json.dumps(value, ensure_ascii=False).encode()


def check_stored(value: Any, depth: int = 0) -> None:
    """Raises at what one of the warehouses can't store or parse."""
    if isinstance(value, list) and depth == 500:
        raise BadLineError("nested too deep")
    if isinstance(value, Object):
        for pair in value:
            check_stored(pair[0])
            check_stored(pair[1], depth + 1)
    elif isinstance(value, list):
        for one in value:
            check_stored(one, depth + 1)
    elif (isinstance(value, str) and "\0" in value) or value in (float("inf"), -float("inf")):
        raise BadLineError("NUL, or a number beyond a double")


def integer(text: str) -> int | float:
    return int(text) if len(text) < 300 else float(text)


def deduped(value: Any) -> Any:
    """Of the pairs of an object that have the same key, the last."""
    if isinstance(value, Object):
        last = {key: place for place, (key, _) in enumerate(value)}
        return Object((key, deduped(found)) for place, (key, found) in enumerate(value) if last[key] == place)
    return [deduped(one) for one in value] if isinstance(value, list) else value


def check_type(name: str, value: Any) -> None:
    if name in ("device_id", "session_id", "view_id") or (name == "updated_time" and not isinstance(value, str)):
        if value is not None and (type(value) is not int or not -(2**63) <= value < 2**63):
            raise BadLineError(f"{name} is no 64-bit integer")
    elif name in rows.EVENT_FIELDS and name not in rows.PROPERTIES and not isinstance(value, str | None):
        raise BadLineError(f"{name} is no text")


TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d)(:\d\d)?(:\d\d)?(\.\d+)?([Zz]|([+-])(\d\d):?(\d\d)?)?", re.ASCII)


def check_time(value: Any) -> None:
    """ISO 8601, UTC unless it says otherwise; where it does, minutes and seconds may be left out."""
    if value is None:
        return
    try:
        if isinstance(value, int):
            datetime.fromtimestamp(value // 1000, UTC)
            return
        text = value.strip()
        found = TIME.fullmatch(text.removesuffix(" UTC"))
        day, hour, minute, second, fraction, zone, sign, hours, minutes = found.groups()  # type: ignore[union-attr]
        if second is None and (fraction or not zone or text.endswith(" UTC")):
            raise BadLineError(value)
        zone = f"{sign}{hours}:{minutes or '00'}" if sign else "+00:00"
        datetime.fromisoformat(f"{day}T{hour}{minute or ':00'}{second or ':00'}{zone}").astimezone(UTC)
    except (AttributeError, ValueError, OverflowError, OSError):
        raise BadLineError(f"no time: {value}") from None


# --- what is thrown --------------------------------------------------------------------------------------------------

# fmt: off
VALUES = [
    "null", "true", "0", "-0", "5", "5.0", "1e2", "1E400", "-1.5", "01", "1.", "+1", "0x10", "NaN", "-Infinity", '""',
    '"x"', '"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\x"', '"\t"', "[]", "{}", '"{}"', '"[]"', '"{"', '" {} "',
    '"{\\"a\\": NaN}"', '"{}\\n{}"', '"{},{}"', '"\\ufeff{}"', '{"a": [1, {"b": null}]}', '{"a": "\\ud800"}',
    '{"a": "\\udc00\\ud800"}', '{"a": 1e999}', '{"a": 01}', '{"a": 1,}', "{'a': 1}", "{1: 2}", '{"a": 1, "a": 2}',
    str(2**63 - 1), str(2**63), str(-(2**63)), str(-(2**63) - 1), "9" * 400, "9" * 5000, "-1772413200000",
    "253402300799999", "253402300800000", '"1772413200000"', "tru", "nul", "[1, 2", "",
]
TIMES = [
    "2026-03-02", "2026-03-02T00Z", "2026-03-02T00:00Z", "2026-03-02 00:00:00", "2026-03-02T00:00:00",
    "2026-03-02T00:00:00+01:00", "2026-03-02T00:00:00+01", "2026-03-02T00:00:00-0130",
    "2026-03-02T00:00:00.123456789Z", "2026-03-02T24:00:00Z", "2026-03-02T23:59:60Z", "2026-02-30T00:00:00Z",
    "2024-02-29T00:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59.999999Z", "2026-03-02t00:00:00z", " 2026-03-02T00:00:00Z ", "", "2026-03-02 00:00:00 UTC",
    "12026-03-02T00:00:00Z", "2026-W10-1", "2026-03-02T00:00:00+24:00", "٢٠٢٦-03-02T00:00:00Z",
]
# fmt: on
PIECES = [
    b"\0",
    b"\r",
    b"\n",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\xef\xbb\xbf",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b",",
    b":",
    b"//",
    b"\x0b",
    b"\xc2\xa0",
    "é".encode("latin-1"),
    "😀".encode(),
    b"\xe2\x80\xa8",
]
BLANKS = [b"", b" ", b"\t", b"\r", b"\x0b\x0c", b"   \r"]
WORDS = ["Buy", "é", "😀", "\\", '"', "\n", "\0", "\u2028", "a" * 300]


def good_line(chance: random.Random, number: int) -> bytes:
    """An event as an exporter may write it."""
    word = chance.choice(WORDS)
    properties: Any = {"target": {"text": word}, "n": [number, 1.10, None], word: {"b": True}}
    row = event(f"e{number}", number % 60, device_id=chance.randrange(-(2**63), 2**63), event_properties=properties)
    row["source_properties"] = chance.choice([{}, "{}", {"url": {"path": "/" + word}}])
    if chance.random() < 0.6:
        row["event_properties"] = json.dumps(properties)
    if chance.random() < 0.1:
        row |= {"event_type": None, "event_properties": None, "source_properties": None}
    if chance.random() < 0.1:
        row["event_time"] = chance.choice(TIMES)
    if chance.random() < 0.1:
        row["org"] = {"id": word}
    return json.dumps(row, ensure_ascii=chance.random() < 0.5, separators=chance.choice([None, (",", ":")])).encode()


ANY_VALUE = rb'": ?("(?:[^"\\]|\\.)*"|[^,{}]+|\{.*?\}+)'


def damaged(line: bytes, chance: random.Random) -> bytes:
    """The line after one accident."""
    at, to = sorted(chance.randrange(len(line)) for _ in "ab")
    name = chance.choice([*rows.EVENT_FIELDS, "org"]).encode()
    value = (chance.choice(VALUES) if chance.random() < 0.7 else json.dumps(chance.choice(TIMES))).encode()
    deep = nested(chance.choice([3, 300, 5000]))
    accidents = [
        lambda: line[:at],
        lambda: line[at:],
        lambda: line[:at] + bytes([line[at] ^ (1 << chance.randrange(8))]) + line[at + 1 :],
        lambda: line[:at] + chance.choice(PIECES) + line[at:],
        lambda: line[:at] + line[min(to, at + 10) :],
        lambda: line[:at] + line[at:to] * 2 + line[to:],
        lambda: re.sub(b'"' + name + ANY_VALUE, lambda _: b'"' + name + b'":' + value, line, count=1),
        lambda: b'{"' + name + b'":' + value + b"," + line[1:],
        lambda: line[:-1] + b',"' + name + b'":' + value + b"}",
        lambda: re.sub(b'"' + name + b'"', b'"x"', line, count=1),
        lambda: line + chance.choice([b"\r", b" ", b",", b"}", b"\0", line, b"//"]),
        lambda: chance.randbytes(chance.randrange(1, 300)),
        lambda: chance.choice([line.decode().encode("utf-16"), line.decode().encode("utf-7"), value]),
        lambda: line[:-1] + b',"deep":' + deep + b"}",
        lambda: re.sub(rb'_properties": ?\{', lambda start: start[0] + b'"deep":' + deep + b",", line),
    ]  # fmt: skip
    return chance.choice(accidents)()


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def fuzzed_lines(count: int, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    found = []
    for number in range(count):
        line = good_line(chance, number)
        way = chance.random()
        found.append(chance.choice(BLANKS) if way < 0.03 else line if way < 0.25 else damaged(line, chance))
    huge = b'{"event_properties":{"a":"' + b"y" * (17 * 2**20) + b'"}}'
    found[count // 2] = huge
    found[count // 3] = good_line(chance, count)[:-1] + b',"large":"' + b"y" * (5 * 2**20) + b'"}'
    return found


def files_of(lines: list[bytes], chance: random.Random) -> list[bytes]:
    """The lines as files that begin, part and end their lines in different ways."""
    files = []
    for first in range(0, len(lines), LINES_PER_FILE):
        end = chance.choice([b"\n", b"\n", b"\r\n"])
        text = end.join(lines[first : first + LINES_PER_FILE])
        files.append(chance.choice([b"", b"", BOM]) + text + chance.choice([b"", end]))
    return files


def verdicts(content: bytes) -> dict[int, dict[str, Any] | None]:
    """By line number, the fields of each good line, and None for each bad one."""
    found: dict[int, dict[str, Any] | None] = {}
    for number, line in enumerate(content.removeprefix(BOM).split(b"\n"), 1):
        if line.strip():
            try:
                found[number] = judged(line)
            except (ValueError, RecursionError):
                found[number] = None
    return found


def harmed(fields: dict[str, Any], row: dict[str, Any], line: bytes) -> list[str]:
    """The columns that do not say what the line says."""
    wrong = [
        name
        for name in ("device_id", "session_id", "view_id", "source_type", "event_type")
        if row[name] != fields.get(name)
    ]
    if fields.get("event_id") and row["event_id"] != fields["event_id"]:
        wrong.append("event_id")
    for name in rows.PROPERTIES:
        wanted, text = fields.get(name), row[name]
        if wanted is None or text is None:
            wrong += [name] * (text != wanted)
            continue
        meant = deduped(strict(wanted) if isinstance(wanted, str) else wanted)
        has_twice = meant != (strict(wanted) if isinstance(wanted, str) else wanted)
        as_written = text == wanted if isinstance(wanted, str) else text.encode() in line
        if strict(text) != meant or not (as_written or has_twice):
            wrong.append(name)
    return wrong


def test_damaged_lines(staging: Staging) -> None:  # noqa: F811
    chance = random.Random(SEED)
    contents = files_of(fuzzed_lines(LINES, SEED), chance)
    for number, content in enumerate(contents):
        staging.put(
            f"{number:04}.ndjson" + ".gz" * (number % 5 == 0), gzip.compress(content, 1) if number % 5 == 0 else content
        )
    loaded = staging.load()
    columns = ["_file", "_position", *rows.EVENT_FIELDS]
    found: dict[int, dict[int, dict[str, Any]]] = {number: {} for number in range(len(contents))}
    for row in (
        dict(zip(columns, values, strict=True))
        for values in staging.rows(f"select {', '.join(columns)} from {{p}}.raw_events")
    ):
        file = int(Path(row["_file"]).name.split(".")[0])
        assert row["_position"] not in found[file], "in twice"
        found[file][row["_position"]] = row
    rejected: dict[int, dict[int, str]] = {number: {} for number in range(len(contents))}
    for name, position, reason in staging.rejected():
        rejected[int(name.split(".")[0])][position] = reason  # type: ignore[index]
    wrong = []
    for file, content in enumerate(contents):
        lines = content.removeprefix(BOM).split(b"\n")
        wanted = verdicts(content)
        assert len(found[file]) + len(rejected[file]) == len(wanted), f"file {file}: rows in + rejected <> lines"
        for position, fields in wanted.items():
            line, row = lines[position - 1], found[file].get(position)
            if (fields is None) != (row is None):
                wrong.append(
                    f"should be {'in' if row is None else 'rejected'}: {rejected[file].get(position)} {line[:600]!r}"
                )
            elif fields and row and (columns_harmed := harmed(fields, row, line)):
                wrong.append(f"harmed: {columns_harmed} {line[:600]!r} {row}")
    assert not wrong, f"{len(wrong)} of {loaded.rows + loaded.rejected} lines (seed {SEED}):\n" + "\n".join(wrong[:10])
    assert min(loaded.rows, loaded.rejected) > LINES / 5
    # What is let in can be parsed where it is merged.
    for name in rows.PROPERTIES:
        unparsed = f"select {name} from {{p}}.raw_events where {name} is not null and try_cast({name} as json) is null"
        assert staging.rows(unparsed) == []


# --- damaged files ---------------------------------------------------------------------------------------------------

SUFFIXES = [".parquet", ".ndjson", ".ndjson.gz", ".ndjson.zst", ".json"]


def whole_file(suffix: str, lines: list[bytes], folder: Path, chance: random.Random) -> bytes:
    """Good lines as a file of a format."""
    text = b"\n".join(lines) + b"\n"
    path = folder / f"whole{suffix}"
    if suffix == ".parquet":
        table = pa.Table.from_pylist([{**dict(json.loads(line)), "org": None} for line in lines])
        pq.write_table(
            table, path, compression=chance.choice(["none", "snappy", "zstd"]), row_group_size=chance.choice([20, 1000])
        )
    elif suffix == ".ndjson.zst":
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(text)
    else:
        return gzip.compress(text, mtime=0) if suffix == ".ndjson.gz" else text
    return path.read_bytes()


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def flipped(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]


def overwritten(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + chance.randbytes(20) + content[at + 20 :]


def trailed(content: bytes, chance: random.Random) -> bytes:
    return content + chance.choice([b"\0" * 50, b"garbage", content])


def noise(content: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(200))


def renamed(content: bytes, chance: random.Random) -> bytes:
    return content


def plain_event(number: int) -> bytes:
    """A line of which Parquet can be made, too: its properties are strings."""
    return json.dumps(
        event(f"e{number:03}", number % 60, event_properties=json.dumps({"n": number, "text": "é" * (number % 5)}))
    ).encode()


def test_damaged_files(staging: Staging, tmp_path: Path) -> None:  # noqa: F811
    chance = random.Random(SEED)
    lines = [plain_event(number) for number in range(100)]
    good = [(event_id, number + 1) for number, event_id in enumerate(f"e{number:03}" for number in range(100))]
    kinds: dict[str, str] = {}
    for number in range(LINES // 40):
        suffix = chance.choice(SUFFIXES)
        accident = chance.choice([cut, cut, flipped, flipped, overwritten, trailed, noise, renamed])
        name = f"{number:04}{chance.choice(SUFFIXES) if accident is renamed else suffix}"
        kinds[name] = accident.__name__
        staging.put(name, accident(whole_file(suffix, lines, tmp_path, chance), chance))
    staging.put("zzzz.ndjson", b"\n".join(lines))
    loaded = staging.load()
    ledger = {
        Path(path).name: (count, rejected)
        for path, count, rejected in staging.rows("select path, row_count, rejected from {p}.loaded_files")
    }
    assert ledger.keys() == {*kinds, "zzzz.ndjson"}
    assert ledger["zzzz.ndjson"] == (100, 0)
    assert sum(count for count, _ in ledger.values()) == loaded.rows == len(staging.loaded_ids())
    assert sum(rejected for _, rejected in ledger.values()) == loaded.rejected == len(staging.rejected())
    found: dict[str, list[tuple[str, int]]] = {}
    for path, event_id, position in staging.rows(
        "select _file, event_id, _position from {p}.raw_events order by _file, _position"
    ):
        found.setdefault(Path(path).name, []).append((event_id, position))
    for name, kind in kinds.items():
        ids = found.get(name, [])
        assert len(ids) == len(set(ids)), name
        content = (staging.feed / name).read_bytes()
        is_told = ledger[name][1] > 0 or ids[:100] == good or not content
        if kind in ("trailed", "renamed"):
            assert is_told, f"{name}: {kind}: {len(ids)} rows, and nothing told"
        elif kind == "cut":
            assert ids == good[: len(ids)], f"{name}: {kind}"
            # Lines without compression can end anywhere; of the others a reader knows where they must.
            assert is_told or (name.endswith((".ndjson", ".json")) and content.endswith((b"\n", b"}"))), f"{name}: lost"


def test_a_recreated_file_that_is_cut_short_withdraws_nothing(staging: Staging) -> None:  # noqa: F811
    lines = [plain_event(number) for number in range(100)]
    whole = gzip.compress(b"\n".join(lines))
    for content in (whole, whole[:-200], gzip.compress(b"\n".join(lines[1:]))):
        staging.put("a.ndjson.gz", content)
        staging.load()
    assert staging.rows("select is_recreated from {p}.loaded_files order by _dlt_load_id") == [
        (False,),
        (False,),
        (True,),
    ]


# --- the text of the properties --------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=5)


def spelled(value: dict[str, Any], ascii_only: bool, space: str, more: str) -> str:
    """JSON, as one or another exporter spells it."""
    return json.dumps(value, ensure_ascii=ascii_only, separators=(space + ",", ":" + space + more))


spaces = st.sampled_from(["", " ", "\t", "\r", "  "])
spellings = st.builds(spelled, objects, st.booleans(), spaces, spaces)


@pytest.mark.parametrize("way", ["objects", "strings", "mixed", "parquet"])
@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(spellings, min_size=1, max_size=8))
def test_the_text_of_properties_is_carried_as_it_is_written(
    tmp_path_factory: pytest.TempPathFactory, way: str, said: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / ("text.parquet" if way == "parquet" else "text.ndjson")
    events = [event(f"e{number}", event_properties=text) for number, text in enumerate(said)]
    if way == "parquet":
        pq.write_table(pa.Table.from_pylist(events), path)
    else:
        written = [json.dumps(row) for row in events]
        for number, text in enumerate(said):
            if way == "objects" or (way == "mixed" and number % 2):
                written[number] = json.dumps({**events[number], "event_properties": 0}).replace(
                    '"event_properties": 0', f'"event_properties": {text}'
                )
        path.write_text("\n".join(written), encoding="utf-8", newline="")
    tally = rows.Tally()
    found = [row["event_properties"] for batch in read_events(Source(path, "f"), tally) for row in batch.to_pylist()]
    assert (found, tally.rejected) == (said, [])
