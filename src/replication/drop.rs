//! Taking a table, or an earlier table of the same name, off a replica.
//!
//! Its manifests go first: without them there is no table. Its other files are
//! kept for a while, because reads that have a snapshot still open them.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{ReplicationError, failpoint};
use crate::{
    connection::Connection,
    domain::{Error, TableName},
    storage::{INCARNATION_MARKER, Needed, Objects, Store},
};

/// Deletes files of one replica later, without holding up what deletes them.
#[derive(Clone)]
pub(super) struct Dropper {
    pub grace: Duration,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    /// Paths to be deleted. Held while one of them is, so that a file which a
    /// copy needs is either spared or gone before the copy looks for it.
    doomed: Arc<Mutex<HashSet<String>>>,
}

/// Deletes the tags and the manifests of a table, and the mark of which creation
/// it is.
pub(super) async fn unpublish(store: &Store, table: &TableName) -> Result<(), ReplicationError> {
    let folder = Objects::table_folder(table);
    // Tags first: they name versions.
    for part in ["_refs", "_versions"] {
        let there = store.objects().list(&format!("{folder}/{part}")).await?;
        for path in there.into_keys() {
            store.objects().delete(&path).await?;
            failpoint::reached("drop:unpublishing");
        }
    }
    // Now, and not with the files later: a table of the same name that comes
    // meanwhile has its own at the same path.
    store.unmark(table).await?;
    failpoint::reached("drop:unpublished");
    Ok(())
}

impl Dropper {
    pub(super) fn new(grace: Duration, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            grace,
            tasks,
            stop,
            doomed: Arc::default(),
        }
    }

    /// Keeps these files: a version needs them again.
    pub(super) async fn spare(&self, paths: Vec<String>) {
        let mut doomed = self.doomed.lock().await;
        if doomed.is_empty() {
            return;
        }
        for path in paths {
            doomed.remove(&path);
        }
    }

    /// Whether a file is to be deleted after the grace.
    pub(super) async fn dooms(&self, path: &str) -> bool {
        self.doomed.lock().await.contains(path)
    }

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
    /// the grace. Those that a version needs by then are kept as well.
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
                let file = file.trim_start_matches('/');
                // Tags and the mark are gone by now: these are new ones.
                !keep.contains(file) && !file.starts_with("_refs/") && file != INCARNATION_MARKER
            })
            .collect();
        self.doomed.lock().await.extend(doomed.iter().cloned());
        let (dropper, store, table) = (self.clone(), Arc::clone(store), table.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(dropper.grace) => {}
                // What is left is found again at the next start.
                () = dropper.stop.cancelled() => return,
            }
            if let Err(error) = dropper.delete_doomed(&store, &table, doomed).await {
                tracing::warn!(%table, %error, "files of a dropped table were left behind");
            }
        });
        Ok(())
    }

    async fn delete_doomed(
        &self,
        store: &Store,
        table: &TableName,
        paths: Vec<String>,
    ) -> Result<(), ReplicationError> {
        let folder = Objects::table_folder(table);
        // Another process may have published a version that needs some of them.
        let needed = needed(store, table).await?;
        for path in paths {
            let file = path.strip_prefix(&folder).unwrap_or(&path);
            let mut doomed = self.doomed.lock().await;
            if doomed.remove(&path) && !needed.has(file.trim_start_matches('/')) {
                store.objects().delete(&path).await?;
                failpoint::reached("drop:deleting");
            }
        }
        if needed.is_empty() && store.objects().list(&folder).await?.is_empty() {
            store.objects().delete_folder(&folder).await?;
        }
        Ok(())
    }
}

/// The files of all versions of a table that are there.
async fn needed(store: &Store, table: &TableName) -> Result<Needed, ReplicationError> {
    match store.open(table).await {
        Ok(handle) => Ok(handle.needed().await?),
        Err(Error::NotFound { .. }) => Ok(Needed::default()),
        Err(e) => Err(e.into()),
    }
}
