"""overload.py ADDRESS: more calls at once than the server takes."""

import sys
from collections import Counter

import grpc
from faults import details_of
from gate import PATIENCE, Gate, floats
from lancegate.v1 import search_pb2 as search
from lifecycle import TABLE

CALLS = 200


def main():
    gate = Gate(sys.argv[1])
    query = search.Query(vectors=[floats([0.05] * 384)], limit=100, bypass_vector_index=True)
    request = search.SearchRequest(table=TABLE, query=query)
    calls = [gate.search.Search.future(request, timeout=PATIENCE) for _ in range(CALLS)]
    codes = Counter()
    for call in calls:
        error = call.exception()
        codes["OK" if error is None else error.code().name] += 1
        if error is not None:
            details = details_of(error)
            assert "ErrorInfo" in details and "RetryInfo" in details, details
    print(dict(codes))
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}, codes
    # It recovers by itself.
    for _ in range(20):
        gate.search.Search(request, timeout=PATIENCE)


main()
