//! Following replicas: those whose versions are whole when they are there, and
//! those that something else copies to, where a version may not be.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{Connection, Follow, Follows};
use crate::{
    domain::{Error, Result, TableName},
    storage::{Handle, Snapshot, Store},
};

/// Most versions looked at, newest first, for one that is whole.
const MAX_VERSIONS_TRIED: usize = 8;

/// Follows a location whose versions are whole when they are there: the primary's
/// own, or a copy that a copier of ours makes.
pub struct Whole {
    pub connection: Arc<Connection>,
    /// For how long a version may be warmed before it is served.
    pub warm: Duration,
    /// Tables that reads are to see nothing of.
    pub withheld: HashSet<TableName>,
}

impl Follow for Whole {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    async fn look(&self, table: &TableName) -> Result<()> {
        let catalog = self.connection.catalog();
        if self.withheld.contains(table) {
            catalog.remove(table);
            return Ok(());
        }
        let handle = match self.connection.store()?.open(table).await {
            Ok(handle) => handle,
            Err(Error::NotFound { .. }) => {
                catalog.remove(table);
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let found = handle.snapshot().await?;
        match catalog.get(table) {
            Some(served)
                if served.commit() == found.commit() && served.position() == found.position() =>
            {
                Ok(())
            }
            _ => {
                self.connection
                    .serve(found, Follows::Anything, self.warm)
                    .await
            }
        }
    }
}

/// Follows a location that something else copies to: a version is served once all
/// of its files are there.
pub struct External {
    pub connection: Arc<Connection>,
    /// For how long a version may be warmed before it is served.
    pub warm: Duration,
}

impl Follow for External {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    async fn look(&self, table: &TableName) -> Result<()> {
        let store = self.connection.store()?;
        let handle = match store.open(table).await {
            Ok(handle) => handle,
            Err(Error::NotFound { .. }) => {
                self.connection.catalog().remove(table);
                self.connection.set_table_error(table, None);
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let newest = handle.snapshot().await?;
        let served = self.connection.catalog().get(table);
        if served
            .is_some_and(|s| s.commit() == newest.commit() && s.position() == newest.position())
        {
            return Ok(());
        }
        let Some(missing) = newest.missing_file(store.objects()).await? else {
            self.connection
                .serve(newest, Follows::Anything, self.warm)
                .await?;
            self.connection.set_table_error(table, None);
            return Ok(());
        };
        let version = newest.version();
        tracing::debug!(connection = %self.connection.name(), %table, version, missing, "the copy is not whole yet");
        let problem = format!("version {version} is not whole yet: '{missing}' is not there");
        self.connection.set_table_error(table, Some(problem));
        if let Some(whole) = self.newest_whole(&store, &handle, table).await? {
            self.connection
                .serve(whole, Follows::Anything, self.warm)
                .await?;
        }
        Ok(())
    }
}

impl External {
    /// The newest whole version before the newest one; `None` if it is served
    /// already, or there is none.
    async fn newest_whole(
        &self,
        store: &Store,
        handle: &Handle,
        table: &TableName,
    ) -> Result<Option<Snapshot>> {
        let served = self.connection.catalog().get(table);
        let mut versions = handle.version_numbers().await?;
        versions.pop();
        for version in versions.into_iter().rev().take(MAX_VERSIONS_TRIED) {
            let older = match store.open_version(table, version).await {
                Ok(older) => older,
                // Deleted meanwhile, or its manifest is being written.
                Err(Error::NotFound { .. } | Error::Corrupt(_)) => continue,
                Err(e) => return Err(e),
            };
            let served = served.as_ref().map(|served| served.commit());
            if served.is_some_and(|served| {
                served == older.commit() || served.timestamp_nanos > older.commit().timestamp_nanos
            }) {
                return Ok(None);
            }
            if older.missing_file(store.objects()).await?.is_none() {
                return Ok(Some(older));
            }
        }
        Ok(None)
    }
}
