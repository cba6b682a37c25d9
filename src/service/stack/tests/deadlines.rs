//! Deadlines of calls and of streams.

use std::time::{Duration, Instant};

use tonic::Code;

use super::{
    client::{COUNT, Client, STREAM, WATCH, finish, message},
    server::{limits, start, start_with},
};

/// tonic's own timer over the same header would answer CANCELLED.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_deadlines_are_never_answered_cancelled() {
    let server = start().await;
    let client = Client::connect(server.address).await;
    for i in 0..200 {
        let timeout = format!("{}m", 5 + i % 46);
        // Now and then a handler that keeps its thread past the deadline.
        let order = if i % 10 == 0 {
            "block 20"
        } else {
            "sleep 60000"
        };
        let answer = client
            .call(COUNT, &[("grpc-timeout", &timeout), ("x-do", order)])
            .await;
        assert_eq!(
            answer.code(),
            Code::DeadlineExceeded,
            "{timeout} {order}: {answer:?}"
        );
        assert_eq!(answer.reason(), "DEADLINE_EXCEEDED");
    }
    server.until_working(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_are_many_at_once_or_tiny_ones() {
    let server = start().await;
    let client = Client::connect(server.address).await;
    let calls = (0..80).map(|i| {
        let client = client.clone();
        async move {
            let timeout = ["0n", "1n", "3u", "900u", "1m", "2m", "4m", "25m"][i % 8];
            let answer = client
                .call(COUNT, &[("grpc-timeout", timeout), ("x-do", "sleep 60000")])
                .await;
            (timeout, answer.code())
        }
    });
    for (timeout, code) in futures::future::join_all(calls).await {
        assert_eq!(code, Code::DeadlineExceeded, "{timeout}");
    }
    server.until_working(0).await;
}

#[tokio::test]
async fn the_maximum_holds_for_those_who_ask_for_more_or_for_nothing() {
    let server = start_with(limits(10, Duration::from_millis(150))).await;
    let client = Client::connect(server.address).await;
    for metadata in [
        &[("x-do", "sleep 60000")][..],
        &[("x-do", "sleep 60000"), ("grpc-timeout", "99999999H")],
    ] {
        let began = Instant::now();
        let answer = client.call(COUNT, metadata).await;
        assert_eq!(answer.code(), Code::DeadlineExceeded);
        assert!((140..20_000).contains(&began.elapsed().as_millis()));
    }
}

#[tokio::test]
async fn a_stream_ends_with_trailers_when_time_is_up() {
    let server = start().await;
    let client = Client::connect(server.address).await;
    for order in ["stall", "endless 1000"] {
        let began = Instant::now();
        let answer = client
            .call(STREAM, &[("x-do", order), ("grpc-timeout", "1000m")])
            .await;
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
        );
        assert!(answer.bytes > 10, "{order}: nothing came before");
        assert!(
            (990..20_000).contains(&began.elapsed().as_millis()),
            "{order}"
        );
        server.until_working(0).await;
    }
}

/// Such a client is not polled for, so nothing but a timer can end its work.
#[tokio::test]
async fn a_client_that_does_not_read_holds_nothing_after_its_deadline() {
    let server = start_with(limits(1, Duration::from_secs(2))).await;
    let stuck = Client::connect(server.address).await;
    let other = Client::connect(server.address).await;
    let (headers, stream) = stuck
        .open(STREAM, &[("x-do", "endless 100000")], message(STREAM))
        .await;
    server.until_working(1).await;
    assert_eq!(other.call(COUNT, &[]).await.code(), Code::ResourceExhausted);
    server.until_working(0).await;
    assert_eq!(other.call(COUNT, &[]).await.code(), Code::Ok);
    // What it was sent before is still there, and then the reason.
    let answer = finish(headers, stream).await;
    assert_eq!(answer.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_handler_knows_its_deadline() {
    let server = start().await;
    let client = Client::connect(server.address).await;
    let (_, mut stream) = client
        .open(
            COUNT,
            &[("x-do", "remaining"), ("grpc-timeout", "5S")],
            message(COUNT),
        )
        .await;
    let data = stream.data().await.unwrap().unwrap();
    let answer: crate::proto::v1::CountResponse = prost::Message::decode(&data[5..]).unwrap();
    assert!((1_000..5_000).contains(&answer.count), "{answer:?}");
}

#[tokio::test]
async fn a_malformed_timeout_is_refused_by_name() {
    let server = start().await;
    let client = Client::connect(server.address).await;
    for bad in ["", "5", "m", "5s", "123456789m", "-1m", "1.5S"] {
        let answer = client.call(COUNT, &[("grpc-timeout", bad)]).await;
        assert_eq!(answer.code(), Code::InvalidArgument, "{bad:?}");
        let violations = answer
            .details()
            .bad_request()
            .unwrap()
            .field_violations
            .clone();
        assert_eq!(violations[0].field, "grpc-timeout");
    }
}

#[tokio::test]
async fn a_watch_of_health_outlives_the_maximum() {
    let server = start_with(limits(10, Duration::from_millis(50))).await;
    let client = Client::connect(server.address).await;
    let (_, mut watch) = client.open(WATCH, &[], message(WATCH)).await;
    assert!(watch.data().await.unwrap().is_ok());
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.health.set("", true);
    assert!(watch.data().await.unwrap().is_ok());
    // Unless the client itself sets one.
    let answer = client.call(WATCH, &[("grpc-timeout", "100m")]).await;
    assert_eq!(answer.code(), Code::DeadlineExceeded);
}
