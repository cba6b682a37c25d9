//! The background tasks: named here, stopped and awaited together.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{Live, ReplicaMode, Replication, Retention},
    connection::{Connection, Events, External, Primary, Whole, keep_following, watch},
    node::{Nodes, Within},
    replication::Copier,
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
        live: &Live,
    ) {
        let (connection, sessions) = (Arc::clone(connection), Arc::clone(sessions));
        self.spawn(watch(connection, sessions, live.clone(), self.stop()));
    }

    /// Finds and probes the other nodes.
    pub(super) fn know(&self, nodes: &Arc<Nodes>) {
        nodes.start(&Within {
            tracker: self.tracker.clone(),
            stop: self.stop(),
        });
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

    /// What copies to the replicas of `primary`.
    pub(super) fn copier(
        &self,
        primary: &Arc<Primary>,
        events: &Events,
        replication: Replication,
        retention: Retention,
    ) -> Copier {
        Copier::new(
            Arc::clone(primary),
            replication,
            Arc::new(retention),
            events.clone(),
            self.tracker.clone(),
            self.stop(),
        )
    }

    /// Copies to a replica, or follows it where something else does.
    pub(super) fn keep_true(
        &self,
        replica: &Arc<Connection>,
        copier: &Copier,
        events: &Events,
        replication: Replication,
    ) {
        let connection = Arc::clone(replica);
        let warm = replication.warm_timeout;
        let (events, interval) = (events.clone(), replication.poll_interval);
        match replica.mode() {
            ReplicaMode::Managed => self.spawn(copier.clone().keep_true(connection)),
            ReplicaMode::External => {
                let external = External { connection, warm };
                self.spawn(keep_following(external, events, interval, self.stop()));
            }
            ReplicaMode::Shared => {
                let shared = Whole {
                    connection,
                    warm,
                    withheld: HashSet::new(),
                };
                self.spawn(keep_following(shared, events, interval, self.stop()));
            }
        }
    }

    /// Stops all tasks and waits for them.
    pub(super) async fn finish(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
