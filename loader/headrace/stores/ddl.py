"""SQL with which an engine reads a store: tables over what lies there, and views by the rules of the contract.

`stored_events` is what the store holds; the view `events` on it has the latest version of each event (rule 2) in the
types of the contract, and `live_events` those that are not superseded (rule 3). The lookups likewise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import pyarrow as pa

from ..errors import UsageError
from ..feed import EXTRAS, HOUR_FOLDER, shown
from ..rows import PROPERTIES, TIME
from . import FILES, FOLDERS, Format
from .tables import DAY, SCHEMAS, key

SCHEMA = "lake"
"""Where an engine has all of it."""

HOUR = HOUR_FOLDER.rstrip("=")

Kind = Literal["text", "bigint", "boolean", "time", "json", "date"]


@dataclass(frozen=True)
class Table:
    """One table of a store."""

    name: str
    columns: dict[str, Kind]
    """Those of a Delta or Iceberg table."""
    versions: tuple[str, ...]
    """What decides between the versions of a row, before the file that they lie in."""

    @property
    def folder(self) -> str:
        """Where its files lie in the hive layout."""
        return FOLDERS[self.name]

    @property
    def in_files(self) -> dict[str, Kind]:
        """The columns as the files of the hive layout have them."""
        return _kinds(FILES[self.name])


KINDS: dict[pa.DataType, Kind] = {pa.int64(): "bigint", pa.bool_(): "boolean", pa.date32(): "date", TIME: "time"}


def _kinds(schema: pa.Schema) -> dict[str, Kind]:
    return {field.name: KINDS.get(field.type, "text") for field in schema}


def _table(name: str, schema: pa.Schema) -> Table:
    columns: dict[str, Kind] = {name: "json" if name in PROPERTIES else kind for name, kind in _kinds(schema).items()}
    return Table(name, columns, ("updated_time", "processed_time" if name == "events" else "modified_time"))


TABLES = {name: _table(name, schema) for name, schema in SCHEMAS.items()}

PLACEHOLDERS = {
    "YOUR_ACCOUNT": "the storage account",
    "YOUR_CATALOG": "the engine's name of the Iceberg catalog that Headrace writes to",
    "YOUR_CATALOG_INTEGRATION": "a catalog integration: OBJECT_STORE with TABLE_FORMAT = DELTA, or the Iceberg catalog",
    "YOUR_CONNECTION": "project.region.name of a connection that may read the bucket",
    "YOUR_EXTERNAL_VOLUME": "an external volume over the address",
    "YOUR_FIRST_HOUR": "the first hour that is there, such as 2026-03-02 00:00:00; each one since is looked for",
    "YOUR_METADATA_FILE": "the newest file of metadata; a table over it does not follow later deliveries",
    "YOUR_NAMESPACE": "the namespace of the tables in that catalog: the last part of the address",
    "YOUR_ROLE": "a role that may read the bucket and the Data Catalog",
    "YOUR_STORAGE_INTEGRATION": "a storage integration that allows the address",
}
"""What only the reader knows, and what it is."""


@dataclass(frozen=True)
class Address:
    """An address, taken apart."""

    store: str
    """`s3`, `gcs` or `azure`; empty for a folder."""
    text: str
    bucket: str = ""
    path: str = ""
    account: str = "YOUR_ACCOUNT"

    @classmethod
    def of(cls, text: str) -> Address:
        """Take an address apart.

        Raises:
            UsageError: no such store can be delivered to.
        """
        text = shown(text).rstrip("/")
        found = re.fullmatch(r"(\w+)://([^/]*)/*(.*)", text, re.DOTALL)
        if not found:
            folder = Path(text.removeprefix("file://")).absolute().as_posix()
            return cls("", folder, path=folder)
        if found[1] not in EXTRAS:
            raise UsageError(f"{text}: an address begins with s3://, gs:// or az://, or is a folder")
        bucket, _, host = found[2].partition("@")
        address = cls(EXTRAS[found[1]], text, bucket, found[3])
        return replace(address, account=host.partition(".")[0]) if host else address


class Engine:
    """How an engine says it; what is the same for most is said here."""

    name: ClassVar[str]
    places: ClassVar[dict[str, str]]
    """How it writes addresses of the stores that it reads."""
    schema = f"create schema if not exists {SCHEMA}"
    types: ClassVar[dict[str, str]] = {"text": "varchar", "bigint": "bigint", "boolean": "boolean"}
    time = "cast({} as timestamp)"
    """A time of ISO 8601 text."""
    millis: ClassVar[str]
    """A time of milliseconds."""
    stored_time = "{}"
    """A time of a table's column in UTC."""
    json = "{}"
    file = '"$path"'
    """What has the path of a row's file, and in it the hour and the load."""
    view_end = ""
    has_catalog = True
    """Whether it reads Iceberg tables by their catalog, so that none is registered."""

    def __init__(self, address: Address, fmt: Format) -> None:
        self.address = address
        self.format = fmt
        if address.store not in self.places:
            names = {"": "folders", "s3": "s3://", "gcs": "gs://", "azure": "az://"}
            reads = " and ".join(names[store] for store in self.places)
            raise UsageError(f"{address.text}: {self.name} reads {reads} only")
        self.root = self.places[address.store].format(**vars(address)).rstrip("/")

    # --- what differs ---

    def files(self, table: Table) -> str | None:
        """The statement that makes a table of the files in the hive layout."""
        raise NotImplementedError

    def delta(self, table: Table) -> str | None:
        """The statement that registers a Delta table."""
        raise NotImplementedError

    def iceberg(self, table: Table) -> str | None:
        """The statement that registers an Iceberg table; none where the engine has the catalog."""
        return None

    def setup(self) -> Iterator[str]:
        """What comes first."""
        yield self.schema

    def stored(self, table: Table) -> str:
        """The name of what the store holds."""
        if self.format == "iceberg" and self.has_catalog:
            return f"YOUR_CATALOG.YOUR_NAMESPACE.{table.name}"
        return f"{SCHEMA}.stored_{table.name}"

    # --- what is the same ---

    def quoted(self, text: str) -> str:
        """A string literal."""
        return "'" + text.replace("'", "''") + "'"

    def at(self, *names: str) -> str:
        """An address below the root, as a string literal."""
        return self.quoted("/".join((self.root, *names)))

    def column_types(self, table: Table) -> list[str]:
        """The columns of the files with their types."""
        return [f"{name} {self.types[kind]}" for name, kind in table.in_files.items()]

    def cast(self, name: str, kind: Kind) -> str:
        """A column in the type of the contract."""
        if kind == "json":
            cast = self.json
        elif kind != "time":
            cast = "{}"
        elif self.format != "parquet":
            cast = self.stored_time
        else:
            cast = self.millis if name == "updated_time" else self.time
        return name if cast == "{}" else f"{cast.format(name)} as {name}"

    def columns(self, table: Table) -> dict[str, Kind]:
        """The columns of its view: a table has the day that it is partitioned by, too."""
        return {name: kind for name, kind in table.columns.items() if name != DAY or self.format != "parquet"}

    def rank(self, table: Table, *more: str) -> str:
        """The place of a version among those of its row."""
        order = [f"{name} desc nulls last" for name in table.versions] + [f"{name} desc" for name in (self.file, *more)]
        within = f"            partition by {key(table.name)}\n            order by {', '.join(order)}"
        return f"row_number() over (\n{within}\n        )"

    def latest(self, table: Table) -> tuple[str, str]:
        """What the view of a table reads: the CTE before it, and where it takes rows from."""
        if self.format != "parquet":
            return "", f"from {self.stored(table)}"
        ranked = f"    select\n        *,\n        {self.rank(table)} as version_rank\n    from {self.stored(table)}"
        return f"with versions as (\n{ranked}\n)\n\n", "from versions\nwhere version_rank = 1"

    def view(self, name: str, query: str) -> str:
        """The statement that makes a view."""
        return f"create or replace view {SCHEMA}.{name} as\n{query}{self.view_end}"

    def statements(self, tables: Iterable[Table] = TABLES.values()) -> Iterator[str]:
        """All statements in order, each without the semicolon."""
        yield from self.setup()
        make = {"parquet": self.files, "delta": self.delta, "iceberg": self.iceberg}[self.format]
        for table in tables:
            if made := make(table):
                yield made
            yield from self.views(table)

    def views(self, table: Table) -> Iterator[str]:
        """The view of a table in the types of the contract, by rule 2; and that of live events, by rule 3."""
        before, source = self.latest(table)
        columns = self.columns(table)
        typed = _listed([self.cast(name, kind) for name, kind in columns.items()])
        yield self.view(table.name, f"{before}select\n{typed}\n{source}")
        if table.name == "events":
            live = f"select\n{_listed(columns)}\nfrom {SCHEMA}.events\nwhere event_type is not null"
            yield self.view("live_events", live)


def _escaped(text: str) -> str:
    """A string literal in which a backslash escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _listed(items: Iterable[str]) -> str:
    return ",\n".join(f"    {item}" for item in items)


class Athena(Engine):
    """Amazon Athena, engine version 3. Its views hold no JSON and no time with a zone, nor may it cast one."""

    name = "Athena"
    places: ClassVar = {"s3": "s3://{bucket}/{path}"}
    schema = f"create database if not exists {SCHEMA}"
    types: ClassVar = {"text": "string", "bigint": "bigint", "boolean": "boolean"}
    time = "cast(substr(replace({}, 'T', ' '), 1, 26) as timestamp(6))"
    millis = "date_add('millisecond', {}, timestamp '1970-01-01 00:00:00.000')"
    stored_time = "cast(split_part(cast({} at time zone 'UTC' as varchar), ' UTC', 1) as timestamp(6))"

    def quoted(self, text: str) -> str:
        """Hive's way, as an address is said in statements of Hive's alone."""
        return _escaped(text)

    def _external(self, table: Table, columns: str, location: str, **properties: str) -> str:
        listed = ",\n".join(f"    '{name}' = {value}" for name, value in properties.items())
        return (
            f"create external table if not exists {self.stored(table)}{columns}\n"
            f"location {location}\ntblproperties (\n{listed}\n)"
        )

    def files(self, table: Table) -> str:
        """By partition projection, so that a new hour need not be added."""
        columns = f" (\n{_listed(self.column_types(table))}\n)\npartitioned by ({HOUR} string)\nstored as parquet"
        projected = {
            "type": "'date'",
            "format": "'yyyy-MM-dd HH:mm:ss'",
            "range": "'YOUR_FIRST_HOUR,NOW'",
            "interval": "'1'",
            "interval.unit": "'HOURS'",
        }
        properties = {f"projection.{HOUR}.{name}": value for name, value in projected.items()}
        properties["storage.location.template"] = self.at(table.folder, f"{HOUR_FOLDER}${{{HOUR}}}/")
        location = self.at(table.folder, "")
        return self._external(table, columns, location, **{"projection.enabled": "'true'"}, **properties)

    def delta(self, table: Table) -> str:
        """Athena reads the columns from the table."""
        return self._external(table, "", self.at(table.name, ""), table_type="'DELTA'")


class BigQuery(Engine):
    """BigQuery: Cloud Storage itself, and S3 and Azure by BigQuery Omni."""

    name = "BigQuery"
    places: ClassVar = {
        "gcs": "gs://{bucket}/{path}",
        "s3": "s3://{bucket}/{path}",
        "azure": "azure://{account}.blob.core.windows.net/{bucket}/{path}",
    }
    types: ClassVar = {"text": "string", "bigint": "int64", "boolean": "bool"}
    time = "safe_cast({} as timestamp)"
    millis = "timestamp_millis({})"
    json = "safe.parse_json({}, wide_number_mode => 'round')"
    has_catalog = False
    file = "_file_name"

    def quoted(self, text: str) -> str:
        """With backslashes."""
        return _escaped(text)

    def _external(
        self, table: Table, *options: str, columns: str = "", partitions: str = "", connects: bool = True
    ) -> str:
        connection = "\nwith connection `YOUR_CONNECTION`" if connects else ""
        return (
            f"create or replace external table {self.stored(table)}{columns}{connection}{partitions}\n"
            f"options (\n{_listed(options)}\n)"
        )

    def files(self, table: Table) -> str:
        """The hour by the options of hive partitioning."""
        return self._external(
            table,
            "format = 'PARQUET'",
            f"uris = [{self.at(table.folder, '*')}]",
            f"hive_partition_uri_prefix = {self.at(table.folder)}",
            columns=f" (\n{_listed(self.column_types(table))}\n)",
            partitions=f"\nwith partition columns ({HOUR} string)",
            connects=self.address.store != "gcs",
        )

    def delta(self, table: Table) -> str:
        """By a connection, whatever the store."""
        return self._external(table, "format = 'DELTA_LAKE'", f"uris = [{self.at(table.name)}]")

    def iceberg(self, table: Table) -> str:
        """By a file of metadata, which is one version of the table."""
        uri = self.at(table.name, "metadata", "YOUR_METADATA_FILE")
        return self._external(table, "format = 'ICEBERG'", f"uris = [{uri}]")


class DuckDB(Engine):
    """DuckDB: what is not a folder by an extension, or by a file system of fsspec."""

    name = "DuckDB"
    places: ClassVar = dict.fromkeys(("", "s3", "gcs", "azure"), "{text}")
    time = "try_cast({} as timestamptz)"
    millis = "make_timestamptz({} * 1000)"
    json = "try_cast({} as json)"
    has_catalog = False
    file = "filename"

    def reading(self, table: Table, source: str) -> str:
        """The statement that makes what the store holds of something that DuckDB reads."""
        return self.view(f"stored_{table.name}", f"select *\nfrom {source}")

    def files(self, table: Table) -> str:
        """With the place of each row, for its view."""
        arguments = (
            self.quoted(f"{_unglobbed(self.root)}/{table.folder}/{HOUR_FOLDER}*/*.parquet"),
            "hive_partitioning = true",
            f"hive_types = {{'{HOUR}': varchar}}",
            "filename = true",
            "file_row_number = true",
        )
        return self.reading(table, f"read_parquet(\n{_listed(arguments)}\n)")

    def delta(self, table: Table) -> str:
        """By the extension delta."""
        return self.reading(table, f"delta_scan({self.at(table.name)})")

    def iceberg(self, table: Table) -> str:
        """By the extension iceberg."""
        return self.reading(table, f"iceberg_scan({self.at(table.name)}, allow_moved_paths = true)")

    def latest(self, table: Table) -> tuple[str, str]:
        """By the place of the latest version: no properties are sorted, and a filter by time is one on the files."""
        if self.format != "parquet":
            return super().latest(table)
        number = "file_row_number"
        row, stored = f"({self.file}, {number})", self.stored(table)
        ranked = f"    select {row}\n    from {stored}\n    qualify\n        {self.rank(table, number)} = 1"
        return "", f"from {stored}\nwhere {row} in (\n{ranked}\n)"


def _unglobbed(text: str) -> str:
    """Text that a pattern of file names matches as it is."""
    return re.sub(r"([*?\[])", r"[\1]", text)


class Redshift(Engine):
    """Redshift Spectrum: all folders below an address are read, so that no hour need be added."""

    name = "Redshift"
    places: ClassVar = {"s3": "s3://{bucket}/{path}"}
    types: ClassVar = {"text": "varchar(65535)", "bigint": "bigint", "boolean": "boolean"}
    time = "cast({} as timestamptz)"
    millis = "timestamptz 'epoch' + {} * interval '0.001 second'"
    json = "case when can_json_parse({0}) then json_parse({0}) end"
    view_end = "\nwith no schema binding"

    def setup(self) -> Iterator[str]:
        """Tables over files have a schema of their own; an Iceberg table is in the Data Catalog."""
        yield self.schema
        database = "YOUR_NAMESPACE" if self.format == "iceberg" else SCHEMA
        making = "" if self.format == "iceberg" else "\ncreate external database if not exists"
        yield (
            f"create external schema if not exists {SCHEMA}_stored\nfrom data catalog\n"
            f"database '{database}'\niam_role 'YOUR_ROLE'{making}"
        )

    def stored(self, table: Table) -> str:
        """In the external schema."""
        return f"{SCHEMA}_stored.{table.name}"

    def files(self, table: Table) -> str:
        """Over the folder that has the hours."""
        columns = _listed(self.column_types(table))
        location = self.at(table.folder, "")
        return f"create external table {self.stored(table)} (\n{columns}\n)\nstored as parquet\nlocation {location}"

    def delta(self, table: Table) -> str:
        """It reads Delta by manifests alone, which Headrace does not write."""
        raise UsageError("Redshift reads no Delta table as it is: take --format iceberg or parquet")


class Snowflake(Engine):
    """Snowflake: times are TIMESTAMP_NTZ in UTC, as in the models."""

    name = "Snowflake"
    places: ClassVar = {
        "s3": "s3://{bucket}/{path}",
        "gcs": "gcs://{bucket}/{path}",
        "azure": "azure://{account}.blob.core.windows.net/{bucket}/{path}",
    }
    types: ClassVar = {"text": "varchar", "bigint": "number(38, 0)", "boolean": "boolean"}
    time = "try_to_timestamp_ntz({})"
    millis = "to_timestamp_ntz({}, 3)"
    stored_time = "cast(convert_timezone('UTC', {}) as timestamp_ntz)"
    json = "try_parse_json({})"
    has_catalog = False
    file = "metadata$filename"

    def quoted(self, text: str) -> str:
        """With backslashes doubled, too."""
        return super().quoted(text.replace("\\", "\\\\"))

    def setup(self) -> Iterator[str]:
        """Files are read by a stage."""
        yield self.schema
        if self.format == "parquet":
            yield (
                f"create stage if not exists {SCHEMA}.store\nurl = {self.at('')}\n"
                "storage_integration = YOUR_STORAGE_INTEGRATION"
            )

    def files(self, table: Table) -> str:
        """The hour by the name of the file."""
        typed = ((name, self.types[kind]) for name, kind in table.in_files.items())
        hour = f"split_part(split_part(metadata$filename, '{HOUR_FOLDER}', 2), '/', 1)"
        columns = [f"{name} {type_} as (value:{name}::{type_})" for name, type_ in typed]
        listed = _listed([*columns, f"{HOUR} varchar as ({hour})"])
        return (
            f"-- New files are seen after `alter external table {self.stored(table)} refresh`, or by auto_refresh.\n"
            f"create or replace external table {self.stored(table)} (\n{listed}\n)\npartition by ({HOUR})\n"
            f"location = @{SCHEMA}.store/{table.folder}/\nauto_refresh = false\nfile_format = (type = parquet)"
        )

    def _iceberg(self, table: Table, *where: str) -> str:
        options = ("external_volume = 'YOUR_EXTERNAL_VOLUME'", "catalog = 'YOUR_CATALOG_INTEGRATION'", *where)
        return "\n".join((f"create or replace iceberg table {self.stored(table)}", *options))

    def delta(self, table: Table) -> str:
        """As an Iceberg table on the files of a Delta table."""
        return self._iceberg(table, f"base_location = {self.quoted(table.name + '/')}", "auto_refresh = true")

    def iceberg(self, table: Table) -> str:
        """By the catalog that holds it."""
        return self._iceberg(
            table, "catalog_namespace = 'YOUR_NAMESPACE'", f"catalog_table_name = '{table.name}'", "auto_refresh = true"
        )


class Spark(Engine):
    """Spark 4 and Databricks, which have VARIANT."""

    name = "Spark"
    places: ClassVar = {
        "": "file://{text}",
        "s3": "s3a://{bucket}/{path}",
        "gcs": "gs://{bucket}/{path}",
        "azure": "abfss://{bucket}@{account}.dfs.core.windows.net/{path}",
    }
    types: ClassVar = {"text": "string", "bigint": "bigint", "boolean": "boolean"}
    time = "try_cast({} as timestamp)"
    millis = "timestamp_millis({})"
    json = "try_parse_json({})"
    file = "_metadata.file_path"

    def quoted(self, text: str) -> str:
        """With backslashes."""
        return _escaped(text)

    def files(self, table: Table) -> str:
        """Over all folders, so that no hour need be added; REFRESH TABLE has a session see new ones."""
        return (
            f"create table if not exists {self.stored(table)} (\n{_listed(self.column_types(table))}\n)\n"
            f"using parquet\noptions (\n    path {self.at(table.folder)},\n    recursiveFileLookup 'true'\n)"
        )

    def delta(self, table: Table) -> str:
        """Spark reads the columns from the table."""
        return f"create table if not exists {self.stored(table)}\nusing delta\nlocation {self.at(table.name)}"


class Trino(Engine):
    """Trino: the current catalog is of the connector hive for files, of delta_lake for Delta tables."""

    name = "Trino"
    places: ClassVar = {
        "s3": "s3://{bucket}/{path}",
        "gcs": "gs://{bucket}/{path}",
        "azure": "abfss://{bucket}@{account}.dfs.core.windows.net/{path}",
    }
    time = "try(cast(from_iso8601_timestamp_nanos({}) as timestamp(6) with time zone))"
    millis = "cast(from_unixtime_nanos({} * 1000000) as timestamp(6) with time zone)"
    json = "try(json_parse({}))"

    def files(self, table: Table) -> str:
        """By partition projection, so that a new hour need not be added."""
        projected = {
            "type": "'DATE'",
            "format": "'yyyy-MM-dd HH:mm:ss'",
            "range": "array['YOUR_FIRST_HOUR', 'NOW']",
            "interval": "1",
            "interval_unit": "'HOURS'",
        }
        hour = ",\n".join(f"        partition_projection_{name} = {value}" for name, value in projected.items())
        columns = _listed([*self.column_types(table), f"{HOUR} varchar with (\n{hour}\n    )"])
        options = (
            "format = 'PARQUET'",
            f"external_location = {self.at(table.folder, '')}",
            f"partitioned_by = array['{HOUR}']",
            "partition_projection_enabled = true",
            "partition_projection_location_template = " + self.at(table.folder, f"{HOUR_FOLDER}${{{HOUR}}}/"),
        )
        return f"create table if not exists {self.stored(table)} (\n{columns}\n)\nwith (\n{_listed(options)}\n)"

    def delta(self, table: Table) -> str:
        """By the procedure of the connector."""
        return (
            f"call system.register_table(\n    schema_name => '{SCHEMA}',\n    table_name => 'stored_{table.name}',\n"
            f"    table_location => {self.at(table.name)}\n)"
        )


ENGINES: dict[str, type[Engine]] = {
    engine.name.lower(): engine for engine in (Athena, BigQuery, DuckDB, Redshift, Snowflake, Spark, Trino)
}


def ddl(engine: str, address: str, fmt: Format) -> str:
    """The statements for an engine, with what is to be replaced in them named before.

    Raises:
        UsageError: the engine can't read such an address or format.
    """
    said = "\n\n".join(f"{one};" for one in ENGINES[engine](Address.of(address), fmt).statements())
    wanted = sorted(set(re.findall(r"\bYOUR_[A-Z_]+", said)))
    notes = "".join(f"--     {name}: {PLACEHOLDERS[name]}\n" for name in wanted)
    return (f"-- To be replaced:\n{notes}\n" if wanted else "") + said + "\n"
