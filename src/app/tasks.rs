//! The background tasks: named here, stopped and awaited together.

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{Health, Replication},
    connection::{Connection, Events, Primary, keep_following, watch},
    replication::replicate,
    storage::Sessions,
};

/// Every task that runs beside the gRPC server.
pub(super) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// The signal to stop.
    pub(super) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Opens and probes a connection.
    pub(super) fn watch(
        &self,
        connection: &Arc<Connection>,
        sessions: &Arc<Sessions>,
        health: Health,
    ) {
        let (connection, sessions) = (Arc::clone(connection), Arc::clone(sessions));
        self.spawn(watch(connection, sessions, health, self.stop()));
    }

    /// Looks for commits of others on the primary.
    pub(super) fn follow(&self, primary: Arc<Primary>, events: &Events, interval: Duration) {
        self.spawn(keep_following(
            primary,
            events.clone(),
            interval,
            self.stop(),
        ));
    }

    /// Copies to a replica or, where something else does, follows it.
    pub(super) fn keep_true(
        &self,
        primary: &Arc<Primary>,
        replica: &Arc<Connection>,
        events: &Events,
        replication: Replication,
    ) {
        let (replica, events) = (Arc::clone(replica), events.clone());
        if replication.enabled {
            self.spawn(replicate(
                Arc::clone(primary),
                replica,
                replication,
                events,
                self.tracker.clone(),
                self.stop(),
            ));
        } else {
            let interval = replication.poll_interval;
            self.spawn(keep_following(replica, events, interval, self.stop()));
        }
    }

    /// Stops all tasks and waits for them.
    pub(super) async fn finish(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
