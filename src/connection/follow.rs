//! Following a location that others may write to: the primary, and replicas that
//! something else copies to.

use std::{collections::HashSet, sync::Arc};

use futures::{StreamExt, stream};

use super::{Connection, Head, Primary};
use crate::domain::{Error, Result, TableName};

/// Tables looked at concurrently: each look is a request or two to the store.
const PARALLEL_LOOKS: usize = 8;

/// Looks once at every table of a location and serves the newest versions.
/// Answers the tables that could not be looked at; they keep what they had.
pub async fn follow(target: &impl Follow) -> Result<Vec<(TableName, Error)>> {
    let store = target.connection().store()?;
    let names = store.table_names().await?;
    let present: HashSet<&TableName> = names.iter().collect();
    for table in target.connection().catalog().all().keys() {
        // Looked at again under the table's lock: it may just have been created.
        if !present.contains(table) {
            target.look(table).await?;
        }
    }
    let failures = stream::iter(&names)
        .map(|table| async move { (table, target.look(table).await) })
        .buffer_unordered(PARALLEL_LOOKS)
        .filter_map(|(table, outcome)| async move { Some((table.clone(), outcome.err()?)) })
        .collect()
        .await;
    Ok(failures)
}

/// What can be followed.
pub trait Follow: Sync {
    /// The connection whose catalog is kept.
    fn connection(&self) -> &Connection;
    /// Brings one table up to date.
    fn look(&self, table: &TableName) -> impl Future<Output = Result<()>> + Send;
}

impl Follow for Primary {
    fn connection(&self) -> &Connection {
        Primary::connection(self)
    }

    async fn look(&self, table: &TableName) -> Result<()> {
        self.refresh(table).await
    }
}

/// A replica that something else copies to: its newest version is opened
/// whenever there is another one.
impl Follow for Arc<Connection> {
    fn connection(&self) -> &Connection {
        self
    }

    async fn look(&self, table: &TableName) -> Result<()> {
        let handle = match self.store()?.open(table).await {
            Ok(handle) => handle,
            Err(Error::NotFound { .. }) => {
                self.catalog().remove(table);
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let snapshot = Arc::new(handle.snapshot().await?);
        match self.catalog().get(table) {
            Some(served) if served.commit() == snapshot.commit() => {}
            _ => self.catalog().replace(&snapshot),
        }
        Ok(())
    }
}

/// Whether a head still follows the table at its location.
pub(super) async fn is_current(head: &Head) -> Result<bool> {
    match head.handle().is_behind().await {
        Ok(behind) => Ok(!behind),
        Err(Error::NotFound { .. } | Error::Corrupt(_)) => Ok(false),
        Err(e) => Err(e),
    }
}
