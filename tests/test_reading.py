"""What no warehouse could take, what a file makes of a few bytes, and what was not whole."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import uuid
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import AS_A_SYNC, HOUR, PROJECT, Warehouse, event, ndjson
from headrace import json_text, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loader import Staging, staging  # noqa: F401 (a fixture)

# --- what one of the four warehouses can't store or parse ----------------------------------------------------------

LINE = (
    '{"event_id":"1","event_id":"2","event_time":"2026-03-02T10:00:00Z","processed_time":"2026-03-02T10:00:00Z",'
    '"device_id":1,"session_id":1,"view_id":1,"event_type":"navigate","event_properties":%s,"source_type":"web",'
    '"source_properties":%s}\n'
)


def test_of_a_key_that_comes_twice_the_last_stands(staging: Staging) -> None:  # noqa: F811
    event_properties = '{"a":1,"a":2,"user_id":"first","user_id":"second", "n":1.10}'
    source_properties = '{"url":{"host":"one","path":"/p"},"url":{"host":"two","host":"three","path":"/q"}}'
    as_objects = LINE % (event_properties, source_properties)
    as_strings = LINE % (json.dumps(event_properties), json.dumps(source_properties))
    staging.put("a.ndjson", as_objects.encode())
    staging.put("b.ndjson", as_strings.encode())
    texts = {"event_properties": event_properties, "source_properties": source_properties}
    pq.write_table(pa.Table.from_pylist([event("2", **texts)]), staging.feed / "c.parquet")
    assert staging.load().rejected == 0
    assert (
        staging.rows("select event_id, event_properties, source_properties from {p}.raw_events")
        == [("2", '{"a":2,"user_id":"second", "n":1.10}', '{"url":{"host":"three","path":"/q"}}')] * 3
    )


def deep(levels: int) -> str:
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


REFUSED = {
    '{"a":1e400}': "holds a number that is too large for a double",
    '{"a":[{"b":-1.5E+309}]}': "holds a number that is too large for a double",
    '{"a":1.7976931348623159e308}': "holds a number that is too large for a double",
    '{"a":%s}' % ("9" * 309): "holds a number that is too large for a double",
    '{"a":%s}' % ("9" * 5000): "holds a number that is too large for a double",
    '{"a":{"b":"x\\u0000y"}}': "holds a NUL character",
    '{"\\u0000":1}': "holds a NUL character",
    deep(501): "is nested too deep: more than 500 levels",
    '{"a":"\\ud800"}': "",  # half a surrogate pair, for which the decoder has words of its own
}
TAKEN = [
    '{"a":1.7976931348623157e308,"b":1e-400,"c":-0.0,"d":%s}' % ("9" * 308),
    '{"a":"\\\\u0000","b":"\\u003a","c":"\\u0022:","d":"{[\\"a\\":1,\\"a\\":2"}',
    '{"a" : 1 , "A" : 2,\t"b":[{"a":1},{"a":1}]}',
    deep(500),
]  # fmt: skip


@pytest.mark.parametrize("column", rows.PROPERTIES)
@pytest.mark.parametrize("way", ["objects", "strings", "parquet"])
def test_what_a_warehouse_cannot_parse_is_refused_with_its_reason(
    staging: Staging,  # noqa: F811
    way: str,
    column: str,
) -> None:
    texts = [*REFUSED, *TAKEN]
    events = [event(f"{number:02}", **{column: text}) for number, text in enumerate(texts)]
    if way == "parquet":
        pq.write_table(pa.Table.from_pylist(events), staging.feed / "a.parquet")
    else:
        lines = [
            ndjson({**row, column: "HERE"}).replace(
                b'"HERE"', (text if way == "objects" else json.dumps(text)).encode()
            )
            for row, text in zip(events, texts, strict=True)
        ]
        staging.put("a.ndjson", b"".join(lines))
    staging.load()
    found = staging.rejected()
    assert [position for _, position, _ in found] == [*range(1, len(REFUSED) + 1)]
    for (_, _, reason), wanted in zip(found, REFUSED.values(), strict=True):
        assert not wanted or reason == f"{column} {wanted}"
    loaded = staging.rows(f"select {column} from {{p}}.raw_events order by event_id")
    assert loaded == [(text,) for text in TAKEN]


@pytest.mark.parametrize("column", ["event_id", "event_type", "source_type"])
def test_no_text_holds_a_nul(staging: Staging, column: str) -> None:  # noqa: F811
    rows_of_both = [{**event("a"), column: "x\0y"}, event("b")]
    staging.put("a.ndjson", ndjson(*rows_of_both))
    pq.write_table(pa.Table.from_pylist(rows_of_both), staging.feed / "b.parquet")
    staging.load()
    assert staging.loaded_ids() == ["b", "b"]
    assert [(position, reason) for _, position, reason in staging.rejected()] == [
        (1, f"{column} holds a NUL character")
    ] * 2


def test_a_cell_of_parquet_is_no_longer_than_a_line(staging: Staging) -> None:  # noqa: F811
    long = '{"a":"' + "y" * (16 * 2**20) + '"}'
    table = pa.Table.from_pylist([event("a"), event("b", event_properties=long), event("c", source_type=long)])
    pq.write_table(table, staging.feed / "a.parquet")
    staging.load()
    assert staging.loaded_ids() == ["a"]
    assert [reason for _, _, reason in staging.rejected()] == [
        "event_properties is longer than 16,777,216 bytes",
        "source_type is longer than 16,777,216 bytes",
    ]


def written(pairs: list[tuple[str, str, bool, str]]) -> str:
    """An object with blanks and escapes as they come."""
    spelled = [
        ('"' + "".join(f"\\u{ord(letter):04x}" for letter in key) + '"' if escaped else json.dumps(key))
        + blank
        + ":"
        + value
        for key, value, escaped, blank in pairs
    ]
    return "{" + ", ".join(spelled) + "}"


keys = st.sampled_from(["a", "b", '"', ":", "\\", "é", "", "a "])
members = st.recursive(
    st.sampled_from(["1", "1.10", "null", '"x"', '"\\"a\\":1"', '"\\u003a"', "[]", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda found: "[" + " ,".join(found) + "]")
        | st.lists(st.tuples(keys, inner, st.booleans(), st.sampled_from(["", " ", "\t"])), max_size=5).map(written)
    ),
    max_leaves=15,
)


def has_twice(text: str) -> bool:
    found: list[bool] = []

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    json.loads(text, object_pairs_hook=look)
    return any(found)


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(st.lists(st.tuples(keys, members, st.booleans(), st.just("")), max_size=5).map(written), min_size=1))
def test_text_is_mended_only_where_a_key_comes_twice(said: list[str]) -> None:
    texts, faults = json_text.checked(pa.array([*said, None]))
    assert not faults
    for before, after in zip(said, texts.to_pylist()[:-1], strict=True):
        assert not has_twice(after)
        assert json.loads(after) == json.loads(before)
        assert (after == before) == (not has_twice(before))


# --- memory --------------------------------------------------------------------------------------------------------

LIMIT_MEGABYTES = 1000


def made_by_another_process(code: str, *arguments: object) -> None:
    """What takes much memory to make must not count here."""
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True)


def one_value(path: Path, text: str, count: int) -> None:
    """Parquet in which each row has the same event_properties, which stand there once."""
    (row,) = pa.Table.from_pylist([event("a")]).to_batches()
    table = pa.Table.from_batches([row.take(pa.array([0] * count))])
    same = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), [text])
    table = table.set_column(table.schema.get_field_index("event_properties"), "event_properties", same)
    table = table.set_column(0, "event_id", pa.array([str(number) for number in range(count)]))
    pq.write_table(table, path, store_schema=False)


def bad_lines(path: Path, line: bytes, at_once: int, times: int) -> None:
    member = gzip.compress((line + b"\n") * at_once)
    path.write_bytes(member * times)


HUGE_CELL = """
import sys, pyarrow as pa, pyarrow.parquet as pq
table = pq.read_table(sys.argv[1])
place = table.schema.get_field_index("event_properties")
texts = pa.array(["{}", '{"a":"' + "x" * 500_000_000 + '"}', "{}"])
pq.write_table(table.set_column(place, "event_properties", texts), sys.argv[1])
"""


def huge_cell(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([event("a"), event("b"), event("c")]), path)
    made_by_another_process(HUGE_CELL, path)


GROSS = {
    "one value of 1 MB in many rows": (
        "a.parquet",
        lambda path: one_value(path, '{"a":"' + "x" * 2**20 + '"}', 1500),
        (127, 1_373),
    ),
    "one bad value of 1 MB in 4,096 rows": (
        "a.parquet",
        lambda path: one_value(path, '"' + "x" * 2**20 + '"', 4_096),
        (0, 4_096),
    ),
    "bad lines that are short": ("a.ndjson.gz", lambda path: bad_lines(path, b"x", 100_000, 20), (0, 2_000_000)),
    "20,000 bad lines of 65 kB": ("a.ndjson.gz", lambda path: bad_lines(path, b"x" * 65_000, 100, 200), (0, 20_000)),
    "a cell of 500 MB": ("a.parquet", huge_cell, (2, 1)),
}


# Linux hands the peak of a process on to what it starts, and that of a process of tests is any: a small one starts it.
PEAK = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.parametrize("kind", GROSS)
def test_memory_is_bounded(tmp_path: Path, kind: str) -> None:
    name, make, wanted = GROSS[kind]
    (tmp_path / "feed").mkdir()
    make(tmp_path / "feed" / name)
    sync = [sys.executable, "-m", "headrace.cli", "sync", "feed", "--no-build", "--project-dir", str(PROJECT)]
    process = subprocess.run(
        [sys.executable, "-c", PEAK, *sync],
        cwd=tmp_path,
        env={**os.environ, "HEADRACE_DUCKDB": "gross.duckdb"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert int(process.stderr.split()[-1]) / 1024 < LIMIT_MEGABYTES
    with duckdb.connect(str(tmp_path / "gross.duckdb")) as connection:
        ((*counts, _),) = connection.execute("select row_count, rejected, path from product.loaded_files").fetchall()
        assert tuple(counts) == wanted
        kept = connection.execute("select position, reason from product.rejected_events order by position").fetchall()
    if wanted[1] > rows.KEPT_ROWS:
        assert len(kept) == rows.KEPT_ROWS + 1
        assert (None, f"{wanted[1] - rows.KEPT_ROWS:,} more rows of the file were rejected") in kept
    if kind == "one value of 1 MB in many rows":
        assert [position for position, _ in kept] == list(range(128, 1_501))
        assert {reason for _, reason in kept} == {rows.TOO_MANY_LONG}
    if kind == "a cell of 500 MB":
        assert kept == [(2, "event_properties is longer than 16,777,216 bytes")]


# --- files that were not whole -------------------------------------------------------------------------------------


def zst(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


WHOLE = ndjson(*(event(f"{number:04}", event_properties={"r": os.urandom(40).hex()}) for number in range(2000)))
ARRAY = json.dumps([{"IndvId": 1, "EventType": "click", "EventStart": f"2026-03-02T00:00:{n:02}Z"} for n in range(9)])
CSV = "EventStart,EventType,UserId\n" + "".join(f"2026-03-02T00:00:{n:02}Z,click,{2**60 + n}\n" for n in range(9))
CUTS = {
    "empty.ndjson": (WHOLE, b"", 0),
    "empty.ndjson.gz": (gzip.compress(WHOLE), b"", 0),
    "empty.ndjson.zst": (zst(WHOLE), b"", 0),
    "one byte.ndjson.zst": (zst(WHOLE), zst(WHOLE)[:1], 0),
    "header.ndjson.gz": (gzip.compress(WHOLE), gzip.compress(WHOLE)[:10], 0),
    "header.ndjson.zst": (zst(WHOLE), zst(WHOLE)[:6], 0),
    "no content.ndjson.gz": (gzip.compress(WHOLE), gzip.compress(b""), 0),
    "line.ndjson": (WHOLE, WHOLE[: len(WHOLE) // 2 + 99], 999),
    "member.ndjson.gz": (gzip.compress(WHOLE), gzip.compress(WHOLE)[:-9], 1990),
    "frame.ndjson.zst": (zst(WHOLE), zst(WHOLE)[:-4], 1500),
    "array.json": (ARRAY.encode(), ARRAY[:-1].encode(), 9),
    "in a row.csv": (CSV.encode(), CSV[:-30].encode(), 7),
    "in a value.csv.gz": (gzip.compress(CSV.encode()), gzip.compress(CSV[:-5].encode() + b"\nx"), 9),
    "page.ndjson": (WHOLE, b"<html>\n<h1>503 Service Unavailable</h1>\n</html>\n", 0),
    "error.ndjson": (WHOLE, b'{"error": "throttled"}\n', 0),
    "sixteen bits.ndjson": (WHOLE, WHOLE.decode().encode("utf-16"), 0),
    "empty.parquet": (None, b"", 0),
    "one byte.parquet": (None, b"P", 0),
}


def test_a_file_that_was_not_whole_withdraws_nothing(staging: Staging) -> None:  # noqa: F811
    parquet = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([event("a"), event("b")]), parquet)
    for name, (whole, _, _) in CUTS.items():
        staging.put(f"{HOUR}/{name}", parquet.getvalue().to_pybytes() if whole is None else whole)
    before = staging.load()
    for name, (_, cut, _) in CUTS.items():
        staging.put(f"{HOUR}/{name}", cut)
    after = staging.load()
    assert (before.rejected, after.recreated_files) == (0, 0)
    ledger = staging.rows("select path, row_count, is_recreated from {p}.loaded_files order by _dlt_load_id")
    assert [is_recreated for _, _, is_recreated in ledger] == [False] * 2 * len(CUTS)
    counts: dict[str, list[int]] = {name: [] for name in CUTS}
    for path, count, _ in ledger:
        counts[Path(path).name].append(count)
    told = {file for file, *_ in staging.rejected()}
    for name, (_, _, at_least) in CUTS.items():
        first, second = counts[name]
        assert first > 0, name
        assert second >= at_least, name
        assert name in told, name


def test_a_file_that_was_always_empty_is_no_fault(staging: Staging) -> None:  # noqa: F811
    staging.put(f"{HOUR}/a.ndjson", b"")
    staging.put(f"{HOUR}/b.ndjson", ndjson(event("b")))
    loaded = staging.load()
    assert (loaded.files, loaded.rows, loaded.rejected) == (2, 1, 0)


def test_a_last_line_without_its_newline_is_whole(staging: Staging) -> None:  # noqa: F811
    staging.put("a.ndjson", ndjson(event("a"), event("b")))
    staging.load()
    staging.put("a.ndjson", ndjson(event("c")).strip())
    assert staging.load().recreated_files == 1


@pytest.mark.parametrize("padding", [b"\0", b"\0" * 5000])
def test_zeros_after_gzip_are_no_fault(staging: Staging, padding: bytes) -> None:  # noqa: F811
    staging.put("a.ndjson.gz", gzip.compress(ndjson(event("a"))) + gzip.compress(ndjson(event("b"))) + padding)
    staging.put("b.json.gz", gzip.compress(ARRAY.encode()) + padding)
    loaded = staging.load()
    assert (loaded.rows, loaded.rejected) == (2 + 9, 0)


# --- what Parquet can say in many ways -----------------------------------------------------------------------------


def replaced(name: str, values: pa.Array, count: int) -> pa.Table:
    table = pa.Table.from_pylist([event(str(number)) for number in range(count)])
    return table.set_column(table.schema.get_field_index(name), name, values)


FAR = [datetime(2026, 3, 2, 10), datetime(9999, 12, 23, 23, 59, 59), datetime(1000, 1, 1), datetime(3000, 1, 1)]
TIMES: dict[str, tuple[list[Any], pa.DataType, list[str]]] = {
    "int96": (
        FAR,
        pa.timestamp("us"),
        ["2026-03-02 10:00:00", "9999-12-23 23:59:59", "1000-01-01 00:00:00", "3000-01-01 00:00:00"],
    ),
    "milliseconds": (FAR[1:2], pa.timestamp("ms", "UTC"), ["9999-12-23 23:59:59"]),
    "date": ([date(2026, 3, 2), date(9999, 12, 31)], pa.date32(), ["2026-03-02 00:00:00", "9999-12-31 00:00:00"]),
    "decimal": ([Decimal(1_772_413_200_000)], pa.decimal128(38, 0), ["2026-03-02 01:00:00"]),
}


@pytest.mark.parametrize("kind", TIMES)
def test_a_time_of_parquet_is_exact(staging: Staging, kind: str) -> None:  # noqa: F811
    values, arrow_type, wanted = TIMES[kind]
    table = replaced("event_time", pa.array(values, arrow_type), len(values))
    pq.write_table(table, staging.feed / "a.parquet", use_deprecated_int96_timestamps=kind == "int96")
    assert staging.load().rejected == 0
    found = staging.rows("select strftime(event_time, '%Y-%m-%d %H:%M:%S') from {p}.raw_events order by event_id")
    assert [time for (time,) in found] == wanted


def test_a_time_past_the_year_9999_is_refused(staging: Staging) -> None:  # noqa: F811
    times = pa.array([253_402_300_800_000, 1_772_413_200_000], pa.timestamp("ms", "UTC"))
    pq.write_table(replaced("event_time", times, 2), staging.feed / "a.parquet")
    staging.load()
    assert staging.loaded_ids() == ["1"]
    assert "event_time is no time" in staging.rejected()[0][2]


def test_structs_and_maps_of_parquet_are_json(staging: Staging) -> None:  # noqa: F811
    structs = pa.array(
        [
            {
                "id": 2**62 + 1,
                "price": 1.5,
                "no": float("nan"),
                "at": datetime(2026, 3, 2, 10, 0, 0, 5),
                "day": date(2026, 3, 2),
                "sum": Decimal("1.10"),
                "list": [{"a": "é"}, None],
                "nothing": None,
            }
        ],
        pa.struct(
            [
                ("id", pa.int64()),
                ("price", pa.float64()),
                ("no", pa.float64()),
                ("at", pa.timestamp("ns")),
                ("day", pa.date32()),
                ("sum", pa.decimal128(5, 2)),
                ("list", pa.list_(pa.struct([("a", pa.string())]))),
                ("nothing", pa.string()),
            ]
        ),
    )
    maps = pa.array([[("url", "x"), ("title", None), ("url", "y")]], pa.map_(pa.string(), pa.string()))
    table = replaced("event_properties", structs, 1)
    table = table.set_column(table.schema.get_field_index("source_properties"), "source_properties", maps)
    pq.write_table(table, staging.feed / "a.parquet")
    pq.write_table(replaced("event_properties", pa.array([[1, 2]]), 1), staging.feed / "list.parquet")
    staging.load()
    assert staging.rows("select event_properties, source_properties from {p}.raw_events") == [
        (
            '{"id":4611686018427387905,"price":1.5,"no":null,"at":"2026-03-02T10:00:00.000005Z","day":"2026-03-02",'
            '"sum":1.10,"list":[{"a":"é"},null]}',
            '{"url":"y"}',
        )
    ]
    assert "event_properties is no JSON object" in staging.rejected()[0][2]


def test_ids_as_text_and_names_of_columns_in_any_case(staging: Staging) -> None:  # noqa: F811
    table = replaced("device_id", pa.array([str(2**62 + 1), "-5", "12.0", "0x1F", str(2**63)]), 5)
    table = table.rename_columns([name.upper() if name.endswith("id") else name.title() for name in table.column_names])
    pq.write_table(table, staging.feed / "a.parquet")
    staging.load()
    assert staging.rows("select event_id, device_id from {p}.raw_events order by 1") == [("0", 2**62 + 1), ("1", -5)]
    assert [(position, reason) for _, position, reason in staging.rejected()] == [
        (3, "device_id is no int64: '12.0'"),
        (4, "device_id is no int64: '0x1F'"),
        (5, f"device_id is no int64: '{2**63}'"),
    ]


def test_bytes_that_are_not_said_to_be_text_are_read_as_text(staging: Staging) -> None:  # noqa: F811
    given = pa.Table.from_pylist([event("1", 5), event("2", 6)])
    names = ["event_id", "event_time", "device_id", "event_type", "event_properties"]
    for kind in (pa.binary(), pa.large_binary(), pa.string_view()):
        table = given
        for name in names:
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, given.column(name).cast(pa.string()).cast(kind))
        pq.write_table(table, staging.feed / f"{kind}.parquet")
    wrong = pa.array([b"2026-03-02T00:07:00Z", b"\xff"])
    pq.write_table(given.set_column(1, "event_time", wrong), staging.feed / "wrong.parquet")
    staging.load()
    columns = "event_id, cast(event_time as varchar), device_id, event_type"
    assert staging.rows(f"select {columns}, count(*) from {{p}}.raw_events group by all order by all") == [
        ("1", "2026-03-02 00:05:00+00", 2**60 + 1, "click", 3),
        ("1", "2026-03-02 00:07:00+00", 2**60 + 1, "click", 1),
        ("2", "2026-03-02 00:06:00+00", 2**60 + 1, "click", 3),
    ]
    assert staging.rejected() == [("wrong.parquet", 2, "event_time is no time: \"b'\\\\xff'\"")]


def test_an_event_id_is_a_uuid_and_never_a_double(staging: Staging) -> None:  # noqa: F811
    name = "0198c0de-0000-7000-8000-00000000002a"
    made = pa.array([uuid.UUID(name).bytes], pa.binary(16))
    ids = pa.ExtensionArray.from_storage(pa.uuid(), made)
    pq.write_table(replaced("event_id", ids, 1), staging.feed / "a.parquet")
    pq.write_table(replaced("event_id", pa.array([2.0**53]), 1), staging.feed / "b.parquet")
    staging.load()
    assert staging.loaded_ids() == [name]
    assert staging.rejected() == [("b.parquet", 1, "event_id is no valid text: '9007199254740992.0'")]


def test_two_columns_that_differ_in_case_only_are_refused(staging: Staging) -> None:  # noqa: F811
    table = pa.Table.from_pylist([event("a")])
    pq.write_table(table.append_column("Event_Id", table.column("event_id")), staging.feed / "a.parquet")
    staging.load()
    ((_, position, reason),) = staging.rejected()
    assert position is None
    assert reason.endswith("two of its columns have the same name: event_id, Event_Id")


# --- how long a rejected row counts --------------------------------------------------------------------------------


def test_rejected_rows_of_a_healed_file_no_longer_count_and_old_ones_go(warehouse: Warehouse, tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    (feed / HOUR).mkdir(parents=True)
    (feed / HOUR / "a.ndjson").write_bytes(ndjson(event("a")) + b"cut")
    (feed / HOUR / "b.ndjson").write_bytes(ndjson(event("b")) + b"bad\n")
    warehouse.sync(feed, "--no-build")
    (feed / HOUR / "a.ndjson").write_bytes(ndjson(event("a"), event("a2")))
    warehouse.sync(feed, "--no-build")

    def counted() -> list[str]:
        return [Path(found["file"]).name for found in json.loads(warehouse.headrace("status", "--json"))["rejected"]]

    assert counted() == ["b.ndjson"]
    warned = warehouse.dbt("build", "--select", "batch_loads", *AS_A_SYNC)
    assert "Got 1 result, configured to warn" in warned
    assert warehouse.rows("select count(*) from {p}.rejected_events") == [(2,)]
    with duckdb.connect(str(warehouse.database)) as connection:
        aged = "update product._dlt_loads set inserted_at = inserted_at - interval 91 day where load_id in"
        connection.execute(f"{aged} (select min(load_id) from product._dlt_loads)").fetchall()
    warehouse.sync(feed)
    assert warehouse.rows("select count(*) from {p}.rejected_events") == [(0,)]
    assert warehouse.rows("select event_id from {p}.events order by 1") == [("a",), ("a2",), ("b",)]
