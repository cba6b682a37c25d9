"""Bad requests: the right code, details that name the field, and a server that goes on."""

import math
import re

import grpc
import pyarrow as pa
from gate import PATIENCE, floats, ipc_of, row, where
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from lancegate.v1 import common_pb2 as common
from lancegate.v1 import search_pb2 as search
from lancegate.v1 import table_pb2 as table
from lancegate.v1 import write_pb2 as write
from lifecycle import TABLE

INVALID = grpc.StatusCode.INVALID_ARGUMENT
MISSING = grpc.StatusCode.NOT_FOUND
GOOD = [0.0] * 383 + [1.0]
# What no error may show: a folder, or where in the source it came from.
LEAKS = re.compile(r"/tmp|/root|/home|\.lance\b|\.rs:\d|panicked|lancegate-check")


def near(vector=GOOD, limit=5, **more):
    return search.SearchRequest(table=TABLE, query=search.Query(vectors=[floats(vector)], limit=limit, **more))


def rows_of(**columns):
    return common.Rows(arrow_ipc=ipc_of(pa.table(columns)))


def requests(gate):
    """What is wrong, the call, the code, and a piece of the field that is named."""
    find, count = gate.search.Search, gate.search.Count

    def counting(sql, *params):
        return search.CountRequest(table=TABLE, filter=where(sql, *params))

    yield "vector of 2", find, near([1.0, 0.0]), INVALID, "vectors[0]"
    yield "empty vector", find, near([]), INVALID, "vectors[0]"
    yield "NaN", find, near([math.nan] * 384), INVALID, "vectors[0]"
    yield "infinity", find, near([math.inf] * 384), INVALID, "vectors[0]"
    odd = common.Vector(bytes=common.VectorBytes(element=common.VECTOR_ELEMENT_F32, data=b"12345"))
    yield "5 bytes of f32", find, search.SearchRequest(
        table=TABLE, query=search.Query(vectors=[odd], limit=1)
    ), INVALID, "vectors[0]"
    yield "limit 0", find, near(limit=0), INVALID, "limit"
    yield "a huge limit", find, near(limit=2**32 - 1), INVALID, "limit"
    yield "nothing to look for", find, search.SearchRequest(
        table=TABLE, query=search.Query(limit=1)
    ), INVALID, "query"
    yield "no query", find, search.SearchRequest(table=TABLE), INVALID, "query"
    yield "unknown column", find, near(columns=["nope"]), MISSING, "nope"
    yield "unknown vector column", find, near(vector_column="nope"), MISSING, "nope"
    yield "vector column that is none", find, near(vector_column="title"), INVALID, "vector_column"
    yield "filter that does not parse", count, counting("id ="), INVALID, "filter"
    yield "filter of an unknown column", count, counting("nope = 1"), INVALID, "filter"
    yield "filter that is no condition", count, counting("id + 1"), INVALID, "filter"
    yield "parameter without a value", count, counting("id = $2", 1), INVALID, "filter"
    yield "deep filter", count, counting("(" * 5000 + "true" + ")" * 5000), INVALID, "filter"
    yield "deep filter of NOTs", count, counting("NOT " * 10_000 + "true"), INVALID, "filter"
    yield "huge filter", count, counting("id = 1 OR " * 100_000 + "true"), INVALID, "filter"
    yield "unknown table", count, search.CountRequest(table="nope"), MISSING, "nope"
    for name in ("", "a/b", "..", "a..b", ".a", "a\nb", "a\0b", "x" * 10_000, "\u00e4"):
        yield f"table name {name[:10]!r}", count, search.CountRequest(table=name), INVALID, "table"
    yield "new table with a slash", gate.table.CreateTable, table.CreateTableRequest(
        table="../x", rows=rows_of(a=[1])
    ), INVALID, "table"
    yield "table that exists", gate.table.CreateTable, table.CreateTableRequest(
        table=TABLE, rows=rows_of(a=[1])
    ), grpc.StatusCode.ALREADY_EXISTS, TABLE
    yield "unknown index", gate.table.DropIndex, table.DropIndexRequest(table=TABLE, name="nope"), MISSING, "nope"
    yield "unknown version", gate.table.RestoreVersion, table.RestoreVersionRequest(
        table=TABLE, version=10**6
    ), MISSING, "1000000"
    yield "unknown tag", gate.table.DeleteTag, table.DeleteTagRequest(table=TABLE, name="nope"), MISSING, "nope"
    yield "rows of another schema", gate.write.Insert, write.InsertRequest(
        table=TABLE, rows=rows_of(id=["text"])
    ), INVALID, "rows"
    yield "rows of an unknown column", gate.write.Insert, write.InsertRequest(
        table=TABLE, rows=rows_of(id=[1], nope=[1])
    ), INVALID, "rows"
    yield "bytes that are no Arrow", gate.write.Insert, write.InsertRequest(
        table=TABLE, rows=common.Rows(arrow_ipc=b"not an Arrow stream")
    ), INVALID, "rows"
    short = common.TypedRows(schema=common.Schema(fields=[common.Field(name="id")]), rows=[row(1, 2)])
    yield "more values than columns", gate.write.Insert, write.InsertRequest(
        table=TABLE, rows=common.Rows(typed=short)
    ), INVALID, "rows"
    yield "delete without a filter", gate.write.Delete, write.DeleteRequest(table=TABLE), INVALID, "filter"
    yield "page token of nobody", gate.search.Scan, search.ScanRequest(
        table=TABLE, page_token="nope"
    ), INVALID, "page_token"
    yield "message beyond the limit", gate.write.Insert, write.InsertRequest(
        table=TABLE, rows=common.Rows(arrow_ipc=bytes(65 << 20))
    ), grpc.StatusCode.RESOURCE_EXHAUSTED, ""


def check(gate):
    checked, faults = 0, []
    for what, call, request, code, named in requests(gate):
        checked += 1
        try:
            call(request, timeout=PATIENCE)
            faults.append(f"{what}: was accepted")
        except grpc.RpcError as error:
            faults += [f"{what}: {fault}" for fault in judge(error, code, named)]
    # None of it harmed the server.
    gate.search.Search(near(), timeout=PATIENCE)
    print(f"  {checked} bad requests")
    assert not faults, "\n  ".join(["", *faults])


def judge(error, code, named):
    """What is wrong with the answer to a bad request."""
    if error.code() != code:
        return [f"{error.code().name}, not {code.name}: {error.details()[:200]}"]
    details = details_of(error)
    faults = []
    info = details.get("ErrorInfo")
    if info is None or not re.fullmatch(r"[A-Z][A-Z0-9_]+", info.reason) or not info.domain:
        faults.append(f"no proper ErrorInfo: {info}")
    if code == INVALID:
        bad = details.get("BadRequest")
        fields = [v.field for v in bad.field_violations] if bad else []
        if not any(named in f for f in fields):
            faults.append(f"'{named}' is not among the fields {fields}")
    if code == MISSING and "ResourceInfo" not in details:
        faults.append("no ResourceInfo")
    if len(error.details()) > 2000:
        faults.append(f"a message of {len(error.details())} letters")
    if leak := LEAKS.search(error.details() + str(details)):
        faults.append(f"shows {leak.group()}: {error.details()[:200]}")
    return faults


def details_of(error):
    """The google.rpc details of an error, by message name."""
    status = rpc_status.from_call(error)
    found = {}
    for packed in status.details if status else []:
        name = packed.TypeName().removeprefix("google.rpc.")
        message = getattr(error_details_pb2, name)()
        assert packed.Unpack(message), name
        found[name] = message
    return found
