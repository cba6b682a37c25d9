//! Ids, panics, translated statuses and metrics.

use std::time::Duration;

use bytes::Bytes;
use tonic::Code;

use super::{
    client::{CHECK, COUNT, Client, EXPLAIN, STREAM, framed, message},
    server::{MAX_ANSWER, MAX_REQUEST, start},
};
use crate::telemetry::metrics;

#[tokio::test]
async fn every_answer_carries_the_id_of_its_request() {
    let server = start().await;
    let client = Client::connect(server.address).await;
    let answer = client.call(COUNT, &[("x-request-id", "mine-1")]).await;
    assert_eq!(
        (answer.code(), &answer.headers["x-request-id"]),
        (Code::Ok, &"mine-1".parse().unwrap())
    );
    let refused = client
        .call(COUNT, &[("x-do", "refuse"), ("x-request-id", "mine-2")])
        .await;
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.headers["x-request-id"], "mine-2");
    let other = client
        .call("/no.such/Method", &[("x-request-id", "has space")])
        .await;
    let id = uuid::Uuid::parse_str(other.headers["x-request-id"].to_str().unwrap()).unwrap();
    assert_eq!(id.get_version_num(), 7);
}

#[tokio::test]
async fn a_panic_costs_its_own_request_only() {
    let server = start().await;
    let client = Client::connect(server.address).await;
    // On the same connection while the panics happen.
    let other = client.call(COUNT, &[("x-do", "sleep 300")]);
    let panics = async {
        let answer = client.call(COUNT, &[("x-do", "panic")]).await;
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::Internal, "INTERNAL")
        );
        let answer = client.call(STREAM, &[("x-do", "panic")]).await;
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::Internal, "INTERNAL")
        );
        assert!(answer.bytes > 10, "the first chunk did not come");
        assert!(!answer.status.message().contains("ordered"), "{answer:?}");
    };
    let (other, ()) = futures::join!(other, panics);
    assert_eq!(other.code(), Code::Ok);
    assert_eq!(client.call(COUNT, &[]).await.code(), Code::Ok);
    server.until_working(0).await;
}

#[tokio::test]
async fn statuses_of_tonic_become_ours() {
    let server = start().await;
    let client = Client::connect(server.address).await;
    let check = async |what: &str,
                       path: &str,
                       metadata: &[(&str, &str)],
                       body: Bytes,
                       code,
                       reason: &str| {
        let answer = client.send(path, metadata, body).await;
        assert_eq!(answer.code(), code, "{what}: {answer:?}");
        assert_eq!(answer.reason(), reason, "{what}");
        answer.status.message().to_owned()
    };
    let large = framed(0, &vec![0; MAX_REQUEST + 1]);
    let said = check(
        "large",
        COUNT,
        &[],
        large,
        Code::ResourceExhausted,
        "TOO_LARGE",
    )
    .await;
    assert_eq!(
        said,
        "the request message has 65537 bytes, the limit is 65536"
    );

    // The order is of the caller; nothing else of the request matters.
    let order = format!("big {}", MAX_ANSWER + 1);
    let said = check(
        "large answer",
        EXPLAIN,
        &[("x-do", &order)],
        message(EXPLAIN),
        Code::ResourceExhausted,
        "TOO_LARGE",
    )
    .await;
    assert!(said.starts_with("the answer message has 26"), "{said}");

    let said = check(
        "bomb",
        COUNT,
        &[("grpc-encoding", "gzip")],
        framed(1, BOMB),
        Code::ResourceExhausted,
        "TOO_LARGE",
    )
    .await;
    assert!(said.contains("when decompressed"), "{said}");

    check(
        "garbage",
        COUNT,
        &[],
        framed(0, b"\xff\xff\xff"),
        Code::InvalidArgument,
        "INVALID_REQUEST",
    )
    .await;
    check(
        "no message",
        COUNT,
        &[],
        Bytes::new(),
        Code::InvalidArgument,
        "INVALID_REQUEST",
    )
    .await;
    check(
        "no method",
        "/lancegate.v1.SearchService/Nope",
        &[],
        message(COUNT),
        Code::Unimplemented,
        "NOT_SUPPORTED",
    )
    .await;
    check(
        "no service",
        "/nobody/Nope",
        &[],
        message(COUNT),
        Code::Unimplemented,
        "NOT_SUPPORTED",
    )
    .await;
    check(
        "unknown encoding",
        COUNT,
        &[("grpc-encoding", "br")],
        framed(1, b"x"),
        Code::Unimplemented,
        "NOT_SUPPORTED",
    )
    .await;
    // And one of a handler without details is left as it is.
    let refused = client.call(COUNT, &[("x-do", "refuse")]).await;
    assert_eq!(
        (refused.code(), refused.status.message()),
        (Code::FailedPrecondition, "ordered")
    );
}

/// 128 KiB of zeros, as `gzip -9` packs them: twice what the server takes.
const BOMB: &[u8] = include_bytes!("bomb.gz");

/// The value of one series.
fn series(
    recorder: &metrics::Recorder,
    name: &str,
    service: &str,
    method: &str,
    code: &str,
) -> u64 {
    let text = recorder.render();
    let code = format!("grpc_code=\"{code}\"");
    let matching = |line: &&str| {
        line.starts_with(&format!("{name}{{"))
            && line.contains(&format!(
                "grpc_service=\"{service}\",grpc_method=\"{method}\""
            ))
            && (name != "grpc_server_handled_total" || line.contains(&code))
    };
    let line = text.lines().find(matching).expect("no such series");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn calls_are_counted_by_the_code_that_the_client_sees() {
    let recorder = metrics::install(10).unwrap();
    let server = start().await;
    let client = Client::connect(server.address).await;
    let of = |service: &str, method: &str, code: &str| {
        series(
            &recorder,
            "grpc_server_handled_total",
            service,
            method,
            code,
        )
    };
    // Other tests call the same methods: each count must have grown, by one at least.
    let search = "lancegate.v1.SearchService";
    let before = [
        of(search, "Count", "OK"),
        of(search, "Count", "Internal"),
        of(search, "SearchStream", "OK"),
        of(search, "SearchStream", "Canceled"),
        of("unknown", "unknown", "Unimplemented"),
        of("grpc.health.v1.Health", "Check", "OK"),
        series(
            &recorder,
            "grpc_server_handling_seconds_count",
            search,
            "SearchStream",
            "",
        ),
        series(
            &recorder,
            "grpc_server_started_total",
            search,
            "SearchStream",
            "",
        ),
    ];
    client.call(COUNT, &[]).await;
    client.call(COUNT, &[("x-do", "panic")]).await;
    client.call(STREAM, &[("x-do", "chunks 3")]).await;
    client.call("/who/Knows", &[]).await;
    client.call(CHECK, &[]).await;
    let (_, stream) = client
        .open(STREAM, &[("x-do", "stall")], message(STREAM))
        .await;
    drop(stream);
    server.until_working(0).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let after = [
        of(search, "Count", "OK"),
        of(search, "Count", "Internal"),
        of(search, "SearchStream", "OK"),
        of(search, "SearchStream", "Canceled"),
        of("unknown", "unknown", "Unimplemented"),
        of("grpc.health.v1.Health", "Check", "OK"),
        series(
            &recorder,
            "grpc_server_handling_seconds_count",
            search,
            "SearchStream",
            "",
        ),
        series(
            &recorder,
            "grpc_server_started_total",
            search,
            "SearchStream",
            "",
        ),
    ];
    for (i, (before, after)) in before.iter().zip(after).enumerate() {
        assert!(after > *before, "series {i}: {before} then {after}");
    }
}
