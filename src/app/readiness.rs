//! What the health service says, kept in step with the connections.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    connection::Events, domain::Role, node::Nodes, router::Router, service::health::HealthReporter,
};

/// The services that reads need.
pub const SEARCH: &str = "lancegate.v1.SearchService";
/// The services that need the primary.
pub const WRITE: &str = "lancegate.v1.WriteService";
const TABLE: &str = "lancegate.v1.TableService";
const CLUSTER: &str = "lancegate.v1.ClusterService";

/// A reporter that knows every name; none is ready yet.
pub(super) fn reporter() -> HealthReporter {
    HealthReporter::new(&["", SEARCH, WRITE, TABLE, CLUSTER])
}

/// What can serve: the connections of this process, and other nodes.
pub(super) struct Serving {
    /// `None` where the primary is another node.
    pub router: Option<Arc<Router>>,
    pub nodes: Arc<Nodes>,
}

impl Serving {
    fn reads(&self) -> bool {
        let mut local = self.router.iter().flat_map(|r| r.connections());
        local.any(|c| c.serves() && c.role() != Role::Shadow) || self.nodes.serve_reads()
    }

    fn writes(&self) -> bool {
        match &self.router {
            Some(router) => router.primary().connection().serves(),
            None => self.nodes.serve_writes(),
        }
    }
}

/// Reports until `stop`: SearchService and the server as a whole are ready while
/// any connection serves reads, WriteService and TableService while the primary
/// is up. ClusterService only tells what is known.
pub(super) async fn keep(
    serving: Serving,
    health: HealthReporter,
    events: Events,
    stop: CancellationToken,
) {
    let mut events = events.subscribe();
    let mut changes = serving.nodes.changes();
    health.set(CLUSTER, true);
    loop {
        events.mark_unchanged();
        changes.mark_unchanged();
        let (reads, writes) = (serving.reads(), serving.writes());
        for (service, ready) in [
            ("", reads),
            (SEARCH, reads),
            (WRITE, writes),
            (TABLE, writes),
        ] {
            health.set(service, ready);
        }
        tokio::select! {
            changed = events.changed() => if changed.is_err() { return },
            changed = changes.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}
