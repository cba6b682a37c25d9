"""Writes with a request id: a repeat is the same answer, another payload is refused."""

import uuid

import grpc
import pyarrow as pa
from faults import details_of
from gate import PATIENCE, ipc_of, value, where
from lancegate.v1 import common_pb2 as common
from lancegate.v1 import search_pb2 as search
from lancegate.v1 import table_pb2 as table
from lancegate.v1 import write_pb2 as write

NAME = "repeated"


def rows(*ids):
    batch = pa.table({"id": pa.array(ids, pa.int64()), "text": [f"row {i}" for i in ids]})
    return common.Rows(arrow_ipc=ipc_of(batch))


def count(gate, token):
    """How many rows there are, at least as new as a token."""
    freshness = common.Freshness(token=token)
    request = search.CountRequest(table=NAME, freshness=freshness)
    return gate.search.Count(request, timeout=PATIENCE).count


def insert(*ids):
    return lambda key: write.InsertRequest(table=NAME, rows=rows(*ids), request_id=key)


def upsert(*ids):
    return lambda key: write.UpsertRequest(
        table=NAME, on=["id"], rows=rows(*ids), request_id=key
    )


def update(text):
    to = write.Assignment(column="text", value=value(text))
    return lambda key: write.UpdateRequest(
        table=NAME, filter=where("id = 1"), assignments=[to], request_id=key
    )


def delete(number):
    return lambda key: write.DeleteRequest(
        table=NAME, filter=where("id = $1", number), request_id=key
    )


def import_of(*ids):
    """Its payload is a stream: one message for each id."""

    def messages(key):
        for i in ids:
            stream = ipc_of(pa.table({"id": pa.array([i], pa.int64()), "text": [f"row {i}"]}))
            yield write.ImportRequest(table=NAME, arrow_ipc=stream, request_id=key)

    return messages


def check(gate):
    create = table.CreateTableRequest(table=NAME, rows=rows(1, 2))
    gate.table.CreateTable(create, timeout=PATIENCE)
    cases = [
        # The call, a request, another one, and what of its answer says what was done.
        (gate.write.Insert, insert(10, 11), insert(10, 12), ["num_inserted_rows"]),
        (gate.write.Upsert, upsert(2, 3), upsert(2, 4), ["num_updated_rows", "num_inserted_rows"]),
        (gate.write.Update, update("new"), update("newer"), ["num_updated_rows"]),
        (gate.write.Delete, delete(11), delete(10), ["num_deleted_rows"]),
        (gate.write.Import, import_of(20, 21), import_of(20, 22), ["num_inserted_rows"]),
    ]
    for call, request, other, says in cases:
        key = str(uuid.uuid4())
        first = call(request(key), timeout=PATIENCE)
        there = count(gate, first.served.token)
        assert not first.repeated and all(getattr(first, name) > 0 for name in says), first
        for _ in range(3):
            again = call(request(key), timeout=PATIENCE)
            assert again.repeated and again.version == first.version, (first, again)
            assert [getattr(again, n) for n in says] == [getattr(first, n) for n in says], (first, again)
        assert count(gate, again.served.token) == there, "a repeat did something"
        refused(lambda key=key, other=other, call=call: call(other(key), timeout=PATIENCE))
        # What was refused is free under an id of its own, and so is the first again.
        fresh = call(request(str(uuid.uuid4())), timeout=PATIENCE)
        assert not fresh.repeated and fresh.version > first.version, fresh
    long = insert(30)("x" * 129)
    try:
        gate.write.Insert(long, timeout=PATIENCE)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    else:
        raise AssertionError("an id of 129 letters was accepted")
    gate.table.DropTable(table.DropTableRequest(table=NAME), timeout=PATIENCE)


def refused(call):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        assert details_of(error)["ErrorInfo"].reason == "REQUEST_ID_REUSED", error
    else:
        raise AssertionError("another request was accepted under an id that was used")
