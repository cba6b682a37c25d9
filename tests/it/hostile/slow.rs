//! Clients that take their time (slowloris).

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use super::{
    besieged::{Besieged, from, until_closed},
    frames::PREFACE,
};
use crate::transport::{Authority, secured, tls_to};

const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a byte now and then, for as long as the other side takes it.
async fn dribble(mut stream: TcpStream, text: &[u8]) -> Duration {
    let began = Instant::now();
    for byte in text.iter().cycle() {
        let mut scrap = [0; 64];
        let closed = match stream.try_read(&mut scrap) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        };
        if closed || stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_too_long_to_ask_is_hung_up_on() {
    let besieged = Besieged::start(&[("LANCEGATE_LIMITS__FIRST_REQUEST_TIMEOUT", "2s")]).await;
    let mut attackers = Vec::new();
    for host in 2..52 {
        let (grpc, http) = (besieged.grpc, besieged.http);
        attackers.push(tokio::spawn(async move {
            let stream = from(host, grpc).await.unwrap();
            // It never comes to the end of what begins a connection.
            dribble(stream, PREFACE).await
        }));
        attackers.push(tokio::spawn(async move {
            let mut stream = from(host, http).await.unwrap();
            stream
                .write_all(b"GET /livez HTTP/1.1\r\nx-a: ")
                .await
                .unwrap();
            dribble(stream, b"y").await
        }));
        attackers.push(tokio::spawn(async move {
            let mut stream = from(host, grpc).await.unwrap();
            // It says what begins a connection, and nothing after it.
            stream.write_all(PREFACE).await.unwrap();
            stream
                .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
                .await
                .unwrap();
            let began = Instant::now();
            assert!(until_closed(&mut stream, PATIENCE).await);
            began.elapsed()
        }));
    }
    for attacker in attackers {
        let held = timeout(PATIENCE, attacker)
            .await
            .expect("it is hung up on")
            .unwrap();
        assert!(held < PATIENCE, "{held:?}");
    }
    let cut = "lancegate_connections_cut_total{port=\"grpc\",reason=\"no_request\"}";
    assert!(besieged.metric(cut).await >= 50.0);
    besieged.relieved("slow clients").await;
}

/// Handshakes that are never finished hold up nobody, and end.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_are_not_finished_hold_up_nobody() {
    let authority = Authority::new("all");
    let folder = TempDir::new().unwrap();
    authority.server().write(&folder.path().join("tls"));
    let server = secured(folder, &[]).await;
    let grpc = server.app.grpc_address();
    let mut silent = Vec::new();
    for i in 0..300_u32 {
        let mut stream = from(2 + (i % 50) as u8, grpc).await.unwrap();
        // The head of a ClientHello that does not come.
        stream.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        silent.push(stream);
    }
    let began = Instant::now();
    for _ in 0..20 {
        let shaken = timeout(PATIENCE, tls_to(grpc, authority.believed(None))).await;
        shaken.expect("nobody is in the way").unwrap();
    }
    println!("20 handshakes beside 300 that hang: {:?}", began.elapsed());
    for stream in &mut silent {
        assert!(until_closed(stream, PATIENCE).await);
    }
}
