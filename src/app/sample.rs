//! Gauges that nobody sets at an event: sampled.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Position, TableName, view::ConnectionState},
    node::Nodes,
    router::Router,
    storage::Sessions,
    telemetry::metrics,
};

/// How often. Half of the shortest scrape interval in common use.
const EVERY: Duration = Duration::from_secs(5);

/// Samples until `stop`.
pub(super) async fn keep_sampling(
    router: Arc<Router>,
    sessions: Arc<Sessions>,
    stop: CancellationToken,
) {
    let mut counted = HashMap::new();
    loop {
        sample(&router, &sessions, &mut counted).await;
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Counts the other nodes and their shares until `stop`.
pub(super) async fn keep_counting(nodes: Arc<Nodes>, stop: CancellationToken) {
    use ConnectionState::{Connecting, Down, Up};
    loop {
        for (group, states) in nodes.states() {
            for state in [Connecting, Up, Down] {
                let count = states.iter().filter(|s| **s == state).count();
                metrics::nodes(&group, state.as_str(), count);
            }
        }
        for (group, percent) in nodes.shares(Instant::now()) {
            metrics::connection_share(&group, percent);
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn sample(router: &Router, sessions: &Sessions, counted: &mut HashMap<TableName, u64>) {
    for connection in router.connections() {
        let up = connection.state() == ConnectionState::Up;
        metrics::connection_state(connection.name(), connection.role().as_str(), up);
    }
    let primary = router.primary();
    let newest = primary.connection().catalog().all();
    for (table, entry) in newest.iter() {
        // Counting rows reads nothing but the manifest, and once per version.
        let version = entry.snapshot.version();
        if counted.get(table) != Some(&version)
            && let Ok(rows) = entry.snapshot.count_all().await
        {
            metrics::table_rows(table.as_str(), rows);
            counted.insert(table.clone(), version);
        }
        for replica in router.replicas() {
            let nothing = Position {
                version: 0,
                ..entry.snapshot.position()
            };
            let served = replica.catalog().position(table).unwrap_or(nothing);
            let lag = primary.lag(table, &served);
            metrics::replication_lag(replica.name(), table.as_str(), lag.versions, lag.age);
        }
    }
    counted.retain(|table, _| newest.contains_key(table));
    let caches = sessions.cache_use().await;
    metrics::cache_bytes("index", caches.index_bytes);
    metrics::cache_bytes("metadata", caches.metadata_bytes);
}
