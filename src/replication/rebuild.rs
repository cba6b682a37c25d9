//! Replacing a replica's copy of a table by the primary's: the table was
//! re-created, or the copy diverged, or an operator asked for it.
//!
//! From the moment that the first old manifest goes until the new one is there,
//! reads see nothing of the table, also those of other processes and those after
//! a restart: an object on the replica says so.

use std::collections::BTreeSet;

use super::{
    ReplicationError,
    context::Context,
    copy::Present,
    drop::unpublish,
    failpoint,
    memory::Memory,
    withheld::{Reason, withhold},
};
use crate::{
    connection::Follows,
    domain::{Error, Resource, TableName},
};

/// What of the old copy the new one may be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    /// Files that have the primary's name and size.
    OfTheSameSize,
    /// Nothing: what the files hold is in doubt.
    Nothing,
}

impl Context<'_> {
    /// Replaces a table's copy by the version that the primary serves.
    pub(super) async fn rebuild(
        &self,
        table: &TableName,
        memory: &mut Memory,
        reuse: Reuse,
    ) -> Result<(), ReplicationError> {
        let served = self.primary.connection().catalog().get(table);
        let served = served.ok_or_else(|| Error::not_found(Resource::Table, table.as_str()))?;
        let version = served.version();
        let head = self.primary.head(table).await?;
        if let Some(reason) = head.handle().not_copyable().await? {
            return Err(ReplicationError::NotCopyable(reason));
        }
        if reuse == Reuse::Nothing {
            // The old copy is in doubt: it is not read while the new one is made.
            self.replica.catalog().remove(table);
            self.withhold_for_rebuild(table, memory).await?;
        }
        memory.doubt();
        if reuse == Reuse::Nothing {
            memory.present = Present::nothing();
        }
        let files = head
            .handle()
            .version_files(version)
            .await?
            .remove(&version)
            .filter(|f| !f.manifest.is_empty())
            .ok_or_else(|| ReplicationError::SourceGone(format!("version {version}")))?;
        let incarnation = head.handle().incarnation();
        let route = self.route(table, incarnation);
        route.copy_files(&files.files, &mut memory.present).await?;
        if reuse == Reuse::Nothing {
            // The names are those of files that were read, and may have been kept, with
            // what was wrong in them.
            self.target.forget_cached(table).await?;
        }

        self.withhold_for_rebuild(table, memory).await?;
        self.replica.catalog().remove(table);
        unpublish(self.target, table).await?;
        self.mark(table, incarnation).await?;
        route.publish(version, &files).await?;
        self.serve(table, version, incarnation, Follows::Anything, memory)
            .await?;
        let mut keep: BTreeSet<String> = files.files;
        keep.insert(files.manifest);
        self.dropper.delete_others(self.target, table, &keep).await
    }

    async fn withhold_for_rebuild(
        &self,
        table: &TableName,
        memory: &mut Memory,
    ) -> Result<(), ReplicationError> {
        if memory.withheld != Some(Reason::Rebuilding) {
            withhold(self.target.objects(), table, Reason::Rebuilding).await?;
            memory.withheld = Some(Reason::Rebuilding);
            failpoint::reached("rebuild:withheld");
        }
        Ok(())
    }
}
