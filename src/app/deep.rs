//! What the HTTP probes ask: readiness, and a real search on every connection.

use std::sync::Arc;

use futures::future::{BoxFuture, join_all};

use super::readiness::{SEARCH, WRITE};
use crate::{
    connection::Connection,
    operate::probe,
    router::Router,
    service::health::HealthReporter,
    telemetry::http::{DeepCheck, Probes},
};

/// Answers the probes of the HTTP port.
pub(super) struct ServerProbes {
    router: Arc<Router>,
    health: HealthReporter,
}

impl ServerProbes {
    pub(super) fn new(router: Arc<Router>, health: HealthReporter) -> Self {
        Self { router, health }
    }
}

impl Probes for ServerProbes {
    fn ready(&self) -> Vec<(&'static str, bool)> {
        [SEARCH, WRITE]
            .into_iter()
            .map(|service| (service, self.health.get(service) == Some(true)))
            .collect()
    }

    fn deep(&self) -> BoxFuture<'_, Vec<DeepCheck>> {
        Box::pin(async move { join_all(self.router.connections().map(|c| check(c))).await })
    }
}

/// Searches on one connection.
pub(super) async fn check(connection: &Connection) -> DeepCheck {
    let outcome = probe(connection).await;
    DeepCheck {
        connection: connection.name().to_string(),
        role: connection.role().as_str().to_owned(),
        ok: outcome.ok,
        latency: outcome.latency,
        detail: outcome.detail,
    }
}
