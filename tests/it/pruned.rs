//! The primary is compacted and pruned while a version is being copied.

use lance::dataset::Dataset;
use lancegate::proto::v1::*;

use super::{
    data::{batch, ids, ipc, small, url},
    place,
    server::{TestServer, settings, wait_until},
};

const COMMITS: i64 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_pruned_under_the_copier_is_copied_all_the_same() {
    let mut server = TestServer::start(0).await;
    server.table_of("t", ipc(&small(0, 1_000))).await;
    for i in 1..COMMITS {
        let insert = InsertRequest {
            request_id: String::new(),
            table: "t".into(),
            rows: Some(ipc(&small(i * 1_000, 1_000))),
            mode: 0,
        };
        server.write.insert(insert).await.unwrap();
    }
    let folder = server.folder;
    server.app.stop().await.unwrap();

    // Slow enough to be caught in the middle: some 35 kB a file.
    let mut config = settings(folder.path(), 1);
    config.replication.parallel_copies = 1;
    config.replication.max_bytes_per_second = 200_000 / u64::from(place::looks(1));
    let mut server = TestServer::start_with(folder, config).await;
    let copy = server.folder.path().join("replica-1/t.lance");
    let data = copy.join("data");
    let copied = || place::files(&data).len();
    wait_until("copying", || copied() >= 2).await;
    let optimize = OptimizeTableRequest {
        table: "t".into(),
        compact: true,
        prune_older_than: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    let held = server.table.optimize_table(optimize).await.unwrap();
    assert_eq!(held.into_inner().versions_removed, 0, "a replica holds all");
    // Somebody else does it, who knows nothing of replicas.
    let table = url(&server.folder.path().join("primary/t.lance"));
    let table = Dataset::open(&table).await.unwrap();
    let now = chrono::TimeDelta::zero();
    let pruned = table.cleanup_old_versions(now, None, None).await.unwrap();
    // Compaction is a commit or two as well.
    assert!(pruned.old_versions >= COMMITS as u64, "{pruned:?}");
    assert!(copied() < COMMITS as usize, "it had copied everything");
    assert!(!place::exists(&copy.join("_versions")), "it had published");
    println!("{pruned:?}");
    server.settled().await;
    let scan = ScanRequest {
        table: "t".into(),
        query: Some(ScanQuery {
            columns: vec!["id".into()],
            ..Default::default()
        }),
        page_size: 10_000,
        ..Default::default()
    };
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let scan = ScanRequest {
            page_token: token,
            ..scan.clone()
        };
        let answer = server.search.scan(scan).await.unwrap().into_inner();
        assert_eq!(answer.served.unwrap().connection, "replica-1");
        found.extend(ids(&batch(answer.rows)));
        token = answer.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    found.sort_unstable();
    assert!(found.into_iter().eq(0..COMMITS * 1_000));
}
