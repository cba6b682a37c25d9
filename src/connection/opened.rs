//! Snapshots of versions that are not the served one: opened once, and kept while
//! they are asked for.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;

use crate::{
    domain::{Error, Incarnation, Result, TableName},
    storage::{Snapshot, Store},
};

/// Most snapshots kept by a connection. Each is a manifest in memory, a few
/// kilobytes for a small table; its indexes are in the connection's cache.
const MOST: u64 = 64;

/// For how long one is kept that nobody asks for.
const IDLE: Duration = Duration::from_secs(60);

/// Versions of tables that were asked for by their numbers.
pub(super) struct Opened(Cache<(TableName, Incarnation, u64), Arc<Snapshot>>);

impl Default for Opened {
    fn default() -> Self {
        let cache = Cache::builder().max_capacity(MOST).time_to_idle(IDLE);
        Self(cache.build())
    }
}

impl Opened {
    /// A version of a table. Those who want one that is just being opened wait for
    /// that.
    pub(super) async fn get(
        &self,
        store: &Store,
        table: &TableName,
        incarnation: Incarnation,
        version: u64,
    ) -> Result<Arc<Snapshot>> {
        let open = async {
            let snapshot = store.open_version(table, version).await?;
            match snapshot.position().incarnation == incarnation {
                true => Ok(Arc::new(snapshot)),
                false => Err(Error::Conflict(format!("table '{table}' was re-created"))),
            }
        };
        self.0
            .try_get_with((table.clone(), incarnation, version), open)
            .await
            .map_err(|error| Error::clone(&error))
    }

    /// Forgets a version that turned out to be damaged or gone.
    pub(super) async fn forget(&self, table: &TableName, incarnation: Incarnation, version: u64) {
        let key = (table.clone(), incarnation, version);
        self.0.invalidate(&key).await;
    }
}
