"""Which files a feed has, and that each of them is read or named; what the ledger makes of clocks, and of a backfill.

The expected values are worked out by hand from what each test writes.
"""

from __future__ import annotations

import ftplib
import gzip
import importlib
import json
import os
import socket
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import HOUR, event, ndjson
from fsspec.implementations.memory import MemoryFileSystem
from headrace import package, pipeline
from headrace.errors import LoadError, UsageError
from headrace.feed import Feed, shown
from headrace.ledger import Span
from headrace.load import load, replay
from headrace.lock import _Lease
from headrace.package import Loaded
from headrace.status import status
from headrace.sync import Summary, forget
from test_loader import Staging

SECRET = "hunter2"
EVERYTHING = Span(everything=True)


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Staging:
    return Staging(tmp_path, monkeypatch)


def names(loaded: Loaded) -> list[str]:
    """The last part of the paths that were told as not read."""
    return sorted(words.partition(": ")[0].rsplit("/", 1)[-1] for words in loaded.unread)


# --- addresses ------------------------------------------------------------------------------------------------------


def test_a_feed_whose_address_begins_like_another_ones(staging: Staging) -> None:
    def put(org: str, hour: str, event_id: str) -> Path:
        staging.put(f"{org}/events/ingested_time={hour}/f.ndjson", ndjson(event(event_id)))
        return staging.feed / org

    assert staging.load(put("org1", "2026-03-01 00:00:00", "a")).files == 1
    assert staging.load(put("org10", "2026-03-20 00:00:00", "b")).files == 1
    assert staging.load(put("org1", "2026-03-01 01:00:00", "c")).files == 1
    assert staging.loaded_ids() == ["a", "b", "c"]
    put("org10", "2026-03-20 01:00:00", "d")
    assert staging.load(staging.feed / "org1").files == 0


def test_a_folder_is_one_feed_however_it_is_typed(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    path = staging.put(f"events/{HOUR}/a.ndjson", ndjson(event("a")))
    monkeypatch.chdir(staging.feed.parent)
    typed = ["feed", "./feed/", str(staging.feed), f"{staging.feed}//", "feed/../feed", f"file://{staging.feed}"]
    assert {Feed.at(address).prefix for address in typed} == {str(staging.feed)}
    assert load(Feed.at("feed"), staging.target).files == 1
    path.write_bytes(ndjson(event("b"), event("c")))
    again = load(Feed.at(str(staging.feed / ".." / "feed")), staging.target)
    assert (again.files, again.recreated_files) == (1, 1)
    assert staging.rows("select distinct feed from {p}.syncs") == [(str(staging.feed),)]
    assert staging.rows("select distinct path from {p}.loaded_files") == [(str(path),)]


def test_a_part_of_a_feed_does_not_load_what_lies_beside_it(staging: Staging) -> None:
    for root, part, later in (("one", f"events/{HOUR}/a.ndjson", 0), ("two", "events", 1)):
        staging.put(f"{root}/events/{HOUR}/a.ndjson", ndjson(event(root)))
        staging.put(f"{root}/configuration/page-definitions/{HOUR}/a.ndjson", ndjson({"id": "p"}))
        assert staging.load(staging.feed / root / part).files == 1
        staging.put(f"{root}/events/{HOUR.replace(' 00', ' 01')}/b.ndjson", ndjson(event(f"{root} later")))
        after = staging.load(staging.feed / root / part)
        assert (after.files, after.definitions) == (later, 0)
    assert staging.loaded_ids() == ["one", "two", "two later"]


class Server(MemoryFileSystem):
    """An FTP server as fsspec shows it: the names of its files don't say which server they are on."""

    protocol = "ftp"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    modified = "20260302140000"

    def __init__(self, host: str = "", port: int = 21, username: str = "", password: str = "", **others: Any) -> None:
        super().__init__(**others)
        self.host = host
        self.login = username, password

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + fsspec.utils.infer_storage_options(path)["path"].strip("/")

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        options = fsspec.utils.infer_storage_options(path)
        return {name: value for name, value in options.items() if name not in ("path", "protocol")}

    def _timed(self, info: dict[str, Any]) -> dict[str, Any]:
        return {name: info[name] for name in ("name", "size", "type")} | {"modify": self.modified}

    def ls(self, path: str, detail: bool = True, **others: Any) -> list[Any]:
        if not self.login[1]:
            raise ftplib.error_perm("530 Login incorrect")
        found = super().ls(path, detail=True, **others)
        return [self._timed(info) for info in found] if detail else [info["name"] for info in found]

    def info(self, path: str, **others: Any) -> dict[str, Any]:
        return self._timed(super().info(path, **others))


@pytest.fixture
def ftp(monkeypatch: pytest.MonkeyPatch) -> type[Server]:
    monkeypatch.setitem(importlib.import_module("fsspec.registry")._registry, "ftp", Server)
    monkeypatch.setattr(Server, "store", {})
    monkeypatch.setattr(Server, "pseudo_dirs", [""])
    Server.clear_instance_cache()
    return Server


def test_host_and_user_belong_to_an_address_and_a_password_is_told_nowhere(
    staging: Staging, ftp: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (f"ftp://me:{SECRET}@{host}/feed" for host in ("one.example:21", "OTHER.example:2121"))
    ftp("any").pipe_file(f"/feed/events/{HOUR}/a.ndjson", ndjson(event("a")) + b"nonsense\n")
    ftp("any").pipe_file(f"/feed/events/{HOUR}/b.bz2", b"BZh9")
    assert Feed.at(one).prefix == "ftp://me@one.example/feed"
    assert load(Feed.at(one), staging.target).files == 1
    assert load(Feed.at(other), staging.target).files == 1
    assert load(Feed.at(other), staging.target).files == 0
    monkeypatch.setattr(ftp, "modified", "20260302150000")
    assert load(Feed.at(other), staging.target).unchanged_files == 1  # fetched, and found to be the same
    assert staging.rows("select feed, count(*) from {p}.syncs group by 1 order by 1") == [
        ("ftp://me@one.example/feed", 1),
        ("ftp://me@other.example:2121/feed", 3),
    ]
    assert staging.rows("select distinct _file from {p}.raw_events order by 1") == [
        (f"ftp://me@one.example/feed/events/{HOUR}/a.ndjson",),
        (f"ftp://me@other.example:2121/feed/events/{HOUR}/a.ndjson",),
    ]
    stored = [
        staging.rows(f"select * from {{p}}.{table}")
        for table in ("raw_events", "rejected_events", "loaded_files", "syncs")
    ]
    assert all(stored)
    assert SECRET not in str(stored)
    now = status(staging.target)
    assert ["access denied" in str(feed.problem) for feed in now.feeds] == [True, True]  # status has no password
    assert SECRET not in str(now)
    with pytest.raises(UsageError) as caught:
        Feed.at(f"ftp://me:{SECRET}@one.example/nowhere").files()
    assert SECRET not in str(caught.value)


def test_an_azure_account_belongs_to_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    adlfs = pytest.importorskip("adlfs")

    def account(name: str) -> None:
        adlfs.AzureBlobFileSystem.clear_instance_cache()
        key = "AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"
        monkeypatch.setenv(
            "AZURE_STORAGE_CONNECTION_STRING", f"DefaultEndpointsProtocol=https;AccountName={name};{key}"
        )

    account("one")
    feed = Feed.at("az://events/org1")
    assert feed.prefix == "abfss://events@one.dfs.core.windows.net/org1"
    assert feed._path("events/org1/a.ndjson") == f"{feed.prefix}/a.ndjson"
    assert feed.root_of(f"{feed.prefix}/x/events/{HOUR}/a.ndjson") == "events/org1/x"
    assert Feed.at(feed.prefix).prefix == feed.prefix
    account("two")
    assert Feed.at("az://events/org1").prefix == "abfss://events@two.dfs.core.windows.net/org1"
    with pytest.raises(UsageError, match="logs in to another account, two"):
        Feed.at("abfss://events@one.dfs.core.windows.net/org1")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (f"ftp://me:{SECRET}@host:21/a@b", "ftp://me@host:21/a@b"),
        (f"ftp://me:{SECRET}@{SECRET}@host/a", "ftp://me@host/a"),
        (f"ftp://me:{SECRET}/{SECRET}@host/a", "ftp://me@host/a"),
        (f"https://host/a.ndjson?sig={SECRET}", "https://host/a.ndjson"),
        ("s3://bucket/ingested_time=2026-03-02 14:00:00/a@b", "s3://bucket/ingested_time=2026-03-02 14:00:00/a@b"),
        ("abfss://c@one.dfs.core.windows.net/a", "abfss://c@one.dfs.core.windows.net/a"),
        ("/data/what?/me:you@home", "/data/what?/me:you@home"),
    ],
)
def test_what_is_told_of_an_address(address: str, told: str) -> None:
    assert shown(address) == told


def test_a_feed_can_be_forgotten(staging: Staging) -> None:
    staging.put("a.ndjson", ndjson(event("a")))
    staging.load()
    assert [feed.feed for feed in status(staging.target).feeds] == [str(staging.feed)]
    with pytest.raises(UsageError, match=f"no such feed was synced to this target; it knows: {staging.feed}"):
        forget("elsewhere", staging.target)
    forget(str(staging.feed), staging.target)
    assert status(staging.target).feeds == []
    assert staging.load().files == 0


# --- every file is read, or named -----------------------------------------------------------------------------------


def test_every_file_is_read_or_named_once(staging: Staging) -> None:
    hour = "events/ingested_time=2026-03-02 14:00:00"
    contents = {
        "ok.ndjson": ndjson(event("1")),
        "UPPER.NDJSON": ndjson(event("2")),
        "part-00000": ndjson(event("3")),
        "b.ndjson.gzip": gzip.compress(ndjson(event("4"))),
        "part-00001.gz": gzip.compress(ndjson(event("5"))),
        "_tmp.ndjson": ndjson(event("no")),
        "_temporary/x.ndjson": ndjson(event("no")),
        ".staging/x.ndjson": ndjson(event("no")),
        "c.txt": ndjson(event("no")),
        "a.ndjson.bz2": b"BZh9",
        "d.csv": b"a,b\n",
        "e.ndjson.zstd": b"x",
        "f.PARQUET": b"x",
        "g.json.snappy": b"x",
        "h.avro": b"x",
        "i.ndjson.lz4": b"x",
        "part-00002": b"neither this nor that",
    }
    for name, content in contents.items():
        staging.put(f"{hour}/{name}", content)
    pq.write_table(pa.Table.from_pylist([event("6")]), staging.feed / hour / "part-00003")
    unread = ["a.ndjson.bz2", "c.txt", "d.csv", "g.json.snappy", "h.avro", "i.ndjson.lz4", "part-00002"]

    first = staging.load()
    assert staging.loaded_ids() == ["1", "2", "3", "4", "5", "6"]
    assert [name for name, _, _ in staging.rejected()] == ["e.ndjson.zstd", "f.PARQUET"]
    assert names(first) == unread
    notes = Summary("t", first, None).notes()
    assert f"not read: {staging.feed / hour}/a.ndjson.bz2: .bz2 is no format that is read" in notes
    assert [Path(path).name for path in status(staging.target).unread] == unread

    again = staging.load()
    assert (again.files, again.unread) == (0, [])
    assert [Path(path).name for path in status(staging.target).unread] == unread
    assert staging.rows("select count(*) from {p}.loaded_files where kind = 'unread'") == [(7,)]
    assert staging.rows("select count(*) from {p}.loaded_files where kind = 'unread' and not is_merged") == [(0,)]

    (staging.feed / hour / "c.txt").unlink()
    staging.put(f"{hour}/part-00002", ndjson(event("7")))
    assert load(Feed.at(str(staging.feed)), staging.target, EVERYTHING).recreated_files == 0
    assert staging.loaded_ids() == ["1", "2", "3", "4", "5", "6", "7"]
    left = [Path(path).name for path in status(staging.target).unread]
    assert left == ["a.ndjson.bz2", "d.csv", "g.json.snappy", "h.avro", "i.ndjson.lz4"]


def test_what_is_no_regular_file_is_named_and_the_rest_goes_on(staging: Staging, tmp_path: Path) -> None:
    hour = staging.feed / "events" / HOUR
    staging.put(f"events/{HOUR}/a.ndjson", ndjson(event("a")))
    staging.put(f"events/{HOUR}/x.ndjson/part-00000", ndjson(event("b")))
    os.mkfifo(hour / "fifo.ndjson")
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(hour)  # the path of a socket is short
        listener.bind("socket.ndjson")
    (hour / "nowhere.ndjson").symlink_to("gone.ndjson")
    (hour / "loop.ndjson").symlink_to("loop.ndjson")
    (hour / "round").symlink_to("..")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c.ndjson").write_bytes(ndjson(event("c")))
    (hour / "linked").symlink_to(tmp_path / "elsewhere")
    (hour / os.fsdecode(b"caf\xe9.ndjson")).write_bytes(ndjson(event("no")))
    for first in (True, False):
        loaded = staging.load()
        assert staging.loaded_ids() == ["a", "b", "c"]
        told = ["caf\\xe9.ndjson", "fifo.ndjson", "loop.ndjson", "nowhere.ndjson", "round", "socket.ndjson"]
        assert names(loaded) == (told if first else [])
        assert [Path(path).name for path in status(staging.target).unread] == told


def test_a_file_that_cannot_be_opened_or_has_gone(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "closed", "gone"):
        staging.put(f"events/{HOUR}/{name}.ndjson", ndjson(event(name)))
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == "closed.ndjson":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)

    def remove(*_: Any) -> None:
        (staging.feed / "events" / HOUR / "gone.ndjson").unlink(missing_ok=True)

    first = load(Feed.at(str(staging.feed)), staging.target, progress=remove)
    assert staging.loaded_ids() == ["a"]
    assert names(first) == ["closed.ndjson", "gone.ndjson"]
    assert [Path(path).name for path in status(staging.target).unread] == ["closed.ndjson"]
    assert staging.load().unread == []
    monkeypatch.setattr(Path, "open", opened)
    assert staging.load().rows == 1
    assert staging.loaded_ids() == ["a", "closed"]
    assert status(staging.target).unread == []


def test_a_folder_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("closed/b", "configuration/c", f"events/{HOUR}/a"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / f"{name}.ndjson").touch()
    scanned = os.scandir
    closed = {str(tmp_path / "closed"), str(tmp_path / "configuration")}

    def refuse(folder: str) -> Any:
        if folder in closed:
            raise PermissionError(13, "Permission denied")
        return scanned(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    feed = Feed.at(str(tmp_path))
    for first, told in ((None, {"closed", "configuration"}), (date(2026, 3, 2), {"configuration"})):
        files = feed.files(first)
        assert [file.path for file in files if not file.problem] == [str(tmp_path / f"events/{HOUR}/a.ndjson")]
        problems = {Path(file.path).name: file.problem for file in files if file.problem}
        assert problems == dict.fromkeys(told, "the folder can't be opened (Permission denied)")
    closed.add(str(tmp_path))
    for first in (None, date(2026, 3, 2)):
        with pytest.raises(UsageError, match=r"access denied|can't be opened"):
            feed.files(first)


def test_the_first_bytes_decide_where_a_name_says_another_format(staging: Staging) -> None:
    contents = {
        "stored compressed.ndjson": gzip.compress(ndjson(event("1"))),
        "other compression.ndjson.gz": bytes(pa.compress(ndjson(event("2")), "zstd", asbytes=True)),
        "array.json.zst": gzip.compress(json.dumps([event("3")]).encode()),
    }
    for name, content in contents.items():
        staging.put(f"{HOUR}/{name}", content)
    pq.write_table(pa.Table.from_pylist([event("4")]), staging.feed / HOUR / "parquet.ndjson")
    assert staging.load().rejected == 0
    assert staging.loaded_ids() == ["1", "2", "3", "4"]


SPELLINGS = {
    "2026-03-02 14:00:00": "14:00:00",
    "2026-03-02%2014%3A05%3A06": "14:05:06",
    "2026-03-02+14%3A00%3A00": "14:00:00",
    "2026-03-02-14-00-07": "14:00:07",
    "2026-03-02_14_00_00": "14:00:00",
    "2026-03-02T14:00:00Z": "14:00:00",
    "2026-03-02T14:00:00.123456Z": "14:00:00",
    "2026-03-02 14:30": "14:30:00",
    "2026-03-02T14": "14:00:00",
    "2026-03-02": "00:00:00",
    "2026-03-02 14:00:00+00:00": "14:00:00",
    "2026-03-02 14%3A00%3A08%2B00": "14:00:08",
}


def test_hours_as_other_tools_spell_them_and_loose_files_beside_them(tmp_path: Path) -> None:
    for spelling in SPELLINGS:
        path = tmp_path / "events" / f"ingested_time={spelling}" / "a.ndjson"
        path.parent.mkdir(parents=True)
        path.touch()
    others = ["loose.ndjson", "events/loose.ndjson", "configuration/page-definitions/loose.ndjson"]
    odd = ["events/ingested_time=2026-13-45/a.ndjson", "events/ingested_time=9999-12-31 00:00:00/a.ndjson"]
    old = ["events/ingested_time=2026-03-01 23:59:59/a.ndjson", "events/ingested_time=0001-01-01 00:00:00/a.ndjson"]
    for name in [*others, *odd, *old]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {
        str(Path(file.path).relative_to(tmp_path)): file for file in Feed.at(str(tmp_path)).files(date(2026, 3, 2))
    }
    hours = {name.split("/")[1].partition("=")[2]: file.hour for name, file in found.items() if "=2026-03-02" in name}
    assert {name: f"{hour:%H:%M:%S}" for name, hour in hours.items() if hour} == SPELLINGS
    assert set(found) - {f"events/ingested_time={spelling}/a.ndjson" for spelling in SPELLINGS} == {*others, *odd}
    assert {file.hour for name, file in found.items() if name in others} == {None}


# --- clocks ---------------------------------------------------------------------------------------------------------


def test_hours_at_the_ends_of_time_hide_no_others(staging: Staging) -> None:
    now = datetime.now(UTC)

    def put(hour: str, event_id: str) -> None:
        staging.put(f"events/ingested_time={hour}/{event_id}.ndjson", ndjson(event(event_id)))

    put("0001-01-01 00:00:00", "first")
    assert staging.load().rows == 1
    put("9999-12-31 23:00:00", "last")
    assert staging.load().rows == 1
    put(f"{now:%Y-%m-%d %H}:00:00", "now")
    assert staging.load().rows == 1
    put(f"{now - timedelta(hours=30):%Y-%m-%d %H}:00:00", "late")
    put("9999-12-31 23:00:00", "last2")
    assert staging.load().rows == 2
    ((since,),) = staging.rows("select max(listed_since) from {p}.syncs")
    assert since.date() == (now - timedelta(days=2)).date()


def test_a_load_made_while_the_clock_was_ahead_is_not_the_newest_for_a_year(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = staging.put(f"events/{HOUR}/a.ndjson", ndjson(event("a", 1)))
    monkeypatch.setattr(pipeline, "create_load_id", lambda: str(4e9))
    staging.load()
    monkeypatch.undo()
    staging.database = staging.feed.parent / "staging.duckdb"
    monkeypatch.setenv("HEADRACE_DUCKDB", str(staging.database))
    for n in (2, 3):
        path.write_bytes(ndjson(event("a", n, event_properties={"n": n})) * n)
        assert staging.load().recreated_files == 1
    assert staging.load().files == 0
    ((newest,),) = staging.rows("select event_properties from {p}.raw_events order by _dlt_load_id desc limit 1")
    assert newest == '{"n": 3}'
    made = [load_id for (load_id,) in staging.rows("select load_id from {p}._dlt_loads order by inserted_at")]
    assert len(made) == 4
    assert made == sorted(made)


def test_load_ids_sort_as_text_whatever_the_clock_was() -> None:
    for newest in (None, "4000000000.0", "86400.5", "1764165600.1234567"):
        later = pipeline._later_ids(newest)
        made = [newest or "", *(next(later) for _ in range(3))]
        assert made == sorted(set(made))


def test_a_lease_made_while_the_clock_was_ahead_is_none(staging: Staging) -> None:
    staging.target.work_dir.mkdir(parents=True)
    with pipeline.connected(staging.target, loads=True) as opened:
        lease = _Lease(staging.target, opened.sql_client())
        lease.take()
        for ahead, is_free in ((timedelta(days=365), True), (timedelta(minutes=4), False)):
            expires = int((datetime.now(UTC) + ahead).timestamp())
            with opened.sql_client() as client:
                client.execute_sql("update lease set owner = 'another', expires = %s", expires)
            assert (lease.claim() is None) == is_free


# --- definitions ----------------------------------------------------------------------------------------------------


def test_a_definition_that_is_malformed_is_rejected_and_the_others_load(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.formats.source.BLOCK_BYTES", 2**12)
    good = b'{"id": "%s", "name": "n", "state": "%s"}\n'
    lines = [
        b'{"id": 1.5}',
        b'{"id": {}}',
        b'{"id": true}',
        b'{"id": 18446744073709551616}',
        b'{"id": "x", "name": 5}',
        b'{"id": "x", "modified_time": "0000-01-01T00:00:00Z"}',
        b'{"id": "x", "modified_time": 253402300800000}',
        b'{"id": "x", "created_time": {}}',
        b'[{"id": "x"}]',
        b'{"id": "x", "more": ' + b"[" * 990 + b"]" * 990 + b"}",
        b'{"id": "x", "more": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"id": "\xff"}',
    ]
    folder = f"configuration/page-definitions/{HOUR}"
    staging.put(f"{folder}/a.ndjson", good % (b"p1", b"retired") + b"\n".join(lines) + b"\n" + good % (b"p2", b""))
    whole = b"".join(good % (str(n).encode(), os.urandom(8).hex().encode()) for n in range(2000))
    staging.put(f"{folder}/cut.ndjson.gz", gzip.compress(whole)[:-1000])
    staging.put(f"{folder}/cut.ndjson", good % (b"p3", b"active") + b'{"id": "p4", "na')
    times = pa.array([253_402_300_800_000, 0], pa.timestamp("ms", "UTC"))  # the first second of the year 10000
    pq.write_table(pa.table({"id": [5, 6], "modified_time": times}), staging.feed / folder / "times.parquet")
    texts = pa.array([b"\xff", b"p7"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": texts}), staging.feed / folder / "texts.parquet")
    staging.load()
    assert staging.rows("select id from {p}.raw_definitions where _file not like '%.gz' order by 1") == [
        ("6",), ("p1",), ("p2",), ("p3",), ("p7",)
    ]  # fmt: skip
    ((from_cut,),) = staging.rows("select count(*) from {p}.raw_definitions where _file like '%.gz'")
    assert 0 < from_cut < 2000
    rejected = staging.rejected()
    assert [position for name, position, _ in rejected if name == "a.ndjson"] == list(range(2, 2 + len(lines)))
    assert [position for name, position, _ in rejected if name == "cut.ndjson"] == [2]
    assert [position for name, position, _ in rejected if name == "times.parquet"] == [1]
    assert [position for name, position, _ in rejected if name == "texts.parquet"] == [1]
    assert {from_cut + 1, None} & {position for name, position, _ in rejected if name == "cut.ndjson.gz"}


# --- a backfill that is cut short -----------------------------------------------------------------------------------


def test_a_backfill_goes_on_with_what_it_did_itself(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "PACKAGE_BYTES", 1)  # each file a package
    paths = [staging.put(f"events/{HOUR}/{name}.ndjson", ndjson(event(name))) for name in "abc"]
    staging.load()
    feed, builds = Feed.at(str(staging.feed)), []

    def build(stop_at: int) -> None:
        builds.append(1)
        if len(builds) == stop_at:
            raise LoadError("cut short")

    def again(stop_at: int = 0) -> Loaded:
        builds.clear()
        return replay(feed, staging.target, Span(), lambda: build(stop_at))

    with pytest.raises(LoadError, match="cut short"):
        again(stop_at=1)  # a is loaded
    os.utime(paths[2], (1, 1))
    paths[1].write_bytes(ndjson(event("b"), event("b2")))
    hourly = staging.load()  # this loads b, and sees that c was touched
    assert (hourly.files, hourly.unchanged_files) == (1, 2)

    with monkeypatch.context() as patch:
        patch.setattr(package.Package, "syncs", lambda package: 1 / 0)  # b is read, and not committed
        with pytest.raises(Exception, match="division"):
            again()

    gone_on = again()
    assert (gone_on.files, len(builds)) == (2, 2)
    assert gone_on.gone_on is not None
    assert "UTC, 1 files done" in gone_on.gone_on
    assert any("going on with a backfill begun at 20" in note for note in Summary("t", gone_on, None).notes())
    loads = staging.rows("select event_id, count(*) from {p}.raw_events group by 1 order by 1")
    assert loads == [("a", 2), ("b", 3), ("b2", 2), ("c", 2)]
    whole = again()
    assert (whole.files, whole.gone_on) == (3, None)
