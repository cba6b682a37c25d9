//! `top`: the topology as it changes.

mod rates;
mod screen;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use comfy_table::{ContentArrangement, Table, presets};
use tokio::time::Instant;
use tonic::Streaming;

use self::{rates::Rates, screen::Screen};
use super::{
    client::{self, Server, required},
    error::CliError,
    print, status,
};
use crate::proto::v1::{GetTopologyResponse, WatchTopologyRequest, WatchTopologyResponse};

/// Watch the connections of a server: standing, reads a second, latency, lag, last
/// error. On a terminal it is redrawn in place until q or Ctrl-C; elsewhere each
/// update is a table of its own.
#[derive(Debug, clap::Args)]
pub(super) struct Top {
    #[command(flatten)]
    server: Server,
    /// The longest time between two updates, from 250ms to 1m.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// End after so many updates.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print each update as one line of JSON, as `status --json` has it, with the
    /// reads a second.
    #[arg(long)]
    json: bool,
}

impl Top {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let channel = self.server.connect().await?;
        let heartbeat = self.interval.try_into().ok();
        let request = WatchTopologyRequest { heartbeat };
        let mut client = client::cluster(channel);
        let updates = client.watch_topology(request).await?.into_inner();
        // Keys are read and the screen is drawn only where both can be seen.
        let on_screen = !self.json && io::stdout().is_terminal() && io::stdin().is_terminal();
        match on_screen {
            true => self.draw(updates).await,
            false => self.list(updates).await,
        }
    }

    async fn draw(&self, mut updates: Streaming<WatchTopologyResponse>) -> Result<(), CliError> {
        let mut screen = Screen::open()?;
        let mut rates = Rates::default();
        for _ in 0..self.count.unwrap_or(u64::MAX) {
            let topology = tokio::select! {
                topology = next(&mut updates) => topology?,
                () = screen.quit() => return Ok(()),
            };
            rates.update(&topology, Instant::now());
            let head = head(&topology, &self.server.address);
            let text = format!("{head}  (q ends)\n\n{}", as_table(&topology, &rates));
            screen.draw(&text)?;
        }
        Ok(())
    }

    async fn list(&self, mut updates: Streaming<WatchTopologyResponse>) -> Result<(), CliError> {
        let mut rates = Rates::default();
        for _ in 0..self.count.unwrap_or(u64::MAX) {
            let topology = next(&mut updates).await?;
            rates.update(&topology, Instant::now());
            print(&match self.json {
                true => format!("{}\n", as_json(&topology, &rates)),
                false => format!("{}\n\n", as_table(&topology, &rates)),
            })?;
        }
        Ok(())
    }
}

async fn next(
    updates: &mut Streaming<WatchTopologyResponse>,
) -> Result<GetTopologyResponse, CliError> {
    match updates.message().await? {
        Some(update) => required(update.topology, "topology"),
        None => Err(CliError::Data("the server is stopping".into())),
    }
}

fn head(topology: &GetTopologyResponse, address: &str) -> String {
    format!(
        "lancegate {} at {address}, configuration {}",
        topology.server_version, topology.configuration_fingerprint
    )
}

fn as_table(topology: &GetTopologyResponse, rates: &Rates) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header([
            "name",
            "role",
            "state",
            "standing",
            "weight",
            "in flight",
            "reads/s",
            "latency (ms)",
            "lag (versions)",
            "last error",
        ]);
    for connection in &topology.connections {
        let rate = rates.of(&connection.name);
        let millis = client::duration(connection.latency).as_secs_f64() * 1e3;
        table.add_row([
            connection.name.clone(),
            client::role(connection.role).to_owned(),
            status::state(connection.state).to_owned(),
            status::standing(connection),
            connection.weight.to_string(),
            connection.in_flight.to_string(),
            rate.map_or_else(|| "-".into(), |rate| format!("{rate:.1}")),
            format!("{millis:.1}"),
            connection.lag_versions.to_string(),
            status::last_error(connection),
        ]);
    }
    table
}

fn as_json(topology: &GetTopologyResponse, rates: &Rates) -> serde_json::Value {
    let mut json = status::json(topology);
    let rows = json["connections"].as_array_mut();
    for (row, connection) in rows.into_iter().flatten().zip(&topology.connections) {
        row["reads_per_second"] = rates.of(&connection.name).into();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{ConnectionState, ConnectionStatus, Role, Standing};

    fn topology(reads_total: u64) -> GetTopologyResponse {
        GetTopologyResponse {
            connections: vec![ConnectionStatus {
                name: "replica-1".into(),
                role: Role::Replica.into(),
                state: ConnectionState::Up.into(),
                standing: Standing::SlowStart.into(),
                standing_detail: "slow_start 40%".into(),
                weight: 2,
                in_flight: 3,
                latency: Some(prost_types::Duration {
                    seconds: 0,
                    nanos: 12_340_000,
                }),
                lag_versions: 1,
                reads_total,
                last_error: "gone".into(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn an_update_is_a_table_and_a_line() {
        let (mut rates, began) = (Rates::default(), Instant::now());
        rates.update(&topology(100), began);
        let first = as_json(&topology(100), &rates);
        assert!(first["connections"][0]["reads_per_second"].is_null());
        rates.update(&topology(150), began + Duration::from_secs(2));
        let table = as_table(&topology(150), &rates).to_string();
        for cell in [
            "replica-1",
            "replica",
            "up",
            "slow_start",
            "40%",
            "25.0",
            "12.3",
            "gone",
        ] {
            assert!(table.contains(cell), "{cell}: {table}");
        }
        let json = as_json(&topology(150), &rates);
        assert_eq!(json["connections"][0]["reads_per_second"], 25.0);
        assert_eq!(json["connections"][0]["in_flight"], 3);
    }
}
