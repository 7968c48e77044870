"""The dlt destination of a target: the login is the dbt adapter's own, so that what dbt can use the loader can use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import dlt
from dbt.adapters.factory import load_plugin
from dbt_common.dataclass_schema import ValidationError
from dbt_common.exceptions import DbtBaseException
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.destination import AnyDestination
from dlt.common.destination.exceptions import DestinationUndefinedEntity

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
DENIED = re.compile(
    r"insufficient privilege|permission denied|access ?denied|not authorized|must be owner|access control|\b403\b", re.I
)
MISSING = re.compile(r"does not have a current (database|schema)|(project|database|warehouse)\b.*\bnot exist", re.I)


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
        raise UsageError(f"{target.label}: the login in the profile can't be used: {words(target, error)}") from error


def _duckdb(target: Target) -> Any:
    credentials = {
        "database": target.settings["path"],
        "global_config": {**DUCKDB_SETTINGS, **(target.settings.get("config_options") or {})},
    }
    return dlt.destinations.duckdb(credentials=credentials)


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
    said = words(target, error)
    if connecting:
        return UsageError(f"{target.label}: can't connect: {said}")
    if isinstance(error, DestinationUndefinedEntity) or DENIED.search(said) or MISSING.search(said):
        return UsageError(f"{target.label}: {said}")
    if isinstance(error, ConfigurationException):
        return UsageError(f"{target.label}: {said}")
    return LoadError(f"{target.label}: {said}")


def words(target: Target, error: BaseException) -> str:
    """The words of what an exception came from, in one line and without the secrets of the profile."""
    while cause := error.__cause__ or getattr(error, "inner_exc", None):
        error = cause
    said = " ".join(str(error).split()) or type(error).__name__
    for secret in sorted(_secrets(target.settings), key=len, reverse=True):
        said = said.replace(" ".join(secret.split()), "***")
    return said[:500]


def _secrets(settings: Any, is_secret: bool = False) -> Iterator[str]:
    if isinstance(settings, dict):
        for name, value in settings.items():
            yield from _secrets(value, is_secret or bool(SECRET.search(str(name))))
    elif is_secret and settings and len(str(settings)) > 3:
        yield str(settings)
