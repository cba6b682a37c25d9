//! Rapid reset (CVE-2023-44487): requests that are given up as soon as they are made.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, time::timeout};

use super::{
    besieged::Besieged,
    frames::{
        END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, call, connect, frame, reset,
    },
};

const COUNT: &str = "/lancegate.v1.SearchService/Count";
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let besieged = Besieged::start(&[]).await;
    for host in 2..6 {
        let (incoming, mut write) = connect(host, besieged.grpc).await;
        let ended = tokio::spawn(incoming.last_words());
        let (mut stream, mut sent) = (1, 0);
        // Until the server has had enough; 100,000 are more than it may bear.
        while !ended.is_finished() && sent < 100_000 {
            let mut burst = Vec::new();
            for _ in 0..100 {
                let flags = END_HEADERS | END_STREAM;
                burst.extend(frame(HEADERS, flags, stream, &call(COUNT)));
                burst.extend(reset(stream));
                stream += 2;
                sent += 1;
            }
            if write.write_all(&burst).await.is_err() {
                break;
            }
        }
        let code = timeout(PATIENCE, ended)
            .await
            .expect("it is ended")
            .unwrap();
        println!("ended after {sent} requests with code {code:?}");
        // The end of it may be lost with what was sent after it.
        assert!(
            code.is_none_or(|code| code == ENHANCE_YOUR_CALM),
            "{code:?}"
        );
        assert!(sent < 100_000);
    }
    besieged.relieved("reset before they are looked at").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_reset_when_work_has_begun_end_the_connection() {
    let besieged = Besieged::start(&[]).await;
    let cut = "lancegate_connections_cut_total{port=\"grpc\",reason=\"resets\"}";
    // On a busy machine some are reset before they are looked at, and h2 ends the
    // connection for that: then it is another one's turn.
    let mut sent = 0;
    for host in 2..22 {
        sent = give_up_what_has_begun(&besieged, host).await;
        println!("ended after {sent} requests");
        if besieged.metric(cut).await >= 1.0 {
            break;
        }
    }
    assert!((490..20_000).contains(&sent), "{sent}");
    assert!(besieged.metric(cut).await >= 1.0);
    besieged.relieved("reset after work has begun").await;
}

/// Asks, and resets what it asked for when the server has begun with it, until the
/// connection ends. How many requests that were.
async fn give_up_what_has_begun(besieged: &Besieged, host: u8) -> usize {
    let (mut incoming, mut write) = connect(host, besieged.grpc).await;
    let (mut stream, mut sent) = (1, 0);
    while sent < 20_000 {
        // So few at once that h2 has nothing against them.
        let mut burst = Vec::new();
        for i in 0..10 {
            burst.extend(frame(HEADERS, END_HEADERS, stream + 2 * i, &call(COUNT)));
        }
        burst.extend(frame(PING, 0, 0, &[0; 8]));
        if write.write_all(&burst).await.is_err() {
            break;
        }
        // When it has answered this, it has mostly begun with what came before.
        loop {
            match timeout(PATIENCE, incoming.next()).await.expect("an answer") {
                None => return sent,
                Some(frame) if frame.kind == PING && frame.flags == 1 => break,
                Some(_) => {}
            }
        }
        let resets: Vec<u8> = (0..10).flat_map(|i| reset(stream + 2 * i)).collect();
        if write.write_all(&resets).await.is_err() {
            break;
        }
        stream += 20;
        sent += 10;
    }
    sent
}
