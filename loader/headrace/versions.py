"""The versions of headrace that have written to a schema, so that an older one leaves alone what it does not know."""

from __future__ import annotations

import dlt
from packaging.version import Version

from . import __version__
from .errors import UsageError
from .pipeline import client_of, disconnect, query
from .target import Target
from .warehouses import warehouse_of


def claim(pipeline: dlt.Pipeline, target: Target) -> None:
    """Write down that this version writes here from now on.

    Tables of an earlier version need nothing more: dlt adds the columns of staging that are missing, and a build makes
    anew what it must (macros/upgrade.sql).

    Raises:
        UsageError: a newer version has written here.
    """
    found = [version for (version,) in query(pipeline, "select version from versions")]
    newest = max(found, key=Version, default=__version__)
    if Version(newest) > Version(__version__):
        raise UsageError(
            f"{target.label}: headrace {newest} has written here, and this is {__version__}, which does not know its "
            f"tables: install headrace {newest} or newer; docs/upgrade.md says how to go back"
        )
    if __version__ in found:
        return
    with client_of(pipeline) as client:
        if not client.has_dataset():
            client.create_dataset()
            disconnect(pipeline)  # a connection does not see the schema that is made later
    warehouse = warehouse_of(target)
    with client_of(pipeline) as client:
        client.execute_sql(f"create table if not exists versions (version {warehouse.text_type})")
        client.execute_sql("insert into versions values (%s)", __version__)
