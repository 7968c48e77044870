"""What a green build has changed, from the target to stores, each of which goes on where it was.

The cursor is no clock but a load: a row of `events` names the newest load of the batch that last changed it, and a row
of a lookup the load that brought it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from datetime import time as clock
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc

from .errors import HeadraceError, LoadError, UsageError
from .ledger import COMPLETE, QUEUED
from .pipeline import by_day, client_of, connected, query, utc
from .rows import PROPERTIES, TIME
from .stores import FILES, TABLES, Changes, Delivered, Store
from .target import Target
from .warehouses import warehouse_of

FETCHED_ROWS = 10_000


@dataclass(frozen=True)
class Delivery:
    """What came to a store, or why nothing did."""

    address: str
    rows: dict[str, int] = field(default_factory=dict)
    """By table."""
    failure: HeadraceError | None = None

    def words(self) -> str:
        """What was delivered, for people."""
        parts = [f"{count:,} {table.replace('_', ' ')}" for table, count in self.rows.items() if count]
        return f"{self.address}: {', '.join(parts) or 'nothing new'}{' delivered' * bool(parts)}"


class Deliveries:
    """The deliveries of a sync: stores are asked before anything is loaded, and get what changed when it is built."""

    def __init__(self, target: Target, stores: Sequence[Store]) -> None:
        """Of a target to stores.

        Raises:
            UsageError: one of them can't be written to, or is another warehouse's.
        """
        self.target = target
        self.stores: list[tuple[Store, HeadraceError | None]] = []
        """With why one could not be reached: it holds back no other, and its turn is with the next sync."""
        if not stores:
            return
        with connected(target) as pipeline:
            origin = _origin(pipeline)
        for store in stores:
            self.stores.append((store, _refusal(store, origin)))

    def run(self, progress: Callable[[str], None]) -> list[Delivery]:
        """Deliver to each of the stores what it has not; one that fails holds back no other."""
        done = []
        for store, failure in self.stores:
            if failure is None:
                progress(f"delivering to {store.address}")
            done.append(Delivery(store.address, failure=failure) if failure else self._to(store))
        return done

    def _to(self, store: Store) -> Delivery:
        delivery = Delivery(store.address)
        try:
            with connected(self.target) as pipeline:
                for changes in _changes(pipeline, self.target, store):
                    delivery.rows[changes.table] = store.write(changes)
        except HeadraceError as error:
            return Delivery(store.address, delivery.rows, error)
        except OSError as error:  # of this machine: its disk is full
            return Delivery(store.address, delivery.rows, LoadError(f"{store.address}: {error}"))
        return delivery


def _origin(pipeline: dlt.Pipeline) -> str | None:
    """What tells the target from others: its first load. None when nothing was ever loaded."""
    found = query(pipeline, "select min(load_id) from _dlt_loads")
    return found[0][0] if found else None


def _merged_until(pipeline: dlt.Pipeline) -> str | None:
    """The newest load that green builds have merged, with all before it."""
    queue = query(pipeline, f"select min(_dlt_load_id) from {QUEUED}")
    queued = queue[0][0] if queue else None
    before, parameters = (" and _dlt_load_id < %s", [queued]) if queued else ("", [])
    found = query(
        pipeline,
        f"select max(_dlt_load_id) from loaded_files where _dlt_load_id in {COMPLETE}{before}",
        *parameters,
    )
    return found[0][0] if found else None


def _refusal(store: Store, origin: str | None) -> LoadError | None:
    """Why a store can't be reached just now. Raises UsageError when it can't be written to before somebody acts."""
    try:
        store.check()
        _since(store, "events", origin)
    except LoadError as error:
        return error
    return None


def _since(store: Store, table: str, origin: str | None) -> str:
    """Until which load a table is delivered; empty for none. Raises UsageError when it is another warehouse's."""
    known = store.delivered(table)
    if known and known.origin != origin:
        raise UsageError(
            f"{store.address}: another warehouse delivers there, or one that was lost: name another prefix, or empty "
            "this one, and all events of this warehouse are delivered"
        )
    return known.until if known else ""


def _changes(pipeline: dlt.Pipeline, target: Target, store: Store) -> Iterator[Changes]:
    """What a store has not, table by table; the events last, which refer to the others, and say that all is there."""
    origin, until = _origin(pipeline), _merged_until(pipeline)
    if origin is None or until is None:
        return
    done = Delivered(origin, until)
    since = _since(store, "events", origin)
    if since >= until:
        return
    for table in (name for name in TABLES if name != "events"):
        lookup = Source(pipeline, target, table, "_load_id", _since(store, table, origin), until)
        if lookup.is_changed():
            yield Changes(table, lookup.rows(["1 = 1"], "id"), done)
    events = Source(pipeline, target, "events", "_changed_load_id", since, until)
    yield Changes("events", events.rows(map(_of, events.days()), "event_time, event_id"), done)


def _of(day: date | None) -> str:
    """A condition that a row is of a day, which a warehouse prunes by."""
    if day is None:
        return "event_time is null"
    first, last = (f"'{datetime.combine(day, at):%Y-%m-%d %H:%M:%S.%f}+00:00'" for at in (clock.min, clock.max))
    return f"event_time between {first} and {last}"


@dataclass(frozen=True)
class Source:
    """A table of the target, of which the rows are read that loads have changed."""

    pipeline: dlt.Pipeline
    target: Target
    table: str
    cursor: str
    """The column that names the load that a row was changed by; null before there was one."""
    since: str
    """The newest load that is delivered; empty for none."""
    until: str

    def is_changed(self) -> bool:
        """Whether there are any such rows."""
        found = query(self.pipeline, f"select count(*) from {self.table} where {self._condition}", *self._loads)
        return bool(found and found[0][0])

    def days(self) -> list[date | None]:
        """The days of their event_time."""
        found = query(
            self.pipeline,
            f"select min(event_time), max(event_time) from events where {self._condition} "
            f"group by {by_day('event_time')}",
            *self._loads,
        )
        days = {utc(at).date() for span in found for at in span if at}
        return [*sorted(days), *[None for first, _ in found if first is None][:1]]

    def rows(self, parts: Iterable[str], order: str) -> pa.RecordBatchReader:
        """The rows as the contract has them in files, a part after the other, each in order.

        Some clients hold a result as a whole: so a part is a day.
        """
        return pa.RecordBatchReader.from_batches(FILES[self.table], self._batches(parts, order))

    def _batches(self, parts: Iterable[str], order: str) -> Iterator[pa.RecordBatch]:
        warehouse, schema = warehouse_of(self.target), TABLES[self.table]
        columns = ", ".join(warehouse.json_text.format(name) if name in PROPERTIES else name for name in schema.names)
        for part in parts:
            sql = f"select {columns} from {self.table} where {part} and {self._condition} order by {order}"
            with client_of(self.pipeline) as client, client.execute_query(sql, *self._loads) as cursor:
                for arrays in _fetched(cursor, warehouse.has_arrow):
                    yield pa.RecordBatch.from_arrays(
                        [_as_in_files(array, of) for array, of in zip(arrays, schema, strict=True)],
                        schema=FILES[self.table],
                    )

    @property
    def _condition(self) -> str:
        if self.since:
            return f"{self.cursor} > %s and {self.cursor} <= %s"
        return f"({self.cursor} is null or {self.cursor} <= %s)"

    @property
    def _loads(self) -> tuple[str, ...]:
        return (self.since, self.until) if self.since else (self.until,)


def _fetched(cursor: Any, has_arrow: bool) -> Iterator[list[pa.Array]]:
    """The columns of a result, some rows at a time."""
    if has_arrow:
        for table in cursor.iter_arrow(chunk_size=FETCHED_ROWS):
            for batch in table.to_batches():
                yield batch.columns
        return
    while found := cursor.fetchmany(FETCHED_ROWS):
        yield [pa.array(column) for column in zip(*found, strict=True)]


def _as_in_files(array: pa.Array, of: pa.Field) -> pa.Array:
    """A column of the contract as files have it."""
    if of.type != TIME:
        return array.cast(of.type)
    times = array.cast(TIME)  # where the warehouse has no zone, it is UTC
    if of.name == "updated_time":
        return pc.divide(times.cast(pa.int64()), 1000)
    text = pc.replace_substring(times.cast(pa.timestamp("us")).cast(pa.string()), " ", "T")
    return pc.binary_join_element_wise(text, "Z", "")
