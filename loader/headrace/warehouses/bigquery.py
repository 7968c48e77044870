"""BigQuery."""

from __future__ import annotations

import os
import re
from typing import Any, ClassVar

import dlt

from ..failures import names_of
from .base import Warehouse

RETRY_SECONDS = 10
"""How long the client tries one call again. A package that fails in passing is tried again as a whole."""

ENDPOINT = "BIGQUERY_EMULATOR_HOST"
"""How Google's client is told of an endpoint where dlt can't tell it; a private endpoint of the service works, too."""

NOT_NOW = {"rateLimitExceeded", "quotaExceeded", "jobRateLimitExceeded", "backendError"}
"""Reasons that it gives with a status of its own, 403, which else means that something is forbidden."""

LASTING_NAMES = {"DefaultCredentialsError", "RefreshError"}
PASSING_NAMES = {"RetryError", "TransportError"}
"""Classes of Google's client that carry no code; by name, as it need not be installed."""


class BigQuery(Warehouse):
    """A dataset of BigQuery."""

    json_text: ClassVar = "to_json_string({})"

    text_type = "string"
    time_type = "timestamp"
    principal = re.compile(r"(user|group|serviceAccount|domain|principal|principalSet):[^\s\"'\\]+")
    principal_words = "a principal such as group:product@example.com"

    def connect(self) -> Any:
        """With Google's credentials as the adapter makes them."""
        login = self.login()
        from dbt.adapters.bigquery.credentials import create_google_credentials  # type: ignore[import-not-found, unused-ignore]
        from dlt.common.configuration.specs import GcpServiceAccountCredentials
        from dlt.common.configuration.specs.gcp_credentials import GcpDefaultCredentials

        if login.execution_project != login.database:
            raise self.unmapped("execution_project", "give the loader a target whose project is the one that pays")
        if login.api_endpoint:
            os.environ[ENDPOINT] = login.api_endpoint
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

    @staticmethod
    def verdict(error: BaseException) -> bool | None:
        """By the reason that is given with a status, or by the class."""
        reasons = {one.get("reason") for one in getattr(error, "errors", None) or () if isinstance(one, dict)}
        if reasons & NOT_NOW:
            return False
        names = names_of(error)
        if names & LASTING_NAMES:
            return not getattr(error, "retryable", False)
        return False if names & PASSING_NAMES else None
