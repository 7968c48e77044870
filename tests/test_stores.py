"""Feeds in S3, Google Cloud Storage and Azure: the stores' own protocols, spoken to servers on this machine.

Between client and server stands a proxy that counts what is asked and fails when it is told to. What isn't installed is
skipped: S3 needs `moto[s3,server]`, GCS `gcp-storage-emulator`, Azure `azurite-blob` on the PATH or in .standins
(`npm install --prefix .standins/azurite azurite`).
"""

from __future__ import annotations

import gzip
import http.client
import importlib.util
import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import HOUR, PROJECT, Warehouse, event, ndjson
from headrace.errors import HeadraceError, LoadError, UsageError
from headrace.feed import Feed
from headrace.ledger import NEWEST, Span
from headrace.load import load
from headrace.package import Loaded
from headrace.target import read_target

NO_GRPC = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"
"""Without this, gcsfs asks Google's own gRPC endpoint what kind of bucket it is; the emulator has none."""

os.environ[NO_GRPC] = "false"  # before gcsfs is imported

SECRET = "c2VjcmV0c2VjcmV0"
BUCKET = "feeds"
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
DAYS = (NOW.date() - (NOW - timedelta(hours=1, days=2)).date()).days + 1
"""An hourly run looks at so many days of a feed whose newest hour is the one before this."""


# --- the wire: a proxy that counts and fails ------------------------------------------------------------------------


class Wire(ThreadingHTTPServer):
    """Hands requests on to a server, or spoils them: `fault` says how, from the method and the path."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, upstream: int) -> None:
        super().__init__(("127.0.0.1", 0), Relay)
        self.upstream = upstream
        self.clear()

    def clear(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.fault: Callable[[str, str], Any] = lambda method, path: None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""

    def calls(self) -> Counter[str]:
        """What was asked: listings, contents, and the rest by method."""
        return Counter(map(kind_of_call, *zip(*self.asked, strict=True))) if self.asked else Counter()


def kind_of_call(method: str, path: str) -> str:
    parts = urlsplit(path)
    query = parse_qs(parts.query, keep_blank_values=True)
    is_listing = "list-type" in query or query.get("comp") == ["list"] or parts.path.endswith("/o")
    if method == "GET" and is_listing:
        return "list"
    is_metadata = parts.path.startswith("/storage/v1/") or query
    return "read" if method == "GET" and (query.get("alt") == ["media"] or not is_metadata) else method


class Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Wire

    def relay(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        self.server.asked.append((self.command, self.path))
        fault = self.server.fault(self.command, self.path)
        if fault == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif isinstance(fault, tuple):
            self.answer(*fault)
        else:
            upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            self.answer(answer.status, answer.read(), dict(answer.headers), cut=fault == "cut")
            upstream.close()

    def answer(self, status: int, body: bytes, headers: dict[str, str], cut: bool = False) -> None:
        self.send_response_only(status)
        kept = {name: value for name, value in headers.items() if name.lower() not in DROPPED}
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        for name, value in {**kept, "Content-Length": length}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = relay  # noqa: N815

    def log_message(self, *arguments: Any) -> None:
        """The tests look at `asked`."""


DROPPED = {"content-length", "transfer-encoding", "connection", "keep-alive"}


@contextmanager
def wired(upstream: int) -> Iterator[Wire]:
    wire = Wire(upstream)
    threading.Thread(target=wire.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield wire
    finally:
        wire.shutdown()
        wire.server_close()


def once_each(*faults: Any) -> Callable[[str, str], Any]:
    """The first time that a thing is asked for, it fails, one way after the other."""
    seen: set[tuple[str, str]] = set()
    ways = itertools.cycle(faults)

    def fault(method: str, path: str) -> Any:
        if (method, path) in seen:
            return None
        seen.add((method, path))
        way = next(ways)
        return "drop" if way == "cut" and kind_of_call(method, path) != "read" else way

    return fault


def always(fault: Any) -> Callable[[str, str], Any]:
    return lambda method, path: fault


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- the stores -----------------------------------------------------------------------------------------------------


class Store:
    """A store behind the wire, what the environment must say to reach it, and a feed in it."""

    scheme: str
    module: str
    denied: tuple[int, bytes, dict[str, str]]

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.feed = "feed"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.wire.server_port}"

    @property
    def address(self) -> str:
        return f"{self.scheme}://{BUCKET}/{self.feed}"

    def environment(self) -> dict[str, str]:
        raise NotImplementedError

    def create_bucket(self) -> None:
        self.client().mkdir(BUCKET)

    def client(self) -> Any:
        forget_clients()
        return fsspec.filesystem(self.scheme)

    def put(self, name: str, content: bytes) -> None:
        self.client().pipe_file(f"{BUCKET}/{self.feed}/{name}", content)


class S3(Store):
    scheme, module = "s3", "s3fs"
    denied = (
        403,
        b"<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated "
        b"does not match the signature you provided. AWSAccessKeyId c2VjcmV0c2VjcmV0</Message></Error>",
        {"Content-Type": "application/xml"},
    )

    def environment(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
        return {**keys, "AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": "us-east-1"}


class GCS(Store):
    scheme, module = "gs", "gcsfs"
    denied = (
        403,
        b'{"error": {"code": 403, "message": "c2VjcmV0c2VjcmV0 does not have storage.objects.list access"}}',
        {"Content-Type": "application/json"},
    )

    def environment(self) -> dict[str, str]:
        return {"FSSPEC_GCS_ENDPOINT_URL": self.url, "FSSPEC_GCS_TOKEN": "anon", NO_GRPC: "false"}

    def create_bucket(self) -> None:
        """The emulator has it."""


class Azure(Store):
    scheme, module = "az", "adlfs"
    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    """Not secret: every Azurite has it."""
    denied = (
        403,
        b"<?xml version='1.0'?><Error><Code>AuthorizationFailure</Code><Message>c2VjcmV0c2VjcmV0</Message></Error>",
        {"Content-Type": "application/xml", "x-ms-error-code": "AuthorizationFailure"},
    )

    def environment(self) -> dict[str, str]:
        account = f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key}"
        return {"AZURE_STORAGE_CONNECTION_STRING": f"{account};BlobEndpoint={self.url}/{self.account};"}


@contextmanager
def moto() -> Iterator[int]:
    pytest.importorskip("moto.server", reason="moto[s3,server] is not installed")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@contextmanager
def gcs_emulator() -> Iterator[int]:
    pytest.importorskip("gcp_storage_emulator", reason="gcp-storage-emulator is not installed")
    from gcp_storage_emulator.server import create_server

    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    server.start()
    yield port
    server.stop()


@contextmanager
def azurite(folder: Path) -> Iterator[int]:
    places = os.pathsep.join((os.environ["PATH"], str(PROJECT / ".standins/azurite/node_modules/.bin")))
    command = shutil.which("azurite-blob", path=places)
    if command is None:
        pytest.skip("azurite-blob is not on the PATH")
    port = free_port()
    options = ["--blobPort", str(port), "--location", str(folder)]
    server = subprocess.Popen(
        [command, *options, "--silent", "--skipApiVersionCheck", "--disableTelemetry"], stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
            time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait(30)


SERVERS: dict[type[Store], Callable[[Path], Any]] = {
    S3: lambda folder: moto(),
    GCS: lambda folder: gcs_emulator(),
    Azure: azurite,
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[type[Store]], Store]]:
    """Stores by kind, each started when the first test asks for it and stopped after the last."""
    started: dict[type[Store], Store] = {}
    with ExitStack() as stack:

        def start(kind: type[Store]) -> Store:
            pytest.importorskip(kind.module, reason=f"{kind.module} is not installed")
            if kind not in started:
                port = stack.enter_context(SERVERS[kind](tmp_path_factory.mktemp(kind.scheme)))
                started[kind] = kind(stack.enter_context(wired(port)))
            return started[kind]

        yield start


FEEDS = itertools.count()


def ready(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store with an empty feed, and this process configured for it."""
    store.wire.clear()
    store.feed = f"feed{next(FEEDS)}"
    configure(monkeypatch, store.environment())
    if not store.client().exists(BUCKET):
        store.create_bucket()
    store.wire.clear()
    return store


def configure(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "FSSPEC_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    conf: dict[str, Any] = {}
    fsspec.config.set_conf_env(conf, environment)  # fsspec itself looks once, when it is imported
    monkeypatch.setattr(fsspec.config, "conf", conf)
    monkeypatch.setattr("fsspec.spec.apply_config", lambda cls, kwargs: fsspec.config.apply_config(cls, kwargs, conf))
    forget_clients()


def forget_clients() -> None:
    """Fsspec keeps them, with what the environment said when they were made."""
    for kind in (S3, GCS, Azure):
        if importlib.util.find_spec(kind.module):
            fsspec.get_filesystem_class(kind.scheme).clear_instance_cache()


@pytest.fixture(params=[S3, GCS, Azure], ids=["s3", "gcs", "azure"])
def store(
    request: pytest.FixtureRequest,
    servers: Callable[[type[Store]], Store],
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    return ready(servers(request.param), monkeypatch)


@pytest.fixture
def s3(servers: Callable[[type[Store]], Store], monkeypatch: pytest.MonkeyPatch) -> Store:
    return ready(servers(S3), monkeypatch)


class Staging:
    """An empty DuckDB file, loaded in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir(exist_ok=True)
        self.database = folder / "staging.duckdb"
        monkeypatch.setenv("HEADRACE_DUCKDB", str(self.database))
        self.target = replace(read_target(None, PROJECT), home=folder)

    def load(self, address: str | Path, span: Span = NEWEST) -> Loaded:
        forget_clients()
        return load(Feed.at(str(address)), self.target, span)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.database)) as connection:
            connection.execute("set TimeZone = 'UTC'").fetchall()
            return connection.execute(sql.format(p="product")).fetchall()

    def ids(self) -> list[str]:
        return [row[0] for row in self.rows("select distinct event_id from {p}.raw_events order by 1")]


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Staging:
    return Staging(tmp_path / "staging", monkeypatch)


def hour(at: datetime) -> str:
    return f"events/ingested_time={at:%Y-%m-%d %H}:00:00"


# --- the same from everywhere ---------------------------------------------------------------------------------------


def parquet(*rows: dict[str, Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink)
    return sink.getvalue().to_pybytes()


PAGE = {"id": "p1", "name": "Cart", "state": "active", "modified_time": "2026-01-02T00:00:00Z"}
FILES = {
    f"events/{HOUR}/a.parquet": parquet(event("a"), event("b", session_id=None)),
    f"events/{HOUR}/b.ndjson.gz": gzip.compress(ndjson(event("c", event_properties={"é": 1.10}))),
    f"events/{HOUR}/100%#ü+&.ndjson": ndjson(event("d"), event("bad", device_id=...)),
    f"events/{HOUR}/empty.ndjson": b"",
    f"events/{HOUR}/_SUCCESS": b"",
    f"configuration/page-definitions/{HOUR}/a.ndjson": ndjson(PAGE),
    "loose.jsonl": ndjson(event("e")),
}


def contents(staging: Staging, prefix: str) -> list[list[tuple[Any, ...]]]:
    """All that was loaded, but for what names the load, with paths below the feed."""
    found = []
    for table, left_out in (
        ("raw_events", "_dlt_load_id"),
        ("raw_definitions", "_dlt_load_id"),
        ("rejected_events", "_dlt_load_id"),
        ("loaded_files", "_dlt_load_id, version"),
    ):
        rows = staging.rows(f"select * exclude ({left_out}) from {{p}}.{table}")
        below = [tuple(str(value).removeprefix(prefix) for value in row) for row in rows]
        found.append(sorted(below))
    return found


def test_the_same_feed_gives_the_same_rows_from_disk_and_from_the_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in FILES.items():
        path = tmp_path / "feed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        store.put(name, content)
    disk = Staging(tmp_path / "disk", monkeypatch)
    assert disk.load(tmp_path / "feed").files == 6
    remote = Staging(tmp_path / "remote", monkeypatch)
    assert remote.load(store.address).files == 6
    prefix = Feed.at(store.address).prefix
    assert contents(remote, prefix) == contents(disk, str(tmp_path / "feed"))
    assert remote.ids() == ["a", "b", "c", "d", "e"]
    again = remote.load(store.address)
    assert (again.files, again.rows) == (0, 0)


def test_one_file_as_feed(store: Store, staging: Staging) -> None:
    store.put(f"configuration/page-definitions/{HOUR}/a.ndjson", ndjson(PAGE))
    store.put(f"events/{HOUR}/a.ndjson", ndjson(event("a")))
    store.put(f"events/{HOUR}/a.ndjson.more", b"")
    assert staging.load(f"{store.address}/events/{HOUR}/a.ndjson").rows == 1
    assert staging.load(f"{store.address}/configuration/page-definitions/{HOUR}/a.ndjson").definitions == 1


def test_the_command_takes_endpoint_and_credentials_from_the_environment(store: Store, warehouse: Warehouse) -> None:
    store.put(f"events/{HOUR}/a.ndjson", ndjson(event("a")))
    warehouse.env.update(store.environment())
    warehouse.sync(store.address, "--no-build")
    assert warehouse.rows("select event_id from {p}.raw_events") == [("a",)]


# --- an hourly run --------------------------------------------------------------------------------------------------


def test_new_late_recreated_and_touched_files_of_the_listed_hours(store: Store, staging: Staging) -> None:
    first = NOW - timedelta(hours=30)
    for n in range(3):
        store.put(f"{hour(first + timedelta(hours=n))}/a.ndjson", ndjson(event(f"a{n}")))
    assert staging.load(store.address).files == 3
    store.put(f"{hour(first)}/late.ndjson", ndjson(event("late")))
    store.put(f"{hour(first + timedelta(hours=1))}/a.ndjson", ndjson(event("a1"), event("more")))
    store.put(f"{hour(first + timedelta(hours=2))}/a.ndjson", ndjson(event("a2")))
    store.put(f"{hour(NOW)}/a.ndjson", ndjson(event("new")))
    store.put(f"{hour(NOW - timedelta(days=9))}/a.ndjson", ndjson(event("too old to be looked for")))
    store.wire.clear()
    second = staging.load(store.address)
    assert (second.files, second.rows, second.recreated_files) == (3, 4, 1)
    assert staging.ids() == ["a0", "a1", "a2", "late", "more", "new"]
    assert store.wire.calls()["read"] <= 4
    store.wire.clear()
    assert staging.load(store.address).files == 0
    assert store.wire.calls()["read"] == 0
    assert staging.load(store.address, Span(everything=True)).rows == 1


def seed(store: Store, count: int) -> None:
    """Ten files an hour, back from the hour before this one, put into the server without the wire."""
    from moto.backends import get_backend

    backend = get_backend("s3")["123456789012"]["aws"]
    for n in range(count):
        at = NOW - timedelta(hours=1 + n // 10)
        backend.put_object(BUCKET, f"{store.feed}/{hour(at)}/{n % 10}.ndjson", ndjson(event(f"old{n}", n % 60)))


def note_as_loaded(staging: Staging, address: str) -> int:
    """Put all that lies in the feed into the ledger. A hundred files were loaded; the rest would take minutes here."""
    listed = pa.Table.from_pylist(
        [
            {
                "path": file.path,
                "kind": "events",
                "ingested_time": file.hour,
                "size": file.size,
                "version": file.version,
                "row_count": 1,
            }
            for file in Feed.at(address).files()
        ]
    )
    with duckdb.connect(str(staging.database)) as connection:
        connection.register("listed", listed)
        connection.execute(
            "insert into product.loaded_files by name select l.*, 0 as rejected, '' as content_hash, "
            "false as is_recreated, true as is_merged, (select min(load_id) from product._dlt_loads) as _dlt_load_id "
            "from listed l where path not in (select path from product.loaded_files)"
        ).fetchall()
    return len(listed)


def hourly_calls(store: Store, staging: Staging, old: int) -> Counter[str]:
    """The calls of a run that finds ten new files beside so many old ones."""
    seed(store, min(old, 100))
    staging.load(store.address)
    seed(store, old)
    assert note_as_loaded(staging, store.address) == old
    for n in range(10):
        store.put(f"{hour(NOW)}/{n}.ndjson", ndjson(event(f"new{n}")))
    store.wire.clear()
    started = time.monotonic()
    loaded = staging.load(store.address)
    assert (loaded.files, loaded.rows) == (10, 10)
    print(f"{old:,} old files: {dict(store.wire.calls())} in {time.monotonic() - started:.1f} s")
    return store.wire.calls()


def test_a_run_lists_and_reads_what_is_new_however_old_the_bucket(
    s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = hourly_calls(s3, Staging(tmp_path / "old", monkeypatch), 2_500)
    # Besides the days: the feed's own folder and events/, for the names of the hours and for loose files.
    assert old == {"list": 2 + DAYS, "read": 10}
    s3.feed += "-young"
    assert hourly_calls(s3, Staging(tmp_path / "young", monkeypatch), 500) == old


def test_many_small_files_are_fetched_together(s3: Store, staging: Staging) -> None:
    seed(s3, 300)
    under_way, most, lock = 0, 0, threading.Lock()

    def slow(method: str, path: str) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.03)
        with lock:
            under_way -= 1

    s3.wire.fault = slow
    assert staging.load(s3.address).rows == 300
    assert most >= 5
    assert s3.wire.calls()["read"] == 300
    assert not list((staging.target.work_dir).glob("files/*"))


def test_a_quiet_feed_is_well_and_a_vanished_one_is_not(s3: Store, staging: Staging) -> None:
    name = f"{hour(NOW - timedelta(days=40))}/a.ndjson"
    s3.put(name, ndjson(event("a")))
    staging.load(s3.address)
    assert staging.load(s3.address).files == 0
    s3.client().rm(f"{BUCKET}/{s3.feed}", recursive=True)
    with pytest.raises(UsageError, match="no such file or folder"):
        staging.load(s3.address)


@pytest.mark.parametrize("name", ["ingested_time=9999-12-30 00:00:00", "ingested_time=2026-13-45 00:00:00"])
def test_the_folder_of_an_hour_that_cannot_be(s3: Store, staging: Staging, name: str) -> None:
    s3.put(f"events/{name}/a.ndjson", ndjson(event("odd")))
    s3.put(f"{hour(NOW)}/a.ndjson", ndjson(event("a")))
    assert staging.load(s3.address).rows == 2
    s3.wire.clear()
    s3.put(f"{hour(NOW)}/b.ndjson", ndjson(event("b")))
    assert staging.load(s3.address).rows == 1
    assert s3.wire.calls()["list"] <= 2 + DAYS + 1


def test_hours_as_other_tools_spell_them_loose_files_and_what_only_its_content_tells(
    store: Store, staging: Staging
) -> None:
    store.put(f"{hour(NOW)}/a.ndjson", ndjson(event("a")))
    staging.load(store.address)
    store.put(f"events/ingested_time={NOW:%Y-%m-%d}%20{NOW:%H}%3A00%3A00/b.ndjson", ndjson(event("b")))
    store.put(f"events/ingested_time={NOW:%Y-%m-%dT%H}:30Z/part-00000", gzip.compress(ndjson(event("c"))))
    store.put(f"events/ingested_time={NOW:%Y-%m-%d-%H}-00-00/part-00001", b"neither this nor that")
    store.put(f"events/ingested_time={NOW - timedelta(days=9):%Y-%m-%d}/d.ndjson", ndjson(event("too old")))
    store.put("events/loose.ndjson", ndjson(event("e")))
    store.put("events/_temporary/0/f.ndjson", ndjson(event("under way")))
    store.put("loose.ndjson.bz2", b"BZh9")
    loaded = staging.load(store.address)
    assert staging.ids() == ["a", "b", "c", "e"]
    assert [words.partition(": ")[0].rsplit("/", 1)[1] for words in loaded.unread] == ["loose.ndjson.bz2", "part-00001"]
    store.wire.clear()
    again = staging.load(store.address)
    assert (again.files, again.unread, store.wire.calls()["read"]) == (0, [], 0)


# --- what fails -----------------------------------------------------------------------------------------------------

UNAVAILABLE = (503, b"", {"Retry-After": "1"})
BROKEN = (500, b"", {})


def test_faults_in_passing_are_tried_again(store: Store, staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    if store.scheme == "az":  # whose client waits for 15 seconds and more
        backoff = "azure.storage.blob._shared.policies_async.ExponentialRetry.get_backoff_time"
        monkeypatch.setattr(backoff, lambda *_: 0.1)
    for n in range(6):
        store.put(f"{hour(NOW)}/{n}.ndjson", ndjson(*(event(f"{n}-{row:04}") for row in range(400))))
    store.wire.clear()
    store.wire.fault = once_each(UNAVAILABLE, "cut", "drop", BROKEN, "cut", "drop")
    started = time.monotonic()
    assert staging.load(store.address).rows == 2400
    print(f"{store.scheme}: {dict(store.wire.calls())} in {time.monotonic() - started:.1f} s")
    assert staging.rows("select count(*), count(distinct event_id) from {p}.raw_events") == [(2400, 2400)]


def fails(staging: Staging, address: str, kind: type[HeadraceError]) -> str:
    """The message of a load that must fail so, in one line and without what is secret."""
    with pytest.raises(kind) as caught:
        staging.load(address)
    said = str(caught.value)
    assert type(caught.value) is kind
    assert "\n" not in said
    assert SECRET not in said
    assert Azure.key not in said
    return said


def test_no_such_bucket_and_no_such_folder(store: Store, staging: Staging) -> None:
    for address in (f"{store.scheme}://nowhere/feed", f"{store.scheme}://{BUCKET}/nowhere"):
        store.wire.clear()
        assert fails(staging, address, UsageError) == f"{address}: no such file or folder, or bucket"
        assert len(store.wire.asked) <= 5


def test_no_access_ends_at_once(store: Store, staging: Staging) -> None:
    store.put(f"{hour(NOW)}/a.ndjson", ndjson(event("a")))
    store.wire.clear()
    store.wire.fault = always(store.denied)
    assert "access denied" in fails(staging, store.address, UsageError)
    assert len(store.wire.asked) <= 3


def test_no_access_to_the_contents(store: Store, staging: Staging) -> None:
    store.put(f"{hour(NOW)}/a.ndjson", ndjson(event("a")))
    store.wire.clear()
    store.wire.fault = lambda method, path: store.denied if kind_of_call(method, path) == "read" else None
    assert "access denied" in fails(staging, store.address, UsageError)
    assert store.wire.calls()["read"] <= 2


def test_no_access_to_one_of_the_contents(store: Store, staging: Staging) -> None:
    for name in "abc":
        store.put(f"{hour(NOW)}/{name}.ndjson", ndjson(event(name)))
    store.wire.fault = lambda method, path: store.denied if "b.ndjson" in path else None
    for told in (1, 0):  # it is tried again each time, and told once
        loaded = staging.load(store.address)
        assert staging.ids() == ["a", "c"]
        assert len(loaded.unread) == told
        assert all("b.ndjson: access denied" in words and SECRET not in words for words in loaded.unread)
    store.wire.fault = always(None)
    assert staging.load(store.address).rows == 1
    assert staging.ids() == ["a", "b", "c"]


def test_no_credentials(s3: Store, staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert "access denied (NoCredentialsError): check the credentials" in fails(staging, s3.address, UsageError)
    assert not s3.wire.asked


def test_a_store_that_stays_away_can_be_tried_later(
    s3: Store, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put(f"{hour(NOW)}/a.ndjson", ndjson(event("a")))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    s3.wire.fault = always(UNAVAILABLE)
    said = fails(staging, s3.address, LoadError)
    assert "run it again" in said
    s3.wire.fault = always(None)
    assert staging.load(s3.address).rows == 1
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    assert "can't be reached" in fails(staging, s3.address, LoadError)


def test_a_file_that_has_gone_since_it_was_listed(s3: Store, staging: Staging) -> None:
    s3.put(f"{hour(NOW)}/a.ndjson", ndjson(event("a")))
    gone = (404, b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>", {"Content-Type": "application/xml"})
    s3.wire.fault = lambda method, path: gone if kind_of_call(method, path) == "read" else None
    assert "has gone since it was listed" in fails(staging, s3.address, LoadError)


def test_the_command_ends_with_status_2_and_one_line(s3: Store, warehouse: Warehouse) -> None:
    warehouse.env.update(s3.environment())
    said = warehouse.sync("s3://nowhere/feed", "--no-build", status=2)
    assert said.strip().splitlines()[-1] == "headrace: s3://nowhere/feed: no such file or folder, or bucket"
    assert "Traceback" not in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("address", "module", "extra"),
    [("s3://b/f", "s3fs", "s3"), ("gs://b/f", "gcsfs", "gcs"), ("az://b/f", "adlfs", "azure")],
)
def test_a_package_that_is_not_installed(
    address: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = importlib.import_module("fsspec.registry")._registry
    monkeypatch.delitem(known, address.partition(":")[0], raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as caught:
        Feed.at(address)
    assert module in str(caught.value)
    assert str(caught.value).endswith(f": pip install 'headrace[{extra}]'")


def test_what_is_secret_in_an_address_is_not_told() -> None:
    with pytest.raises(UsageError) as caught:
        Feed.at(f"nonsense://me:{SECRET}@host/feed?sig={SECRET}")
    assert SECRET not in str(caught.value)
