"""What an operator may do to a connection and to the server, one call of each rpc."""

from collections import Counter

import grpc
from faults import details_of
from gate import PATIENCE
from google.protobuf.duration_pb2 import Duration
from lancegate.v1 import cluster_pb2 as cluster
from lancegate.v1 import common_pb2 as common
from lancegate.v1 import search_pb2 as search
from lifecycle import TABLE

ONE, OTHER = "replica-1", "replica-2"


def check(gate):
    watch_the_topology(gate)
    drain_and_undrain(gate)
    eject_and_weigh(gate)
    probe(gate)
    reload_nothing(gate)
    refuse(gate)


def served_by(gate, reads=10):
    request = search.CountRequest(table=TABLE)
    counts = (gate.search.Count(request, timeout=PATIENCE) for _ in range(reads))
    return Counter(c.served.connection for c in counts)


def watch_the_topology(gate):
    request = cluster.WatchTopologyRequest(heartbeat=Duration(nanos=250_000_000))
    watching = gate.cluster.WatchTopology(request, timeout=PATIENCE)
    seen = [next(watching).topology for _ in range(3)]
    watching.cancel()
    names = [c.name for c in gate.topology().connections]
    assert all([c.name for c in t.connections] == names for t in seen), seen
    assert seen[0].configuration_fingerprint == gate.topology().configuration_fingerprint != "", seen[0]
    roles = {c.role for c in seen[0].connections}
    assert roles == {common.ROLE_PRIMARY, common.ROLE_REPLICA}, seen[0]


def drain_and_undrain(gate):
    request = cluster.DrainConnectionRequest(connection=ONE)
    drained = gate.cluster.DrainConnection(request, timeout=PATIENCE).connection
    assert drained.standing == cluster.STANDING_DRAINING and drained.drained, drained
    assert served_by(gate) == {OTHER: 10}
    request = cluster.UndrainConnectionRequest(connection=ONE)
    back = gate.cluster.UndrainConnection(request, timeout=PATIENCE).connection
    assert back.standing in (cluster.STANDING_SLOW_START, cluster.STANDING_READY), back
    assert not back.drained, back
    assert ONE in served_by(gate, 100)


def eject_and_weigh(gate):
    request = cluster.EjectConnectionRequest(connection=ONE, duration=Duration(seconds=3600))
    ejected = gate.cluster.EjectConnection(request, timeout=PATIENCE).connection
    assert ejected.standing == cluster.STANDING_EJECTED and ejected.ejections_total >= 1, ejected
    assert served_by(gate) == {OTHER: 10}
    request = cluster.SetConnectionWeightRequest(connection=ONE, weight=3)
    assert gate.cluster.SetConnectionWeight(request, timeout=PATIENCE).connection.weight == 3
    request = cluster.UndrainConnectionRequest(connection=ONE)
    back = gate.cluster.UndrainConnection(request, timeout=PATIENCE).connection
    assert back.standing != cluster.STANDING_EJECTED and back.weight == 3, back
    request = cluster.SetConnectionWeightRequest(connection=ONE, weight=1)
    gate.cluster.SetConnectionWeight(request, timeout=PATIENCE)


def probe(gate):
    for connection in ("primary", ONE, OTHER):
        request = cluster.ProbeConnectionRequest(connection=connection)
        answer = gate.cluster.ProbeConnection(request, timeout=PATIENCE)
        assert answer.ok and answer.connection.name == connection, answer
        assert answer.latency.ToNanoseconds() > 0 and answer.detail, answer


def reload_nothing(gate):
    for validate_only in (True, False):
        request = cluster.ReloadConfigurationRequest(validate_only=validate_only)
        answer = gate.cluster.ReloadConfiguration(request, timeout=PATIENCE)
        assert not answer.changes, answer
        assert answer.configuration_fingerprint == gate.topology().configuration_fingerprint, answer


def refuse(gate):
    """Names that are nobody's, values out of range, and the primary."""
    invalid, state = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
    hour = Duration(seconds=3600)
    refused = [
        (gate.cluster.DrainConnection, cluster.DrainConnectionRequest(connection="nobody"), invalid),
        (gate.cluster.UndrainConnection, cluster.UndrainConnectionRequest(connection=""), invalid),
        (gate.cluster.ProbeConnection, cluster.ProbeConnectionRequest(connection="../x"), invalid),
        (gate.cluster.EjectConnection, cluster.EjectConnectionRequest(connection=ONE), invalid),
        (gate.cluster.SetConnectionWeight, cluster.SetConnectionWeightRequest(connection=ONE), invalid),
        (gate.cluster.DrainConnection, cluster.DrainConnectionRequest(connection="primary"), state),
        (gate.cluster.EjectConnection, cluster.EjectConnectionRequest(connection="primary", duration=hour), state),
        (gate.cluster.SetConnectionWeight, cluster.SetConnectionWeightRequest(connection="primary", weight=2), state),
    ]
    for call, request, code in refused:
        try:
            call(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            assert error.code() == code, (request, error)
            assert "ErrorInfo" in details_of(error), error
        else:
            raise AssertionError(f"{request} was accepted")
    assert served_by(gate, 100).keys() == {ONE, OTHER}
