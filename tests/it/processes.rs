//! Several real processes on one primary and the same replicas.

use std::{collections::BTreeMap, path::Path};

use lancegate::proto::v1::{
    cluster_service_client::ClusterServiceClient, table_service_client::TableServiceClient,
    write_service_client::WriteServiceClient, *,
};
use tempfile::TempDir;

use super::{
    data::{ipc, small},
    place,
    process::{Server, until_some},
    server::http_get,
};

async fn create(server: &Server) {
    let mut table = TableServiceClient::new(server.channel.clone());
    until_some(async || {
        let create = CreateTableRequest {
            table: "t".into(),
            source: Some(create_table_request::Source::Rows(ipc(&small(0, 100)))),
            exist_ok: true,
        };
        table.create_table(create).await.ok()
    })
    .await;
}

async fn insert(server: &Server, times: std::ops::Range<i64>) {
    let mut write = WriteServiceClient::new(server.channel.clone());
    for i in times {
        let insert = InsertRequest {
            request_id: String::new(),
            table: "t".into(),
            rows: Some(ipc(&small(i * 100, 100))),
            mode: 0,
        };
        write.insert(insert).await.expect("a commit");
    }
}

/// Waits until a process serves `version` everywhere, without an error.
async fn settled(server: &Server, version: u64) {
    let mut cluster = ClusterServiceClient::new(server.channel.clone());
    until_some(async || {
        let topology = cluster.get_topology(GetTopologyRequest {}).await.ok()?;
        let connections = topology.into_inner().connections;
        let fits = |c: &ConnectionStatus| {
            let tables = c.tables.iter();
            c.last_error.is_empty()
                && tables.clone().all(|t| t.last_error.is_empty())
                && tables.map(|t| t.version).eq([version])
        };
        connections.iter().all(fits).then_some(())
    })
    .await;
}

/// The table's files with their bytes.
fn files(place: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = place::files(&place.join("t.lance"));
    // LanceDB's hint of the newest version, which is rewritten in place.
    found.retain(|name, _| !name.ends_with("latest_version_hint.json"));
    let read = |name: String| {
        let bytes = place::read(&place.join("t.lance").join(&name)).unwrap_or_default();
        (format!("t.lance/{name}"), bytes)
    };
    found.into_keys().map(read).collect()
}

async fn copied(server: &Server, replica: &str) -> u64 {
    let (_, metrics) = http_get(server.process.address("http"), "/metrics").await;
    let series = format!("lancegate_copied_bytes_total{{connection=\"{replica}\"}} ");
    let line = metrics.lines().find_map(|l| l.strip_prefix(&series));
    line.map_or(0, |value| value.parse().expect("a number"))
}

fn must_be_quiet(server: &Server) {
    let log = server.process.log();
    for word in ["diverged", "\"level\":\"ERROR\"", "not replicated"] {
        assert!(!log.contains(word), "{word} is in the log:\n{log}");
    }
}

fn must_be_the_same(folder: &TempDir, replicas: usize) {
    let primary = files(&folder.path().join("primary"));
    for i in 1..=replicas {
        let replica = files(&folder.path().join(format!("replica-{i}")));
        assert!(replica.len() > 3, "{} files", replica.len());
        for (name, bytes) in replica {
            assert!(primary.get(&name) == Some(&bytes), "replica-{i}: {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_copy_the_same_without_a_lease() {
    let folder = TempDir::new().unwrap();
    let a = Server::start(folder.path(), 2, &[]).await;
    let b = Server::start(folder.path(), 2, &[]).await;
    create(&a).await;
    insert(&a, 1..30).await;
    for process in [&a, &b] {
        settled(process, 30).await;
        must_be_quiet(process);
    }
    must_be_the_same(&folder, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_lease_one_copies_and_another_takes_over() {
    let folder = TempDir::new().unwrap();
    let env = [
        ("LANCEGATE_REPLICATION__LEASE", "true"),
        ("LANCEGATE_REPLICATION__LEASE_TTL", "1s"),
    ];
    let a = Server::start(folder.path(), 1, &env).await;
    let b = Server::start(folder.path(), 1, &env).await;
    create(&a).await;
    insert(&a, 1..20).await;
    for process in [&a, &b] {
        settled(process, 20).await;
        must_be_quiet(process);
    }
    // Every byte that is there was copied once, by one of them.
    let there = |folder: &TempDir| -> u64 {
        let mut files = files(&folder.path().join("replica-1"));
        // The mark of the table's creation is written anew, not copied.
        files.retain(|name, _| !name.contains("/_lancegate/"));
        files.values().map(|bytes| bytes.len() as u64).sum()
    };
    let (by_a, by_b) = (copied(&a, "replica-1").await, copied(&b, "replica-1").await);
    assert_eq!(by_a + by_b, there(&folder), "{by_a} and {by_b}");
    assert!(by_a == 0 || by_b == 0, "{by_a} and {by_b}");
    println!("{by_a} and {by_b} bytes copied");

    // The one that copies is gone, without a word.
    let (gone, left) = if by_a > 0 { (a, b) } else { (b, a) };
    let before = there(&folder);
    gone.process.kill();
    insert(&left, 20..25).await;
    settled(&left, 25).await;
    must_be_quiet(&left);
    assert_eq!(copied(&left, "replica-1").await, there(&folder) - before);
    must_be_the_same(&folder, 1);
}
