"""The sample feed: the same for the same arguments, extended by the hour, and true to the contract."""

import gzip
import json
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from headrace import sample
from headrace.sample import FeedSummary, write_feed

HOURS, RATE, SEED = 6, 2000, 7
PROPERTIES = {
    "click": {"target", "is_click_long", "is_click_unhandled"},
    "console_message": {"message", "console_message_level"},
    "consent": {"is_consent_given", "consent_scope", "consent_action_type"},
    "copy": {"target"},
    "paste": {"target"},
    "highlight": {"target"},
    "change": {"target"},
    "form_abandon": {"target"},
    "cumulative_layout_shift": {"cumulative_layout_shift"},
    "custom": {"event_name", "event_properties"},
    "element_seen": {
        "target",
        "element_type",
        "element_start_type",
        "element_render_duration_millis",
        "element_visible_duration_millis",
    },
    "exception": {"message", "exception_count", "exception_source_file", "is_exception_handled"},
    "first_input_delay": {"first_input_delay_millis"},
    "force_restart": {"elapsed_millis"},
    "interaction_to_next_paint": {"target", "event_name", "interaction_to_next_paint_millis"},
    "load": {
        "dom_content_time_millis",
        "first_paint_time_millis",
        "largest_paint_time_millis",
        "load_time_millis",
        "time_to_first_byte_millis",
        "time_to_interactive_millis",
        "total_blocking_time_millis",
    },
    "navigate": {"navigate_reason"},
    "page_view": {
        "page_name",
        "start_time",
        "end_time",
        "duration_millis",
        "active_duration_millis",
        "inactive_duration_millis",
        "max_scroll_depth",
    },
    "request": {"request_method", "request_status", "request_duration_millis", "request_url"},
    "pinch_gesture": {"pinch_gesture_type"},
    "identify": {"user_id", "user_email", "user_display_name", "user_properties"},
}
EVENT_TYPES = PROPERTIES.keys() | {
    *("background", "crash", "keyboard_open", "keyboard_close", "low_memory", "mouse_thrash", "page_properties")
}
SOURCE_PROPERTIES = {
    "web": {"title", "url", "initial_referrer", "location", "user_agent", "device", "entrypoint", "origin"},
    "mobile_app": {"title", "app", "location", "user_agent", "device", "entrypoint", "origin", "integration"},
    "server": {"entrypoint", "origin", "integration"},
}


def files(out: Path) -> dict[str, Path]:
    return {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}


def contents(out: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files(out).items()}


def rows(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return pq.ParquetFile(path).read().to_pylist()
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in text.splitlines()]


def event_files(out: Path) -> dict[str, list[dict]]:
    return {name.split("/")[1]: rows(path) for name, path in files(out).items() if name.startswith("events/")}


def hour_name(hour: int) -> str:
    return f"ingested_time=2026-03-02 {hour:02}:00:00"


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FeedSummary]:
    out = tmp_path_factory.mktemp("feed")
    return out, write_feed(out, HOURS, RATE, SEED)


@pytest.fixture(scope="module")
def hours(feed) -> dict[str, list[dict]]:
    return event_files(feed[0])


@pytest.fixture(scope="module")
def typed(hours) -> list[dict]:
    return [row for rows_ in hours.values() for row in rows_ if row["event_type"] is not None]


def test_same_arguments_give_the_same_bytes(feed, tmp_path):
    out, summary = feed
    assert write_feed(tmp_path / "again", HOURS, RATE, SEED) == summary
    assert contents(tmp_path / "again") == contents(out)
    write_feed(tmp_path / "other", 1, RATE, SEED + 1)
    name = f"events/{hour_name(0)}/part-0000.parquet"
    assert contents(tmp_path / "other")[name] != contents(out)[name]


@pytest.mark.parametrize("file_format", sample.FORMATS)
def test_more_hours_extend_the_feed_and_touch_one_file(tmp_path, file_format):
    recreated = f"events/{hour_name(1)}/part-0000.{file_format}"
    before: dict[str, tuple[int, bytes]] = {}
    for hours_ in range(1, 6):
        write_feed(tmp_path, hours_, 300, SEED, file_format)
        now = {name: (path.stat().st_mtime_ns, path.read_bytes()) for name, path in files(tmp_path).items()}
        touched = {name for name in before if now[name] != before[name]}
        assert touched == ({recreated} if hours_ == 4 else set())
        assert not [name for name in now if not name.endswith(file_format)]
        before = now


def test_layout(feed):
    out, summary = feed
    names = set(files(out))
    assert {name for name in names if name.startswith("events/")} == {
        f"events/{hour_name(hour)}/part-0000.parquet" for hour in range(HOURS)
    }
    definitions = {name for name in names if name.startswith("configuration/")}
    for kind in ("element", "event", "page"):
        assert f"configuration/{kind}-definitions/{hour_name(0)}/part-0000.parquet" in definitions
    assert (summary.files, summary.definition_files) == (HOURS, len(definitions))


def test_exact_row_counts(feed, hours):
    summary = feed[1]
    counts = [len(rows_) for rows_ in hours.values()]
    assert counts == [RATE, RATE - summary.removed, *[RATE] * (HOURS - 2)]


def test_large_hours_are_split(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "ROWS_PER_FILE", 100)
    write_feed(tmp_path, 2, 250, SEED)
    before = contents(tmp_path)
    paths = sorted((tmp_path / "events").rglob("*.parquet"))
    assert [(path.name, len(rows(path))) for path in paths] == 2 * [
        ("part-0000.parquet", 100),
        ("part-0001.parquet", 100),
        ("part-0002.parquet", 50),
    ]
    write_feed(tmp_path, 4, 250, SEED)
    changed = [name for name, data in contents(tmp_path).items() if before.get(name, data) != data]
    assert changed == [f"events/{hour_name(1)}/part-0000.parquet"]


def test_summary_counts_what_is_there(feed, hours, typed):
    summary = feed[1]
    ids = Counter(row["event_id"] for row in typed)
    everything = [row for rows_ in hours.values() for row in rows_]
    assert summary.events == len(everything)
    assert summary.distinct == len(ids) == len({row["event_id"] for row in everything})
    assert summary.duplicates == sum(ids.values()) - len(ids)
    assert summary.nulled == len(everything) - len(typed)
    late = 0
    for name, rows_ in hours.items():
        ingested = datetime.fromisoformat(name.removeprefix("ingested_time="))
        for row in rows_:
            if row["event_type"] is not None:
                age = ingested - datetime.fromisoformat(row["event_time"].removesuffix("Z"))
                late += age.total_seconds() > 3 * 3600
    assert summary.late == late > 100


def test_every_event_type_occurs(typed):
    assert {row["event_type"] for row in typed} == EVENT_TYPES


@pytest.mark.parametrize("seed", range(4))
def test_every_event_type_occurs_for_any_seed(tmp_path, seed):
    write_feed(tmp_path, HOURS, RATE, seed, "ndjson")
    found = {row["event_type"] for rows_ in event_files(tmp_path).values() for row in rows_}
    assert found >= EVENT_TYPES


def test_duplicates_are_one_percent_identical_and_in_other_files(tmp_path):
    summary = write_feed(tmp_path, 3, 3000, SEED)
    seen = defaultdict(list)
    for name, rows_ in event_files(tmp_path).items():
        for row in rows_:
            if row["event_type"] is not None:
                seen[row["event_id"]].append((name, row))
    repeated = [copies for copies in seen.values() if len(copies) > 1]
    for (first_name, first), (second_name, second) in repeated:
        assert first_name < second_name
        assert first == second
    assert 0.004 < len(repeated) / summary.events < 0.011


def test_recreated_file(tmp_path):
    write_feed(tmp_path, 3, RATE, SEED)
    original = {row["event_id"]: row for row in event_files(tmp_path)[hour_name(1)]}
    summary = write_feed(tmp_path, 4, RATE, SEED)
    hours = event_files(tmp_path)
    again = {row["event_id"]: row for row in hours[hour_name(1)]}
    elsewhere = {row["event_id"] for name, rows_ in hours.items() if name != hour_name(1) for row in rows_}

    gone = original.keys() - again.keys()
    assert again.keys() < original.keys()
    assert len(gone) == summary.removed > 0
    assert gone & elsewhere, "a row that is gone was delivered by another file too"
    assert gone - elsewhere, "a row that is gone is nowhere else"

    changed = [id_ for id_ in again if again[id_] != original[id_]]
    assert len(changed) == summary.changed > 0
    for id_ in changed:
        old, new = original[id_], again[id_]
        assert old["updated_time"] is None
        assert new["updated_time"] > datetime.fromisoformat("2026-03-02T02:00:00+00:00").timestamp() * 1000
        assert {key for key in new if new[key] != old[key]} <= {"updated_time", "source_properties"}
    assert any(again[id_]["source_properties"] != original[id_]["source_properties"] for id_ in changed)


def test_parquet_schema(feed):
    out = feed[0]
    for name, path in files(out).items():
        schema = pq.read_schema(path)
        types = {field.name: str(field.type) for field in schema}
        if name.startswith("events/"):
            longs = {"updated_time", "device_id", "session_id", "view_id"}
            assert ",".join(schema.names) == (
                "event_id,event_time,processed_time,updated_time,device_id,session_id,view_id,event_type,"
                "event_properties,source_type,source_properties"
            )
            assert {key for key, type_ in types.items() if type_ == "int64"} == longs
            assert {type_ for key, type_ in types.items() if key not in longs} == {"string"}
        else:
            common = "id,name,description,state,created_time,created_by,modified_time,modified_by"
            pages = ",fs_link_id,is_user_defined" if "page-definitions" in name else ""
            assert ",".join(schema.names) == common + pages


@pytest.mark.parametrize("file_format", ["ndjson", "ndjson.gz"])
def test_ndjson_holds_the_rows_of_parquet(tmp_path, file_format):
    lines = tmp_path / "lines"
    assert write_feed(tmp_path / "parquet", 5, 400, SEED) == write_feed(lines, 5, 400, SEED, file_format)
    kinds = []
    for name, path in files(tmp_path / "parquet").items():
        ours = rows(lines / name.replace("parquet", file_format))
        theirs = rows(path)
        if name.startswith("events/"):
            kinds.append({type(row[key]) for row in ours for key in ("event_properties", "source_properties")})
            for row in [*ours, *theirs]:
                for key in ("event_properties", "source_properties"):
                    row[key] = json.loads(row[key]) if isinstance(row[key], str) else row[key]
        assert ours == theirs
    assert kinds == [{str}, {dict}, {str}, {dict}, {str}]


def test_typed_rows_follow_the_contract(typed):
    for row in typed:
        for key in ("event_time", "processed_time"):
            assert len(row[key]) == len("2026-03-02T00:00:00.000000Z") and row[key].endswith("Z")
            datetime.fromisoformat(row[key].removesuffix("Z"))
        assert row["event_time"] <= row["processed_time"]
        assert row["event_id"]
        properties, source = json.loads(row["event_properties"]), json.loads(row["source_properties"])
        assert properties.keys() >= PROPERTIES.get(row["event_type"], set()), row
        assert source.keys() >= SOURCE_PROPERTIES[row["source_type"]], row
        ids = [row[key] for key in ("session_id", "view_id")]
        assert (ids == [None, None]) == (row["source_type"] == "server")
        assert all(-(2**63) <= id_ < 2**63 for id_ in [row["device_id"], *filter(None, ids)])
        if "target" in properties:
            assert properties["target"].keys() >= {"text", "raw_selector"}
    assert any(row["device_id"] > 2**53 and row["device_id"] % 2 for row in typed)


def test_signs_of_frustration_occur(typed):
    clicks = [json.loads(row["event_properties"]) for row in typed if row["event_type"] == "click"]
    assert all(any(sign in click for click in clicks) for sign in ("fs_rage_count", "fs_dead_count", "fs_error_kind"))


def test_some_sessions_come_by_a_campaign_and_a_few_are_of_bots(typed):
    queries, agents = defaultdict(set), {}
    for row in typed:
        source = json.loads(row["source_properties"])
        if row["event_type"] == "navigate":
            queries[row["device_id"], row["session_id"]].add((row["event_time"], source["url"]["query"]))
            agents[row["device_id"]] = source["user_agent"]["raw_user_agent"]
    landings = [min(views)[1] for views in queries.values()]
    assert 0.3 < sum("utm_campaign=" in query or "fbclid=" in query for query in landings) / len(landings) < 0.7
    assert {"utm_source=newsletter", "utm_source=google"} <= {query.strip("?").split("&")[0] for query in landings}
    assert all(len([query for _, query in views if "utm_" in query]) <= 1 for views in queries.values())
    bots = [agent for agent in agents.values() if "bot" in agent]
    assert 0 < len(bots) < len(agents) / 8


def test_text_is_awkward(typed):
    text = "".join(row["event_properties"] + row["source_properties"] for row in typed)
    assert all(sign in text for sign in ("é", "🍒", '\\"', "\\n", "蜜柑"))


def test_few_products_and_people_get_most_of_the_attention(typed):
    devices = Counter(row["device_id"] for row in typed).most_common()
    assert sum(count for _, count in devices[: len(devices) // 5]) > len(typed) / 2


def test_nulled_rows_supersede_earlier_ones(hours):
    first_seen: dict[str, dict] = {}
    nulled = []
    for rows_ in hours.values():
        for row in rows_:
            if row["event_type"] is None:
                earlier = first_seen[row["event_id"]]
                assert earlier["event_type"] is not None
                assert row["updated_time"] > (earlier["updated_time"] or 0)
                assert row["event_time"] in (None, earlier["event_time"])
                nulled.append(row)
        first_seen |= {row["event_id"]: row for row in rows_}
    assert {row["event_time"] is None for row in nulled} == {True, False}


def test_some_people_are_identified_after_the_fact_and_some_have_two_devices(typed):
    first_event: dict[int, str] = {}
    first_identify: dict[int, str] = {}
    devices_of = defaultdict(set)
    for row in sorted(typed, key=lambda row: row["event_time"]):
        first_event.setdefault(row["device_id"], row["event_time"])
        if row["event_type"] == "identify":
            first_identify.setdefault(row["device_id"], row["event_time"])
            devices_of[json.loads(row["event_properties"])["user_id"]].add(row["device_id"])
    hours_before = [first_event[id_][:13] < time[:13] for id_, time in first_identify.items()]
    assert any(hours_before)
    assert first_event.keys() - first_identify.keys(), "anonymous devices"
    assert max(map(len, devices_of.values())) == 2


def test_definitions_change_and_events_carry_the_active_ones(feed, hours):
    versions = defaultdict(list)
    for name, path in files(feed[0]).items():
        if name.startswith("configuration/"):
            for row in rows(path):
                versions[row["id"]].append((row["modified_time"], row["name"], row["state"]))
    renamed = [v for v in versions.values() if len({name for _, name, _ in v}) > 1]
    assert renamed
    assert all(sorted(v) == sorted(v, key=lambda version: version[0]) for v in versions.values())
    always_archived = {id_ for id_, v in versions.items() if {state for _, _, state in v} == {"archived"}}
    assert always_archived

    carried = set()
    for rows_ in hours.values():
        for row in rows_:
            properties, source = json.loads(row["event_properties"]), json.loads(row["source_properties"])
            target = properties.get("target", {})
            carried |= {properties.get("event_definition_id"), target.get("element_definition_id")}
            carried |= {source.get("page_definition_id"), *properties.get("additional_event_definition_ids", ())}
    carried.discard(None)
    assert carried <= versions.keys() - always_archived
    assert {id_.split("-")[0] for id_ in carried} == {"page", "element", "event"}


@pytest.mark.parametrize("file_format", sample.FORMATS)
@pytest.mark.parametrize("rate", [1, 2, 3, 10])
def test_tiny_feeds(tmp_path, rate, file_format):
    assert write_feed(tmp_path / "one", 1, rate, SEED, file_format).events == rate
    summary = write_feed(tmp_path / "many", 40, rate, SEED, file_format)
    assert summary.events == 40 * rate - summary.removed
    assert summary.changed > 0
    assert (summary.removed > 0) == (rate >= 3)
    ids = {row["event_id"] for rows_ in event_files(tmp_path / "many").values() for row in rows_}
    assert summary.distinct == len(ids)


def test_a_failed_write_leaves_no_half_file(tmp_path, monkeypatch):
    write_feed(tmp_path, 1, 10, SEED)
    before = contents(tmp_path)

    def fail(table, path, **options):
        Path(path).write_bytes(b"PAR1")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        write_feed(tmp_path, 2, 20, SEED)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 1), "hours is 0: ask for at least 1"),
        ((1, 0, 1), "events_per_hour is 0: ask for at least 1"),
        ((1, 1, 1, "csv"), "unknown format 'csv': use one of parquet, ndjson, ndjson.gz"),
    ],
)
def test_wrong_arguments_say_what_to_do(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_feed(tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()
