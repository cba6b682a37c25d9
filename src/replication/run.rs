//! The task that keeps one replica true.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    ReplicationError,
    drop::Dropper,
    lease::{self, Turn},
    prune,
    replica::Replica,
};
use crate::{
    config::{Replication, Retention},
    connection::{Connection, Events, Primary},
    domain::Error,
    storage::Pace,
};

/// How long to wait before trying again what failed.
const RETRY: Duration = Duration::from_secs(1);

/// What copies from one primary: the replicas of a process share its pace and its
/// lease.
#[derive(Clone)]
pub struct Copier {
    primary: Arc<Primary>,
    options: Replication,
    retention: Arc<Retention>,
    pace: Arc<Pace>,
    turn: Turn,
    events: Events,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Copier {
    /// A copier. With `replication.lease`, a task of `tasks` holds or watches the
    /// lease from now on.
    pub fn new(
        primary: Arc<Primary>,
        options: Replication,
        retention: Arc<Retention>,
        events: Events,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let turn = if options.lease {
            let (send, receive) = watch::channel(None);
            let primary = Arc::clone(&primary);
            tasks.spawn(lease::keep(primary, options.lease_ttl, send, stop.clone()));
            Turn::Leased(receive)
        } else {
            Turn::Always
        };
        Self {
            primary,
            options,
            retention,
            pace: Arc::new(Pace::new(options.max_bytes_per_second)),
            turn,
            events,
            tasks,
            stop,
        }
    }

    /// Copies to one replica until it is stopped: at every change of the primary's
    /// catalog, and again after a pause where something failed. A copy under way
    /// is left as it is: the next start goes on from there.
    pub async fn keep_true(self, replica: Arc<Connection>) {
        let stop = self.stop.clone();
        tokio::select! {
            () = self.rounds(replica) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Deletes old versions on the primary until it is stopped, if retention is
    /// enabled and whenever it is this process's turn.
    pub async fn keep_pruned(self) {
        if !self.retention.enabled {
            return;
        }
        tokio::select! {
            () = prune::keep_pruned(self.primary, self.retention, self.turn) => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn rounds(self, replica: Arc<Connection>) {
        let mut changes = self.primary.changes();
        let mut events = self.events.subscribe();
        let mut turn = self.turn.clone();
        let dropper = Dropper::new(self.options.delete_grace, self.tasks, self.stop);
        let mut replica = Replica::new(
            self.primary,
            replica,
            self.options,
            self.retention,
            self.pace,
            self.turn,
            dropper,
        );
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
            // What announces itself to nobody, such as another copier's versions
            // and other writers' tags, is looked for at the pace of polling.
            let pause = if complete {
                self.options.poll_interval
            } else {
                RETRY
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                // A connection that comes up is not kept waiting for the pause.
                Ok(()) = events.changed() => {}
                () = replica.connection.orders().arrived() => {}
                () = turn.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
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
