"""Snowflake."""

from __future__ import annotations

from typing import Any, ClassVar

import dlt

from ..failures import LASTING_STATES, chain
from .base import CONNECT_SECONDS, Warehouse

NETWORK_SECONDS = 120
"""How long the client tries one call again; it would for ever. A statement may take longer."""

SESSION_ENDED = range(390110, 390116)
"""What it says of a session or a token of its own that has ended: the next one is a new one."""

LASTING_NUMBERS = {
    606,  # no warehouse
    2003,  # no such object, or none that the role may see
    2043,
    3001,  # no such privilege
    90105,  # no database
    90106,  # no schema
    *set(range(390100, 390500)).difference(SESSION_ENDED),  # the login is refused
    *range(251001, 251010),  # something is missing in the login, or none of a kind that works
    250007,
    290401,
    290403,
    290404,  # no such account
}
"""The numbers of errors that stay until somebody changes the profile, the grants or what is there."""

NO_SCHEMA = 90106
"""How it says that the schema is not there yet."""


class Snowflake(Warehouse):
    """A schema of Snowflake."""

    json_text: ClassVar = "to_json({})"

    time_type = "timestamp_tz"

    def connect(self) -> Any:
        """With the arguments that the adapter hands to Snowflake's connector."""
        login = self.login()
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

    @classmethod
    def is_missing(cls, error: BaseException) -> bool:
        """Also by the number for a session without a schema, which dlt does not know."""
        return super().is_missing(error) or NO_SCHEMA in map(_number, chain(error))

    @staticmethod
    def verdict(error: BaseException) -> bool | None:
        """By its number, and by the SQLSTATE beside it."""
        if (found := _number(error)) is None:
            return None
        state = getattr(error, "sqlstate", None) or ""
        if found in LASTING_NUMBERS or state.startswith(LASTING_STATES):
            return True
        # Who may not log in from here is answered with a status alone, under the number of those that can't be reached.
        return True if type(error).__name__ == "ForbiddenError" else False if found > 0 else None


def _number(error: BaseException) -> int | None:
    """The number of an error that Snowflake's connector raised."""
    is_own = type(error).__module__.partition(".")[0] == "snowflake"
    return getattr(error, "errno", None) if is_own else None
