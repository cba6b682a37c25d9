"""Writes fuzz/corpus/requests: messages of every kind that the target decodes, with
fields filled in at random from a fixed seed. Needs grpcio-tools:

    python -m grpc_tools.protoc -I proto --python_out=OUT proto/lancegate/v1/*.proto
    PYTHONPATH=OUT python fuzz/seeds.py
"""

import pathlib
import random

from lancegate.v1 import search_pb2, table_pb2, write_pb2

# By the first byte of an input, as fuzz_targets/requests.rs has them.
KINDS = [
    search_pb2.SearchRequest,
    search_pb2.ScanRequest,
    search_pb2.GetRequest,
    write_pb2.InsertRequest,
    table_pb2.CreateTableRequest,
    write_pb2.DeleteRequest,
    table_pb2.CreateIndexRequest,
]
EACH = 12
TEXTS = ["", "id", "vector", "text", "id > 5 AND text LIKE 'a%'", "$1", "é\u0000", "x" * 40]
CORPUS = pathlib.Path(__file__).parent / "corpus" / "requests"


def value(field, draw, depth):
    kind = field.type
    if kind == field.TYPE_MESSAGE:
        return fill(field.message_type._concrete_class(), draw, depth + 1)
    if kind == field.TYPE_STRING:
        return draw.choice(TEXTS)
    if kind == field.TYPE_BYTES:
        return draw.randbytes(draw.choice([0, 4, 16]))
    if kind == field.TYPE_BOOL:
        return draw.random() < 0.5
    if kind == field.TYPE_ENUM:
        return draw.choice(field.enum_type.values).number
    if kind in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return draw.choice([0.0, 0.5, -1.0, 3e30])
    signed = kind in (field.TYPE_INT32, field.TYPE_INT64, field.TYPE_SINT32, field.TYPE_SINT64)
    return draw.choice([0, 1, 7, 2**31 - 1] + ([-1] if signed else []))


def fill(message, draw, depth=0):
    """Some of the fields of a message, fewer the deeper it is."""
    for field in message.DESCRIPTOR.fields:
        if draw.random() > 0.7 / (1 + depth / 3) or depth > 6:
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            key, item = field.message_type.fields
            if item.type == item.TYPE_MESSAGE:
                continue
            getattr(message, field.name)[value(key, draw, depth)] = value(item, draw, depth)
        elif field.is_repeated:
            getattr(message, field.name).extend(value(field, draw, depth) for _ in range(draw.choice([1, 3])))
        elif field.type == field.TYPE_MESSAGE:
            getattr(message, field.name).CopyFrom(value(field, draw, depth))
        else:
            setattr(message, field.name, value(field, draw, depth))
    return message


def main():
    draw = random.Random(7)
    CORPUS.mkdir(parents=True, exist_ok=True)
    for number, kind in enumerate(KINDS):
        for i in range(EACH):
            # The last two are looked at by one arm of the target.
            first = bytes([min(number, 5)])
            (CORPUS / f"{kind.DESCRIPTOR.name}-{i}").write_bytes(first + fill(kind(), draw).SerializeToString())


main()
