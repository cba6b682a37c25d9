//! The limit on concurrent requests.

use std::time::Duration;

use tonic::Code;

use super::{
    client::{CHECK, COUNT, Client, STREAM, WATCH, message},
    server::{limits, start_with},
};

#[tokio::test]
async fn beyond_the_limit_requests_are_refused_at_once() {
    let server = start_with(limits(2, Duration::from_secs(30))).await;
    // The limit is the server's, not a connection's.
    let (one, two) = (
        Client::connect(server.address).await,
        Client::connect(server.address).await,
    );
    let first = one
        .open(STREAM, &[("x-do", "stall")], message(STREAM))
        .await;
    let second = two
        .open(STREAM, &[("x-do", "stall")], message(STREAM))
        .await;

    for client in [&one, &two] {
        let began = std::time::Instant::now();
        let answer = client.call(COUNT, &[]).await;
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(answer.code(), Code::ResourceExhausted);
        assert_eq!(answer.reason(), "OVERLOADED");
        let delay = answer.details().retry_info().unwrap().retry_delay.unwrap();
        let pushback = answer
            .status
            .metadata()
            .get("grpc-retry-pushback-ms")
            .unwrap();
        assert_eq!(pushback.to_str().unwrap(), delay.as_millis().to_string());
        assert!(answer.headers.contains_key("x-request-id"));
        // Probes are told the truth all the same.
        assert_eq!(client.call(CHECK, &[]).await.code(), Code::Ok);
    }

    // It recovers as soon as one is given up.
    drop(first);
    server.until_working(1).await;
    assert_eq!(one.call(COUNT, &[]).await.code(), Code::Ok);
    assert_eq!(
        one.call(COUNT, &[("x-do", "panic")]).await.code(),
        Code::Internal
    );
    assert_eq!(
        one.call(COUNT, &[("x-do", "refuse")]).await.code(),
        Code::FailedPrecondition
    );
    assert_eq!(
        one.call(STREAM, &[("x-do", "chunks 5")]).await.code(),
        Code::Ok
    );
    assert_eq!(one.call(COUNT, &[]).await.code(), Code::Ok);
    drop(second);
}

#[tokio::test]
async fn open_watches_take_no_slot() {
    let server = start_with(limits(1, Duration::from_secs(30))).await;
    let client = Client::connect(server.address).await;
    let mut watches = Vec::new();
    for _ in 0..5 {
        let (_, mut watch) = client.open(WATCH, &[], message(WATCH)).await;
        assert!(watch.data().await.unwrap().is_ok());
        watches.push(watch);
    }
    assert_eq!(client.call(COUNT, &[]).await.code(), Code::Ok);
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_slot_and_its_work() {
    let server = start_with(limits(1, Duration::from_secs(30))).await;
    let client = Client::connect(server.address).await;
    // Before the answer has begun: the whole connection is closed.
    let leaving = Client::connect(server.address).await;
    let call = tokio::spawn(async move { leaving.call(COUNT, &[("x-do", "sleep 60000")]).await });
    server.until_working(1).await;
    assert_eq!(
        client.call(COUNT, &[]).await.code(),
        Code::ResourceExhausted
    );
    call.abort();
    server.until_working(0).await;
    assert_eq!(client.call(COUNT, &[]).await.code(), Code::Ok);
}
