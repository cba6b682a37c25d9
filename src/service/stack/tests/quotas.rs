//! What each of those who ask may have.

use std::{collections::BTreeMap, time::Duration};

use tonic::Code;

use super::{
    client::{Answer, CHECK, COUNT, Client, EXPLAIN, STREAM, WATCH, frame, message},
    server::{Running, limits, no_queue, no_quotas, start_guarded},
};
use crate::{
    config::{Quota, Quotas},
    proto::v1::CountRequest,
    telemetry::audit::AuditLog,
};

/// A server where everybody may have this.
async fn start(quota: Quota) -> Running {
    start_with(Quotas {
        default: quota,
        ..no_quotas()
    })
    .await
}

async fn start_with(quotas: Quotas) -> Running {
    let limits = limits(100, Duration::from_secs(30));
    start_guarded(limits, no_queue(), quotas, AuditLog::nowhere()).await
}

/// A refusal must name the quota, and a delay where waiting helps.
fn refused(answer: &Answer, quota: &str, waits: bool) {
    assert_eq!(answer.code(), Code::ResourceExhausted, "{answer:?}");
    assert_eq!(answer.reason(), "QUOTA_EXCEEDED");
    let details = answer.details();
    let violations = details.quota_failure().expect("a QuotaFailure");
    assert_eq!(violations.violations[0].subject, quota);
    let delay = details.retry_info().and_then(|info| info.retry_delay);
    assert_eq!(delay.is_some(), waits, "{delay:?}");
    let pushback = answer.status.metadata().get("grpc-retry-pushback-ms");
    assert_eq!(pushback.is_some(), waits);
    assert!(answer.headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn a_rate_is_of_one_alone_and_probes_have_none() {
    let quota = Quota {
        requests_per_second: 0.001,
        burst: 3,
        ..Quota::default()
    };
    let server = start(quota).await;
    // Those who show nothing are their address, whatever the connection.
    for host in [2, 3] {
        for n in 0..5 {
            let client = Client::connect_from(host, server.address).await;
            // A name that nobody has proven is none.
            let named = [
                ("authorization", "somebody"),
                ("x-forwarded-for", "10.0.0.1"),
            ];
            let answer = client.call(COUNT, &named[..n % 3]).await;
            match n < 3 {
                true => assert_eq!(answer.code(), Code::Ok, "{host} {n}"),
                false => refused(&answer, "requests_per_second", true),
            }
            assert_eq!(client.call(CHECK, &[]).await.code(), Code::Ok);
        }
    }
}

#[tokio::test]
async fn who_is_anonymous_may_have_something_else() {
    let mut quotas = no_quotas();
    let none = Quota {
        requests_per_second: 0.001,
        burst: 1,
        ..Quota::default()
    };
    quotas.default = none;
    quotas.principals = BTreeMap::from([
        ("anonymous".into(), Quota { burst: 4, ..none }),
        ("a*".into(), none),
    ]);
    let server = start_with(quotas).await;
    let client = Client::connect(server.address).await;
    for n in 0..6 {
        let answer = client.call(COUNT, &[]).await;
        assert_eq!(answer.code() == Code::Ok, n < 4, "{n}");
    }
}

#[tokio::test]
async fn a_stream_is_one_request_until_it_is_over() {
    let quota = Quota {
        max_concurrent_requests: 2,
        ..Quota::default()
    };
    let server = start(quota).await;
    let client = Client::connect(server.address).await;
    let other = Client::connect_from(2, server.address).await;
    let stall = [("x-do", "stall")];
    let first = client.open(STREAM, &stall, message(STREAM)).await;
    let second = client.open(STREAM, &stall, message(STREAM)).await;
    refused(
        &client.call(COUNT, &[]).await,
        "max_concurrent_requests",
        true,
    );
    assert_eq!(other.call(COUNT, &[]).await.code(), Code::Ok);
    // Watches of health are no requests of anybody's.
    let (_, mut watch) = client.open(WATCH, &[], message(WATCH)).await;
    assert!(watch.data().await.unwrap().is_ok());
    drop(first);
    server.until_working(1).await;
    // The work is dropped before the rest of the answer is.
    let mut code = Code::Unknown;
    for _ in 0..500 {
        code = client.call(COUNT, &[]).await.code();
        if code == Code::Ok {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(code, Code::Ok, "the place of the first stream is free");
    drop(second);
}

#[tokio::test]
async fn work_that_goes_on_without_its_client_is_under_way() {
    let quota = Quota {
        max_concurrent_requests: 1,
        ..Quota::default()
    };
    let server = start(quota).await;
    let client = Client::connect(server.address).await;
    let order = [("x-do", "detach"), ("grpc-timeout", "100m")];
    let answer = client.call(STREAM, &order).await;
    assert_eq!(answer.code(), Code::DeadlineExceeded);
    let answer = client.call(COUNT, &[]).await;
    refused(&answer, "max_concurrent_requests", true);
    server.release.notify_one();
    server.until_in_flight(0).await;
    assert_eq!(client.call(COUNT, &[]).await.code(), Code::Ok);
}

#[tokio::test]
async fn messages_and_answers_are_no_larger_than_they_may_be() {
    let quota = Quota {
        max_request_bytes: 1_000,
        max_answer_bytes: 2_000,
        ..Quota::default()
    };
    let server = start(quota).await;
    let client = Client::connect(server.address).await;
    let request = |bytes: usize| {
        frame(&CountRequest {
            freshness: None,
            table: "x".repeat(bytes),
            filter: None,
        })
    };
    let answer = client.send(COUNT, &[], request(900)).await;
    assert_eq!(answer.code(), Code::Ok);
    for bytes in [1_000, 50_000] {
        let answer = client.send(COUNT, &[], request(bytes)).await;
        refused(&answer, "max_request_bytes", false);
    }
    for (bytes, fits) in [
        ("big 1900", true),
        ("big 2000", false),
        ("big 200000", false),
    ] {
        let answer = client.call(EXPLAIN, &[("x-do", bytes)]).await;
        match fits {
            true => assert_eq!(answer.code(), Code::Ok),
            false => refused(&answer, "max_answer_bytes", false),
        }
    }
    // Of a stream it is all of it. How much was sent before depends on how it came.
    let few = client.call(STREAM, &[("x-do", "chunks 50")]).await;
    assert_eq!(few.code(), Code::Ok);
    let many = client.call(STREAM, &[("x-do", "chunks 500")]).await;
    refused(&many, "max_answer_bytes", false);
    assert!(many.bytes <= 2_000, "{}", many.bytes);
    server.until_working(0).await;
    assert_eq!(server.door.facts().in_flight, 0);
}

#[tokio::test]
async fn refusals_are_counted_by_quota_and_take_no_place() {
    let recorder = crate::telemetry::metrics::install(4).unwrap();
    let quota = Quota {
        requests_per_second: 0.001,
        burst: 1,
        ..Quota::default()
    };
    let server = start(quota).await;
    let client = Client::connect(server.address).await;
    for _ in 0..5 {
        client.call(COUNT, &[("x-do", "note 1")]).await;
    }
    assert_eq!(*server.noted.lock().unwrap(), [1], "one was worked on");
    assert_eq!(server.door.facts().in_flight, 0);
    let text = recorder.render();
    let line = "lancegate_quota_refusals_total{quota=\"requests_per_second\"} ";
    let count = text.lines().find_map(|l| l.strip_prefix(line));
    assert!(count.unwrap().parse::<u64>().unwrap() >= 4, "{text}");
}
