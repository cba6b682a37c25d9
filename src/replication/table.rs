//! Bringing one table of one replica up to date.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::{
    ReplicationError,
    copy::{Copied, Present, Route},
    drop::{Dropper, unpublish},
    plan::{Known, Plan, plan},
};
use crate::{
    config::Replication,
    connection::{Connection, Primary},
    domain::{Error, Incarnation, TableName},
    storage::{Commit, Handle, INCARNATION_MARKER, Snapshot, Store},
    telemetry::metrics,
};

/// How often a plan is made anew when the primary is pruned under the copier.
const MAX_PLANS: usize = 5;

/// One replica and what it is kept true to.
pub(super) struct Context<'a> {
    pub primary: &'a Primary,
    pub source: &'a Store,
    pub replica: &'a Connection,
    pub target: &'a Arc<Store>,
    pub options: Replication,
    pub dropper: &'a Dropper,
}

impl Context<'_> {
    /// Copies what the replica lacks of a table and serves the newest version.
    pub(super) async fn sync_table(
        &self,
        table: &TableName,
        present: &mut Present,
    ) -> Result<(), ReplicationError> {
        let served = self.primary.connection().catalog().get(table);
        let Some(served) = served else { return Ok(()) };
        let replica = self.replica.catalog().get(table);
        if replica
            .is_some_and(|r| r.position() == served.position() && r.commit() == served.commit())
        {
            return Ok(());
        }
        let mut outcome = Ok(());
        for _ in 0..MAX_PLANS {
            outcome = self.sync_once(table, present).await;
            if !matches!(outcome, Err(ReplicationError::SourceGone(_))) {
                break;
            }
        }
        outcome
    }

    async fn sync_once(
        &self,
        table: &TableName,
        present: &mut Present,
    ) -> Result<(), ReplicationError> {
        let Some(served) = self.primary.connection().catalog().get(table) else {
            return Ok(());
        };
        let head = self.primary.head(table).await?;
        let source = head.handle();
        if let Some(reason) = source.not_copyable().await? {
            return Err(ReplicationError::NotCopyable(reason));
        }
        let replica = self.replica_commit(table).await?;
        let incarnation = source.incarnation();
        if served.position().incarnation != incarnation {
            // Re-created just now: the next round sees it.
            return Ok(());
        }
        let marked = self.target.incarnation(table).await?;
        let versions = source.version_numbers().await?;
        let known = Known {
            // A copy without a mark is told by its commits alone, and marked.
            same_incarnation: marked.is_none_or(|there| there == incarnation),
            primary: served.commit(),
            primary_versions: &versions,
            replica,
            primary_at_replica: match replica {
                Some(commit) => source.commit_of(commit.version).await?,
                None => None,
            },
            max_versions_behind: self.options.max_versions_behind,
        };
        match plan(known) {
            Plan::UpToDate => {
                self.mark(table, incarnation).await?;
                self.serve(table, served.version(), false).await?;
            }
            Plan::Advance(versions) => {
                // Before the first manifest: what is published has a mark.
                self.mark(table, incarnation).await?;
                self.copy_versions(table, source, &versions, present)
                    .await?;
                let newest = versions.last().copied().unwrap_or(served.version());
                self.serve(table, newest, false).await?;
            }
            Plan::Rebuild(version) => {
                tracing::warn!(connection = %self.replica.name(), %table, version, "the table was re-created: its copy is replaced");
                // The old files are no use to the new table.
                *present = Present::default();
                let files = self.copy_files_of(table, source, version, present).await?;
                unpublish(self.target, table).await?;
                self.mark(table, incarnation).await?;
                self.route(table).publish(version, &files).await?;
                self.serve(table, version, true).await?;
                let mut keep: BTreeSet<String> = files.files;
                keep.insert(files.manifest);
                keep.insert(INCARNATION_MARKER.to_owned());
                self.dropper
                    .delete_others(self.target, table, &keep)
                    .await?;
            }
        }
        Ok(())
    }

    /// Marks the copy as one of this creation of the table.
    async fn mark(
        &self,
        table: &TableName,
        incarnation: Incarnation,
    ) -> Result<(), ReplicationError> {
        if incarnation == Incarnation::UNKNOWN {
            return Ok(());
        }
        match self.target.mark(table, incarnation).await? {
            there if there == incarnation => Ok(()),
            // Somebody else copies as well, and is further: plan again.
            _ => Err(ReplicationError::SourceGone("incarnation".to_owned())),
        }
    }

    fn route<'a>(&'a self, table: &'a TableName) -> Route<'a> {
        Route {
            source: self.source.objects(),
            target: self.target.objects(),
            table,
            parallel: self.options.parallel_copies,
        }
    }

    /// The commit that the replica has: the served one, else (after a restart)
    /// the newest that is published there.
    async fn replica_commit(&self, table: &TableName) -> Result<Option<Commit>, ReplicationError> {
        if let Some(served) = self.replica.catalog().get(table) {
            return Ok(Some(served.commit()));
        }
        match self.target.open(table).await {
            Ok(handle) => Ok(Some(handle.snapshot().await?.commit())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    async fn copy_versions(
        &self,
        table: &TableName,
        source: &Handle,
        versions: &[u64],
        present: &mut Present,
    ) -> Result<(), ReplicationError> {
        let Some(first) = versions.first() else {
            return Ok(());
        };
        let mut files = source.version_files(*first).await?;
        for version in versions {
            // A version without its manifest row was pruned meanwhile.
            let files = files
                .remove(version)
                .filter(|f| !f.manifest.is_empty())
                .ok_or_else(|| ReplicationError::SourceGone(format!("version {version}")))?;
            let began = Instant::now();
            let route = self.route(table);
            let outcome = async {
                let mut copied = route.copy_files(&files.files, present).await?;
                copied.bytes += route.publish(*version, &files).await?;
                copied.files += 1;
                Ok(copied)
            };
            self.count(outcome.await, began)?;
        }
        Ok(())
    }

    async fn copy_files_of(
        &self,
        table: &TableName,
        source: &Handle,
        version: u64,
        present: &mut Present,
    ) -> Result<crate::storage::VersionFiles, ReplicationError> {
        let files = source
            .version_files(version)
            .await?
            .remove(&version)
            .ok_or_else(|| ReplicationError::SourceGone(format!("version {version}")))?;
        let began = Instant::now();
        let copied = self.route(table).copy_files(&files.files, present).await;
        self.count(copied, began)?;
        Ok(files)
    }

    fn count(
        &self,
        outcome: Result<Copied, ReplicationError>,
        began: Instant,
    ) -> Result<Copied, ReplicationError> {
        let copied = outcome.as_ref().copied().unwrap_or_default();
        let word = if outcome.is_ok() { "ok" } else { "error" };
        metrics::copy_finished(
            self.replica.name(),
            word,
            copied.files,
            copied.bytes,
            began.elapsed(),
        );
        outcome
    }

    /// Opens a published version and swaps it in for what reads see.
    async fn serve(
        &self,
        table: &TableName,
        version: u64,
        another_table: bool,
    ) -> Result<(), ReplicationError> {
        let snapshot: Snapshot = self.target.open_version(table, version).await?;
        // Reading the list of indexes now keeps it out of the first search.
        snapshot.indexes().await?;
        let snapshot = Arc::new(snapshot);
        let served = self.replica.catalog().position(table);
        let same = served.is_none_or(|s| s.incarnation == snapshot.position().incarnation);
        if another_table || !same {
            self.replica.catalog().replace(&snapshot);
        } else {
            self.replica.catalog().advance(&snapshot);
        }
        metrics::version_published(self.replica.name());
        Ok(())
    }
}
