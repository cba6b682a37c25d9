//! Letting reads see a version: it is warmed first, so that its arrival does not
//! show in anybody's latency.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::Connection;
use crate::{domain::Result, storage::Snapshot};

/// What a version is to the one that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// A version of the same table: it is served unless a newer one is.
    Older,
    /// Perhaps another table: it is served whatever was.
    Anything,
}

impl Connection {
    /// Swaps a version in for what reads see, after its indexes were read into
    /// the cache or `warm` has passed. What goes wrong with that holds nothing
    /// back: a search would read them as well.
    pub async fn serve(&self, snapshot: Snapshot, follows: Follows, warm: Duration) -> Result<()> {
        // Reading the list of indexes now keeps it out of the first search.
        snapshot.indexes().await?;
        if !warm.is_zero() {
            self.warm(&snapshot, warm).await;
        }
        let snapshot = Arc::new(snapshot);
        match follows {
            Follows::Older => self.catalog().advance(&snapshot),
            Follows::Anything => self.catalog().replace(&snapshot),
        }
        Ok(())
    }

    async fn warm(&self, snapshot: &Snapshot, limit: Duration) {
        let (connection, table) = (self.name(), snapshot.name());
        let before = self.catalog().get(table);
        match timeout(limit, snapshot.warm(before.as_deref())).await {
            Ok(Ok(0)) => {}
            Ok(Ok(parts)) => tracing::debug!(%connection, %table, parts, "indexes warmed"),
            Ok(Err(error)) => {
                tracing::warn!(%connection, %table, %error, "an index was not warmed");
            }
            Err(_) => {
                tracing::warn!(%connection, %table, after = ?limit, "served before its indexes were warm");
            }
        }
    }
}
