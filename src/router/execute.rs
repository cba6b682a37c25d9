//! From a decision to the connection that it names.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, watch};

use super::{
    ReadRequest,
    choose::{Decision, choose, primary_only},
    fresh::Chosen,
    missing::unless_gone,
};
use crate::{
    config,
    connection::{Connection, Events, Past, Primary},
    domain::{
        Freshness, Incarnation, Need, Position, Result, TableName, TokenKey,
        view::{ConnectionView, Lag, Origin, Route, Served},
    },
    storage::Snapshot,
    telemetry::metrics,
};

/// Sends reads to the replicas in turn and everything else to the primary.
pub struct Router {
    primary: Arc<Primary>,
    replicas: Vec<Arc<Connection>>,
    turn: AtomicU64,
    freshness: config::Freshness,
    spilled: Semaphore,
    events: Events,
}

/// What is known of a table on the primary.
pub(super) struct Known {
    incarnation: Incarnation,
    past: Past,
}

/// How fresh a read must be, and how long it may wait for that.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    pub freshness: Freshness,
    pub wait: Duration,
}

impl Router {
    /// A router over these connections. `events` are theirs.
    pub fn new(
        primary: Arc<Primary>,
        replicas: Vec<Arc<Connection>>,
        freshness: config::Freshness,
        events: Events,
    ) -> Self {
        Self {
            primary,
            replicas,
            turn: AtomicU64::new(0),
            spilled: Semaphore::new(freshness.max_spilled_reads),
            freshness,
            events,
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

    /// What is configured of freshness.
    pub fn freshness(&self) -> &config::Freshness {
        &self.freshness
    }

    pub(super) fn spilled(&self) -> &Semaphore {
        &self.spilled
    }

    /// Wakes when a connection serves another version of a table.
    pub(super) fn versions(&self) -> watch::Receiver<u64> {
        self.events.subscribe_versions()
    }

    pub(super) fn next_turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// What is known of every connection, for a read of this table.
    pub(super) fn view(&self, table: &TableName, need: &Need) -> Vec<ConnectionView> {
        // Only where it is asked for, and once for all: it takes locks.
        let known = need.as_of.and_then(|_| self.known(table));
        self.connections()
            .map(|c| self.look_at(c, table, known.as_ref()))
            .collect()
    }

    /// What is known of a connection; how complete it is only where `known` says
    /// what there is.
    pub(super) fn look_at(
        &self,
        connection: &Connection,
        table: &TableName,
        known: Option<&Known>,
    ) -> ConnectionView {
        let position = connection.catalog().position(table);
        let as_of = known.zip(position).and_then(|(known, at)| {
            // Of another creation of the table nothing is known.
            (known.incarnation == at.incarnation).then(|| known.past.complete_until(at.version))
        });
        ConnectionView {
            name: Arc::clone(connection.name()),
            role: connection.role(),
            state: connection.state(),
            position,
            as_of,
        }
    }

    fn known(&self, table: &TableName) -> Option<Known> {
        Some(Known {
            incarnation: self
                .primary
                .connection()
                .catalog()
                .position(table)?
                .incarnation,
            past: self.primary.past(table)?,
        })
    }

    /// Decides where a read goes now. No I/O: what is known decides.
    pub fn route(&self, request: ReadRequest<'_>) -> Result<Decision> {
        choose(request, &self.view(request.table, &request.need))
    }

    pub(super) fn connection(&self, route: &Route) -> &Arc<Connection> {
        match route.connection.checked_sub(1) {
            Some(replica) => &self.replicas[replica],
            None => self.primary.connection(),
        }
    }

    /// Runs a read on a snapshot that is as fresh as asked: of the next replica
    /// in turn that has one.
    pub async fn read<T, F, Fut>(
        &self,
        table: &TableName,
        options: &ReadOptions,
        read: F,
    ) -> Result<(T, Served)>
    where
        F: FnOnce(Arc<Snapshot>) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let chosen = match &options.freshness {
            Freshness::Bounded(bounds) => self.bounded(table, bounds, options.wait).await?,
            Freshness::Strong => self.strong(table).await?,
            Freshness::Exact(version) => {
                let number = self.number_of(table, version).await?;
                self.exact(table, number).await?
            }
            Freshness::Session(position) => self.in_session(table, position).await?,
        };
        self.run(table, chosen, read).await
    }

    /// Runs a read on exactly this version: on the next replica in turn that has
    /// it, else on the primary.
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
        let chosen = self.exact(table, version).await?;
        self.run(table, chosen, read).await
    }

    async fn run<T, F, Fut>(
        &self,
        table: &TableName,
        chosen: Chosen<'_>,
        read: F,
    ) -> Result<(T, Served)>
    where
        F: FnOnce(Arc<Snapshot>) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let Chosen {
            route,
            connection,
            snapshot,
            spill: _held,
        } = chosen;
        metrics::routed(connection.name(), route.policy.as_str());
        let (position, policy) = (snapshot.position(), route.policy);
        let began = Instant::now();
        let outcome = read(snapshot).await;
        metrics::read_finished(connection.name(), outcome.is_ok(), began.elapsed());
        match outcome {
            Ok(answer) => {
                connection.count_read();
                Ok((answer, self.served_at(route, table, &position)))
            }
            Err(error) => {
                let error = unless_gone(connection, table, &position, policy, error).await;
                connection.forget_version(table, &position).await;
                if error.is_connection_fault() {
                    connection.note_error(&error);
                }
                Err(error)
            }
        }
    }

    /// The route of writes and table changes; fails while the primary is down.
    pub fn write_route(&self) -> Result<Route> {
        let connection = self.primary.connection();
        let route = primary_only(&ConnectionView {
            name: Arc::clone(connection.name()),
            role: connection.role(),
            state: connection.state(),
            position: None,
            as_of: None,
        })?;
        metrics::routed(connection.name(), route.policy.as_str());
        Ok(route)
    }

    /// Who answered with this version of a table on the primary.
    pub fn served(&self, route: Route, table: &TableName, version: u64) -> Served {
        let newest = self.primary.connection().catalog().position(table);
        match newest {
            Some(Position { incarnation, .. }) => self.served_at(
                route,
                table,
                &Position {
                    incarnation,
                    version,
                },
            ),
            None => Served {
                route,
                version,
                lag: Lag::default(),
                origin: None,
            },
        }
    }

    fn served_at(&self, route: Route, table: &TableName, position: &Position) -> Served {
        Served {
            route,
            version: position.version,
            lag: self.primary.lag(table, position),
            origin: self.token_key().map(|key| Origin {
                incarnation: position.incarnation,
                key,
            }),
        }
    }

    /// What seals tokens: the same at every router of the same primary. `None`
    /// until a connection was opened that tells which primary that is.
    pub fn token_key(&self) -> Option<TokenKey> {
        let identity = self.connections().find_map(|c| c.origin());
        match identity {
            Some(identity) => Some(TokenKey::of(&identity)),
            // A primary that takes no writes has no identity.
            None if self.primary.connection().store().is_ok() => Some(TokenKey::of("")),
            None => None,
        }
    }
}
