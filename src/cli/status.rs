//! `status`: the topology.

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::{
    client::{self, Server},
    error::CliError,
    print,
};
use crate::proto::v1::{
    ConnectionState, ConnectionStatus, GetTopologyRequest, GetTopologyResponse, Standing,
};

/// Show the connections of a server: state, standing, lag, reads, last error.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    server: Server,
    /// Print JSON, with the position of every table.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let mut client = client::cluster(self.server.connect().await?);
        let topology = client
            .get_topology(GetTopologyRequest {})
            .await?
            .into_inner();
        if self.json {
            return print(&format!("{:#}\n", json(&topology)));
        }
        print(&format!(
            "{}\nlancegate {}\n",
            as_table(&topology),
            topology.server_version
        ))
    }
}

fn as_table(topology: &GetTopologyResponse) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header([
            "name",
            "role",
            "state",
            "standing",
            "tables",
            "lag (versions)",
            "lag (s)",
            "reads",
            "last error",
        ]);
    for connection in &topology.connections {
        table.add_row([
            connection.name.clone(),
            client::role(connection.role).to_string(),
            state(connection.state).to_string(),
            standing(connection),
            connection.tables.len().to_string(),
            connection.lag_versions.to_string(),
            format!("{:.1}", client::duration(connection.lag).as_secs_f64()),
            connection.reads_total.to_string(),
            last_error(connection),
        ]);
    }
    table
}

pub(super) fn state(state: i32) -> &'static str {
    match ConnectionState::try_from(state) {
        Ok(ConnectionState::Connecting) => "connecting",
        Ok(ConnectionState::Up) => "up",
        Ok(ConnectionState::Down) => "down",
        _ => "unknown",
    }
}

/// The standing in words; "-" where a connection takes no turn.
pub(super) fn standing(connection: &ConnectionStatus) -> String {
    match connection.standing() {
        _ if !connection.standing_detail.is_empty() => connection.standing_detail.clone(),
        Standing::Unspecified => "-".into(),
        standing => word(standing).into(),
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Unspecified => "none",
        Standing::Ready => "ready",
        Standing::SlowStart => "slow_start",
        Standing::HalfOpen => "half_open",
        Standing::Ejected => "ejected",
        Standing::Draining => "draining",
        Standing::Down => "down",
    }
}

/// The connection's own, or else that of the first table that has one.
pub(super) fn last_error(connection: &ConnectionStatus) -> String {
    if !connection.last_error.is_empty() {
        return connection.last_error.clone();
    }
    let sick = connection
        .tables
        .iter()
        .find(|table| !table.last_error.is_empty());
    sick.map(|table| format!("{}: {}", table.table, table.last_error))
        .unwrap_or_default()
}

/// The answer with the contract's field names.
pub(super) fn json(topology: &GetTopologyResponse) -> serde_json::Value {
    #[derive(Serialize)]
    struct Position<'a> {
        table: &'a str,
        version: u64,
        lag_versions: u64,
        lag_seconds: f64,
        last_error: &'a str,
    }
    #[derive(Serialize)]
    struct Connection<'a> {
        name: &'a str,
        role: &'a str,
        state: &'a str,
        state_since: Option<String>,
        lag_versions: u64,
        lag_seconds: f64,
        reads_total: u64,
        standing: &'a str,
        standing_detail: &'a str,
        weight: u32,
        zone: &'a str,
        tier: u32,
        in_flight: u64,
        latency_seconds: f64,
        ejections_total: u64,
        drained: bool,
        last_error: &'a str,
        last_error_at: Option<String>,
        tables: Vec<Position<'a>>,
    }
    let seconds = |lag| client::duration(lag).as_secs_f64();
    // prost's timestamps print as RFC 3339.
    let time = |at: &Option<prost_types::Timestamp>| at.as_ref().map(ToString::to_string);
    let connections = topology.connections.iter().map(|c| Connection {
        name: &c.name,
        role: client::role(c.role),
        state: state(c.state),
        state_since: time(&c.state_since),
        lag_versions: c.lag_versions,
        lag_seconds: seconds(c.lag),
        reads_total: c.reads_total,
        standing: word(c.standing()),
        standing_detail: &c.standing_detail,
        weight: c.weight,
        zone: &c.zone,
        tier: c.tier,
        in_flight: c.in_flight,
        latency_seconds: seconds(c.latency),
        ejections_total: c.ejections_total,
        drained: c.drained,
        last_error: &c.last_error,
        last_error_at: time(&c.last_error_at),
        tables: c
            .tables
            .iter()
            .map(|t| Position {
                table: &t.table,
                version: t.version,
                lag_versions: t.lag_versions,
                lag_seconds: seconds(t.lag),
                last_error: &t.last_error,
            })
            .collect(),
    });
    let connections: Vec<_> = connections.collect();
    serde_json::json!({
        "server_version": topology.server_version,
        "configuration_fingerprint": topology.configuration_fingerprint,
        "configuration_loaded_at": time(&topology.configuration_loaded_at),
        "connections": connections,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{Role, TablePosition};

    fn topology() -> GetTopologyResponse {
        GetTopologyResponse {
            server_version: "1.2.3".into(),
            connections: vec![ConnectionStatus {
                name: "replica-1".into(),
                role: Role::Replica.into(),
                state: ConnectionState::Up.into(),
                lag_versions: 7,
                lag: Some(prost_types::Duration {
                    seconds: 1,
                    nanos: 500_000_000,
                }),
                reads_total: 42,
                tables: vec![TablePosition {
                    table: "docs".into(),
                    last_error: "diverged".into(),
                    ..Default::default()
                }],
                last_error_at: Some(prost_types::Timestamp {
                    seconds: 0,
                    nanos: 0,
                }),
                standing: Standing::SlowStart.into(),
                standing_detail: "slow_start 40%".into(),
                weight: 3,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn a_connection_is_a_row() {
        let text = as_table(&topology()).to_string();
        let row: Vec<&str> = text
            .lines()
            .nth(3)
            .unwrap()
            .split(['│', '┆'])
            .map(str::trim)
            .collect();
        let expected = [
            "",
            "replica-1",
            "replica",
            "up",
            "slow_start 40%",
            "1",
            "7",
            "1.5",
            "42",
            "docs: diverged",
            "",
        ];
        assert_eq!(row, expected, "{text}");
    }

    #[test]
    fn json_has_everything() {
        let json = json(&topology());
        assert_eq!(json["connections"][0]["lag_seconds"], 1.5);
        assert_eq!(json["connections"][0]["standing"], "slow_start");
        assert_eq!(json["connections"][0]["weight"], 3);
        assert_eq!(
            json["connections"][0]["tables"][0]["last_error"],
            "diverged"
        );
        assert_eq!(
            json["connections"][0]["last_error_at"],
            "1970-01-01T00:00:00Z"
        );
        assert!(json["connections"][0]["state_since"].is_null());
    }
}
