//! Reads go round-robin over the replicas, writes to the primary.

use std::collections::BTreeMap;

use lancegate::proto::v1::*;

use super::{
    data::{ipc, small},
    server::{TestServer, wait_until},
};

fn count(table: &str) -> CountRequest {
    CountRequest {
        freshness: None,
        table: table.into(),
        filter: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_thousand_reads_over_three_replicas_are_a_thousand_each() {
    let mut server = TestServer::start(3).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut search = server.search.clone();
        clients.push(tokio::spawn(async move {
            let mut by_connection: BTreeMap<String, u32> = BTreeMap::new();
            for _ in 0..375 {
                let answer = search.count(count("t")).await.unwrap();
                let header = answer.metadata().get("x-lancegate-connection").cloned();
                let served = answer.into_inner().served.unwrap();
                assert_eq!(header.unwrap(), served.connection);
                *by_connection.entry(served.connection).or_default() += 1;
            }
            by_connection
        }));
    }
    let mut total: BTreeMap<String, u32> = BTreeMap::new();
    for client in clients {
        for (name, reads) in client.await.unwrap() {
            *total.entry(name).or_default() += reads;
        }
    }
    let expected = ["replica-1", "replica-2", "replica-3"].map(|n| (n.to_owned(), 1000));
    assert_eq!(total, BTreeMap::from(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_who_served_it_and_why() {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 3))).await;
    let written = server
        .write
        .insert(InsertRequest {
            request_id: String::new(),
            table: "t".into(),
            rows: Some(ipc(&small(3, 1))),
            mode: 0,
        })
        .await
        .unwrap();
    let version_header = written.metadata().get("x-lancedb-version").cloned();
    let written = written.into_inner();
    let served = written.served.unwrap();
    assert_eq!(served.connection, "primary");
    assert_eq!(served.role, Role::Primary as i32);
    assert_eq!(served.route, "primary_only(primary)");
    assert_eq!(served.version, written.version);
    assert_eq!(
        version_header.unwrap(),
        written.version.to_string().as_str()
    );
    server.settled().await;
    let mut routes = Vec::new();
    for _ in 0..2 {
        let answer = server.search.count(count("t")).await.unwrap();
        let route = answer.metadata().get("x-lancegate-route").cloned().unwrap();
        let served = answer.into_inner().served.unwrap();
        assert_eq!(route, served.route.as_str());
        assert_eq!((served.version, served.lag_versions), (written.version, 0));
        routes.push(served.route);
    }
    routes.sort();
    assert_eq!(
        routes,
        ["round_robin(replica-1 1/2)", "round_robin(replica-2 2/2)"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_replicas_the_primary_serves_reads() {
    let mut server = TestServer::start(0).await;
    server.table_of("t", ipc(&small(0, 3))).await;
    let answer = server.search.count(count("t")).await.unwrap().into_inner();
    assert_eq!(answer.count, 3);
    assert_eq!(answer.served.unwrap().route, "no_replicas(primary)");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_primary_gone_reads_go_on_and_writes_are_refused() {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 3))).await;
    let primary = server.folder.path().join("primary");
    let away = server.folder.path().join("away");
    std::fs::rename(&primary, &away).unwrap();
    wait_until("not ready for writes", || {
        !server.app.serving("lancegate.v1.WriteService")
    })
    .await;
    assert!(server.app.serving("lancegate.v1.SearchService"));
    for _ in 0..4 {
        let answer = server.search.count(count("t")).await.unwrap().into_inner();
        assert_eq!(answer.count, 3);
    }
    let refused = server
        .write
        .delete(DeleteRequest {
            request_id: String::new(),
            table: "t".into(),
            filter: Some(Filter {
                sql: "true".into(),
                params: Vec::new(),
            }),
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    // A folder that is gone empties no replica, and the server gets over it.
    std::fs::rename(&away, &primary).unwrap();
    wait_until("ready for writes again", || {
        server.app.serving("lancegate.v1.WriteService")
    })
    .await;
    server.settled().await;
    let answer = server.search.count(count("t")).await.unwrap().into_inner();
    assert_eq!(answer.count, 3);
}
