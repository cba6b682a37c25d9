//! How many bytes are copied for each new byte.

use std::path::Path;

use lancegate::proto::v1::*;
use tempfile::TempDir;

use super::{
    data::{ipc, small},
    place,
    server::{TestServer, http_get, settings},
};

/// The label of this test's replica: metrics are one for all servers of a process.
const REPLICA: &str = "amplified";

/// Appends between settled looks; a replica may skip versions in between.
const APPENDS: i64 = 500;

/// Bytes below a folder, but for LanceDB's hint, which is rewritten in place.
fn bytes(folder: &Path) -> u64 {
    let files = place::files(folder).into_iter();
    let others = files.filter(|(name, _)| !name.ends_with("latest_version_hint.json"));
    others.map(|(_, size)| size).sum()
}

async fn copied(server: &TestServer) -> u64 {
    let (_, metrics) = http_get(server.app.http_address(), "/metrics").await;
    let series = format!("lancegate_copied_bytes_total{{connection=\"{REPLICA}\"}} ");
    let line = metrics.lines().find_map(|l| l.strip_prefix(&series));
    line.map_or(0, |value| value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_is_new_is_copied_once() {
    let folder = TempDir::new().unwrap();
    let mut config = settings(folder.path(), 1);
    config.replicas[0].name = REPLICA.into();
    // Every version is copied: what was skipped would flatter the figure.
    config.replication.max_versions_behind = 10_000;
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("t", ipc(&small(0, 300))).await;
    let table = server.folder.path().join("primary/t.lance");
    let (bytes_before, copied_before) = (bytes(&table), copied(&server).await);
    for i in 1..=APPENDS {
        let insert = InsertRequest {
            request_id: String::new(),
            table: "t".into(),
            rows: Some(ipc(&small(300 + i, 1))),
            mode: 0,
        };
        server.write.insert(insert).await.unwrap();
        if i == 200 || i == 400 {
            let optimize = OptimizeTableRequest {
                table: "t".into(),
                compact: true,
                ..Default::default()
            };
            server.table.optimize_table(optimize).await.unwrap();
        }
        if i == 300 {
            let index = CreateIndexRequest {
                table: "t".into(),
                columns: vec!["id".into()],
                index: Some(IndexSpec {
                    kind: Some(index_spec::Kind::Btree(BTreeIndex {})),
                }),
                name: String::new(),
                replace: None,
            };
            server.table.create_index(index).await.unwrap();
        }
    }
    server.settled().await;
    let new = bytes(&table) - bytes_before;
    let copied = copied(&server).await - copied_before;
    let ratio = copied as f64 / new as f64;
    println!("{copied} bytes copied for {new} new ones: {ratio:.4}");
    assert!(ratio <= 1.02, "{ratio}");
    // All of them are there, so that little was not copied for want of copying.
    assert!(ratio > 0.95, "{ratio}");
}
