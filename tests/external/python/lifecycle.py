"""The life of one table: created, filled, indexed, searched, changed and read back."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from gate import PATIENCE, arrow_of, columns_of, floats, ipc_of, row, value, where
from lancegate.v1 import common_pb2 as common
from lancegate.v1 import search_pb2 as search
from lancegate.v1 import table_pb2 as table
from lancegate.v1 import write_pb2 as write

SAMPLE = Path(__file__).parents[3] / "sample"
TABLE = "packages"
COSINE = common.DISTANCE_TYPE_COSINE


def check(gate):
    packages = pq.read_table(SAMPLE / "packages.parquet")
    create_and_import(gate, packages)
    create_indexes(gate)
    queries = pq.read_table(SAMPLE / "package_queries.parquet").to_pylist()
    search_by_vector(gate, queries)
    search_by_words(gate)
    search_by_both(gate, queries[0])
    take_turns(gate)
    scan_in_pages(gate, packages)
    change_rows(gate, packages)


def create_and_import(gate, packages):
    """The first rows make the table; the others come as one stream, in one version."""
    first = common.Rows(arrow_ipc=ipc_of(packages.slice(0, 100)))
    made = gate.table.CreateTable(table.CreateTableRequest(table=TABLE, rows=first), timeout=PATIENCE)
    assert made.served.role == common.ROLE_PRIMARY, made

    def chunks():
        for i, start in enumerate(range(100, packages.num_rows, 475)):
            part = ipc_of(packages.slice(start, 475))
            yield write.ImportRequest(table=TABLE if i == 0 else "", arrow_ipc=part)

    done = gate.write.Import(chunks(), timeout=PATIENCE)
    assert done.num_inserted_rows == packages.num_rows - 100, done
    assert done.version == made.version + 1, (made.version, done.version)
    gate.settle(TABLE, done.version)
    counted = gate.search.Count(search.CountRequest(table=TABLE), timeout=PATIENCE)
    assert counted.count == packages.num_rows, counted
    assert counted.served.role == common.ROLE_REPLICA, counted


def create_indexes(gate):
    ivf_pq = table.IvfPqIndex(
        ivf=table.IvfOptions(distance_type=COSINE, num_partitions=4), pq=table.PqOptions(num_sub_vectors=48)
    )
    for column, spec in {
        "vector": table.IndexSpec(ivf_pq=ivf_pq),
        "title": table.IndexSpec(fts=table.FtsIndex(with_position=True)),
        "id": table.IndexSpec(btree=table.BTreeIndex()),
    }.items():
        request = table.CreateIndexRequest(table=TABLE, columns=[column], index=spec)
        gate.table.CreateIndex(request, timeout=PATIENCE)
    waited = gate.table.WaitForIndexes(table.WaitForIndexesRequest(table=TABLE), timeout=PATIENCE)
    kinds = {i.columns[0]: i.type.upper().replace("_", "") for i in waited.indexes}
    assert kinds == {"vector": "IVFPQ", "title": "FTS", "id": "BTREE"}, kinds
    assert all(i.num_unindexed_rows == 0 for i in waited.indexes), waited
    described = gate.table.DescribeTable(table.DescribeTableRequest(table=TABLE), timeout=PATIENCE)
    gate.settle(TABLE, described.version)


def search_by_vector(gate, queries):
    """Exact answers are the known neighbours; floats, bytes and both formats agree."""
    indexed_hits = 0
    for q in queries:
        exact = dict(distance_type=COSINE, limit=10, columns=["id"], bypass_vector_index=True)
        as_floats = gate.find(TABLE, search.Query(vectors=[floats(q["vector"])], **exact))
        ids = columns_of(as_floats)["id"]
        assert set(ids) == set(q["neighbors"]), (q["text"], ids, q["neighbors"])
        assert columns_of(as_floats)["_distance"] == sorted(columns_of(as_floats)["_distance"])
        data = pa.array(q["vector"], pa.float32()).buffers()[1].to_pybytes()[: 4 * len(q["vector"])]
        raw = common.Vector(bytes=common.VectorBytes(element=common.VECTOR_ELEMENT_F32, data=data))
        as_bytes = gate.find(TABLE, search.Query(vectors=[raw], **exact), common.ROW_FORMAT_ARROW_IPC)
        assert arrow_of(as_bytes)["id"].to_pylist() == ids, q["text"]
        indexed = search.Query(
            vectors=[floats(q["vector"])], limit=10, columns=["id"], nprobes=4, refine_factor=10
        )
        indexed_hits += len(set(columns_of(gate.find(TABLE, indexed))["id"]) & set(q["neighbors"]))
    recall = indexed_hits / (10 * len(queries))
    print(f"  recall@10: 1.000 exact, {recall:.3f} by the IVF_PQ index, {len(queries)} queries")
    assert recall >= 0.95, recall

    several = search.Query(vectors=[floats(q["vector"]) for q in queries[:3]], limit=5, distance_type=COSINE)
    found = columns_of(gate.find(TABLE, several))
    assert Counter(found["query_index"]) == {0: 5, 1: 5, 2: 5}, found["query_index"]
    bound = search.Query(
        vectors=[floats(queries[0]["vector"])],
        limit=10,
        columns=["section", "size"],
        filter=where("section = $1 AND size < $2", "libs", 1_000_000),
    )
    found = columns_of(gate.find(TABLE, bound))
    assert found["section"] == ["libs"] * 10 and max(found["size"]) < 1_000_000, found


def search_by_words(gate):
    words = search.Query(full_text=search.FullTextQuery(text="database"), limit=10, columns=["title"])
    found = columns_of(gate.find(TABLE, words))
    assert found["title"] and all("database" in t.lower() for t in found["title"]), found
    assert found["_score"] == sorted(found["_score"], reverse=True), found
    phrase = search.FullTextQuery(phrase=search.PhraseQuery(terms="web server", column="title"))
    found = columns_of(gate.find(TABLE, search.Query(full_text=phrase, limit=10, columns=["title"])))
    assert found["title"] and all("web server" in t.lower() for t in found["title"]), found


def search_by_both(gate, q):
    both = search.Query(
        vectors=[floats(q["vector"])], full_text=search.FullTextQuery(text="database"), limit=10, columns=["id"]
    )
    answer = gate.find(TABLE, both)
    scores = columns_of(answer)["_relevance_score"]
    assert answer.num_rows == 10 and scores == sorted(scores, reverse=True), answer


def take_turns(gate):
    """Reads take the replicas in turn, and the message and the metadata agree."""
    served = Counter()
    request = search.CountRequest(table=TABLE)
    for _ in range(30):
        answer, call = gate.search.Count.with_call(request, timeout=PATIENCE)
        headers = dict(call.initial_metadata())
        assert headers["x-lancegate-connection"] == answer.served.connection, (headers, answer)
        assert headers["x-lancegate-route"] == answer.served.route != "", (headers, answer)
        assert headers["x-lancegate-lag-versions"] == str(answer.served.lag_versions) == "0", (headers, answer)
        assert headers["x-lancedb-version"] == str(answer.served.version), (headers, answer)
        assert answer.served.role == common.ROLE_REPLICA and answer.served.version > 0, answer
        served[answer.served.connection] += 1
    assert served == {"replica-1": 15, "replica-2": 15}, served
    roles = Counter(c.role for c in gate.topology().connections)
    assert roles == {common.ROLE_PRIMARY: 1, common.ROLE_REPLICA: 2}, roles


def scan_in_pages(gate, packages):
    """Every row exactly once, in order, all pages of one version."""
    query = search.ScanQuery(
        columns=["id"], order_by=[search.Ordering(column="size", descending=True), search.Ordering(column="id")]
    )
    ids, versions, token = [], set(), ""
    while True:
        request = search.ScanRequest(
            table=TABLE, query=query, page_size=333, page_token=token, row_format=common.ROW_FORMAT_TYPED
        )
        page = gate.search.Scan(request, timeout=PATIENCE)
        ids += columns_of(page)["id"]
        versions.add(page.served.version)
        token = page.next_page_token
        if not token:
            break
        assert page.num_rows == 333, page.num_rows
    wanted = packages.sort_by([("size", "descending"), ("id", "ascending")])["id"].to_pylist()
    assert ids == wanted and len(versions) == 1, (len(ids), versions)


def change_rows(gate, packages):
    known, gone, other = packages["id"].to_pylist()[:3]
    fresh = 9_007_199_254_740_993  # 2^53 + 1: no double holds it
    replaced = packages.slice(0, 1).set_column(3, "title", pa.array(["changed by upsert"]))
    added = replaced.set_column(0, "id", pa.array([fresh], pa.int64()))
    rows = common.Rows(arrow_ipc=ipc_of(pa.concat_tables([replaced, added])))
    upserted = gate.write.Upsert(write.UpsertRequest(table=TABLE, on=["id"], rows=rows), timeout=PATIENCE)
    assert (upserted.num_updated_rows, upserted.num_inserted_rows) == (1, 1), upserted

    # A value that would end a pasted string stays a value.
    title = "it's'; DROP TABLE packages; --"
    updated = gate.write.Update(
        write.UpdateRequest(
            table=TABLE,
            filter=where("id = $1", other),
            assignments=[
                write.Assignment(column="title", value=value(title)),
                write.Assignment(column="size", expression="size + 1"),
            ],
        ),
        timeout=PATIENCE,
    )
    assert updated.num_updated_rows == 1, updated
    deleted = gate.write.Delete(
        write.DeleteRequest(table=TABLE, filter=where("id IN $1", [gone, -1])), timeout=PATIENCE
    )
    assert deleted.num_deleted_rows == 1, deleted
    assert upserted.version < updated.version < deleted.version
    gate.settle(TABLE, deleted.version)

    keys = [row(k) for k in (fresh, gone, other, known)]
    request = search.GetRequest(
        table=TABLE,
        key_columns=["id"],
        keys=keys,
        columns=["id", "title", "size"],
        row_format=common.ROW_FORMAT_TYPED,
    )
    found = columns_of(gate.search.Get(request, timeout=PATIENCE))
    assert found["id"] == [fresh, other, known], found
    assert found["title"] == ["changed by upsert", title, "changed by upsert"], found
    assert found["size"][1] == packages["size"][2].as_py() + 1, found
    counted = gate.search.Count(
        search.CountRequest(table=TABLE, filter=where("title = $1", title)), timeout=PATIENCE
    )
    assert counted.count == 1, counted
