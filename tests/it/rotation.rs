//! What an operator orders of connections: drained, ejected, weighed, probed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use lancegate::{config::failpoint::set_faults, pool, proto::v1::*};
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{
    data::{ipc, small},
    process::{self, Ended, until_some},
    server::{TestServer, reason, settings_with, sources, wait_until},
};

/// A server over which nobody but an operator takes a replica out of turn, and whose
/// replicas come back with their full share at once: as the tests' settings have it.
async fn start(replicas: usize) -> TestServer {
    let mut server = TestServer::start(replicas).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    all_ready(&server).await;
    server
}

/// Waits until the members are what the connections are.
async fn all_ready(server: &TestServer) {
    wait_until("in turn", || {
        let facts = server
            .app
            .router()
            .unwrap()
            .pool()
            .facts(tokio::time::Instant::now());
        facts.iter().all(|f| f.standing == pool::Standing::Ready)
    })
    .await;
}

fn count() -> CountRequest {
    CountRequest {
        table: "t".into(),
        ..Default::default()
    }
}

/// Who answers so many reads in a row.
async fn shares(server: &mut TestServer, reads: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..reads {
        let answer = server.search.count(count()).await.expect("a count");
        let served = answer.into_inner().served.expect("who answered");
        *shares.entry(served.connection).or_default() += 1;
    }
    shares
}

fn expected<const N: usize>(shares: [(&str, usize); N]) -> BTreeMap<String, usize> {
    shares.map(|(name, reads)| (name.to_owned(), reads)).into()
}

async fn status(server: &mut TestServer, name: &str) -> ConnectionStatus {
    let topology = server.cluster.get_topology(GetTopologyRequest {}).await;
    let mut all = topology
        .expect("a topology")
        .into_inner()
        .connections
        .into_iter();
    all.find(|c| c.name == name).expect("a connection")
}

async fn drain(server: &mut TestServer, name: &str) -> Result<ConnectionStatus, Status> {
    let connection = name.to_owned();
    let request = DrainConnectionRequest { connection };
    let answer = server.cluster.drain_connection(request).await?;
    Ok(answer.into_inner().connection.expect("how it is"))
}

async fn undrain(server: &mut TestServer, name: &str) -> Result<ConnectionStatus, Status> {
    let connection = name.to_owned();
    let request = UndrainConnectionRequest { connection };
    let answer = server.cluster.undrain_connection(request).await?;
    Ok(answer.into_inner().connection.expect("how it is"))
}

async fn eject(
    server: &mut TestServer,
    name: &str,
    lasts: Duration,
) -> Result<ConnectionStatus, Status> {
    let request = EjectConnectionRequest {
        connection: name.to_owned(),
        duration: lasts.try_into().ok(),
    };
    let answer = server.cluster.eject_connection(request).await?;
    Ok(answer.into_inner().connection.expect("how it is"))
}

async fn weigh(server: &mut TestServer, name: &str, weight: u32) -> Result<(), Status> {
    let request = SetConnectionWeightRequest {
        connection: name.to_owned(),
        weight,
    };
    let answer = server.cluster.set_connection_weight(request).await?;
    assert_eq!(
        answer.into_inner().connection.expect("how it is").weight,
        weight
    );
    Ok(())
}

async fn probe(server: &mut TestServer, name: &str) -> Result<ProbeConnectionResponse, Status> {
    let connection = name.to_owned();
    let request = ProbeConnectionRequest { connection };
    let answer = server.cluster.probe_connection(request).await?;
    Ok(answer.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_replica_gets_nothing_new_under_load_and_comes_back() {
    let mut server = start(3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let drained = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (mut search, stop) = (server.search.clone(), Arc::clone(&stop));
        let (drained, answered) = (Arc::clone(&drained), Arc::clone(&answered));
        clients.push(tokio::spawn(async move {
            let mut before = BTreeMap::new();
            while !stop.load(Ordering::SeqCst) {
                // Asked before the read begins.
                let gone = drained.load(Ordering::SeqCst);
                let answer = search.count(count()).await.expect("no read fails");
                let connection = answer.into_inner().served.unwrap().connection;
                assert!(
                    !gone || connection != "replica-2",
                    "a new read of a drained replica"
                );
                *before.entry(connection).or_insert(0) += 1;
                answered.fetch_add(1, Ordering::SeqCst);
            }
            before
        }));
    }
    let mut seen = 0;
    let mut more = |least: u64| {
        seen = answered.load(Ordering::SeqCst) + least;
        seen
    };
    let goal = more(60);
    wait_until("under load", || answered.load(Ordering::SeqCst) >= goal).await;
    let now = drain(&mut server, "replica-2").await.unwrap();
    drained.store(true, Ordering::SeqCst);
    assert_eq!(now.standing(), Standing::Draining);
    assert!(now.drained);
    let goal = more(60);
    wait_until("drained under load", || {
        answered.load(Ordering::SeqCst) >= goal
    })
    .await;
    let idle = until_some(async || {
        let now = status(&mut server, "replica-2").await;
        (now.in_flight == 0).then_some(now)
    })
    .await;
    assert!(idle.drained && idle.state() == ConnectionState::Up);
    stop.store(true, Ordering::SeqCst);
    let mut before = 0;
    for client in clients {
        before += client.await.unwrap().get("replica-2").copied().unwrap_or(0);
    }
    assert!(before > 0, "it had its share before");

    let none = shares(&mut server, 20).await;
    assert_eq!(none, expected([("replica-1", 10), ("replica-3", 10)]));
    let back = undrain(&mut server, "replica-2").await.unwrap();
    assert_eq!((back.standing(), back.drained), (Standing::Ready, false));
    let thirds = [("replica-1", 10), ("replica-2", 10), ("replica-3", 10)];
    assert_eq!(shares(&mut server, 30).await, expected(thirds));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_on_a_drained_replica_is_finished_or_waited_for() {
    let folder = TempDir::with_prefix("lancegate-rotation-").unwrap();
    // Faults are told to connections by their names: these are of this test alone.
    let names = [
        ("LANCEGATE_REPLICAS__0__NAME", "drained-1"),
        ("LANCEGATE_REPLICAS__1__NAME", "drained-2"),
    ];
    let config = settings_with(folder.path(), 2, &names);
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    all_ready(&server).await;
    let address = server.app.grpc_address().to_string();
    let drain_for = async |wait: &str| -> Ended {
        process::at(&address, &["drain", "drained-1", "--wait", wait]).await
    };
    // Two reads in a row: one of them is the turn of the slow one.
    let two = |server: &TestServer| {
        [0, 1].map(|_| {
            let mut search = server.search.clone();
            tokio::spawn(async move { search.count(count()).await })
        })
    };
    let in_flight = |server: &TestServer| {
        let facts = server
            .app
            .router()
            .unwrap()
            .pool()
            .facts(tokio::time::Instant::now());
        facts[0].in_flight
    };

    set_faults("drained-1=slow:1h");
    let reads = two(&server);
    wait_until("one runs", || in_flight(&server) == 1).await;
    let ended = drain_for("10ms").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("1 reads in flight"), "{ended:?}");
    assert_eq!(shares(&mut server, 4).await, expected([("drained-2", 4)]));
    let now = status(&mut server, "drained-1").await;
    assert_eq!((now.standing(), now.in_flight), (Standing::Draining, 1));
    reads.iter().for_each(tokio::task::JoinHandle::abort);
    let ended = drain_for("30s").await;
    assert_eq!(
        ended.out,
        "drained-1: draining, weight 1, 0 reads in flight\n"
    );

    undrain(&mut server, "drained-1").await.unwrap();
    set_faults("drained-1=slow:4s");
    let reads = two(&server);
    wait_until("one runs", || in_flight(&server) == 1).await;
    drain(&mut server, "drained-1").await.unwrap();
    let mut served = Vec::new();
    for read in reads {
        let answer = read.await.unwrap().expect("it is finished");
        served.push(answer.into_inner().served.unwrap().connection);
    }
    served.sort();
    assert_eq!(served, ["drained-1", "drained-2"]);
    set_faults("drained-1=slow:0s");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ejected_replica_comes_back_when_its_time_is_over_or_when_told() {
    let mut server = start(2).await;
    let hour = Duration::from_secs(3_600);
    let now = eject(&mut server, "replica-1", hour).await.unwrap();
    assert_eq!(
        (now.standing(), now.ejections_total),
        (Standing::Ejected, 1)
    );
    assert!(now.standing_detail.contains("operator"), "{now:?}");
    assert_eq!(shares(&mut server, 10).await, expected([("replica-2", 10)]));
    undrain(&mut server, "replica-1").await.unwrap();
    let halves = [("replica-1", 10), ("replica-2", 10)];
    assert_eq!(shares(&mut server, 20).await, expected(halves));

    let moment = Duration::from_millis(300);
    let now = eject(&mut server, "replica-1", moment).await.unwrap();
    assert_eq!(
        (now.standing(), now.ejections_total),
        (Standing::Ejected, 2)
    );
    // By its trial, or by the probe that comes first.
    until_some(async || {
        shares(&mut server, 2).await;
        let now = status(&mut server, "replica-1").await;
        (now.standing() == Standing::Ready).then_some(())
    })
    .await;
    assert_eq!(shares(&mut server, 20).await, expected(halves));
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_exact_shares() {
    let mut server = start(3).await;
    let thirds = [("replica-1", 10), ("replica-2", 10), ("replica-3", 10)];
    assert_eq!(shares(&mut server, 30).await, expected(thirds));
    weigh(&mut server, "replica-1", 3).await.unwrap();
    let three_to_one = [("replica-1", 60), ("replica-2", 20), ("replica-3", 20)];
    assert_eq!(shares(&mut server, 100).await, expected(three_to_one));
    weigh(&mut server, "replica-1", 1).await.unwrap();
    assert_eq!(shares(&mut server, 30).await, expected(thirds));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_weights_that_it_names() {
    let folder = TempDir::with_prefix("lancegate-rotation-").unwrap();
    let root = folder.path().to_owned();
    let place = |name: &str| root.join(name).display().to_string();
    let text = |weight: u32| {
        format!(
            "[primary]\nuri = '{}'\n[[replicas]]\nuri = '{}'\nweight = {weight}\n\
             [[replicas]]\nuri = '{}'\n[outlier]\nslow_start = \"0s\"\nenabled = false\n",
            place("primary"),
            place("replica-1"),
            place("replica-2")
        )
    };
    let file = root.join("lancegate.toml");
    std::fs::write(&file, text(1)).unwrap();
    let mut sources = sources(&root, 0, &[]);
    sources.env.retain(|(key, _)| !key.contains("PRIMARY"));
    sources.file = Some(file.clone());
    let mut server = TestServer::start_reloadable(folder, sources).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    all_ready(&server).await;
    let halves = [("replica-1", 20), ("replica-2", 20)];
    assert_eq!(shares(&mut server, 40).await, expected(halves));

    std::fs::write(&file, text(3)).unwrap();
    let request = ReloadConfigurationRequest::default();
    let answer = server.cluster.reload_configuration(request).await;
    let changes = answer.expect("a reload").into_inner().changes;
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].key, "replicas[0].weight");
    let three_to_one = [("replica-1", 30), ("replica-2", 10)];
    assert_eq!(shares(&mut server, 40).await, expected(three_to_one));

    // What an operator has set stays, as long as the file says nothing new of it.
    weigh(&mut server, "replica-2", 3).await.unwrap();
    std::fs::write(&file, format!("{}[limits]\nmax_limit = 9", text(3))).unwrap();
    let answer = server.cluster.reload_configuration(request).await;
    assert_eq!(answer.expect("a reload").into_inner().changes.len(), 1);
    assert_eq!(shares(&mut server, 40).await, expected(halves));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_says_how_a_connection_is_in_turn_or_not() {
    let mut server = start(2).await;
    drain(&mut server, "replica-1").await.unwrap();
    for name in ["primary", "replica-1", "replica-2"] {
        let answer = probe(&mut server, name).await.unwrap();
        assert!(answer.ok, "{answer:?}");
        assert!(
            answer.detail.starts_with("searched t at version "),
            "{answer:?}"
        );
        assert!(answer.latency.is_some_and(|d| d.seconds > 0 || d.nanos > 0));
        assert_eq!(answer.connection.expect("how it is").name, name);
    }
    assert_eq!(shares(&mut server, 6).await, expected([("replica-2", 6)]));
    let place = server.folder.path().join("replica-2");
    std::fs::rename(&place, server.folder.path().join("elsewhere")).unwrap();
    let answer = until_some(async || {
        let answer = probe(&mut server, "replica-2").await.unwrap();
        (!answer.ok).then_some(answer)
    })
    .await;
    assert!(
        !answer.detail.contains(&place.display().to_string()),
        "{answer:?}"
    );
    until_some(async || {
        let now = status(&mut server, "replica-2").await;
        (now.state() == ConnectionState::Down && now.standing() == Standing::Down).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_ordered_is_refused() {
    let mut server = start(1).await;
    let moment = Duration::from_secs(1);
    for name in ["", "nobody", "../x", "Replica-1"] {
        let refusals = [
            drain(&mut server, name).await.err(),
            undrain(&mut server, name).await.err(),
            eject(&mut server, name, moment).await.err(),
            weigh(&mut server, name, 2).await.err(),
            probe(&mut server, name).await.err(),
        ];
        for refusal in refusals {
            let refusal = refusal.expect("a refusal");
            assert_eq!(refusal.code(), Code::InvalidArgument, "{name}: {refusal:?}");
            let fields = refusal.get_details_bad_request().unwrap().field_violations;
            assert_eq!(fields[0].field, "connection");
        }
    }
    let refusals = [
        drain(&mut server, "primary").await.err(),
        undrain(&mut server, "primary").await.err(),
        eject(&mut server, "primary", moment).await.err(),
        weigh(&mut server, "primary", 2).await.err(),
    ];
    for refusal in refusals {
        let refusal = refusal.expect("a refusal");
        assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal:?}");
        assert_eq!(reason(&refusal), "PRIMARY_TAKES_NO_TURN");
    }
    for lasts in [Duration::ZERO, Duration::from_secs(24 * 3_600 + 1)] {
        let refusal = eject(&mut server, "replica-1", lasts).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{lasts:?}");
    }
    for weight in [0, 1_001, u32::MAX] {
        let refusal = weigh(&mut server, "replica-1", weight).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{weight}");
    }
    let now = status(&mut server, "replica-1").await;
    assert_eq!(
        (now.standing(), now.weight, now.tier),
        (Standing::Ready, 1, 0)
    );
    let now = status(&mut server, "primary").await;
    assert_eq!((now.standing(), now.tier), (Standing::Unspecified, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_see_what_was_ordered() {
    let mut server = start(2).await;
    let minute = Duration::from_secs(60).try_into().ok();
    let request = WatchTopologyRequest { heartbeat: minute };
    let watching = server.cluster.watch_topology(request).await;
    let mut watching = watching.unwrap().into_inner();
    let mut standing = async || {
        let message = tokio::time::timeout(Duration::from_secs(30), watching.message()).await;
        let message = message.expect("in time").unwrap().unwrap();
        message.topology.unwrap().connections[1].standing()
    };
    while standing().await != Standing::Ready {}
    drain(&mut server, "replica-1").await.unwrap();
    while standing().await != Standing::Draining {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_orders_the_same() {
    let mut server = start(2).await;
    let address = server.app.grpc_address().to_string();
    let run = async |args: &[&str]| process::at(&address, args).await;
    let said = async |args: &[&str]| -> String {
        let ended = run(args).await;
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        ended.out
    };
    let one = "replica-1";
    let drained = said(&["drain", one, "--wait", "30s"]).await;
    assert_eq!(
        drained,
        "replica-1: draining, weight 1, 0 reads in flight\n"
    );
    assert!(said(&["status"]).await.contains("draining"));
    let json = said(&["status", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["connections"][1]["standing"], "draining");
    assert_eq!(json["connections"][1]["drained"], true);
    let back = said(&["undrain", one]).await;
    assert_eq!(back, "replica-1: ready, weight 1, 0 reads in flight\n");
    let heavy = said(&["weight", one, "3"]).await;
    assert_eq!(heavy, "replica-1: ready, weight 3, 0 reads in flight\n");
    let three_to_one = [(one, 30), ("replica-2", 10)];
    assert_eq!(shares(&mut server, 40).await, expected(three_to_one));
    let out = said(&["eject", one, "--for", "1h"]).await;
    assert!(out.starts_with("replica-1: ejected for another "), "{out}");
    let found = said(&["probe", one]).await;
    assert!(
        found.starts_with("replica-1: searched t at version "),
        "{found}"
    );
    let nobody = run(&["drain", "nobody"]).await;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(
        nobody
            .err
            .starts_with("error: connection: is no connection"),
        "{nobody:?}"
    );
    let primary = run(&["eject", "primary", "--for", "1s"]).await;
    assert_eq!(primary.code, Some(1), "{primary:?}");
    assert!(primary.err.contains("(FAILED_PRECONDITION)"), "{primary:?}");
    let soon = run(&["eject", one, "--for", "soon"]).await;
    assert_eq!(soon.code, Some(2), "{soon:?}");
}
