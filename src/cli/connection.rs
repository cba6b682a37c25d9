//! `drain`, `undrain`, `eject`, `weight` and `probe`: what may be done to one
//! connection.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    client::{self, Server, required},
    error::CliError,
    print, status,
};
use crate::proto::v1::{
    ConnectionStatus, DrainConnectionRequest, EjectConnectionRequest, GetTopologyRequest,
    ProbeConnectionRequest, SetConnectionWeightRequest, UndrainConnectionRequest,
};

/// How often `drain --wait` looks.
const LOOK: Duration = Duration::from_millis(100);

/// Which connection of which server.
#[derive(Debug, clap::Args)]
struct Target {
    /// Name of the connection, as `lancegate status` shows it.
    #[arg(value_name = "CONNECTION")]
    connection: String,
    #[command(flatten)]
    server: Server,
}

/// Take a connection out of turn: no new reads go there, those that run are
/// finished. It stays so until `undrain`, or until the server restarts.
#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    #[command(flatten)]
    target: Target,
    /// Wait until its reads have ended, for at most this long ("30s").
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
}

impl Drain {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let began = Instant::now();
        let mut client = client::cluster(self.target.server.connect().await?);
        let name = self.target.connection;
        let request = DrainConnectionRequest {
            connection: name.clone(),
        };
        let answer = client.drain_connection(request).await?.into_inner();
        let mut now = required(answer.connection, "connection")?;
        if let Some(wait) = self.wait {
            while now.in_flight > 0 {
                if began.elapsed() >= wait {
                    let text = format!("{name}: {} reads in flight after {wait:?}", now.in_flight);
                    return Err(CliError::Data(text));
                }
                sleep(LOOK).await;
                let topology = client.get_topology(GetTopologyRequest {}).await?;
                let mut all = topology.into_inner().connections.into_iter();
                now = required(all.find(|c| c.name == name), "connection of that name")?;
            }
        }
        print(&in_a_line(&now))
    }
}

/// Put a connection into turn again, whether it was drained or ejected.
#[derive(Debug, clap::Args)]
pub(super) struct Undrain {
    #[command(flatten)]
    target: Target,
}

impl Undrain {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let mut client = client::cluster(self.target.server.connect().await?);
        let request = UndrainConnectionRequest {
            connection: self.target.connection,
        };
        let answer = client.undrain_connection(request).await?.into_inner();
        print(&in_a_line(&required(answer.connection, "connection")?))
    }
}

/// Take a connection out of turn for a while. After that it is tried with one read
/// first, and gets more and more of them.
#[derive(Debug, clap::Args)]
pub(super) struct Eject {
    #[command(flatten)]
    target: Target,
    /// For how long ("10m"), at most 24 h.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Duration,
}

impl Eject {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let mut client = client::cluster(self.target.server.connect().await?);
        let duration = self.duration.try_into();
        let request = EjectConnectionRequest {
            connection: self.target.connection,
            duration: Some(duration.map_err(|_| CliError::Usage("--for is too long".into()))?),
        };
        let answer = client.eject_connection(request).await?.into_inner();
        print(&in_a_line(&required(answer.connection, "connection")?))
    }
}

/// Set a connection's share of the reads, until its weight changes in the
/// configuration or the server restarts.
#[derive(Debug, clap::Args)]
pub(super) struct Weight {
    #[command(flatten)]
    target: Target,
    /// Its share beside the weights of the others, from 1 to 1000.
    #[arg(value_name = "WEIGHT")]
    weight: u32,
}

impl Weight {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let mut client = client::cluster(self.target.server.connect().await?);
        let request = SetConnectionWeightRequest {
            connection: self.target.connection,
            weight: self.weight,
        };
        let answer = client.set_connection_weight(request).await?.into_inner();
        print(&in_a_line(&required(answer.connection, "connection")?))
    }
}

/// Search on a connection now, and say what came of it. The exit code is 1 if it
/// does not answer.
#[derive(Debug, clap::Args)]
pub(super) struct Probe {
    #[command(flatten)]
    target: Target,
}

impl Probe {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let mut client = client::cluster(self.target.server.connect().await?);
        let connection = self.target.connection;
        let request = ProbeConnectionRequest {
            connection: connection.clone(),
        };
        let answer = client.probe_connection(request).await?.into_inner();
        let millis = client::duration(answer.latency).as_secs_f64() * 1e3;
        let text = format!("{connection}: {}, {millis:.1} ms", answer.detail);
        match answer.ok {
            true => print(&format!("{text}\n")),
            false => Err(CliError::Data(text)),
        }
    }
}

fn in_a_line(c: &ConnectionStatus) -> String {
    format!(
        "{}: {}, weight {}, {} reads in flight\n",
        c.name,
        status::standing(c),
        c.weight,
        c.in_flight
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::Standing;

    #[test]
    fn a_connection_is_a_line() {
        let status = ConnectionStatus {
            name: "replica-1".into(),
            standing: Standing::Draining.into(),
            standing_detail: "draining".into(),
            weight: 3,
            in_flight: 2,
            ..Default::default()
        };
        let line = "replica-1: draining, weight 3, 2 reads in flight\n";
        assert_eq!(in_a_line(&status), line);
    }
}
