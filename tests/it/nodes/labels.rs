//! What is measured of nodes is measured by the connection of the configuration: the
//! addresses that are found behind it come and go, and there is no end of them.

use std::time::Duration;

use lancegate::{app::App, proto::v1::*};
use tempfile::TempDir;

use super::fleet::{copied, count, router_settings, start_node, start_router, topology, up, uri};
use crate::{
    data::{ipc, small},
    process::until_some,
    server::http_get,
};

#[tokio::test(flavor = "multi_thread")]
async fn no_metric_has_the_address_of_a_node() {
    let folder = TempDir::new().unwrap();
    let mut nodes: Vec<App> = Vec::new();
    for i in 1..=4 {
        nodes.push(start_node(folder.path(), i).await);
    }
    let address = |i: usize| nodes[i].grpc_address().to_string();
    let list = folder.path().join("nodes");
    std::fs::write(&list, format!("{}\n{}\n", address(1), address(2))).unwrap();
    let file = format!("grpc+file://{}", list.display());
    let dns = format!("grpc+dns://localhost:{}", nodes[3].grpc_address().port());
    // All servers of this process share their metrics: these names are of this test
    // alone.
    let names = [
        ("LANCEGATE_REPLICAS__0__NAME", "labels-file"),
        ("LANCEGATE_REPLICAS__1__NAME", "labels-dns"),
    ];
    let config = router_settings(&uri(&nodes[0]), &[file, dns], &names);
    let mut router = start_router(config).await;
    up(&mut router, 4).await;
    router.create("t", ipc(&small(0, 10))).await;
    copied(&nodes, "t").await;
    for _ in 0..6 {
        router.search.count(count("t")).await.unwrap();
    }
    let known = topology(&mut router).await;
    let found = known.iter().filter(|c| c.name.contains('@'));
    let found: Vec<String> = found.map(|c| c.name.clone()).collect();
    assert!(found.len() >= 3, "{found:?}");
    for connection in found {
        let duration = Duration::from_secs(3_600).try_into().ok();
        let eject = EjectConnectionRequest {
            connection,
            duration,
        };
        router.cluster.eject_connection(eject).await.unwrap();
    }
    // Sampled from time to time.
    let text = until_some(async || {
        let (_, text) = http_get(router.app.http_address(), "/metrics").await;
        text.contains("lancegate_nodes{connection=\"labels-file\",state=\"up\"} 2\n")
            .then_some(text)
    })
    .await;
    for line in [
        "lancegate_ejections_total{connection=\"labels-file\",reason=\"operator\"} 2\n",
        "lancegate_connection_share{connection=\"labels-file\"} 0\n",
        "lancegate_connection_reads_total{connection=\"labels-file\",outcome=\"ok\"} 4\n",
        "lancegate_connection_reads_total{connection=\"labels-dns\",outcome=\"ok\"} 2\n",
        "lancegate_ejections_total{connection=\"labels-dns\",reason=\"operator\"}",
    ] {
        assert!(text.contains(line), "missing: {line}\n{text}");
    }
    for i in 0..4 {
        let address = address(i);
        let line = text.lines().find(|line| line.contains(&address));
        assert_eq!(line, None);
    }
}
