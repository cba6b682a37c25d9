//! Writes through the contract: what they change, and what they leave alone.

use std::time::Duration;

use arrow::{array::AsArray, compute::concat_batches};
use lancegate::{connection::Lane, domain::TableName, proto::v1::*};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinSet};
use tonic::{Code, Request};

use super::{
    data::{batch, ids, ipc, ipc_bytes, packages, small},
    server::{TestServer, settings_with, wait_until},
};

fn filter(sql: &str, params: Vec<Value>) -> Option<Filter> {
    Some(Filter {
        sql: sql.into(),
        params,
    })
}

fn int(value: i64) -> Value {
    Value {
        kind: Some(value::Kind::IntValue(value)),
    }
}

fn text(value: &str) -> Value {
    Value {
        kind: Some(value::Kind::StringValue(value.into())),
    }
}

/// Ids and texts of all rows, by id, once the replicas have them.
async fn rows(server: &mut TestServer) -> Vec<(i64, Option<String>)> {
    server.settled().await;
    let answer = server
        .search
        .scan(ScanRequest {
            table: "t".into(),
            page_size: 10_000,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let rows = batch(answer.rows);
    let texts = rows.column_by_name("text").unwrap().as_string::<i32>();
    let texts = texts.iter().map(|t| t.map(str::to_owned));
    let mut rows: Vec<_> = ids(&rows).into_iter().zip(texts).collect();
    rows.sort();
    rows
}

async fn ids_of(server: &mut TestServer) -> Vec<i64> {
    rows(server).await.into_iter().map(|(id, _)| id).collect()
}

fn upsert(first: i64, count: i64) -> UpsertRequest {
    UpsertRequest {
        request_id: String::new(),
        table: "t".into(),
        on: vec!["id".into()],
        rows: Some(ipc(&small(first, count))),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn insert_update_and_delete() {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 4))).await;
    let inserted = server
        .write
        .insert(InsertRequest {
            request_id: String::new(),
            table: "t".into(),
            rows: Some(ipc(&small(4, 2))),
            mode: InsertMode::Append as i32,
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((inserted.num_inserted_rows, inserted.version), (2, 2));
    let awkward = "it's \\ \"quoted\" $1 -- \u{1F600}";
    let updated = server
        .write
        .update(UpdateRequest {
            request_id: String::new(),
            table: "t".into(),
            filter: filter("id IN $1", vec![list(&[1, 2])]),
            assignments: vec![assign("text", assignment::To::Value(text(awkward)))],
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(updated.num_updated_rows, 2);
    server
        .write
        .update(UpdateRequest {
            request_id: String::new(),
            table: "t".into(),
            filter: filter("text = $1 AND id = $2", vec![text(awkward), int(2)]),
            assignments: vec![assign("text", assignment::To::Value(Value::default()))],
        })
        .await
        .unwrap();
    server
        .write
        .update(UpdateRequest {
            request_id: String::new(),
            table: "t".into(),
            filter: filter("id >= 4", vec![]),
            assignments: vec![assign("id", assignment::To::Expression("id + 100".into()))],
        })
        .await
        .unwrap();
    let deleted = server
        .write
        .delete(DeleteRequest {
            request_id: String::new(),
            table: "t".into(),
            filter: filter("id = $1", vec![int(0)]),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(deleted.num_deleted_rows, 1);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        rows(&mut server).await,
        [
            (1, some(awkward)),
            (2, None),
            (3, some("row 3")),
            (104, some("row 4")),
            (105, some("row 5")),
        ]
    );
    server
        .write
        .insert(InsertRequest {
            request_id: String::new(),
            table: "t".into(),
            rows: Some(ipc(&small(7, 1))),
            mode: InsertMode::Overwrite as i32,
        })
        .await
        .unwrap();
    assert_eq!(ids_of(&mut server).await, [7]);
}

fn list(values: &[i64]) -> Value {
    let values = values.iter().map(|v| int(*v)).collect();
    Value {
        kind: Some(value::Kind::ListValue(ListValue { values })),
    }
}

fn assign(column: &str, to: assignment::To) -> Assignment {
    Assignment {
        column: column.into(),
        to: Some(to),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upsert_has_every_option_of_merge_insert() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 4))).await;
    let set_text = |condition: &str| UpdateRequest {
        request_id: String::new(),
        table: "t".into(),
        filter: filter(condition, vec![]),
        assignments: vec![assign("text", assignment::To::Value(text("old")))],
    };
    server.write.update(set_text("true")).await.unwrap();
    // By default it updates all and inserts all.
    let done = server
        .write
        .upsert(upsert(2, 4))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((done.num_updated_rows, done.num_inserted_rows), (2, 2));
    let texts: Vec<_> = rows(&mut server).await.into_iter().map(|r| r.1).collect();
    let texts: Vec<_> = texts.iter().map(|t| t.as_deref().unwrap()).collect();
    assert_eq!(texts, ["old", "old", "row 2", "row 3", "row 4", "row 5"]);
    // Insert only.
    let done = server
        .write
        .upsert(UpsertRequest {
            request_id: String::new(),
            when_not_matched_insert_all: true,
            ..upsert(0, 7)
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((done.num_updated_rows, done.num_inserted_rows), (0, 1));
    // Update where a condition holds.
    let done = server
        .write
        .upsert(UpsertRequest {
            request_id: String::new(),
            when_matched_update_all: true,
            when_matched_update_all_condition: filter("target.text = $1", vec![text("old")]),
            ..upsert(1, 3)
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(done.num_updated_rows, 1);
    // Delete what the new rows do not have, where a condition holds.
    let done = server
        .write
        .upsert(UpsertRequest {
            request_id: String::new(),
            when_matched_update_all: true,
            when_not_matched_by_source_delete: true,
            when_not_matched_by_source_delete_condition: filter("id > $1", vec![int(4)]),
            ..upsert(0, 2)
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(done.num_deleted_rows, 2);
    assert_eq!(ids_of(&mut server).await, [0, 1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_upserts_of_the_same_new_keys_make_no_duplicates() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 1))).await;
    for round in 0..5 {
        let mut writers = Vec::new();
        for _ in 0..8 {
            let mut write = server.write.clone();
            let request = upsert(10 + round * 10, 10);
            writers.push(tokio::spawn(async move { write.upsert(request).await }));
        }
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
    }
    let expected: Vec<i64> = std::iter::once(0).chain(10..60).collect();
    assert_eq!(ids_of(&mut server).await, expected);
}

fn part(first: i64, count: i64) -> ImportRequest {
    ImportRequest {
        request_id: String::new(),
        table: "t".into(),
        arrow_ipc: ipc_bytes(&small(first, count)).into(),
        mode: 0,
    }
}

/// Somebody sends writes with short deadlines, or goes away, while another write has the
/// lane. With the audit log each request runs in a task that outlives its client.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_lane_is_given_up_with_its_caller() {
    const WRITERS: i64 = 60;
    for to in ["nowhere", "file"] {
        let folder = TempDir::new().unwrap();
        let audit = folder.path().join("audit").display().to_string();
        let more = [
            ("LANCEGATE_AUDIT__TO", to),
            ("LANCEGATE_AUDIT__FOLDER", &audit),
            ("LANCEGATE_AUDIT__ROTATION", "never"),
        ];
        let config = settings_with(folder.path(), 0, &more);
        let mut server = TestServer::start_with(folder, config).await;
        server.create("t", ipc(&small(0, 10))).await;
        let primary = server.app.router().unwrap().primary().clone();
        let name = TableName::parse("t").unwrap();
        let ((begun, has_begun), (go, wait)) = (oneshot::channel(), oneshot::channel());
        let first = tokio::spawn(async move {
            let work = |_| async {
                begun.send(()).unwrap();
                wait.await.unwrap();
                Ok(())
            };
            primary.write(&name, Lane::Alone, work).await
        });
        has_begun.await.unwrap();

        let mut writers = JoinSet::new();
        for i in 0..WRITERS {
            let (mut write, mut table) = (server.write.clone(), server.table.clone());
            writers.spawn(async move {
                let patience = Duration::from_millis(500);
                let mut upsert = upsert(1_000 * (i + 1), 100);
                if i % 3 == 0 {
                    // It goes away.
                    let answer = write.upsert(upsert);
                    return tokio::time::timeout(patience, answer).await.is_err();
                }
                if i == 1 {
                    let mut drop = Request::new(DropTableRequest {
                        table: "t".into(),
                        ..Default::default()
                    });
                    drop.set_timeout(patience);
                    return table.drop_table(drop).await.is_err();
                }
                if i % 3 == 1 {
                    upsert.request_id = format!("id-{i}");
                }
                let mut request = Request::new(upsert);
                request.set_timeout(patience);
                let code = write.upsert(request).await.unwrap_err().code();
                matches!(code, Code::DeadlineExceeded | Code::Cancelled)
            });
        }
        assert!(writers.join_all().await.into_iter().all(|ended| ended));
        let door = server.app.door().clone();
        wait_until("given up", || door.facts().in_flight == 0).await;
        go.send(()).unwrap();
        first.await.unwrap().unwrap();
        // Lanes are taken in the order in which they were asked for: whatever waited has
        // been done when this is.
        let mut insert = InsertRequest {
            table: "t".into(),
            rows: Some(ipc(&small(10, 1))),
            ..Default::default()
        };
        let inserted = server.write.insert(insert.clone()).await.unwrap();
        assert_eq!(inserted.into_inner().version, 2, "audit: {to}");
        assert_eq!(ids_of(&mut server).await, (0..=10).collect::<Vec<_>>());
        // An id that was given up is free.
        insert.rows = Some(ipc(&small(11, 1)));
        insert.request_id = "id-4".into();
        let inserted = server.write.insert(insert).await.unwrap().into_inner();
        assert_eq!((inserted.version, inserted.repeated), (3, false));
        if to == "file" {
            let text = std::fs::read_to_string(format!("{audit}/audit.jsonl")).unwrap();
            let given_up = text.matches("CLIENT_GONE").count();
            assert!(given_up > 0, "{text}");
            println!("{given_up} of {WRITERS} writes were given up while they waited");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_one_version() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 1))).await;
    let parts: Vec<ImportRequest> = (0..20).map(|i| part(1 + i * 50, 50)).collect();
    let done = server
        .write
        .import(tokio_stream::iter(parts))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((done.num_inserted_rows, done.version), (1000, 2));
    assert_eq!(ids_of(&mut server).await.len(), 1001);
    let overwrite = ImportRequest {
        request_id: String::new(),
        mode: InsertMode::Overwrite as i32,
        ..part(5, 3)
    };
    server
        .write
        .import(tokio_stream::iter([overwrite]))
        .await
        .unwrap();
    assert_eq!(ids_of(&mut server).await, [5, 6, 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_does_not_end_well_changes_nothing() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 3))).await;
    // Other columns half-way.
    let other = ImportRequest {
        request_id: String::new(),
        arrow_ipc: ipc_bytes(&packages().slice(0, 2)).into(),
        ..part(0, 0)
    };
    let refused = server
        .write
        .import(tokio_stream::iter([part(3, 50), other]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
    // A client that goes away: the call is dropped while its stream is open.
    let (send, receive) = tokio::sync::mpsc::channel(4);
    let mut write = server.write.clone();
    let call = tokio::spawn(async move {
        let stream = tokio_stream::wrappers::ReceiverStream::new(receive);
        write.import(stream).await
    });
    for i in 0..5 {
        send.send(part(100 + i * 50, 50)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ids_of(&mut server).await, [0, 1, 2]);
    // And the table takes writes as before.
    server.write.upsert(upsert(3, 1)).await.unwrap();
    assert_eq!(ids_of(&mut server).await, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_come_as_one_stream_in_chunks() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 60_000))).await;
    let mut stream = server
        .search
        .search_stream(SearchStreamRequest {
            freshness: None,
            table: "t".into(),
            query: Some(Query {
                vectors: vec![super::data::floats(&[0.0, 1.0, 2.0, 3.0])],
                limit: 10_000,
                ..Default::default()
            }),
        })
        .await
        .unwrap()
        .into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        assert!(chunk.arrow_ipc.len() <= 2 << 20);
        bytes.extend_from_slice(&chunk.arrow_ipc);
    }
    let rows = super::data::read_ipc(&bytes);
    assert_eq!(ids(&rows), (0..10_000).collect::<Vec<_>>());
    assert!(concat_batches(&rows.schema(), [&rows]).is_ok());
}
