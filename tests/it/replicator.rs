//! `lancegate replicate`: the replicator as a process of its own, beside servers
//! that only read.

use std::{net::SocketAddr, time::Duration};

use lancegate::proto::v1::{
    search_service_client::SearchServiceClient, table_service_client::TableServiceClient,
    write_service_client::WriteServiceClient, *,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::transport::{Channel, Endpoint};

use super::{
    data::{ipc, small},
    place::{self, looks},
    process::{Background, command, run},
    server::{TestServer, settings},
};

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let code = text.split(' ').nth(1).unwrap().parse().unwrap();
    (code, text)
}

/// Waits up to 30 s until something is there, and longer on a store.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..looks(600) {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it is not {what}");
}

async fn create(channel: &Channel, name: &str, rows: i64) -> Option<()> {
    let create = CreateTableRequest {
        table: name.into(),
        source: Some(create_table_request::Source::Rows(ipc(&small(0, rows)))),
        exist_ok: true,
    };
    let mut table = TableServiceClient::new(channel.clone());
    table.create_table(create).await.ok().map(drop)
}

async fn drop_table(channel: &Channel, name: &str) {
    let drop = DropTableRequest {
        table: name.into(),
        ignore_missing: false,
    };
    let mut table = TableServiceClient::new(channel.clone());
    table.drop_table(drop).await.unwrap();
}

/// How many rows `replica-1` answers; `None` while another connection does.
async fn on_replica(channel: &Channel, table: &str) -> Option<u64> {
    let count = CountRequest {
        freshness: None,
        table: table.into(),
        filter: None,
    };
    let mut search = SearchServiceClient::new(channel.clone());
    let answer = search.count(count).await.ok()?.into_inner();
    (answer.served?.connection == "replica-1").then_some(answer.count)
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_only_read_serve_what_another_process_copies() {
    let folder = TempDir::new().unwrap();
    let addresses = [
        "--grpc-address",
        "127.0.0.1:0",
        "--http-address",
        "127.0.0.1:0",
    ];
    let serve = [&["serve"], &addresses[..]].concat();
    let mut server = command(folder.path(), 1, &serve);
    server.env("LANCEGATE_REPLICATION__ENABLED", "false");
    let server = Background::start(server, "grpc").await;
    let channel = Endpoint::from_shared(format!("http://{}", server.address("grpc")))
        .unwrap()
        .connect_lazy();
    until("created", || create(&channel, "t", 100)).await;
    // Nobody copies yet.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(on_replica(&channel, "t").await, None);

    let replicate = ["replicate", "--http-address", "127.0.0.1:0"];
    let mut replicator = command(folder.path(), 1, &replicate);
    // One configuration for both: the setting is about servers.
    replicator.env("LANCEGATE_REPLICATION__ENABLED", "false");
    let replicator = Background::start(replicator, "http").await;
    let rows = until("on the replica", || on_replica(&channel, "t")).await;
    assert_eq!(rows, 100);
    let mut write = WriteServiceClient::new(channel.clone());
    for i in 0..5 {
        let rows = Some(ipc(&small(100 + i, 1)));
        let insert = InsertRequest {
            request_id: String::new(),
            table: "t".into(),
            rows,
            mode: 0,
        };
        write.insert(insert).await.unwrap();
    }
    until("105 rows on the replica", async || {
        (on_replica(&channel, "t").await == Some(105)).then_some(())
    })
    .await;
    // A table of the same name again, then none.
    drop_table(&channel, "t").await;
    create(&channel, "t", 7).await.unwrap();
    until("7 rows on the replica", async || {
        (on_replica(&channel, "t").await == Some(7)).then_some(())
    })
    .await;
    create(&channel, "other", 3).await.unwrap();
    drop_table(&channel, "t").await;
    until("one table on the replica", async || {
        let there = place::exists(&folder.path().join("replica-1/t.lance"));
        (!there && on_replica(&channel, "other").await == Some(3)).then_some(())
    })
    .await;

    let http = replicator.address("http");
    assert_eq!(get(http, "/livez").await.0, 200);
    assert_eq!(get(http, "/readyz").await.0, 200);
    let (code, deep) = get(http, "/health/deep").await;
    assert_eq!(code, 200, "{deep}");
    assert!(deep.contains("replica-1"), "{deep}");
    // Lag is sampled every few seconds.
    let published = "lancegate_versions_published_total{connection=\"replica-1\"}";
    until("published and measured", async || {
        let (_, metrics) = get(http, "/metrics").await;
        let all = [published, "lancegate_replication_lag_versions{"];
        all.iter().all(|name| metrics.contains(name)).then_some(())
    })
    .await;
    assert!(replicator.terminate().await.success());
    assert!(server.terminate().await.success());
    let verified = run(command(folder.path(), 1, &["verify", "--strict", "--rows"])).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_not_ready_while_a_replicas_disk_is_gone() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    server.app.stop().await.unwrap();
    let folder = server.folder;
    let replicate = ["replicate", "--http-address", "127.0.0.1:0"];
    let replicator = Background::start(command(folder.path(), 1, &replicate), "http").await;
    let http = replicator.address("http");
    let ready = async || {
        until("ready", async || {
            (get(http, "/readyz").await.0 == 200).then_some(())
        })
        .await;
    };
    ready().await;
    let (disk, away) = (folder.path().join("replica-1"), folder.path().join("away"));
    std::fs::rename(&disk, &away).unwrap();
    let down = until("not ready", async || {
        let (code, text) = get(http, "/readyz").await;
        (code == 503).then_some(text)
    })
    .await;
    assert!(down.contains("[-]replicas not ready"), "{down}");
    assert!(!down.contains("[-]primary"), "{down}");
    assert_eq!(get(http, "/livez").await.0, 200);
    std::fs::rename(&away, &disk).unwrap();
    ready().await;
    assert!(replicator.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn once_brings_every_replica_up_to_date_and_ends() {
    let folder = TempDir::new().unwrap();
    let config = settings(folder.path(), 0);
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("t", ipc(&small(0, 300))).await;
    server.table_of("u", ipc(&small(0, 30))).await;
    server.app.stop().await.unwrap();
    let folder = server.folder;

    // What something else copies to is left to it.
    let mut external = command(folder.path(), 2, &["replicate", "--once"]);
    external.env("LANCEGATE_REPLICAS__1__MODE", "external");
    let external = run(external).await;
    assert_eq!(external.code, Some(0), "{external:?}");
    assert!(place::exists(&folder.path().join("replica-1/t.lance")));
    assert!(!place::exists(&folder.path().join("replica-2")));

    let once = run(command(folder.path(), 2, &["replicate", "--once"])).await;
    assert_eq!(once.code, Some(0), "{once:?}");
    let verify = ["verify", "--strict", "--rows", "--json"];
    let verified = run(command(folder.path(), 2, &verify)).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let json: serde_json::Value = serde_json::from_str(&verified.out).unwrap();
    assert_eq!(json["compared"].as_array().unwrap().len(), 4);
    // Once more, and there is nothing to do.
    let again = run(command(folder.path(), 2, &["replicate", "--once"])).await;
    assert_eq!(again.code, Some(0), "{again:?}");

    // What was dropped goes, with its files.
    let config = settings(folder.path(), 0);
    let mut server = TestServer::start_with(folder, config).await;
    let drop = DropTableRequest {
        table: "u".into(),
        ignore_missing: false,
    };
    server.table.drop_table(drop).await.unwrap();
    server.app.stop().await.unwrap();
    let folder = server.folder;
    let gone = run(command(folder.path(), 2, &["replicate", "--once"])).await;
    assert_eq!(gone.code, Some(0), "{gone:?}");
    let left = folder.path().join("replica-2/u.lance");
    assert!(!place::exists(&left), "{:?}", place::files(&left));
}

#[tokio::test(flavor = "multi_thread")]
async fn once_says_what_it_could_not_copy() {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 30))).await;
    server.app.stop().await.unwrap();
    let folder = server.folder;
    // One replica is a copy of another primary, and is not touched.
    let marker = folder.path().join("replica-2/_lancegate/replica-of");
    place::write(&marker, b"another");
    let config = settings(folder.path(), 0);
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("u", ipc(&small(0, 5))).await;
    server.app.stop().await.unwrap();
    let folder = server.folder;
    let once = run(command(folder.path(), 2, &["replicate", "--once"])).await;
    assert_eq!(once.code, Some(1), "{once:?}");
    let errors: Vec<&str> = once
        .err
        .lines()
        .filter(|l| l.starts_with("error: "))
        .collect();
    assert_eq!(errors.len(), 1, "{once:?}");
    assert!(errors[0].contains("replica-2"), "{errors:?}");
    assert!(errors[0].contains("another primary"), "{errors:?}");
    // The other one is up to date all the same.
    let versions = folder.path().join("replica-1/u.lance/_versions");
    assert!(place::exists(&versions));
    assert!(!place::exists(&folder.path().join("replica-2/u.lance")));

    // Nothing to copy to.
    let alone = run(command(folder.path(), 0, &["replicate", "--once"])).await;
    assert_eq!(alone.code, Some(1), "{alone:?}");
    assert!(alone.err.contains("has no replicas"), "{alone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_have_the_commands() {
    let folder = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(command(folder.path(), 0, &["completions", shell])).await;
        assert_eq!(script.code, Some(0));
        for word in ["replicate", "verify", "once", "checksums", "queries"] {
            assert!(script.out.contains(word), "{shell}: no {word}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_needs_a_primary_that_comes_up() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("primary"), "no folder").unwrap();
    let down = run(command(folder.path(), 1, &["replicate", "--once"])).await;
    assert_eq!(down.code, Some(1), "{down:?}");
    assert!(down.err.contains("error: primary: "), "{down:?}");
}
