//! What replication promises: whole versions, few bytes, nothing lost, nobody
//! else's data touched.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use lancegate::proto::v1::*;
use tempfile::TempDir;

use super::{
    data::{batch, ids, ipc, packages, small, url},
    place,
    server::{TestServer, settings, wait_until},
};

/// Every file below a place with its size, but for lancegate's own.
fn files(place: &Path) -> BTreeMap<String, u64> {
    let mut found = place::files(place);
    // Nor LanceDB's hint of the newest version, which is rewritten in place.
    found.retain(|path, _| {
        !path.starts_with("_lancegate/") && !path.ends_with("latest_version_hint.json")
    });
    found
}

fn new_bytes(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> u64 {
    let new = after.iter().filter(|(path, _)| !before.contains_key(*path));
    new.map(|(_, size)| size).sum()
}

async fn count(server: &mut TestServer, table: &str) -> u64 {
    server
        .search
        .count(CountRequest {
            freshness: None,
            table: table.into(),
            filter: None,
        })
        .await
        .unwrap()
        .into_inner()
        .count
}

async fn drop_table(server: &mut TestServer, table: &str) {
    server
        .table
        .drop_table(DropTableRequest {
            table: table.into(),
            ignore_missing: false,
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_appended_row_does_not_copy_the_table_again() {
    let mut server = TestServer::start(1).await;
    server.table_of("packages", ipc(&packages())).await;
    let replica = server.folder.path().join("replica-1");
    let primary = server.folder.path().join("primary");
    let (table_before, replica_before) = (files(&primary), files(&replica));
    let table_bytes: u64 = replica_before.values().sum();
    assert!(table_bytes > 2_000_000, "{table_bytes}");
    server
        .write
        .insert(InsertRequest {
            request_id: String::new(),
            table: "packages".into(),
            rows: Some(ipc(&packages().slice(0, 1))),
            mode: 0,
        })
        .await
        .unwrap();
    server.settled().await;
    let copied = new_bytes(&replica_before, &files(&replica));
    let written = new_bytes(&table_before, &files(&primary));
    println!("table {table_bytes} bytes, appended {written}, copied {copied}");
    assert_eq!(copied, written, "all that is new, and nothing else");
    assert!(copied < table_bytes / 50, "{copied} of {table_bytes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_hold_the_primarys_files_verbatim() {
    let mut server = TestServer::start(2).await;
    server.table_of("a", ipc(&small(0, 400))).await;
    server.table_of("b", ipc(&small(0, 10))).await;
    server.insert("a", 400, 5).await;
    server
        .table
        .create_index(CreateIndexRequest {
            table: "a".into(),
            columns: vec!["id".into()],
            index: Some(IndexSpec {
                kind: Some(index_spec::Kind::Btree(BTreeIndex {})),
            }),
            name: String::new(),
            replace: None,
        })
        .await
        .unwrap();
    server
        .write
        .delete(DeleteRequest {
            request_id: String::new(),
            table: "a".into(),
            filter: Some(Filter {
                sql: "id < 7".into(),
                params: Vec::new(),
            }),
        })
        .await
        .unwrap();
    let topology = server.settled().await;
    for connection in &topology.connections {
        assert_eq!(connection.lag_versions, 0, "{connection:?}");
        assert_eq!(connection.state, ConnectionState::Up as i32);
        assert!(connection.last_error.is_empty(), "{connection:?}");
    }
    assert_eq!(count(&mut server, "a").await, 398);
    let root = server.folder.path();
    for name in ["replica-1", "replica-2"] {
        // A replica begins at the version that it first saw, so it may lack
        // older ones; what it has is the primary's, byte for byte.
        for path in files(&root.join(name)).keys() {
            let copy = place::read(&root.join(name).join(path));
            let original = place::read(&root.join("primary").join(path));
            assert!(copy.is_some() && copy == original, "{name}: {path} differs");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_tables_go_away_and_recreated_ones_are_replaced() {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 50))).await;
    server.table_of("u", ipc(&small(0, 5))).await;
    drop_table(&mut server, "u").await;
    let topology = server.settled().await;
    assert!(topology.connections.iter().all(|c| c.tables.len() == 1));
    let gone = server
        .search
        .count(CountRequest {
            freshness: None,
            table: "u".into(),
            filter: None,
        })
        .await
        .unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound, "{gone:?}");
    // The same name, the same version numbers, other rows.
    drop_table(&mut server, "t").await;
    server.table_of("t", ipc(&small(1000, 7))).await;
    // An eventual read may still be of the old one, whose version has the same number.
    let mut new = 0;
    for _ in 0..place::looks(600) {
        new = match count(&mut server, "t").await {
            7 => new + 1,
            other => {
                assert_eq!(other, 50);
                0
            }
        };
        if new == 6 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(new, 6, "the old table is still there");
    // Files of what is gone are deleted after the grace.
    let replica = server.folder.path().join("replica-1");
    let primary = server.folder.path().join("primary");
    wait_until("rid of the old files", || {
        files(&replica) == files(&primary) && place::files(&replica.join("u.lance")).is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_off_catches_up_and_keeps_what_it_has() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 100))).await;
    let before = files(&server.folder.path().join("replica-1"));
    // Off: the server runs without it for a while.
    let mut server = server.restart(0).await;
    for i in 0..5 {
        server.insert("t", 100 + i, 1).await;
    }
    drop(before.clone());
    let mut server = server.restart(1).await;
    let topology = server.settled().await;
    assert_eq!(topology.connections[1].tables[0].lag_versions, 0);
    let answer = server
        .search
        .count(CountRequest {
            freshness: None,
            table: "t".into(),
            filter: None,
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.served.unwrap().connection, "replica-1");
    assert_eq!(answer.count, 105);
    let after = files(&server.folder.path().join("replica-1"));
    for (path, size) in before {
        assert_eq!(after.get(&path), Some(&size), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_other_writers_are_seen_and_copied() {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let folder = server.folder.path().join("primary");
    let direct = lancedb::connect(&url(&folder)).execute().await.unwrap();
    let table = direct.open_table("t").execute().await.unwrap();
    table.add(small(10, 5)).execute().await.unwrap();
    direct
        .create_table("other", small(0, 3))
        .execute()
        .await
        .unwrap();
    for (name, rows) in [("t", 15), ("other", 3)] {
        let mut seen = 0;
        for _ in 0..200 {
            server.settled().await;
            let answer = server
                .search
                .count(CountRequest {
                    freshness: None,
                    table: name.into(),
                    filter: None,
                })
                .await;
            seen = answer.map_or(0, |a| a.into_inner().count);
            if seen == rows {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(seen, rows, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_a_copy_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let other = folder.path().join("replica-1");
    let direct = lancedb::connect(&url(&other)).execute().await.unwrap();
    direct
        .create_table("precious", small(0, 3))
        .execute()
        .await
        .unwrap();
    let before = files(&other);
    let config = settings(folder.path(), 1);
    let mut server = TestServer::start_with(folder, config).await;
    insert_new(&mut server, "t").await;
    let mut error = String::new();
    for _ in 0..100 {
        let topology = server.cluster.get_topology(GetTopologyRequest {}).await;
        error = topology.unwrap().into_inner().connections[1]
            .last_error
            .clone();
        if !error.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(error.contains("empty it first"), "{error}");
    assert_eq!(files(&other), before);
    // Its tables are not served as if they were the primary's.
    let answer = server
        .search
        .count(CountRequest {
            freshness: None,
            table: "precious".into(),
            filter: None,
        })
        .await
        .unwrap_err();
    assert_eq!(answer.code(), tonic::Code::NotFound, "{answer:?}");
    assert_eq!(count(&mut server, "t").await, 4);
}

async fn insert_new(server: &mut TestServer, table: &str) {
    server
        .table
        .create_table(CreateTableRequest {
            table: table.into(),
            source: Some(create_table_request::Source::Rows(ipc(&small(0, 4)))),
            exist_ok: false,
        })
        .await
        .unwrap();
}

/// Every version has a multiple of ten rows, with ids from 0 on: an answer of
/// half a version would show.
#[tokio::test(flavor = "multi_thread")]
async fn readers_never_see_half_a_version() {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..4 {
        let (mut search, stop) = (server.search.clone(), Arc::clone(&stop));
        readers.push(tokio::spawn(async move {
            let mut seen = 0;
            while !stop.load(Ordering::Relaxed) {
                let answer = search
                    .scan(ScanRequest {
                        table: "t".into(),
                        query: Some(ScanQuery {
                            columns: vec!["id".into()],
                            ..Default::default()
                        }),
                        page_size: 1000,
                        ..Default::default()
                    })
                    .await
                    .expect("every read is answered")
                    .into_inner();
                let mut ids = ids(&batch(answer.rows));
                ids.sort_unstable();
                assert_eq!(ids.len() % 10, 0, "{} rows", ids.len());
                assert!(ids.iter().copied().eq(0..ids.len() as i64));
                seen += 1;
            }
            seen
        }));
    }
    for i in 1..25 {
        server.insert("t", i * 10, 10).await;
        if i == 12 {
            server
                .table
                .optimize_table(OptimizeTableRequest {
                    table: "t".into(),
                    compact: true,
                    ..Default::default()
                })
                .await
                .unwrap();
        }
    }
    server.settled().await;
    stop.store(true, Ordering::Relaxed);
    let mut reads = 0;
    for reader in readers {
        reads += reader.await.unwrap();
    }
    assert!(reads > 20, "{reads} reads");
    assert_eq!(count(&mut server, "t").await, 250);
}
