//! Searches that are run a second time where a node answers one of the two: true
//! copies, one whose rows are others, and one that never answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use lancegate::{app::App, config::Config, proto::v1::*};
use tempfile::TempDir;
use tonic::{Code, Request};

use super::fleet::{Fleet, copied, router_settings, start_node, start_router, topology, up, uri};
use crate::{
    copying::copy_tree,
    data::{batch, floats, ids, ipc, packages, queries, small},
    process::{Server, until_some},
    server::{TestServer, reason, settings_with, wait_until},
};

/// Searches of one test.
const SEARCHES: usize = 20;

/// Every search is run again on this connection.
const SHADOWED: [(&str, &str); 4] = [
    ("LANCEGATE_SHADOW__SHARE", "1"),
    ("LANCEGATE_SHADOW__MAX_IN_FLIGHT", "1000"),
    ("LANCEGATE_SHADOW__TIMEOUT", "2m"),
    ("LANCEGATE_REPLICAS__1__IN_ROTATION", "false"),
];

/// A router over `primary` and the node `answers`, whose searches are run again on
/// `shadow`, to which no client's read goes.
fn shadowing(primary: &str, answers: &str, shadow: &str, more: &[(&str, &str)]) -> Config {
    let mut all: BTreeMap<&str, &str> = BTreeMap::from(SHADOWED);
    all.insert("LANCEGATE_SHADOW__CONNECTION", "node-2");
    all.extend(more.iter().copied());
    let all: Vec<_> = all.into_iter().collect();
    router_settings(primary, &[answers.to_owned(), shadow.to_owned()], &all)
}

fn search(query: &[f32], format: RowFormat) -> SearchRequest {
    SearchRequest {
        table: "t".into(),
        query: Some(Query {
            vectors: vec![floats(query)],
            limit: 10,
            columns: vec!["id".into(), "title".into()],
            ..Default::default()
        }),
        row_format: format.into(),
        ..Default::default()
    }
}

/// Searches for what is known, and answers by whom it was answered. `format` of each
/// second one; the others are as they are by default.
async fn run(server: &TestServer, format: RowFormat) -> BTreeSet<String> {
    let mut client = server.search.clone();
    let mut by = BTreeSet::new();
    for (i, query) in queries().iter().take(SEARCHES).enumerate() {
        let format = match i % 2 {
            0 => RowFormat::Unspecified,
            _ => format,
        };
        let answer = client.search(search(&query.vector, format)).await.unwrap();
        let answer = answer.into_inner();
        if format != RowFormat::Typed {
            let found: BTreeSet<i64> = ids(&batch(answer.rows)).into_iter().collect();
            assert_eq!(found, query.neighbors.iter().copied().collect());
        }
        assert_eq!(answer.num_rows, 10);
        by.insert(answer.served.unwrap().connection);
    }
    by
}

fn counts(server: &TestServer) -> BTreeMap<&'static str, u64> {
    let mut counts = server.app.shadow().expect("shadow reads").counts();
    counts.retain(|_, count| *count > 0);
    counts
}

/// What came of the shadow reads, once so many are over.
async fn outcomes(server: &TestServer, reads: usize) -> BTreeMap<&'static str, u64> {
    wait_until("run again", || {
        counts(server).values().sum::<u64>() >= reads as u64
    })
    .await;
    counts(server)
}

fn all(outcome: &'static str) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([(outcome, SEARCHES as u64)])
}

/// Creates the table and waits until all copies of these nodes have it.
async fn create(server: &mut TestServer, nodes: &[App]) {
    server.create("t", ipc(&packages())).await;
    copied(nodes, "t").await;
}

fn ones(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_out_of_rotation_answers_the_same_and_no_client() {
    let folder = TempDir::new().unwrap();
    let nodes = [
        start_node(folder.path(), 1).await,
        start_node(folder.path(), 2).await,
    ];
    let (one, trial) = (uri(&nodes[0]), uri(&nodes[1]));
    let mut router = start_router(shadowing(&one, &one, &trial, &[])).await;
    up(&mut router, 3).await;
    create(&mut router, &nodes).await;
    marked(&router).await;
    let by = run(&router, RowFormat::Typed).await;
    assert_eq!(by, ones(&["node-1/replica-1"]));
    assert_eq!(outcomes(&router, SEARCHES).await, all("same"));

    let known = topology(&mut router).await;
    let roles: Vec<_> = known.iter().map(|c| (c.name.as_str(), c.role())).collect();
    let expected = [
        ("primary", Role::Primary),
        ("node-1", Role::Replica),
        ("node-2", Role::Shadow),
    ];
    assert_eq!(roles, expected);
    assert_eq!(known[2].reads_total, 0);
    let drain = DrainConnectionRequest {
        connection: "node-2".into(),
    };
    let refused = router.cluster.drain_connection(drain).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert_eq!(reason(&refused), "OUT_OF_ROTATION");

    // What a client says of freshness does not get in the way of the version.
    let query = &queries()[0].vector;
    let answer = router.search.search(search(query, RowFormat::Unspecified));
    let served = answer.await.unwrap().into_inner().served.unwrap();
    let mut again = Request::new(search(query, RowFormat::ArrowIpc));
    let token = served.token.parse().unwrap();
    again.metadata_mut().insert("x-lancegate-token", token);
    router.search.search(again).await.unwrap();
    let expected = BTreeMap::from([("same", SEARCHES as u64 + 2)]);
    assert_eq!(outcomes(&router, SEARCHES + 2).await, expected);
}

/// Searches that only show whether they are answered as others were: they are not run
/// again themselves.
async fn marked(server: &TestServer) {
    let mut client = server.search.clone();
    for _ in 0..SEARCHES {
        let query = &queries()[0].vector;
        let mut request = Request::new(search(query, RowFormat::ArrowIpc));
        let mark = "1".parse().unwrap();
        request.metadata_mut().insert("x-lancegate-shadow", mark);
        client.search(request).await.unwrap();
    }
}

async fn delete(server: &mut TestServer, sql: &str) {
    let delete = DeleteRequest {
        table: "t".into(),
        filter: Some(Filter {
            sql: sql.into(),
            params: Vec::new(),
        }),
        ..Default::default()
    };
    server.write.delete(delete).await.unwrap();
}

/// A server that is a node, over a folder that has its data.
async fn over(folder: TempDir) -> TestServer {
    let config = settings_with(folder.path(), 0, &[]);
    TestServer::start_with(folder, config).await
}

/// Two nodes whose tables have the same version number and other rows, and a third
/// one whose table was created by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_other_rows_is_found_and_its_answers_are_sent_to_nobody() {
    let mut first = TestServer::start(0).await;
    first.table_of("t", ipc(&packages())).await;
    let folder = first.folder;
    first.app.stop().await.unwrap();
    let copy = TempDir::new().unwrap();
    copy_tree(folder.path(), copy.path(), &|_| true);

    let (mut truth, mut other) = (over(folder).await, over(copy).await);
    let mut stranger = TestServer::start(0).await;
    stranger.table_of("t", ipc(&packages())).await;
    // There the nearest row of every query is gone, and here one that none finds.
    let nearest: BTreeSet<String> = queries()
        .iter()
        .take(SEARCHES)
        .map(|q| q.neighbors[0].to_string())
        .collect();
    let nearest = nearest.into_iter().collect::<Vec<_>>().join(", ");
    delete(&mut other, &format!("id IN ({nearest})")).await;
    let found: BTreeSet<i64> = queries().into_iter().flat_map(|q| q.neighbors).collect();
    let mut far = (0..2_000).filter(|id| !found.contains(id));
    let mut far = || format!("id = {}", far.next().expect("a row that is never found"));
    let first = far();
    delete(&mut truth, &first).await;
    delete(&mut stranger, &first).await;

    let at = uri(&truth.app);
    let expected = ones(&["node-1/primary"]);
    let mut router = start_router(shadowing(&at, &at, &uri(&other.app), &[])).await;
    up(&mut router, 3).await;
    assert_eq!(run(&router, RowFormat::Typed).await, expected);
    assert_eq!(outcomes(&router, SEARCHES).await, all("rows"));
    // It is asked for the very version, also where it has a newer one.
    delete(&mut other, &far()).await;
    assert_eq!(run(&router, RowFormat::Typed).await, expected);
    let twice = BTreeMap::from([("rows", 2 * SEARCHES as u64)]);
    assert_eq!(outcomes(&router, 2 * SEARCHES).await, twice);

    // Of another creation nothing can be said, whatever its number is,
    let mut router = start_router(shadowing(&at, &at, &uri(&stranger.app), &[])).await;
    up(&mut router, 3).await;
    assert_eq!(run(&router, RowFormat::Typed).await, expected);
    assert_eq!(outcomes(&router, SEARCHES).await, all("skipped"));

    // and of another version neither.
    let mut router = start_router(shadowing(&at, &at, &uri(&other.app), &[])).await;
    up(&mut router, 3).await;
    delete(&mut truth, &far()).await;
    delete(&mut truth, &far()).await;
    assert_eq!(run(&router, RowFormat::Typed).await, expected);
    assert_eq!(outcomes(&router, SEARCHES).await, all("skipped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_node_that_hangs_or_dies_holds_nobody_up() {
    let folder = TempDir::new().unwrap();
    let one = [start_node(folder.path(), 1).await];
    let copy = folder.path().join("copy-2").display().to_string();
    let env = [
        ("LANCEGATE_REPLICAS__0__NAME", "replica-1"),
        ("LANCEGATE_REPLICAS__0__URI", copy.as_str()),
    ];
    let trial = Server::start(folder.path(), 0, &env).await;
    let trial_uri = format!("grpc://{}", trial.process.address("grpc"));
    let more = [
        ("LANCEGATE_SHADOW__MAX_IN_FLIGHT", "2"),
        // Probes do not find out first that it hangs.
        ("LANCEGATE_HEALTH__PROBE_TIMEOUT", "5m"),
    ];
    let at = uri(&one[0]);
    let mut router = start_router(shadowing(&at, &at, &trial_uri, &more)).await;
    up(&mut router, 3).await;
    create(&mut router, &one).await;
    trial.process.signal("STOP");
    let began = Instant::now();
    run(&router, RowFormat::ArrowIpc).await;
    println!("{SEARCHES} searches took {:?}", began.elapsed());
    // Two wait for the node, the others were not begun: no client waited for one.
    wait_until("skipped", || counts(&router).get("skipped") == Some(&18)).await;
    let expected = BTreeMap::from([("skipped", SEARCHES as u64 - 2)]);
    assert_eq!(counts(&router), expected);
    // They are lost with it.
    trial.process.kill();
    let failed = || counts(&router).get("error") == Some(&2);
    wait_until("lost", failed).await;
    // One that is known to be down is not asked any more.
    until_some(async || {
        let known = topology(&mut router).await;
        (known[2].state() == ConnectionState::Down).then_some(())
    })
    .await;
    run(&router, RowFormat::ArrowIpc).await;
    let expected = BTreeMap::from([("error", 2), ("skipped", 2 * SEARCHES as u64 - 2)]);
    assert_eq!(outcomes(&router, 2 * SEARCHES).await, expected);
}

/// A process with a primary of its own, a replica and a node: whichever of the two
/// answers, the other one is compared with it.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_a_process_and_nodes_are_compared_with_each_other() {
    for (shadow, answers) in [("replica-1", "node-1/replica-1"), ("node-1", "replica-1")] {
        let folder = TempDir::new().unwrap();
        let node = [start_node(folder.path(), 1).await];
        let address = uri(&node[0]);
        let place = folder.path().join("replica-1").display().to_string();
        let in_rotation = |name: &str| match name == shadow {
            true => "false",
            false => "true",
        };
        let more = [
            ("LANCEGATE_REPLICAS__0__NAME", "replica-1"),
            ("LANCEGATE_REPLICAS__0__URI", place.as_str()),
            (
                "LANCEGATE_REPLICAS__0__IN_ROTATION",
                in_rotation("replica-1"),
            ),
            ("LANCEGATE_REPLICAS__1__NAME", "node-1"),
            ("LANCEGATE_REPLICAS__1__URI", address.as_str()),
            ("LANCEGATE_REPLICAS__1__IN_ROTATION", in_rotation("node-1")),
            ("LANCEGATE_SHADOW__CONNECTION", shadow),
        ];
        let mut all_of_them = BTreeMap::from(SHADOWED);
        all_of_them.extend(more);
        let more: Vec<_> = all_of_them.into_iter().collect();
        let config = settings_with(folder.path(), 0, &more);
        let mut server = TestServer::start_with(TempDir::new().unwrap(), config).await;
        up(&mut server, 3).await;
        create(&mut server, &node).await;
        copied(std::slice::from_ref(&server.app), "t").await;
        marked(&server).await;
        assert_eq!(run(&server, RowFormat::Typed).await, ones(&[answers]));
        assert_eq!(outcomes(&server, SEARCHES).await, all("same"), "{shadow}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_long_to_be_kept_is_left_out() {
    let mut fleet = Fleet::start(&[
        ("LANCEGATE_SHADOW__CONNECTION", "node-3"),
        ("LANCEGATE_SHADOW__SHARE", "1"),
    ])
    .await;
    fleet.table_of("t", ipc(&small(0, 10_000))).await;
    let search = SearchRequest {
        table: "t".into(),
        query: Some(Query {
            vectors: vec![floats(&[0.0, 1.0, 2.0, 3.0])],
            limit: 10_000,
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = fleet.router.search.search(search).await.unwrap();
    assert_eq!(answer.into_inner().num_rows, 10_000);
    let expected = BTreeMap::from([("skipped", 1)]);
    assert_eq!(outcomes(&fleet.router, 1).await, expected);
}
