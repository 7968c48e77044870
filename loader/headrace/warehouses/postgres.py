"""PostgreSQL, to which rows go by COPY."""

from __future__ import annotations

import ctypes
import io
import re
import select
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import psycopg2
import psycopg2._psycopg
import psycopg2.extensions
import pyarrow.csv
import pyarrow.parquet as pq
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.client import HasFollowupJobs, LoadJob, RunnableLoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.destinations import postgres
from dlt.destinations.impl.postgres.configuration import PostgresCredentials
from dlt.destinations.impl.postgres.postgres import PostgresClient

from .base import CONNECT_SECONDS, Warehouse

SQLSTATE_ALONE = 3
"""The verbosity PQERRORS_SQLSTATE of libpq: of an error it says severity and SQLSTATE, and none of the words."""

LAST_SQLSTATE = re.compile(r"\b[0-9A-Z]{5}\s*$")


class Postgres(Warehouse):
    """A schema of PostgreSQL."""

    json_text: ClassVar = "cast({} as text)"

    def connect(self) -> Any:
        """With the arguments that the adapter hands to psycopg2."""
        login = self.login()
        credentials = PostgresCredentials()
        credentials.port, credentials.database = login.port, login.database
        credentials.host = "localhost"  # the one in `query` counts, which may also be the folder of a socket
        credentials.username, credentials.password = login.user, login.password
        credentials.connect_timeout = login.connect_timeout or CONNECT_SECONDS
        credentials.session_timezone = "UTC"
        credentials.query = {"host": login.host, **_options(login)}
        return CopyDestination(
            credentials=credentials, destination_name=self.target.type, enable_dataset_name_normalization=False
        )

    def refusals(self) -> Iterator[BaseException]:
        """The refusal of a login once more, with the SQLSTATE that psycopg2 does not keep and libpq says when asked."""
        login = self.login()
        deadline = time.monotonic() + (login.connect_timeout or CONNECT_SECONDS)
        names = {"host": login.host, "port": login.port, "dbname": login.database, "user": login.user}
        try:
            connection = psycopg2.connect(**{**names, "password": login.password, **_options(login)}, async_=True)
            libpq = ctypes.CDLL(psycopg2._psycopg.__file__)
            libpq.PQsetErrorVerbosity(ctypes.c_void_p(connection.pgconn_ptr), SQLSTATE_ALONE)
            while (state := connection.poll()) != psycopg2.extensions.POLL_OK and time.monotonic() < deadline:
                is_read = state == psycopg2.extensions.POLL_READ
                select.select([connection] if is_read else [], [] if is_read else [connection], [], 1)
        except psycopg2.OperationalError as error:
            if found := LAST_SQLSTATE.search(str(error)):
                error.__setstate__({"pgcode": found[0].strip()})
                yield error


def _options(login: Any) -> dict[str, Any]:
    """What libpq is told beside who logs in where."""
    names = ("sslmode", "sslcert", "sslkey", "sslrootcert", "application_name", "keepalives_idle")
    options = {name: value for name in names if (value := getattr(login, name))}
    if login.role:
        role = re.sub(r"([\\ ])", r"\\\1", login.role)
        options["options"] = f"-crole={role}"
    return options


class CopyDestination(postgres):
    """dlt's destination, but for how it loads a file of Parquet.

    dlt itself would take INSERTs, a driver that is not on PyPI for all platforms, or CSV of which it makes null what is
    an empty text.
    """

    @property
    def client_class(self) -> type[PostgresClient]:
        """The client that loads Parquet by COPY."""
        return CopyClient

    def _raw_capabilities(self) -> DestinationCapabilitiesContext:
        capabilities = super()._raw_capabilities()
        # It leaves Parquet out where that driver is missing.
        capabilities.loader_file_format_selector = None  # type: ignore[assignment]
        return capabilities


class CopyClient(PostgresClient):
    """dlt's client, but for Parquet."""

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        """A job that loads a file."""
        is_parquet = file_path.endswith(".parquet")
        return CopyJob(file_path) if is_parquet else super().create_load_job(table, file_path, load_id, restore)


class CopyJob(RunnableLoadJob, HasFollowupJobs):
    """Loads a file of Parquet by COPY, as lines in which an empty text is quoted and null is not."""

    def run(self) -> None:
        """Load it, all rows or none."""
        client: Any = self._job_client.sql_client  # type: ignore[attr-defined]
        with pq.ParquetFile(self._file_path) as file, client.begin_transaction():
            columns = ", ".join(map(client.escape_column_name, file.schema_arrow.names))
            table = client.make_qualified_table_name(self.load_table_name)
            for group in range(file.num_row_groups):
                lines = io.BytesIO()
                pyarrow.csv.write_csv(file.read_row_group(group), lines, pyarrow.csv.WriteOptions(include_header=False))
                lines.seek(0)
                with client.native_connection.cursor() as cursor:
                    cursor.copy_expert(f"copy {table} ({columns}) from stdin (format csv)", lines, size=2**20)
