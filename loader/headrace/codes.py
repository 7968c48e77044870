"""Whether a failure passes or lasts, by what drivers and clients carry: an SQLSTATE, an error number, an HTTP status.

Their words are for people: they differ by version and language, and may quote what a visitor typed.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.destination.exceptions import DestinationUndefinedEntity

LASTING_STATES = (
    "28",  # the login is refused
    "3D",  # no such database
    "3F",  # no such schema
    "42501",  # no such privilege
    "42P01",  # no such table
    "42S02",  # the same on Snowflake, or none that the role may see
)
"""Beginnings of the SQLSTATEs that stay until somebody changes the profile, the grants or what is there."""

SESSION_ENDED = range(390110, 390116)
"""What Snowflake says of a session or a token of its own that has ended: the next one is a new one."""

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
"""Error numbers of Snowflake, likewise."""

NO_SCHEMA = 90106
"""How Snowflake says that the schema is not there yet."""

THERE_ALREADY = ("42710", "42P06")
"""The SQLSTATEs of a user, role or schema that is to be made a second time."""

LASTING_STATUSES = {401, 403, 404, 407}
PASSING_STATUSES = {408, 425, 429}
NOT_NOW = {"rateLimitExceeded", "quotaExceeded", "jobRateLimitExceeded", "backendError"}
"""Reasons that BigQuery gives with a status of its own, 403."""

LASTING_ERRNOS = {
    getattr(errno, name) for name in ("ENOENT", "EACCES", "EPERM", "EISDIR", "ENOTDIR", "EROFS", "ENAMETOOLONG")
}

LASTING_NAMES = {
    "ConfigurationException",
    "DefaultCredentialsError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "RefreshError",
}
PASSING_NAMES = {"ConnectionError", "HTTPClientError", "RetryError", "TimeoutError", "TransportError"}
"""Classes of Google's and Amazon's clients that carry no code; by name, as their packages need not be installed."""


def lasts(error: BaseException) -> bool | None:
    """Whether a failure stays until somebody changes the profile, the grants or what is there.

    Returns:
        False when the same call may go well next time; None when nothing in the exception, or in what it came from,
        carries a code.
    """
    return next((verdict for one in chain(error) if (verdict := _lasts(one)) is not None), None)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, and the others that it came from or holds, the nearest first."""
    found = [error]
    for one in found:  # grows on the way
        yield one
        held = [getattr(one, name, None) for name in ("inner_exc", "dbapi_exception", "client_exception", "exception")]
        for other in (one.__cause__, *held, getattr(one, "cause", None), *one.args):
            if isinstance(other, BaseException) and not any(other is known for known in found):
                found.append(other)


def number(error: BaseException) -> int | None:
    """Snowflake's error number, where there is one."""
    return next((one.errno for one in chain(error) if _is_of(one, "snowflake")), None)  # type: ignore[attr-defined]


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE of Redshift, where there is one."""
    return next((state for one in chain(error) if (state := _sqlstate(one))), None)


def _lasts(error: BaseException) -> bool | None:
    """What one exception says by itself."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if _is_of(error, "snowflake"):
        return _lasts_on_snowflake(error)
    if state := _sqlstate(error):
        return state.startswith(LASTING_STATES)
    if (status := _http_status(error)) is not None:
        reasons = {one.get("reason") for one in getattr(error, "errors", None) or () if isinstance(one, dict)}
        if status in LASTING_STATUSES:
            return not reasons & NOT_NOW
        return False if status in PASSING_STATUSES or status >= 500 else None
    if isinstance(error, (ConfigurationException, DestinationUndefinedEntity)):
        return True
    if names & LASTING_NAMES:
        return not getattr(error, "retryable", False)
    if isinstance(error, OSError):
        return error.errno in LASTING_ERRNOS
    return False if names & PASSING_NAMES else None


def _is_of(error: BaseException, package: str) -> bool:
    return type(error).__module__.partition(".")[0] == package and hasattr(error, "errno")


def _lasts_on_snowflake(error: BaseException) -> bool | None:
    found, state = error.errno, error.sqlstate or ""  # type: ignore[attr-defined]
    if found in LASTING_NUMBERS or state.startswith(LASTING_STATES):
        return True
    # Who may not log in from here is answered with a status alone, under the number of those that can't be reached.
    return True if type(error).__name__ == "ForbiddenError" else False if found > 0 else None


def _sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE of psycopg2 or of redshift_connector, which hands on the fields of the server's answer."""
    if state := getattr(error, "pgcode", None):
        return str(state)
    fields = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    return str(fields["C"]) if "C" in fields else None


def _http_status(error: BaseException) -> int | None:
    """The status that Google's and Amazon's clients carry."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        code = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        code = getattr(error, "code", None)
    return int(code) if isinstance(code, int) else None


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
