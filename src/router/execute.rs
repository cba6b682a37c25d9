//! From a decision to the connection that it names.

use std::{sync::Arc, time::Duration};

use arc_swap::Guard;
use rand::random;
use tokio::{sync::watch, time::Instant};

use super::{
    choose::{ConnectionView, primary_only},
    fresh::Found,
    leases::Leases,
    reading::{Again, Reading},
    spills::Spills,
};
use crate::{
    config::{Current, Live},
    connection::{Connection, Events, Primary},
    domain::{
        Freshness, Position, Result, TableName, TokenKey,
        view::{Origin, Route, Served},
    },
    pool::{Ask, Budgets, Member, Pool, Seat},
    storage::Snapshot,
    telemetry::metrics,
};

/// Sends reads to the replicas in turn and everything else to the primary.
pub struct Router {
    primary: Arc<Primary>,
    replicas: Vec<Arc<Connection>>,
    /// Those of the pool: one for each replica, in the same order.
    members: Vec<Arc<Member>>,
    pool: Pool,
    live: Live,
    spills: Spills,
    leases: Leases,
    events: Events,
}

/// How fresh a read must be, and how long it may wait for that.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    pub freshness: Freshness,
    pub wait: Duration,
    /// After it no other attempt is made.
    pub deadline: Option<Instant>,
}

impl Router {
    /// A router over these connections. `events` are theirs. The pool goes by what
    /// `live` holds now, until it is given other settings.
    pub fn new(
        primary: Arc<Primary>,
        replicas: Vec<Arc<Connection>>,
        live: Live,
        events: Events,
    ) -> Self {
        let now = Instant::now();
        let member = |replica: &Arc<Connection>| {
            let zone = replica.zone().map(Arc::from);
            Arc::new(Member::new(
                Arc::clone(replica.name()),
                zone,
                replica.weight(),
                now,
            ))
        };
        let members: Vec<_> = replicas.iter().map(member).collect();
        let settings = live.load().pool.clone();
        let budgets = Arc::new(Budgets::new(&settings));
        Self {
            primary,
            replicas,
            pool: Pool::new(members.clone(), settings, budgets, random(), now),
            members,
            live,
            spills: Spills::default(),
            leases: Leases::default(),
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

    /// What is configured now.
    pub(super) fn config(&self) -> Guard<Arc<Current>> {
        self.live.load()
    }

    pub(super) fn spills(&self) -> &Spills {
        &self.spills
    }

    pub(super) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Wakes when a connection serves another version of a table.
    pub(super) fn versions(&self) -> watch::Receiver<u64> {
        self.events.subscribe_versions()
    }

    /// The replicas as members: how each one stands, and the budgets of the process.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// One for each replica, in the same order.
    pub(super) fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Takes the next turn.
    pub fn ask(&self) -> Ask {
        self.pool.ask()
    }

    /// Runs a read on a snapshot that is as fresh as asked: of the next replica in
    /// turn that has one, and of another one if that fails.
    pub async fn read<T, F, Fut>(
        &self,
        table: &TableName,
        options: &ReadOptions,
        read: F,
    ) -> Result<(T, Served)>
    where
        T: Send,
        F: Fn(Arc<Snapshot>) -> Fut + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        // A read that has no choice takes no turn: the others would skip one.
        let ask = match options.freshness {
            Freshness::Strong => Ask::default(),
            _ => self.ask(),
        };
        let (first, again) = match &options.freshness {
            Freshness::Bounded(bounds) => {
                let Found { chosen, need } = self.bounded(table, bounds, options.wait, ask).await?;
                (chosen, Again::Fresh(need))
            }
            Freshness::Strong => (self.strong(table).await?, Again::Never),
            Freshness::Exact(version) => {
                let number = self.number_of(table, version).await?;
                let first = self.exact(table, number, ask, &[]).await?;
                (first, Again::Exact(number, None))
            }
            Freshness::Session(position) => {
                let first = self.in_session(table, position, ask).await?;
                (first, Again::Exact(position.version, Some(*position)))
            }
        };
        let reading = Reading {
            router: self,
            table,
            ask,
            again,
            read,
        };
        reading.go(first, options.deadline).await
    }

    /// Runs a read on exactly this version: on the next replica in turn that has
    /// it, else on the primary.
    pub async fn read_at<T, F, Fut>(
        &self,
        table: &TableName,
        version: u64,
        options: &ReadOptions,
        read: F,
    ) -> Result<(T, Served)>
    where
        T: Send,
        F: Fn(Arc<Snapshot>) -> Fut + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let ask = self.ask();
        let first = self.exact(table, version, ask, &[]).await?;
        let reading = Reading {
            router: self,
            table,
            ask,
            again: Again::Exact(version, None),
            read,
        };
        reading.go(first, options.deadline).await
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
            seat: Seat::READY,
        })?;
        metrics::routed(connection.name(), route.policy.as_str());
        Ok(route)
    }

    /// Who answered with this position of a table.
    pub fn served(&self, route: Route, table: &TableName, position: &Position) -> Served {
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
