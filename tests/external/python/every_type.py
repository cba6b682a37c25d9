"""Values of every kind of column, written and read both as typed values and as Arrow."""

import decimal

import pyarrow as pa
from gate import PATIENCE, arrow_of, columns_of, floats, ipc_of, row, value
from lancegate.v1 import common_pb2 as common
from lancegate.v1 import search_pb2 as search
from lancegate.v1 import table_pb2 as table
from lancegate.v1 import write_pb2 as write

MAX, MIN = 2**63 - 1, -(2**63)

# One row a line. None everywhere but in the key is the last one.
ARROW = pa.table(
    {
        "key": pa.array([1, 2, 3], pa.int64()),
        "i64": pa.array([MAX, MIN, None], pa.int64()),
        "u64": pa.array([2**64 - 1, 0, None], pa.uint64()),
        "i8": pa.array([-128, 127, None], pa.int8()),
        "flag": pa.array([True, False, None], pa.bool_()),
        "f32": pa.array([1.5, -0.0, None], pa.float32()),
        "f64": pa.array([1e308, 5e-324, None], pa.float64()),
        "text": pa.array(["\u00e4\u0000\U0001f600", "", None], pa.utf8()),
        "blob": pa.array([b"\x00\xff", b"", None], pa.binary()),
        "day": pa.array([-1, 20000, None], pa.date32()),
        "ns": pa.array([MAX, -1, None], pa.timestamp("ns", tz="UTC")),
        "us": pa.array([1_700_000_000_000_001, -1, None], pa.timestamp("us")),
        "money": pa.array(
            [decimal.Decimal("12345678901234567890.1234"), decimal.Decimal("-0.0001"), None],
            pa.decimal128(38, 4),
        ),
        "nested": pa.array([[[MAX, None], []], [None], None], pa.list_(pa.list_(pa.int64()))),
        "pair": pa.array(
            [{"a": -1, "b": "x"}, {"a": None, "b": None}, None],
            pa.struct([("a", pa.int32()), ("b", pa.utf8())]),
        ),
        "vector": pa.array([[1, 2, 3, 4], [0.5, -0.5, 0, 1e-30], None], pa.list_(pa.float32(), 4)),
    }
)


def instant(seconds, nanos):
    return common.Value(timestamp_value=common.Timestamp(seconds=seconds, nanos=nanos))


def unsigned(v):
    return common.Value(uint_value=v)


def exact(v):
    return common.Value(decimal_value=v)


def vector(v):
    return common.Value(vector_value=floats(v))


# The same rows as typed values.
TYPED = [
    row(
        1, MAX, unsigned(2**64 - 1), -128, True, 1.5, 1e308, "\u00e4\u0000\U0001f600", b"\x00\xff", -1,
        instant(9223372036, 854775807), instant(1_700_000_000, 1000), exact("12345678901234567890.1234"),
        [[MAX, None], []], (-1, "x"), vector([1, 2, 3, 4]),
    ),
    row(
        2, MIN, unsigned(0), 127, False, -0.0, 5e-324, "", b"", 20000,
        instant(-1, 999_999_999), instant(-1, 999_999_000), exact("-0.0001"),
        [None], (None, None), vector([0.5, -0.5, 0, 1e-30]),
    ),
    row(3, *[None] * 15),
]  # fmt: skip


def plain_rows(rows):
    """Typed rows as plain values, decimals by value and not by their zeros."""
    schema = common.Schema(fields=[common.Field(name=n) for n in ARROW.column_names])
    answer = search.GetResponse(
        rows=common.Rows(typed=common.TypedRows(schema=schema, rows=rows)), num_rows=len(rows)
    )
    found = columns_of(answer)
    found["money"] = [None if v is None else decimal.Decimal(v) for v in found["money"]]
    return found


def check(gate):
    create_from_arrow(gate, "types_arrow")
    create_from_schema(gate, "types_typed", gate_schema(gate, "types_arrow"))
    for name in ("types_arrow", "types_typed"):
        read_both_ways(gate, name)


def create_from_arrow(gate, name):
    rows = common.Rows(arrow_ipc=ipc_of(ARROW))
    gate.table.CreateTable(table.CreateTableRequest(table=name, rows=rows), timeout=PATIENCE)


def gate_schema(gate, name):
    described = gate.table.DescribeTable(table.DescribeTableRequest(table=name), timeout=PATIENCE)
    assert described.num_rows == 3, described
    assert [f.name for f in described.schema.fields] == ARROW.column_names
    by_name = {f.name: f.type for f in described.schema.fields}
    assert by_name["ns"].timezone == "UTC" and by_name["ns"].unit == common.TIME_UNIT_NANOSECOND
    assert (by_name["money"].precision, by_name["money"].scale) == (38, 4)
    assert by_name["vector"].kind == common.TYPE_KIND_FIXED_SIZE_LIST and by_name["vector"].size == 4
    return described.schema


def create_from_schema(gate, name, schema):
    """The schema that one table has makes another; its rows come typed."""
    gate.table.CreateTable(table.CreateTableRequest(table=name, schema=schema), timeout=PATIENCE)
    rows = common.Rows(typed=common.TypedRows(schema=schema, rows=TYPED))
    done = gate.write.Insert(write.InsertRequest(table=name, rows=rows), timeout=PATIENCE)
    assert done.num_inserted_rows == 3, done
    gate.settle(name, done.version)


def read_both_ways(gate, name):
    def get(row_format):
        keys = [common.Row(values=[value(k)]) for k in (1, 2, 3)]
        request = search.GetRequest(table=name, key_columns=["key"], keys=keys, row_format=row_format)
        return gate.search.Get(request, timeout=PATIENCE)

    found, wanted = plain_rows(get(common.ROW_FORMAT_TYPED).rows.typed.rows), plain_rows(TYPED)
    for column in ARROW.column_names:
        # repr tells -0.0 from 0.0.
        assert repr(found[column]) == repr(wanted[column]), (name, column, found[column], wanted[column])
    arrow = arrow_of(get(common.ROW_FORMAT_ARROW_IPC))
    assert arrow.schema.names == ARROW.schema.names
    for column in ARROW.column_names:
        # Lance may answer a large form of a type: the values are what counts.
        assert arrow[column].cast(ARROW.schema.field(column).type).equals(ARROW[column]), (
            name, column, arrow[column], ARROW[column],
        )  # fmt: skip
