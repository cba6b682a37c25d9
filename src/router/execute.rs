//! From a decision to the connection that it names.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{ReadRequest, choose, primary_only};
use crate::{
    connection::{Connection, Primary},
    domain::{
        Error, Resource, Result, TableName,
        view::{ConnectionView, Route, Served},
    },
    storage::Snapshot,
    telemetry::metrics,
};

/// Sends reads to the replicas in turn and everything else to the primary.
pub struct Router {
    primary: Arc<Primary>,
    replicas: Vec<Arc<Connection>>,
    turn: AtomicU64,
}

impl Router {
    /// A router over these connections.
    pub fn new(primary: Arc<Primary>, replicas: Vec<Arc<Connection>>) -> Self {
        Self {
            primary,
            replicas,
            turn: AtomicU64::new(0),
        }
    }

    /// The primary.
    pub fn primary(&self) -> &Arc<Primary> {
        &self.primary
    }

    /// Every connection: the primary, then the replicas.
    pub fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        std::iter::once(self.primary.connection()).chain(&self.replicas)
    }

    /// The replicas, in the order of the configuration.
    pub fn replicas(&self) -> &[Arc<Connection>] {
        &self.replicas
    }

    fn view(&self, table: &TableName) -> Vec<ConnectionView> {
        self.connections()
            .map(|c| look(c, c.catalog().version(table)))
            .collect()
    }

    /// Runs a read on the snapshot that the next connection in turn serves.
    pub async fn read<T, F, Fut>(&self, table: &TableName, read: F) -> Result<(T, Served)>
    where
        F: FnOnce(Arc<Snapshot>) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let route = self.route(table)?;
        let connection = self.connection(&route);
        let snapshot = connection
            .catalog()
            .get(table)
            .ok_or_else(|| Error::not_found(Resource::Table, table.as_str()))?;
        self.run(table, route, connection, snapshot, read).await
    }

    /// Runs a read on exactly this version: on the next connection in turn if it
    /// has it, else on the primary.
    pub async fn read_at<T, F, Fut>(
        &self,
        table: &TableName,
        version: u64,
        read: F,
    ) -> Result<(T, Served)>
    where
        F: FnOnce(Arc<Snapshot>) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let route = self.route(table)?;
        let connection = self.connection(&route);
        if let Ok(snapshot) = connection.snapshot_at(table, version).await {
            return self.run(table, route, connection, snapshot, read).await;
        }
        let route = self.write_route()?;
        let connection = self.primary.connection();
        let snapshot = connection.snapshot_at(table, version).await?;
        self.run(table, route, connection, snapshot, read).await
    }

    async fn run<T, F, Fut>(
        &self,
        table: &TableName,
        route: Route,
        connection: &Connection,
        snapshot: Arc<Snapshot>,
        read: F,
    ) -> Result<(T, Served)>
    where
        F: FnOnce(Arc<Snapshot>) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        metrics::routed(connection.name(), route.policy.as_str());
        let version = snapshot.version();
        let began = Instant::now();
        let outcome = read(snapshot).await;
        metrics::read_finished(connection.name(), outcome.is_ok(), began.elapsed());
        match outcome {
            Ok(answer) => {
                connection.count_read();
                Ok((answer, self.served(route, table, version)))
            }
            Err(error) => {
                if error.is_connection_fault() {
                    connection.note_error(&error);
                }
                Err(error)
            }
        }
    }

    fn route(&self, table: &TableName) -> Result<Route> {
        let request = ReadRequest {
            table,
            turn: self.turn.fetch_add(1, Ordering::Relaxed),
        };
        choose(request, &self.view(table))
    }

    fn connection(&self, route: &Route) -> &Arc<Connection> {
        match route.connection.checked_sub(1) {
            Some(replica) => &self.replicas[replica],
            None => self.primary.connection(),
        }
    }

    /// The route of writes and table changes; fails while the primary is down.
    pub fn write_route(&self) -> Result<Route> {
        let connection = self.primary.connection();
        let route = primary_only(&look(connection, None))?;
        metrics::routed(connection.name(), route.policy.as_str());
        Ok(route)
    }

    /// Who answered with this version of a table.
    pub fn served(&self, route: Route, table: &TableName, version: u64) -> Served {
        Served {
            route,
            version,
            lag: self.primary.lag(table, version),
        }
    }
}

fn look(connection: &Connection, version: Option<u64>) -> ConnectionView {
    ConnectionView {
        name: Arc::clone(connection.name()),
        role: connection.role(),
        state: connection.state(),
        version,
    }
}
