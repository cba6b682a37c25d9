"""A channel with the generated stubs, and short forms of the contract's messages."""

import struct
import time

import grpc
import pyarrow as pa
from lancegate.v1 import cluster_pb2, cluster_pb2_grpc
from lancegate.v1 import common_pb2 as common
from lancegate.v1 import search_pb2 as search
from lancegate.v1 import search_pb2_grpc, table_pb2_grpc, write_pb2_grpc

# No single call takes longer than this, or something hangs.
PATIENCE = 60
# Answers with many vectors are larger than gRPC's default of 4 MiB.
RECEIVE_BYTES = 64 << 20


class Gate:
    """One server: its four services."""

    def __init__(self, address):
        # Retries off: a failure must be seen, not hidden.
        options = [
            ("grpc.enable_retries", 0),
            ("grpc.max_receive_message_length", RECEIVE_BYTES),
            ("grpc.max_send_message_length", -1),
        ]
        self.channel = grpc.insecure_channel(address, options=options)
        grpc.channel_ready_future(self.channel).result(timeout=10)
        self.search = search_pb2_grpc.SearchServiceStub(self.channel)
        self.write = write_pb2_grpc.WriteServiceStub(self.channel)
        self.table = table_pb2_grpc.TableServiceStub(self.channel)
        self.cluster = cluster_pb2_grpc.ClusterServiceStub(self.channel)

    def topology(self):
        return self.cluster.GetTopology(cluster_pb2.GetTopologyRequest(), timeout=PATIENCE)

    def settle(self, table, version):
        """Waits until every replica serves this version of the table."""
        deadline = time.monotonic() + PATIENCE
        while True:
            replicas = [c for c in self.topology().connections if c.role == common.ROLE_REPLICA]
            positions = [{t.table: t.version for t in r.tables}.get(table, 0) for r in replicas]
            if positions and min(positions) >= version:
                return
            assert time.monotonic() < deadline, f"{table}: {positions} of {version}"
            time.sleep(0.05)

    def find(self, table, query, row_format=common.ROW_FORMAT_TYPED, **call):
        request = search.SearchRequest(table=table, query=query, row_format=row_format)
        return self.search.Search(request, timeout=PATIENCE, **call)


def value(v):
    """A typed value of a plain Python one."""
    match v:
        case common.Value():
            return v
        case None:
            return common.Value(null_value=common.NULL_VALUE_UNSPECIFIED)
        case bool():
            return common.Value(bool_value=v)
        case int():
            return common.Value(int_value=v)
        case float():
            return common.Value(double_value=v)
        case str():
            return common.Value(string_value=v)
        case bytes():
            return common.Value(bytes_value=v)
        case list():
            return common.Value(list_value=common.ListValue(values=[value(i) for i in v]))
        case tuple():
            return common.Value(struct_value=common.StructValue(values=[value(i) for i in v]))
    raise TypeError(f"no typed value for {type(v)}")


def row(*values):
    return common.Row(values=[value(v) for v in values])


def where(sql, *params):
    return common.Filter(sql=sql, params=[value(p) for p in params])


def floats(vector):
    return common.Vector(floats=common.PackedFloats(values=vector))


def columns_of(answer):
    """Column names and, per name, the plain values of a typed answer."""
    names = [f.name for f in answer.rows.typed.schema.fields]
    table = [[plain(v) for v in r.values] for r in answer.rows.typed.rows]
    assert len(table) == answer.num_rows, (len(table), answer.num_rows)
    return {name: [r[i] for r in table] for i, name in enumerate(names)}


def plain(v):
    """The Python value of a typed one. Timestamps are (seconds, nanos)."""
    kind = v.WhichOneof("kind")
    match kind:
        case None | "null_value":
            return None
        case "list_value":
            return [plain(i) for i in v.list_value.values]
        case "struct_value":
            return tuple(plain(i) for i in v.struct_value.values)
        case "timestamp_value":
            return (v.timestamp_value.seconds, v.timestamp_value.nanos)
        case "vector_value":
            return vector_of(v.vector_value)
    return getattr(v, kind)


def vector_of(vector):
    if vector.WhichOneof("data") == "floats":
        return list(vector.floats.values)
    assert vector.bytes.element in (0, common.VECTOR_ELEMENT_F32), vector.bytes.element
    return list(struct.unpack(f"<{len(vector.bytes.data) // 4}f", vector.bytes.data))


def arrow_of(answer):
    """The Arrow table of an answer in IPC format."""
    with pa.ipc.open_stream(answer.rows.arrow_ipc) as reader:
        table = reader.read_all()
    assert table.num_rows == answer.num_rows, (table.num_rows, answer.num_rows)
    return table


def ipc_of(table):
    """The IPC stream of an Arrow table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
