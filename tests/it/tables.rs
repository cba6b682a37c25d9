//! Tables, indexes, versions, tags and columns through the contract.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, BinaryArray, FixedSizeListArray, Float32Array, Float64Array, Int64Array,
        ListArray, RecordBatch, StringArray, StructArray,
    },
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Fields, Schema as ArrowSchema},
};
use lancegate::proto::v1::*;

use super::{
    data::{batch, ids, ipc, ipc_bytes, small},
    server::TestServer,
};

async fn names(server: &mut TestServer) -> Vec<String> {
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page = server
            .table
            .list_tables(ListTablesRequest {
                page_size: 2,
                page_token: token,
            })
            .await
            .unwrap()
            .into_inner();
        assert!(page.tables.len() <= 2);
        names.extend(page.tables);
        token = page.next_page_token;
        if token.is_empty() {
            return names;
        }
    }
}

async fn describe(server: &mut TestServer, table: &str) -> DescribeTableResponse {
    let request = DescribeTableRequest {
        table: table.into(),
    };
    let answer = server.table.describe_table(request).await;
    answer.unwrap().into_inner()
}

fn create(table: &str, source: create_table_request::Source) -> CreateTableRequest {
    CreateTableRequest {
        table: table.into(),
        source: Some(source),
        exist_ok: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_begin_with_a_schema_or_with_rows() {
    use create_table_request::Source;
    let mut server = TestServer::start(1).await;
    let typed = |kind| {
        Some(Box::new(lancegate::proto::v1::DataType {
            kind: kind as i32,
            ..Default::default()
        }))
    };
    let field = |name: &str, kind| lancegate::proto::v1::Field {
        name: name.into(),
        r#type: typed(kind).map(|t| *t),
        nullable: true,
        ..Default::default()
    };
    let schema = Schema {
        fields: vec![field("id", TypeKind::Int64), field("text", TypeKind::Utf8)],
        ..Default::default()
    };
    let ipc_schema = ipc_bytes(&small(0, 0));
    for (name, source) in [
        ("a", Source::Schema(schema.clone())),
        ("b", Source::ArrowIpcSchema(ipc_schema.into())),
        ("c", Source::Rows(ipc(&small(0, 9)))),
    ] {
        let created = server.table.create_table(create(name, source)).await;
        assert_eq!(created.unwrap().into_inner().version, 1, "{name}");
    }
    assert_eq!(names(&mut server).await, ["a", "b", "c"]);
    let a = describe(&mut server, "a").await;
    assert_eq!(
        (a.schema.unwrap(), a.num_rows, a.version),
        (schema.clone(), 0, 1)
    );
    assert_eq!(describe(&mut server, "c").await.num_rows, 9);
    let again = create("a", Source::Schema(schema));
    let refused = server.table.create_table(again.clone()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::AlreadyExists);
    let accepted = CreateTableRequest {
        exist_ok: true,
        ..again
    };
    server.table.create_table(accepted).await.unwrap();
    let drop = |ignore_missing| DropTableRequest {
        table: "b".into(),
        ignore_missing,
    };
    server.table.drop_table(drop(false)).await.unwrap();
    let refused = server.table.drop_table(drop(false)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    server.table.drop_table(drop(true)).await.unwrap();
    assert_eq!(names(&mut server).await, ["a", "c"]);
}

/// 300 rows with a column for every kind of index.
fn indexable() -> RecordBatch {
    let rows = 300i32;
    let vectors = |seed: i32| -> ArrayRef {
        let values = Float32Array::from_iter_values(
            (0..rows * 8).map(|i| ((i * 37 + seed) % 101) as f32 / 101.0),
        );
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        Arc::new(FixedSizeListArray::new(item, 8, Arc::new(values), None))
    };
    let text = |i: i32| format!("word{} number {i}", i % 7);
    let labels = StringArray::from_iter_values((0..rows * 2).map(|i| format!("l{}", i % 5)));
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let offsets = OffsetBuffer::from_lengths((0..rows).map(|_| 2));
    let points = StructArray::new(
        Fields::from(vec![
            Field::new("x", DataType::Float64, false),
            Field::new("y", DataType::Float64, false),
        ]),
        vec![
            Arc::new(Float64Array::from_iter_values((0..rows).map(f64::from))),
            Arc::new(Float64Array::from_iter_values((0..rows).map(f64::from))),
        ],
        None,
    );
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "id",
            Arc::new(Int64Array::from_iter_values((0..rows).map(i64::from))),
        ),
        (
            "few",
            Arc::new(StringArray::from_iter_values(
                (0..rows).map(|i| format!("v{}", i % 3)),
            )),
        ),
        (
            "text",
            Arc::new(StringArray::from_iter_values((0..rows).map(text))),
        ),
        (
            "bytes",
            Arc::new(BinaryArray::from_iter_values(
                (0..rows).map(|i| i.to_le_bytes()),
            )),
        ),
        (
            "labels",
            Arc::new(ListArray::new(item, offsets, Arc::new(labels), None)),
        ),
        ("vector", vectors(0)),
        ("point", Arc::new(points)),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| {
            let field = Field::new(*name, column.data_type().clone(), true);
            if *name == "point" {
                let extension = ("ARROW:extension:name".into(), "geoarrow.point".into());
                return field.with_metadata([extension].into());
            }
            field
        })
        .collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).unwrap()
}

fn ivf() -> Option<IvfOptions> {
    Some(IvfOptions {
        num_partitions: 2,
        max_iterations: 2,
        sample_rate: 64,
        ..Default::default()
    })
}

fn hnsw() -> Option<HnswOptions> {
    Some(HnswOptions {
        num_edges: 4,
        ef_construction: 16,
    })
}

fn pq() -> Option<PqOptions> {
    Some(PqOptions {
        num_sub_vectors: 4,
        num_bits: 4,
    })
}

/// Column, kind, and LanceDB's name of it: all that LanceDB 0.41 offers.
fn every_kind() -> Vec<(&'static str, index_spec::Kind, &'static str)> {
    use index_spec::Kind as K;
    vec![
        ("id", K::Auto(AutoIndex {}), "BTREE"),
        (
            "vector",
            K::IvfFlat(IvfFlatIndex { ivf: ivf() }),
            "IVF_FLAT",
        ),
        ("vector", K::IvfSq(IvfSqIndex { ivf: ivf() }), "IVF_SQ"),
        (
            "vector",
            K::IvfPq(IvfPqIndex {
                ivf: ivf(),
                pq: pq(),
            }),
            "IVF_PQ",
        ),
        (
            "vector",
            K::IvfRq(IvfRqIndex {
                ivf: ivf(),
                num_bits: 1,
            }),
            "IVF_RQ",
        ),
        (
            "vector",
            K::IvfHnswFlat(IvfHnswFlatIndex {
                ivf: ivf(),
                hnsw: hnsw(),
            }),
            "IVF_HNSW_FLAT",
        ),
        (
            "vector",
            K::IvfHnswSq(IvfHnswSqIndex {
                ivf: ivf(),
                hnsw: hnsw(),
            }),
            "IVF_HNSW_SQ",
        ),
        (
            "vector",
            K::IvfHnswPq(IvfHnswPqIndex {
                ivf: ivf(),
                hnsw: hnsw(),
                pq: pq(),
            }),
            "IVF_HNSW_PQ",
        ),
        ("id", K::Btree(BTreeIndex {}), "BTREE"),
        ("few", K::Bitmap(BitmapIndex {}), "BITMAP"),
        ("labels", K::LabelList(LabelListIndex {}), "LABEL_LIST"),
        ("bytes", K::Fm(FmIndex {}), "FM"),
        ("id", K::ZoneMap(ZoneMapIndex {}), "ZONEMAP"),
        ("text", K::Ngram(NGramIndex {}), "NGRAM"),
        (
            "id",
            K::BloomFilter(BloomFilterIndex {
                number_of_items: 64,
                probability: 0.01,
            }),
            "BLOOM_FILTER",
        ),
        ("point", K::Rtree(RTreeIndex { page_size: 64 }), "RTREE"),
        ("text", K::Fts(FtsIndex::default()), "FTS"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_index_is_built_listed_and_dropped() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&indexable())).await;
    for (column, kind, lancedb_name) in every_kind() {
        server
            .table
            .create_index(CreateIndexRequest {
                table: "t".into(),
                columns: vec![column.into()],
                index: Some(IndexSpec { kind: Some(kind) }),
                name: "the_index".into(),
                replace: Some(true),
            })
            .await
            .unwrap_or_else(|e| panic!("{lancedb_name}: {e:?}"));
        let waited = server
            .table
            .wait_for_indexes(WaitForIndexesRequest {
                table: "t".into(),
                names: vec!["the_index".into()],
                timeout: None,
            })
            .await
            .unwrap()
            .into_inner();
        let [index] = waited.indexes.as_slice() else {
            panic!("{lancedb_name}: {waited:?}");
        };
        let squeezed = |name: &str| name.replace('_', "").to_uppercase();
        assert_eq!(squeezed(&index.r#type), squeezed(lancedb_name));
        assert_eq!(index.columns, [column]);
        assert_eq!(index.num_unindexed_rows, 0, "{lancedb_name}");
        server
            .table
            .drop_index(DropIndexRequest {
                table: "t".into(),
                name: "the_index".into(),
            })
            .await
            .unwrap_or_else(|e| panic!("{lancedb_name}: {e:?}"));
        let left = server
            .table
            .list_indexes(ListIndexesRequest { table: "t".into() })
            .await
            .unwrap()
            .into_inner();
        assert!(left.indexes.is_empty(), "{lancedb_name}: {left:?}");
    }
    server.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_tags_and_upkeep() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    for i in 1..5 {
        let insert = InsertRequest {
            request_id: String::new(),
            table: "t".into(),
            rows: Some(ipc(&small(i * 10, 10))),
            mode: 0,
        };
        server.write.insert(insert).await.unwrap();
    }
    let (mut versions, mut token) = (Vec::new(), String::new());
    loop {
        let page = server
            .table
            .list_versions(ListVersionsRequest {
                table: "t".into(),
                page_size: 2,
                page_token: token,
            })
            .await
            .unwrap()
            .into_inner();
        versions.extend(page.versions.iter().map(|v| v.version));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(versions, [5, 4, 3, 2, 1]);

    let tag = |version| Tag {
        name: "good".into(),
        version,
    };
    let table = || "t".to_owned();
    let create = CreateTagRequest {
        table: table(),
        tag: Some(tag(2)),
    };
    server.table.create_tag(create.clone()).await.unwrap();
    let refused = server.table.create_tag(create).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::AlreadyExists);
    let update = UpdateTagRequest {
        table: table(),
        tag: Some(tag(3)),
    };
    server.table.update_tag(update).await.unwrap();
    let list = ListTagsRequest { table: table() };
    let tags = server.table.list_tags(list.clone()).await.unwrap();
    assert_eq!(tags.into_inner().tags, [tag(3)]);
    let restored = server
        .table
        .restore_version(RestoreVersionRequest {
            table: table(),
            target: Some(restore_version_request::Target::Tag("good".into())),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(restored.version, 6);
    assert_eq!(describe(&mut server, "t").await.num_rows, 30);
    server.settled().await;
    let count = CountRequest {
        freshness: None,
        table: table(),
        filter: None,
    };
    let answer = server.search.count(count).await.unwrap().into_inner();
    assert_eq!((answer.count, answer.served.unwrap().version), (30, 6));
    let delete = DeleteTagRequest {
        table: table(),
        name: "good".into(),
    };
    server.table.delete_tag(delete).await.unwrap();
    let tags = server.table.list_tags(list).await.unwrap();
    assert!(tags.into_inner().tags.is_empty());

    assert_eq!(describe(&mut server, "t").await.num_fragments, 3);
    let optimized = server
        .table
        .optimize_table(OptimizeTableRequest {
            table: table(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (optimized.fragments_removed, optimized.fragments_added),
        (3, 1)
    );
    assert_eq!(describe(&mut server, "t").await.num_fragments, 1);
    server.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_change_and_go() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 5))).await;
    let computed = NewColumns {
        columns: vec![NewColumn {
            name: "double".into(),
            expression: "id * 2".into(),
        }],
    };
    server
        .table
        .add_columns(AddColumnsRequest {
            table: "t".into(),
            source: Some(add_columns_request::Source::Computed(computed)),
        })
        .await
        .unwrap();
    server
        .table
        .alter_columns(AlterColumnsRequest {
            table: "t".into(),
            alterations: vec![ColumnAlteration {
                path: "double".into(),
                rename: Some("twice".into()),
                ..Default::default()
            }],
        })
        .await
        .unwrap();
    server
        .table
        .drop_columns(DropColumnsRequest {
            table: "t".into(),
            columns: vec!["text".into()],
        })
        .await
        .unwrap();
    server.settled().await;
    let answer = server
        .search
        .scan(ScanRequest {
            table: "t".into(),
            query: Some(ScanQuery {
                filter: Some(Filter {
                    sql: "twice > 4".into(),
                    params: Vec::new(),
                }),
                ..Default::default()
            }),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let rows = batch(answer.rows);
    let schema = rows.schema();
    let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(columns, ["id", "vector", "twice"]);
    assert_eq!(ids(&rows), [3, 4]);
}
