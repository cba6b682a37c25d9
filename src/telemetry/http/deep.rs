//! /health/deep: a search on every connection. It costs real work, so however
//! many ask, one runs at a time and those who came meanwhile share its answer.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{DEEP, HttpState, Probes, status};

/// Longest wait for the searches of one check.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How one connection did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeepCheck {
    /// Its name.
    pub connection: String,
    /// What it is for.
    pub role: String,
    /// Whether the search was answered.
    pub ok: bool,
    /// How long that took.
    pub latency: Duration,
    /// What was searched, or what went wrong; shown to whoever asks.
    pub detail: String,
}

type Report = (StatusCode, Value);

struct Deep {
    probes: Arc<dyn Probes>,
    /// The last report with when it was finished. Locked by the one that runs.
    last: Mutex<Option<(Instant, Report)>>,
}

/// The route, with what it remembers.
pub(super) fn route(probes: Arc<dyn Probes>) -> Router<HttpState> {
    let deep = Arc::new(Deep {
        probes,
        last: Mutex::new(None),
    });
    Router::new().route(DEEP, get(answer).with_state(deep))
}

async fn answer(State(deep): State<Arc<Deep>>) -> Response {
    let asked = Instant::now();
    let mut last = deep.last.lock().await;
    let (code, report) = match &*last {
        // It was running while this one waited.
        Some((finished, report)) if *finished >= asked => report.clone(),
        _ => {
            let report = run(deep.probes.as_ref()).await;
            last.insert((Instant::now(), report)).1.clone()
        }
    };
    (code, Json(report)).into_response()
}

async fn run(probes: &dyn Probes) -> Report {
    let Ok(checks) = timeout(TIMEOUT, probes.deep()).await else {
        let detail = format!("no answer within {TIMEOUT:?}");
        let report = json!({"status": "unhealthy", "detail": detail, "connections": []});
        return (StatusCode::SERVICE_UNAVAILABLE, report);
    };
    let working = checks.iter().filter(|c| c.ok).count();
    let word = match working {
        0 => "unhealthy",
        n if n < checks.len() => "degraded",
        _ => "healthy",
    };
    let connections: Vec<Value> = checks.iter().map(connection).collect();
    let report = json!({"status": word, "connections": connections});
    (status(working > 0), report)
}

fn connection(check: &DeepCheck) -> Value {
    json!({
        "connection": check.connection,
        "role": check.role,
        "ok": check.ok,
        // Microseconds are as fine as it means anything.
        "latency_ms": check.latency.as_micros() as f64 / 1_000.0,
        "detail": check.detail,
    })
}
