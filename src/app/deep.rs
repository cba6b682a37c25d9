//! What the HTTP probes ask: readiness, and a real search on every connection.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::datatypes::{DataType, Schema};
use futures::future::{BoxFuture, join, join_all};

use super::readiness::{SEARCH, WRITE};
use crate::{
    connection::Connection,
    domain::{
        Error, Result,
        search::{Scan, Search},
        view::ConnectionState,
    },
    node::{Node, Nodes},
    router::Router,
    service::health::HealthReporter,
    storage::Snapshot,
    telemetry::http::{DeepCheck, Probes},
};

/// How long one connection may take to answer the deep check.
const PATIENCE: Duration = Duration::from_secs(3);

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
            let (mut all, nodes) =
                join(join_all(local.map(|c| check(c))), join_all(nodes)).await;
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
    let began = Instant::now();
    let outcome = tokio::time::timeout(PATIENCE, search_something(connection))
        .await
        .unwrap_or(Err(Error::Deadline(PATIENCE)));
    DeepCheck {
        connection: connection.name().to_string(),
        role: connection.role().as_str().to_owned(),
        ok: outcome.is_ok(),
        latency: began.elapsed(),
        detail: match outcome {
            Ok(detail) => detail,
            Err(error) => error.to_string(),
        },
    }
}

/// Searches the first table by name: by vector if it has a vector column, else
/// its first row is read.
async fn search_something(connection: &Connection) -> Result<String> {
    if connection.state() != ConnectionState::Up {
        connection.probe().await?;
    }
    let tables = connection.catalog().all();
    let first = tables.iter().min_by_key(|(name, _)| *name);
    let Some((name, entry)) = first else {
        connection.probe().await?;
        return Ok("no tables".into());
    };
    let snapshot = &entry.snapshot;
    match vector_column(snapshot.schema()) {
        Some((column, dimension)) => search_vector(snapshot, column, dimension).await?,
        None => {
            let first_row = snapshot.scan(&Scan::default(), 0, 1, 0).await?;
            first_row.collect(usize::MAX).await?;
        }
    }
    Ok(format!("searched {name} at version {}", snapshot.version()))
}

fn vector_column(schema: &Schema) -> Option<(String, usize)> {
    schema
        .fields()
        .iter()
        .find_map(|field| match field.data_type() {
            DataType::FixedSizeList(item, size) if item.data_type() == &DataType::Float32 => {
                Some((field.name().clone(), usize::try_from(*size).ok()?))
            }
            _ => None,
        })
}

async fn search_vector(snapshot: &Snapshot, column: String, dimension: usize) -> Result<()> {
    // Any direction but zero, which has no cosine.
    let mut vector = vec![0.0; dimension];
    if let Some(first) = vector.first_mut() {
        *first = 1.0;
    }
    let search = Search {
        vectors: vec![vector],
        vector_column: Some(column.clone()),
        limit: 1,
        columns: Some(vec![column]),
        ..Search::default()
    };
    let found = snapshot.search(search, 0).await?;
    found.collect(usize::MAX).await.map(drop)
}
