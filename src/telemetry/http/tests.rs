use std::{
    future::IntoFuture,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::telemetry::metrics;

struct Server {
    reads: AtomicBool,
    writes: AtomicBool,
    searches: AtomicUsize,
    search_takes: Duration,
}

impl Probes for Server {
    fn ready(&self) -> Vec<(&'static str, bool)> {
        vec![
            (
                "lancegate.v1.SearchService",
                self.reads.load(Ordering::Relaxed),
            ),
            (
                "lancegate.v1.WriteService",
                self.writes.load(Ordering::Relaxed),
            ),
        ]
    }

    fn deep(&self) -> BoxFuture<'_, Vec<DeepCheck>> {
        Box::pin(async {
            self.searches.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(self.search_takes).await;
            let check = |name: &str, ok| DeepCheck {
                connection: name.to_owned(),
                role: "replica".to_owned(),
                ok,
                latency: Duration::from_micros(1_250),
                detail: "searched".to_owned(),
            };
            vec![
                check("replica-1", self.reads.load(Ordering::Relaxed)),
                check("replica-2", self.writes.load(Ordering::Relaxed)),
            ]
        })
    }
}

struct Anybody;

impl Visitors for Anybody {
    fn may_see<'a>(&'a self, visit: Visit<'a>) -> BoxFuture<'a, bool> {
        Box::pin(async move { !visit.headers.contains_key("x-stranger") })
    }
}

struct Running {
    server: Arc<Server>,
    address: SocketAddr,
    _task: AbortOnDropHandle<std::io::Result<()>>,
}

async fn start(search_takes: Duration) -> Running {
    let server = Arc::new(Server {
        reads: true.into(),
        writes: true.into(),
        searches: 0.into(),
        search_takes,
    });
    let state = HttpState {
        recorder: metrics::install(10).unwrap(),
        probes: server.clone(),
        visitors: Arc::new(Anybody),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = axum::serve(listener, router(state)).into_future();
    let task = AbortOnDropHandle::new(tokio::spawn(serving));
    Running {
        server,
        address,
        _task: task,
    }
}

/// Head and body of the answer to raw bytes.
async fn raw(address: SocketAddr, request: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Status and body of a GET.
async fn fetch(address: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let (head, body) = raw(address, &request).await;
    (head[9..12].parse().unwrap(), body)
}

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn the_process_is_alive_whatever_the_services_say() {
    let running = start(Duration::ZERO).await;
    running.server.reads.store(false, Ordering::Relaxed);
    running.server.writes.store(false, Ordering::Relaxed);
    assert_eq!(
        fetch(running.address, "/livez").await,
        (200, "ok".to_owned())
    );
    let (status, body) = fetch(running.address, "/health").await;
    assert_eq!((status, parsed(&body)), (200, json!({"status": "healthy"})));
}

#[tokio::test]
async fn readiness_names_what_is_not_ready() {
    let running = start(Duration::ZERO).await;
    let at = running.address;
    assert_eq!(fetch(at, "/readyz").await, (200, "ok".to_owned()));
    let (_, body) = fetch(at, "/readyz?verbose").await;
    assert!(
        body.contains("[+]lancegate.v1.SearchService ok\n"),
        "{body}"
    );

    running.server.writes.store(false, Ordering::Relaxed);
    let (status, body) = fetch(at, "/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(
        body,
        "[-]lancegate.v1.WriteService not ready\nreadyz check failed\n"
    );
    let (status, body) = fetch(at, "/ready").await;
    assert_eq!(status, 503);
    let expected = json!({"status": "not ready", "services": {
        "lancegate.v1.SearchService": true, "lancegate.v1.WriteService": false}});
    assert_eq!(parsed(&body), expected);
}

#[test]
fn the_server_as_a_whole_decides_where_it_is_named() {
    assert!(all_in_all(&[("", true), ("writes", false)]));
    assert!(!all_in_all(&[("", false), ("writes", true)]));
    assert!(!all_in_all(&[("reads", true), ("writes", false)]));
}

#[tokio::test]
async fn a_deep_check_reports_each_connection() {
    let running = start(Duration::ZERO).await;
    let (status, body) = fetch(running.address, "/health/deep").await;
    assert_eq!(status, 200);
    let report = parsed(&body);
    assert_eq!(report["status"], "healthy");
    assert_eq!(report["connections"][1]["connection"], "replica-2");
    assert_eq!(report["connections"][1]["latency_ms"], 1.25);

    running.server.writes.store(false, Ordering::Relaxed);
    let (status, body) = fetch(running.address, "/health/deep").await;
    assert_eq!(
        (status, &parsed(&body)["status"]),
        (200, &json!("degraded"))
    );
    running.server.reads.store(false, Ordering::Relaxed);
    let (status, body) = fetch(running.address, "/health/deep").await;
    assert_eq!(
        (status, &parsed(&body)["status"]),
        (503, &json!("unhealthy"))
    );
}

#[tokio::test]
async fn many_deep_checks_cost_few_searches() {
    let running = start(Duration::from_millis(200)).await;
    let asked = (0..20).map(|_| fetch(running.address, "/health/deep"));
    let answers = futures::future::join_all(asked).await;
    assert!(answers.iter().all(|(status, _)| *status == 200));
    // One for those who came first, at most one more for stragglers.
    let searches = running.server.searches.load(Ordering::Relaxed);
    assert!((1..=2).contains(&searches), "{searches} searches");
}

#[tokio::test]
async fn a_deep_check_that_hangs_is_cut() {
    let running = start(Duration::from_secs(3_600)).await;
    let began = std::time::Instant::now();
    let (status, body) = fetch(running.address, "/health/deep").await;
    assert_eq!(status, 503);
    assert_eq!(parsed(&body)["detail"], "no answer within 5s");
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let running = start(Duration::ZERO).await;
    let request = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let (head, body) = raw(running.address, request).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(body.contains("lancegate_build_info{version="));
}

#[tokio::test]
async fn bad_requests_get_json() {
    let running = start(Duration::ZERO).await;
    let at = running.address;
    let (status, body) = fetch(at, "/nowhere").await;
    assert_eq!(
        (status, &parsed(&body)["error"]["code"]),
        (404, &json!(404))
    );
    let (status, _) = fetch(at, "/livez/../metrics/").await;
    assert_eq!(status, 404);

    let post = "POST /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let (head, body) = raw(at, post).await;
    assert!(head.starts_with("HTTP/1.1 405"), "{head}");
    assert_eq!(parsed(&body)["error"]["code"], 405);

    let with_body =
        "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
    let (head, _) = raw(at, with_body).await;
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");

    let large = "y".repeat(17_000);
    let large =
        format!("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-a: {large}\r\n\r\n");
    let (head, _) = raw(at, &large).await;
    assert!(head.starts_with("HTTP/1.1 431"), "{head}");
}
