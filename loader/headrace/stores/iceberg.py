"""Iceberg tables, written by pyiceberg through a catalog: one commit is rows, and what is delivered by them."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from ..errors import HeadraceError, UsageError
from ..feed import modified_time
from . import Changes, Delivered
from .tables import (
    DAY,
    ORIGIN,
    SCHEMAS,
    SMALL_BYTES,
    AzureLogin,
    Maintained,
    Place,
    S3Login,
    TableStore,
    asking_library,
    days_of,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table

UNTIL = "headrace.until"
"""The property of a table that says which load is the newest that is delivered."""

CATALOG = "headrace"
"""The catalog of pyiceberg's configuration that is used; where there is none of this name, its default."""

SETTINGS = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
"""Each commit writes what the table is anew; only so many of these files stay."""

HOW = (
    "~/.pyiceberg.yaml or the environment names no catalog: for one in a file, "
    "PYICEBERG_CATALOG__HEADRACE__URI=sqlite:////path/catalog.db; for a REST catalog, its https:// address"
)


class IcebergStore(TableStore["Table"]):
    """Iceberg tables in a folder or a bucket, in a namespace of the name of the folder."""

    format = "Iceberg"
    library = "pyiceberg.catalog"

    def delivered(self, table: str) -> Delivered | None:
        """What was delivered of a table; None for nothing."""
        found = self.table(table)
        if found is None or UNTIL not in found.properties:
            return None
        return Delivered(self._origin(found), found.properties[UNTIL])

    def _origin(self, table: Table) -> str:
        return table.properties[ORIGIN]

    def _is_empty(self, table: Table) -> bool:
        return table.current_snapshot() is None

    def _commit(self, table: Table, rows: pa.Table, id_: str | None, until: str | None) -> Table:
        transaction = table.transaction()
        if id_ and (replaced := _replaced(table, rows, id_)) is not None:
            transaction.delete(replaced)
        if rows.num_rows:
            transaction.append(rows)
        if until:
            transaction.set_properties({UNTIL: until})
        return transaction.commit_transaction()

    def _maintain(self, name: str, table: Table, keep: timedelta) -> Maintained:
        with asking_library(table.location()):
            compacted = _compact(table)
            until = datetime.now(UTC) - keep
            table.maintenance.expire_snapshots().older_than(until).commit()
            table.refresh()
            needed = _needed(table)
        files = self._place.files(name)
        strays = [
            info
            for file, info in files.items()
            if file not in needed and (modified_time(info) or datetime.now(UTC)) < until
        ]
        self._place.remove(strays)
        return Maintained(name, compacted, len(strays))

    @property
    def _namespace(self) -> str:
        return self._place.feed.prefix.rstrip("/").rpartition("/")[2]

    @cached_property
    def _catalog(self) -> Catalog:
        from pyiceberg.catalog import load_catalog
        from pyiceberg.utils.config import Config

        with asking_library(f"{self.address}: the catalog"):
            config = Config()
            name = CATALOG if config.get_catalog_config(CATALOG) else config.get_default_catalog_name()
            said: dict[str, Any] = config.get_catalog_config(name) or {}
            if not said:
                raise UsageError(f"{self.address}: {HOW}")
            catalog = load_catalog(name, **{**_properties(self._place, said), **said})
            catalog.create_namespace_if_not_exists((self._namespace,))
            return catalog

    def _location(self, name: str) -> str:
        path = super()._location(name)
        return f"file://{path}" if self._place.feed.is_local else path

    def table(self, name: str) -> Table | None:
        """A table of Headrace's, if there is one; see TableStore."""
        from pyiceberg.exceptions import NoSuchTableError

        full, location = f"{self._namespace}.{name}", self._location(name)
        try:
            with asking_library(f"{self.address}: the catalog's {full}"):
                table = self._catalog.load_table((self._namespace, name))
        except HeadraceError as error:
            if not isinstance(error.__cause__, NoSuchTableError):
                raise
            # A kill while the table was made leaves a file of metadata/ that no catalog knows.
            if others := [file for file in self._place.files(name) if not file.startswith("metadata/")]:
                raise UsageError(
                    f"{location} holds files ({others[0]}), and the catalog has no table {full}: "
                    "name another prefix, or the catalog that has it"
                ) from None
            return None
        if table.location().rstrip("/") != location or ORIGIN not in table.properties:
            raise UsageError(
                f"the catalog has a {full} that Headrace didn't make there ({table.location()}): name another prefix"
            )
        return table

    def _create(self, changes: Changes) -> Table:
        location = self._location(changes.table)
        with asking_library(location):
            transaction = self._catalog.create_table_transaction(
                (self._namespace, changes.table),
                SCHEMAS[changes.table],
                location=location,
                properties={ORIGIN: changes.delivered.origin, **SETTINGS},
            )
            if changes.table == "events":
                with transaction.update_spec() as spec:
                    spec.add_identity(DAY)
            return transaction.commit_transaction()


def _replaced(table: Table, rows: pa.Table, id_: str) -> BooleanExpression | None:
    """What finds the rows that these replace; None where there are none.

    Files of other days are neither read nor written, as the days are in it as they are. The partition without a day is
    always looked at: what came without a time may have got one. Only ids that are there are in it, by the column of
    their ids: pyiceberg takes a tenth of a millisecond for each, and most of an hour's events are new.
    """
    from pyiceberg.expressions import AlwaysTrue, And, In, IsNull, Or

    is_by_day = DAY in rows.column_names
    within = Or(In(DAY, days_of(rows)), IsNull(DAY)) if is_by_day else AlwaysTrue()
    ids = rows[id_].combine_chunks()
    found: list[str] = []
    for batch in table.scan(within, selected_fields=(id_,)).to_arrow_batch_reader():
        there = batch[id_].cast(ids.type)
        found += there.filter(pc.is_in(there, value_set=ids)).to_pylist()
    return And(within, In(id_, found)) if found else None


def _compact(table: Table) -> int:
    """Write each day that has several small files anew, a day at a time; return how many files there were."""
    from pyiceberg.expressions import AlwaysTrue, EqualTo, IsNull

    by_day: dict[Any, list[int]] = defaultdict(list)
    for task in table.scan().plan_files():
        by_day[task.file.partition[0] if DAY in table.schema().column_names else ...].append(
            task.file.file_size_in_bytes
        )
    compacted = 0
    for day, sizes in by_day.items():
        if len(sizes) == 1 or sum(sizes) / len(sizes) >= SMALL_BYTES:
            continue
        if day is ...:
            within: BooleanExpression = AlwaysTrue()
        else:
            within = IsNull(DAY) if day is None else EqualTo(DAY, date(1970, 1, 1) + timedelta(day))
        table.overwrite(table.scan(within).to_arrow(), within)
        compacted += len(sizes)
    return compacted


def _needed(table: Table) -> set[str]:
    """The files of all snapshots that are left, by their names in the table's folder."""
    needed = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    seen = set()
    for snapshot in table.metadata.snapshots:
        needed.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path not in seen:
                seen.add(manifest.manifest_path)
                needed |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return {name.removeprefix(f"{table.location().rstrip('/')}/") for name in needed | seen}


def _properties(place: Place, said: dict[str, Any]) -> dict[str, str]:
    """What pyiceberg is told so that it logs in to the place as fsspec does; nothing where it is configured itself."""
    found: dict[str, str | None] = {}
    login = place.login
    if isinstance(login, S3Login):
        keys = login.keys
        found = {
            "s3.endpoint": login.endpoint,
            "s3.region": login.region,
            "s3.anonymous": None if keys else "true",
            **dict(zip(("s3.access-key-id", "s3.secret-access-key", "s3.session-token"), keys or (), strict=False)),
        }
    elif isinstance(login, AzureLogin):
        found = {
            "adls.connection-string": place.store.connection_string,
            "adls.account-name": login.account,
            "adls.account-key": login.key,
            "adls.sas-token": login.sas,
            "adls.token": login.token,
        }
    elif place.cloud == "gs":
        found = {"gcs.oauth2.token": getattr(place.store.credentials.credentials, "token", None)}
    if any(name.partition(".")[0] in ("s3", "adls", "gcs") for name in said):
        return {}
    return {name: value for name, value in found.items() if value}
