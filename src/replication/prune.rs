//! Deleting old versions: on the primary by a task of its own, on each replica by
//! the task that copies there, so that no file is deleted that is being copied.
//!
//! A replica's version goes after the primary's: when the primary has deleted it,
//! below the floor, and so nobody holds it. It is not served any more by then, and
//! `replication.delete_grace` later whoever read it has finished. Its manifest goes
//! first and its files after, so that a version which is there is whole.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::{ReplicationError, context::Context, failpoint, lease::Turn, memory::Memory};
use crate::{
    config::Retention,
    connection::{Primary, Pruned, Unwanted},
    domain::{TableName, view::ConnectionState},
    storage::Objects,
    telemetry::metrics,
};

/// The folders of a table whose files belong to versions.
const FOLDERS: [&str; 4] = ["data/", "_deletions/", "_indices/", "_transactions/"];

/// Deletes old versions on the primary, whenever it is this process's turn.
pub(super) async fn keep_pruned(primary: Arc<Primary>, retention: Arc<Retention>, turn: Turn) {
    let mut held = HashMap::new();
    loop {
        tokio::time::sleep(retention.interval).await;
        let tables: Vec<TableName> = {
            let all = primary.connection().catalog().all();
            all.keys().cloned().collect()
        };
        held.retain(|table, _| tables.contains(table));
        for table in tables {
            if primary.connection().state() != ConnectionState::Up || !turn.is_ours() {
                break;
            }
            let unwanted = Unwanted::NotKept(retention.of(table.as_str()));
            let name = primary.connection().name();
            match primary.prune(&table, unwanted).await {
                Ok(pruned) => {
                    metrics::pruned(name, pruned.versions, pruned.bytes);
                    tell(&table, &pruned, &mut held);
                }
                Err(error) => {
                    metrics::prune_failed(name);
                    tracing::warn!(connection = %name, %table, %error, "old versions were not deleted");
                }
            }
        }
    }
}

/// Logs what was deleted, and who holds what was not, once.
fn tell(table: &TableName, pruned: &Pruned, held: &mut HashMap<TableName, Arc<str>>) {
    let Pruned {
        versions,
        bytes,
        floor,
        ..
    } = pruned;
    if *versions > 0 {
        tracing::info!(%table, versions, bytes, floor, "old versions deleted");
    }
    match &pruned.held_by {
        None => {
            held.remove(table);
        }
        Some(by) => {
            if held.get(table) != Some(by) {
                tracing::info!(%table, floor, %by, "older versions than retention keeps are held");
                held.insert(table.clone(), Arc::clone(by));
            }
        }
    }
}

impl Context<'_> {
    /// Deletes the versions of a table that the primary has pruned, if it is time.
    /// The table is up to date, and nothing of it is being copied.
    pub(super) async fn prune_copy(
        &self,
        table: &TableName,
        memory: &mut Memory,
        retention: &Retention,
    ) -> Result<(), ReplicationError> {
        let grace = self.options.delete_grace;
        if let Some((found, since)) = &memory.doomed.found {
            if since.elapsed() < grace {
                return Ok(());
            }
            // Still so: a version that is there again is needed again.
            let mut go = self.pruned_on_primary(table).await?;
            go.retain(|version| found.contains(version));
            memory.doomed.found = None;
            return self.delete_versions(table, &go, memory).await;
        }
        let pause = retention.interval;
        if memory.doomed.looked.is_some_and(|at| at.elapsed() < pause) {
            return Ok(());
        }
        memory.doomed.looked = Some(Instant::now());
        let go = self.pruned_on_primary(table).await?;
        if !go.is_empty() || !memory.doomed.swept {
            memory.doomed.found = Some((go, Instant::now()));
        }
        Ok(())
    }

    /// The versions of the replica, older than the served one, that the primary
    /// has no more.
    async fn pruned_on_primary(
        &self,
        table: &TableName,
    ) -> Result<BTreeSet<u64>, ReplicationError> {
        let (Some(served), Some(newest)) = (
            self.replica.catalog().position(table),
            self.primary.connection().catalog().position(table),
        ) else {
            return Ok(BTreeSet::new());
        };
        if served.incarnation != newest.incarnation {
            return Ok(BTreeSet::new());
        }
        let floor = self.source.read_floor(table, served.incarnation).await?;
        let below = floor.min(served.version);
        let there = self.target.objects().published(table).await?;
        let mut go: BTreeSet<u64> = there.into_keys().filter(|v| *v < below).collect();
        if go.is_empty() {
            return Ok(go);
        }
        let kept = self.source.objects().published(table).await?;
        // Or else the primary's disk is not there, and its folder is empty.
        if !kept.contains_key(&served.version) {
            return Ok(BTreeSet::new());
        }
        go.retain(|version| !kept.contains_key(version));
        Ok(go)
    }

    async fn delete_versions(
        &self,
        table: &TableName,
        versions: &BTreeSet<u64>,
        memory: &mut Memory,
    ) -> Result<(), ReplicationError> {
        let objects = self.target.objects();
        let there = objects.published(table).await?;
        let manifests = there.into_iter().filter(|(v, _)| versions.contains(v));
        let folder = Objects::table_folder(table);
        let manifests: Vec<_> = manifests
            .map(|(_, m)| (format!("{folder}/{}", m.file), m.size))
            .collect();
        failpoint::reached("prune:begins");
        let mut bytes = self.delete(manifests).await?;
        failpoint::reached("prune:unpublished");
        let files = self.files_of_no_version(table).await?;
        for (path, _) in &files {
            memory.present.forget(within(path, &folder));
        }
        bytes += self.delete(files).await?;
        memory.doomed.swept = true;
        metrics::pruned(self.replica.name(), versions.len() as u64, bytes);
        if !versions.is_empty() {
            let connection = self.replica.name();
            tracing::info!(%connection, %table, versions = versions.len(), bytes, "old versions deleted");
        }
        Ok(())
    }

    /// Deletes files. Answers their bytes.
    async fn delete(&self, files: Vec<(String, u64)>) -> Result<u64, ReplicationError> {
        let bytes = files.iter().map(|(_, size)| size).sum();
        stream::iter(files)
            .map(|(path, _)| async move {
                if !self.turn.is_ours() {
                    return Err(ReplicationError::NotOurTurn);
                }
                self.target.objects().delete(&path).await?;
                failpoint::reached("prune:deleting");
                Ok(())
            })
            .buffer_unordered(self.options.parallel_copies)
            .try_collect::<()>()
            .await?;
        Ok(bytes)
    }

    /// The files that no version of the replica has. Those that are deleted after
    /// a grace of their own are left to that.
    async fn files_of_no_version(
        &self,
        table: &TableName,
    ) -> Result<Vec<(String, u64)>, ReplicationError> {
        let folder = Objects::table_folder(table);
        // Listed before the versions: what comes after is not among them.
        let there = self.target.objects().list(&folder).await?;
        let needed = self.target.open(table).await?.needed().await?;
        let mut files = Vec::new();
        for (path, size) in there {
            let file = within(&path, &folder);
            let of_versions = FOLDERS.iter().any(|folder| file.starts_with(folder));
            if of_versions && !needed.has(file) && !self.dropper.dooms(&path).await {
                files.push((path, size));
            }
        }
        Ok(files)
    }
}

fn within<'a>(path: &'a str, folder: &str) -> &'a str {
    let file = path.strip_prefix(folder).unwrap_or(path);
    file.trim_start_matches('/')
}
