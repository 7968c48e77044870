"""Snowflake's stand-in: fakesnow 0.12.1 on DuckDB, and what dbt and dlt need besides.

It has one user, `loader` with the password `secret`, one database, ANALYTICS, and a role READER that may only read.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import signal
import sys
import threading
import traceback
from importlib import import_module
from typing import Any

import duckdb
import fakesnow
import pyarrow as pa
import sqlglot
from fakesnow import arrow, copy_into, cursor, info_schema, instance, transforms
from snowflake.connector import errors
from sqlglot import exp
from sqlglot.tokens import TokenType
from starlette.responses import JSONResponse
from starlette.routing import Route

serve = fakesnow.server  # before the module of that name takes its place
server = import_module("fakesnow.server")
merge = import_module("fakesnow.transforms.merge")

USER, PASSWORD, DATABASE = "loader", "secret", "ANALYTICS"

Cursor = cursor.FakeSnowflakeCursor
COPY = re.compile(
    r"\s*COPY\s+INTO\s+(\S+)\s+FROM\s+'@([^']+)'\s*FILE_FORMAT\s*=\s*\((.*?)\)\s*MATCH_BY_COLUMN_NAME\s*=\s*'(\w+)'",
    re.DOTALL | re.IGNORECASE,
)
STAGED = re.compile(r"\s*(PUT|REMOVE|LIST)\b", re.IGNORECASE)
READS = re.compile(r"\s*(/\*.*?\*/\s*)*(select|with|show|describe|use|alter\s+session)\b", re.DOTALL | re.IGNORECASE)
roles: dict[str, str] = {}


def statements(sql: str) -> list[str]:
    """What dlt sends as one request."""
    if ";" not in sql:
        return [sql]
    found, start = [], 0
    for token in sqlglot.tokenize(sql, read="snowflake"):
        if token.token_type == TokenType.SEMICOLON:
            found.append(sql[start : token.start])
            start = token.end + 1
    return [one for one in [*found, sql[start:]] if one.strip() and sqlglot.tokenize(one, read="snowflake")] or [sql]


def unquoted_stage(sql: str) -> str:
    return re.sub(r"'(@[^']+)'", lambda found: found[1].replace('"', ""), sql) if STAGED.match(sql) else sql


def copy(self: Any, table: str, source: str, file_format: str) -> Any:
    """COPY INTO a table from its stage, by the names of the columns."""
    duck, connection = self._duck_conn, self._conn
    parsed = sqlglot.parse_one(table, into=exp.Table, read="snowflake").transform(
        transforms.upper_case_unquoted_identifiers
    )
    path = copy_into.stage_url_from_var(
        source.replace('"', ""), duck, connection.database, connection.schema, connection.table_stages, parsed
    )
    name, file = parsed.sql(dialect="duckdb"), exp.Literal.string(path).sql()
    columns = [(row[0], row[1]) for row in duck.execute(f"DESCRIBE {name}").fetchall()]
    if "PARQUET" in file_format.upper():
        relation = f"read_parquet({file})"
        there = {row[0].upper(): row[0] for row in duck.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
        # Snowflake loads a string of Parquet into VARIANT as a string, it does not parse it.
        values = {
            column: f'to_json("{there[column.upper()]}")' if kind == "JSON" else f'"{there[column.upper()]}"::{kind}'
            for column, kind in columns
            if column.upper() in there
        }
    else:
        relation = f"read_json_objects({file}, format = 'newline_delimited')"
        keys = duck.execute(f"SELECT DISTINCT unnest(json_keys(json)) FROM {relation}").fetchall()
        there = {key.upper(): f'$."{key}"' for (key,) in keys}
        values = {
            column: f"NULLIF(json_extract(json, '{there[column.upper()]}')::VARCHAR, 'null')::JSON"
            if kind == "JSON"
            else f"json_extract_string(json, '{there[column.upper()]}')::{kind}"
            for column, kind in columns
            if column.upper() in there
        }
    quoted = ", ".join(f'"{column}"' for column in values)
    insert = f"INSERT INTO {name} ({quoted}) SELECT {', '.join(values.values())} FROM {relation}"
    self._execute(sqlglot.parse_one(insert, read="duckdb"))
    loaded = (
        f"SELECT {file} AS file, 'LOADED' AS status, {self._rowcount} AS rows_parsed, {self._rowcount} AS rows_loaded"
    )
    self._execute(sqlglot.parse_one(loaded, read="duckdb"))
    return self


original_execute = Cursor.execute


def execute(self: Any, command: str, params: Any = None, *rest: Any, **named: Any) -> Any:
    """Statements one by one; a fault of ours is an error of SQL, since the connector retries HTTP 500 for ever."""
    try:
        for one in (parts := statements(command))[:-1]:
            execute(self, one, params, *rest, **named)
        if found := COPY.match(parts[-1]):
            return copy(self, found[1], found[2], found[3])
        if re.match(r"\s*REMOVE\b", parts[-1], re.IGNORECASE):
            return original_execute(self, "select 'removed' as result", None, *rest, **named)
        return original_execute(self, unquoted_stage(parts[-1]), params, *rest, **named)
    except errors.ProgrammingError as error:
        if error.errno == 2003 and "not authorized" not in error.msg:  # the words that dbt and dlt look for
            words = getattr(error, "raw_msg", error.msg)
            raise errors.ProgrammingError(
                msg=f"SQL compilation error:\n{words} (does not exist or not authorized)", errno=2003, sqlstate="42S02"
            ) from error
        raise
    except errors.Error:
        raise
    except Exception as error:
        traceback.print_exc()
        raise errors.ProgrammingError(msg=f"{type(error).__name__}: {error}", errno=9998, sqlstate="99998") from error


Cursor.execute = execute

# The server parses a request once more for its kind.
original_parse = server.parse_one
server.parse_one = lambda sql: original_parse(unquoted_stage(statements(sql)[-1]))

# A comment on several columns (persist_docs) is no statement that fakesnow knows.
server.shared_fs = instance.FakeSnow(
    create_database_on_connect=False,
    create_schema_on_connect=False,
    nop_regexes=[
        r"\s*alter\s+(table|view)\s+\S+\s+alter\s+\"?\w+\"?\s+comment\b",
        r"\s*(grant|revoke|create\s+role)\b",
    ],
)

# An apostrophe in the comment of a table.
original_comment = info_schema.insert_table_comment_sql
info_schema.insert_table_comment_sql = lambda catalog, schema, table, comment: original_comment(
    catalog, schema, table, (comment or "").replace("'", "''")
)

original_transform = Cursor._transform


def transform(self: Any, expression: Any, params: Any) -> Any:
    """Temporary tables with a qualified name are permanent; a VARIANT that is compared with a string becomes one.

    Snowflake asks a VARIANT what it holds by a function per kind.
    """
    for function in list(expression.find_all(exp.Anonymous)):
        if (name := function.name.upper()) in ("IS_OBJECT", "IS_ARRAY"):
            kind = exp.Anonymous(this="json_type", expressions=[function.expressions[0].copy()])
            function.replace(exp.Paren(this=exp.EQ(this=kind, expression=exp.Literal.string(name[3:]))))
    if isinstance(expression, exp.Create) and (properties := expression.args.get("properties")):
        table = expression.find(exp.Table)
        if table and table.db:
            kept = [one for one in properties.expressions if not isinstance(one, exp.TemporaryProperty)]
            properties.set("expressions", kept)
    for comparison in list(expression.find_all(exp.EQ, exp.NEQ)):
        for left, right in (("this", "expression"), ("expression", "this")):
            path, value = comparison.args.get(left), comparison.args.get(right)
            if isinstance(path, (exp.JSONExtract, exp.Bracket)) and isinstance(value, exp.Literal) and value.is_string:
                comparison.set(left, exp.cast(path, "text"))
    return original_transform(self, expression, params)


Cursor._transform = transform

original_create = transforms.create_table_as


def create_table_as(expression: Any, duck: Any) -> Any:
    """CREATE TABLE with columns AS SELECT * FROM (a query): name what the star holds, before DuckDB is asked for it."""
    query = expression.expression if isinstance(expression, exp.Create) else None
    if isinstance(query, (exp.Select, exp.Subquery)) and isinstance(expression.this, exp.Schema):
        select = query.unnest()
        source = select.args.get("from_") or select.args.get("from")
        if (
            source
            and isinstance(source.this, exp.Subquery)
            and any(isinstance(x, exp.Star) for x in select.expressions)
        ):
            select.set("expressions", [exp.column(name) for name in source.this.unnest().named_selects])
    return original_create(expression, duck)


transforms.create_table_as = create_table_as

# MERGE is DuckDB's own.
transforms.merge = lambda expression: [expression]
original_run = Cursor._execute


def run(self: Any, transformed: Any, params: Any = None) -> Any:
    if not isinstance(transformed, exp.Merge):
        return original_run(self, transformed, params)
    for when in transformed.args["whens"].expressions:
        then = when.args.get("then")
        for assignment in then.expressions if isinstance(then, exp.Update) else []:
            if isinstance(assignment.this, exp.Column):
                assignment.this.set("table", None)
    try:
        merged = self._duck_conn.execute(transformed.sql(dialect="duckdb") + " RETURNING merge_action", params)
        actions = [row[0] for row in merged.fetchall()]
    except duckdb.Error as error:
        raise errors.ProgrammingError(msg=str(error), errno=1003, sqlstate="42000") from error
    names = {"inserted": "INSERT", "updated": "UPDATE", "deleted": "DELETE"}
    counts = [
        f'{actions.count(names[operation])} AS "number of rows {operation}"'
        for operation, is_there in merge.operations(transformed).items()
        if is_there
    ]
    counted = sqlglot.parse_one(f"SELECT {', '.join(counts)}")
    counted.set("merge_counts", True)
    return original_run(self, counted, None)


Cursor._execute = run

# A NULL among timestamps would be read as 1970-01-01.
original_struct = arrow.timestamp_to_sf_struct


def timestamp_struct(times: Any) -> Any:
    if isinstance(times, pa.ChunkedArray):
        times = times.combine_chunks()
    found = original_struct(times)
    if not times.null_count:
        return found
    return pa.StructArray.from_arrays(
        [column.fill_null(0) for column in found.flatten()], fields=list(found.type), mask=times.is_null()
    )


arrow.timestamp_to_sf_struct = timestamp_struct


async def body_of(request: Any) -> Any:
    body = await request.body()
    return json.loads(gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body)


def failure(code: str, message: str, state: str = "99998") -> JSONResponse:
    data = {"errorCode": code, "sqlState": state}
    return JSONResponse({"data": data, "code": code, "message": message, "success": False})


def is_known(given: Any) -> bool:
    """Whether a login has the password, the token `the-token`, or a key of its user (any: none is registered)."""
    if given.get("AUTHENTICATOR") == "SNOWFLAKE_JWT":
        claims = given["TOKEN"].split(".")[1]
        issuer = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["iss"]
        return bool(re.match(rf"STANDIN\.{USER}\.SHA256:", issuer, re.IGNORECASE))
    if given.get("TOKEN"):
        return bool(given["TOKEN"] == "the-token")
    return (given.get("LOGIN_NAME"), given.get("PASSWORD")) == (USER, PASSWORD)


original_login = server.login_request


async def login_request(request: Any) -> Any:
    given = (await body_of(request))["data"]
    if not is_known(given):
        return failure("390100", "Incorrect username or password was specified.", "08001")
    response = await original_login(request)
    token = json.loads(response.body)["data"]["token"]
    roles[token] = request.query_params.get("roleName") or ""
    return response


original_query = server.query_request


async def query_request(request: Any) -> Any:
    sql = (await body_of(request))["sqlText"]
    if roles.get(server.to_token(request), "").upper() == "READER" and not READS.match(sql):
        return failure("003001", "SQL access control error:\nInsufficient privileges to operate on the schema", "42501")
    try:
        response = await original_query(request)
    except Exception as error:
        traceback.print_exc()
        return failure("009998", f"{type(error).__name__}: {error}")
    if response.status_code == 500:
        response.status_code = 200
    return response


for place, route in enumerate(server.app.router.routes):
    for path, handler in (
        ("/session/v1/login-request", login_request),
        ("/queries/v1/query-request", query_request),
    ):
        if route.path == path:
            server.app.router.routes[place] = Route(path, handler, methods=["POST"])


if __name__ == "__main__":
    server.shared_fs.connect().cursor().execute(f"create database {DATABASE}")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with serve(port=int(sys.argv[1])):
        stop.wait()
