//! The tables that a connection serves: each one pinned snapshot, swapped whole.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use super::Events;
use crate::{
    domain::{Incarnation, Position, TableName},
    storage::Snapshot,
};

/// What a connection serves of one table.
#[derive(Clone)]
pub struct Entry {
    /// The version that reads see.
    pub snapshot: Arc<Snapshot>,
}

/// Every table of a connection. Reading it takes no lock and does no I/O.
pub struct Catalog {
    tables: ArcSwap<HashMap<TableName, Entry>>,
    events: Events,
}

impl Catalog {
    /// An empty one, whose changes wake whoever waits for a version.
    pub(super) fn new(events: Events) -> Self {
        Self {
            tables: ArcSwap::default(),
            events,
        }
    }

    /// The snapshot that reads of a table see now.
    pub fn get(&self, table: &TableName) -> Option<Arc<Snapshot>> {
        let tables = self.tables.load();
        Some(Arc::clone(&tables.get(table)?.snapshot))
    }

    /// What reads of a table see now.
    pub fn position(&self, table: &TableName) -> Option<Position> {
        Some(self.tables.load().get(table)?.snapshot.position())
    }

    /// The version that reads of a table see now.
    pub fn version(&self, table: &TableName) -> Option<u64> {
        Some(self.position(table)?.version)
    }

    /// Every table, as it is now.
    pub fn all(&self) -> Arc<HashMap<TableName, Entry>> {
        self.tables.load_full()
    }

    /// Serves a newer version of a table. One that is older than what is served
    /// is not taken: commits may be seen out of order. Nor is one of another
    /// creation of the table: that is for [`Catalog::replace`].
    pub fn advance(&self, snapshot: &Arc<Snapshot>) {
        let new = snapshot.position();
        self.put(snapshot, |old| {
            let old = old.position();
            // Marked since it was opened.
            let named = old.incarnation == Incarnation::UNKNOWN && new.version >= old.version;
            new != old && (new.reaches(&old) || named)
        });
    }

    /// Serves this snapshot, whatever was served: the table was re-created.
    pub fn replace(&self, snapshot: &Arc<Snapshot>) {
        self.put(snapshot, |_| true);
    }

    fn put(&self, snapshot: &Arc<Snapshot>, newer_than: impl Fn(&Snapshot) -> bool) {
        self.tables.rcu(|tables| {
            let old = tables.get(snapshot.name());
            if old.is_some_and(|old| !newer_than(&old.snapshot)) {
                return Arc::clone(tables);
            }
            let mut tables = HashMap::clone(tables);
            let entry = Entry {
                snapshot: Arc::clone(snapshot),
            };
            tables.insert(snapshot.name().clone(), entry);
            Arc::new(tables)
        });
        self.events.published();
    }

    /// Serves a table no more. Reads that have its snapshot go on.
    pub fn remove(&self, table: &TableName) {
        self.tables.rcu(|tables| {
            let mut tables = HashMap::clone(tables);
            tables.remove(table);
            tables
        });
    }
}
