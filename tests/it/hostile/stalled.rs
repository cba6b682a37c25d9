//! Requests that do not come, and answers that are not read: they take nobody's place.

use std::time::Duration;

use bytes::Bytes;
use h2::{SendStream, client::ResponseFuture};
use lancegate::proto::v1::{table_service_client::TableServiceClient, *};
use tokio::time::timeout;

use super::{
    besieged::{Besieged, from},
    frames::{framed, request},
};
use crate::{
    data::{ipc, small},
    process::until_some,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Clients, each from an address of its own, and requests of each: together more than
/// the server works on at once.
const HOSTS: u8 = 4;
const REQUESTS: usize = 100;

const SETTINGS: [(&str, &str); 2] = [
    ("LANCEGATE_LIMITS__STALL_TIMEOUT", "3s"),
    ("LANCEGATE_LIMITS__MAX_CONCURRENT_REQUESTS", "64"),
];

fn count() -> Vec<u8> {
    framed(&CountRequest {
        table: "t".into(),
        ..Default::default()
    })
}

/// Asks many times, sends these bytes of each request, and does not end it.
async fn ask(besieged: &Besieged, sent: &[u8]) -> Vec<(ResponseFuture, SendStream<Bytes>)> {
    let mut asked = Vec::new();
    for host in 2..2 + HOSTS {
        let stream = from(host, besieged.grpc).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..REQUESTS {
            let mut client = client.clone().ready().await.unwrap();
            let request = request("/lancegate.v1.SearchService/Count");
            let (answer, mut body) = client.send_request(request, false).unwrap();
            if !sent.is_empty() {
                body.send_data(sent.to_vec().into(), false).unwrap();
            }
            asked.push((answer, body));
        }
    }
    asked
}

/// Each is told so, and its stream is over.
async fn all_are_cut_off(asked: Vec<(ResponseFuture, SendStream<Bytes>)>) {
    for (answer, _body) in asked {
        let answer = timeout(PATIENCE, answer).await.expect("an answer").unwrap();
        let status = answer.headers().get("grpc-status").unwrap();
        assert_eq!(status, "4", "DEADLINE_EXCEEDED: {:?}", answer.headers());
        let message = answer.headers().get("grpc-message").unwrap();
        let message = message.to_str().unwrap();
        assert!(message.contains("stall_timeout"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_their_message_take_no_place() {
    let besieged = Besieged::start(&SETTINGS).await;
    let nothing = ask(&besieged, &[]).await;
    all_are_cut_off(nothing).await;
    besieged.relieved("requests without a message").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_end_take_no_place() {
    let besieged = Besieged::start(&SETTINGS).await;
    // All of the message but the word that it is all.
    let unended = ask(&besieged, &count()).await;
    all_are_cut_off(unended).await;
    besieged.relieved("requests that do not end").await;
}

/// Rows of an answer that nobody reads, which are a third of a MiB.
const ROWS: i64 = 10_000;

/// The memory of answers, in bytes.
const ANSWERS: &str = "lancegate_answer_bytes";

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_take_no_place() {
    // Long enough for all to be worked on before the first is dropped.
    let patient = [("LANCEGATE_LIMITS__STALL_TIMEOUT", "10s"), SETTINGS[1]];
    let besieged = Besieged::start(&patient).await;
    let create = CreateTableRequest {
        table: "u".into(),
        source: Some(create_table_request::Source::Rows(ipc(&small(0, ROWS)))),
        exist_ok: false,
    };
    let channel = besieged.server.channel.clone();
    let mut tables = TableServiceClient::new(channel).max_encoding_message_size(64 << 20);
    tables.create_table(create).await.unwrap();
    let scan = framed(&ScanRequest {
        table: "u".into(),
        page_size: ROWS as u32,
        freshness: Some(Freshness {
            kind: Some(freshness::Kind::Strong(Strong {})),
        }),
        ..Default::default()
    });
    let mut unread = Vec::new();
    for host in 2..2 + HOSTS {
        let stream = from(host, besieged.grpc).await.unwrap();
        let (client, connection) = h2::client::Builder::new()
            // Of an answer its head alone.
            .initial_window_size(0)
            .handshake::<_, Bytes>(stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        for _ in 0..REQUESTS / 4 {
            let mut client = client.clone().ready().await.unwrap();
            let request = request("/lancegate.v1.SearchService/Scan");
            let (answer, mut body) = client.send_request(request, false).unwrap();
            body.send_data(scan.clone().into(), true).unwrap();
            unread.push(answer);
        }
    }
    // All are worked on, though nobody reads what comes of it.
    for answer in &mut unread {
        let answer = timeout(PATIENCE, answer).await.expect("an answer").unwrap();
        let status = answer.headers().get("grpc-status");
        assert!(status.is_none(), "{:?}", answer.headers());
    }
    assert!(besieged.metric(ANSWERS).await > f64::from(4 << 20));
    // What they take of the memory comes back, though they stay.
    until_some(async || (besieged.metric(ANSWERS).await < f64::from(1 << 20)).then_some(())).await;
    drop(unread);
    besieged.relieved("answers that are not read").await;
}
