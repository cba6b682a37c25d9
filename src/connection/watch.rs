//! The task that opens a connection, probes it, and writes its state.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Connection, ask::Rotation};
use crate::{
    config::{Health, Live},
    domain::{Error, Result, view::ConnectionState},
    storage::Sessions,
};

/// For how long a location that is not on this machine may be opened, where probes may
/// not take longer anyway: it takes a dozen requests, one after the other, and some
/// clients must first ask for credentials. One that is cut off begins anew, and would do
/// so for ever.
const OPENING: Duration = Duration::from_secs(30);

/// Probes until `stop`: whether the location is the same one, and whether one row
/// can be read of one of the tables that it serves. A connection that is not up is probed every second at
/// least: it is not serving anyway, and somebody is waiting for it.
pub async fn watch(
    connection: Arc<Connection>,
    sessions: Arc<Sessions>,
    live: Live,
    stop: CancellationToken,
) {
    let mut failures = 0;
    let mut rotation = Rotation::default();
    let mut troubles = connection.troubles();
    let mut changes = live.changes();
    loop {
        troubles.mark_unchanged();
        changes.mark_unchanged();
        let health = live.load().health;
        let probe = probe_once(&connection, &sessions, health, &mut rotation, &mut failures);
        tokio::select! {
            () = probe => {}
            () = stop.cancelled() => return,
        }
        let pause = match connection.state() {
            ConnectionState::Up if failures == 0 => health.probe_interval,
            _ => health.probe_interval.min(Duration::from_secs(1)),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            Ok(()) = troubles.changed() => {}
            // It may have become the shorter pause.
            Ok(()) = changes.changed() => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn probe_once(
    connection: &Connection,
    sessions: &Sessions,
    health: Health,
    rotation: &mut Rotation,
    failures: &mut u32,
) {
    let opening = connection.opening(health);
    let probe = async {
        within(opening, health, connection.open(sessions)).await?;
        within(health.probe_timeout, health, async {
            connection.probe().await?;
            connection.read_something(rotation).await
        })
        .await
    };
    let outcome = probe.await;
    match outcome {
        Ok(()) => {
            *failures = 0;
            connection.count_probe();
            if connection.set_state(ConnectionState::Up, None) {
                tracing::info!(connection = %connection.name(), role = connection.role().as_str(), "connection is up");
            }
        }
        Err(error) => {
            *failures += 1;
            let was_up = connection.state() == ConnectionState::Up;
            let state = if was_up && *failures < health.failure_threshold {
                ConnectionState::Up
            } else {
                ConnectionState::Down
            };
            if connection.set_state(state, Some(&error)) {
                tracing::warn!(connection = %connection.name(), %error, "connection is down");
            }
        }
    }
}

impl Connection {
    /// For how long the location may be opened.
    pub fn opening(&self, health: Health) -> Duration {
        match self.location.is_local() {
            true => health.probe_timeout,
            false => health.probe_timeout.max(OPENING),
        }
    }
}

/// What is done in time.
async fn within<T>(
    limit: Duration,
    health: Health,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Error::Unavailable {
            reason: "PROBE_TIMEOUT",
            message: format!("no answer within {limit:?}"),
            retry_after: health.probe_interval,
        })
    })
}
