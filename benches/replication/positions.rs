//! What version the reads of each connection see, and since when: GetTopology,
//! asked again and again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lancegate::proto::v1::{
    ConnectionState, GetTopologyRequest, cluster_service_client::ClusterServiceClient,
};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::{Result, server::Server, tables::TABLE};

/// Between an answer and the next question. With more the figures get coarser,
/// with less the questions take processor time from what they ask about.
const PAUSE: Duration = Duration::from_millis(1);

/// More than any copy takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// One connection at one moment.
#[derive(Debug, Clone)]
pub struct Position {
    pub connection: String,
    pub is_up: bool,
    /// The version that reads of the table see; 0 where it is not served.
    pub version: u64,
}

/// Asks where the connections are.
pub struct Positions(ClusterServiceClient<Channel>);

impl Positions {
    pub async fn connect(server: &Server) -> Result<Self> {
        Ok(Self(ClusterServiceClient::new(server.channel().await?)))
    }

    /// Where they are now: the primary first.
    pub async fn now(&mut self) -> Result<Vec<Position>> {
        let topology = self.0.get_topology(GetTopologyRequest {}).await?;
        let connections = topology.into_inner().connections.into_iter();
        Ok(connections
            .map(|c| Position {
                is_up: c.state() == ConnectionState::Up,
                version: c
                    .tables
                    .iter()
                    .find(|t| t.table == TABLE)
                    .map_or(0, |t| t.version),
                connection: c.name,
            })
            .collect())
    }

    /// Waits until one connection is so.
    pub async fn until(
        &mut self,
        connection: &str,
        is_so: impl Fn(&Position) -> bool,
    ) -> Result<Instant> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let now = self.now().await?;
            if now.iter().any(|p| p.connection == connection && is_so(p)) {
                return Ok(Instant::now());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(format!("{connection} is not as it should be after {PATIENCE:?}").into())
    }
}

/// When a version was seen first.
#[derive(Debug, Clone, Copy)]
pub struct Sighting {
    pub version: u64,
    pub at: Instant,
}

/// What was seen of each replica, in order.
pub struct Seen {
    pub replicas: BTreeMap<String, Vec<Sighting>>,
    /// Milliseconds from one look to the next: how coarse the sightings are.
    pub gaps_ms: Vec<f64>,
}

impl Seen {
    /// When a replica was seen first with this version or a newer one.
    pub fn reached(&self, replica: &str, version: u64) -> Option<Instant> {
        let sightings = self.replicas.get(replica)?;
        let at = sightings.partition_point(|s| s.version < version);
        sightings.get(at).map(|s| s.at)
    }
}

/// Looks until it is told to stop.
pub struct Watch {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Seen>>,
}

impl Watch {
    pub async fn start(server: &Server) -> Result<Self> {
        let mut positions = Positions::connect(server).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut seen = Seen {
                replicas: BTreeMap::new(),
                gaps_ms: Vec::new(),
            };
            let mut last = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let now = positions.now().await?;
                let at = Instant::now();
                seen.gaps_ms.push((at - last).as_secs_f64() * 1e3);
                last = at;
                for position in now.into_iter().skip(1) {
                    let sightings = seen.replicas.entry(position.connection).or_default();
                    if sightings
                        .last()
                        .is_none_or(|s| s.version < position.version)
                    {
                        sightings.push(Sighting {
                            version: position.version,
                            at,
                        });
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(seen)
        });
        Ok(Self { stop, task })
    }

    pub async fn finish(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}
