//! ClusterService: what the server is made of.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tonic::{Request, Response, Status};

use super::api::refuse;
use crate::{
    config::ReplicaMode,
    connection::Connection,
    domain::{
        self, Error, TableName,
        view::{ConnectionState, Lag},
    },
    node::{Node, Nodes},
    proto::v1 as pb,
    router::Router,
    wire,
};

/// ClusterService: it is about this process, whatever else is forwarded.
#[derive(Clone)]
pub struct Cluster {
    /// `None` where the primary is another node.
    pub router: Option<Arc<Router>>,
    pub nodes: Arc<Nodes>,
}

#[tonic::async_trait]
impl pb::cluster_service_server::ClusterService for Cluster {
    async fn get_topology(
        &self,
        _: Request<pb::GetTopologyRequest>,
    ) -> Result<Response<pb::GetTopologyResponse>, Status> {
        Ok(Response::new(pb::GetTopologyResponse {
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            connections: self.connections(),
        }))
    }

    async fn rebuild_replica(
        &self,
        request: Request<pb::RebuildReplicaRequest>,
    ) -> Result<Response<pb::RebuildReplicaResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        match self.rebuild(&request).await {
            Ok(tables) => Ok(Response::new(pb::RebuildReplicaResponse { tables })),
            Err(error) => Err(refuse(&extensions, &request.table, &error)),
        }
    }
}

impl Cluster {
    /// The primary, the replicas of this process, and the nodes.
    fn connections(&self) -> Vec<pb::ConnectionStatus> {
        let router = self.router.iter();
        let embedded = router.flat_map(|r| r.connections().map(|c| status_of(r, c)));
        let nodes = self.nodes.all();
        embedded
            .chain(nodes.iter().map(|node| node_status(node)))
            .collect()
    }

    async fn rebuild(
        &self,
        request: &pb::RebuildReplicaRequest,
    ) -> domain::Result<Vec<pb::RebuiltTable>> {
        let router = self.router.as_ref().ok_or_else(|| Error::Precondition {
            reason: "NOT_MANAGED",
            message: "this server copies to no replicas: the primary is another node".into(),
        })?;
        let named = |c: &&Arc<Connection>| **c.name() == *request.replica;
        let replica = router.replicas().iter().find(named).ok_or_else(|| {
            Error::invalid(
                "replica",
                "is no replica of this server; GetTopology names them",
            )
        })?;
        if replica.mode() != ReplicaMode::Managed {
            return Err(Error::Precondition {
                reason: "NOT_MANAGED",
                message: format!("this server does not copy to '{}'", replica.name()),
            });
        }
        let mut tables: Vec<TableName> = if request.table.is_empty() {
            let all = router.primary().connection().catalog().all();
            all.keys().cloned().collect()
        } else {
            vec![TableName::parse(&request.table)?]
        };
        tables.sort();
        // All are ordered before the first one is waited for.
        let orders: Vec<_> = tables
            .iter()
            .map(|table| replica.orders().rebuild(table))
            .collect();
        let mut rebuilt = Vec::with_capacity(orders.len());
        for (table, order) in tables.iter().zip(orders) {
            let version = order.await.unwrap_or_else(|_| {
                Err(Error::Unavailable {
                    reason: "STOPPING",
                    message: "the server stops".into(),
                    retry_after: Duration::from_secs(1),
                })
            })?;
            rebuilt.push(pb::RebuiltTable {
                table: table.to_string(),
                version,
            });
        }
        Ok(rebuilt)
    }
}

fn status_of(router: &Router, connection: &Connection) -> pb::ConnectionStatus {
    let primary = router.primary();
    let status = connection.status();
    let mut tables = BTreeMap::new();
    for (table, entry) in connection.catalog().all().iter() {
        let version = entry.snapshot.version();
        let lag = primary.lag(table, &entry.snapshot.position());
        tables.insert(table.clone(), position(table, version, lag));
    }
    // What the primary has and this connection lacks is behind by all of it.
    for (table, entry) in primary.connection().catalog().all().iter() {
        tables.entry(table.clone()).or_insert_with(|| {
            let lag = Lag {
                versions: entry.snapshot.version(),
                age: primary.ahead_for(table, 0).unwrap_or(Duration::ZERO),
            };
            position(table, 0, lag)
        });
    }
    for (table, error) in connection.table_errors() {
        tables
            .entry(table.clone())
            .or_insert_with(|| position(&table, 0, Lag::default()))
            .last_error = error;
    }
    let tables: Vec<pb::TablePosition> = tables.into_values().collect();
    pb::ConnectionStatus {
        name: connection.name().to_string(),
        role: wire::served::role(connection.role()) as i32,
        state: state(status.state) as i32,
        state_since: Some(status.since.into()),
        lag_versions: most_versions(&tables),
        lag: most_time(&tables),
        tables,
        last_error: status
            .last_error
            .as_ref()
            .map_or_else(String::new, |(text, _)| text.clone()),
        last_error_at: status.last_error.as_ref().map(|(_, at)| (*at).into()),
        reads_total: connection.reads(),
    }
}

/// A node, as its probes found it.
fn node_status(node: &Node) -> pb::ConnectionStatus {
    let status = node.status();
    pb::ConnectionStatus {
        name: node.name().to_string(),
        role: wire::served::role(node.role()) as i32,
        state: state(status.state) as i32,
        state_since: Some(status.since.into()),
        lag_versions: most_versions(&status.tables),
        lag: most_time(&status.tables),
        tables: status.tables.clone(),
        last_error: status
            .last_error
            .as_ref()
            .map_or_else(String::new, |(text, _)| text.clone()),
        last_error_at: status.last_error.as_ref().map(|(_, at)| (*at).into()),
        reads_total: node.reads(),
    }
}

fn most_versions(tables: &[pb::TablePosition]) -> u64 {
    tables.iter().map(|t| t.lag_versions).max().unwrap_or(0)
}

fn most_time(tables: &[pb::TablePosition]) -> Option<prost_types::Duration> {
    let lags = tables.iter().filter_map(|t| t.lag);
    lags.max_by_key(|d| (d.seconds, d.nanos))
}

fn state(state: ConnectionState) -> pb::ConnectionState {
    match state {
        ConnectionState::Connecting => pb::ConnectionState::Connecting,
        ConnectionState::Up => pb::ConnectionState::Up,
        ConnectionState::Down => pb::ConnectionState::Down,
    }
}

fn position(table: &TableName, version: u64, lag: Lag) -> pb::TablePosition {
    pb::TablePosition {
        table: table.to_string(),
        version,
        lag_versions: lag.versions,
        // No lag is longer than the seconds of a protobuf duration.
        lag: lag.age.try_into().ok(),
        last_error: String::new(),
    }
}
