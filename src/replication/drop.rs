//! Taking a table, or an earlier table of the same name, off a replica.
//!
//! Its manifests go first: without them there is no table. Its other files are
//! kept for a while, because reads that have a snapshot still open them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::ReplicationError;
use crate::{
    connection::Connection,
    domain::TableName,
    storage::{Objects, Store},
};

/// Deletes files later, without holding up what deletes them.
#[derive(Clone)]
pub(super) struct Dropper {
    pub grace: Duration,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

/// Deletes the manifests of a table, and the mark of which creation it is.
pub(super) async fn unpublish(store: &Store, table: &TableName) -> Result<(), ReplicationError> {
    let versions = format!("{}/_versions", Objects::table_folder(table));
    for path in store.objects().list(&versions).await?.into_keys() {
        store.objects().delete(&path).await?;
    }
    // Now, and not with the files later: a table of the same name that comes
    // meanwhile has its own at the same path.
    store.unmark(table).await?;
    Ok(())
}

impl Dropper {
    /// Drops a table from a replica.
    pub(super) async fn drop_table(
        &self,
        replica: &Connection,
        store: &Arc<Store>,
        table: &TableName,
    ) -> Result<(), ReplicationError> {
        replica.catalog().remove(table);
        replica.set_table_error(table, None);
        unpublish(store, table).await?;
        self.delete_others(store, table, &BTreeSet::new()).await?;
        tracing::info!(connection = %replica.name(), %table, "table dropped from the replica");
        Ok(())
    }

    /// Deletes the files that a table has now, but for those in `keep`, after
    /// the grace. Files that appear meanwhile are not touched: they have other
    /// names.
    pub(super) async fn delete_others(
        &self,
        store: &Arc<Store>,
        table: &TableName,
        keep: &BTreeSet<String>,
    ) -> Result<(), ReplicationError> {
        let folder = Objects::table_folder(table);
        let doomed: Vec<String> = store
            .objects()
            .list(&folder)
            .await?
            .into_keys()
            .filter(|path| {
                let file = path.strip_prefix(&folder).unwrap_or(path);
                !keep.contains(file.trim_start_matches('/'))
            })
            .collect();
        let (store, grace, stop) = (Arc::clone(store), self.grace, self.stop.clone());
        let empty = keep.is_empty().then_some(folder);
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(grace) => {}
                // What is left is found again at the next start.
                () = stop.cancelled() => return,
            }
            for path in doomed {
                if let Err(error) = store.objects().delete(&path).await {
                    tracing::warn!(%error, "a file of a dropped table was left behind");
                }
            }
            if let Some(folder) = empty
                && matches!(store.objects().list(&folder).await, Ok(left) if left.is_empty())
                && let Err(error) = store.objects().delete_folder(&folder).await
            {
                tracing::debug!(%error, "an empty folder was left behind");
            }
        });
        Ok(())
    }
}
