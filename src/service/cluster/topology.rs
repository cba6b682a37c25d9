//! The topology as clients see it.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{
    access::Grants,
    connection::Connection,
    domain::{
        Role, TableName,
        view::{ConnectionState, Lag},
    },
    node::Node,
    pool::{MemberFacts, Pool, Standing},
    proto::v1 as pb,
    router::Router,
    service::cluster::Cluster,
    wire,
};

/// Below it are the replicas in this server's zone, and those in others.
const PRIMARY_TIER: u32 = 2;

/// What of a topology is for who may see some tables: those, and of what went wrong only
/// that something did.
pub(super) fn shown(
    mut topology: pb::GetTopologyResponse,
    grants: &Grants,
) -> pb::GetTopologyResponse {
    if grants.operates() {
        return topology;
    }
    let hide = |error: &mut String| {
        if !error.is_empty() {
            *error = "shown to operators".into();
        }
    };
    for connection in &mut topology.connections {
        connection.tables.retain(|table| grants.sees(&table.table));
        connection
            .tables
            .iter_mut()
            .for_each(|table| hide(&mut table.last_error));
        hide(&mut connection.last_error);
        connection.lag_versions = most_versions(&connection.tables);
        connection.lag = most_time(&connection.tables);
    }
    topology
}

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
        let router = self.places.router.iter().map(|router| router.pool());
        router.chain([self.places.nodes.pool()])
    }

    fn connections(&self) -> Vec<pb::ConnectionStatus> {
        let router = self.places.router.iter();
        let embedded = router.flat_map(|r| r.connections().map(|c| status_of(r, c)));
        let nodes = self.places.nodes.all();
        let nodes = nodes.iter().map(|node| node_status(node));
        let mut connections: Vec<_> = embedded.chain(nodes).collect();
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
        tier: tier(connection.role()),
        ..Default::default()
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
        tier: tier(node.role()),
        ..Default::default()
    }
}

/// The primary is the last one to answer.
fn tier(role: Role) -> u32 {
    match role {
        Role::Primary => PRIMARY_TIER,
        Role::Replica | Role::Shadow => 0,
    }
}

fn most_versions(tables: &[pb::TablePosition]) -> u64 {
    tables.iter().map(|t| t.lag_versions).max().unwrap_or(0)
}

fn most_time(tables: &[pb::TablePosition]) -> Option<prost_types::Duration> {
    let lags = tables.iter().filter_map(|t| t.lag);
    lags.max_by_key(|d| (d.seconds, d.nanos))
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
