//! More connections than anybody needs.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::besieged::{Besieged, from, until_closed};
use crate::process::until_some;

const PATIENCE: Duration = Duration::from_secs(180);

/// Connections that nobody uses.
const IDLE: usize = 10_000;

/// As many as say something, where the system gives no more.
const LEAST: usize = 1_000;

/// How many sockets this process may hold beside what else it has open.
fn sockets() -> usize {
    let text = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = text.lines().find(|line| line.starts_with("Max open files"));
    let soft = line
        .and_then(|line| line.split_whitespace().nth(3))
        .unwrap();
    let soft: usize = soft.parse().unwrap_or(1 << 20);
    let sockets = IDLE.min(soft.saturating_sub(1_000) / 3 * 2);
    assert!(
        sockets >= LEAST,
        "{soft} open files are too few for this test: ulimit -n 20000"
    );
    sockets
}

async fn open(count: usize, hosts: usize, to: SocketAddr) -> Vec<TcpStream> {
    stream::iter(0..count)
        .map(|i| async move { from(2 + (i % hosts) as u8, to).await })
        .buffer_unordered(64)
        .filter_map(|opened| async move { opened.ok() })
        .collect()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_are_borne_and_then_closed() {
    let besieged = Besieged::start(&[
        ("LANCEGATE_LIMITS__MAX_CONNECTIONS", "15000"),
        ("LANCEGATE_LIMITS__FIRST_REQUEST_TIMEOUT", "40s"),
    ])
    .await;
    let began = Instant::now();
    let mut idle = open(sockets(), 100, besieged.grpc).await;
    let most = besieged
        .metric("lancegate_open_connections{port=\"grpc\"}")
        .await;
    println!(
        "{} idle connections within {:?}, {most} open",
        idle.len(),
        began.elapsed()
    );
    // All of them, or as many as the system had.
    let all = sockets() as f64;
    assert!(idle.len() as f64 > 0.99 * all, "{}", idle.len());
    assert!(most > 0.99 * all, "{most} of {all} were let in");
    for stream in &mut idle {
        assert!(
            until_closed(stream, PATIENCE).await,
            "they are not kept for ever"
        );
    }
    drop(idle);
    let cut = "lancegate_connections_cut_total{port=\"grpc\",reason=\"no_request\"}";
    assert!(besieged.metric(cut).await >= 0.99 * all);
    besieged.relieved("idle connections").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_gets_its_share_of_connections_and_no_more() {
    let besieged = Besieged::start(&[("LANCEGATE_LIMITS__MAX_CONNECTIONS_PER_CLIENT", "50")]).await;
    let mut own = open(300, 1, besieged.grpc).await;
    // Those that were not let in are closed at once; to the others the server says
    // what it speaks.
    let mut refused = 0;
    for stream in &mut own {
        let mut byte = [0; 1];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut byte)).await;
        refused += usize::from(read.expect("one or the other").map_or(true, |n| n == 0));
    }
    assert_eq!(refused, 250);
    let counted = "lancegate_connections_refused_total{port=\"grpc\",reason=\"client\"}";
    assert_eq!(besieged.metric(counted).await, 250.0);
    // Who closes one may have another.
    drop(own);
    let open_now = "lancegate_open_connections{port=\"grpc\"}";
    until_some(async || (besieged.metric(open_now).await < 20.0).then_some(())).await;
    let mut again = open(10, 1, besieged.grpc).await;
    for stream in &mut again {
        assert!(!until_closed(stream, Duration::from_millis(50)).await);
    }
    besieged.relieved("one client with many connections").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_never_more_connections_than_configured() {
    let besieged = Besieged::start(&[("LANCEGATE_LIMITS__MAX_CONNECTIONS", "200")]).await;
    // Room is left for those who come and go.
    let held = open(150, 100, besieged.grpc).await;
    let open_now = "lancegate_open_connections{port=\"grpc\"}";
    for _ in 0..20 {
        assert!(besieged.metric(open_now).await <= 200.0);
    }
    drop(held);
    let besieged = besieged.alone().await;
    let held = open(400, 100, besieged.grpc).await;
    let refused = "lancegate_connections_refused_total{port=\"grpc\",reason=\"total\"}";
    until_some(async || (besieged.metric(refused).await >= 190.0).then_some(())).await;
    assert!(besieged.metric(open_now).await <= 200.0);
    drop(held);
}
