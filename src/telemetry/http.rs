//! The HTTP port: what Prometheus scrapes, what an orchestrator probes, and the
//! health routes of LanceDB's tutorial.

mod deep;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::future::BoxFuture;
use http_body::Body;
use serde_json::{Map, Value, json};
use tonic::transport::server::TcpConnectInfo;

pub use deep::DeepCheck;

use super::metrics::Recorder;
use crate::domain::PeerCertificate;

/// Bytes of names and values of headers that one request may have.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// What the probes ask.
pub trait Probes: Send + Sync {
    /// Each service with whether it can take requests. If the server as a whole
    /// (`""`) is among them it decides; otherwise all must serve.
    fn ready(&self) -> Vec<(&'static str, bool)>;

    /// A real search on every connection.
    fn deep(&self) -> BoxFuture<'_, Vec<DeepCheck>>;
}

/// Somebody who wants to see what is not for everybody.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    /// `/metrics` or `/health/deep`.
    pub page: &'static str,
    /// Of the request.
    pub headers: &'a HeaderMap,
    /// Where it came from, where that is known.
    pub peer: Option<SocketAddr>,
    /// What its client has shown when the connection began.
    pub certificate: Option<&'a PeerCertificate>,
}

/// Who may see what is not for everybody: /metrics and /health/deep.
pub trait Visitors: Send + Sync {
    /// Decides by the head of a request, and tells of who may not.
    fn may_see<'a>(&'a self, visit: Visit<'a>) -> BoxFuture<'a, bool>;
}

const METRICS: &str = "/metrics";
const DEEP: &str = "/health/deep";

/// What the routes show.
#[derive(Clone)]
pub struct HttpState {
    /// Behind /metrics.
    pub recorder: Recorder,
    /// Behind the others.
    pub probes: Arc<dyn Probes>,
    /// Before some of them.
    pub visitors: Arc<dyn Visitors>,
}

/// All routes.
pub fn router(state: HttpState) -> Router {
    let guard = middleware::from_fn_with_state(Arc::clone(&state.visitors), guard);
    let guarded = Router::new()
        .route(METRICS, get(metrics))
        .merge(deep::route(Arc::clone(&state.probes)))
        .route_layer(guard);
    Router::new()
        .merge(guarded)
        // The process runs: these never look at storage, or a store that is
        // down would have every server killed.
        .route("/livez", get(async || "ok"))
        .route("/health", get(async || Json(json!({"status": "healthy"}))))
        .route("/readyz", get(readyz))
        .route("/ready", get(ready))
        .fallback(async || error(StatusCode::NOT_FOUND, "there is no such page"))
        .method_not_allowed_fallback(async || {
            error(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are")
        })
        .layer(middleware::from_fn(refuse_large))
        .with_state(state)
}

/// No route takes a body, and none needs large headers.
async fn refuse_large(request: Request, next: Next) -> Response {
    let headers = request.headers().iter();
    let bytes: usize = headers.map(|(k, v)| k.as_str().len() + v.len()).sum();
    if bytes > MAX_HEADER_BYTES {
        return error(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the headers are larger than 16 KiB",
        );
    }
    if !request.body().is_end_stream() {
        return error(StatusCode::PAYLOAD_TOO_LARGE, "a body is not taken here");
    }
    next.run(request).await
}

/// Probes are for everybody; numbers, names and work are not.
async fn guard(
    State(visitors): State<Arc<dyn Visitors>>,
    request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<TcpConnectInfo>();
    let visit = Visit {
        // There are no others behind it.
        page: match request.uri().path() {
            METRICS => METRICS,
            _ => DEEP,
        },
        headers: request.headers(),
        peer: peer.and_then(TcpConnectInfo::remote_addr),
        certificate: request.extensions().get(),
    };
    if visitors.may_see(visit).await {
        return next.run(request).await;
    }
    let refused = error(StatusCode::UNAUTHORIZED, "this page asks who comes");
    ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response()
}

async fn metrics(State(state): State<HttpState>) -> impl IntoResponse {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (content_type, state.recorder.render())
}

/// One line per service, in the manner of Kubernetes' own /readyz. Without
/// `?verbose` those that are ready are left out, unless all are.
async fn readyz(State(state): State<HttpState>, request: Request) -> (StatusCode, String) {
    let services = state.probes.ready();
    let ready = all_in_all(&services);
    let query = request.uri().query().unwrap_or_default();
    let verbose = query
        .split('&')
        .any(|p| p == "verbose" || p.starts_with("verbose="));
    let mut text = String::new();
    for &(name, serving) in &services {
        if verbose || (!serving && !ready) {
            let name = if name.is_empty() { "server" } else { name };
            let (sign, word) = if serving {
                ('+', "ok")
            } else {
                ('-', "not ready")
            };
            text.push_str(&format!("[{sign}]{name} {word}\n"));
        }
    }
    text.push_str(match (ready, verbose) {
        (true, false) => "ok",
        (true, true) => "readyz check passed\n",
        (false, _) => "readyz check failed\n",
    });
    (status(ready), text)
}

/// The tutorial's form of the same.
async fn ready(State(state): State<HttpState>) -> (StatusCode, Json<Value>) {
    let services = state.probes.ready();
    let ready = all_in_all(&services);
    let map: Map<String, Value> = services
        .iter()
        .map(|&(name, serving)| (name.to_owned(), serving.into()))
        .collect();
    let word = if ready { "ready" } else { "not ready" };
    (
        status(ready),
        Json(json!({"status": word, "services": map})),
    )
}

fn all_in_all(services: &[(&'static str, bool)]) -> bool {
    match services.iter().find(|(name, _)| name.is_empty()) {
        Some(&(_, serving)) => serving,
        None => services.iter().all(|&(_, serving)| serving),
    }
}

fn status(ok: bool) -> StatusCode {
    if ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn error(status: StatusCode, message: &str) -> Response {
    let body = json!({"error": {"code": status.as_u16(), "message": message}});
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests;
