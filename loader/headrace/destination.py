"""The dlt destination of a target: the login is the dbt adapter's own, so that what dbt can use the loader can use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import dlt
import duckdb
from dbt.adapters.factory import load_plugin
from dbt_common.dataclass_schema import ValidationError
from dbt_common.exceptions import DbtBaseException
from dlt.common.destination import AnyDestination
from fsspec.implementations.local import LocalFileSystem
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from .codes import lasts, refusal_of_file
from .errors import HeadraceError, LoadError, UsageError
from .target import Target

DUCKDB_SETTINGS = {"memory_limit": "192MB", "preserve_insertion_order": False, "force_compression": "zstd"}
"""For the loader's own connection. Staging is written once, read once and deleted: zstd is the quickest for JSON."""

CONNECT_SECONDS = 10
"""How long to try to connect, unless the profile's connect_timeout says it."""

RETRY_SECONDS = 10
"""How long BigQuery's client tries one call again. A package that fails in passing is tried again as a whole."""

NETWORK_SECONDS = 120
"""How long Snowflake's client tries one call again; it would for ever. A statement may take longer."""

ENVIRONMENT_OF_BIGQUERY = "BIGQUERY_EMULATOR_HOST"
"""How Google's client is told of an endpoint where dlt can't tell it; a private endpoint of the service works, too."""

SECRET = re.compile(r"password|pass|secret|token|private_key|passphrase|keyfile_json|access_key")


def destination(target: Target) -> AnyDestination:
    """Where dlt loads to.

    Raises:
        UsageError: the loader does not write to such a warehouse, its package is missing, or dlt can't log in the way
            that the profile says.
    """
    if target.type not in MAKERS:
        raise UsageError(
            f"target {target.name!r} is of type {target.type!r}; the loader writes to: {', '.join(MAKERS)}"
        )
    try:
        made: AnyDestination = MAKERS[target.type](target)
        return made
    except HeadraceError:
        raise
    except ImportError as error:
        raise UsageError(f"{target.label}: {error}: pip install 'headrace[{target.type}]'") from None
    except Exception as error:  # what reads the keys and tokens of a login has no exception in common
        said = f"{target.label}: the login in the profile can't be used: {words(target, error)}"
        raise (LoadError if lasts(error) is False else UsageError)(said) from error


@contextmanager
def reading(target: Target, folder: Path) -> Iterator[Any]:
    """Where dlt reads from, for who only reads: DuckDB makes no file then, and lets readers in together.

    Where there is no file yet, an empty one in a folder stands for it. One that a sync has locked is read as it goes.

    Raises:
        UsageError: as destination.
    """
    if target.type != "duckdb":
        yield destination(target)
        return
    path = Path(target.settings["path"])
    if not path.exists():
        yield destination(replace(target, settings={**target.settings, "path": str(folder / "empty.duckdb")}))
    elif _is_locked(path):
        with _past_locks(path) as connection:
            yield dlt.destinations.duckdb(credentials=connection)
    else:
        yield destination(replace(target, settings={**target.settings, "read_only": True}))


def _is_locked(path: Path) -> bool:
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
def _past_locks(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
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


def _duckdb(target: Target) -> Any:
    credentials = {
        "read_only": target.settings.get("read_only", False),
        "database": target.settings["path"],
        "global_config": {**DUCKDB_SETTINGS, **(target.settings.get("config_options") or {})},
    }
    return dlt.destinations.duckdb(credentials=credentials)


def lift_memory_limit(target: Target, pipeline: dlt.Pipeline) -> None:
    """Let DuckDB take what it takes by default, unless the profile says how much, when a load has failed.

    It commits the rows of an unfinished row group (122,880 rows) from memory, so texts of a megabyte each can need more
    than the loader's own limit.
    """
    if target.type == "duckdb" and "memory_limit" not in (target.settings.get("config_options") or {}):
        pipeline.destination.config_params["credentials"]["global_config"]["memory_limit"] = "80%"


def _bigquery(target: Target) -> Any:
    login = _login(target)
    from dbt.adapters.bigquery.credentials import create_google_credentials  # type: ignore[import-not-found, unused-ignore]
    from dlt.common.configuration.specs import GcpServiceAccountCredentials
    from dlt.common.configuration.specs.gcp_credentials import GcpDefaultCredentials

    if login.execution_project != login.database:
        raise _unmapped(target, "execution_project", "give the loader a target whose project is the one that pays")
    if login.api_endpoint:
        os.environ[ENVIRONMENT_OF_BIGQUERY] = login.api_endpoint
    google = create_google_credentials(login)
    if login.quota_project:
        google = google.with_quota_project(login.quota_project)
    credentials = GcpServiceAccountCredentials()
    GcpDefaultCredentials.parse_native_representation(credentials, google)
    credentials.project_id = login.database
    return dlt.destinations.bigquery(
        credentials=credentials,
        project_id=login.database,
        **({"location": login.location} if login.location else {}),
        retry_deadline=RETRY_SECONDS,
        enable_dataset_name_normalization=False,
    )


def _snowflake(target: Target) -> Any:
    login = _login(target)
    from dlt.destinations.impl.snowflake.configuration import SnowflakeCredentials

    arguments = login.auth_args()
    credentials = SnowflakeCredentials()
    credentials.host = login.account
    credentials.username = arguments.pop("user", None)
    credentials.password = arguments.pop("password", None)
    credentials.database, credentials.warehouse, credentials.role = login.database, login.warehouse, login.role
    is_key_pair = arguments["private_key"] is not None and not login.authenticator
    credentials.authenticator = "SNOWFLAKE_JWT" if is_key_pair else arguments.pop("authenticator", None)
    credentials.token = arguments.pop("token", None)
    credentials.query = {
        "login_timeout": login.connect_timeout or CONNECT_SECONDS,
        "network_timeout": NETWORK_SECONDS,
        "client_session_keep_alive": login.client_session_keep_alive,
        "insecure_mode": login.insecure_mode,
        "platform_detection_timeout_seconds": login.platform_detection_timeout_seconds,
        **{name: value for name, value in arguments.items() if value is not None},
    }
    return dlt.destinations.snowflake(
        credentials=credentials,
        keep_staged_files=False,
        query_tag=login.query_tag,
        enable_dataset_name_normalization=False,
    )


def _redshift(target: Target) -> Any:
    login = _login(target)
    from dlt.destinations.impl.redshift.configuration import RedshiftCredentials

    if login.role:
        raise _unmapped(target, "role", "grant what it may do to the user")
    credentials = RedshiftCredentials()
    credentials.host, credentials.port, credentials.database = login.host, login.port, login.database
    credentials.username, credentials.password = _redshift_user(target, login)
    credentials.connect_timeout = login.connect_timeout or CONNECT_SECONDS
    credentials.session_timezone = "UTC"
    credentials.query = {"sslmode": str(login.sslmode)}
    return dlt.destinations.redshift(credentials=credentials, enable_dataset_name_normalization=False)


def _redshift_user(target: Target, login: Any) -> tuple[str, str]:
    """User and password; with `iam` and `iam_role` AWS gives them for an hour."""
    if login.method == "database":
        return login.user, login.password
    if login.method not in ("iam", "iam_role"):
        raise _unmapped(target, f"method: {login.method}", "use `database`, `iam` or `iam_role`")
    import boto3

    session = boto3.Session(
        aws_access_key_id=login.access_key_id,
        aws_secret_access_key=login.secret_access_key,
        profile_name=login.iam_profile,
        region_name=login.region,
    )
    if login.is_serverless or "serverless" in login.host:
        workgroup = login.serverless_work_group or login.host.split(".")[0]
        given = session.client("redshift-serverless").get_credentials(
            workgroupName=workgroup, dbName=login.database, durationSeconds=3600
        )
        return given["dbUser"], given["dbPassword"]
    cluster = {
        "ClusterIdentifier": login.cluster_id or login.host.split(".")[0],
        "DbName": login.database,
        "DurationSeconds": 3600,
    }
    client = session.client("redshift")
    if login.method == "iam_role":
        given = client.get_cluster_credentials_with_iam(**cluster)
    else:
        given = client.get_cluster_credentials(
            **cluster, DbUser=login.user, AutoCreate=login.autocreate, DbGroups=login.db_groups
        )
    return given["DbUser"], given["DbPassword"]


MAKERS = {"duckdb": _duckdb, "bigquery": _bigquery, "snowflake": _snowflake, "redshift": _redshift}


def _login(target: Target) -> Any:
    """The output of the profile as the dbt adapter understands it."""
    try:
        adapter = load_plugin(target.type)
    except (DbtBaseException, ImportError):
        raise UsageError(
            f"{target.label}: the packages for it are not installed: pip install 'headrace[{target.type}]'"
        ) from None
    settings = {name: value for name, value in target.settings.items() if name not in ("type", "threads")}
    try:
        known = adapter.translate_aliases(settings)
        adapter.validate(known)
        return adapter.from_dict(known)
    except ValidationError as error:
        # Its own words hold the value where that is of a wrong type.
        what = error.message if error.validator in ("required", "additionalProperties") else "is of a wrong type"
        where = "".join(f"{name} " for name in error.path)
        raise UsageError(f"{target.label}: the profile can't be used: {where}{what}") from None


def _unmapped(target: Target, what: str, instead: str) -> UsageError:
    return UsageError(f"{target.label}: the loader can't log in with {what!r} as dbt does; {instead}")


def failure(target: Target, error: BaseException, connecting: bool = False) -> HeadraceError:
    """What a destination raised, as an error of ours that says whether running it again may help."""
    answers = chain([error], _asked_again(target) if connecting else ())
    is_lasting = next((verdict for one in answers if (verdict := lasts(one)) is not None), False)
    said = f"can't connect: {words(target, error)}" if connecting else words(target, error)
    return (UsageError if is_lasting else LoadError)(f"{target.label}: {said}")


def _asked_again(target: Target) -> Iterator[BaseException]:
    """Why there is no connection, from who carries a code where the client that was used has words alone."""
    if target.type == "duckdb" and (refusal := refusal_of_file(Path(target.settings["path"]))):
        yield refusal
    elif target.type == "redshift":  # psycopg2 keeps no SQLSTATE of a refused login, the driver of dbt does
        from dbt.adapters.redshift.connections import get_connection_method  # type: ignore[import-not-found, unused-ignore]

        try:
            login = _login(target)
            user, password = _redshift_user(target, login)
            seconds = login.connect_timeout or CONNECT_SECONDS
            get_connection_method(
                replace(login, method="database", user=user, password=password, connect_timeout=seconds)
            )().close()
        except Exception as error:
            yield error


def words(target: Target, error: BaseException) -> str:
    """The words of what an exception came from, in one line and without the secrets of the profile."""
    while cause := error.__cause__ or getattr(error, "inner_exc", None):
        error = cause
    return hidden(target, str(error))[:500] or type(error).__name__


def hidden(target: Target, said: str) -> str:
    """Words in one line, without the secrets of the profile."""
    said = " ".join(said.split())
    for secret in sorted(_secrets(target.settings), key=len, reverse=True):
        said = said.replace(" ".join(secret.split()), "***")
    return said


def _secrets(settings: Any, is_secret: bool = False) -> Iterator[str]:
    if isinstance(settings, dict):
        for name, value in settings.items():
            yield from _secrets(value, is_secret or bool(SECRET.search(str(name))))
    elif is_secret and settings and len(str(settings)) > 3:
        yield str(settings)
