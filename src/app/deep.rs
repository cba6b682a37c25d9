//! What the HTTP probes ask: readiness, and a real search on every connection.

use std::{sync::Arc, time::Instant};

use futures::future::{BoxFuture, join, join_all};

use super::readiness::{SEARCH, WRITE};
use crate::{
    connection::Connection,
    node::{Node, Nodes},
    operate::probe,
    router::Router,
    service::health::HealthReporter,
    telemetry::http::{DeepCheck, Probes},
};

/// Answers the probes of the HTTP port.
pub(super) struct ServerProbes {
    router: Option<Arc<Router>>,
    nodes: Arc<Nodes>,
    health: HealthReporter,
}

impl ServerProbes {
    pub(super) fn new(
        router: Option<Arc<Router>>,
        nodes: Arc<Nodes>,
        health: HealthReporter,
    ) -> Self {
        Self {
            router,
            nodes,
            health,
        }
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
        Box::pin(async move {
            let local = self.router.iter().flat_map(|r| r.connections());
            let nodes = self.nodes.all();
            let nodes = nodes.iter().map(|node| check_node(&self.nodes, node));
            let (mut all, nodes) = join(join_all(local.map(|c| check(c))), join_all(nodes)).await;
            all.extend(nodes);
            all
        })
    }
}

/// Asks one node.
async fn check_node(nodes: &Nodes, node: &Arc<Node>) -> DeepCheck {
    let began = Instant::now();
    let outcome = nodes.check(node).await;
    DeepCheck {
        connection: node.name().to_string(),
        role: node.role().as_str().to_owned(),
        ok: outcome.is_ok(),
        latency: began.elapsed(),
        detail: outcome.map_or_else(|error| error, |()| "read from the node".into()),
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
