//! The topology as clients see it.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{
    connection::Connection,
    domain::{
        Role, TableName,
        view::{ConnectionState, Lag},
    },
    pool::{MemberFacts, Pool, Standing},
    proto::v1 as pb,
    service::cluster::Cluster,
    wire,
};

/// Below it are the replicas in this server's zone, and those in others.
const PRIMARY_TIER: u32 = 2;

impl Cluster {
    /// Every connection, as it is now.
    pub(super) fn topology(&self) -> pb::GetTopologyResponse {
        let config = self.live.load();
        pb::GetTopologyResponse {
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            connections: self.connections(),
            configuration_fingerprint: config.fingerprint().to_owned(),
            configuration_loaded_at: Some(config.since().into()),
        }
    }

    /// One connection, as it is now.
    pub(super) fn status_named(&self, name: &str) -> Option<pb::ConnectionStatus> {
        self.connections().into_iter().find(|c| c.name == name)
    }

    /// The pools whose members are connections.
    pub(super) fn pools(&self) -> impl Iterator<Item = &Pool> {
        std::iter::once(self.router.pool())
    }

    fn connections(&self) -> Vec<pb::ConnectionStatus> {
        let connections = self.router.connections();
        let mut connections: Vec<_> = connections.map(|c| self.status_of(c)).collect();
        let now = Instant::now();
        for pool in self.pools() {
            let zone = pool.settings().balance.zone.clone();
            for facts in pool.facts(now) {
                let named = |c: &&mut pb::ConnectionStatus| c.name == *facts.name;
                if let Some(connection) = connections.iter_mut().find(named) {
                    stands(connection, &facts, zone.as_deref());
                }
            }
        }
        connections
    }

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
            // The last one to answer.
            tier: match connection.role() {
                Role::Primary => PRIMARY_TIER,
                Role::Replica | Role::Shadow => 0,
            },
            ..Default::default()
        }
    }
}

/// Adds how a member takes part in the turn of reads.
fn stands(connection: &mut pb::ConnectionStatus, facts: &MemberFacts, zone: Option<&str>) {
    let elsewhere = matches!((zone, facts.zone.as_deref()), (Some(a), Some(b)) if a != b);
    connection.standing = standing(facts.standing) as i32;
    connection.standing_detail = facts.standing.to_string();
    connection.weight = facts.weight;
    connection.zone = facts.zone.as_deref().unwrap_or_default().to_owned();
    connection.tier = u32::from(elsewhere);
    connection.in_flight = facts.in_flight.into();
    connection.latency = facts.latency.try_into().ok();
    connection.ejections_total = facts.ejections;
    connection.drained = facts.drained;
}

fn standing(standing: Standing) -> pb::Standing {
    match standing {
        Standing::Ready => pb::Standing::Ready,
        Standing::SlowStart { .. } => pb::Standing::SlowStart,
        Standing::HalfOpen => pb::Standing::HalfOpen,
        Standing::Ejected { .. } => pb::Standing::Ejected,
        Standing::Draining => pb::Standing::Draining,
        Standing::Down => pb::Standing::Down,
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
