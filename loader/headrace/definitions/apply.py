"""Definitions applied to what was loaded before: events are stamped anew where they lie, without the feed's files.

Which distinct values answer otherwise than the stamps say, and on which days they are, is asked of the parsed events.
Only rows of these are read; those whose stamps change are loaded like a feed's, and merged by the next build. So it can
be cut short at any point: what has been merged answers as it should, and the same call finds the rest.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UsageError
from ..ledger import LOADED_FILES
from ..package import Loaded, imported, load_id
from ..pipeline import by_day, client_of, query, utc, utc_days
from ..reading import PARQUET_BYTES, Part
from ..rows import PROPERTIES, RAW_DEFINITIONS, RAW_EVENTS, STAMPS
from ..target import Target
from ..warehouses import warehouse_of
from .lookups import Lookups, ledger_row
from .matcher import VERSION, on_page
from .model import KINDS, Definitions
from .pages import called
from .stamp import ELEMENT_IDS, EVENT_IDS, PAGE_ID, Stamper, ids_of, stamper_of, unstamped

PACKAGE_ROWS = 1_000_000
"""About so many rows are read for one load."""

FETCHED_ROWS = 16_384

SEEN = "coalesce(event_time, processed_time)"
"""Of the parsed events, by what they belong to a day: few have no time."""

UNLOADED = pa.schema(list(RAW_EVENTS)[:-1])
"""A row of `RAW_EVENTS` before it is of a load."""

LISTED = 5_000
"""More values are not named in a statement: then all rows that have one are read."""

KEYS = dict(zip(KINDS, ((PAGE_ID,), ELEMENT_IDS, EVENT_IDS), strict=True))
"""Kinds of definitions, in the order of `STAMPS`, with the keys of their ids."""

COLUMNS = {
    "event_id": "events._source_event_id",
    "updated_time": "events._feed_updated_time",
    "_is_derived_id": "events.event_id <> events._source_event_id",
    "_is_restamped": "1 = 1",
    "_position": "null",
}
"""What a column of `RAW_EVENTS` is called in events, where it is called otherwise."""


@dataclass
class Suspects:
    """Where stamps may have to be others: distinct values, types, and the days on which they are."""

    pages: set[str] = field(default_factory=set)
    """Values of int_definition_values."""
    elements: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)
    all_types: bool = False
    days: Counter[date] = field(default_factory=Counter)
    """Events of each day, by the time that is believed."""

    def condition(self) -> str:
        """Which rows of int_parsed_events they are."""
        if self.all_types:
            return "1 = 1"
        lists = {"page_value_id": self.pages, "element_value_id": self.elements, "event_type": self.types}
        return " or ".join(
            f"{column} in ({_literals(found)})" if len(found) <= LISTED else f"{column} is not null"
            for column, found in lists.items()
            if found
        )


@dataclass
class Applied:
    """What was stamped anew, or would be."""

    label: str
    read: int = 0
    """Events that were read, as they may have to be stamped otherwise."""
    stamped: int = 0
    days: set[date] = field(default_factory=set)
    moves: Counter[tuple[str, str, date]] = field(default_factory=Counter)
    """By kind, definition and day, how many more events have it."""
    said: list[str] = field(default_factory=list)
    """By the builds."""

    def counts(self) -> dict[str, int | None]:
        """The numbers of the closing table: events that were read, those that were stamped anew, and their days."""
        return {"read": self.read, "stamped": self.stamped, "days": len(self.days)}

    def notes(self) -> list[str]:
        """How many more events each definition has, and what else a person should know."""
        totals: Counter[tuple[str, str]] = Counter()
        for (kind, name, _), count in self.moves.items():
            totals[kind, name] += count
        return [*self.said, *(f"{kind} {name}: {count:+,}" for (kind, name), count in sorted(totals.items()) if count)]


class Application:
    """Today's definitions, and the events since a day."""

    def __init__(self, pipeline: dlt.Pipeline, target: Target, definitions: Definitions, since: date) -> None:
        """Ask where stamps may have to be others.

        Raises:
            UsageError: nothing was built yet, or somebody else keeps the events.
        """
        self.pipeline, self.warehouse = pipeline, warehouse_of(target)
        self.definitions = definitions
        self.stamper: Stamper = stamper_of(definitions)
        if not query(pipeline, "select count(*) from int_definition_values where 1 = 0"):
            raise UsageError(f"{target.label}: nothing was built here yet; `headrace sync` loads and builds")
        if not query(pipeline, "select count(*) from loaded_files where 1 = 0"):
            raise UsageError(f"{target.label}: who keeps the events stamps them; here they are only read")
        self.begin = datetime.combine(since, clock.min, UTC)
        self.suspects = Suspects()
        self.timeless = {
            day
            for span in query(
                pipeline,
                "select min(processed_time), max(processed_time) from int_parsed_events "
                f"where event_time is null and processed_time >= %s group by {by_day('processed_time')}",
                self.begin,
            )
            for day in utc_days(*span)
        }
        """The days on which events without a time were processed."""
        self._find()

    def parts(self, folder: Path, applied: Applied) -> Iterator[list[Part]]:
        """The rows that are to be stamped otherwise, as Parquet files, a load at a time."""
        for number, days in enumerate(self._loads()):
            parts = list(self._written(folder / str(number), days, applied))
            if parts:
                yield parts

    def count(self, applied: Applied) -> None:
        """Count the same without writing anything."""
        for days in self._loads():
            for _ in self._changed(days, applied):
                pass

    def _find(self) -> None:
        changed = self._changed_since_stamped()
        # What the feed tells has no stamp that says what was matched there, and defined events may ask for that.
        asks = any(one.pages or one.elements for one in self.definitions.events)
        self.asks_told = asks and bool(changed["page"] or changed["element"])
        values = {
            value_id: rest
            for value_id, *rest in query(
                self.pipeline,
                "select value_id, url, screen, app, app_package_name, path, text from int_definition_values",
            )
        }
        pages: dict[str, str | None] = {}
        matcher = self.stamper.matcher
        for value_id, (url, screen, app, package, _, _) in values.items():
            pages[value_id] = matcher.page_of(url, screen, called(app, package))
        of_pages = "page_value_id, page_definition_id, _page_stamp"
        for value_id, told, stamp, *counted in self._counted(of_pages, "page_value_id is not null"):
            page = pages.get(value_id)
            if self._differs("page", stamp, told, [page] if page else []):
                self.suspects.pages.add(value_id)
                self._count_day(*counted)
        is_bound = any(one.page for one in self.definitions.elements)
        page_of_element = "page_value_id" if is_bound else "null"
        of_elements = f"element_value_id, {page_of_element}, element_definition_id, _element_stamp"
        for value_id, page_id, told, stamp, *counted in self._counted(of_elements, "element_value_id is not null"):
            if value_id not in values:
                continue
            _, _, app, package, path, text = values[value_id]
            found = matcher.elements_of(path, text, called(app, package))
            page = pages.get(page_id)
            ids = on_page(found, page)
            if self._differs("element", stamp, told, ids):
                self.suspects.elements.add(value_id)
                self._count_day(*counted)
        self._find_types(changed["event"])
        if self.suspects.types or self.suspects.all_types:
            condition = "1 = 1" if self.suspects.all_types else f"event_type in ({_literals(self.suspects.types)})"
            for _, *counted in self._counted("event_type", condition):
                self._count_day(*counted)

    def _changed_since_stamped(self) -> dict[str, set[str]]:
        """By kind, the definitions that may be others than when the oldest of the events was stamped."""
        loads: list[str] = []
        is_matched_alike = True
        clocks = "(select event_id from int_wrong_clocks where event_time >= %s)"
        for condition in ("event_time >= %s", "event_time is null and processed_time >= %s", f"event_id in {clocks}"):
            for load, changed_load, *versions in query(
                self.pipeline,
                "select min(_load_id), min(_changed_load_id), "
                "min(coalesce(_matcher_version, %s)), max(coalesce(_matcher_version, %s)) "
                f"from events where {condition}",
                VERSION,
                VERSION,
                self.begin,
            ):
                if load is not None:  # an event that comes once more is of another load, and keeps its stamps
                    loads += [load, changed_load or load]
                    is_matched_alike &= set(versions) == {VERSION}
        changed: dict[str, set[str]] = {}
        for kind in KEYS:
            defined = {one.id for one in self.definitions.of(kind)}
            known = dict(
                query(self.pipeline, f"select id, _load_id from {kind}_definitions where _content is not null")
            )
            oldest = min(map(float, loads), default=0.0)
            old = {name for name, load in known.items() if is_matched_alike and float(load or 0) <= oldest}
            changed[kind] = (defined | known.keys()) - old
        return changed

    def _find_types(self, changed: set[str]) -> None:
        """The types of events of which definitions may say something else than when they were stamped."""
        for one in self.definitions.events:
            if one.id in changed:
                self.suspects.types.update(one.types)
                self.suspects.all_types |= not one.types
        for kind, stamp, *_ in self._counted("event_type, _event_stamp", "_event_stamp is not null"):
            if changed & set(ids_of(EVENT_IDS, stamp)):
                self.suspects.types.add(kind)

    def _differs(self, kind: str, stamp: str | None, told: str | None, ids: list[str]) -> bool:
        """Whether the stamps of a value may be others than its matches. What the feed tells stays."""
        if stamp is None and told is not None:
            return self.asks_told
        return ids_of(KEYS[kind], stamp) != ids

    def _counted(self, columns: str, condition: str) -> Iterator[tuple[Any, ...]]:
        """Values of the parsed events since the day with the first and last time, and the number, by day."""
        yield from query(
            self.pipeline,
            f"select {columns}, min({SEEN}), max({SEEN}), count(*) from int_parsed_events "
            f"where (event_time >= %s or (event_time is null and processed_time >= %s)) and {condition} "
            f"group by {columns.replace(', null', '')}, {by_day(SEEN)}",
            self.begin,
            self.begin,
        )

    def _count_day(self, first: datetime, last: datetime, count: int) -> None:
        for day in utc_days(first, last):
            self.suspects.days[day] += count

    def _loads(self) -> Iterator[list[date]]:
        """The days, in groups that make one load."""
        days: list[date] = []
        rows = 0
        for day, count in sorted(self.suspects.days.items()):
            if days and rows + count > PACKAGE_ROWS:
                yield days
                days, rows = [], 0
            days.append(day)
            rows += count
        if days:
            yield days

    def _written(self, stem: Path, days: list[date], applied: Applied) -> Iterator[Part]:
        """The rows of days whose stamps change, as Parquet files."""
        writer: pq.ParquetWriter | None = None
        rows, number, position = 0, 0, 0
        for batch in self._changed(days, applied):
            path = stem.with_name(f"{stem.name}_{number}.parquet")
            writer = writer or pq.ParquetWriter(path, UNLOADED, compression="lz4")
            positions = pa.array(range(position, position + batch.num_rows), pa.int64())
            writer.write_batch(batch.set_column(UNLOADED.get_field_index("_position"), "_position", positions))
            rows, position = rows + batch.num_rows, position + batch.num_rows
            if path.stat().st_size >= PARQUET_BYTES:
                writer.close()
                yield Part(path, rows)
                writer, rows, number = None, 0, number + 1
        if writer:
            writer.close()
            yield Part(stem.with_name(f"{stem.name}_{number}.parquet"), rows)

    def _changed(self, days: list[date], applied: Applied) -> Iterator[pa.RecordBatch]:
        for day in days:
            for rows in self._fetched(day):
                anew = self.stamper.stamped(_unstamped(rows), self.warehouse.max_text_bytes)
                is_changed = [
                    before != after
                    for before, after in zip(
                        zip(*(rows.column(name).to_pylist() for name in STAMPS), strict=True),
                        zip(*(anew.column(name).to_pylist() for name in STAMPS), strict=True),
                        strict=True,
                    )
                ]
                applied.read += rows.num_rows
                mask = pa.array(is_changed, pa.bool_())
                changed = anew.filter(mask)
                if changed.num_rows:
                    applied.stamped += changed.num_rows
                    applied.days.add(day)
                    _count_moves(applied, day, rows.filter(mask), changed)
                    yield changed

    def _fetched(self, day: date) -> Iterator[pa.RecordBatch]:
        """The suspects of a day as rows of `RAW_EVENTS`, with their stamps."""
        span = (datetime.combine(day, clock.min, UTC), datetime.combine(day + timedelta(days=1), clock.min, UTC))
        among = f"int_parsed_events where event_time >= %s and event_time < %s and ({self.suspects.condition()})"
        yield from self._rows(
            f"events.event_time >= %s and events.event_time < %s and events.event_id in (select event_id from {among})",
            *span * 2,
        )
        if day in self.timeless:
            timeless = "int_parsed_events where event_time is null and processed_time >= %s and processed_time < %s"
            yield from self._rows(
                "events.event_time is null and events.event_id in "
                f"(select event_id from {timeless} and ({self.suspects.condition()}))",
                *span,
            )
        clocks = "int_wrong_clocks where event_time >= %s and event_time < %s"
        ((first, last),) = query(self.pipeline, f"select min(device_time), max(device_time) from {clocks}", *span)
        if first:  # on the day that the device's clock said
            yield from self._rows(
                f"events.event_time >= %s and events.event_time <= %s and not (events.event_time >= %s "
                f"and events.event_time < %s) and events.event_id in (select event_id from {clocks})",
                *(utc(first), utc(last), *span, *span),
            )

    def _rows(self, condition: str, *parameters: Any) -> Iterator[pa.RecordBatch]:
        selected = ", ".join(self._selected(name) for name in UNLOADED.names)
        with (
            client_of(self.pipeline) as client,
            client.execute_query(
                f"select {selected} from events where events.event_type is not null and {condition}", *parameters
            ) as cursor,
        ):
            while found := cursor.fetchmany(FETCHED_ROWS):
                columns = zip(*found, strict=True)
                arrays = [
                    pa.array([utc(one) if isinstance(one, datetime) else one for one in column], UNLOADED.field(n).type)
                    for n, column in enumerate(columns)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=UNLOADED)

    def _selected(self, column: str) -> str:
        name = COLUMNS.get(column, f"events.{column}")
        return self.warehouse.json_text.format(name) if column in PROPERTIES else name


class Restamped:
    """Rows of events that go to staging once more, stamped anew, and what the lookups shall know."""

    def __init__(self, target: Target, parts: list[Part], told: Lookups | None = None) -> None:
        """The rows as Parquet files, which outlast the load."""
        self.warehouse = warehouse_of(target)
        self.by_insert = self.warehouse.by_insert
        self.scratch = target.work_dir / "files"
        self.parts = parts
        self.told = told

    def clear(self) -> None:
        """Make ready to begin, perhaps once more."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def tables(self) -> dict[str, Callable[[], Iterator[Any]]]:
        """The rows of each staging table, the ledger last."""
        self.scratch.mkdir(parents=True)
        return {"raw_events": self._events, "raw_definitions": self._definitions, "loaded_files": self._loaded_files}

    def _events(self) -> Iterator[Any]:
        yield RAW_EVENTS.empty_table()
        yield from imported(self._of_load(), "raw_events", self.by_insert)

    def _of_load(self) -> Iterator[Part]:
        """The files with the id of the load, which is not known before."""
        for part in self.parts:
            path = self.scratch / part.path.name
            with pq.ParquetFile(part.path) as file, pq.ParquetWriter(path, RAW_EVENTS, compression="lz4") as writer:
                for batch in file.iter_batches():
                    load = pa.repeat(pa.scalar(load_id()), batch.num_rows)
                    writer.write_batch(pa.RecordBatch.from_arrays([*batch.columns, load], schema=RAW_EVENTS))
            yield Part(path, part.rows)

    def _definitions(self) -> Iterator[pa.Table]:
        yield RAW_DEFINITIONS.empty_table()
        if self.told:
            yield self.told.rows_of(load_id())

    def _loaded_files(self) -> Iterator[pa.Table]:
        rows = [self.told.ledger_row(load_id())] if self.told else []
        if self.parts:
            rows.append(ledger_row("events", "stamps", sum(part.rows for part in self.parts), load_id()))
        yield pa.Table.from_pylist(rows, schema=LOADED_FILES)

    def add_to(self, loaded: Loaded) -> None:
        """Count what was loaded."""


def _unstamped(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows as the feed had them, to be stamped anew."""
    pages, elements, events = (rows.column(name).to_pylist() for name in STAMPS)
    sources, texts = (rows.column(name).to_pylist() for name in ("source_properties", "event_properties"))
    changed: dict[str, pa.Array] = {
        "source_properties": pa.array(map(unstamped, sources, pages), pa.string()),
        "event_properties": pa.array(
            (
                unstamped(unstamped(text, event), element, "target")
                for text, event, element in zip(texts, events, elements, strict=True)
            ),
            pa.string(),
        ),
    }
    for name in (*STAMPS, "_matcher_version"):
        changed[name] = pa.nulls(rows.num_rows, UNLOADED.field(name).type)
    for name, column in changed.items():
        rows = rows.set_column(UNLOADED.get_field_index(name), UNLOADED.field(name), column)
    return rows


def _count_moves(applied: Applied, day: date, before: pa.RecordBatch, after: pa.RecordBatch) -> None:
    for kind, name in zip(KEYS, STAMPS, strict=True):
        for rows, sign in ((before, -1), (after, 1)):
            for stamp, count in Counter(rows.column(name).to_pylist()).items():
                for one in ids_of(KEYS[kind], stamp):
                    applied.moves[kind, one, day] += sign * count


def _literals(values: Iterable[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in sorted(values))
