"""Delta tables, written by delta-rs: one commit is rows, and what is delivered by them."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from ..errors import UsageError
from . import Changes, Delivered
from .tables import DAY, ORIGIN, SCHEMAS, AzureLogin, Maintained, Place, S3Login, TableStore, asking_library, days_of

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import CommitProperties, DeltaTable, WriterProperties

LOADS = "headrace.loads"
"""The application whose transactions the table counts (`txn` in Delta's protocol): no checkpoint and no maintenance
drops the last one."""

DECIMALS = 7
"""Of a load's id, which is a time in seconds."""

SETTINGS = {
    # Not of the JSON, which nobody compares and the log would repeat for each file.
    "delta.dataSkippingStatsColumns": "event_id,event_time,processed_time,updated_time,device_id,session_id,view_id,"
    "event_type,source_type",
}


class DeltaStore(TableStore["DeltaTable"]):
    """Delta tables in a folder or a bucket."""

    format = "Delta"
    library = "deltalake"

    def delivered(self, table: str) -> Delivered | None:
        """What was delivered of a table; None for nothing."""
        if (found := self.table(table)) is None or (version := found.transaction_version(LOADS)) is None:
            return None
        return Delivered(self._origin(found), _load(version))

    def _origin(self, table: DeltaTable) -> str:
        return table.metadata().configuration[ORIGIN]

    def _is_empty(self, table: DeltaTable) -> bool:
        return not table.file_uris()

    def _reopened(self, name: str, table: DeltaTable) -> DeltaTable:
        """Opened anew, as credentials may last shorter than all commits."""
        found = self.table(name)
        assert found  # noqa: S101
        return found

    def _commit(self, table: DeltaTable, rows: pa.Table, id_: str | None, until: str | None) -> DeltaTable:
        done = _done(until) if until else None
        if id_ is None or not rows.num_rows:  # a merge of nothing commits nothing
            _append(table, rows, done)
        else:
            _merge(table, rows, id_, done)
        return table

    def _maintain(self, name: str, table: DeltaTable, keep: timedelta) -> Maintained:
        with asking_library(self._place.path(name)):
            found = table.optimize.compact(writer_properties=_zstd())
            hours = int(keep.total_seconds() // 3600)
            removed = table.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)
            table.create_checkpoint()
            table.cleanup_metadata()
        return Maintained(name, found["numFilesRemoved"], len(removed))

    def table(self, name: str) -> DeltaTable | None:
        """A table of Headrace's, if there is one; see TableStore."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        path = self._place.path(name)
        table = None
        with asking_library(path), suppress(TableNotFoundError):
            table = DeltaTable(path, storage_options=storage_options(self._place))
        if table is None:
            others = [file for file in self._place.files(name) if not file.startswith("_delta_log/")]
        else:
            others = [] if ORIGIN in table.metadata().configuration else ["a Delta table"]
        if others:
            raise UsageError(
                f"{path} holds what Headrace didn't put there ({others[0]}): name another folder or prefix"
            )
        return table

    def _create(self, changes: Changes) -> DeltaTable:
        from deltalake import DeltaTable

        is_events = changes.table == "events"
        path = self._place.path(changes.table)
        with asking_library(path):
            return DeltaTable.create(
                path,
                SCHEMAS[changes.table],
                partition_by=[DAY] if is_events else None,
                configuration={ORIGIN: changes.delivered.origin, **(SETTINGS if is_events else {})},
                storage_options=storage_options(self._place),
                raise_if_key_not_exists=False,
            )


def _append(table: DeltaTable, rows: pa.Table, done: CommitProperties | None) -> None:
    from deltalake import write_deltalake

    write_deltalake(table, rows, mode="append", writer_properties=_zstd(), commit_properties=done)


def _merge(table: DeltaTable, rows: pa.Table, id_: str, done: CommitProperties | None) -> None:
    """Files of other days are neither read nor written, as the days are in the predicate as they are.

    The partition without a day is always looked at: what came without a time may have got one.
    """
    predicate = f"target.{id_} = source.{id_}"
    if DAY in rows.column_names:
        days = ", ".join(f"date '{day}'" for day in days_of(rows))
        within = f"target.{DAY} in ({days}) or " if days else ""
        predicate = f"({within}target.{DAY} is null) and {predicate}"
    merger = table.merge(
        rows, predicate, source_alias="source", target_alias="target", writer_properties=_zstd(), commit_properties=done
    )
    merger.when_matched_update_all().when_not_matched_insert_all().execute()


def _zstd() -> WriterProperties:
    from deltalake import WriterProperties

    return WriterProperties(compression="ZSTD")


def _done(until: str) -> CommitProperties:
    from deltalake import CommitProperties, Transaction

    return CommitProperties(app_transactions=[Transaction(LOADS, _version(until))])


def _version(load: str) -> int:
    """A load's id as the integer that Delta wants: in order as the ids are, and with the number of its decimals."""
    if not re.fullmatch(rf"\d{{1,10}}(\.\d{{1,{DECIMALS}}})?", load):
        raise UsageError(f"{load}: a load has an id such as 1764273000.1234567")
    return int(Decimal(load).scaleb(DECIMALS)) * 10 + len(load.partition(".")[2])


def _load(version: int) -> str:
    scaled, decimals = divmod(version, 10)
    return f"{Decimal(scaled).scaleb(-DECIMALS):.{decimals}f}"


def storage_options(place: Place) -> dict[str, str]:
    """What delta-rs is told so that it logs in to the place as fsspec does."""
    found: dict[str, str | None] = {}
    login = place.login
    if isinstance(login, S3Login):
        keys = login.keys
        found = {
            "aws_endpoint_url": login.endpoint,
            "aws_region": login.region,
            "aws_skip_signature": None if keys else "true",
            "aws_conditional_put": "etag",
            **dict(zip(("aws_access_key_id", "aws_secret_access_key", "aws_session_token"), keys or (), strict=False)),
        }
    elif isinstance(login, AzureLogin):
        found = {
            "azure_storage_account_name": login.account,
            "azure_storage_account_key": login.key,
            "azure_storage_sas_key": login.sas,
            "azure_storage_token": login.token,
            "azure_storage_endpoint": login.endpoint,
        }
    elif place.cloud == "gs":
        token = place.store.token
        found = {
            "google_service_account": token if isinstance(token, str) and token.endswith(".json") else None,
            "google_skip_signature": "true" if token == "anon" else None,  # noqa: S105
        }
    endpoint = found.get("aws_endpoint_url") or found.get("azure_storage_endpoint") or ""
    return {
        **{name: value for name, value in found.items() if value},
        **({"allow_http": "true"} if endpoint.startswith("http://") else {}),
    }
