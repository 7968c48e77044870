"""DuckDB: a file of this machine, which one process at a time may write to."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, cast

import dlt
import duckdb
from dlt.common.destination import AnyDestination
from fsspec.implementations.local import LocalFileSystem
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from .base import Warehouse

SETTINGS = {"memory_limit": "192MB", "preserve_insertion_order": False, "force_compression": "zstd"}
"""For a connection that loads. Staging is written once, read once and deleted: zstd is the quickest for JSON."""


class DuckDB(Warehouse):
    """A DuckDB file."""

    dlt_settings: ClassVar = {"load.workers": 1}
    """Each worker would buffer a row group of its own."""

    has_arrow: ClassVar = True

    statement_rows: ClassVar = 10_000
    """A parameter is a whole column."""

    @property
    def file(self) -> Path:
        """The file."""
        return Path(self.target.settings["path"])

    def connect(self) -> Any:
        """The file, to be written."""
        return self._opened(self.file)

    def _opened(self, path: Path, read_only: bool = False) -> AnyDestination:
        # Who reads sorts and joins all of history, and wants rows in order: that takes what memory there is.
        config = {**({} if read_only else SETTINGS), **(self.target.settings.get("config_options") or {})}
        credentials = {"read_only": read_only, "database": str(path), "global_config": config}
        return _as_dbt_names_it(credentials)

    @contextmanager
    def reading(self, folder: Path) -> Iterator[AnyDestination]:
        """The file for reading, which lets readers in together, and makes none.

        Where there is no file yet, an empty one in the folder stands for it. One that a sync has locked is read as it
        goes.
        """
        if not self.file.exists():
            yield self._opened(folder / "empty.duckdb")
        elif is_locked(self.file):
            with past_locks(self.file) as connection:
                yield _as_dbt_names_it(connection)
        else:
            yield self._opened(self.file, read_only=True)

    def values(self, rows: Sequence[tuple[Any, ...]], types: Sequence[str]) -> tuple[str, list[Any]]:
        """A list for each column, which is 10 times as quick as a parameter for each value."""
        lists = ", ".join(f"unnest(cast(%s as {data_type}[]))" for data_type in types)
        return f"select {lists}", [list(column) for column in zip(*rows, strict=True)]

    def before_retry(self, pipeline: dlt.Pipeline) -> None:
        """Let it take the memory that it takes by default, unless the profile says how much.

        It commits the rows of an unfinished row group (122,880 rows) from memory, so texts of a megabyte each can need
        more than the loader's own limit.
        """
        if "memory_limit" not in (self.target.settings.get("config_options") or {}):
            pipeline.destination.config_params["credentials"]["global_config"]["memory_limit"] = "80%"

    def after_build(self) -> None:
        """Let go of the file, which dbt would keep open until the process ends, and write to it then."""
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]

    def refusals(self) -> Iterator[BaseException]:
        """What the system says of the file."""
        if refusal := refusal_of_file(self.file):
            yield refusal


def _as_dbt_names_it(credentials: Any) -> AnyDestination:
    """The destination, whose schema has the name that the profile says, capitals and blanks, too."""
    named = dlt.destinations.duckdb(credentials=credentials, enable_dataset_name_normalization=False)
    return cast(AnyDestination, named)


def refusal_of_file(path: Path, writes: bool = True) -> OSError | None:
    """Why the system doesn't let a DuckDB file be written or made, or read; DuckDB itself has words alone.

    None when it does: then another process has locked it, or the disk fails.
    """
    try:
        if path.exists():
            with path.open("r+b" if writes else "rb") as file:
                head = file.read(12)
            return OSError(errno.EACCES, f"{path} is no DuckDB database") if head and head[8:] != b"DUCK" else None
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        return error
    return None


def is_locked(path: Path) -> bool:
    """Whether a DuckDB file can't be opened since another process, or this one, writes to it."""
    try:
        duckdb.connect(str(path), read_only=True).close()
    except duckdb.Error:
        return refusal_of_file(path, writes=False) is None
    return False


class _PastLocks(LocalFileSystem):  # type: ignore[misc]
    """Local files by `live://`. DuckDB asks for a lock when it opens a file; Python does not."""

    protocol = "live"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("live://")))


@contextmanager
def past_locks(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """What a DuckDB file holds while another process writes to it: the last commit, or one shortly before.

    The database under its own name, which its views know, and a view of each of its tables and views in memory, where
    dlt looks for them.
    """
    store, address, name = _PastLocks(skip_instance_cache=True), f"live://{path.absolute()}", path.stem
    connection = duckdb.connect()
    connection.register_filesystem(store)
    try:
        quoted = [text.replace(mark, mark * 2) for text, mark in ((address, "'"), (name, '"'))]
        attach = "attach '{}' as \"{}\" (read_only)".format(*quoted)
        # A checkpoint may go on under a reader's eyes.
        Retrying(
            retry=retry_if_exception_type(duckdb.Error), stop=stop_after_attempt(5), wait=wait_fixed(0.5), reraise=True
        )(lambda: connection.execute(attach).fetchall())
        for schema, table in connection.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = $1 union all "
            "select schema_name, view_name from duckdb_views() where database_name = $1 and not internal",
            [name],
        ).fetchall():
            connection.execute(f'create schema if not exists memory."{schema}"').fetchall()
            connection.execute(
                f'create view memory."{schema}"."{table}" as from "{quoted[1]}"."{schema}"."{table}"'
            ).fetchall()
        yield connection
    finally:
        connection.unregister_filesystem(store.protocol)
        connection.close()
