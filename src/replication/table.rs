//! Bringing one table of one replica up to date.

use super::{
    ReplicationError,
    context::Context,
    copy::Route,
    memory::Memory,
    plan::{Known, Plan, plan},
    rebuild::Reuse,
    withheld::{self, Reason},
};
use crate::{
    config::OnDivergence,
    connection::Follows,
    domain::{Error, Incarnation, TableName},
    storage::{Commit, Handle, Transfer},
    telemetry::metrics,
};

/// How often a plan is made anew when the primary is pruned under the copier.
const MAX_PLANS: usize = 5;

impl Context<'_> {
    /// Copies what the replica lacks of a table and serves the newest version.
    pub(super) async fn sync_table(
        &self,
        table: &TableName,
        memory: &mut Memory,
    ) -> Result<(), ReplicationError> {
        let mut outcome = Ok(());
        for _ in 0..MAX_PLANS {
            outcome = match memory.withheld {
                Some(Reason::Rebuilding) => self.rebuild(table, memory, Reuse::Nothing).await,
                Some(Reason::Diverged) | None => self.sync_once(table, memory).await,
            };
            if let Err(ReplicationError::Diverged { version }) = outcome {
                outcome = self.diverged(table, version, memory).await;
            }
            if !matches!(outcome, Err(ReplicationError::SourceGone(_))) {
                break;
            }
            memory.doubt();
        }
        outcome?;
        self.sync_tags(table, memory).await
    }

    async fn sync_once(
        &self,
        table: &TableName,
        memory: &mut Memory,
    ) -> Result<(), ReplicationError> {
        let Some(served) = self.primary.connection().catalog().get(table) else {
            return Ok(());
        };
        let replica = self.replica.catalog().get(table);
        if replica
            .is_some_and(|r| r.position() == served.position() && r.commit() == served.commit())
        {
            return Ok(());
        }
        let head = self.primary.head(table).await?;
        let source = head.handle();
        if let Some(reason) = source.not_copyable().await? {
            return Err(ReplicationError::NotCopyable(reason));
        }
        let incarnation = source.incarnation();
        if served.position().incarnation != incarnation {
            // Re-created just now: the next round sees it.
            return Ok(());
        }
        match self.plan(table, source, served.commit()).await? {
            Plan::UpToDate(version) => {
                self.mark(table, incarnation).await?;
                self.serve(table, version, incarnation, Follows::Older, memory)
                    .await?;
            }
            Plan::Advance(versions) => {
                // Before the first manifest: what is published has a mark.
                self.mark(table, incarnation).await?;
                self.copy_versions(table, source, &versions, memory).await?;
                let newest = versions.last().copied().unwrap_or(served.version());
                self.serve(table, newest, incarnation, Follows::Older, memory)
                    .await?;
            }
            Plan::Rebuild(version) => {
                tracing::warn!(connection = %self.replica.name(), %table, version, "the table was re-created: its copy is replaced");
                self.rebuild(table, memory, Reuse::OfTheSameSize).await?;
            }
            Plan::Diverged(version) => return Err(ReplicationError::Diverged { version }),
        }
        Ok(())
    }

    async fn plan(
        &self,
        table: &TableName,
        source: &Handle,
        served: Commit,
    ) -> Result<Plan, ReplicationError> {
        // The replica first: what another process copies there meanwhile is on
        // the primary by the time its versions are listed.
        let replica = self.replica_commit(table).await?;
        let primary_at_replica = match replica {
            Some(commit) => source.commit_of(commit.version).await?,
            None => None,
        };
        let versions = match primary_at_replica {
            // Between these two there is nothing: a list, which takes the longer
            // the more versions there are, would tell no more.
            Some(commit) if replica == Some(commit) && commit.version + 1 == served.version => {
                vec![commit.version, served.version]
            }
            _ => source.version_numbers().await?,
        };
        let marked = self.target.incarnation(table).await?;
        let mut oldest = None;
        if replica.is_some()
            && primary_at_replica != replica
            && let Some(first) = versions.first()
        {
            oldest = source.commit_of(*first).await?;
        }
        Ok(plan(Known {
            // A copy without a mark is told by its commits alone, and marked.
            same_incarnation: marked.is_none_or(|there| there == source.incarnation()),
            primary: served,
            primary_versions: &versions,
            primary_oldest: oldest.unwrap_or(served),
            replica,
            primary_at_replica,
            max_versions_behind: self.options.max_versions_behind,
        }))
    }

    /// Marks the copy as one of this creation of the table.
    pub(super) async fn mark(
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

    /// Takes a table whose copy is not the primary's out of rotation, and
    /// replaces it if that is the policy.
    async fn diverged(
        &self,
        table: &TableName,
        version: u64,
        memory: &mut Memory,
    ) -> Result<(), ReplicationError> {
        self.replica.catalog().remove(table);
        if memory.withheld != Some(Reason::Diverged) {
            withheld::withhold(self.target.objects(), table, Reason::Diverged).await?;
            memory.withheld = Some(Reason::Diverged);
        }
        match self.options.on_divergence {
            OnDivergence::Stop => Err(ReplicationError::Diverged { version }),
            OnDivergence::Rebuild => {
                tracing::warn!(connection = %self.replica.name(), %table, version, "the copy diverged: it is replaced");
                self.rebuild(table, memory, Reuse::Nothing).await
            }
        }
    }

    pub(super) fn route<'a>(&'a self, table: &'a TableName, incarnation: Incarnation) -> Route<'a> {
        Route {
            source: self.source.objects(),
            target: self.target.objects(),
            replica: self.replica.name(),
            table,
            incarnation,
            parallel: self.options.parallel_copies,
            transfer: Transfer {
                pace: self.pace,
                verify: self.options.verify,
            },
            dropper: self.dropper,
            turn: self.turn,
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

    pub(super) async fn copy_versions(
        &self,
        table: &TableName,
        source: &Handle,
        versions: &[u64],
        memory: &mut Memory,
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
            self.route(table, source.incarnation())
                .copy_version(*version, &files, &mut memory.present)
                .await?;
        }
        Ok(())
    }

    /// Opens a published version and swaps it in for what reads see.
    pub(super) async fn serve(
        &self,
        table: &TableName,
        version: u64,
        incarnation: Incarnation,
        follows: Follows,
        memory: &mut Memory,
    ) -> Result<(), ReplicationError> {
        let snapshot = self.target.open_version(table, version).await?;
        if snapshot.position().incarnation != incarnation {
            // Another process is replacing the copy.
            return Err(ReplicationError::SourceGone("incarnation".to_owned()));
        }
        if memory.withheld.is_some() {
            withheld::release(self.target.objects(), table).await?;
            memory.withheld = None;
        }
        self.replica
            .serve(snapshot, follows, self.options.warm_timeout)
            .await?;
        metrics::version_published(self.replica.name());
        super::failpoint::reached("copy:served");
        Ok(())
    }
}
