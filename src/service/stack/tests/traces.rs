//! The access log and its trace.

use std::{
    io::{self, Write},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;
use tonic::Code;
use tracing_subscriber::layer::SubscriberExt;

use super::{
    client::{CHECK, COUNT, Client, STREAM, WATCH, message},
    server::{limits, start, start_with},
};
use crate::telemetry::logs::json_lines;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Catches what this thread logs; the servers of these tests run on it.
    fn catch() -> (Self, tracing::subscriber::DefaultGuard) {
        // With a single subscriber in the process, `tracing` caches what the
        // first thread to pass a line of code thinks of it, and the tests of
        // other threads think nothing. A second one makes it ask all.
        static SECOND: LazyLock<tracing::Dispatch> =
            LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));
        LazyLock::force(&SECOND);
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry().with(json_lines(move || writer.clone()));
        (lines, tracing::subscriber::set_default(subscriber))
    }

    /// The same with traces on.
    fn catch_with_traces() -> (Self, tracing::subscriber::DefaultGuard) {
        let (lines, guard) = Self::catch();
        drop(guard);
        let writer = lines.clone();
        let provider = SdkTracerProvider::builder().build();
        let subscriber = tracing_subscriber::registry()
            .with(json_lines(move || writer.clone()))
            .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")));
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn of(&self, target: &str) -> Vec<Value> {
        let bytes = self.0.lock().unwrap().clone();
        let lines = String::from_utf8(bytes).unwrap();
        let parsed = lines
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap());
        parsed.filter(|l| l["target"] == target).collect()
    }

    /// The access log once it has `n` lines.
    async fn access(&self, n: usize) -> Vec<Value> {
        for _ in 0..1_000 {
            if self.of("lancegate::access").len() >= n {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let lines = self.of("lancegate::access");
        assert_eq!(lines.len(), n, "{lines:#?}");
        lines
    }
}

#[tokio::test]
async fn one_line_says_what_was_asked_and_who_answered() {
    let (lines, _guard) = Lines::catch();
    let server = start().await;
    let client = Client::connect(server.address).await;
    client
        .call(COUNT, &[("x-request-id", "r-1"), ("x-do", "sleep 20")])
        .await;
    let line = &lines.access(1).await[0];
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["method"], "lancegate.v1.SearchService/Count");
    assert_eq!(line["code"], "OK");
    assert_eq!(line["request_id"], "r-1");
    assert_eq!(line["table"], "packages");
    assert_eq!(line["version"], 42);
    assert_eq!(line["connection"], "replica-1");
    assert_eq!(line["route"], "round_robin(replica-1 1/2)");
    assert!(
        (20.0..1_000.0).contains(&line["duration_ms"].as_f64().unwrap()),
        "{line}"
    );
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(line.get("trace_id").is_none());
}

#[tokio::test]
async fn the_callers_trace_is_on_every_line_of_its_request() {
    let (lines, _guard) = Lines::catch();
    let server = start().await;
    let client = Client::connect(server.address).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    client
        .call(COUNT, &[("traceparent", parent), ("x-request-id", "r-2")])
        .await;
    let mut all = lines.access(1).await;
    all.extend(lines.of("lancegate::service::stack::tests::server"));
    assert_eq!(all.len(), 2);
    for line in all {
        assert_eq!(
            line["trace_id"], "0af7651916cd43dd8448eb211c80319c",
            "{line}"
        );
        assert_eq!(line["span_id"], "b7ad6b7169203331");
        assert_eq!(line["request_id"], "r-2");
    }
}

#[tokio::test]
async fn with_traces_on_the_span_is_our_own_within_the_callers_trace() {
    let (lines, _guard) = Lines::catch_with_traces();
    let server = start().await;
    let client = Client::connect(server.address).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    client.call(COUNT, &[("traceparent", parent)]).await;
    client.call(COUNT, &[]).await;
    let lines = lines.access(2).await;
    assert_eq!(lines[0]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_ne!(lines[0]["span_id"], "b7ad6b7169203331");
    let span = lines[0]["span_id"].as_str().unwrap();
    assert_eq!(span.len(), 16);
    // A request without a trace begins one.
    assert_eq!(lines[1]["trace_id"].as_str().unwrap().len(), 32);
    assert_ne!(lines[1]["trace_id"], lines[0]["trace_id"]);
    assert!(lines[1].get("rpc.grpc.status_code").is_none());
}

#[tokio::test]
async fn every_end_is_logged_with_its_code_and_health_is_not() {
    let (lines, _guard) = Lines::catch();
    let server = start_with(limits(1, Duration::from_secs(30))).await;
    let client = Client::connect(server.address).await;
    assert_eq!(client.call(CHECK, &[]).await.code(), Code::Ok);
    let (_, watch) = client.open(WATCH, &[], message(WATCH)).await;

    client.call(COUNT, &[("x-do", "panic")]).await;
    client
        .call(COUNT, &[("x-do", "sleep 60000"), ("grpc-timeout", "20m")])
        .await;
    client.call(STREAM, &[("x-do", "panic")]).await;
    client.call("/who/Knows", &[]).await;
    let (_, stream) = client
        .open(STREAM, &[("x-do", "stall")], message(STREAM))
        .await;
    client.call(COUNT, &[]).await;
    drop(stream);
    drop(watch);
    let lines = lines.access(6).await;
    let codes: Vec<&str> = lines.iter().map(|l| l["code"].as_str().unwrap()).collect();
    let expected = [
        "Internal",
        "DeadlineExceeded",
        "Internal",
        "Unimplemented",
        "ResourceExhausted",
        "Canceled",
    ];
    assert_eq!(codes, expected);
}
