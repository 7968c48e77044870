"""Prints objects of S3 as CSV that PostgreSQL copies: `python redshift_copy.py FORMAT S3_URI TABLE`."""

import datetime
import gzip
import io
import json
import os
import sys

import boto3
import psycopg2

fmt, uri, table = sys.argv[1:4]
b, k = uri[5:].split("/", 1)
s3 = boto3.client(
    "s3",
    endpoint_url=os.environ["S3_ENDPOINT"],
    aws_access_key_id="a",
    aws_secret_access_key="b",
    region_name="us-east-1",
)
sch, tab = table.split(".")[-2:]
c = psycopg2.connect(os.environ["POSTGRES"])
cur = c.cursor()
cur.execute(
    "select attname, format_type(atttypid, null) from pg_attribute "
    "where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
    (f'"{sch}"."{tab}"',),
)
cols = cur.fetchall()
c.close()
MAX_BYTES = 65_535
"""Of a VARCHAR."""


def cell(v, t):
    if v is None:
        return None
    if t == "super":  # parquet string + SERIALIZETOJSON / JSON 'auto' object -> JSON
        if fmt == "parquet" and isinstance(v, str):
            try:
                json.loads(v)
                return v
            except ValueError:
                return json.dumps(v)
        return json.dumps(v, default=str)
    if isinstance(v, bool):
        return "t" if v else "f"
    if isinstance(v, bytes):
        return "\\x" + v.hex()
    if isinstance(v, (datetime.date, datetime.datetime)):
        return v.isoformat()
    text = str(v) if not isinstance(v, (dict, list)) else json.dumps(v)
    if len(text.encode()) > MAX_BYTES:
        sys.exit(f"Spectrum Scan Error: the string length {len(text.encode())} exceeds {MAX_BYTES}")
    return text


def emit(vals):
    out = []
    for v in vals:
        out.append("\\N" if v is None else '"' + v.replace('"', '""') + '"')
    sys.stdout.write(",".join(out) + "\n")


keys = [
    o["Key"] for p in s3.get_paginator("list_objects_v2").paginate(Bucket=b, Prefix=k) for o in p.get("Contents", [])
]
if not keys:
    sys.exit(f"The specified S3 prefix '{k}' does not exist")
for key in sorted(keys):
    body = s3.get_object(Bucket=b, Key=key)["Body"].read()
    if body[:2] == b"\x1f\x8b":
        body = gzip.decompress(body)
    if fmt == "parquet":
        import pyarrow.parquet as pq

        t = pq.read_table(io.BytesIO(body))
        if t.num_columns != len(cols):
            sys.exit(
                f"Spectrum Scan Error: {t.num_columns} parquet columns, {len(cols)} table columns"
            )  # Redshift maps by position and demands equal count
        for row in zip(*[c_.to_pylist() for c_ in t.columns], strict=True):
            emit([cell(v, ty) for v, (_, ty) in zip(row, cols, strict=True)])
    else:
        for line in body.decode().splitlines():
            if line.strip():
                d = {a.lower(): v for a, v in json.loads(line).items()}
                emit([cell(d.get(n), ty) for n, ty in cols])

# Not by Python's own end: a thread of Arrow that lets go of a file just then aborts the process.
sys.stdout.flush()
os._exit(0)
