"""Redshift's stand-in: a proxy that rewrites Redshift's SQL for PostgreSQL, and refuses what Redshift refuses.

`python redshift_proxy.py PORT POSTGRES_PORT`. What it does not understand it passes on, with a line PASS-THROUGH in its
log: that SQL has not been shown to run on Redshift.
"""

import asyncio
import logging
import os
import re
import struct
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.optimizer.scope import traverse_scope

log = logging.getLogger("rsproxy")
logging.basicConfig(filename=os.environ["SQL_LOG"], level="INFO", format="%(message)s")
COPY_COMMAND = os.environ["COPY_COMMAND"].split()
lit = exp.Literal.string


def anon(n, *a):
    return exp.Anonymous(this=n, expressions=list(a))


class UnsupportedError(Exception):
    """What Redshift refuses, or the stand-in can't do."""


# ---- what Redshift refuses although PostgreSQL would run it ---------------------------------
def deny(tree):
    for n in tree.walk():
        if isinstance(n, exp.Filter):
            raise UnsupportedError('syntax error at or near "filter" (aggregate FILTER is not supported on Redshift)')
        if isinstance(n, exp.Lateral):
            raise UnsupportedError("LATERAL is not supported on Redshift")
        if isinstance(n, exp.Distinct) and n.args.get("on"):
            raise UnsupportedError("DISTINCT ON is not supported on Redshift")
        if isinstance(n, exp.OnConflict):
            raise UnsupportedError("ON CONFLICT is not supported on Redshift")
        if isinstance(
            n, (exp.JSONExtract, exp.JSONExtractScalar, exp.JSONBExtract, exp.JSONBExtractScalar)
        ) and n.args.get("only_json_types"):
            raise UnsupportedError("operator -> / ->> does not exist on Redshift")
        if isinstance(n, exp.DataType) and n.this in (
            exp.DataType.Type.JSON,
            exp.DataType.Type.JSONB,
            exp.DataType.Type.UUID,
        ):
            raise UnsupportedError(f'type "{n.this.value.lower()}" does not exist on Redshift')
        if isinstance(n, exp.Values) and isinstance(n.parent, (exp.From, exp.Join, exp.Subquery)):
            raise UnsupportedError("VALUES in FROM is not supported on Redshift")
        if isinstance(n, exp.Qualify):
            sel = n.parent
            f = sel.args.get("from_") or sel.args.get("from")
            if f and not any(sel.args.get(k) for k in ("where", "group", "having")):
                last = (sel.args.get("joins") or [f])[-1].this
                if not last.alias:
                    raise UnsupportedError("QUALIFY directly after FROM needs an alias on the relation (Redshift)")


# ---- PartiQL -------------------------------------------------------------------------------
def key(i):  # default: attribute names fold to lower case even when quoted
    return lit(i.name.lower())


def get(base, k):
    return anon("RS_GET", base, k)


def rewrite_nav(select_scope):
    srcs = set()
    s = select_scope
    while s is not None:
        srcs |= {str(k).lower() for k in s.sources}
        s = s.parent
    tbl_db = {(t.db.lower(), t.name.lower()) for t in select_scope.expression.find_all(exp.Table) if t.db}
    for col in list(select_scope.find_all(exp.Column)):
        p = col.parts
        if len(p) > 1 and not isinstance(col.this, exp.Star):
            names = [x.name.lower() for x in p]
            if len(p) >= 4 and (names[1], names[2]) in tbl_db and names[0] not in srcs:
                n = 4
            elif len(p) >= 3 and (names[0], names[1]) in tbl_db and names[0] not in srcs:
                n = 3
            elif names[0] in srcs:
                n = 2
            else:
                n = 1
            if len(p) > n:
                base = exp.Column(
                    **dict(zip(("this", "table", "db", "catalog"), reversed([x.copy() for x in p[:n]]), strict=False))
                )
                for x in p[n:]:
                    base = get(base, key(x))
                col.replace(base)


def rewrite_dots(tree):
    def tr(n):
        if isinstance(n, exp.Dot) and isinstance(n.expression, (exp.Identifier, exp.Var)):
            return get(n.this, key(n.expression))
        if isinstance(n, exp.Bracket) and not isinstance(n.this, exp.Array) and len(n.expressions) == 1:
            e = n.expressions[0]
            return get(n.this, lit(e.name) if isinstance(e, exp.Literal) and e.is_string else e)
        return n

    # bottom-up so that inner navigation is rewritten first
    for n in reversed(list(tree.walk(bfs=True))):
        if n.parent is not None:
            m = tr(n)
            if m is not n:
                n.replace(m)
    return tree


def is_navigation(n):
    return isinstance(n, exp.Anonymous) and str(n.this).upper() == "RS_GET"


def unwrap(n):
    while isinstance(n, exp.Paren):
        n = n.this
    return n


def rewrite_compare(tree):
    for n in list(tree.walk()):
        if isinstance(
            n, (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.ILike, exp.In, exp.Between, exp.DPipe)
        ):
            others = [n.args.get(k) for k in ("this", "expression", "low", "high") if n.args.get(k) is not None] + list(
                n.args.get("expressions") or []
            )
            lits = [unwrap(o) for o in others if isinstance(unwrap(o), (exp.Literal, exp.Boolean, exp.Neg))]
            for o in others:
                if is_navigation(unwrap(o)):
                    f = "RS_TEXT"
                    if lits and isinstance(n, (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Between)):
                        f = (
                            "RS_BOOL"
                            if isinstance(lits[0], exp.Boolean)
                            else "RS_NUM"
                            if isinstance(lits[0], exp.Neg) or not lits[0].is_string
                            else "RS_TEXT"
                        )
                    elif isinstance(n, (exp.EQ, exp.NEQ)) and all(is_navigation(unwrap(x)) for x in others):
                        continue
                    o.replace(anon(f, o.copy()))


def rewrite_unnest(tree):
    """FROM t, t.a.b AS x [AT i]   and   UNPIVOT t.a AS v AT k"""
    for sel in list(tree.find_all(exp.Select)):
        for j in list(sel.args.get("joins") or []):
            t, idx = j.this, None
            if type(t).__name__ == "AtIndex":
                idx, t = t.expression, t.this
            if isinstance(t, exp.Alias):
                alias, path = t.args["alias"], t.this
            elif isinstance(t, exp.Unnest):
                alias, path = (t.args["alias"].columns or [t.args["alias"].this])[0], t.expressions[0]
                idx = t.args.get("offset") or idx
            else:
                continue
            fn = "RS_UNNEST"
            if isinstance(path, exp.Pivot):
                continue
            cols = [exp.to_identifier(alias.name), exp.to_identifier(idx.name if idx is not None else "_rs_ord")]
            j.replace(
                exp.Join(
                    this=exp.Alias(
                        this=anon(fn, path.copy()),
                        alias=exp.TableAlias(this=exp.to_identifier("_rs_" + alias.name), columns=cols),
                    ),
                    kind="CROSS",
                )
            )


class PgGen(Postgres.Generator):
    def literal_sql(self, e):  # backend runs standard_conforming_strings=off, like Redshift
        if e.is_string and "\\" in e.name:
            return "E'" + e.name.replace("\\", "\\\\").replace("'", "''") + "'"
        return super().literal_sql(e)


def _tx(cls):
    PgGen.TRANSFORMS = {**Postgres.Generator.TRANSFORMS, **cls}


def unit(e):
    u = e.args.get("unit")
    return lit((u.name if u is not None else "day").lower())


def within_group(s, e):
    if not isinstance(e.this, exp.GroupConcat):
        return Postgres.Generator.withingroup_sql(s, e)
    separator = e.this.args.get("separator") or e.this.args.get("expression") or lit("")
    return f"STRING_AGG({s.sql(e.this.this)}::text, {s.sql(separator)} {s.sql(e.expression).strip()})"


_tx(
    {
        exp.ParseJSON: lambda s, e: s.func("JSON_PARSE", e.this),
        exp.DateAdd: lambda s, e: s.func("RS_DATEADD", unit(e), e.expression, e.this),
        exp.TsOrDsAdd: lambda s, e: s.func("RS_DATEADD", unit(e), e.expression, e.this),
        exp.DateDiff: lambda s, e: s.func("RS_DATEDIFF", unit(e), e.expression, e.this),
        exp.TsOrDsDiff: lambda s, e: s.func("RS_DATEDIFF", unit(e), e.expression, e.this),
        exp.RegexpExtract: lambda s, e: s.func(
            "REGEXP_SUBSTR", e.this, e.expression, e.args.get("position"), e.args.get("occurrence")
        ),
        exp.ApproxDistinct: lambda s, e: f"COUNT(DISTINCT {s.sql(e, 'this')})",
        exp.Array: lambda s, e: s.func("RS_ARRAY", *e.expressions),
        exp.WithinGroup: within_group,
        exp.GroupConcat: lambda s, e: f"STRING_AGG({s.sql(e.this)}::text, {s.sql(e.args.get('separator') or lit(''))})",
        exp.ConvertTimezone: lambda s, e: s.func(
            "CONVERT_TIMEZONE", e.args.get("source_tz"), e.args.get("target_tz"), e.args.get("timestamp")
        ),
    }
)

DDL_ATTR = [
    (re.compile(p, re.I | re.S), r)
    for p, r in [
        (r"\bwith\s+no\s+schema\s+binding\b", ""),
        (r"\bbackup\s+(no|yes)\b", ""),
        (r"\bdiststyle\s+(all|even|auto|key)\b", ""),
        (r"\bdistkey\s*\([^)]*\)", ""),
        (r"\b(compound|interleaved)?\s*\bsortkey\s*\([^)]*\)", ""),
        (r"\bsortkey\s+auto\b", ""),
        (r"\b(distkey|sortkey)\b", ""),
        (r"\bencode\s+\w+", ""),
        (r"\bidentity\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)", r"generated by default as identity (start \1 increment \2)"),
        (r"\b(varchar|nvarchar|character varying|varbyte|varbinary)\s*\(\s*max\s*\)", r"\1"),
        (r"\b(varbyte|varbinary|binary varying)\s*\(\s*\d+\s*\)", r"\1"),
        (r"\bnvarchar\b", "varchar"),
        (r"\bto\s+role\s+", "to "),
        (r"\bprivileges\s+for\s+user\b", "privileges for role"),
        (r"\bpassword\s+disable\b", "password null"),
    ]
]
HEAD = re.compile(r"^\s*((?:/\*.*?\*/\s*|--[^\n]*\n\s*)*)", re.S)
CATALOG = re.compile(r"\b(pg_|svv_|information_schema|stv_|svl_)", re.I)


def transpile_query(sql):
    tree = sqlglot.parse_one(sql, read="redshift")
    deny(tree)
    rewrite_unnest(tree)
    for sc in traverse_scope(tree):
        rewrite_nav(sc)
    tree = rewrite_dots_root(tree)
    rewrite_compare(tree)
    for f in list(tree.find_all(exp.Anonymous)):
        if str(f.this).lower() == "json_extract_path_text" and isinstance(f.expressions[-1], exp.Boolean):
            f.replace(anon("RS_JEPT", f.expressions[0], f.expressions[-1], *f.expressions[1:-1]))
    for c in reversed(list(tree.find_all(exp.TryCast))):  # null on error, as a lax cast from SUPER is
        value, size = anon("RS_SUPER", exp.cast(c.this.copy(), "text")), [p.this.copy() for p in c.to.expressions]
        if c.to.is_type(exp.DataType.Type.DECIMAL) and len(size) == 2:
            c.replace(anon("RS_DECIMAL", value, *size))
        else:
            c.replace(exp.cast(value, c.to.copy()))
    for c in list(tree.find_all(exp.Cast)):
        if c.to.is_type(exp.DataType.Type.SUPER) and isinstance(c.this, exp.Literal) and c.this.is_string:
            c.set("this", exp.cast(c.this, "text"))
    for n in list(tree.find_all(exp.IgnoreNulls)):
        f = {"FirstValue": "RS_FIRST_NN", "LastValue": "RS_LAST_NN"}.get(type(n.this).__name__)
        if not f:
            raise UnsupportedError(f"stand-in: IGNORE NULLS on {type(n.this).__name__}")
        n.replace(anon(f, n.this.this.copy()))
    from sqlglot import transforms

    for s in list(tree.find_all(exp.Select)):
        if s.args.get("qualify"):
            new = (
                elim_qualify_star(s)
                if any(x.is_star for x in s.expressions)
                else transforms.eliminate_qualify(s.copy())
            )
            if s is tree:
                tree = new
            else:
                s.replace(new)
    try:
        return PgGen(dialect=Postgres(), unsupported_level=sqlglot.ErrorLevel.RAISE).generate(tree)
    except sqlglot.errors.UnsupportedError as e:
        raise UnsupportedError("stand-in: " + str(e)) from e


def elim_qualify_star(s):
    f = s.args.get("from_") or s.args.get("from")
    if len(s.expressions) != 1 or s.args.get("joins") or not isinstance(s.expressions[0], (exp.Star, exp.Column)):
        raise UnsupportedError("stand-in: QUALIFY under a star over several relations; list the columns")
    a = f.this.alias_or_name
    inner = s.copy()
    q = inner.args["qualify"].this
    inner.set("qualify", None)
    inner.set("order", None)
    inner.set("expressions", [exp.alias_(exp.column(a), "_r"), exp.alias_(q.copy(), "_w")])
    outer = sqlglot.parse_one("SELECT (_q._r).* FROM x AS _q WHERE _w", read="postgres")
    w = inner.args.pop("with_", None) or inner.args.pop("with", None)
    (outer.args.get("from_") or outer.args.get("from")).set(
        "this", exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier("_q")))
    )
    if w:
        outer.set("with_" if "with_" in exp.Select.arg_types else "with", w)
    return outer


def rewrite_dots_root(tree):
    box = exp.Paren(this=tree)
    rewrite_dots(box)
    return box.this


COPY_RE = re.compile(r"^\s*copy\s+(\S+?)\s*(\([^)]*\))?\s+from\s+'(s3://[^']+)'(.*)$", re.I | re.S)


def rewrite(sql):
    head = HEAD.match(sql).group(1)
    body = sql[len(HEAD.match(sql).group(0)) :]
    low = body.lstrip("( \n\t").lower()
    m = COPY_RE.match(body)
    if m:
        t, cols, uri, opts = m.groups()
        fmt = (
            "parquet"
            if re.search(r"\bparquet\b", opts, re.I)
            else "json"
            if re.search(r"\bjson\b", opts, re.I)
            else "csv"
        )
        plain = t.replace('"', "")
        with tempfile.NamedTemporaryFile("w", suffix=".csv", delete=False) as f:
            Path(f.name).chmod(0o644)
            r = subprocess.run([*COPY_COMMAND, fmt, uri, plain], stdout=f, stderr=subprocess.PIPE, text=True)
        if r.returncode:
            raise UnsupportedError("COPY: " + r.stderr[-400:])
        return f"COPY {t} {cols or ''} FROM '{f.name}' WITH (FORMAT csv, NULL E'\\\\N')"
    if not re.match(r"(select|with|create|insert|delete|update|merge|alter)\b", low) or CATALOG.search(body):
        return sql if low.startswith(("select", "with")) else _ddl(sql)
    if low.startswith("alter"):
        return _ddl(sql)
    if low.startswith("create"):
        m = re.match(
            r"(create\s+(?:or\s+replace\s+)?(?:(?:local\s+)?temp(?:orary)?\s+)?(?:materialized\s+)?(?:table|view)\s+.*?\bas\s*)(\(?\s*(?:/\*.*?\*/\s*|--[^\n]*\n\s*)*(?:with|select)\b.*)$",
            body,
            re.I | re.S,
        )
        if not m:
            return head + _ddl(body)
        pre, q = m.group(1), m.group(2)
        if re.search(r"\bmaterialized\b", pre, re.I):
            pre = re.sub(r"\bauto\s+refresh\s+\w+", "", pre, flags=re.I)
        q = re.sub(r"\bwith\s+no\s+schema\s+binding\b", "", q, flags=re.I).strip().rstrip(";")
        lbv = re.search(r"\bwith\s+no\s+schema\s+binding\b", m.group(2), re.I)
        if q.startswith("("):
            q = strip_paren(q)
        if lbv:
            name = re.match(r"create\s+(?:or\s+replace\s+)?view\s+(\S+)\s+as", pre.strip(), re.I).group(1)
            return head + f"select pg_catalog.rs_create_lbv($rsv${name}$rsv$, $rsq${transpile_query(q)}$rsq$)"
        return head + _ddl(pre) + "(" + transpile_query(q) + ")"
    if low.startswith("insert"):
        m = re.match(
            r"(insert\s+into\s+[^\s(]+\s*(?:\((?!\s*(?:with|select))[^)]*\))?\s*)(\(?\s*(?:/\*.*?\*/\s*|--[^\n]*\n\s*)*(?:with|select)\b.*)$",
            body,
            re.I | re.S,
        )
        if not m:
            return sql
        q = m.group(2).strip().rstrip(";").strip()
        if q.startswith("("):
            q = strip_paren(q)
        return head + m.group(1) + transpile_query(q)
    if low.startswith("merge"):
        sqlglot.parse_one(body, read="redshift")
        return head + body
    if low.startswith(("select", "with")):
        return head + transpile_query(body)
    if low.startswith(("delete", "update")):
        return head + body
    return sql


def strip_paren(q):
    q = q.strip()
    if q.startswith("(") and q.endswith(")"):
        d = 0
        instr = False
        for i, c in enumerate(q):
            if c == "'":
                instr = not instr
            if instr:
                continue
            d += (c == "(") - (c == ")")
            if d == 0:
                return q[1:-1] if i == len(q) - 1 else q
    return q


def _ddl(s):
    for p, r in DDL_ATTR:
        s = p.sub(r, s)
    return s


def safe(sql):
    if not sql.strip():
        return sql
    try:
        out = rewrite(sql)
    except (sqlglot.errors.SqlglotError, RecursionError) as e:
        log.warning("PASS-THROUGH (%s): %s", str(e)[:200].replace("\n", " "), sql[:2000])
        return sql
    if out is not sql:
        log.debug("IN  %s\nOUT %s", sql, out)
    return out


async def rd(r):
    h = await r.readexactly(5)
    n = struct.unpack("!I", h[1:])[0]
    return h[:1], await r.readexactly(n - 4)


def msg(t, b):
    return t + struct.pack("!I", len(b) + 4) + b


async def client(cr, cw, pg_port):
    pw = None
    try:
        while True:
            n = struct.unpack("!I", await cr.readexactly(4))[0]
            b = await cr.readexactly(n - 4)
            code = struct.unpack("!I", b[:4])[0]
            if code in (80877103, 80877104):
                cw.write(b"N")
                await cw.drain()
                continue
            break
        pr, pw = await asyncio.open_connection("127.0.0.1", pg_port, limit=2**24)
        if code == 80877102:
            pw.write(struct.pack("!I", n) + b)
            await pw.drain()
            return
        kv = b[4:].split(b"\0")
        params = dict(zip(kv[::2], kv[1::2], strict=False))
        keep = {
            k: v
            for k, v in params.items()
            if k in (b"user", b"database", b"application_name", b"client_encoding", b"options")
        }
        body = struct.pack("!I", 196608) + b"".join(k + b"\0" + v + b"\0" for k, v in keep.items()) + b"\0"
        pw.write(struct.pack("!I", len(body) + 4) + body)

        async def up():
            while True:
                t, b = await rd(cr)
                try:
                    if t == b"Q":
                        b = safe(b[:-1].decode()).encode() + b"\0"
                    elif t == b"P":
                        i = b.index(b"\0")
                        j = b.index(b"\0", i + 1)
                        b = b[: i + 1] + safe(b[i + 1 : j].decode()).encode() + b[j:]
                except UnsupportedError as e:
                    txt = "select pg_catalog.rs_unsupported($rs$" + str(e) + "$rs$)"
                    b = (txt.encode() + b"\0") if t == b"Q" else b[: b.index(b"\0") + 1] + txt.encode() + b"\0\0\0"
                pw.write(msg(t, b))
                await pw.drain()

        async def down():
            while True:
                t, b = await rd(pr)
                if t == b"T":
                    n = struct.unpack("!H", b[:2])[0]
                    o = 2
                    b = bytearray(b)
                    for _ in range(n):
                        o = b.index(0, o) + 1
                        if (
                            struct.unpack("!I", b[o + 6 : o + 10])[0] in (3802,)
                            or struct.unpack("!I", b[o + 6 : o + 10])[0] >= 16384
                        ):
                            b[o + 6 : o + 10] = struct.pack("!I", 4000)
                        o += 18
                    b = bytes(b)
                if t == b"S" and b.startswith(b"server_version\0"):
                    b = b"server_version\x008.0.2\0"
                cw.write(msg(t, b))
                if t in b"ZEGHWR":
                    await cw.drain()

        done, pend = await asyncio.wait(
            [asyncio.create_task(up()), asyncio.create_task(down())], return_when=asyncio.FIRST_COMPLETED
        )
        for p in pend:
            p.cancel()
        for d in done:
            if d.exception() and not isinstance(d.exception(), (asyncio.IncompleteReadError, ConnectionError)):
                log.error("proxy error %r", d.exception())
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        for w in (cw, pw):
            with suppress(Exception):
                w.close()


async def main(port, pg):
    s = await asyncio.start_server(lambda r, w: client(r, w, pg), "127.0.0.1", port, limit=2**24)
    async with s:
        await s.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
