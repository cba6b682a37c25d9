//! What an operator orders of nodes: drained, ejected, weighed, probed, by the names
//! that GetTopology shows, also those of nodes that were found behind one connection.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use lancegate::{app::App, proto::v1::*};
use tempfile::TempDir;
use tonic::{Code, Request};

use super::fleet::{
    Fleet, copied, router_settings, start_node, start_router, topology, up, uri, who,
};
use crate::{
    data::{ipc, small},
    process::{self, Server, until_some},
    server::{TestServer, reason, wait_until},
};

/// Three nodes on the lines of a file, of which the first one is the primary too.
struct Listed {
    nodes: Vec<App>,
    router: TestServer,
    list: std::path::PathBuf,
    _folder: TempDir,
}

impl Listed {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let mut nodes = Vec::new();
        for i in 1..=3 {
            nodes.push(start_node(folder.path(), i).await);
        }
        let list = folder.path().join("nodes");
        let file = format!("grpc+file://{}", list.display());
        let lines: Vec<String> = nodes.iter().map(|n| n.grpc_address().to_string()).collect();
        std::fs::write(&list, lines.join("\n")).unwrap();
        let quick = [("LANCEGATE_NODES__RESOLVE_INTERVAL", "100ms")];
        let config = router_settings(&uri(&nodes[0]), &[file], &quick);
        let mut router = start_router(config).await;
        up(&mut router, 4).await;
        let create = CreateTableRequest {
            table: "t".into(),
            source: Some(create_table_request::Source::Rows(ipc(&small(0, 10)))),
            ..Default::default()
        };
        router.table.create_table(create).await.expect("a table");
        copied(&nodes, "t").await;
        Self {
            nodes,
            router,
            list,
            _folder: folder,
        }
    }

    /// The name of a node among the members.
    fn name(&self, i: usize) -> String {
        format!("node-1@{}", self.nodes[i].grpc_address())
    }
}

/// Who answers so many reads in a row.
async fn shares(router: &TestServer, reads: usize) -> BTreeMap<String, usize> {
    let mut search = router.search.clone();
    let mut shares = BTreeMap::new();
    for _ in 0..reads {
        *shares.entry(who(&mut search, "t").await).or_default() += 1;
    }
    shares
}

fn expected<const N: usize>(shares: [(&str, usize); N]) -> BTreeMap<String, usize> {
    shares.map(|(name, reads)| (name.to_owned(), reads)).into()
}

async fn status(router: &mut TestServer, name: &str) -> ConnectionStatus {
    let mut all = topology(router).await.into_iter();
    all.find(|c| c.name == name).expect("a connection")
}

async fn drain(router: &mut TestServer, name: &str) -> ConnectionStatus {
    let connection = name.to_owned();
    let request = DrainConnectionRequest { connection };
    let answer = router.cluster.drain_connection(request).await.unwrap();
    answer.into_inner().connection.expect("how it is")
}

async fn undrain(router: &mut TestServer, name: &str) -> ConnectionStatus {
    let connection = name.to_owned();
    let request = UndrainConnectionRequest { connection };
    let answer = router.cluster.undrain_connection(request).await.unwrap();
    answer.into_inner().connection.expect("how it is")
}

async fn eject(router: &mut TestServer, name: &str, lasts: Duration) -> ConnectionStatus {
    let request = EjectConnectionRequest {
        connection: name.to_owned(),
        duration: lasts.try_into().ok(),
    };
    let answer = router.cluster.eject_connection(request).await.unwrap();
    answer.into_inner().connection.expect("how it is")
}

async fn weigh(router: &mut TestServer, name: &str, weight: u32) {
    let request = SetConnectionWeightRequest {
        connection: name.to_owned(),
        weight,
    };
    let answer = router.cluster.set_connection_weight(request).await.unwrap();
    let now = answer.into_inner().connection.expect("how it is");
    assert_eq!((now.name.as_str(), now.weight), (name, weight));
}

async fn probe(router: &mut TestServer, name: &str) -> ProbeConnectionResponse {
    let connection = name.to_owned();
    let request = ProbeConnectionRequest { connection };
    let answer = router.cluster.probe_connection(request).await;
    answer.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_gets_nothing_new_under_load_and_comes_back() {
    let mut all = Listed::start().await;
    let names = [all.name(0), all.name(1), all.name(2)];
    let drained_name = names[1].clone();
    let (stop, drained) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let answered = Arc::<AtomicU64>::default();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut search = all.router.search.clone();
        let (stop, drained) = (Arc::clone(&stop), Arc::clone(&drained));
        let (answered, name) = (Arc::clone(&answered), drained_name.clone());
        clients.push(tokio::spawn(async move {
            let mut before = 0;
            while !stop.load(Ordering::SeqCst) {
                // Asked before the read begins.
                let gone = drained.load(Ordering::SeqCst);
                let node = who(&mut search, "t").await;
                assert!(!gone || node != name, "a new read of a drained node");
                before += usize::from(node == name);
                answered.fetch_add(1, Ordering::SeqCst);
            }
            before
        }));
    }
    let more = async |least: u64| {
        let goal = answered.load(Ordering::SeqCst) + least;
        wait_until("under load", || answered.load(Ordering::SeqCst) >= goal).await;
    };
    more(60).await;
    let now = drain(&mut all.router, &drained_name).await;
    drained.store(true, Ordering::SeqCst);
    assert_eq!(now.name, drained_name);
    assert!(now.drained && now.standing() == Standing::Draining);
    more(60).await;
    until_some(async || {
        let now = status(&mut all.router, &drained_name).await;
        (now.in_flight == 0 && now.state() == ConnectionState::Up).then_some(())
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    let mut before = 0;
    for client in clients {
        before += client.await.unwrap();
    }
    assert!(before > 0, "it had its share before");
    let halves = [(names[0].as_str(), 10), (&names[2], 10)];
    assert_eq!(shares(&all.router, 20).await, expected(halves));
    let back = undrain(&mut all.router, &drained_name).await;
    assert_eq!((back.standing(), back.drained), (Standing::Ready, false));
    let thirds = [(names[0].as_str(), 10), (&names[1], 10), (&names[2], 10)];
    assert_eq!(shares(&all.router, 30).await, expected(thirds));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ejected_node_comes_back_when_its_time_is_over_or_when_told() {
    let mut all = Listed::start().await;
    let names = [all.name(0), all.name(1), all.name(2)];
    let hour = Duration::from_secs(3_600);
    let now = eject(&mut all.router, &names[0], hour).await;
    assert_eq!(
        (now.standing(), now.ejections_total),
        (Standing::Ejected, 1)
    );
    assert!(now.standing_detail.contains("operator"), "{now:?}");
    let halves = [(names[1].as_str(), 10), (&names[2], 10)];
    assert_eq!(shares(&all.router, 20).await, expected(halves));
    undrain(&mut all.router, &names[0]).await;
    let thirds = [(names[0].as_str(), 10), (&names[1], 10), (&names[2], 10)];
    assert_eq!(shares(&all.router, 30).await, expected(thirds));

    eject(&mut all.router, &names[0], Duration::from_millis(300)).await;
    // By its trial, or by the probe that comes first.
    until_some(async || {
        shares(&all.router, 2).await;
        let now = status(&mut all.router, &names[0]).await;
        (now.standing() == Standing::Ready).then_some(())
    })
    .await;
    assert_eq!(shares(&all.router, 30).await, expected(thirds));
    // Of all that are out the primary answers.
    for name in &names {
        eject(&mut all.router, name, hour).await;
    }
    let primary = expected([("primary", 5)]);
    assert_eq!(shares(&all.router, 5).await, primary);
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_of_nodes_are_exact_shares_and_stay_while_the_list_says_nothing_new() {
    let mut all = Listed::start().await;
    let names = [all.name(0), all.name(1), all.name(2)];
    weigh(&mut all.router, &names[0], 3).await;
    let three_to_one = [(names[0].as_str(), 60), (&names[1], 20), (&names[2], 20)];
    assert_eq!(shares(&all.router, 100).await, expected(three_to_one));

    // The third one leaves: what was ordered of the others stays.
    let write = |lines: &[String]| {
        let new = all.list.with_extension("new");
        std::fs::write(&new, lines.join("\n")).unwrap();
        std::fs::rename(&new, &all.list).unwrap();
    };
    let address = |i: usize| all.nodes[i].grpc_address().to_string();
    write(&[address(0), address(1)]);
    up(&mut all.router, 3).await;
    let three_to_one = [(names[0].as_str(), 30), (&names[1], 10)];
    assert_eq!(shares(&all.router, 40).await, expected(three_to_one));

    // Until the list has another weight to go by.
    write(&[format!("{} weight=2", address(0)), address(1)]);
    until_some(async || {
        let now = status(&mut all.router, &names[0]).await;
        (now.weight == 2).then_some(())
    })
    .await;
    let two_to_one = [(names[0].as_str(), 20), (&names[1], 10)];
    assert_eq!(shares(&all.router, 30).await, expected(two_to_one));

    // One that is drained, and leaves, is a new one when it is back.
    drain(&mut all.router, &names[1]).await;
    write(&[address(0)]);
    up(&mut all.router, 2).await;
    write(&[address(0), address(1)]);
    up(&mut all.router, 3).await;
    let halves = [(names[0].as_str(), 10), (&names[1], 10)];
    assert_eq!(shares(&all.router, 20).await, expected(halves));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_says_how_a_node_is_in_turn_or_not() {
    let folder = TempDir::new().unwrap();
    let primary = start_node(folder.path(), 1).await;
    let copy = folder.path().join("copy-2").display().to_string();
    let env = [
        ("LANCEGATE_REPLICAS__0__NAME", "replica-1"),
        ("LANCEGATE_REPLICAS__0__URI", copy.as_str()),
    ];
    let other = Server::start(folder.path(), 0, &env).await;
    let other_uri = format!("grpc://{}", other.process.address("grpc"));
    let replicas = [uri(&primary), other_uri];
    let mut router = start_router(router_settings(&uri(&primary), &replicas, &[])).await;
    up(&mut router, 3).await;
    drain(&mut router, "node-1").await;
    for name in ["primary", "node-1", "node-2"] {
        let answer = probe(&mut router, name).await;
        assert!(answer.ok, "{answer:?}");
        assert_eq!(answer.detail, "read from the node");
        assert!(answer.latency.is_some_and(|d| d.seconds > 0 || d.nanos > 0));
        assert_eq!(answer.connection.expect("how it is").name, name);
    }
    let now = status(&mut router, "node-1").await;
    assert_eq!(now.standing(), Standing::Draining);
    other.process.kill();
    let answer = probe(&mut router, "node-2").await;
    assert!(!answer.ok && !answer.detail.is_empty(), "{answer:?}");
    until_some(async || {
        let now = status(&mut router, "node-2").await;
        let down = now.state() == ConnectionState::Down && now.standing() == Standing::Down;
        down.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_ordered_of_nodes_is_refused() {
    let mut all = Listed::start().await;
    // The connection of the configuration is no node: those behind it are.
    for name in ["node-1", "node-1@", "node-1@127.0.0.1:1", "nobody"] {
        let connection = name.to_owned();
        let request = DrainConnectionRequest { connection };
        let refused = all.router.cluster.drain_connection(request).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{name}");
        let connection = name.to_owned();
        let request = ProbeConnectionRequest { connection };
        let refused = all.router.cluster.probe_connection(request).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{name}");
    }
    let weight = SetConnectionWeightRequest {
        connection: all.name(0),
        weight: 1_001,
    };
    let refused = all.router.cluster.set_connection_weight(weight).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    let primary = EjectConnectionRequest {
        connection: "primary".into(),
        duration: Duration::from_secs(1).try_into().ok(),
    };
    let refused = all.router.cluster.eject_connection(primary).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused), "PRIMARY_TAKES_NO_TURN");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_orders_the_same_of_nodes() {
    let all = Listed::start().await;
    let address = all.router.app.grpc_address().to_string();
    let run = async |args: &[&str]| process::at(&address, args).await;
    let said = async |args: &[&str]| -> String {
        let ended = run(args).await;
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        ended.out
    };
    let names = [all.name(0), all.name(1), all.name(2)];
    let one = names[0].as_str();
    let out = said(&["drain", one, "--wait", "30s"]).await;
    assert_eq!(
        out,
        format!("{one}: draining, weight 1, 0 reads in flight\n")
    );
    let json: serde_json::Value = serde_json::from_str(&said(&["status", "--json"]).await).unwrap();
    let shown = json["connections"].as_array().unwrap().iter();
    let shown: Vec<_> = shown.filter(|c| c["name"] == one).collect();
    assert_eq!(shown.len(), 1, "{json}");
    assert_eq!(shown[0]["standing"], "draining");
    let out = said(&["undrain", one]).await;
    assert_eq!(out, format!("{one}: ready, weight 1, 0 reads in flight\n"));
    let out = said(&["weight", one, "3"]).await;
    assert_eq!(out, format!("{one}: ready, weight 3, 0 reads in flight\n"));
    let three_to_one = [(one, 30), (&names[1], 10), (&names[2], 10)];
    assert_eq!(shares(&all.router, 50).await, expected(three_to_one));
    let out = said(&["eject", one, "--for", "1h"]).await;
    assert!(
        out.starts_with(&format!("{one}: ejected for another ")),
        "{out}"
    );
    let halves = [(names[1].as_str(), 5), (&names[2], 5)];
    assert_eq!(shares(&all.router, 10).await, expected(halves));
    let out = said(&["probe", one]).await;
    assert!(
        out.starts_with(&format!("{one}: read from the node, ")),
        "{out}"
    );
    let nobody = run(&["drain", "node-1"]).await;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_see_what_was_ordered_of_a_node() {
    let mut fleet = Fleet::start(&[]).await;
    let minute = Duration::from_secs(60).try_into().ok();
    let request = Request::new(WatchTopologyRequest { heartbeat: minute });
    let watching = fleet.router.cluster.watch_topology(request).await;
    let mut watching = watching.unwrap().into_inner();
    let mut standing = async || {
        let message = tokio::time::timeout(Duration::from_secs(30), watching.message()).await;
        let message = message.expect("in time").unwrap().unwrap();
        let all = message.topology.unwrap().connections.into_iter();
        let mut two = all.filter(|c| c.name == "node-2");
        two.next().expect("node-2").standing()
    };
    while standing().await != Standing::Ready {}
    drain(&mut fleet.router, "node-2").await;
    while standing().await != Standing::Draining {}
}
