//! A connection to a LanceDB location in this process.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;

use super::{Catalog, Events, Orders, opened::Opened};
use crate::{
    config::{Location, ReplicaMode},
    domain::{Error, Position, Resource, Result, Role, TableName, view::ConnectionState},
    storage::{Snapshot, Store},
};

/// One place that answers.
pub struct Connection {
    pub(super) name: Arc<str>,
    pub(super) role: Role,
    pub(super) location: Location,
    pub(super) store: ArcSwapOption<Store>,
    pub(super) identity: ArcSwapOption<String>,
    /// The identity of the primary, where that is known.
    pub(super) origin: ArcSwapOption<String>,
    catalog: Catalog,
    opened: Opened,
    status: ArcSwap<Status>,
    table_errors: Mutex<HashMap<TableName, String>>,
    reads: AtomicU64,
    probes: AtomicU64,
    loaded: AtomicBool,
    /// Counts the troubles that reads and looks had with it.
    troubles: watch::Sender<u64>,
    orders: Orders,
    events: Events,
}

/// What is known of a connection's health.
#[derive(Debug, Clone)]
pub struct Status {
    pub state: ConnectionState,
    pub since: SystemTime,
    /// What went wrong last, and when.
    pub last_error: Option<(String, SystemTime)>,
}

impl Connection {
    /// A connection that has not been opened yet.
    pub fn new(role: Role, location: Location, events: Events) -> Self {
        Self {
            name: location.name.as_str().into(),
            role,
            location,
            store: ArcSwapOption::empty(),
            identity: ArcSwapOption::empty(),
            origin: ArcSwapOption::empty(),
            catalog: Catalog::new(events.clone()),
            opened: Opened::default(),
            status: ArcSwap::from_pointee(Status {
                state: ConnectionState::Connecting,
                since: SystemTime::now(),
                last_error: None,
            }),
            table_errors: Mutex::default(),
            reads: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            loaded: AtomicBool::new(false),
            troubles: watch::Sender::new(0),
            orders: Orders::default(),
            events,
        }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Who brings data there; says nothing of the primary.
    pub fn mode(&self) -> ReplicaMode {
        self.location.mode
    }

    /// Its share of the reads, against the other replicas'.
    pub fn weight(&self) -> u32 {
        self.location.weight
    }

    /// Where it is.
    pub fn zone(&self) -> Option<&str> {
        self.location.zone.as_deref()
    }

    /// What an operator asked to be done to it.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// The tables that it serves.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Its health, as last seen.
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// Whether it can be used.
    pub fn state(&self) -> ConnectionState {
        self.status.load().state
    }

    /// The location, once it has been opened.
    pub fn store(&self) -> Result<Arc<Store>> {
        self.store.load_full().ok_or_else(|| Error::Unavailable {
            reason: "CONNECTION_NOT_READY",
            message: format!("connection '{}' has not been opened yet", self.name),
            retry_after: Duration::from_secs(1),
        })
    }

    /// Refuses a location whose store ignores conditional writes.
    ///
    /// # Errors
    /// Those of [`Store::must_know_conditions`].
    pub async fn must_know_conditions(&self) -> Result<()> {
        self.store()?.must_know_conditions(&self.location).await
    }

    /// The identity of the location, once known.
    pub fn identity(&self) -> Option<Arc<String>> {
        self.identity.load_full()
    }

    /// The identity of the primary: the location's own one where this is the
    /// primary, else that of the primary that it is a copy of.
    pub fn origin(&self) -> Option<Arc<String>> {
        self.origin.load_full()
    }

    /// Notes how the connection is. Answers whether its state changed.
    pub fn set_state(&self, state: ConnectionState, error: Option<&Error>) -> bool {
        let old = self.status.load_full();
        let now = SystemTime::now();
        let changed = old.state != state;
        let last_error = match error {
            Some(error) => Some((error.to_string(), now)),
            None => old.last_error.clone(),
        };
        if changed || error.is_some() {
            self.status.store(Arc::new(Status {
                state,
                since: if changed { now } else { old.since },
                last_error,
            }));
        }
        if changed {
            self.events.announce();
        }
        changed
    }

    /// Whether it is up and its tables were looked up.
    pub fn serves(&self) -> bool {
        self.state() == ConnectionState::Up && self.loaded.load(Ordering::Acquire)
    }

    /// Notes that its tables were looked up.
    pub fn set_loaded(&self) {
        if !self.loaded.swap(true, Ordering::AcqRel) {
            self.events.announce();
        }
    }

    /// Somebody looked at the location, and found what is served.
    pub(super) fn looked(&self) {
        self.events.published();
    }

    /// Notes an error that does not change the state.
    pub fn note_error(&self, error: &Error) {
        self.set_state(self.state(), Some(error));
        self.ask_for_a_look();
    }

    /// Has it looked at now by the task that watches it.
    pub fn ask_for_a_look(&self) {
        self.troubles.send_modify(|n| *n += 1);
    }

    /// Wakes when somebody had trouble with this connection.
    pub fn troubles(&self) -> watch::Receiver<u64> {
        self.troubles.subscribe()
    }

    /// Notes why a table is not replicated to this connection, or that it is.
    pub fn set_table_error(&self, table: &TableName, error: Option<String>) {
        let mut errors = self
            .table_errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) => errors.insert(table.clone(), error),
            None => errors.remove(table),
        };
    }

    /// Forgets the errors of tables that are not there any more.
    pub fn keep_table_errors(&self, known: impl Fn(&TableName) -> bool) {
        self.table_errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|table, _| known(table));
    }

    /// Why tables are not replicated to this connection, by table.
    pub fn table_errors(&self) -> HashMap<TableName, String> {
        self.table_errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Counts an answered read.
    pub fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads answered since the start.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Counts an answered probe.
    pub(super) fn count_probe(&self) {
        self.probes.fetch_add(1, Ordering::Relaxed);
    }

    /// Probes answered since the start.
    pub fn probes_answered(&self) -> u64 {
        self.probes.load(Ordering::Relaxed)
    }

    /// One version of a table: the served one if it is that, else one of the same
    /// incarnation that was opened before, else opened now.
    pub async fn snapshot_at(&self, table: &TableName, version: u64) -> Result<Arc<Snapshot>> {
        let Some(served) = self.catalog.get(table) else {
            return Err(Error::not_found(Resource::Table, table.as_str()));
        };
        if served.version() == version {
            return Ok(served);
        }
        let incarnation = served.position().incarnation;
        let store = self.store()?;
        self.opened.get(&store, table, incarnation, version).await
    }

    /// Notes that a version of a table could not be read: it is opened anew when it
    /// is asked for again.
    pub async fn forget_version(&self, table: &TableName, position: &Position) {
        let Position {
            incarnation,
            version,
        } = *position;
        self.opened.forget(table, incarnation, version).await;
    }
}
