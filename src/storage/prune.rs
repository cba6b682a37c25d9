//! Deleting the versions of a table that nobody needs, and the files that only
//! they have: Lance's own cleanup.

use std::{collections::HashSet, time::SystemTime};

use chrono::{DateTime, Utc};
use lance::dataset::cleanup::{CleanupPolicy, cleanup_old_versions};

use super::{Handle, error};
use crate::domain::{Error, Resource, Result};

/// Which versions may go: those that both are older than.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Below {
    /// The number of the oldest version that stays.
    pub version: u64,
    /// Versions committed at this time or later stay whatever their number. It is
    /// before this handle was opened, so that those of a table which was created
    /// anew meanwhile are among them.
    pub committed_before: SystemTime,
}

/// What was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    pub versions: u64,
    pub bytes: u64,
}

impl Handle {
    /// How many of `versions`, which are ascending, were committed before `time`.
    /// Reads a few manifests: the times of commits ascend as well, but for the
    /// differences between the clocks of their writers.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn committed_before(&self, versions: &[u64], time: SystemTime) -> Result<usize> {
        let (mut low, mut high) = (0, versions.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let before = match self.commit_time(versions[middle]).await {
                Ok(committed) => committed < time,
                // Pruned since they were listed.
                Err(Error::NotFound {
                    kind: Resource::Version,
                    ..
                }) => true,
                Err(e) => return Err(e),
            };
            match before {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }

    async fn commit_time(&self, version: u64) -> Result<SystemTime> {
        let dataset = error::dataset(&self.table).await?;
        match dataset.checkout_version(version).await {
            Ok(old) => Ok(old.manifest().timestamp().into()),
            Err(lance::Error::NotFound { .. } | lance::Error::DatasetNotFound { .. }) => {
                Err(Error::not_found(Resource::Version, version.to_string()))
            }
            Err(e) => Err(error::in_table(&self.name, e.into())),
        }
    }

    /// The versions that have a tag.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn tagged_versions(&self) -> Result<HashSet<u64>> {
        let tags = self.tags().await?;
        Ok(tags.into_iter().map(|(_, version)| version).collect())
    }

    /// Deletes old versions, but for tagged ones, those that a branch needs, and
    /// the one that this handle sees with all newer ones. Files that belong to no
    /// version stay for seven days: they may be of a write under way.
    ///
    /// # Errors
    /// What the store answers. A part may have been deleted then; the next time
    /// goes on from there.
    pub async fn prune(&self, below: Below) -> Result<Removed> {
        let dataset = error::dataset(&self.table).await?;
        let policy = CleanupPolicy {
            before_version: Some(below.version),
            before_timestamp: Some(DateTime::<Utc>::from(below.committed_before)),
            delete_unverified: false,
            error_if_tagged_old_versions: false,
            ..CleanupPolicy::default()
        };
        let stats = cleanup_old_versions(&dataset, policy)
            .await
            .map_err(|e| error::in_table(&self.name, e.into()))?;
        Ok(Removed {
            versions: stats.old_versions,
            bytes: stats.bytes_removed,
        })
    }
}
