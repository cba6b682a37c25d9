//! Nodes that die, hang, come and go, while clients go on.
//!
//! FAULT_SECONDS is for how long each goes on (2 by default).

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use lancegate::proto::v1::{search_service_client::SearchServiceClient, *};
use tempfile::TempDir;
use tonic::{Code, Request, transport::Channel};

use super::fleet::{count, router_settings, start_router, topology, up};
use crate::{
    data::{ipc, small},
    process::{Server, until_some},
    server::{TestServer, http_get, wait_until},
};

/// What hides a fault, as it is by default but for shorter times.
const HIDING: [(&str, &str); 5] = [
    ("LANCEGATE_RETRIES__MIN_PER_SECOND", "10"),
    ("LANCEGATE_OUTLIER__ENABLED", "true"),
    ("LANCEGATE_OUTLIER__EJECTION", "1s"),
    ("LANCEGATE_OUTLIER__MAX_EJECTION", "2s"),
    ("LANCEGATE_OUTLIER__SLOW_START", "1s"),
];

fn seconds() -> Duration {
    let set = std::env::var("FAULT_SECONDS").ok();
    let seconds = set.map_or(2, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}

/// Clients that read without a pause to speak of, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    errors: Arc<Mutex<Vec<String>>>,
    took: Arc<Mutex<Vec<Duration>>>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(search: &SearchServiceClient<Channel>) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            answered: Arc::default(),
            errors: Arc::default(),
            took: Arc::default(),
            clients: Vec::new(),
        };
        for _ in 0..4 {
            let (stop, answered) = (Arc::clone(&load.stop), Arc::clone(&load.answered));
            let (errors, took) = (Arc::clone(&load.errors), Arc::clone(&load.took));
            let mut search = search.clone();
            load.clients.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let mut request = Request::new(count("t"));
                    request.set_timeout(Duration::from_secs(60));
                    match search.count(request).await {
                        Ok(_) => answered.fetch_add(1, Ordering::Relaxed),
                        Err(status) => {
                            errors.lock().unwrap().push(format!("{status:?}"));
                            0
                        }
                    };
                    took.lock().unwrap().push(began.elapsed());
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }));
        }
        load
    }

    /// Waits until so many more reads were answered.
    async fn goes_on(&self, reads: u64) {
        let before = self.answered.load(Ordering::Relaxed);
        wait_until("reads that go on", || {
            self.answered.load(Ordering::Relaxed) >= before + reads
                || !self.errors.lock().unwrap().is_empty()
        })
        .await;
    }

    /// Stops the clients; there was no error. Answers how many reads there were.
    async fn end(self, what: &str) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        let mut took = self.took.lock().unwrap().clone();
        took.sort();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100];
        println!(
            "{what}: {} reads, p50 {:?}, p99 {:?}, longest {:?}",
            took.len(),
            at(50),
            at(99),
            at(100)
        );
        let errors = self.errors.lock().unwrap();
        assert!(errors.is_empty(), "{}: {:?}", errors.len(), errors.first());
        took.len()
    }
}

/// A node as a process of its own.
async fn node_process(folder: &Path, i: usize, more: &[(&str, &str)]) -> Server {
    let copy = folder.join(format!("copy-{i}")).display().to_string();
    let mut env = vec![
        ("LANCEGATE_REPLICAS__0__NAME", "replica-1"),
        ("LANCEGATE_REPLICAS__0__URI", copy.as_str()),
    ];
    env.extend(more);
    Server::start(folder, 0, &env).await
}

/// How many counts a process has been asked for, by its own metrics.
async fn counts(server: &Server) -> u64 {
    let (_, text) = http_get(server.process.address("http"), "/metrics").await;
    let of_counts = |line: &&str| {
        line.starts_with("grpc_server_started_total") && line.contains("grpc_method=\"Count\"")
    };
    let lines = text.lines().filter(of_counts);
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

fn address(server: &Server) -> String {
    server.process.address("grpc").to_string()
}

/// Three nodes as processes, a fourth one that is the primary, and a router in this
/// process in front of them.
struct Processes {
    primary: Option<Server>,
    nodes: Vec<Option<Server>>,
    router: TestServer,
    /// Of the nodes.
    folder: TempDir,
}

impl Processes {
    /// `more` is of the router, `third` of the third node.
    async fn start(more: &[(&str, &str)], third: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let primary = Server::start(folder.path(), 0, &[]).await;
        let mut nodes = Vec::new();
        for i in 1..=3 {
            let faults: &[(&str, &str)] = match i {
                3 => third,
                _ => &[],
            };
            nodes.push(Some(node_process(folder.path(), i, faults).await));
        }
        let uris: Vec<String> = nodes
            .iter()
            .flatten()
            .map(|node| format!("grpc://{}", address(node)))
            .collect();
        let primary_uri = format!("grpc://{}", address(&primary));
        let more: Vec<_> = HIDING.iter().chain(more).copied().collect();
        let config = router_settings(&primary_uri, &uris, &more);
        let mut router = start_router(config).await;
        router
            .table
            .create_table(CreateTableRequest {
                table: "t".into(),
                source: Some(create_table_request::Source::Rows(ipc(&small(0, 100)))),
                ..Default::default()
            })
            .await
            .expect("a table");
        up(&mut router, 4).await;
        for node in nodes.iter().flatten() {
            has_its_copy(node).await;
        }
        Self {
            primary: Some(primary),
            nodes,
            router,
            folder,
        }
    }
}

/// Waits until a node reads its own copy.
async fn has_its_copy(node: &Server) {
    let mut search = SearchServiceClient::new(node.channel.clone());
    until_some(async || {
        let answer = search.count(count("t")).await.ok()?.into_inner();
        (answer.served?.connection == "replica-1").then_some(())
    })
    .await;
}

/// Waits until a router sees a node in this state.
async fn seen(router: &mut TestServer, name: &str, state: ConnectionState) {
    for _ in 0..600 {
        let known = topology(router).await;
        if known.iter().any(|c| c.name == name && c.state() == state) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} is not {state:?} within 30 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_costs_no_client_an_error() {
    let mut all = Processes::start(&[], &[]).await;
    let load = Load::start(&all.router.search);
    load.goes_on(50).await;
    all.nodes[1].take().unwrap().process.kill();
    load.goes_on(100).await;
    tokio::time::sleep(seconds()).await;
    seen(&mut all.router, "node-2", ConnectionState::Down).await;
    load.goes_on(50).await;
    load.end("kill -9 of one of three").await;
    // The others went on in turn.
    let known = topology(&mut all.router).await;
    assert!(
        known[1].reads_total > 0 && known[3].reads_total > 0,
        "{known:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_is_left_alone_until_it_is_back() {
    // Long enough that probes do not find it first.
    let slow_probes = [("LANCEGATE_HEALTH__PROBE_TIMEOUT", "60s")];
    let mut all = Processes::start(&slow_probes, &[]).await;
    let load = Load::start(&all.router.search);
    load.goes_on(200).await;
    let hanging = all.nodes[2].as_ref().unwrap();
    hanging.process.signal("STOP");
    let began = Instant::now();
    // Each client hangs on it once at most, and goes on when it is ejected.
    load.goes_on(100).await;
    println!(
        "100 reads were answered {:?} after SIGSTOP",
        began.elapsed()
    );
    tokio::time::sleep(seconds()).await;
    load.goes_on(50).await;
    hanging.process.signal("CONT");
    let reads = |known: &[ConnectionStatus]| known[3].reads_total;
    let before = reads(&topology(&mut all.router).await);
    let mut back = false;
    for _ in 0..1200 {
        if reads(&topology(&mut all.router).await) > before + 3 {
            back = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("it answers again {:?} after SIGSTOP", began.elapsed());
    load.end("SIGSTOP of one of three").await;
    assert!(back, "it got no reads within 60 s of SIGCONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_fails_one_read_in_five_costs_few_attempts_and_no_error() {
    // It does not hide its faults itself.
    let failing = [("LANCEGATE_FAULTS", "replica-1=fail:20")];
    let mut all = Processes::start(&[], &failing).await;
    let mut asked = 0;
    for server in all.nodes.iter().flatten().chain(&all.primary) {
        asked += counts(server).await;
    }
    let load = Load::start(&all.router.search);
    load.goes_on(600).await;
    tokio::time::sleep(seconds()).await;
    let reads = load.end("one in five fails").await;
    let mut attempts = 0;
    for server in all.nodes.iter().flatten().chain(&all.primary) {
        attempts += counts(server).await;
    }
    let per_read = (attempts - asked) as f64 / reads as f64;
    println!("{per_read:.3} attempts a read");
    assert!((1.0..=1.2).contains(&per_read), "{per_read}");
    let known = topology(&mut all.router).await;
    assert!(known[3].reads_total > 0, "{known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nodes_the_primary_answers_and_without_that_nobody_in_time() {
    let mut all = Processes::start(&[], &[]).await;
    for node in &mut all.nodes {
        node.take().unwrap().process.kill();
    }
    // Until that is known a read finds one dead node after another, and goes on.
    for _ in 0..100 {
        let answer = all.router.search.count(count("t")).await;
        let served = answer.expect("an answer").into_inner().served.unwrap();
        assert!(served.connection.starts_with("primary/"), "{served:?}");
    }
    for name in ["node-1", "node-2", "node-3"] {
        seen(&mut all.router, name, ConnectionState::Down).await;
    }
    for _ in 0..10 {
        let answer = all.router.search.count(count("t")).await;
        let answer = answer.expect("an answer").into_inner();
        let served = answer.served.unwrap();
        assert!(served.connection.starts_with("primary/"), "{served:?}");
    }
    all.primary.take().unwrap().process.kill();
    for _ in 0..5 {
        let began = Instant::now();
        let mut request = Request::new(count("t"));
        request.set_timeout(Duration::from_secs(20));
        let refused = all.router.search.count(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        println!("UNAVAILABLE after {:?}", began.elapsed());
    }
    let insert = InsertRequest {
        table: "t".into(),
        rows: Some(ipc(&small(0, 1))),
        ..Default::default()
    };
    let refused = all.router.write.insert(insert).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    wait_until("not ready", || {
        !all.router.app.serving("lancegate.v1.SearchService")
            && !all.router.app.serving("lancegate.v1.WriteService")
    })
    .await;
    // Somebody comes back, and all of it does.
    let copy = all.folder.path().join("copy-1");
    assert!(copy.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_come_and_go_with_the_lines_of_a_file() {
    let folder = TempDir::new().unwrap();
    let primary = Server::start(folder.path(), 0, &[]).await;
    let mut nodes = Vec::new();
    for i in 1..=3 {
        nodes.push(node_process(folder.path(), i, &[]).await);
    }
    let list = folder.path().join("nodes");
    let write = |indexes: &[usize]| {
        let lines: Vec<String> = indexes.iter().map(|i| address(&nodes[*i])).collect();
        // At once, as a file that others read is to be replaced.
        let new = folder.path().join("nodes.new");
        std::fs::write(&new, lines.join("\n")).unwrap();
        std::fs::rename(&new, &list).unwrap();
    };
    write(&[0]);
    let file = format!("grpc+file://{}", list.display());
    let primary_uri = format!("grpc://{}", address(&primary));
    let quick = [("LANCEGATE_NODES__RESOLVE_INTERVAL", "100ms")];
    let mut router = start_router(router_settings(&primary_uri, &[file], &quick)).await;
    router
        .table
        .create_table(CreateTableRequest {
            table: "t".into(),
            source: Some(create_table_request::Source::Rows(ipc(&small(0, 100)))),
            ..Default::default()
        })
        .await
        .expect("a table");
    for node in &nodes {
        has_its_copy(node).await;
    }
    up(&mut router, 2).await;
    let load = Load::start(&router.search);
    let began = Instant::now();
    let mut rounds = 0;
    while rounds < 2 || began.elapsed() < seconds() {
        for indexes in [&[0, 1, 2][..], &[1, 2], &[2], &[0, 2]] {
            write(indexes);
            up(&mut router, 1 + indexes.len()).await;
            let known = topology(&mut router).await;
            let mut names: Vec<_> = known[1..].iter().map(|c| c.name.clone()).collect();
            let mut expected: Vec<_> = indexes
                .iter()
                .map(|i| format!("node-1@{}", address(&nodes[*i])))
                .collect();
            names.sort();
            expected.sort();
            assert_eq!(names, expected);
            load.goes_on(20).await;
        }
        rounds += 1;
    }
    load.end("nodes that come and go").await;
}
