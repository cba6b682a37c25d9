//! Searches that are run a second time, on real connections: true copies, one whose
//! rows are others, and one that never answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use lancegate::{
    config::{Config, ReplicaMode},
    proto::v1::{search_service_client::SearchServiceClient, *},
};
use tempfile::TempDir;

use super::{
    copying::copy_tree,
    data::{self, floats, ids, ipc, packages, queries},
    process::{Server, until_some},
    server::{TestServer, http_get, settings_with, wait_until},
};

/// Searches of one test.
const SEARCHES: usize = 20;

/// Every search is run again on this connection.
fn shadowed(folder: &Path, replicas: usize, connection: &str) -> Config {
    settings_with(
        folder,
        replicas,
        &[
            ("LANCEGATE_SHADOW__CONNECTION", connection),
            ("LANCEGATE_SHADOW__SHARE", "1"),
            ("LANCEGATE_SHADOW__MAX_IN_FLIGHT", "1000"),
            ("LANCEGATE_SHADOW__TIMEOUT", "2m"),
        ],
    )
}

fn search(query: &[f32]) -> SearchRequest {
    SearchRequest {
        table: "t".into(),
        query: Some(Query {
            vectors: vec![floats(query)],
            limit: 10,
            columns: vec!["id".into(), "title".into()],
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Searches, and answers the ids and by whom.
async fn run(
    search_client: &mut SearchServiceClient<tonic::transport::Channel>,
) -> Vec<(Vec<i64>, String)> {
    let mut answers = Vec::new();
    for query in queries().iter().take(SEARCHES) {
        let answer = search_client.search(search(&query.vector)).await.unwrap();
        let answer = answer.into_inner();
        let served = answer.served.unwrap();
        answers.push((ids(&data::batch(answer.rows)), served.connection));
    }
    answers
}

/// What came of the shadow reads, once all are over.
async fn outcomes(server: &TestServer) -> BTreeMap<&'static str, u64> {
    let shadow = server.app.shadow().expect("shadow reads");
    let all = || shadow.counts().values().sum::<u64>();
    wait_until("run again", || all() >= SEARCHES as u64).await;
    let counts = shadow.counts();
    counts.into_iter().filter(|(_, n)| *n > 0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_true_copy_answers_the_same_and_out_of_rotation_it_answers_nobody() {
    let folder = TempDir::new().unwrap();
    let mut config = shadowed(folder.path(), 2, "replica-2");
    config.replicas[1].in_rotation = false;
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("t", ipc(&packages())).await;
    let answers = run(&mut server.search).await;
    for ((found, connection), query) in answers.iter().zip(queries()) {
        assert_eq!(connection, "replica-1");
        let expected: BTreeSet<i64> = query.neighbors.iter().copied().collect();
        assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), expected);
    }
    let expected = BTreeMap::from([("same", SEARCHES as u64)]);
    assert_eq!(outcomes(&server).await, expected);
    let topology = server.settled().await;
    let roles: Vec<_> = topology.connections.iter().map(|c| c.role()).collect();
    assert_eq!(roles, [Role::Primary, Role::Replica, Role::Shadow]);
}

async fn delete(server: &mut TestServer, sql: &str) {
    let delete = DeleteRequest {
        table: "t".into(),
        filter: Some(Filter {
            sql: sql.into(),
            params: Vec::new(),
        }),
        request_id: String::new(),
    };
    server.write.delete(delete).await.unwrap();
}

/// Two copies of one version, each with another row deleted, are two different
/// tables of the same version number.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_other_rows_is_found_and_its_answers_are_sent_to_nobody() {
    let mut server = TestServer::start(0).await;
    server.table_of("t", ipc(&packages())).await;
    let folder = server.folder;
    server.app.stop().await.unwrap();
    let other = TempDir::new().unwrap();
    copy_tree(
        &folder.path().join("primary"),
        &other.path().join("primary"),
        &|_| true,
    );

    // There the nearest row of every query is gone.
    let config = settings_with(other.path(), 0, &[]);
    let mut copy = TestServer::start_with(other, config).await;
    let nearest: BTreeSet<String> = queries()
        .iter()
        .take(SEARCHES)
        .map(|q| q.neighbors[0].to_string())
        .collect();
    let nearest = nearest.into_iter().collect::<Vec<_>>().join(", ");
    delete(&mut copy, &format!("id IN ({nearest})")).await;
    let other = copy.folder;
    copy.app.stop().await.unwrap();
    copy_tree(
        &other.path().join("primary/t.lance"),
        &folder.path().join("replica-2/t.lance"),
        &|_| true,
    );

    let mut config = shadowed(folder.path(), 2, "replica-2");
    config.replicas[1].mode = ReplicaMode::External;
    config.replicas[1].in_rotation = false;
    let mut server = TestServer::start_with(folder, config).await;
    // And here one that no query finds.
    let found: BTreeSet<i64> = queries().into_iter().flat_map(|q| q.neighbors).collect();
    let far = (0..2_000)
        .find(|id| !found.contains(id))
        .expect("a row that is never found");
    delete(&mut server, &format!("id = {far}")).await;
    server.settled().await;

    for ((found, _), query) in run(&mut server.search).await.into_iter().zip(queries()) {
        let expected: BTreeSet<i64> = query.neighbors.iter().copied().collect();
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    }
    let expected = BTreeMap::from([("rows", SEARCHES as u64)]);
    assert_eq!(outcomes(&server).await, expected);

    // Of another version nothing can be said.
    delete(&mut server, "id = -1").await;
    let insert = InsertRequest {
        table: "t".into(),
        rows: Some(ipc(&packages().slice(0, 1))),
        mode: 0,
        request_id: String::new(),
    };
    server.write.insert(insert).await.unwrap();
    // The external copy stays behind, so this is all there is to wait for.
    let newest = SearchRequest {
        freshness: Some(Freshness {
            kind: Some(freshness::Kind::Strong(Strong {})),
        }),
        ..search(&queries()[0].vector)
    };
    server.search.search(newest).await.unwrap();
    let skipped = || server.app.shadow().unwrap().counts()["skipped"];
    wait_until("skipped", || skipped() == 1).await;
}

/// One metric of a server.
async fn metric(server: &Server, line: &str) -> f64 {
    let (_, text) = http_get(server.process.address("http"), "/metrics").await;
    let value = text.lines().find_map(|l| l.strip_prefix(line));
    value.map_or(0.0, |value| value.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_hangs_holds_nobody_up() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&packages())).await;
    let folder = server.folder;
    server.app.stop().await.unwrap();

    let env = [
        ("LANCEGATE_SHADOW__CONNECTION", "replica-1"),
        ("LANCEGATE_SHADOW__SHARE", "1"),
        ("LANCEGATE_SHADOW__MAX_IN_FLIGHT", "2"),
        ("LANCEGATE_SHADOW__TIMEOUT", "500ms"),
        ("LANCEGATE_FAILPOINT", "shadow-hangs"),
    ];
    let server = Server::start(folder.path(), 1, &env).await;
    let mut client = SearchServiceClient::new(server.channel.clone());
    until_some(async || client.search(search(&queries()[0].vector)).await.ok()).await;
    for (found, _) in run(&mut client).await {
        assert_eq!(found.len(), 10);
    }
    let count = async |outcome: &str| {
        let line = format!("lancegate_shadow_reads_total{{outcome=\"{outcome}\"}}");
        metric(&server, &line).await
    };
    // Two ran at a time, and were given up; the others were not begun.
    until_some(async || (count("error").await >= 2.0).then_some(())).await;
    assert_eq!(count("same").await, 0.0);
}
