//! What each of those who ask may have, of rows, and that it changes with a reload.
//! Rates, places and sizes are in the tests of the stack.

use std::fs;

use lancegate::proto::v1::*;
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{
    data::{batch, floats, ids, ipc, ipc_bytes, small},
    nodes::fleet::Fleet,
    server::{TestServer, reason, settings_with, sources},
};

/// A refusal by this quota.
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, quota: &str) {
    let status = answer.expect_err("a refusal");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(reason(&status), "QUOTA_EXCEEDED");
    let failure = status.get_details_quota_failure().expect("details");
    assert_eq!(failure.violations[0].subject, quota);
}

fn insert(first: i64, rows: i64, id: &str) -> InsertRequest {
    InsertRequest {
        table: "t".into(),
        rows: Some(ipc(&small(first, rows))),
        mode: 0,
        request_id: id.into(),
    }
}

fn search(limit: u32) -> SearchRequest {
    SearchRequest {
        table: "t".into(),
        query: Some(Query {
            vectors: vec![floats(&[0.0; 4])],
            limit,
            ..Default::default()
        }),
        ..Default::default()
    }
}

async fn rows(server: &mut TestServer) -> u64 {
    let request = CountRequest {
        table: "t".into(),
        freshness: Some(Freshness {
            kind: Some(freshness::Kind::Strong(Strong {})),
        }),
        filter: None,
    };
    server
        .search
        .count(request)
        .await
        .unwrap()
        .into_inner()
        .count
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_have_no_more_rows_than_they_may() {
    let folder = TempDir::new().unwrap();
    let quota = [("LANCEGATE_QUOTAS__ROWS_PER_WRITE", "10")];
    let config = settings_with(folder.path(), 1, &quota);
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let create = CreateTableRequest {
        table: "u".into(),
        source: Some(create_table_request::Source::Rows(ipc(&small(0, 11)))),
        exist_ok: false,
    };
    refused(server.table.create_table(create).await, "rows_per_write");
    server.write.insert(insert(10, 10, "")).await.unwrap();
    for id in ["", "an-id"] {
        refused(
            server.write.insert(insert(100, 11, id)).await,
            "rows_per_write",
        );
        let upsert = UpsertRequest {
            table: "t".into(),
            rows: Some(ipc(&small(100, 11))),
            on: vec!["id".into()],
            when_not_matched_insert_all: true,
            request_id: id.into(),
            ..Default::default()
        };
        refused(server.write.upsert(upsert).await, "rows_per_write");
        // One message more than it may have, after some that were taken.
        let part = |first: i64| ImportRequest {
            table: "t".into(),
            arrow_ipc: ipc_bytes(&small(first, 4)).into(),
            mode: 0,
            request_id: id.into(),
        };
        let import = server
            .write
            .import(tokio_stream::iter([part(100), part(104), part(108)]));
        refused(import.await, "rows_per_write");
    }
    // Rows that are changed or deleted count as well, by what the filter matches.
    for (id, all, some) in [("", "true", "id < 2"), ("another-id", "id < 11", "id < 3")] {
        let filter = |sql: &str| {
            let params = Vec::new();
            let sql = sql.into();
            Some(Filter { sql, params })
        };
        let update = |sql: &str| UpdateRequest {
            table: "t".into(),
            filter: filter(sql),
            assignments: vec![Assignment {
                column: "text".into(),
                to: Some(assignment::To::Expression("'x'".into())),
            }],
            request_id: id.into(),
        };
        refused(server.write.update(update(all)).await, "rows_per_write");
        let done = server
            .write
            .update(update(some))
            .await
            .unwrap()
            .into_inner();
        assert!((2..=3).contains(&done.num_updated_rows));
        let delete = |sql: &str| DeleteRequest {
            table: "t".into(),
            filter: filter(sql),
            request_id: id.chars().rev().collect(),
        };
        refused(server.write.delete(delete(all)).await, "rows_per_write");
        let none = server.write.delete(delete("id < 0")).await.unwrap();
        assert_eq!(none.into_inner().num_deleted_rows, 0);
    }
    assert_eq!(rows(&mut server).await, 20, "nothing of what was refused");
    // The id of what was refused is free.
    let done = server.write.insert(insert(20, 5, "an-id")).await.unwrap();
    assert!(!done.into_inner().repeated);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_no_more_rows_than_they_may() {
    let folder = TempDir::new().unwrap();
    let quota = [
        ("LANCEGATE_QUOTAS__MAX_ROWS", "7"),
        ("LANCEGATE_QUOTAS__MAX_ANSWER_BYTES", "4KiB"),
    ];
    let config = settings_with(folder.path(), 1, &quota);
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("t", ipc(&small(0, 30))).await;
    server.search.search(search(7)).await.unwrap();
    refused(server.search.search(search(8)).await, "max_rows");
    let get = |keys: i64| GetRequest {
        table: "t".into(),
        key_columns: vec!["id".into()],
        keys: (0..keys)
            .map(|key| Row {
                values: vec![Value {
                    kind: Some(value::Kind::IntValue(key)),
                }],
            })
            .collect(),
        ..Default::default()
    };
    server.search.get(get(7)).await.unwrap();
    refused(server.search.get(get(8)).await, "max_rows");
    // Pages are as large as they may be.
    let (mut token, mut pages, mut seen) = (String::new(), 0, Vec::new());
    loop {
        let scan = ScanRequest {
            table: "t".into(),
            page_token: token,
            ..Default::default()
        };
        let page = server.search.scan(scan).await.unwrap().into_inner();
        assert!(page.num_rows <= 7);
        pages += 1;
        seen.extend(ids(&batch(page.rows)));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    seen.sort_unstable();
    assert_eq!((pages, seen), (5, (0..30).collect()));
    // A stream is one answer.
    let stream = SearchStreamRequest {
        table: "t".into(),
        query: search(20).query,
        ..Default::default()
    };
    let mut stream = server
        .search
        .search_stream(stream)
        .await
        .unwrap()
        .into_inner();
    let mut outcome = Ok(());
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(status) => {
                outcome = Err(status);
                break;
            }
        }
    }
    refused(outcome, "max_rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_no_more_bytes_than_they_may() {
    let folder = TempDir::new().unwrap();
    let quota = [("LANCEGATE_QUOTAS__MAX_ANSWER_BYTES", "4KiB")];
    let config = settings_with(folder.path(), 1, &quota);
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("t", ipc(&small(0, 2_000))).await;
    server.search.search(search(20)).await.unwrap();
    refused(
        server.search.search(search(1_000)).await,
        "max_answer_bytes",
    );
    // Many plain rows are small.
    assert_eq!(rows(&mut server).await, 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_have_no_more_bytes_than_they_may() {
    let folder = TempDir::new().unwrap();
    let quota = [("LANCEGATE_QUOTAS__MAX_REQUEST_BYTES", "4KiB")];
    let config = settings_with(folder.path(), 1, &quota);
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    refused(
        server.write.insert(insert(10, 500, "")).await,
        "max_request_bytes",
    );
    let part = |first: i64, rows: i64| ImportRequest {
        table: "t".into(),
        arrow_ipc: ipc_bytes(&small(first, rows)).into(),
        ..Default::default()
    };
    // As many messages as there need be, and none of them larger.
    let import = (1..=10).map(|n| part(n * 10, 10)).collect::<Vec<_>>();
    server
        .write
        .import(tokio_stream::iter(import))
        .await
        .unwrap();
    for parts in [vec![part(200, 500)], vec![part(200, 10), part(300, 500)]] {
        let import = server.write.import(tokio_stream::iter(parts));
        refused(import.await, "max_request_bytes");
    }
    assert_eq!(rows(&mut server).await, 110);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_what_may_be_had() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("lancegate.toml");
    fs::write(&file, "").unwrap();
    let mut sources = sources(folder.path(), 1, &[]);
    sources.file = Some(file.clone());
    let mut server = TestServer::start_reloadable(folder, sources).await;
    server.table_of("t", ipc(&small(0, 30))).await;
    for _ in 0..20 {
        server.search.search(search(20)).await.unwrap();
    }
    let text = "[quotas]\nmax_rows = 5\n[quotas.principals.anonymous]\n\
                requests_per_second = 0.001\nburst = 2\n";
    fs::write(&file, text).unwrap();
    let reload = ReloadConfigurationRequest::default();
    let changes = server.cluster.reload_configuration(reload).await.unwrap();
    let changed = changes.into_inner().changes;
    assert!(
        changed.iter().any(|c| c.key == "quotas.max_rows"),
        "{changed:?}"
    );
    refused(server.search.search(search(20)).await, "max_rows");
    server.search.search(search(5)).await.unwrap();
    let status = server.search.search(search(5)).await.unwrap_err();
    let delay = status.get_details_retry_info().unwrap().retry_delay;
    assert!(delay.unwrap().as_secs() > 100);
    refused::<()>(Err(status), "requests_per_second");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forwarded_is_counted_where_it_came_in() {
    let quota = [
        ("LANCEGATE_QUOTAS__REQUESTS_PER_SECOND", "0.001"),
        ("LANCEGATE_QUOTAS__BURST", "400"),
        ("LANCEGATE_QUOTAS__MAX_ANSWER_BYTES", "4KiB"),
        ("LANCEGATE_QUOTAS__MAX_REQUEST_BYTES", "64KiB"),
    ];
    let mut fleet = Fleet::start(&quota).await;
    fleet.table_of("t", ipc(&small(0, 1_000))).await;
    let large = fleet.router.write.insert(insert(10, 4_000, "")).await;
    refused(large, "max_request_bytes");
    let search_service = &mut fleet.router.search;
    search_service.search(search(20)).await.unwrap();
    refused(search_service.search(search(900)).await, "max_answer_bytes");
    let mut passed = 0;
    let last = loop {
        match search_service.search(search(1)).await {
            Ok(_) => passed += 1,
            Err(status) => break status,
        }
        assert!(passed < 400);
    };
    refused::<()>(Err(last), "requests_per_second");
}
