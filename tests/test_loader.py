"""The loader alone: what it takes from files, and what becomes of bad input. No dbt here."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import HOUR, PROJECT, SHARED, event, ndjson, needs_real_export
from headrace import formats
from headrace.errors import UsageError
from headrace.feed import Feed
from headrace.load import load
from headrace.package import Loaded
from headrace.rows import RAW_EVENTS
from headrace.status import status
from headrace.target import read_target


class Staging:
    """A feed folder and an empty DuckDB file, loaded in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database = folder / "staging.duckdb"
        monkeypatch.setenv("HEADRACE_DUCKDB", str(self.database))
        self.target = replace(read_target(None, PROJECT), home=folder)
        self.feed = folder / "feed"
        self.feed.mkdir()

    def put(self, name: str, content: bytes) -> Path:
        path = self.feed / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def load(self, feed: Path | None = None) -> Loaded:
        return load(Feed.at(str(feed or self.feed)), self.target)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.database)) as connection:
            connection.execute("set TimeZone = 'UTC'").fetchall()
            return connection.execute(sql.format(p="product")).fetchall()

    def loaded_ids(self) -> list[str]:
        return [row[0] for row in self.rows("select event_id from {p}.raw_events order by event_id")]

    def rejected(self) -> list[tuple[str, int | None, str]]:
        found = self.rows("select file, position, reason from {p}.rejected_events order by file, position")
        return [(Path(file).name, position, reason) for file, position, reason in found]


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Staging:
    return Staging(tmp_path, monkeypatch)


def test_every_format_gives_the_same_rows(staging: Staging) -> None:
    rows = [event("a", 1), event("b", 2, session_id=None, view_id=None, updated_time=None, source_type="server")]
    text = ndjson(*rows)
    staging.put("one.ndjson", text)
    staging.put("two.jsonl.gz", gzip.compress(text))
    with pa.CompressedOutputStream(str(staging.feed / "three.ndjson.zst"), "zstd") as stream:
        stream.write(text)
    pq.write_table(pa.Table.from_pylist(rows), staging.feed / "four.parquet")
    as_objects = [
        {**row, **{key: json.loads(row[key]) for key in ("event_properties", "source_properties")}} for row in rows
    ]
    staging.put("five.ndjson", b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(row).encode() for row in as_objects))
    assert staging.load().rows == 10
    columns = ", ".join(RAW_EVENTS.names[:11])
    found = staging.rows(f"select {columns}, count(*) from {{p}}.raw_events group by all order by 1")
    assert [(row[0], row[4], row[5], row[-1]) for row in found] == [("a", 2**60 + 1, 7, 5), ("b", 2**60 + 1, None, 5)]
    assert found[0][1].isoformat() == "2026-03-02T00:01:00+00:00"
    assert found[0][3].isoformat() == "2026-03-02T01:00:00+00:00"


def test_a_further_format_is_a_module_and_a_line(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = formats.Format("toy_csv", shared_suffixes=(".csv",))
    monkeypatch.setattr(formats, "FORMATS", [*formats.FORMATS, toy])
    others = {"b": {"device_id": None}, "c": {"session_id": None}}
    rows = [event(name, updated_time=None, **others.get(name, {})) for name in "abc"]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    for name, content in (("a.csv", text.getvalue().encode()), ("b.csv.gz", gzip.compress(text.getvalue().encode()))):
        staging.put(f"events/{HOUR}/{name}", content)
    staging.put(f"events/{HOUR}/c.csv", b"a,b\n1,2\n")
    loaded = staging.load()
    found = staging.rows(
        "select event_id, device_id, session_id, event_properties, source_type, _position from {p}.raw_events "
        "order by _file, _position"
    )
    assert found == 2 * [
        ("a", 2**60 + 1, 7, rows[0]["event_properties"], "web", 2),
        ("c", 2**60 + 1, None, rows[2]["event_properties"], "web", 4),
    ]
    assert staging.rejected() == [(name, 3, "device_id is missing") for name in ("a.csv", "b.csv.gz")]
    (unread,) = loaded.unread
    assert "c.csv: neither name nor content" in unread


def test_the_text_of_the_properties_is_carried_unharmed(staging: Staging) -> None:
    text = (
        '{"n":123456789012345678901234567890, "f":1.10,"e":1E5,"z":-0.0,"Key":1,"key":2,'
        '"s":"\\u00e9\\/\\n","d":{"é":[]}}'
    )
    line = (
        '{"event_id":"%s","event_time":"2026-03-02T00:00:00.000001Z","processed_time":"2026-03-02T01:00:00Z",'
        '"device_id":-9223372036854775808,"event_type":"custom","event_properties":%s,'
        '"source_type":"web","source_properties":{}}\n'
    )
    staging.put("a.ndjson", (line % ("object", text) + line % ("string", json.dumps(text))).encode())
    pq.write_table(pa.Table.from_pylist([event("parquet", event_properties=text)]), staging.feed / "b.parquet")
    staging.load()
    assert staging.rows("select event_id, event_properties from {p}.raw_events order by 1") == [
        ("object", text),
        ("parquet", text),
        ("string", text),
    ]
    assert staging.rows("select device_id, event_time from {p}.raw_events where event_id = 'object'")[0][0] == -(2**63)


GOOD = event("good")
BAD_LINES = {
    "no JSON": (b'{"event_id": "x"', "malformed|truncated"),
    "a list": (b'["x", 1]', "array"),
    "device_id is missing": (ndjson(event("x", device_id=...)).strip(), "device_id is missing"),
    "event_time is no time": (ndjson(event("x", event_time="yesterday")).strip(), "event_time is no time: 'yesterday'"),
    "properties are a number": (ndjson(event("x", event_properties=5)).strip(), "event_properties is no JSON object"),
    "properties are a text that is no object": (
        ndjson(event("x", event_properties="[1]")).strip(),
        "event_properties is no JSON object",
    ),
    "id past 64 bits": (ndjson(event("x", session_id=2**63)).strip(), "session_id"),
    "id as a fraction": (ndjson(event("x", view_id=1.5)).strip(), "view_id"),
    "invalid UTF-8": (ndjson(event("x")).strip().replace(b'"click"', b'"cl\xffick"'), "UTF-8|utf-8"),
    "invalid UTF-8 in an object": (
        ndjson(event("x", event_properties={"a": "Q"})).strip().replace(b"Q", b"\xff"),
        "UTF-8|valid text",
    ),
    "20 MB": (ndjson(event("x", event_properties={"a": "y" * 20_000_000})).strip(), "longer than 16,777,216 bytes"),
    "too deep": (
        ndjson(event("x", event_properties={"a": 1}))
        .strip()
        .replace(b'"a": 1', b'"a":' + b"[" * 50_000 + b"]" * 50_000),
        "too deep",
    ),
    "no type": (ndjson(event("x", event_type=...)).strip(), "event_type is missing"),
    "empty type": (ndjson(event("x", event_type="")).strip(), "event_type is empty"),
    "year 10000": (ndjson(event("x", updated_time=2**60)).strip(), "updated_time is no time"),
    "superseding without id": (ndjson(event(None, event_type=None)).strip(), "event_id is missing"),
}


def test_a_bad_line_is_kept_with_its_reason_and_the_good_ones_load(staging: Staging) -> None:
    for number, (line, _) in enumerate(BAD_LINES.values()):
        good, better = ndjson(event(f"good {number}")), ndjson(event(f"better {number}"))
        staging.put(f"{number}.ndjson", good + line + b"\n" + better)
    loaded = staging.load()
    assert (loaded.rows, loaded.rejected) == (2 * len(BAD_LINES), len(BAD_LINES))
    assert staging.loaded_ids() == sorted(f"{word} {n}" for word in ("better", "good") for n in range(len(BAD_LINES)))
    rejected = staging.rows("select file, position, reason, content from {p}.rejected_events")
    found = {Path(file).name: row for file, *row in rejected}
    assert len(found) == len(rejected) == len(BAD_LINES)
    for number, (fault, (line, reason)) in enumerate(BAD_LINES.items()):
        position, said, content = found[f"{number}.ndjson"]
        assert position == 2, fault
        assert any(word in said for word in reason.split("|")), (fault, said)
        assert content.encode()[:10] == line[:10], fault
        assert len(content) <= 65_000 * 4, fault


BAD_COLUMNS = {
    "device_id": ([None, 5], pa.int64(), "device_id is missing"),
    "event_time": (["2026-03-02T00:00:00Z", "soon"], pa.string(), "event_time is no time: 'soon'"),
    "event_properties": (["{}", "5"], pa.string(), "event_properties is no JSON object"),
    "session_id": ([1.5, None], pa.float64(), "session_id is no int64: '1.5'"),
    "view_id": ([2**64 - 1, None], pa.uint64(), "view_id is no int64: '18446744073709551615'"),
}


def test_a_bad_value_in_parquet(staging: Staging) -> None:
    for column, (values, kind, _) in BAD_COLUMNS.items():
        table = pa.Table.from_pylist([event(f"{column} 1"), event(f"{column} 2")])
        table = table.set_column(table.schema.get_field_index(column), column, pa.array(values, kind))
        pq.write_table(table, staging.feed / f"{column}.parquet")
    loaded = staging.load()
    assert (loaded.rows, loaded.rejected) == (len(BAD_COLUMNS), len(BAD_COLUMNS))
    found = {file: (position, said) for file, position, said in staging.rejected()}
    for column, (_, _, reason) in BAD_COLUMNS.items():
        position, said = found[f"{column}.parquet"]
        assert reason in said, column
        good = [event_id for event_id in staging.loaded_ids() if event_id.startswith(column)]
        assert good == [f"{column} {3 - position}"]


BAD_FILES = {
    "cut.parquet": "cannot be read on",
    "none.parquet": "cannot be read on",
    "empty.parquet": "cannot be read on",
    "other.parquet": "no column event_type",
    "cut.ndjson.gz": "cannot be read on",
    "none.ndjson.gz": "cannot be read on",
    "none.ndjson.zst": "cannot be read on",
    "cut.json": "cut off",
    "none.json": "malformed",
}


def test_a_bad_file_is_kept_with_its_reason_and_the_good_ones_load(staging: Staging) -> None:
    pq.write_table(pa.Table.from_pylist([event(f"whole {n}") for n in range(1000)]), staging.feed / "good.parquet")
    parquet = (staging.feed / "good.parquet").read_bytes()
    (staging.feed / "good.parquet").unlink()
    pq.write_table(pa.table({"a": [1]}), staging.feed / "other.parquet")
    other = (staging.feed / "other.parquet").read_bytes()
    (staging.feed / "other.parquet").unlink()
    long = ndjson(*(event(f"{n:05}", event_properties={"random": os.urandom(20).hex()}) for n in range(20_000)))
    content = {
        "cut.parquet": parquet[: len(parquet) // 2],
        "none.parquet": b"PAR1 is all that is right here",
        "empty.parquet": b"",
        "other.parquet": other,
        "cut.ndjson.gz": gzip.compress(long)[:-2000],
        "none.ndjson.gz": ndjson(GOOD),
        "none.ndjson.zst": ndjson(GOOD),
        "cut.json": b'[{"IndvId": 1, "EventType": "click", "EventStart": "2026-03-02T00:00:00Z"}, {"IndvId": 1, "Eve',
        "none.json": b'hello [{"IndvId": 1}]',
    }
    assert content.keys() == BAD_FILES.keys()
    for name, damaged in content.items():
        staging.put(f"{HOUR}/{name}", damaged)
    staging.put(f"{HOUR}/zzz.ndjson", ndjson(event("good")))
    loaded = staging.load()
    assert loaded.files == len(BAD_FILES) + 1
    assert "good" in staging.loaded_ids()
    rejected = staging.rejected()
    for name, wanted in BAD_FILES.items():
        assert any(file == name and wanted in reason for file, _, reason in rejected), (name, rejected)
    of_cut = "select event_id from {p}.raw_events where ends_with(_file, 'cut.ndjson.gz') order by 1"
    good = [event_id for (event_id,) in staging.rows(of_cut)]
    assert len(good) > 10_000
    assert good == [f"{n:05}" for n in range(len(good))]
    if name == "cut.json":
        assert len(staging.loaded_ids()) == 2


def test_no_such_path_and_nothing_in_it(staging: Staging) -> None:
    with pytest.raises(UsageError, match=r"nowhere: no such file or folder"):
        staging.load(staging.feed / "nowhere")
    staging.put("_SUCCESS", b"")
    with pytest.raises(UsageError, match=r"holds no \.parquet"):
        staging.load()
    with pytest.raises(UsageError, match=r"_SUCCESS is no \.parquet"):
        staging.load(staging.feed / "_SUCCESS")


def test_a_row_without_event_id_has_the_same_one_whichever_file_brings_it(staging: Staging) -> None:
    staging.put("a.ndjson", ndjson(event(None, 1), event(..., 2)))
    staging.put("b.ndjson", ndjson(event("", 2, processed_time="2026-03-02T05:00:00Z"), event(None, 1, view_id=71)))
    staging.load()
    ids = staging.rows("select event_id, count(*) from {p}.raw_events group by 1 order by 2")
    assert [count for _, count in ids] == [1, 1, 2]
    assert all(len(event_id) == 32 for event_id, _ in ids)


def test_fields_that_the_contract_does_not_know_are_counted(staging: Staging) -> None:
    staging.put(
        "a.ndjson", ndjson({**event("a"), "org_id": "o", "extra": 1}, {**event("b"), "extra": {"x": []}}, event("c"))
    )
    pq.write_table(pa.Table.from_pylist([{**event("d"), "extra": 1}]), staging.feed / "b.parquet")
    loaded = staging.load()
    assert staging.loaded_ids() == ["a", "b", "c", "d"]
    assert loaded.unknown_fields == {"extra": 3, "org_id": 1}


def test_a_file_is_loaded_once_and_again_only_when_its_content_is_another(staging: Staging) -> None:
    path = staging.put(f"{HOUR}/a.ndjson", ndjson(event("a")))
    staging.put(f"{HOUR}/b.ndjson", ndjson(event("b")))
    assert staging.load().files == 2
    assert staging.load().files == 0
    os.utime(path, (1, 1))
    touched = staging.load()
    assert (touched.files, touched.rows, touched.unchanged_files) == (0, 0, 2)
    staging.put(f"{HOUR}/a.ndjson", ndjson(event("c")))
    changed = staging.load()
    assert (changed.files, changed.recreated_files) == (1, 1)
    ledger = staging.rows("select path, row_count, is_recreated from {p}.loaded_files order by _dlt_load_id, path")
    assert [(Path(path).name, rows, recreated) for path, rows, recreated in ledger] == [
        ("a.ndjson", 1, False),
        ("b.ndjson", 1, False),
        ("a.ndjson", 0, False),
        ("a.ndjson", 1, True),
    ]


def test_definitions(staging: Staging) -> None:
    page = {
        "id": "p1",
        "name": "Cart",
        "state": "active",
        "created_time": "2026-01-01T00:00:00Z",
        "modified_time": "2026-01-02T00:00:00Z",
        "fs_link_id": 9,
        "is_user_defined": True,
        "more": 1,
    }
    staging.put(f"configuration/page-definitions/{HOUR}/a.ndjson", ndjson(page, {"name": "no id"}) + b"nonsense\n")
    pq.write_table(
        pa.Table.from_pylist(
            [{"id": "e1", "name": "Buy", "state": "archived", "modified_time": "2026-01-02T00:00:00Z"}]
        ),
        staging.feed / "element-definitions.parquet",
    )
    staging.put(f"events/{HOUR}/a.ndjson", ndjson(event("a")))
    assert staging.load().files == 3
    found = staging.rows(
        "select kind, id, name, state, fs_link_id, is_user_defined, modified_time from {p}.raw_definitions order by 1"
    )
    assert [row[:-1] for row in found] == [
        ("element", "e1", "Buy", "archived", None, None),
        ("page", "p1", "Cart", "active", "9", True),
    ]
    assert found[1][-1].isoformat() == "2026-01-02T00:00:00+00:00"
    first, second = staging.rejected()
    assert first[1:] == (2, "id is missing")
    assert second[1] == 3


@needs_real_export
def test_the_real_export(staging: Staging) -> None:
    source = SHARED / "data" / "segment_export.json"
    # Its records, and an identify for each minute in which one of four devices says whose it is: six, counted by hand.
    assert staging.load(source).rows == 150
    types = dict(staging.rows("select event_type, count(*) from {p}.raw_events group by 1"))
    assert types == {
        "click": 42,
        "custom": 42,
        "navigate": 17,
        "element_seen": 14,
        "change": 12,
        "custom_error": 7,
        "identify": 11,
        "load": 5,
    }
    assert sorted(staging.rows("select distinct device_id from {p}.raw_events")) == [
        (4583458079457280,),
        (5189870820212736,),
        (6330282263920640,),
        (6730658309947392,),
    ]
    ((_, ids),) = staging.rows(
        "select event_properties, [device_id, session_id, view_id] from {p}.raw_events where _position = 9 "
        "and event_type <> 'identify'"
    )
    record = json.loads(source.read_text())[8]
    assert ids == [record["UserId"], record["SessionId"], record["PageId"]]
    ((checkout,),) = staging.rows(
        "select min(event_properties) from {p}.raw_events where event_properties like '%OOS-134B%j55t459xy%'"
    )
    assert '"order":{"items":2,"order_id":"j55t459xy","total":8.54}' in checkout


def test_reading_does_not_disturb_a_load_and_a_path_may_hold_a_quote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "o'brien [1]"
    folder.mkdir()
    staging = Staging(folder, monkeypatch)
    staging.target = replace(staging.target, home=tmp_path)  # state is never in such a folder: see target.home_of
    staging.put("a.ndjson", ndjson(event("a")))

    told = []

    def read_meanwhile(step: str, done: int, *_: Any) -> None:
        if not told:  # before dlt runs, which knows one pipeline at a time
            assert status(staging.target).files == {}
        told.append((step, done))

    assert load(Feed.at(str(staging.feed)), staging.target, progress=read_meanwhile).rows == 1
    assert told[-1] == ("loading what was read", 1)
    assert status(staging.target).files == {"queued": 1}
