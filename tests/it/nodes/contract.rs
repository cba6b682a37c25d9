//! Every call of the contract through a router.

use std::collections::BTreeMap;

use lancegate::proto::v1::*;
use tempfile::TempDir;
use tonic::Code;

use super::fleet::{Fleet, count, start_node, topology, up, uri, who};
use crate::{
    data::{batch, floats, ids, ipc, ipc_bytes, read_ipc, small},
    server::{TestServer, reason, settings_with, wait_until},
};

fn insert(table: &str, first: i64, rows: i64) -> InsertRequest {
    InsertRequest {
        table: table.into(),
        rows: Some(ipc(&small(first, rows))),
        ..Default::default()
    }
}

fn filter(sql: &str) -> Option<Filter> {
    Some(Filter {
        sql: sql.into(),
        params: Vec::new(),
    })
}

fn with(kind: freshness::Kind) -> Option<Freshness> {
    Some(Freshness { kind: Some(kind) })
}

fn query() -> Option<Query> {
    Some(Query {
        vectors: vec![floats(&[0.0, 1.0, 2.0, 3.0])],
        limit: 5,
        ..Default::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_every_kind_come_from_nodes_with_who_answered() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.table_of("t", ipc(&small(0, 250))).await;
    let router = &mut fleet.router;

    let answer = router
        .search
        .search(SearchRequest {
            table: "t".into(),
            query: query(),
            ..Default::default()
        })
        .await
        .unwrap();
    let head = answer.metadata().clone();
    let answer = answer.into_inner();
    let served = answer.served.unwrap();
    assert_eq!(ids(&batch(answer.rows))[0], 0);
    let (node, inner) = served.connection.split_once('/').unwrap();
    assert!(
        node.starts_with("node-") && inner == "replica-1",
        "{served:?}"
    );
    let expected = format!("node({node} ");
    assert!(served.route.starts_with(&expected), "{}", served.route);
    assert!(
        served.route.ends_with(" > round_robin(replica-1 1/1)"),
        "{}",
        served.route
    );
    assert_eq!(
        head.get("x-lancegate-connection").unwrap(),
        served.connection.as_str()
    );
    assert_eq!(
        head.get("x-lancegate-route").unwrap(),
        served.route.as_str()
    );
    assert_eq!(
        head.get("x-lancegate-token").unwrap(),
        served.token.as_str()
    );
    assert!(served.version > 0 && served.role() == Role::Replica);

    // Pages of one version, from whichever node.
    let (mut found, mut token, mut nodes) = (Vec::new(), String::new(), Vec::new());
    loop {
        let page = router
            .search
            .scan(ScanRequest {
                table: "t".into(),
                page_size: 100,
                page_token: token,
                ..Default::default()
            })
            .await
            .unwrap()
            .into_inner();
        nodes.push(page.served.unwrap().connection);
        found.extend(ids(&batch(page.rows)));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    found.sort_unstable();
    assert_eq!(found, (0..250).collect::<Vec<i64>>());
    nodes.sort();
    nodes.dedup();
    assert_eq!(nodes.len(), 3, "{nodes:?}");

    let got = router
        .search
        .get(GetRequest {
            table: "t".into(),
            key_columns: vec!["id".into()],
            keys: vec![Row {
                values: vec![Value {
                    kind: Some(value::Kind::IntValue(7)),
                }],
            }],
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(ids(&batch(got.rows)), [7]);
    let counted = router.search.count(count("t")).await.unwrap().into_inner();
    assert_eq!(counted.count, 250);
    let plan = router
        .search
        .explain(ExplainRequest {
            table: "t".into(),
            target: Some(explain_request::Target::Query(query().unwrap())),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert!(!plan.plan.is_empty() && plan.served.unwrap().route.contains(" > "));

    let mut stream = router
        .search
        .search_stream(SearchStreamRequest {
            table: "t".into(),
            query: query(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let (mut bytes, mut told) = (Vec::new(), Vec::new());
    while let Some(chunk) = stream.message().await.unwrap() {
        bytes.extend_from_slice(&chunk.arrow_ipc);
        told.extend(chunk.served);
    }
    assert_eq!(read_ipc(&bytes).num_rows(), 5);
    assert_eq!(told.len(), 1);
    assert!(told[0].connection.starts_with("node-"), "{told:?}");

    // What is wrong is said once, by whoever was asked.
    let refused = router.search.count(count("nobody")).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(reason(&refused), "TABLE_NOT_FOUND");
    let wrong = router
        .search
        .count(CountRequest {
            table: "t".into(),
            filter: filter("no_such_column = 1"),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_stream_through_whole() {
    const ROWS: i64 = 10_000;
    let mut fleet = Fleet::start(&[]).await;
    fleet.table_of("t", ipc(&small(0, ROWS))).await;
    let router = &mut fleet.router;
    for _ in 0..3 {
        let answer = router
            .search
            .scan(ScanRequest {
                table: "t".into(),
                page_size: 10_000,
                ..Default::default()
            })
            .await
            .unwrap()
            .into_inner();
        // More than is held back, in one message.
        let size = match answer.rows.as_ref().and_then(|rows| rows.format.as_ref()) {
            Some(rows::Format::ArrowIpc(bytes)) => bytes.len(),
            other => panic!("{other:?}"),
        };
        assert!(size > 300_000, "{size} bytes");
        let served = answer.served.unwrap();
        assert!(served.connection.starts_with("node-"), "{served:?}");
        let mut found = ids(&batch(answer.rows));
        found.sort_unstable();
        assert_eq!(found, (0..ROWS).collect::<Vec<i64>>());
    }
    let query = Query {
        limit: 10_000,
        ..query().unwrap()
    };
    let mut stream = router
        .search
        .search_stream(SearchStreamRequest {
            table: "t".into(),
            query: Some(query),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        bytes.extend_from_slice(&chunk.arrow_ipc);
    }
    assert_eq!(read_ipc(&bytes).num_rows(), ROWS as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_to_the_primary_and_tokens_read_them_anywhere() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.table_of("t", ipc(&small(0, 10))).await;
    let router = &mut fleet.router;
    let mut expected = 10;
    for round in 0..6 {
        let written = router.write.insert(insert("t", 100 + round, 1)).await;
        let served = written.unwrap().into_inner().served.unwrap();
        assert_eq!(served.connection, "primary/primary");
        assert_eq!(served.route, "node(primary) > primary_only(primary)");
        expected += 1;
        for _ in 0..3 {
            let read = CountRequest {
                freshness: with(freshness::Kind::Token(served.token.clone())),
                ..count("t")
            };
            let answer = router.search.count(read).await.unwrap().into_inner();
            assert_eq!(answer.count, expected);
            assert!(answer.served.unwrap().version >= served.version);
        }
        // As metadata, too.
        let mut read = tonic::Request::new(count("t"));
        let version = served.version.into();
        read.metadata_mut().insert("x-lancedb-min-version", version);
        let answer = router.search.count(read).await.unwrap().into_inner();
        assert_eq!(answer.count, expected);
    }

    let upserted = router
        .write
        .upsert(UpsertRequest {
            table: "t".into(),
            on: vec!["id".into()],
            rows: Some(ipc(&small(0, 12))),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (upserted.num_updated_rows, upserted.num_inserted_rows),
        (10, 2)
    );
    let updated = router
        .write
        .update(UpdateRequest {
            table: "t".into(),
            filter: filter("id = 3"),
            assignments: vec![Assignment {
                column: "text".into(),
                to: Some(assignment::To::Expression("'new'".into())),
            }],
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(updated.num_updated_rows, 1);
    let deleted = router
        .write
        .delete(DeleteRequest {
            table: "t".into(),
            filter: filter("id >= 100"),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(deleted.num_deleted_rows, 6);
    let chunks: Vec<ImportRequest> = (0..4)
        .map(|i| ImportRequest {
            table: "t".into(),
            arrow_ipc: ipc_bytes(&small(1_000 + i * 500, 500)).into(),
            ..Default::default()
        })
        .collect();
    let imported = router.write.import(tokio_stream::iter(chunks)).await;
    let imported = imported.unwrap().into_inner();
    assert_eq!(imported.num_inserted_rows, 2_000);
    assert_eq!(imported.served.unwrap().connection, "primary/primary");
    let strong = CountRequest {
        freshness: with(freshness::Kind::Strong(Strong {})),
        ..count("t")
    };
    let answer = router.search.count(strong).await.unwrap().into_inner();
    assert_eq!(answer.count, 12 + 2_000);
    let served = answer.served.unwrap();
    assert_eq!(served.route, "node(primary strong) > strong(primary)");

    let described = router
        .table
        .describe_table(DescribeTableRequest { table: "t".into() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (described.num_rows, described.version),
        (2_012, imported.version)
    );
    let listed = router.table.list_tables(ListTablesRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().tables, ["t"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_version_is_kept_and_read_through_a_router() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.table_of("t", ipc(&small(0, 10))).await;
    let router = &mut fleet.router;
    let opened = router
        .search
        .open_session(OpenSessionRequest {
            table: "t".into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    router.write.insert(insert("t", 100, 5)).await.unwrap();
    for kind in [
        freshness::Kind::Session(opened.session.clone()),
        freshness::Kind::Exact(ExactVersion {
            version: Some(exact_version::Version::Number(opened.version)),
        }),
    ] {
        for _ in 0..4 {
            let read = CountRequest {
                freshness: with(kind.clone()),
                ..count("t")
            };
            let answer = router.search.count(read).await.unwrap().into_inner();
            assert_eq!(answer.count, 10);
            assert_eq!(answer.served.unwrap().version, opened.version);
        }
    }
    let close = CloseSessionRequest {
        table: "t".into(),
        session: opened.session,
    };
    let closed = router
        .search
        .close_session(close)
        .await
        .unwrap()
        .into_inner();
    assert!(closed.served.unwrap().connection.starts_with("primary/"));
    // A version that was never there is nowhere, and that is said.
    let read = CountRequest {
        freshness: with(freshness::Kind::Exact(ExactVersion {
            version: Some(exact_version::Version::Number(10_000)),
        })),
        ..count("t")
    };
    let refused = router.search.count(read).await.unwrap_err();
    assert_eq!(reason(&refused), "VERSION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_get_a_third_each() {
    let mut fleet = Fleet::start(&[]).await;
    fleet.table_of("t", ipc(&small(0, 10))).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut search = fleet.router.search.clone();
        clients.push(tokio::spawn(async move {
            let mut answered = Vec::new();
            for _ in 0..50 {
                answered.push(who(&mut search, "t").await);
            }
            answered
        }));
    }
    let mut by_node: BTreeMap<String, u32> = BTreeMap::new();
    for client in clients {
        for node in client.await.unwrap() {
            *by_node.entry(node).or_default() += 1;
        }
    }
    let expected = ["node-1", "node-2", "node-3"].map(|n| (n.to_owned(), 100));
    assert_eq!(by_node, BTreeMap::from(expected));

    let connections = topology(&mut fleet.router).await;
    let shown: Vec<_> = connections
        .iter()
        .map(|c| (c.name.as_str(), c.role(), c.state()))
        .collect();
    use ConnectionState::Up;
    let expected = [
        ("primary", Role::Primary, Up),
        ("node-1", Role::Replica, Up),
        ("node-2", Role::Replica, Up),
        ("node-3", Role::Replica, Up),
    ];
    assert_eq!(shown, expected);
    assert!(
        connections[1..].iter().all(|c| c.reads_total == 100),
        "{connections:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_stand_beside_the_replicas_of_a_process() {
    let folder = TempDir::new().unwrap();
    let node = start_node(folder.path(), 1).await;
    let address = uri(&node);
    let more = [
        ("LANCEGATE_REPLICAS__1__NAME", "node-1"),
        ("LANCEGATE_REPLICAS__1__URI", address.as_str()),
        ("LANCEGATE_REPLICAS__1__WEIGHT", "3"),
        ("LANCEGATE_RETRIES__MAX_ATTEMPTS", "3"),
    ];
    let config = settings_with(folder.path(), 1, &more);
    let mut server = TestServer::start_with(TempDir::new().unwrap(), config).await;
    up(&mut server, 3).await;
    server.create("t", ipc(&small(0, 10))).await;
    // Both have their copies.
    let name = lancegate::domain::TableName::parse("t").unwrap();
    wait_until("copied", || {
        [&server.app, &node].iter().all(|app| {
            let replica = &app.router().unwrap().replicas()[0];
            replica.catalog().version(&name).is_some()
        })
    })
    .await;
    let mut by_connection: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..40 {
        let answer = server.search.count(count("t")).await.unwrap().into_inner();
        let served = answer.served.unwrap();
        *by_connection.entry(served.connection).or_default() += 1;
    }
    let expected = [("node-1/replica-1", 30), ("replica-1", 10)];
    let expected = expected.map(|(name, reads)| (name.to_owned(), reads));
    assert_eq!(by_connection, BTreeMap::from(expected));

    // Writes are this process' own, and so is what is left when the node is gone.
    let written = server.write.insert(insert("t", 10, 1)).await.unwrap();
    let served = written.into_inner().served.unwrap();
    assert_eq!(served.connection, "primary");
    node.stop().await.unwrap();
    for _ in 0..10 {
        let read = CountRequest {
            freshness: with(freshness::Kind::Token(served.token.clone())),
            ..count("t")
        };
        let answer = server.search.count(read).await.unwrap().into_inner();
        assert_eq!(answer.count, 11);
    }
}
