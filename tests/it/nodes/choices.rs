//! Which of the places that could answer does: hedges, defaults of the router, and
//! what the primary takes for others.

use std::time::{Duration, Instant};

use lancegate::{app::App, config::failpoint::set_faults, proto::v1::*};
use tempfile::TempDir;
use tonic::codec::CompressionEncoding;

use super::fleet::{
    Fleet, copied, count, named_node, router_settings, start_node, start_router, topology, up, uri,
};
use crate::{
    data::{ipc, small},
    process::until_some,
    server::{TestServer, settings_with},
};

const HEDGING: [(&str, &str); 3] = [
    ("LANCEGATE_HEDGING__ENABLED", "true"),
    ("LANCEGATE_HEDGING__DELAY", "50ms"),
    ("LANCEGATE_HEDGING__BUDGET_PERCENT", "100"),
];

async fn served(router: &TestServer, request: CountRequest) -> Served {
    let answer = router.search.clone().count(request).await;
    answer.expect("an answer").into_inner().served.unwrap()
}

/// Waits until a router knows at which version each of its nodes is.
async fn known(router: &mut TestServer, version: u64) {
    until_some(async || {
        let all = topology(router).await;
        let at = |c: &ConnectionStatus| c.tables.iter().any(|t| t.version >= version);
        all.iter().all(at).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_slow_is_hedged_by_one_at_the_same_version() {
    let folder = TempDir::new().unwrap();
    let mut nodes = Vec::new();
    for (i, name) in [(1, "hedged-1"), (2, "hedged-2")] {
        let node = App::start(named_node(folder.path(), i, name, &[])).await;
        nodes.push(node.unwrap());
    }
    let replicas = [uri(&nodes[0]), uri(&nodes[1])];
    let config = router_settings(&uri(&nodes[0]), &replicas, &HEDGING);
    let mut router = start_router(config).await;
    up(&mut router, 3).await;
    router.create("t", ipc(&small(0, 10))).await;
    copied(&nodes, "t").await;
    known(&mut router, 1).await;
    set_faults("hedged-1=slow:60s");
    let began = Instant::now();
    let mut hedges = 0;
    for _ in 0..6 {
        let served = served(&router, count("t")).await;
        assert_eq!(served.connection, "node-2/hedged-2");
        hedges += u32::from(served.route.contains(" hedge)"));
    }
    set_faults("hedged-1=slow:0s");
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(hedges, 3, "each second read began at the slow one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_at_another_version_is_no_hedge() {
    let mut nodes = Vec::new();
    for name in ["apart-1", "apart-2"] {
        let folder = TempDir::new().unwrap();
        let config = settings_with(folder.path(), 0, &[("LANCEGATE_PRIMARY__NAME", name)]);
        let mut node = TestServer::start_with(folder, config).await;
        node.table_of("t", ipc(&small(0, 10))).await;
        nodes.push(node);
    }
    let insert = InsertRequest {
        table: "t".into(),
        rows: Some(ipc(&small(10, 1))),
        ..Default::default()
    };
    nodes[1].write.insert(insert).await.unwrap();
    let replicas = [uri(&nodes[0].app), uri(&nodes[1].app)];
    let config = router_settings(&replicas[0], &replicas, &HEDGING);
    let mut router = start_router(config).await;
    up(&mut router, 3).await;
    known(&mut router, 1).await;
    set_faults("apart-1=slow:500ms");
    let mut by = Vec::new();
    for _ in 0..4 {
        let served = served(&router, count("t")).await;
        assert!(!served.route.contains("hedge"), "{served:?}");
        by.push(served.connection);
    }
    set_faults("apart-1=slow:0s");
    by.sort();
    let (one, other) = ("node-1/apart-1", "node-2/apart-2");
    assert_eq!(by, [one, one, other, other]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_asks_for_what_it_has_as_a_default() {
    let default = [("LANCEGATE_FRESHNESS__TABLES__T", "strong")];
    let mut fleet = Fleet::start(&default).await;
    fleet.table_of("t", ipc(&small(0, 10))).await;
    fleet.table_of("u", ipc(&small(0, 10))).await;
    let strong = served(&fleet.router, count("t")).await;
    // The primary itself has another default.
    assert_eq!(strong.route, "node(primary strong) > strong(primary)");
    let other = served(&fleet.router, count("u")).await;
    assert!(other.connection.starts_with("node-"), "{other:?}");
    let eventual = CountRequest {
        freshness: Some(Freshness {
            kind: Some(freshness::Kind::Eventual(Eventual {})),
        }),
        ..count("t")
    };
    let said = served(&fleet.router, eventual).await;
    assert!(said.connection.starts_with("node-"), "{said:?}");
    // What cannot be looked into is asked of the primary, which knows best.
    let search = fleet.router.search.clone();
    let mut search = search.send_compressed(CompressionEncoding::Gzip);
    let answer = search.count(count("t")).await.unwrap().into_inner();
    let served = answer.served.unwrap();
    assert!(served.connection.starts_with("primary/"), "{served:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_read_goes_in_turn_where_there_is_no_default() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.table_of("t", ipc(&small(0, 10))).await;
    let search = fleet.router.search.clone();
    let mut search = search.send_compressed(CompressionEncoding::Zstd);
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let answer = search.count(count("t")).await.unwrap().into_inner();
        assert_eq!(answer.count, 10);
        nodes.push(answer.served.unwrap().connection);
    }
    nodes.sort();
    nodes.dedup();
    assert_eq!(nodes.len(), 3, "{nodes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_takes_so_many_reads_for_others_and_no_more() {
    let folder = TempDir::new().unwrap();
    let config = settings_with(
        folder.path(),
        0,
        &[("LANCEGATE_PRIMARY__NAME", "bounded-p")],
    );
    let primary = TestServer::start_with(TempDir::new().unwrap(), config).await;
    let node = start_node(folder.path(), 1).await;
    let one = [("LANCEGATE_FRESHNESS__MAX_SPILLED_READS", "1")];
    let replicas = [uri(&node)];
    let config = router_settings(&uri(&primary.app), &replicas, &one);
    let mut router = start_router(config).await;
    up(&mut router, 2).await;
    router.create("t", ipc(&small(0, 10))).await;
    node.stop().await.unwrap();
    until_some(async || {
        let known = topology(&mut router).await;
        (known[1].state() == ConnectionState::Down).then_some(())
    })
    .await;
    set_faults("bounded-p=slow:5s");
    let two = [0, 1].map(|_| {
        let mut search = router.search.clone();
        tokio::spawn(async move { search.count(count("t")).await })
    });
    let mut ends = Vec::new();
    for read in two {
        ends.push(match read.await.unwrap() {
            Ok(answer) => answer.into_inner().served.unwrap().connection,
            Err(refused) => format!("{:?}", refused.code()),
        });
    }
    ends.sort();
    assert_eq!(ends, ["Unavailable", "primary/bounded-p"]);
    set_faults("bounded-p=slow:0s");
    // It is free again.
    router.search.count(count("t")).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_node_does_not_know_is_asked_of_the_primary() {
    let mut primary = TestServer::start(0).await;
    primary.table_of("t", ipc(&small(0, 10))).await;
    let node = TestServer::start(0).await;
    let config = router_settings(&uri(&primary.app), &[uri(&node.app)], &[]);
    let mut router = start_router(config).await;
    up(&mut router, 2).await;
    for _ in 0..3 {
        let served = served(&router, count("t")).await;
        assert_eq!(served.connection, "primary/primary");
    }
}
