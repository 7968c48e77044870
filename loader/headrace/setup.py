"""The grants that loader, dbt and readers need on a warehouse, as SQL, from the template in warehouses/."""

from __future__ import annotations

from string import Template

from dlt.common.destination.exceptions import DestinationException

from .errors import UsageError
from .failures import THERE_ALREADY, sqlstate
from .pipeline import connected
from .target import Target
from .warehouses import WAREHOUSES, grants_of, warehouse_of


def grants(target: Target, loader: str, dbt: str, reader: str) -> str:
    """The SQL for a target.

    Args:
        target: its schema, and the two that are published beside it.
        loader: who loads: a role on Snowflake, a user on Redshift, a principal such as `serviceAccount:…` on BigQuery.
        dbt: who builds, likewise.
        reader: who reads the published schemas: a role on Snowflake and Redshift, a principal on BigQuery.

    Raises:
        UsageError: there is nothing to grant, or a name is none.
    """
    warehouse, template = warehouse_of(target), grants_of(target.type)
    if template is None:
        others = ", ".join(filter(grants_of, WAREHOUSES))
        raise UsageError(f"{target.label}: there are no roles to set up; there are on {others}")
    for option, name in (("--loader", loader), ("--dbt", dbt), ("--reader", reader)):
        if not warehouse.principal.fullmatch(name):
            raise UsageError(f"{target.label}: {option} must be {warehouse.principal_words}, not {name!r}")
    settings = target.settings
    return Template(template).substitute(
        database=settings.get("database") or settings.get("dbname") or settings.get("project"),
        warehouse=settings.get("warehouse"),
        schema=target.schema,
        loader=loader,
        dbt=dbt,
        reader=reader,
    )


def apply(target: Target, sql: str) -> int:
    """Run the statements of `grants`, and say how many; what is there already stays.

    Raises:
        HeadraceError: the login of the target may not do that.
    """
    lines = [line for line in sql.splitlines() if not line.startswith("--")]
    statements = [" ".join(one.split()) for one in "\n".join(lines).split(";") if one.strip()]
    with connected(target) as pipeline, pipeline.sql_client() as client:
        for statement in statements:
            try:
                client.execute_sql(statement)
            except DestinationException as error:
                if sqlstate(error) not in THERE_ALREADY:
                    raise
    return len(statements)
