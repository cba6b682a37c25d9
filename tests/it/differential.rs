//! The same answers as LanceDB called directly: rows, order, distances, for
//! every kind of query in the contract.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{AsArray, RecordBatch},
    compute::concat_batches,
    datatypes::Float32Type,
};
use futures::TryStreamExt;
use lancedb::{
    DistanceType as D, Table,
    index::scalar::{FtsQuery, FullTextSearchQuery, MatchQuery, PhraseQuery},
    query::{ColumnOrdering, ExecutableQuery, QueryBase, Select, VectorQuery},
    rerankers::rrf::RRFReranker,
};
use lancegate::proto::v1::{self as pb, *};
use tokio::{runtime::Runtime, sync::OnceCell};

use super::{
    data::{batch, floats, ids, ipc, packages, queries, read_ipc, url},
    place,
    server::TestServer,
};

/// One server for all of these tests: they only read.
struct Shared {
    search: search_service_client::SearchServiceClient<tonic::transport::Channel>,
    direct: Table,
    _server: TestServer,
}

/// One runtime too: what LanceDB caches of an open file ends with the runtime
/// that opened it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(8 << 20)
        .build()
        .expect("a runtime")
});

async fn shared() -> &'static Shared {
    static SHARED: OnceCell<Shared> = OnceCell::const_new();
    SHARED.get_or_init(prepare).await
}

async fn prepare() -> Shared {
    let mut server = TestServer::start(3).await;
    server.table_of("packages", ipc(&packages())).await;
    for (column, kind) in [
        (
            "vector",
            index_spec::Kind::IvfPq(IvfPqIndex {
                ivf: Some(IvfOptions {
                    distance_type: DistanceType::Cosine as i32,
                    num_partitions: 16,
                    max_iterations: 10,
                    ..Default::default()
                }),
                pq: Some(PqOptions {
                    num_sub_vectors: 48,
                    num_bits: 4,
                }),
            }),
        ),
        (
            "title",
            index_spec::Kind::Fts(FtsIndex {
                with_position: Some(true),
                ..Default::default()
            }),
        ),
        ("size", index_spec::Kind::Btree(BTreeIndex {})),
    ] {
        server
            .table
            .create_index(CreateIndexRequest {
                table: "packages".into(),
                columns: vec![column.into()],
                index: Some(IndexSpec { kind: Some(kind) }),
                name: String::new(),
                replace: None,
            })
            .await
            .unwrap();
    }
    server.settled().await;
    let folder = server.folder.path().join("primary");
    let direct = lancedb::connect(&url(&folder))
        .execute()
        .await
        .unwrap()
        .open_table("packages")
        .execute()
        .await
        .unwrap();
    Shared {
        search: server.search.clone(),
        direct,
        _server: server,
    }
}

async fn collect(query: &impl ExecutableQuery) -> RecordBatch {
    let stream = query.execute().await.unwrap();
    let schema = stream.schema();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    concat_batches(&schema, &batches).unwrap()
}

/// Runs a query through the server on every replica, as one answer and as a
/// stream, and compares with what LanceDB answered.
async fn same(what: &str, query: Query, direct: RecordBatch) {
    assert!(direct.num_rows() > 0, "{what}: a comparison of nothing");
    let mut search = shared().await.search.clone();
    let mut connections = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let answer = search
            .search(SearchRequest {
                freshness: None,
                table: "packages".into(),
                query: Some(query.clone()),
                row_format: 0,
            })
            .await
            .unwrap_or_else(|e| panic!("{what}: {e:?}"))
            .into_inner();
        connections.insert(answer.served.unwrap().connection);
        assert_eq!(batch(answer.rows), direct, "{what}");
    }
    let stream = search
        .search_stream(SearchStreamRequest {
            freshness: None,
            table: "packages".into(),
            query: Some(query),
        })
        .await
        .unwrap()
        .into_inner();
    let chunks: Vec<SearchStreamResponse> = stream.try_collect().await.unwrap();
    connections.extend(chunks[0].served.as_ref().map(|s| s.connection.clone()));
    let bytes: Vec<u8> = chunks.iter().flat_map(|c| c.arrow_ipc.to_vec()).collect();
    assert_eq!(read_ipc(&bytes), direct, "{what}, streamed");
    assert!(!connections.contains("primary"), "{what}: {connections:?}");
}

fn base() -> Query {
    Query {
        vectors: vec![floats(&queries()[0].vector)],
        limit: 10,
        columns: vec!["id".into(), "title".into()],
        ..Default::default()
    }
}

fn direct_query(table: &Table) -> VectorQuery {
    table
        .query()
        .select(Select::columns(&["id", "title"]))
        .limit(10)
        .nearest_to(queries()[0].vector.as_slice())
        .unwrap()
}

#[test]
fn recall_of_a_flat_search_is_one() {
    RUNTIME.block_on(recall_of_a_flat_search_is_one_async());
}

async fn recall_of_a_flat_search_is_one_async() {
    let mut search = shared().await.search.clone();
    let (mut found, mut wanted) = (0, 0);
    for query in queries() {
        let answer = search
            .search(SearchRequest {
                freshness: None,
                table: "packages".into(),
                query: Some(Query {
                    vectors: vec![floats(&query.vector)],
                    limit: 10,
                    bypass_vector_index: true,
                    distance_type: DistanceType::Cosine as i32,
                    columns: vec!["id".into()],
                    ..Default::default()
                }),
                row_format: 0,
            })
            .await
            .unwrap()
            .into_inner();
        let ids = ids(&batch(answer.rows));
        found += query.neighbors.iter().filter(|n| ids.contains(n)).count();
        wanted += query.neighbors.len();
    }
    assert_eq!((found, wanted), (2000, 2000));
}

#[test]
fn vector_searches() {
    RUNTIME.block_on(vector_searches_async());
}

async fn vector_searches_async() {
    let table = &shared().await.direct;
    let direct = || direct_query(table);
    same("the index", base(), collect(&direct()).await).await;
    for (distance, ours) in [
        (D::L2, DistanceType::L2),
        (D::Cosine, DistanceType::Cosine),
        (D::Dot, DistanceType::Dot),
    ] {
        let query = Query {
            bypass_vector_index: true,
            distance_type: ours as i32,
            ..base()
        };
        let expected = collect(&direct().bypass_vector_index().distance_type(distance)).await;
        same("flat", query, expected).await;
    }
    let query = Query {
        nprobes: 8,
        refine_factor: Some(5),
        ..base()
    };
    let expected = collect(&direct().nprobes(8).unwrap().refine_factor(5)).await;
    same("nprobes and refine", query, expected).await;
    let query = Query {
        minimum_nprobes: 2,
        maximum_nprobes: 6,
        ..base()
    };
    let expected = direct().minimum_nprobes(2).unwrap();
    let expected = expected.maximum_nprobes(Some(6)).unwrap();
    same("probe bounds", query, collect(&expected).await).await;
    let query = Query {
        offset: 3,
        limit: 4,
        with_row_id: true,
        ..base()
    };
    let expected = direct().limit(4).offset(3).with_row_id();
    same("offset and row ids", query, collect(&expected).await).await;
    let query = Query {
        distance_lower_bound: Some(0.3),
        distance_upper_bound: Some(0.8),
        bypass_vector_index: true,
        distance_type: DistanceType::Cosine as i32,
        ..base()
    };
    let expected = direct()
        .bypass_vector_index()
        .distance_type(D::Cosine)
        .distance_range(Some(0.3), Some(0.8));
    same("a distance range", query, collect(&expected).await).await;
    let query = Query {
        fast_search: true,
        columns: Vec::new(),
        ..base()
    };
    let expected = direct().select(Select::All).fast_search();
    same("fast search, all columns", query, collect(&expected).await).await;
}

#[test]
fn several_query_vectors_at_once() {
    RUNTIME.block_on(several_query_vectors_at_once_async());
}

async fn several_query_vectors_at_once_async() {
    let table = &shared().await.direct;
    let vectors: Vec<Vec<f32>> = queries().into_iter().take(5).map(|q| q.vector).collect();
    for bypass in [false, true] {
        let query = Query {
            vectors: vectors.iter().map(|v| floats(v)).collect(),
            bypass_vector_index: bypass,
            ..base()
        };
        let mut expected = table
            .query()
            .select(Select::columns(&["id", "title"]))
            .limit(10)
            .nearest_to(vectors[0].as_slice())
            .unwrap();
        for vector in &vectors[1..] {
            expected = expected.add_query_vector(vector.as_slice()).unwrap();
        }
        if bypass {
            expected = expected.bypass_vector_index();
        }
        let expected = collect(&expected).await;
        assert_eq!(expected.num_rows(), 50);
        same("five vectors", query, expected).await;
    }
}

#[test]
fn filtered_searches() {
    RUNTIME.block_on(filtered_searches_async());
}

async fn filtered_searches_async() {
    let table = &shared().await.direct;
    // Most rows, so that some of the nearest ones are left after a postfilter.
    let sql = "section = 'doc' OR size > 20000";
    for postfilter in [false, true] {
        for bypass in [false, true] {
            let query = Query {
                filter: Some(Filter {
                    sql: "section = $1 OR size > $2".into(),
                    params: vec![
                        Value {
                            kind: Some(value::Kind::StringValue("doc".into())),
                        },
                        Value {
                            kind: Some(value::Kind::IntValue(20_000)),
                        },
                    ],
                }),
                postfilter,
                bypass_vector_index: bypass,
                ..base()
            };
            let mut expected = direct_query(table).only_if(sql);
            if postfilter {
                expected = expected.postfilter();
            }
            if bypass {
                expected = expected.bypass_vector_index();
            }
            same("a filter", query, collect(&expected).await).await;
        }
    }
}

fn text_query(query: full_text_query::Query) -> Query {
    Query {
        full_text: Some(FullTextQuery { query: Some(query) }),
        limit: 10,
        columns: vec!["id".into(), "title".into()],
        ..Default::default()
    }
}

#[test]
fn full_text_searches() {
    RUNTIME.block_on(full_text_searches_async());
}

async fn full_text_searches_async() {
    let table = &shared().await.direct;
    let direct = |query: FtsQuery| {
        table
            .query()
            .select(Select::columns(&["id", "title"]))
            .full_text_search(FullTextSearchQuery::new_query(query))
            .limit(10)
    };
    let expected = direct(FtsQuery::Match(MatchQuery::new("python library".into())));
    let query = text_query(full_text_query::Query::Text("python library".into()));
    same("words", query, collect(&expected).await).await;

    let fuzzy = MatchQuery::new("pyhton".into())
        .with_column(Some("title".into()))
        .with_fuzziness(Some(2));
    let query = text_query(full_text_query::Query::Match(pb::MatchQuery {
        terms: "pyhton".into(),
        column: "title".into(),
        fuzziness: Some(2),
        ..Default::default()
    }));
    same(
        "a fuzzy word",
        query,
        collect(&direct(FtsQuery::Match(fuzzy))).await,
    )
    .await;

    let phrase = PhraseQuery::new("development files".into()).with_column(Some("title".into()));
    let query = text_query(full_text_query::Query::Phrase(pb::PhraseQuery {
        terms: "development files".into(),
        column: "title".into(),
        slop: 0,
    }));
    same(
        "a phrase",
        query,
        collect(&direct(FtsQuery::Phrase(phrase))).await,
    )
    .await;

    let with = |terms: &str| {
        FtsQuery::Match(MatchQuery::new(terms.into()).with_column(Some("title".into())))
    };
    let ours = |terms: &str| FullTextQuery {
        query: Some(full_text_query::Query::Match(pb::MatchQuery {
            terms: terms.into(),
            column: "title".into(),
            ..Default::default()
        })),
    };
    let boolean = lancedb::index::scalar::BooleanQuery::new([])
        .with_must(with("library"))
        .with_must_not(with("python"))
        .with_should(with("development"));
    let query = text_query(full_text_query::Query::Boolean(pb::BooleanQuery {
        should: vec![ours("development")],
        must: vec![ours("library")],
        must_not: vec![ours("python")],
    }));
    let expected = collect(&direct(FtsQuery::Boolean(boolean))).await;
    same("a combination", query, expected).await;

    let boost = lancedb::index::scalar::BoostQuery::new(with("library"), with("perl"), Some(0.3));
    let query = text_query(full_text_query::Query::Boost(Box::new(pb::BoostQuery {
        positive: Some(Box::new(ours("library"))),
        negative: Some(Box::new(ours("perl"))),
        negative_boost: 0.3,
    })));
    same(
        "a boost",
        query,
        collect(&direct(FtsQuery::Boost(boost))).await,
    )
    .await;
}

#[test]
fn hybrid_searches() {
    RUNTIME.block_on(hybrid_searches_async());
}

async fn hybrid_searches_async() {
    let table = &shared().await.direct;
    let text = "image viewer";
    let direct = |limit: usize, k: f32| {
        table
            .query()
            .select(Select::columns(&["id", "title"]))
            .full_text_search(FullTextSearchQuery::new(text.into()))
            .limit(limit)
            .rerank(Arc::new(RRFReranker::new(k)))
            .nearest_to(queries()[0].vector.as_slice())
            .unwrap()
    };
    let query = |hybrid| Query {
        hybrid,
        full_text: Some(FullTextQuery {
            query: Some(full_text_query::Query::Text(text.into())),
        }),
        ..base()
    };
    let collect_hybrid = async |q: VectorQuery| {
        let stream = q.execute_hybrid(Default::default()).await.unwrap();
        let schema = stream.schema();
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        concat_batches(&schema, &batches).unwrap()
    };
    let expected = collect_hybrid(direct(10, 60.0)).await;
    let scores = expected.column_by_name("_relevance_score").unwrap();
    let scores = scores.as_primitive::<Float32Type>().values();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    same("hybrid", query(None), expected).await;
    let hybrid = Hybrid {
        rrf_k: 10.0,
        normalize: Normalize::Rank as i32,
    };
    let expected = direct(10, 10.0).norm(lancedb::rerankers::NormalizeMethod::Rank);
    same(
        "hybrid by rank",
        query(Some(hybrid)),
        collect_hybrid(expected).await,
    )
    .await;
    // Pages of the fused list put together are the fused list.
    let whole = collect_hybrid(direct(8, 60.0)).await;
    let page = Query {
        offset: 5,
        limit: 3,
        ..query(None)
    };
    same("a page of a hybrid search", page, whole.slice(5, 3)).await;
}

#[test]
fn scans_in_pages_counts_and_gets() {
    RUNTIME.block_on(scans_in_pages_counts_and_gets_async());
}

async fn scans_in_pages_counts_and_gets_async() {
    let shared = shared().await;
    let (mut search, table) = (shared.search.clone(), &shared.direct);
    let filter = Some(Filter {
        sql: "size > 50000".into(),
        params: Vec::new(),
    });
    for ordered in [false, true] {
        let order_by = match ordered {
            true => vec![Ordering {
                column: "size".into(),
                descending: true,
                nulls_first: false,
            }],
            false => Vec::new(),
        };
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let answer = search
                .scan(ScanRequest {
                    freshness: None,
                    table: "packages".into(),
                    query: Some(ScanQuery {
                        filter: filter.clone(),
                        columns: vec!["id".into(), "size".into()],
                        order_by: order_by.clone(),
                        with_row_id: true,
                    }),
                    page_size: 97,
                    page_token: token,
                    row_format: 0,
                })
                .await
                .unwrap()
                .into_inner();
            pages.push(batch(answer.rows));
            token = answer.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let mut expected = table
            .query()
            .select(Select::columns(&["id", "size"]))
            .only_if("size > 50000")
            .with_row_id();
        if ordered {
            expected =
                expected.order_by(Some(vec![ColumnOrdering::desc_nulls_last("size".into())]));
        }
        let expected = collect(&expected).await;
        assert!(pages.len() > 5, "{} pages", pages.len());
        let all = concat_batches(&pages[0].schema(), &pages).unwrap();
        if ordered {
            // Rows of one size may come in any order; none is lost or doubled.
            assert_eq!(all.column_by_name("size"), expected.column_by_name("size"));
            let (mut a, mut b) = (ids(&all), ids(&expected));
            a.sort_unstable();
            b.sort_unstable();
            assert_eq!(a, b);
        } else {
            assert_eq!(all, expected);
        }
    }
    let count = search
        .count(CountRequest {
            freshness: None,
            table: "packages".into(),
            filter,
        })
        .await
        .unwrap()
        .into_inner()
        .count;
    let expected = table.count_rows(Some("size > 50000".into())).await.unwrap();
    assert_eq!(count, expected as u64);

    let all = ids(&packages());
    let wanted = [all[7], all[3], -5, all[1999], all[0]];
    let answer = search
        .get(GetRequest {
            freshness: None,
            table: "packages".into(),
            key_columns: vec!["id".into()],
            keys: wanted
                .iter()
                .map(|id| Row {
                    values: vec![Value {
                        kind: Some(value::Kind::IntValue(*id)),
                    }],
                })
                .collect(),
            columns: vec!["title".into(), "id".into()],
            with_row_id: false,
            row_format: 0,
        })
        .await
        .unwrap()
        .into_inner();
    let rows = batch(answer.rows);
    assert_eq!(ids(&rows), [all[7], all[3], all[1999], all[0]]);
    assert_eq!(rows.num_columns(), 2);
}

#[test]
fn plans_are_lancedbs() {
    RUNTIME.block_on(plans_are_lancedbs_async());
}

async fn plans_are_lancedbs_async() {
    let shared = shared().await;
    let mut search = shared.search.clone();
    let mut explain = async |query: Query, analyze| {
        search
            .explain(ExplainRequest {
                freshness: None,
                table: "packages".into(),
                target: Some(explain_request::Target::Query(query)),
                analyze,
                verbose: false,
            })
            .await
            .unwrap()
            .into_inner()
            .plan
    };
    let expected = direct_query(&shared.direct)
        .explain_plan(false)
        .await
        .unwrap();
    let plan = explain(base(), false).await;
    let folder = shared._server.folder.path().join("primary");
    let inside = format!("{}/", place::within(&folder).display());
    assert!(expected.contains(&inside), "{expected}");
    assert_eq!(plan, expected.replace(&inside, ""));
    assert!(plan.contains("ANN"), "{plan}");
    let analyzed = explain(base(), true).await;
    assert!(analyzed.contains("elapsed_compute"), "{analyzed}");
    let hybrid = Query {
        full_text: Some(FullTextQuery {
            query: Some(full_text_query::Query::Text("image".into())),
        }),
        ..base()
    };
    let plan = explain(hybrid, false).await;
    assert!(
        plan.contains("vector search:") && plan.contains("full-text search:"),
        "{plan}"
    );
}
