//! WatchTopology: the topology at once, at each change, and from time to time; and
//! the terminal view of it.

use std::{process::Command, time::Duration};

use lancegate::proto::v1::*;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};
use tonic::{Code, Streaming};
use tonic_types::StatusExt;

use super::{
    data::{ipc, small},
    process,
    server::{TestServer, settings_with},
};

const PATIENCE: Duration = Duration::from_secs(30);

fn every(millis: u64) -> WatchTopologyRequest {
    let heartbeat = Duration::from_millis(millis).try_into().ok();
    WatchTopologyRequest { heartbeat }
}

async fn watch(server: &mut TestServer, millis: u64) -> Streaming<WatchTopologyResponse> {
    let watching = server.cluster.watch_topology(every(millis)).await;
    watching.expect("a watcher").into_inner()
}

async fn next(watching: &mut Streaming<WatchTopologyResponse>) -> GetTopologyResponse {
    let message = timeout(PATIENCE, watching.message())
        .await
        .expect("in time");
    let message = message.expect("no error").expect("no end");
    message.topology.expect("a topology")
}

fn version_of(topology: &GetTopologyResponse, table: &str) -> Option<u64> {
    let tables = topology.connections[0].tables.iter();
    tables
        .filter(|t| t.table == table)
        .map(|t| t.version)
        .next()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_the_topology_at_once_and_every_change() {
    let mut server = TestServer::start(2).await;
    server.table_of("first", ipc(&small(0, 10))).await;
    // No heartbeat comes in between.
    let mut watching = watch(&mut server, 60_000).await;
    let topology = next(&mut watching).await;
    let asked = server.cluster.get_topology(GetTopologyRequest {}).await;
    let asked = asked.unwrap().into_inner();
    let names = |t: &GetTopologyResponse| -> Vec<String> {
        t.connections.iter().map(|c| c.name.clone()).collect()
    };
    assert_eq!(names(&topology), names(&asked));
    assert_eq!(
        topology.configuration_fingerprint,
        asked.configuration_fingerprint
    );
    assert!(version_of(&topology, "first").is_some());
    server.table_of("second", ipc(&small(0, 10))).await;
    // Until the replicas have it as well: each step is a change.
    loop {
        let topology = next(&mut watching).await;
        let all = topology.connections.iter();
        if all
            .flat_map(|c| &c.tables)
            .filter(|t| t.table == "second" && t.version > 0)
            .count()
            == 3
        {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_come_without_a_change_and_are_not_cut_off() {
    let folder = TempDir::with_prefix("lancegate-watch-").unwrap();
    let more = [
        ("LANCEGATE_LIMITS__MAX_DEADLINE", "700ms"),
        ("LANCEGATE_LIMITS__MAX_CONCURRENT_REQUESTS", "1"),
    ];
    let config = settings_with(folder.path(), 1, &more);
    let mut server = TestServer::start_with(folder, config).await;
    let (mut one, mut other) = (watch(&mut server, 250).await, watch(&mut server, 250).await);
    // Longer than the longest deadline, which is for what ends.
    let began = Instant::now();
    let mut updates = 0;
    while began.elapsed() < Duration::from_millis(1_600) || updates < 3 {
        next(&mut one).await;
        next(&mut other).await;
        updates += 1;
        // The watchers leave the one slot to others.
        let topology = server.cluster.get_topology(GetTopologyRequest {}).await;
        topology.expect("room for a request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_a_row_are_sent_together() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let began = Instant::now();
    let mut watching = watch(&mut server, 60_000).await;
    let mut write = server.write.clone();
    let writing = tokio::spawn(async move {
        let mut last = 0;
        for i in 0..30 {
            let rows = Some(ipc(&small(100 + i, 1)));
            let insert = InsertRequest {
                table: "t".into(),
                rows,
                mode: 0,
                request_id: String::new(),
            };
            last = write.insert(insert).await.unwrap().into_inner().version;
        }
        last
    });
    let last = writing.await.unwrap();
    let mut messages = 0;
    loop {
        let topology = next(&mut watching).await;
        messages += 1;
        if version_of(&topology, "t") >= Some(last) {
            break;
        }
    }
    // The first one, and one for each pause of 250 ms at most.
    let most = 2 + began.elapsed().as_millis() / 250;
    assert!(messages <= most, "{messages} messages, not at most {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_are_bounded_and_checked() {
    let mut server = TestServer::start(0).await;
    for wrong in [0, 249, 60_001] {
        let refusal = server
            .cluster
            .watch_topology(every(wrong))
            .await
            .unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{wrong}");
        let fields = refusal.get_details_bad_request().unwrap().field_violations;
        assert_eq!(fields[0].field, "heartbeat");
    }
    let mut all = Vec::new();
    for _ in 0..32 {
        all.push(watch(&mut server, 60_000).await);
    }
    let refusal = server
        .cluster
        .watch_topology(every(60_000))
        .await
        .unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
    all.pop();
    let again = async {
        while server.cluster.watch_topology(every(60_000)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, again)
        .await
        .expect("the place of the one that left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_its_watchers() {
    let mut server = TestServer::start(1).await;
    let mut watching = watch(&mut server, 60_000).await;
    next(&mut watching).await;
    let stopping = tokio::spawn(server.app.stop());
    loop {
        let message = timeout(PATIENCE, watching.message())
            .await
            .expect("in time");
        if message.expect("an end, not an error").is_none() {
            break;
        }
    }
    stopping.await.unwrap().expect("drained: nobody held it up");
}

fn top(server: &TestServer, more: &[&str]) -> Command {
    let address = server.app.grpc_address().to_string();
    let mut command = process::lancegate(&["top", "--address", &address, "--interval", "250ms"]);
    command.args(more);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn top_prints_a_table_or_a_line_per_update() {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let ended = process::run(top(&server, &["--count", "2"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for cell in ["primary", "replica-1", "replica-2", "reads/s", "standing"] {
        assert_eq!(
            ended.out.matches(cell).count() % 2,
            0,
            "{cell}: {}",
            ended.out
        );
        assert!(ended.out.contains(cell), "{cell}: {}", ended.out);
    }
    assert!(!ended.out.contains('\u{1b}'), "no terminal, no escapes");
    let ended = process::run(top(&server, &["--count", "3", "--json"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let updates: Vec<serde_json::Value> = ended
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(updates.len(), 3);
    assert_eq!(updates[0]["connections"][1]["name"], "replica-1");
    assert!(updates[0]["connections"][1]["reads_per_second"].is_null());
    assert_eq!(updates[2]["connections"][1]["reads_per_second"], 0.0);
    let ended = process::run(top(&server, &["--count", "0"])).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn top_ends_when_the_server_does() {
    let server = TestServer::start(0).await;
    let running = tokio::spawn(process::run(top(&server, &[])));
    // Ends by itself only because the server does.
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.app.stop().await.expect("stopped");
    let ended = running.await.unwrap();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.starts_with("error: "), "{ended:?}");
}
