//! WatchTopology: the topology at once, and again when it changed.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use crate::{
    access::Grants,
    domain::{Error, Result},
    operate::Watcher,
    proto::v1 as pb,
    service::cluster::{Cluster, topology::shown},
    wire,
};

/// Longest time from one message to the next, where the client does not say it.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What a client may say.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(60);

/// Shortest time from one message to the next, and the pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// A stream of topologies.
pub type Topologies =
    Pin<Box<dyn Stream<Item = std::result::Result<pb::WatchTopologyResponse, Status>> + Send>>;

/// What all watchers see: looked at once for all of them, however many there are.
#[derive(Clone, Default)]
pub struct Looks(Arc<Mutex<Option<Arc<Look>>>>);

/// A topology, when it was looked at, and what is compared of it.
struct Look {
    at: Instant,
    topology: pb::GetTopologyResponse,
    essence: pb::GetTopologyResponse,
}

impl Cluster {
    pub(super) fn watch(
        &self,
        heartbeat: Option<prost_types::Duration>,
        grants: Arc<Grants>,
    ) -> Result<Topologies> {
        let heartbeat = wire::table::duration(heartbeat, "heartbeat")?.unwrap_or(HEARTBEAT);
        if !(SHORTEST..=LONGEST).contains(&heartbeat) {
            let text = format!("must be from {SHORTEST:?} to {LONGEST:?}");
            return Err(Error::invalid("heartbeat", text));
        }
        let watcher = self.watchers.admit(grants.operates())?;
        let closed = watcher.closed.clone().cancelled_owned();
        let watch = Watch {
            cluster: self.clone(),
            heartbeat,
            grants,
            sent: None,
            _watcher: watcher,
        };
        let topologies = stream::unfold(watch, |mut watch| async move {
            let topology = watch.next().await.topology.clone();
            let topology = Some(shown(topology, &watch.grants));
            Some((Ok(pb::WatchTopologyResponse { topology }), watch))
        });
        Ok(Box::pin(topologies.take_until(closed)))
    }

    /// The topology as somebody saw it less than this long ago, or as it is now.
    fn look(&self, age: Duration) -> Arc<Look> {
        let mut last = self.looks.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        if let Some(look) = last.as_ref().filter(|look| look.at + age > at) {
            return Arc::clone(look);
        }
        let topology = self.topology();
        let essence = essence(topology.clone());
        let look = Arc::new(Look {
            at,
            topology,
            essence,
        });
        *last = Some(Arc::clone(&look));
        look
    }
}

/// One watcher, and what it was sent last.
struct Watch {
    cluster: Cluster,
    heartbeat: Duration,
    /// Of whoever watches: decided once, as for any other answer.
    grants: Arc<Grants>,
    sent: Option<Arc<Look>>,
    _watcher: Watcher,
}

impl Watch {
    /// The next topology to send: the first one at once. A client that does not
    /// read is not looked for.
    async fn next(&mut self) -> Arc<Look> {
        let look = match &self.sent {
            None => self.cluster.look(Duration::ZERO),
            Some(sent) => self.after(sent).await,
        };
        self.sent = Some(Arc::clone(&look));
        look
    }

    /// Looks until something is different from what was sent, or it is time for a
    /// heartbeat.
    async fn after(&self, sent: &Look) -> Arc<Look> {
        let began = Instant::now();
        let mut next = began + PAUSE;
        loop {
            sleep_until(next).await;
            let look = self.cluster.look(PAUSE);
            let due = began + self.heartbeat;
            if Instant::now() >= due || look.essence != sent.essence {
                return look;
            }
            next = (Instant::now() + PAUSE).min(due);
        }
    }
}

/// What makes two topologies different: not what only counts or measures.
fn essence(mut topology: pb::GetTopologyResponse) -> pb::GetTopologyResponse {
    for connection in &mut topology.connections {
        connection.reads_total = 0;
        connection.in_flight = 0;
        connection.latency = None;
        connection.lag = None;
        // It has the time that is left.
        mem::take(&mut connection.standing_detail);
        for table in &mut connection.tables {
            table.lag = None;
        }
    }
    topology
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(edit: impl FnOnce(&mut pb::ConnectionStatus)) -> pb::GetTopologyResponse {
        let mut connection = pb::ConnectionStatus {
            name: "replica-1".into(),
            tables: vec![pb::TablePosition::default()],
            ..Default::default()
        };
        edit(&mut connection);
        pb::GetTopologyResponse {
            connections: vec![connection],
            ..Default::default()
        }
    }

    #[test]
    fn counting_and_measuring_is_no_change() {
        let still = essence(topology(|_| {}));
        let moved = topology(|c| {
            c.reads_total = 7;
            c.in_flight = 2;
            c.latency = Some(prost_types::Duration::default());
            c.lag = c.latency;
            c.tables[0].lag = c.latency;
            c.standing_detail = "slow start: 20 %".into();
        });
        assert_eq!(essence(moved), still);
        let edits: [fn(&mut pb::ConnectionStatus); 5] = [
            |c| c.state = pb::ConnectionState::Down.into(),
            |c| c.standing = pb::Standing::Draining.into(),
            |c| c.weight = 3,
            |c| c.last_error = "gone".into(),
            |c| c.tables[0].version = 2,
        ];
        for edit in edits {
            assert_ne!(essence(topology(edit)), still);
        }
    }
}
