"""Own writes are read at once, by field and by metadata, and a session stays where it is."""

import grpc
import pyarrow as pa
from gate import PATIENCE, ipc_of
from lancegate.v1 import common_pb2 as common
from lancegate.v1 import search_pb2 as search
from lancegate.v1 import table_pb2 as table
from lancegate.v1 import write_pb2 as write

TABLE = "fresh"
WRITES = 50


def check(gate):
    gate.table.CreateTable(table.CreateTableRequest(table=TABLE, rows=one_row(0)), timeout=PATIENCE)
    opened = gate.search.OpenSession(search.OpenSessionRequest(table=TABLE), timeout=PATIENCE)
    read_own_writes(gate)
    session = common.Freshness(session=opened.session)
    assert count(gate, session).count == 1, opened
    gate.search.CloseSession(
        search.CloseSessionRequest(table=TABLE, session=opened.session), timeout=PATIENCE
    )
    try:
        count(gate, common.Freshness(token=opened.session))
    except grpc.RpcError as e:
        assert e.code() == grpc.StatusCode.INVALID_ARGUMENT, e
    else:
        raise AssertionError("a session was taken for a token")


def read_own_writes(gate):
    for i in range(1, WRITES + 1):
        answer, call = gate.write.Insert.with_call(
            write.InsertRequest(table=TABLE, rows=one_row(i)), timeout=PATIENCE
        )
        token = answer.served.token
        assert ("x-lancegate-token", token) in [tuple(m) for m in call.initial_metadata()], token
        if i % 2:
            seen = count(gate, common.Freshness(token=token))
        else:
            seen = count(gate, None, [("x-lancegate-token", token)])
        assert seen.count == i + 1, (i, seen)
        version = [("x-lancedb-min-version", str(answer.version))]
        assert count(gate, None, version).count == i + 1


def count(gate, freshness, metadata=()):
    request = search.CountRequest(table=TABLE, freshness=freshness)
    return gate.search.Count(request, metadata=metadata, timeout=PATIENCE)


def one_row(i):
    return common.Rows(arrow_ipc=ipc_of(pa.table({"id": pa.array([i], pa.int64())})))
