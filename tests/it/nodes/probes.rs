//! What finds out how nodes are: probes that read, and lists that are looked at again.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lancegate::proto::v1::{cluster_service_client::ClusterServiceClient, *};
use lancegate::{app::App, config::failpoint::set_faults};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::fleet::{named_node, router_settings, start_node, start_router, topology, up, uri};
use crate::{
    data::{ipc, small},
    process::{Server, until_some},
    server::TestServer,
};

/// A node of that name, once it is in this state.
async fn seen(router: &mut TestServer, name: &str, state: ConnectionState) -> ConnectionStatus {
    until_some(async || {
        let mut known = topology(router).await.into_iter();
        known.find(|c| c.name == name && c.state() == state)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_well_but_does_not_read_is_down_until_it_does() {
    let folder = TempDir::new().unwrap();
    let primary = start_node(folder.path(), 1).await;
    // Faults are told to connections by their names: this one is of this test alone.
    let config = named_node(folder.path(), 2, "probed-2", &[]);
    let sick = App::start(config).await.unwrap();
    let replicas = [uri(&sick)];
    let mut router = start_router(router_settings(&uri(&primary), &replicas, &[])).await;
    up(&mut router, 2).await;
    set_faults("probed-2=fail:100");
    let create = CreateTableRequest {
        table: "t".into(),
        source: Some(create_table_request::Source::Rows(ipc(&small(0, 10)))),
        ..Default::default()
    };
    router.table.create_table(create).await.expect("a table");
    let down = seen(&mut router, "node-1", ConnectionState::Down).await;
    assert!(down.last_error.contains("a test wants"), "{down:?}");
    assert!(sick.serving("lancegate.v1.SearchService"));
    set_faults("probed-2=fail:0");
    seen(&mut router, "node-1", ConnectionState::Up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_about_to_stop_is_left_before_it_does() {
    let folder = TempDir::new().unwrap();
    let primary = start_node(folder.path(), 1).await;
    let grace = [("LANCEGATE_SHUTDOWN__GRACE", "1h")];
    let leaving = App::start(named_node(folder.path(), 2, "replica-1", &grace)).await;
    let leaving = leaving.unwrap();
    let replicas = [uri(&leaving)];
    let mut router = start_router(router_settings(&uri(&primary), &replicas, &[])).await;
    up(&mut router, 2).await;
    let stopping = tokio::spawn(leaving.stop());
    let down = seen(&mut router, "node-1", ConnectionState::Down).await;
    assert!(down.last_error.contains("NOT_SERVING"), "{down:?}");
    assert!(!stopping.is_finished());
    stopping.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_list_cannot_be_read_the_nodes_of_before_stay() {
    let folder = TempDir::new().unwrap();
    let node = start_node(folder.path(), 1).await;
    let list = folder.path().join("nodes");
    let address = node.grpc_address().to_string();
    std::fs::write(&list, &address).unwrap();
    let (primary, file) = (uri(&node), format!("grpc+file://{}", list.display()));
    let env = [
        ("LANCEGATE_PRIMARY__URI", primary.as_str()),
        ("LANCEGATE_REPLICAS__0__NAME", "listed"),
        ("LANCEGATE_REPLICAS__0__URI", file.as_str()),
        ("LANCEGATE_NODES__RESOLVE_INTERVAL", "50ms"),
    ];
    let router = Server::start(folder.path(), 0, &env).await;
    let mut cluster = ClusterServiceClient::new(router.channel.clone());
    let mut known = async || {
        let answer = cluster.get_topology(GetTopologyRequest {}).await;
        answer.expect("a topology").into_inner().connections
    };
    let is_up = |c: &ConnectionStatus| c.state() == ConnectionState::Up;
    until_some(async || {
        let known = known().await;
        (known.len() == 2 && known.iter().all(is_up)).then_some(())
    })
    .await;
    let left = || router.process.log().contains("node left");
    let unread = |times: usize| {
        let log = router.process.log();
        let lines = log.matches("nodes cannot be looked up").count();
        (lines >= times).then_some(())
    };
    std::fs::write(&list, "no address\n").unwrap();
    until_some(async || unread(1)).await;
    assert!(!left() && known().await.len() == 2);
    // It is not read half, either.
    std::fs::write(&list, format!("{address}\n127.0.0.1\n")).unwrap();
    std::fs::remove_file(&list).unwrap();
    until_some(async || unread(2)).await;
    assert!(!left() && known().await.len() == 2);
    std::fs::write(&list, "").unwrap();
    until_some(async || (known().await.len() == 1).then_some(())).await;
    assert!(left());
}

/// A way to `node` that counts the bytes which are sent to it.
async fn counted(node: SocketAddr) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut from, mut back) = client.into_split();
            let (mut answers, mut to) = TcpStream::connect(node).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = from.read(&mut bytes).await {
                    counter.fetch_add(read as u64, Ordering::SeqCst);
                    if to.write_all(&bytes[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_left_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let node = start_node(folder.path(), 1).await;
    let (address, sent) = counted(node.grpc_address()).await;
    let list = folder.path().join("nodes");
    std::fs::write(&list, address.to_string()).unwrap();
    let replicas = [format!("grpc+file://{}", list.display())];
    let more = [
        ("LANCEGATE_NODES__RESOLVE_INTERVAL", "50ms"),
        ("LANCEGATE_HEALTH__PROBE_INTERVAL", "50ms"),
    ];
    let mut router = start_router(router_settings(&uri(&node), &replicas, &more)).await;
    up(&mut router, 2).await;
    // It is probed again and again.
    let before = sent.load(Ordering::SeqCst);
    until_some(async || (sent.load(Ordering::SeqCst) > before + 1_000).then_some(())).await;
    std::fs::write(&list, "").unwrap();
    until_some(async || (topology(&mut router).await.len() == 1).then_some(())).await;
    // The last probe may be under way. Then there is silence: twenty intervals of it.
    for _ in 0..20 {
        let before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if sent.load(Ordering::SeqCst) == before {
            return;
        }
    }
    panic!("it is still spoken to");
}
