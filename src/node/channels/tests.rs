//! Against a real HTTP/2 server on loopback, one that answers when it is told to.

use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use futures::future::join_all;
use h2::{Reason, server::SendResponse};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use super::*;

/// What the server saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    calls: AtomicUsize,
}

struct Server {
    channels: Arc<Channels>,
    seen: Arc<Seen>,
    /// Answers are held until this is true.
    open: watch::Sender<bool>,
    /// Why streams were reset.
    resets: mpsc::UnboundedReceiver<Reason>,
    _task: tokio::task::JoinHandle<()>,
}

fn settings() -> NodeSettings {
    NodeSettings {
        channels_per_node: 3,
        connect_timeout: Duration::from_secs(10),
        keepalive_interval: Duration::from_secs(60),
        keepalive_timeout: Duration::from_secs(60),
        resolve_interval: Duration::from_secs(60),
        deadline_margin: Duration::ZERO,
        enforce_access: false,
    }
}

/// A server whose connections end after so many calls (0: never).
async fn server(calls_per_connection: usize) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = NodeAddress::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    let (open, held) = watch::channel(true);
    let (told, resets) = mpsc::unbounded_channel();
    let seen = Arc::new(Seen::default());
    let counted = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.connections.fetch_add(1, Ordering::Relaxed);
            let (counted, held, told) = (Arc::clone(&counted), held.clone(), told.clone());
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut calls = 0;
                while let Some(Ok((_, respond))) = connection.accept().await {
                    calls += 1;
                    counted.calls.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(answer(respond, held.clone(), told.clone()));
                    if calls == calls_per_connection {
                        connection.graceful_shutdown();
                    }
                }
            });
        }
    });
    Server {
        channels: Arc::new(Channels::new(address, None, settings())),
        seen,
        open,
        resets,
        _task: task,
    }
}

async fn answer(
    mut respond: SendResponse<Bytes>,
    mut held: watch::Receiver<bool>,
    told: mpsc::UnboundedSender<Reason>,
) {
    tokio::select! {
        reset = std::future::poll_fn(|cx| respond.poll_reset(cx)) => {
            let _ = told.send(reset.unwrap());
        }
        _ = held.wait_for(|open| *open) => {
            let _ = respond.send_response(Response::new(()), true);
        }
    }
}

fn call() -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "http://node/lancegate.v1.SearchService/Count"
        .parse()
        .unwrap();
    *request.version_mut() = http::Version::HTTP_2;
    request
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not {what} within 30 s");
}

#[tokio::test]
async fn more_connections_are_opened_while_the_first_ones_are_busy() {
    let server = server(0).await;
    for _ in 0..5 {
        server.channels.send(call()).await.unwrap();
    }
    let connections = || server.seen.connections.load(Ordering::Relaxed);
    assert_eq!(connections(), 1, "one is enough for a call at a time");

    server.open.send(false).unwrap();
    let mut running = Vec::new();
    let mut more = |count: usize| {
        for _ in 0..count {
            let channels = Arc::clone(&server.channels);
            running.push(tokio::spawn(async move {
                channels.send(call()).await.map(drop)
            }));
        }
    };
    let calls = || server.seen.calls.load(Ordering::Relaxed);
    more(BUSY);
    until("busy", || calls() == 5 + BUSY).await;
    assert_eq!(connections(), 1);
    // The next call sees it; those after it find the second one.
    more(1);
    until("a second connection", || connections() == 2).await;
    more(3 * BUSY);
    until("all sent", || calls() == 5 + 4 * BUSY + 1).await;
    until("a third connection", || connections() == 3).await;
    server.open.send(true).unwrap();
    for ended in join_all(running).await {
        ended.unwrap().unwrap();
    }
    assert_eq!(connections(), 3, "there are never more than configured");
}

#[tokio::test]
async fn a_connection_that_goes_away_costs_no_call() {
    let server = server(2).await;
    for _ in 0..20 {
        server.channels.send(call()).await.unwrap();
    }
    assert!(server.seen.connections.load(Ordering::Relaxed) > 1);
}

#[tokio::test]
async fn a_call_that_is_given_up_is_reset_on_the_node() {
    let mut server = server(0).await;
    server.open.send(false).unwrap();
    let channels = Arc::clone(&server.channels);
    let waiting = tokio::spawn(async move { channels.send(call()).await.map(drop) });
    until("sent", || server.seen.calls.load(Ordering::Relaxed) == 1).await;
    waiting.abort();
    let reset = tokio::time::timeout(Duration::from_secs(30), server.resets.recv()).await;
    assert_eq!(reset.unwrap(), Some(Reason::CANCEL));
}

#[tokio::test]
async fn nobody_there_is_told_as_that() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let address = NodeAddress::parse(&address).unwrap();
    let channels = Arc::new(Channels::new(address, None, settings()));
    let error = channels.send(call()).await.map(drop).unwrap_err();
    assert!(matches!(error, SendError::Connect(_)), "{error}");
}

/// A server that takes connections and never reads from them again.
async fn silent() -> NodeAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = NodeAddress::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn a_node_that_answers_no_ping_is_given_up() {
    let settings = NodeSettings {
        keepalive_interval: Duration::from_millis(50),
        keepalive_timeout: Duration::from_millis(50),
        ..settings()
    };
    let channels = Arc::new(Channels::new(silent().await, None, settings));
    let sent = tokio::time::timeout(Duration::from_secs(30), channels.send(call())).await;
    let error = sent.expect("an end").map(drop).unwrap_err();
    assert!(matches!(error, SendError::Lost(_)), "{error}");
}

#[tokio::test]
async fn a_node_that_takes_no_connection_is_given_up() {
    // Whose queue of connections is full: the system answers nobody any more.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    for _ in 0..16 {
        let connecting = TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(200), connecting).await {
            Ok(stream) => queued.push(stream.unwrap()),
            Err(_) => break,
        }
    }
    assert!(queued.len() < 16, "there is no end of the queue");
    let settings = NodeSettings {
        connect_timeout: Duration::from_millis(100),
        ..settings()
    };
    let address = NodeAddress::parse(&address.to_string()).unwrap();
    let channels = Arc::new(Channels::new(address, None, settings));
    let sent = tokio::time::timeout(Duration::from_secs(30), channels.send(call())).await;
    let error = sent.expect("an end").map(drop).unwrap_err();
    let SendError::Connect(error) = error else {
        panic!("{error}");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn calls_are_spread_over_the_connections_that_are_there() {
    let server = server(0).await;
    server.open.send(false).unwrap();
    let mut running = Vec::new();
    let calls = || server.seen.calls.load(Ordering::Relaxed);
    for number in 1..=2 * BUSY {
        let channels = Arc::clone(&server.channels);
        running.push(tokio::spawn(async move {
            channels.send(call()).await.map(drop)
        }));
        until("sent", || calls() == number).await;
        if number == BUSY + 1 {
            let connections = || server.seen.connections.load(Ordering::Relaxed);
            until("a second connection", || connections() == 2).await;
            let is_there = || server.channels.slots[1].live.load().is_some();
            until("in its slot", is_there).await;
        }
    }
    let on = |slot: usize| {
        let live = server.channels.slots[slot].live.load_full();
        live.map_or(0, |live| live.running())
    };
    // All that came later went to the second one.
    assert_eq!((on(0), on(1)), (BUSY + 1, BUSY - 1));
    server.open.send(true).unwrap();
    for ended in join_all(running).await {
        ended.unwrap().unwrap();
    }
    until("over", || on(0) + on(1) == 0).await;
}
