//! Starting, being asked, and stopping.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use lancegate::proto::{
    health::{
        HealthCheckRequest, HealthListRequest, health_check_response::ServingStatus,
        health_client::HealthClient,
    },
    v1::*,
};
use tonic::{codec::CompressionEncoding, transport::Channel};

use super::{
    data::{floats, ipc, small},
    server::{TestServer, http_get, wait_until},
};

async fn health(server: &TestServer) -> HealthClient<Channel> {
    let url = format!("http://{}", server.app.grpc_address());
    HealthClient::connect(url).await.unwrap()
}

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_knows_every_service() {
    let server = TestServer::start(1).await;
    let mut health = health(&server).await;
    for service in [
        "",
        "liveness",
        "lancegate.v1.SearchService",
        "lancegate.v1.WriteService",
        "lancegate.v1.TableService",
        "lancegate.v1.ClusterService",
    ] {
        let answer = health.check(about(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = health.check(about("nobody")).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    let mut watch = health.watch(about("nobody")).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    let all = health
        .list(HealthListRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(all.statuses.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_says_not_serving_first_and_fails_no_accepted_request() {
    let mut server = TestServer::start(2).await;
    server.table_of("t", ipc(&small(0, 200))).await;
    let mut health = health(&server).await;
    let mut watch = health
        .watch(about("lancegate.v1.SearchService"))
        .await
        .unwrap()
        .into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);

    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU32::new(0));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let (mut search, stop) = (server.search.clone(), Arc::clone(&stop));
        let answered = Arc::clone(&answered);
        clients.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let request = SearchRequest {
                    freshness: None,
                    table: "t".into(),
                    query: Some(Query {
                        vectors: vec![floats(&[1.0, 2.0, 3.0, 4.0])],
                        limit: 5,
                        ..Default::default()
                    }),
                    row_format: 0,
                };
                match search.search(request).await {
                    Ok(_) => answered.fetch_add(1, Ordering::Relaxed),
                    // After GOAWAY.
                    Err(e) if never_accepted(&e) => break,
                    Err(e) => panic!("an accepted request failed: {e:?}"),
                };
            }
        }));
    }
    wait_until("under load", || answered.load(Ordering::Relaxed) > 50).await;
    let stopping = tokio::spawn(server.app.stop());
    let next = watch.message().await.unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::NotServing);
    stopping.await.unwrap().expect("drained");
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
}

/// Whether a request was never accepted: nobody listened any more, its connection
/// was closing while it waited to be sent, or it is beyond the last one that the
/// server's GOAWAY names. One that is cut off after that ends with another error.
fn never_accepted(status: &tonic::Status) -> bool {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>()
            && hyper.is_canceled()
        {
            return true;
        }
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            let clean = h2.reason() == Some(h2::Reason::NO_ERROR);
            return h2.is_go_away() && h2.is_remote() && clean;
        }
        cause = error.source();
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_port_answers_probes_and_metrics() {
    let mut server = TestServer::start(2).await;
    server.table_of("probed", ipc(&small(0, 20))).await;
    for path in ["/livez", "/readyz", "/health", "/ready"] {
        let (code, text) = http_get(server.app.http_address(), path).await;
        assert_eq!(code, 200, "{path}: {text}");
    }
    let (code, text) = http_get(server.app.http_address(), "/health/deep").await;
    assert_eq!(code, 200, "{text}");
    for name in ["primary", "replica-1", "replica-2", "searched probed"] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    server
        .search
        .search(SearchRequest {
            freshness: None,
            table: "probed".into(),
            query: Some(Query {
                vectors: vec![floats(&[0.0, 0.0, 0.0, 1.0])],
                limit: 1,
                ..Default::default()
            }),
            row_format: 0,
        })
        .await
        .unwrap();
    let (code, text) = http_get(server.app.http_address(), "/metrics").await;
    assert_eq!(code, 200);
    for line in [
        "lancedb_search_requests_total{table=\"probed\",status=\"ok\"} 1",
        "grpc_server_handled_total",
        "lancedb_search_latency_seconds_bucket{table=\"probed\"",
        "lancegate_build_info",
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(line), "{line} is not in the metrics:\n{text}");
    }
    assert_eq!(http_get(server.app.http_address(), "/nothing").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_for_clients_that_compress() {
    let mut server = TestServer::start(0).await;
    server.table_of("t", ipc(&small(0, 200))).await;
    for (encoding, name) in [
        (CompressionEncoding::Gzip, "gzip"),
        (CompressionEncoding::Zstd, "zstd"),
    ] {
        let request = ScanRequest {
            table: "t".into(),
            ..Default::default()
        };
        let mut accepting = server.search.clone().accept_compressed(encoding);
        let plain = accepting.scan(request.clone()).await.unwrap();
        assert_eq!(plain.metadata().get("grpc-encoding"), None);
        let mut sending = accepting.send_compressed(encoding);
        let compressed = sending.scan(request).await.unwrap();
        let encoding = compressed.metadata().get("grpc-encoding").cloned();
        assert_eq!(encoding.unwrap(), name);
        assert_eq!(compressed.into_inner().rows, plain.into_inner().rows);
    }
}
