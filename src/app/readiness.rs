//! What the health service says, kept in step with the connections.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{connection::Events, domain::Role, router::Router, service::health::HealthReporter};

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

/// Reports until `stop`: SearchService and the server as a whole are ready while
/// any connection serves reads, WriteService and TableService while the primary
/// is up. ClusterService only tells what is known.
pub(super) async fn keep(
    router: Arc<Router>,
    health: HealthReporter,
    events: Events,
    stop: CancellationToken,
) {
    let mut events = events.subscribe();
    health.set(CLUSTER, true);
    loop {
        events.mark_unchanged();
        let reads = router
            .connections()
            .any(|c| c.serves() && c.role() != Role::Shadow);
        let writes = router.primary().connection().serves();
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
            () = stop.cancelled() => return,
        }
    }
}
