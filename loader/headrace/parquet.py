"""Parquet files in batches whose size is bounded, whatever a file makes of a few bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

BLOCK_BYTES = 4 * 2**20
BATCH_ROWS = 16_384
BATCH_BYTES = 32 * 2**20

TOO_LONG = "_too_long"
"""In a batch: the column whose cell was too long to be read, and is null."""

MEASURED_BYTES = 256 * 2**20
"""A batch that can't be larger, by the size of its columns in the file, is read without looking at its cells first."""

DUCKDB_SETTINGS: dict[str, Any] = {"threads": 1, "memory_limit": "700MB"}


def opened(path: Path) -> pq.ParquetFile:
    """A file that is read piece by piece."""
    # INT96 as nanoseconds, which is the default, turns the years before 1677 and after 2262 into others.
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=BLOCK_BYTES, coerce_int96_timestamp_unit="us")


class Events:
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
        wanted = [*names, *[TOO_LONG] * (TOO_LONG in file.schema_arrow.names)]
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
            f"copy (select {', '.join(columns)}, case {which} end as {TOO_LONG} from {_FILE}) "
            f"to '{copy}' (format parquet, compression lz4, row_group_size {BATCH_ROWS})",
        )
        return copy

    def _duckdb(self, folder: Path, sql: str) -> list[tuple[Any, ...]]:
        link = folder / "file.parquet"  # the file's own name may hold what DuckDB takes for a pattern
        if not link.exists():
            link.symlink_to(self.path.absolute())
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
