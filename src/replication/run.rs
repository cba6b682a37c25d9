//! The task that keeps one replica true.

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{ReplicationError, drop::Dropper, replica::Replica};
use crate::{
    config::Replication,
    connection::{Connection, Events, Primary},
    domain::Error,
};

/// How long to wait before trying again what failed.
const RETRY: Duration = Duration::from_secs(1);

/// Copies to one replica until `stop`: at every change of the primary's catalog,
/// and again after a pause where something failed.
pub async fn replicate(
    primary: Arc<Primary>,
    replica: Arc<Connection>,
    options: Replication,
    events: Events,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let dropper = Dropper {
        grace: options.delete_grace,
        tasks,
        stop: stop.clone(),
    };
    let mut changes = primary.changes();
    let mut events = events.subscribe();
    let mut replica = Replica::new(primary, replica, options, dropper);
    loop {
        // Marked before the round: a change during it causes another one.
        changes.mark_unchanged();
        events.mark_unchanged();
        let complete = match replica.round().await {
            Ok(complete) => complete,
            Err(error) => {
                note(&replica.connection, &error);
                false
            }
        };
        let pause = async {
            if complete {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(RETRY).await;
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            // A connection that comes up is not kept waiting for the pause.
            Ok(()) = events.changed() => {}
            () = pause => {}
            () = stop.cancelled() => return,
        }
    }
}

fn note(replica: &Connection, error: &ReplicationError) {
    // A connection that is down is reported by its watcher.
    if matches!(error, ReplicationError::NotUp(_)) {
        return;
    }
    let text = error.to_string();
    let last = replica.status();
    if last.last_error.as_ref().is_none_or(|(old, _)| *old != text) {
        tracing::warn!(connection = %replica.name(), %error, "replica not brought up to date");
    }
    let error = Error::Unavailable {
        reason: "REPLICATION_FAILED",
        message: text,
        retry_after: RETRY,
    };
    replica.set_state(replica.state(), Some(&error));
}
