//! The limit on concurrent requests, and the queue before it.

use std::time::Duration;

use tonic::Code;

use super::{
    client::{CHECK, COUNT, Client, STREAM, WATCH, message},
    server::{Running, limits, no_queue, start_admitting, start_with},
};
use crate::config::Admission;

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

#[tokio::test]
async fn work_that_goes_on_without_its_client_keeps_its_place() {
    let server = start_with(limits(1, Duration::from_secs(30))).await;
    let client = Client::connect(server.address).await;
    for has_deadline in [true, false] {
        let leaving = Client::connect(server.address).await;
        let order = [("x-do", "detach"), ("grpc-timeout", "100m")];
        if has_deadline {
            let answer = leaving.call(STREAM, &order).await;
            assert_eq!(answer.code(), Code::DeadlineExceeded);
        } else {
            let call = tokio::spawn(async move { leaving.call(STREAM, &order[..1]).await });
            server.until_working(1).await;
            call.abort();
            // Time to see that the client has gone.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        server.until_working(1).await;
        assert_eq!(server.door.facts().in_flight, 1);
        let answer = client.call(COUNT, &[]).await;
        assert_eq!(answer.code(), Code::ResourceExhausted);
        server.release.notify_one();
        server.until_in_flight(0).await;
        assert_eq!(client.call(COUNT, &[]).await.code(), Code::Ok);
    }
}

/// One at a time, and a queue.
async fn one_at_a_time() -> Running {
    let admission = Admission {
        max_queued: 10,
        ..no_queue()
    };
    start_admitting(limits(1, Duration::from_secs(60)), admission).await
}

#[tokio::test]
async fn what_finds_no_room_waits_in_the_order_of_importance() {
    let server = one_at_a_time().await;
    let client = Client::connect(server.address).await;
    let held = client
        .open(STREAM, &[("x-do", "stall")], message(STREAM))
        .await;
    let mut calls = Vec::new();
    for (i, (order, priority)) in [
        ("note 1", "batch"),
        ("note 2", "interactive"),
        ("note 3", "batch"),
        ("note 4", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let client = client.clone();
        calls.push(tokio::spawn(async move {
            let metadata = [("x-do", order), ("x-lancegate-priority", priority)];
            let given = if priority.is_empty() { 1 } else { 2 };
            client.call(COUNT, &metadata[..given]).await.code()
        }));
        server.until_waiting(i + 1).await;
    }
    // Health does not wait.
    assert_eq!(client.call(CHECK, &[]).await.code(), Code::Ok);
    drop(held);
    for call in calls {
        assert_eq!(call.await.unwrap(), Code::Ok);
    }
    assert_eq!(*server.noted.lock().unwrap(), [2, 4, 1, 3]);
    assert_eq!(server.door.facts().waiting, 0);
}

#[tokio::test]
async fn a_priority_that_is_none_is_refused() {
    let server = one_at_a_time().await;
    let client = Client::connect(server.address).await;
    let answer = client
        .call(COUNT, &[("x-lancegate-priority", "urgent")])
        .await;
    assert_eq!(answer.code(), Code::InvalidArgument);
    let violations = answer
        .details()
        .bad_request()
        .unwrap()
        .field_violations
        .clone();
    assert_eq!(violations[0].field, "x-lancegate-priority");
}

#[tokio::test]
async fn what_waits_until_its_deadline_is_never_begun() {
    let server = one_at_a_time().await;
    let client = Client::connect(server.address).await;
    let held = client
        .open(STREAM, &[("x-do", "stall")], message(STREAM))
        .await;
    let answer = client
        .call(COUNT, &[("x-do", "note 1"), ("grpc-timeout", "100m")])
        .await;
    assert_eq!(answer.code(), Code::DeadlineExceeded);
    assert_eq!(answer.reason(), "DEADLINE_EXCEEDED");
    server.until_waiting(0).await;
    drop(held);
    server.until_working(0).await;
    assert_eq!(client.call(COUNT, &[]).await.code(), Code::Ok);
    assert!(server.noted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_goes_away_while_it_waits_leaves_its_place() {
    let server = one_at_a_time().await;
    let client = Client::connect(server.address).await;
    let held = client
        .open(STREAM, &[("x-do", "stall")], message(STREAM))
        .await;
    let leaving = Client::connect(server.address).await;
    let call = tokio::spawn(async move { leaving.call(COUNT, &[("x-do", "note 1")]).await });
    server.until_waiting(1).await;
    call.abort();
    server.until_waiting(0).await;
    drop(held);
    assert_eq!(client.call(COUNT, &[]).await.code(), Code::Ok);
    assert!(server.noted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_has_waited_for_long_enough_is_told_when_to_come_back() {
    let admission = Admission {
        max_queued: 10,
        max_wait: Duration::from_millis(50),
        ..no_queue()
    };
    let server = start_admitting(limits(1, Duration::from_secs(60)), admission).await;
    let client = Client::connect(server.address).await;
    let _held = client
        .open(STREAM, &[("x-do", "stall")], message(STREAM))
        .await;
    let answer = client.call(COUNT, &[("x-do", "note 1")]).await;
    assert_eq!(answer.code(), Code::ResourceExhausted);
    assert_eq!(answer.reason(), "OVERLOADED");
    let info = answer.details().error_info().unwrap().clone();
    assert_eq!(info.metadata["cause"], "waited");
    assert!(answer.details().retry_info().is_some());
    assert!(
        answer
            .status
            .metadata()
            .contains_key("grpc-retry-pushback-ms")
    );
    assert!(server.noted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_memory_for_its_answer_a_read_is_not_begun() {
    let admission = Admission {
        max_answer_bytes: 64 << 10,
        ..no_queue()
    };
    let server = start_admitting(limits(10, Duration::from_secs(60)), admission).await;
    let client = Client::connect(server.address).await;
    let leaving = Client::connect(server.address).await;
    let call = tokio::spawn(async move { leaving.call(COUNT, &[("x-do", "sleep 60000")]).await });
    server.until_working(1).await;
    let answer = client.call(COUNT, &[("x-do", "note 1")]).await;
    assert_eq!(answer.code(), Code::ResourceExhausted);
    let info = answer.details().error_info().unwrap().clone();
    assert_eq!(info.metadata["cause"], "answer_bytes");
    assert!(server.noted.lock().unwrap().is_empty());
    call.abort();
    server.until_working(0).await;
    assert_eq!(client.call(COUNT, &[]).await.code(), Code::Ok);
}
