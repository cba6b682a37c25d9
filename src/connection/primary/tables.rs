//! What is known of the tables of the primary, and the handles on their newest versions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use super::{Head, Primary, lock, requests::Requests};
use crate::{
    config::failpoint,
    connection::history::History,
    domain::{Result, TableName},
};

/// One table of the primary. The lane is held by one write at a time, so that
/// concurrent upserts of the same new keys do not each insert them. It knows the
/// request ids of the writes that were done.
pub(super) struct Table {
    pub(super) lane: Arc<tokio::sync::Mutex<Requests>>,
    pub(super) head: Mutex<Option<Head>>,
    pub(super) history: Mutex<History>,
    /// Held by one look at the location at a time: those who wait for it learn
    /// what it found.
    pub(super) look: tokio::sync::Mutex<()>,
    /// Held while old versions are deleted.
    pub(super) pruning: Arc<tokio::sync::Mutex<()>>,
    /// Counts writes through this server and seen commits of others.
    pub(super) announced: AtomicU64,
}

impl Table {
    fn new() -> Self {
        Self {
            lane: Arc::default(),
            head: Mutex::default(),
            history: Mutex::default(),
            look: tokio::sync::Mutex::default(),
            pruning: Arc::default(),
            announced: AtomicU64::new(0),
        }
    }
}

/// Those that somebody has asked for, or that were seen.
#[derive(Default)]
pub(super) struct Tables {
    of: HashMap<TableName, Arc<Table>>,
    /// How many have gone.
    pub(super) gone: u64,
}

impl Tables {
    pub(super) fn get(&self, name: &TableName) -> Option<Arc<Table>> {
        self.of.get(name).map(Arc::clone)
    }

    pub(super) fn table(&mut self, name: &TableName) -> Arc<Table> {
        let table = self.of.entry(name.clone());
        Arc::clone(table.or_insert_with(|| Arc::new(Table::new())))
    }

    /// It was dropped: whoever opened it before has nothing of the next of that name.
    pub(super) fn remove(&mut self, name: &TableName) {
        self.of.remove(name);
        self.gone += 1;
    }

    /// A name that was refused leaves nothing behind.
    pub(super) fn forget_unopened(&mut self, name: &TableName) {
        self.of
            .retain(|n, table| n != name || lock(&table.head).is_some());
    }
}

impl Primary {
    pub(super) fn table(&self, name: &TableName) -> Arc<Table> {
        lock(&self.tables).table(name)
    }

    /// The handle on the newest known version of a table.
    pub async fn head(&self, name: &TableName) -> Result<Head> {
        loop {
            let gone = {
                let tables = lock(&self.tables);
                // Unknown names leave nothing behind: they cost no memory.
                if let Some(table) = tables.get(name)
                    && let Some(head) = lock(&table.head).clone()
                {
                    return Ok(head);
                }
                tables.gone
            };
            let head = Head(self.connection.store()?.open_marked(name).await?);
            if self.keep(name, &head, gone) {
                return Ok(head);
            }
        }
    }

    /// Keeps the handle of a table that was opened when so many had gone. Not if another
    /// has gone since: it may have been this one, and a write to what is gone would be a
    /// table without its files.
    pub(super) fn keep(&self, name: &TableName, head: &Head, gone: u64) -> bool {
        let mut tables = lock(&self.tables);
        let is_there = tables.gone == gone || failpoint::breaks("head:of-the-dead");
        if is_there {
            *lock(&tables.table(name).head) = Some(head.clone());
        }
        is_there
    }
}
