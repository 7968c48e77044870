"""Parquet: its columns by name, in batches whose size is bounded, whatever a file makes of a few bytes."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from .. import checks
from ..checks import shown
from ..rows import EVENT_FIELDS, IDS, KEPT_BYTES, MAX_LINE_BYTES, PROPERTIES, TOO_LONG, RawDefinition, Tally
from . import nested
from .source import Source

BLOCK_BYTES = 4 * 2**20
BATCH_ROWS = 16_384
BATCH_BYTES = 32 * 2**20

IS_TOO_LONG = "_too_long"
"""In a batch: the column whose cell was too long to be read, and is null."""

MEASURED_BYTES = 256 * 2**20
"""A batch that can't be larger, by the size of its columns in the file, is read without looking at its cells first."""

DUCKDB_SETTINGS: dict[str, Any] = {"threads": 1, "memory_limit": "700MB"}

INTEGER = re.compile(r"-?[0-9]{1,19}")


def matches(source: Source) -> bool:
    """Whether the name or the first bytes say so."""
    return source.suffix == ".parquet" or source.magic == b"PAR1"


def events(source: Source, tally: Tally) -> Iterator[pa.RecordBatch]:
    """The events, whose columns may lie in any order and under names of any case."""
    file = Columns(source.path, EVENT_FIELDS)
    if "event_type" not in file.columns:
        raise OSError("it has no column event_type: it holds no events")
    for column in file.others:
        tally.unknown_fields[column] += file.rows
    position = 0
    for batch in file.batches(MAX_LINE_BYTES):
        columns = {column: _spelled(column, batch.column(column)) for column in file.columns}
        positions = range(position + 1, position + 1 + batch.num_rows)
        position += batch.num_rows
        faults = {}
        if IS_TOO_LONG in batch.schema.names:
            found = enumerate(batch.column(IS_TOO_LONG).to_pylist())
            faults = {index: f"{column} {TOO_LONG}" for index, column in found if column}
        yield checks.checked(columns, positions, _row_content(batch), source.name, tally, faults)
    if position != file.rows:
        raise OSError(f"it says that it holds {file.rows} rows, and has {position}")


def objects(source: Source, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows, in the columns that a definition has."""
    with opened(source.path) as file:
        by_name = {name.lower(): name for name in file.schema_arrow.names}
        known = {name: by_name[name] for name in RawDefinition.__struct_fields__ if name in by_name}
        if "id" not in known:
            raise OSError("it has no column id: it holds no definitions")
        position = 0
        for batch in file.iter_batches(columns=list(known.values())):
            columns = {name: _without_nanoseconds(batch.column(column)) for name, column in known.items()}
            for index in range(batch.num_rows):
                position += 1
                try:
                    found = {name: column[index].as_py() for name, column in columns.items()}
                except (ValueError, OverflowError) as error:  # what Python has not: the year 10000, text that is none
                    tally.reject(position, error, _row_content(batch)(index))
                else:
                    yield position, found


def _without_nanoseconds(column: pa.Array) -> pa.Array:
    is_time = pa.types.is_timestamp(column.type)
    return column.cast(pa.timestamp("us", column.type.tz), safe=False) if is_time else column


def opened(path: Path) -> pq.ParquetFile:
    """A file that is read piece by piece."""
    # INT96 as nanoseconds, which is the default, turns the years before 1677 and after 2262 into others.
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=BLOCK_BYTES, coerce_int96_timestamp_unit="us")


class Columns:
    """The rows of a Parquet file, in the columns that are wanted, whichever the case of their names."""

    def __init__(self, path: Path, wanted: Iterable[str]) -> None:
        """Open the file.

        Raises:
            OSError: it can't be read, or two of the columns differ in case only.
        """
        self.path = path
        self.file = opened(path)
        names = self.file.schema_arrow.names
        by_name: dict[str, list[str]] = {}
        for name in names:
            by_name.setdefault(name.lower(), []).append(name)
        self.columns = {field: by_name[field][0] for field in wanted if field in by_name}
        self.others = [name for name in names if name.lower() not in self.columns]
        self.rows = self.file.metadata.num_rows
        if twice := [names for field, names in by_name.items() if field in self.columns and len(names) > 1]:
            self.file.close()
            raise OSError(f"two of its columns have the same name: {', '.join(twice[0])}")

    def batches(self, max_bytes: int) -> Iterator[pa.RecordBatch]:
        """All rows, the columns under the names that are wanted; a cell longer than `max_bytes` is null."""
        with ExitStack() as stack:
            stack.callback(self.file.close)
            groups = range(self.file.num_row_groups)
            if all(self._size(group) <= MEASURED_BYTES for group in groups):
                yield from self._read(self.file, groups, BATCH_ROWS)
                return
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-")))
            longest, is_too_long = self._measured(folder, max_bytes)
            file = self.file
            if is_too_long:
                file = stack.enter_context(opened(self._shortened(folder, max_bytes)))
            first = 0
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                width = max(longest[first // BATCH_ROWS : (end - 1) // BATCH_ROWS + 1], default=0)
                yield from self._read(file, [group], max(1, min(BATCH_ROWS, BATCH_BYTES // max(width, 1))))
                first = end

    def _size(self, group: int) -> int:
        """What a batch of a row group may take at most: each row may repeat all that a column holds."""
        found = self.file.metadata.row_group(group)
        columns = [found.column(n) for n in range(found.num_columns)]
        wanted = sum(
            column.total_uncompressed_size
            for column in columns
            if column.physical_type == "BYTE_ARRAY" and column.path_in_schema.split(".")[0] in self.columns.values()
        )
        return int(wanted * min(found.num_rows, BATCH_ROWS))

    def _read(self, file: pq.ParquetFile, groups: Iterable[int], rows: int) -> Iterator[pa.RecordBatch]:
        """Batches of some rows at once, put together where that makes few of many."""
        names = {name: field for field, name in self.columns.items()}
        wanted = [*names, *[IS_TOO_LONG] * (IS_TOO_LONG in file.schema_arrow.names)]
        held: list[pa.RecordBatch] = []
        for batch in file.iter_batches(batch_size=rows, row_groups=list(groups), columns=wanted):
            held.append(batch)
            if sum(map(len, held)) + rows > BATCH_ROWS or sum(one.nbytes for one in held) >= BATCH_BYTES // 2:
                yield _joined(held, names)
                held = []
        if held:
            yield _joined(held, names)

    def _measured(self, folder: Path, max_bytes: int) -> tuple[list[int], bool]:
        """The bytes of the longest row by parts of `BATCH_ROWS` rows, and whether a cell is too long.

        DuckDB looks at the values of a dictionary once, and holds no cell twice.
        """
        sizes = [f"coalesce(strlen(cast({_quoted(name)} as varchar)), 0)" for name in self.columns.values()]
        parts = " + ".join(f"case when {size} <= {max_bytes} then {size} else 0 end" for size in sizes)
        found = self._duckdb(
            folder,
            f"select file_row_number // {BATCH_ROWS} as part, max({parts}), max(greatest({', '.join(sizes)})) "
            f"from {_FILE} group by part order by part",
        )
        return [width for _, width, _ in found], any(cell > max_bytes for _, _, cell in found)

    def _shortened(self, folder: Path, max_bytes: int) -> Path:
        """A copy of the file without the cells that are too long."""
        copy = folder / "copy.parquet"
        quoted = [_quoted(name) for name in self.columns.values()]
        is_long = {name: f"coalesce(strlen(cast({name} as varchar)), 0) > {max_bytes}" for name in quoted}
        columns = [f"case when not {test} then {name} end as {name}" for name, test in is_long.items()]
        which = " ".join(
            f"when {test} then '{field}'" for field, test in zip(self.columns, is_long.values(), strict=True)
        )
        self._duckdb(
            folder,
            f"copy (select {', '.join(columns)}, case {which} end as {IS_TOO_LONG} from {_FILE}) "
            f"to '{copy}' (format parquet, compression lz4, row_group_size {BATCH_ROWS})",
        )
        return copy

    def _duckdb(self, folder: Path, sql: str) -> list[tuple[Any, ...]]:
        link = folder / "file.parquet"  # the file's own name may hold what DuckDB takes for a pattern
        if not link.exists():
            try:
                link.symlink_to(self.path.absolute())
            except OSError:  # as on Windows, where links are a privilege
                shutil.copyfile(self.path, link)
        try:
            with duckdb.connect(config={**DUCKDB_SETTINGS, "temp_directory": str(folder / "spilled")}) as connection:
                return connection.execute(sql.replace(_FILE, _FILE.format(link))).fetchall()
        except duckdb.Error as error:
            raise OSError(str(error)) from error


_FILE = "read_parquet('{}', file_row_number = true, hive_partitioning = false)"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _joined(batches: list[pa.RecordBatch], names: dict[str, str]) -> pa.RecordBatch:
    joined = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    return joined.rename_columns([names.get(name, name) for name in joined.schema.names])


def _spelled(column: str, values: pa.Array) -> Any:
    """A column of Parquet as NDJSON has it: an id that is a text as the integer it spells, properties as text.

    Some writers, such as Impala and old ones of Hive and Spark, don't say that the bytes of a column are text.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if column in PROPERTIES and pa.types.is_nested(values.type):
        return nested.as_json(values)
    if isinstance(values.type, pa.UuidType):
        return [None if value is None else str(value) for value in values.to_pylist()]
    if any(is_bytes(values.type) for is_bytes in BYTES):
        try:
            values = values.cast(pa.string())
        except pa.ArrowInvalid:  # of those that are no UTF-8 each is told
            return [_decoded(value) for value in values.to_pylist()]
    if column in IDS and any(is_text(values.type) for is_text in TEXTS):
        return [int(text) if isinstance(text, str) and INTEGER.fullmatch(text) else text for text in map(shown, values)]
    return values


BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return value if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _row_content(batch: pa.RecordBatch) -> Any:
    return lambda index: json.dumps(
        {name: _shortened(shown(batch.column(name)[index])) for name in batch.schema.names},
        default=str,
        ensure_ascii=False,
    )


def _shortened(value: Any) -> Any:
    return value[:KEPT_BYTES] if isinstance(value, str | bytes) else value
