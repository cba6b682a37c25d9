//! A replica whose table is not the primary's any more: seen, reported, out of
//! rotation, and replaced when that is the policy or an operator asks for it.

use std::path::Path;

use lancegate::{config::OnDivergence, proto::v1::*};
use tempfile::TempDir;

use super::{
    data::{batch, ids, ipc, small, url},
    place,
    process::until_some,
    server::{TestServer, http_get, settings},
};

/// Adds rows behind the server's back.
async fn write_directly(folder: &Path, first: i64) {
    let direct = lancedb::connect(&url(folder)).execute().await.unwrap();
    let table = direct.open_table("t").execute().await.unwrap();
    table.add(small(first, 7)).execute().await.unwrap();
}

/// The error of the table on a replica, once it fits.
async fn table_error(server: &mut TestServer, replica: usize, fits: impl Fn(&str) -> bool) {
    let mut error = String::new();
    for _ in 0..place::looks(600) {
        let topology = server.cluster.get_topology(GetTopologyRequest {}).await;
        let connection = topology.unwrap().into_inner().connections.remove(replica);
        error = connection
            .tables
            .iter()
            .map(|t| t.last_error.as_str())
            .collect();
        if fits(&error) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the table's error on {replica} is: {error}");
}

/// Who answers `n` reads, and with which ids.
async fn reads(server: &mut TestServer, n: usize) -> Vec<(String, Vec<i64>)> {
    let mut found = Vec::new();
    for _ in 0..n {
        let scan = ScanRequest {
            table: "t".into(),
            query: Some(ScanQuery {
                columns: vec!["id".into()],
                ..Default::default()
            }),
            page_size: 1000,
            ..Default::default()
        };
        let answer = server.search.scan(scan).await.unwrap().into_inner();
        let mut ids = ids(&batch(answer.rows));
        ids.sort_unstable();
        found.push((answer.served.unwrap().connection, ids));
    }
    found
}

async fn rebuild(server: &mut TestServer, table: &str) -> Result<Vec<RebuiltTable>, tonic::Status> {
    let request = RebuildReplicaRequest {
        replica: "replica-1".into(),
        table: table.into(),
    };
    let answer = server.cluster.rebuild_replica(request).await?;
    Ok(answer.into_inner().tables)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_diverged_is_not_read_until_it_is_rebuilt() {
    let folder = TempDir::new().unwrap();
    let mut config = settings(folder.path(), 2);
    // A label of its own: metrics are one for all the servers of this process.
    config.replicas[0].name = "strayed".into();
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let replica = server.folder.path().join("replica-1");
    write_directly(&replica, 1_000).await;
    server.insert("t", 10, 10).await;
    table_error(&mut server, 1, |e| e.contains("diverged")).await;
    // The other one may be slower.
    until_some(async || {
        let read = reads(&mut server, 1).await.remove(0);
        (read.1.len() == 20).then_some(())
    })
    .await;
    for (connection, ids) in reads(&mut server, 6).await {
        assert_eq!(connection, "replica-2");
        assert!(ids.into_iter().eq(0..20));
    }
    let line = "lancegate_replica_diverged{connection=\"strayed\"} 1";
    let (_, metrics) = http_get(server.app.http_address(), "/metrics").await;
    assert!(metrics.contains(line), "{metrics}");
    // A restart changes nothing, neither while the primary is compared.
    let mut server = server.restart(2).await;
    table_error(&mut server, 1, |e| e.contains("diverged")).await;
    server.insert("t", 20, 10).await;
    for (connection, ids) in reads(&mut server, 6).await {
        assert_eq!(connection, "replica-2");
        assert!(ids.len() >= 20);
    }

    let rebuilt = rebuild(&mut server, "t").await.unwrap();
    assert_eq!((rebuilt.len(), rebuilt[0].version), (1, 3), "{rebuilt:?}");
    server.settled().await;
    table_error(&mut server, 1, str::is_empty).await;
    let answers = reads(&mut server, 6).await;
    assert!(answers.iter().any(|(c, _)| c == "replica-1"));
    assert!(answers.iter().all(|(_, ids)| ids.iter().copied().eq(0..30)));
    let withheld = server.folder.path().join("replica-1/_lancegate/withheld/t");
    assert!(place::files(&withheld).is_empty());
    // And it goes on as before.
    server.insert("t", 30, 1).await;
    server.settled().await;
    let answers = reads(&mut server, 4).await;
    assert!(answers.iter().all(|(_, ids)| ids.iter().copied().eq(0..31)));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_policy_a_copy_that_diverged_is_rebuilt_at_once() {
    let folder = TempDir::new().unwrap();
    let mut config = settings(folder.path(), 1);
    config.replication.on_divergence = OnDivergence::Rebuild;
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let replica = server.folder.path().join("replica-1");
    write_directly(&replica, 1_000).await;
    server.insert("t", 10, 10).await;
    server.settled().await;
    let answers = reads(&mut server, 3).await;
    for (connection, ids) in answers {
        assert_eq!(connection, "replica-1");
        assert!(ids.into_iter().eq(0..20));
    }
}

/// Bits that rotted have the right names and sizes: only an order finds them.
#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_rebuild_copies_every_file_again() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let data = server.folder.path().join("replica-1/t.lance/data");
    let file = place::entries(&data).remove(0);
    let good = place::read(&file).unwrap();
    place::write(&file, &vec![0; good.len()]);
    let rebuilt = rebuild(&mut server, "").await.unwrap();
    assert_eq!(rebuilt.len(), 1);
    assert!(place::read(&file).unwrap() == good);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rebuilt_is_refused() {
    let mut server = TestServer::start(1).await;
    let no_table = rebuild(&mut server, "nothing").await.unwrap_err();
    assert_eq!(no_table.code(), tonic::Code::NotFound, "{no_table:?}");
    let no_name = rebuild(&mut server, "../x").await.unwrap_err();
    assert_eq!(no_name.code(), tonic::Code::InvalidArgument, "{no_name:?}");
    for replica in ["primary", ""] {
        let request = RebuildReplicaRequest {
            replica: replica.into(),
            table: "t".into(),
        };
        let refused = server.cluster.rebuild_replica(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_says_is_for_the_log_alone() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let data = server.folder.path().join("replica-1/t.lance/data");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::write(&data, "in the way").unwrap();
    let refused = rebuild(&mut server, "t").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    let told = "the location did not answer as it should";
    assert_eq!(refused.message(), told);
    table_error(&mut server, 1, |error| error == told).await;
    // It goes on as soon as the store does.
    std::fs::remove_file(&data).unwrap();
    server.settled().await;
    table_error(&mut server, 1, str::is_empty).await;
}
