//! Nodes that are not there any more, and a budget of retries that has nothing left:
//! the primary answers, within its own bound.

use std::time::Duration;

use lancegate::proto::v1::*;
use tempfile::TempDir;

use super::fleet::{copied, count, router_settings, start_node, start_router, topology, up, uri};
use crate::{
    data::{ipc, small},
    process::{Server, until_some},
};

/// No retry is paid for, and no probe finds out what is wrong with a node.
const NO_BUDGET: [(&str, &str); 4] = [
    ("LANCEGATE_RETRIES__BUDGET_PERCENT", "0"),
    ("LANCEGATE_RETRIES__MIN_PER_SECOND", "0"),
    ("LANCEGATE_HEALTH__FAILURE_THRESHOLD", "1000"),
    ("LANCEGATE_HEALTH__PROBE_TIMEOUT", "5m"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_read_of_dead_nodes_is_answered_by_the_primary_at_once() {
    let folder = TempDir::new().unwrap();
    let mut nodes = Vec::new();
    for i in 1..=3 {
        nodes.push(start_node(folder.path(), i).await);
    }
    let replicas = [uri(&nodes[1]), uri(&nodes[2])];
    let config = router_settings(&uri(&nodes[0]), &replicas, &NO_BUDGET);
    let mut router = start_router(config).await;
    up(&mut router, 3).await;
    router.create("t", ipc(&small(0, 10))).await;
    copied(&nodes, "t").await;
    for dead in nodes.split_off(1) {
        dead.stop().await.unwrap();
    }
    for _ in 0..50 {
        let answer = router.search.count(count("t")).await;
        let served = answer.expect("an answer").into_inner().served.unwrap();
        assert!(served.connection.starts_with("primary/"), "{served:?}");
        assert!(served.route.contains("no_healthy_replica"), "{served:?}");
        assert!(served.route.contains("retry 1)"), "{served:?}");
    }
    // It was not that they were known to be down.
    let known = topology(&mut router).await;
    let up = |c: &&ConnectionStatus| c.state() == ConnectionState::Up;
    assert_eq!(known.iter().filter(up).count(), 3, "{known:?}");
    // Without the primary it is said at once, too.
    for last in nodes {
        last.stop().await.unwrap();
    }
    let refused = router.search.count(count("t")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_waits_for_a_node_goes_to_the_primary_when_that_is_taken_out() {
    let folder = TempDir::new().unwrap();
    let primary = [start_node(folder.path(), 1).await];
    let copy = folder.path().join("copy-2").display().to_string();
    let env = [
        ("LANCEGATE_REPLICAS__0__NAME", "replica-1"),
        ("LANCEGATE_REPLICAS__0__URI", copy.as_str()),
    ];
    let node = Server::start(folder.path(), 0, &env).await;
    let at = format!("grpc://{}", node.process.address("grpc"));
    let config = router_settings(&uri(&primary[0]), &[at], &NO_BUDGET);
    let mut router = start_router(config).await;
    up(&mut router, 2).await;
    router.create("t", ipc(&small(0, 10))).await;
    copied(&primary, "t").await;
    node.process.signal("STOP");
    let mut search = router.search.clone();
    let waiting = tokio::spawn(async move { search.count(count("t")).await });
    until_some(async || {
        let known = topology(&mut router).await;
        (known[1].in_flight == 1).then_some(())
    })
    .await;
    let eject = EjectConnectionRequest {
        connection: "node-1".into(),
        duration: Duration::from_secs(3_600).try_into().ok(),
    };
    router.cluster.eject_connection(eject).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    let answer = answer.expect("in time").unwrap().expect("an answer");
    let served = answer.into_inner().served.unwrap();
    assert!(served.connection.starts_with("primary/"), "{served:?}");
}
