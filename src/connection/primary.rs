//! The primary: the only connection that is written to.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

mod hold;
mod lane;
mod look;
mod once;
mod prune;
mod requests;
mod tables;

pub use prune::{Pruned, Unwanted};

use self::{
    requests::Requests,
    tables::{Table, Tables},
};
use super::{Caller, Connection, history::History};
use crate::{
    config::Writes,
    domain::{Incarnation, Position, Result, TableName, view::Lag},
    storage::{Handle, Snapshot},
};

/// The primary connection and the newest version of each of its tables.
pub struct Primary {
    connection: Arc<Connection>,
    tables: Mutex<Tables>,
    /// Replicas that hold the versions which they have not passed.
    holders: Vec<Arc<Connection>>,
    /// For how long writes can be repeated.
    writes: Writes,
    /// Counts changes of the catalog; replication waits on it.
    changes: watch::Sender<u64>,
}

/// Whether a write holds its table's lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// It does: one at a time.
    Alone,
    /// It does not: it takes long, or its client sets the pace, and Lance can
    /// order it with other writes by itself.
    Beside,
}

/// What is remembered of one table.
pub struct Past(Arc<Table>);

impl Past {
    /// Until when everything that was committed to the table is in this version of
    /// it, as far as is known.
    pub fn complete_until(&self, version: u64) -> SystemTime {
        lock(&self.0.history).complete_until(version)
    }
}

/// An open handle on the newest version.
#[derive(Clone)]
pub struct Head(Handle);

impl Head {
    /// The handle.
    pub fn handle(&self) -> &Handle {
        &self.0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Primary {
    /// A primary on this connection. Versions that one of `holders` has not passed
    /// are not pruned.
    pub fn new(connection: Arc<Connection>, holders: Vec<Arc<Connection>>, writes: Writes) -> Self {
        Self {
            connection,
            tables: Mutex::default(),
            holders,
            writes,
            changes: watch::Sender::new(0),
        }
    }

    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Wakes at every change of the catalog.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The newest known version of a table.
    pub async fn snapshot(&self, name: &TableName) -> Result<Arc<Snapshot>> {
        match self.connection.catalog().get(name) {
            Some(served) => Ok(served),
            // Created by another writer since the last look.
            None => Ok(Arc::new(self.head(name).await?.handle().snapshot().await?)),
        }
    }

    /// Runs a write and serves what it made. Once it has begun it goes on when the
    /// caller goes away: a commit is finished. Before that, while it waits for its
    /// lane, it is given up. Answers the incarnation too that was written: by now the
    /// name may be another one's.
    ///
    /// # Errors
    /// [`crate::domain::Error::Unavailable`] where it was given up, and those of `write`.
    pub async fn write<T, F, Fut>(
        self: &Arc<Self>,
        name: &TableName,
        lane: Lane,
        write: F,
    ) -> Result<(T, Incarnation)>
    where
        T: Send + 'static,
        F: FnOnce(Handle) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + Send,
    {
        let caller = Caller::current();
        let guard = match lane {
            Lane::Alone => Some(caller.begin(self.lane_of(name)).await?),
            Lane::Beside => None,
        };
        let (primary, name) = (Arc::clone(self), name.clone());
        let work = async move {
            let _guard = guard;
            primary.commit(&name, write).await
        };
        caller.finish(work).await
    }

    async fn commit<T, F, Fut>(&self, name: &TableName, work: F) -> Result<(T, Incarnation)>
    where
        F: FnOnce(Handle) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let head = self.head(name).await?;
        let outcome = work(head.handle().clone()).await;
        // Also after an error: part of the work may have been committed.
        let served = self.serve(head.handle()).await;
        let answer = outcome?;
        served?;
        Ok((answer, head.handle().incarnation()))
    }

    /// Serves the version that a handle sees.
    async fn serve(&self, handle: &Handle) -> Result<()> {
        let snapshot = Arc::new(handle.snapshot().await?);
        self.connection.catalog().advance(&snapshot);
        self.announce(&snapshot);
        Ok(())
    }

    fn announce(&self, snapshot: &Snapshot) {
        let table = self.table(snapshot.name());
        lock(&table.history).add(snapshot.commit());
        table.announced.fetch_add(1, Ordering::Relaxed);
        self.changes.send_modify(|n| *n += 1);
    }

    /// How often something of a table was written or seen: what has no version of
    /// its own, such as a tag, is looked at again when this grew.
    pub fn announced(&self, name: &TableName) -> u64 {
        let table = lock(&self.tables).get(name);
        table.map_or(0, |table| table.announced.load(Ordering::Relaxed))
    }

    /// For how long the primary has been ahead of this version of a table.
    pub fn ahead_for(&self, name: &TableName, version: u64) -> Option<Duration> {
        let table = lock(&self.tables).get(name)?;
        let history = lock(&table.history);
        history.behind_for(version, SystemTime::now())
    }

    /// What is remembered of a table.
    pub fn past(&self, name: &TableName) -> Option<Past> {
        lock(&self.tables).get(name).map(Past)
    }

    /// How far a position of a table is behind the newest known one. An earlier
    /// creation of the table is behind by all of it.
    pub fn lag(&self, name: &TableName, position: &Position) -> Lag {
        let Some(newest) = self.connection.catalog().position(name) else {
            return Lag::default();
        };
        let version = match newest.incarnation == position.incarnation {
            true => position.version,
            false => 0,
        };
        let versions = newest.version.saturating_sub(version);
        let age = match versions {
            0 => Duration::ZERO,
            _ => self.ahead_for(name, version).unwrap_or_default(),
        };
        Lag { versions, age }
    }

    /// Creates a table and serves it.
    pub async fn create<F, Fut>(self: &Arc<Self>, name: &TableName, create: F) -> Result<Position>
    where
        F: FnOnce(Arc<crate::storage::Store>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Handle>> + Send,
    {
        let (caller, store) = (Caller::current(), self.connection.store()?);
        let lane = caller.begin(async { Ok(self.lane(name).await) }).await?;
        let (primary, name) = (Arc::clone(self), name.clone());
        let work = async move {
            let _lane = lane;
            let handle = match create(store).await {
                Ok(handle) => handle,
                Err(e) => {
                    // A name that was refused leaves nothing behind.
                    lock(&primary.tables).forget_unopened(&name);
                    return Err(e);
                }
            };
            let snapshot = Arc::new(handle.snapshot().await?);
            let table = primary.table(&name);
            *lock(&table.head) = Some(Head(handle));
            *lock(&table.history) = History::default();
            primary.connection.catalog().replace(&snapshot);
            primary.announce(&snapshot);
            Ok(snapshot.position())
        };
        caller.finish(work).await
    }

    /// Drops a table.
    pub async fn drop_table(self: &Arc<Self>, name: &TableName) -> Result<()> {
        let (caller, store) = (Caller::current(), self.connection.store()?);
        let begin = async {
            // Refused before anything changes.
            store.open(name).await?;
            Ok(self.alone(name).await)
        };
        let alone = caller.begin(begin).await?;
        let (primary, name) = (Arc::clone(self), name.clone());
        let work = async move {
            let _alone = alone;
            primary.connection.catalog().remove(&name);
            let dropped = store.drop_table(&name).await;
            lock(&primary.tables).remove(&name);
            primary.changes.send_modify(|n| *n += 1);
            dropped
        };
        caller.finish(work).await
    }
}
