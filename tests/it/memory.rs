//! The memory of one query: one that needs too much fails, and the others go on.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use lancegate::proto::v1::*;
use tempfile::TempDir;
use tonic::{Code, Status};

use super::{
    data::{batch, floats, ids, ipc, small},
    server::{TestServer, reason, settings_with, wait_until},
};

const ROWS: i64 = 40_000;

/// Rows of about a KiB, in no order.
fn wide() -> RecordBatch {
    let mixed = |i: i64| (i * 7_919) % ROWS;
    let texts = (0..ROWS).map(|i| format!("{:06}{}", mixed(i), "x".repeat(1_000)));
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let values = Float32Array::from_iter_values((0..ROWS * 2).map(|i| i as f32));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((0..ROWS).map(mixed))),
        Arc::new(StringArray::from_iter_values(texts)),
        Arc::new(FixedSizeListArray::new(
            Arc::clone(&item),
            2,
            Arc::new(values),
            None,
        )),
    ];
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("text", DataType::Utf8, false),
        Field::new("vector", DataType::FixedSizeList(item, 2), false),
    ]);
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn ordered(page_size: u32) -> ScanRequest {
    ScanRequest {
        table: "wide".into(),
        page_size,
        query: Some(ScanQuery {
            order_by: vec![Ordering {
                column: "text".into(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn too_large(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(reason(status), "TOO_LARGE");
    let text = status.message();
    assert!(text.contains("limits.max_query_memory"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_needs_too_much_fails_and_the_others_go_on() {
    let folder = TempDir::new().unwrap();
    let settings = [("LANCEGATE_LIMITS__MAX_QUERY_MEMORY", "12MiB")];
    let config = settings_with(folder.path(), 1, &settings);
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("wide", ipc(&wide())).await;
    server.table_of("t", ipc(&small(0, 1_000))).await;

    let greedy = (0..3).map(|_| {
        let mut search = server.search.clone();
        tokio::spawn(async move { search.scan(ordered(10_000)).await })
    });
    let greedy: Vec<_> = greedy.collect();
    // Beside them everybody else has all that a query may have.
    for _ in 0..10 {
        let page = server.search.scan(ordered(10)).await.unwrap().into_inner();
        assert_eq!(ids(&batch(page.rows)), (0..10).collect::<Vec<_>>());
        let search = SearchRequest {
            table: "t".into(),
            query: Some(Query {
                vectors: vec![floats(&[0.0; 4])],
                limit: 5,
                ..Default::default()
            }),
            ..Default::default()
        };
        let found = server.search.search(search).await.unwrap().into_inner();
        assert_eq!(ids(&batch(found.rows)), (0..5).collect::<Vec<_>>());
    }
    for query in greedy {
        too_large(&query.await.unwrap().unwrap_err());
    }
    // A plan that is run to be looked at is a query like any other.
    let explain = |analyze| ExplainRequest {
        table: "wide".into(),
        target: Some(explain_request::Target::Scan(ordered(1).query.unwrap())),
        analyze,
        ..Default::default()
    };
    too_large(&server.search.explain(explain(true)).await.unwrap_err());
    let plan = server.search.explain(explain(false)).await.unwrap();
    assert!(plan.into_inner().plan.contains("Sort"));
    assert!(server.app.serving("lancegate.v1.SearchService"));

    // With more, all of them are answered.
    let more = [("LANCEGATE_LIMITS__MAX_QUERY_MEMORY", "512MiB")];
    let mut server = server.restart_with(1, &more).await;
    let page = server.search.scan(ordered(10_000)).await.unwrap();
    assert_eq!(page.into_inner().num_rows, 10_000);
    server.search.explain(explain(true)).await.unwrap();
}

fn search(table: &str, limit: u32, columns: &[&str]) -> SearchRequest {
    SearchRequest {
        table: table.into(),
        query: Some(Query {
            vectors: vec![floats(&[0.0; 2])],
            limit,
            columns: columns.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_rows_at_once_are_no_answer_where_they_are_too_many() {
    let folder = TempDir::new().unwrap();
    let settings = [
        ("LANCEGATE_LIMITS__MAX_LIMIT", "4294967295"),
        ("LANCEGATE_LIMITS__MAX_PAGE_SIZE", "4294967295"),
        ("LANCEGATE_LIMITS__MAX_RESPONSE_BYTES", "4MiB"),
        ("LANCEGATE_ADMISSION__MAX_ANSWER_BYTES", "16MiB"),
    ];
    let config = settings_with(folder.path(), 1, &settings);
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("wide", ipc(&wide())).await;
    let mut greedy = Vec::new();
    for limit in [1 << 31, u32::MAX] {
        let mut service = server.search.clone();
        greedy.push(tokio::spawn(async move {
            let answer = service.search(search("wide", limit, &[])).await;
            answer.err()
        }));
        let mut service = server.search.clone();
        greedy.push(tokio::spawn(async move {
            let request = ScanRequest {
                table: "wide".into(),
                page_size: limit,
                ..Default::default()
            };
            service.scan(request).await.err()
        }));
    }
    for query in greedy {
        let status = query.await.unwrap().expect("a refusal");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(["TOO_LARGE", "OVERLOADED"].contains(&reason(&status).as_str()));
    }
    // As many rows as that of what is small are answered.
    let small = server
        .search
        .search(search("wide", u32::MAX, &["id"]))
        .await;
    assert_eq!(small.unwrap().into_inner().num_rows, ROWS as u32);
    wait_until("given back", || server.app.door().answer_bytes() == 0).await;

    // What surely is too large is not read: the message names what asks for it.
    let settings = [
        ("LANCEGATE_LIMITS__MAX_LIMIT", "4294967295"),
        ("LANCEGATE_LIMITS__MAX_PAGE_SIZE", "4294967295"),
        ("LANCEGATE_LIMITS__MAX_RESPONSE_BYTES", "100KiB"),
    ];
    let mut server = server.restart_with(1, &settings).await;
    let status = server.search.search(search("wide", u32::MAX, &[])).await;
    let text = status.unwrap_err().message().to_owned();
    assert!(text.starts_with("query.limit: "), "{text}");
    let scan = ScanRequest {
        table: "wide".into(),
        page_size: u32::MAX,
        query: Some(ScanQuery {
            columns: vec!["vector".into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let text = server
        .search
        .scan(scan)
        .await
        .unwrap_err()
        .message()
        .to_owned();
    assert!(text.starts_with("page_size: "), "{text}");
}
