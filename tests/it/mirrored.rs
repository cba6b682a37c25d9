//! A replica that a mirroring tool keeps: what the primary prunes disappears there
//! too, from under the version that is being served.

use std::{path::Path, time::Duration};

use lancegate::{config::ReplicaMode, proto::v1::*};

use super::{
    copying::copy_tree,
    data::{ipc, small},
    place,
    server::{TestServer, settings_with},
};

/// First what is new, then away with what is gone, as rclone and rsync have it.
fn mirror(from: &Path, to: &Path) {
    copy_tree(from, to, &|_| true);
    let kept = place::files(from);
    for gone in place::files(to).into_keys() {
        if !kept.contains_key(&gone) {
            place::remove(&to.join(gone));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_removed_is_not_served_until_the_next_poll() {
    let mut server = TestServer::start(0).await;
    server.table_of("t", ipc(&small(0, 100))).await;
    let folder = server.folder;
    server.app.stop().await.unwrap();
    let primary = folder.path().join("primary/t.lance");
    let replica = folder.path().join("replica-1/t.lance");
    copy_tree(&primary, &replica, &|_| true);

    // Left to polling it would take an hour.
    let hour = [("LANCEGATE_REPLICATION__POLL_INTERVAL", "1h")];
    let mut config = settings_with(folder.path(), 1, &hour);
    config.replicas[0].mode = ReplicaMode::External;
    let mut server = TestServer::start_with(folder, config).await;
    server.settled().await;
    let delete = DeleteRequest {
        request_id: String::new(),
        table: "t".into(),
        filter: Some(Filter {
            sql: "id >= 50".into(),
            params: Vec::new(),
        }),
    };
    server.write.delete(delete).await.unwrap();
    let insert = InsertRequest {
        request_id: String::new(),
        table: "t".into(),
        rows: Some(ipc(&small(100, 100))),
        mode: 0,
    };
    server.write.insert(insert).await.unwrap();
    let optimize = OptimizeTableRequest {
        table: "t".into(),
        compact: true,
        prune_older_than: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    server.table.optimize_table(optimize).await.unwrap();
    mirror(&primary, &replica);

    let scan = ScanRequest {
        table: "t".into(),
        ..Default::default()
    };
    let mut failed = 0;
    for _ in 0..500 {
        match server.search.scan(scan.clone()).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                assert_eq!(answer.num_rows, 150);
                assert_eq!(answer.served.unwrap().connection, "replica-1");
                // The old version's files are gone: somebody had to find out.
                assert!(failed > 0);
                println!("{failed} reads failed");
                return;
            }
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
                failed += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{failed} reads failed, and the version is served still");
}
