//! Asking a connection for real: a search, not only a sign of life.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::{
    connection::Connection,
    domain::{Error, Result, view::ConnectionState},
};

/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What came of it.
#[derive(Debug, Clone)]
pub struct Probe {
    pub ok: bool,
    /// What was done, or what went wrong.
    pub detail: String,
    pub latency: Duration,
}

/// Searches on a connection, for at most 3 s. It changes nothing that routing
/// depends on.
pub async fn probe(connection: &Connection) -> Probe {
    let began = Instant::now();
    let outcome = timeout(PATIENCE, search_something(connection))
        .await
        .unwrap_or(Err(Error::Deadline(PATIENCE)));
    Probe {
        ok: outcome.is_ok(),
        latency: began.elapsed(),
        detail: match outcome {
            Ok(detail) => detail,
            Err(error) => error.to_string(),
        },
    }
}

/// Searches something there, also where the probes say that it is down.
async fn search_something(connection: &Connection) -> Result<String> {
    if connection.state() != ConnectionState::Up {
        connection.probe().await?;
    }
    connection.search_something().await
}
