"""What the transport promises: deadlines, compression and request ids."""

import grpc
from gate import PATIENCE, columns_of, floats
from lancegate.v1 import search_pb2 as search
from lifecycle import TABLE

QUERY = search.Query(vectors=[floats([0.05] * 384)], limit=1000, bypass_vector_index=True)


def check(gate):
    deadline(gate)
    compression(gate)
    request_id(gate)


def deadline(gate):
    """A deadline that cannot be kept is told as such, and the channel stays good."""
    request = search.SearchRequest(table=TABLE, query=QUERY)
    try:
        gate.search.Search(request, timeout=0.001)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    else:
        raise AssertionError("1,000 rows were answered within a millisecond")
    gate.search.Search(request, timeout=PATIENCE)


def compression(gate):
    plain = gate.find(TABLE, QUERY)
    gzipped = gate.find(TABLE, QUERY, compression=grpc.Compression.Gzip)
    assert columns_of(gzipped) == columns_of(plain) and plain.num_rows == 1000


def request_id(gate):
    """A client's own request id comes back; without one the server makes one."""
    request = search.CountRequest(table=TABLE)
    for sent in ("from-the-client-1", None):
        metadata = [("x-request-id", sent)] if sent else []
        _, call = gate.search.Count.with_call(request, timeout=PATIENCE, metadata=metadata)
        answered = dict(call.initial_metadata()).get("x-request-id")
        assert answered == sent if sent else answered, (sent, answered)
