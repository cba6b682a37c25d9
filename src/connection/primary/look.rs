//! Looking at the primary's location for what others did there.

use std::{sync::Arc, time::SystemTime};

use super::{Head, Primary, lock};
use crate::{
    connection::{follow::is_current, history::History},
    domain::{Error, Resource, Result, TableName},
    storage::Store,
};

impl Primary {
    /// Makes sure that what is known of a table was looked up after `time`. Reads
    /// that want this at once share the looks.
    pub async fn look_after(&self, name: &TableName, time: SystemTime) -> Result<()> {
        // A name that is no table's leaves nothing behind.
        if self.connection.catalog().get(name).is_none() {
            return self.refresh(name).await;
        }
        let table = self.table(name);
        let _look = table.look.lock().await;
        if lock(&table.history).checked_at() >= time {
            return Ok(());
        }
        self.refresh(name).await
    }

    /// Looks for commits of other writers, re-creation and dropping included.
    pub(in crate::connection) async fn refresh(&self, name: &TableName) -> Result<()> {
        let began = SystemTime::now();
        self.look(name).await?;
        // A table that is gone has no history any more.
        if let Some(table) = lock(&self.tables).get(name) {
            lock(&table.history).checked(began);
        }
        // A read may be waiting to hear that there is nothing new.
        self.connection.looked();
        Ok(())
    }

    async fn look(&self, name: &TableName) -> Result<()> {
        let store = self.connection.store()?;
        if self.connection.catalog().get(name).is_some() && self.is_seen(&store, name).await? {
            return Ok(());
        }
        // Something changed: look again when no write of ours is under way.
        let _lane = self.lane(name).await;
        self.look_alone(&store, name).await
    }

    async fn is_seen(&self, store: &Store, name: &TableName) -> Result<bool> {
        match self.head(name).await {
            Ok(head) => is_current(store, name, &head).await,
            Err(Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Looks for commits of other writers. The caller has the table's lane.
    pub(super) async fn look_alone(&self, store: &Store, name: &TableName) -> Result<()> {
        let served = self.connection.catalog().get(name);
        if served.is_some() && self.is_seen(store, name).await? {
            return Ok(());
        }
        let handle = match store.open_marked(name).await {
            Ok(handle) => handle,
            Err(Error::NotFound {
                kind: Resource::Table,
                ..
            }) => {
                self.connection.catalog().remove(name);
                lock(&self.tables).remove(name);
                if served.is_some() {
                    self.changes.send_modify(|n| *n += 1);
                }
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let snapshot = Arc::new(handle.snapshot().await?);
        let served = self.connection.catalog().get(name);
        let (old, new) = (
            served.map(|s| (s.position(), s.commit())),
            snapshot.position(),
        );
        if old == Some((new, snapshot.commit())) {
            return Ok(());
        }
        let table = self.table(name);
        *lock(&table.head) = Some(Head(handle));
        if old.is_some_and(|(old, _)| !new.reaches(&old)) {
            // Created anew, or put back to an earlier state from outside.
            *lock(&table.history) = History::default();
        }
        self.connection.catalog().replace(&snapshot);
        self.announce(&snapshot);
        Ok(())
    }
}
