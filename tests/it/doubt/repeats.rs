//! One server: what a repeat is answered, and what is no repeat.

use std::time::Duration;

use lancegate::proto::v1::*;
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt;

use super::{Answer, Write, all_ids, create, runs};
use crate::server::{TestServer, http_get, reason};

async fn channel(server: &TestServer) -> Channel {
    let url = format!("http://{}", server.app.grpc_address());
    Channel::from_shared(url).unwrap().connect().await.unwrap()
}

/// One write of each kind and of each way to count.
fn one_of_each(table: &str) -> Vec<Write> {
    let mut replace = Write::insert(table, 0..20);
    if let Write::Insert(request) = &mut replace {
        request.mode = InsertMode::Overwrite as i32;
    }
    let mut merge = Write::upsert(table, 15..25);
    if let Write::Upsert(request) = &mut merge {
        request.when_matched_update_all = true;
        request.when_matched_update_all_condition = Some(Filter {
            sql: "target.\"id\" > 16".into(),
            params: Vec::new(),
        });
        request.when_not_matched_insert_all = true;
        request.when_not_matched_by_source_delete = true;
        request.when_not_matched_by_source_delete_condition = Some(Filter {
            sql: "\"id\" < 5".into(),
            params: Vec::new(),
        });
    }
    vec![
        replace,
        Write::insert(table, 30..33),
        Write::upsert(table, 18..35),
        merge,
        Write::add_to_ids(table, "id < 12", 1_000),
        Write::add_to_ids(table, "id = 777", 1),
        Write::delete(table, "id % 3 = 0 and id < 1000"),
        Write::delete(table, "id = 777"),
        Write::import(table, 100..104),
        Write::delete(table, "true"),
        Write::import(table, 200..203),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_write_is_done_once_and_as_without_an_id() {
    let server = TestServer::start(0).await;
    let channel = channel(&server).await;
    create(&channel, "with", 0..10).await;
    create(&channel, "without", 0..10).await;
    let mut done: Vec<(Write, Answer)> = Vec::new();
    let pairs = one_of_each("with").into_iter().zip(one_of_each("without"));
    for (n, (with, without)) in pairs.enumerate() {
        let with = with.with_id(&format!("write {n}"));
        let first = with.send(&channel).await.unwrap();
        assert!(!first.repeated);
        let again = with.send(&channel).await.unwrap();
        let repeat = Answer {
            repeated: true,
            ..first.clone()
        };
        assert_eq!(again, repeat, "{n}");
        let plain = without.send(&channel).await.unwrap();
        assert_eq!(first.counts, plain.counts, "{n}");
        assert_eq!(
            all_ids(&channel, "with").await,
            all_ids(&channel, "without").await,
            "after {n}"
        );
        done.push((with, repeat));
    }
    // All of them once more, now that the rows are others.
    let rows = all_ids(&channel, "with").await;
    for (write, repeat) in done {
        assert_eq!(write.send(&channel).await.unwrap(), repeat);
    }
    assert_eq!(all_ids(&channel, "with").await, rows);
    assert_eq!(rows, [200, 201, 202]);
    let (_, metrics) = http_get(server.app.http_address(), "/metrics").await;
    let answered = "lancegate_repeated_writes_total{outcome=\"answered\"}";
    assert!(metrics.contains(answered), "{metrics}");
    server.app.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_under_the_id_is_refused() {
    let server = TestServer::start(0).await;
    let channel = channel(&server).await;
    create(&channel, "t", 0..3).await;
    let first = Write::insert("t", 3..5).with_id("a");
    first.send(&channel).await.unwrap();
    for other in [
        Write::insert("t", 3..6),
        Write::upsert("t", 3..5),
        Write::add_to_ids("t", "true", 1),
        Write::delete("t", "true"),
        Write::import("t", 3..5),
    ] {
        let refused = other.with_id("a").send(&channel).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
        let details = refused.get_details_bad_request().unwrap();
        assert_eq!(details.field_violations[0].field, "request_id");
    }
    let long = "x".repeat(129);
    for bad in ["new\nline", "tab\t", "ö", long.as_str()] {
        for write in one_of_each("t") {
            let refused = write.with_id(bad).send(&channel).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
            let details = refused.get_details_bad_request().unwrap();
            assert_eq!(details.field_violations[0].field, "request_id");
        }
    }
    assert_eq!(all_ids(&channel, "t").await, [0, 1, 2, 3, 4]);
    // What failed took no id.
    let wrong = Write::delete("t", "no_such_column = 1").with_id("b");
    wrong.send(&channel).await.unwrap_err();
    let right = Write::delete("t", "id = 4").with_id("b");
    assert!(!right.send(&channel).await.unwrap().repeated);
    server.app.stop().await.unwrap();
}

async fn optimize(server: &mut TestServer) -> OptimizeTableResponse {
    let request = OptimizeTableRequest {
        table: "t".into(),
        compact: true,
        prune_older_than: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    let answer = server.table.optimize_table(request).await.unwrap();
    answer.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_survive_restarts_and_pruning() {
    let mut server = TestServer::start(0).await;
    let direct = channel(&server).await;
    create(&direct, "t", 0..1).await;
    for row in 1..6 {
        Write::insert("t", row..row + 1)
            .send(&direct)
            .await
            .unwrap();
    }
    let write = Write::insert("t", 100..102).with_id("kept");
    let first = write.send(&direct).await.unwrap();
    for row in 6..11 {
        Write::insert("t", row..row + 1)
            .send(&direct)
            .await
            .unwrap();
    }
    let rows = all_ids(&direct, "t").await;
    // What is older than the write goes; the write and what follows stays.
    let removed = optimize(&mut server).await.versions_removed;
    assert_eq!(removed, first.version - 1, "versions before {first:?}");
    for restart in 0..2 {
        let repeat = Answer {
            repeated: true,
            ..first.clone()
        };
        let direct = channel(&server).await;
        assert_eq!(write.send(&direct).await.unwrap(), repeat, "{restart}");
        assert_eq!(all_ids(&direct, "t").await, rows);
        server = server.restart(0).await;
        optimize(&mut server).await;
    }
    server.app.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_created_anew_knows_no_ids() {
    let mut server = TestServer::start(0).await;
    let direct = channel(&server).await;
    let write = Write::upsert("t", 0..4).with_id("a");
    for round in 0..3 {
        create(&direct, "t", 7..8).await;
        assert!(!write.send(&direct).await.unwrap().repeated, "{round}");
        assert!(write.send(&direct).await.unwrap().repeated, "{round}");
        assert_eq!(all_ids(&direct, "t").await, [0, 1, 2, 3, 7]);
        let drop = DropTableRequest {
            table: "t".into(),
            ..Default::default()
        };
        server.table.drop_table(drop).await.unwrap();
    }
    server.app.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_finds_its_write_done() {
    let server = TestServer::start(0).await;
    let direct = channel(&server).await;
    create(&direct, "t", 0..1).await;
    let mut repeated = 0;
    let writes = runs(20).min(200) as i64;
    for n in 1..=writes {
        let write = match n % 2 {
            0 => Write::insert("t", n..n + 1),
            _ => Write::upsert("t", n..n + 1),
        };
        let write = write.with_id(&format!("write {n}"));
        // Gone at another moment each time: before it arrives, while it is staged
        // or committed, or after it.
        let patience = Duration::from_millis(n as u64 % 20 * 3);
        let _ = tokio::time::timeout(patience, write.send(&direct)).await;
        let again = write.send(&direct).await.unwrap();
        repeated += usize::from(again.repeated);
    }
    println!("{repeated} of {writes} were done although their client had gone");
    let rows: Vec<i64> = (0..=writes).collect();
    assert_eq!(all_ids(&direct, "t").await, rows);
    server.app.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_broke_off_is_done_by_its_repeat() {
    let server = TestServer::start(0).await;
    let direct = channel(&server).await;
    create(&direct, "t", 0..1).await;
    let Write::Import(messages) = Write::import("t", 1..5).with_id("a") else {
        unreachable!("an import");
    };
    // Two of four messages, and then nothing, until the client gives up.
    let (sender, half) = tokio::sync::mpsc::channel(4);
    for message in &messages[..2] {
        sender.send(message.clone()).await.unwrap();
    }
    let stream = tokio_stream::wrappers::ReceiverStream::new(half);
    let mut client = server.write.clone();
    let given_up = tokio::time::timeout(Duration::from_millis(300), client.import(stream)).await;
    assert!(given_up.is_err(), "{given_up:?}");
    assert_eq!(all_ids(&direct, "t").await, [0]);
    let whole = Write::Import(messages.clone());
    assert!(!whole.send(&direct).await.unwrap().repeated);
    assert!(whole.send(&direct).await.unwrap().repeated);
    // Fewer rows are another request.
    let fewer = Write::Import(messages[..3].to_vec());
    let refused = fewer.send(&direct).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    assert_eq!(all_ids(&direct, "t").await, [0, 1, 2, 3, 4]);
    drop(sender);
    server.app.stop().await.unwrap();
}
