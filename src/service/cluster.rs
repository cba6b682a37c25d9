//! ClusterService: what the server is made of.

use std::{collections::BTreeMap, time::Duration};

use tonic::{Request, Response, Status};

use super::api::Api;
use crate::{
    connection::Connection,
    domain::{
        TableName,
        view::{ConnectionState, Lag},
    },
    proto::v1 as pb,
    wire,
};

#[tonic::async_trait]
impl pb::cluster_service_server::ClusterService for Api {
    async fn get_topology(
        &self,
        _: Request<pb::GetTopologyRequest>,
    ) -> Result<Response<pb::GetTopologyResponse>, Status> {
        Ok(Response::new(pb::GetTopologyResponse {
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            connections: self
                .router
                .connections()
                .map(|c| self.status_of(c))
                .collect(),
        }))
    }
}

impl Api {
    fn status_of(&self, connection: &Connection) -> pb::ConnectionStatus {
        let primary = self.router.primary();
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
            lag_versions: tables.iter().map(|t| t.lag_versions).max().unwrap_or(0),
            lag: tables
                .iter()
                .filter_map(|t| t.lag)
                .max_by_key(|d| (d.seconds, d.nanos)),
            tables,
            last_error: status
                .last_error
                .as_ref()
                .map_or_else(String::new, |(text, _)| text.clone()),
            last_error_at: status.last_error.as_ref().map(|(_, at)| (*at).into()),
            reads_total: connection.reads(),
        }
    }
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
