"""What a failure says: in words for people, and in codes whether it passes or lasts.

Codes are what drivers and clients carry: an SQLSTATE, an HTTP status, an errno. Words differ by version and language,
and may quote what a visitor typed.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.destination.exceptions import DestinationUndefinedEntity

from .target import Target

LASTING_STATES = (
    "28",  # the login is refused
    "3D",  # no such database
    "3F",  # no such schema
    "42501",  # no such privilege
    "42P01",  # no such table
    "42S02",  # the same on Snowflake, or none that the role may see
)
"""Beginnings of the SQLSTATEs that stay until somebody changes the profile, the grants or what is there."""

THERE_ALREADY = ("42710", "42P06")
"""The SQLSTATEs of a user, role or schema that is to be made a second time."""

LASTING_STATUSES = {401, 403, 404, 407}
PASSING_STATUSES = {408, 425, 429}

LASTING_ERRNOS = {
    getattr(errno, name) for name in ("ENOENT", "EACCES", "EPERM", "EISDIR", "ENOTDIR", "EROFS", "ENAMETOOLONG")
}

PASSING_NAMES = {"ConnectionError", "TimeoutError"}
"""Classes, of whatever package, that carry no code."""


def lasts(error: BaseException, own: Callable[[BaseException], bool | None] = lambda _: None) -> bool | None:
    """Whether a failure stays until somebody changes the profile, the grants or what is there.

    Args:
        error: what was raised.
        own: the same of one exception, by the codes of one warehouse's clients; it is asked first.

    Returns:
        False when the same call may go well next time; None when nothing in the exception, or in what it came from,
        carries a code.
    """
    verdicts = (ask(one) for one in chain(error) for ask in (own, _lasts))
    return next((verdict for verdict in verdicts if verdict is not None), None)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, and the others that it came from or holds, the nearest first."""
    found = [error]
    for one in found:  # grows on the way
        yield one
        held = [getattr(one, name, None) for name in ("inner_exc", "dbapi_exception", "client_exception", "exception")]
        for other in (one.__cause__, *held, getattr(one, "cause", None), *one.args):
            if isinstance(other, BaseException) and not any(other is known for known in found):
                found.append(other)


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE that PostgreSQL or Redshift gave, where there is one."""
    return next((state for one in chain(error) if (state := _sqlstate(one))), None)


def names_of(error: BaseException) -> set[str]:
    """The names of an exception's classes."""
    return {kind.__name__ for kind in type(error).__mro__}


def words(target: Target, error: BaseException) -> str:
    """The words of what an exception came from, in one line and without the secrets of the profile."""
    while cause := error.__cause__ or getattr(error, "inner_exc", None):
        error = cause
    return target.hidden(str(error))[:500] or type(error).__name__


def _lasts(error: BaseException) -> bool | None:
    """What one exception says by itself."""
    if state := _sqlstate(error):
        return state.startswith(LASTING_STATES)
    if (status := _http_status(error)) is not None:
        return status in LASTING_STATUSES or (False if status in PASSING_STATUSES or status >= 500 else None)
    if isinstance(error, (ConfigurationException, DestinationUndefinedEntity)):
        return True
    if isinstance(error, OSError):
        return error.errno in LASTING_ERRNOS
    return False if names_of(error) & PASSING_NAMES else None


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
