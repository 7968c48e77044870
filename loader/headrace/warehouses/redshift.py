"""Redshift, from a bucket or by INSERT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import dlt

from ..failures import names_of
from .base import CONNECT_SECONDS, Warehouse

INSERTED_ROWS = 10_000
"""More rows than that in one load are worth a staging bucket."""

LASTING_NAMES = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}
PASSING_NAMES = {"HTTPClientError"}
"""Classes of Amazon's client that carry no code; by name, as it need not be installed."""


class Redshift(Warehouse):
    """A schema of Redshift."""

    json_text: ClassVar = "json_serialize({})"

    max_text_bytes = 65_535

    def connect(self) -> Any:
        """With user and password, as dlt and dbt use different drivers here."""
        login = self.login()
        from dlt.destinations.impl.redshift.configuration import RedshiftCredentials

        if login.role:
            raise self.unmapped("role", "grant what it may do to the user")
        credentials = RedshiftCredentials()
        credentials.host, credentials.port, credentials.database = login.host, login.port, login.database
        credentials.username, credentials.password = self._user(login)
        credentials.connect_timeout = login.connect_timeout or CONNECT_SECONDS
        credentials.session_timezone = "UTC"
        credentials.query = {"sslmode": str(login.sslmode)}
        return dlt.destinations.redshift(credentials=credentials, enable_dataset_name_normalization=False)

    def _user(self, login: Any) -> tuple[str, str]:
        """User and password; with `iam` and `iam_role` AWS gives them for an hour."""
        if login.method == "database":
            return login.user, login.password
        if login.method not in ("iam", "iam_role"):
            raise self.unmapped(f"method: {login.method}", "use `database`, `iam` or `iam_role`")
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

    @property
    def staging(self) -> str | None:
        """S3, for it to copy the files from there, when dlt has been told of a bucket."""
        return "filesystem" if dlt.config.get("destination.filesystem.bucket_url") else None

    @property
    def by_insert(self) -> bool:
        """Without a bucket: dlt has no other way then."""
        return self.staging is None

    def advice(self, inserted: int) -> list[str]:
        """To give it a bucket."""
        if inserted <= INSERTED_ROWS:
            return []
        return [
            f"{inserted:,} rows went by INSERT, which is slow: "
            "set DESTINATION__FILESYSTEM__BUCKET_URL to an S3 folder, for Redshift to copy them from there"
        ]

    @staticmethod
    def verdict(error: BaseException) -> bool | None:
        """By the class."""
        names = names_of(error)
        return True if names & LASTING_NAMES else False if names & PASSING_NAMES else None

    def refusals(self) -> Iterator[BaseException]:
        """What the driver of dbt says: psycopg2, which dlt uses, keeps no SQLSTATE of a refused login."""
        from dbt.adapters.redshift.connections import get_connection_method  # type: ignore[import-not-found, unused-ignore]

        try:
            login = self.login()
            user, password = self._user(login)
            seconds = login.connect_timeout or CONNECT_SECONDS
            get_connection_method(
                replace(login, method="database", user=user, password=password, connect_timeout=seconds)
            )().close()
        except Exception as error:
            yield error
