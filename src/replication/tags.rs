//! Tags: the only objects of a table that change. A tag is written after the
//! version that it names, and goes when the primary has it no more.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{ReplicationError, context::Context, failpoint, memory::Memory};
use crate::{
    domain::TableName,
    storage::{ObjectError, Objects},
};

/// Where Lance keeps them, in the table's folder.
const FOLDER: &str = "_refs/tags";

/// Tags that others changed on the primary are looked for once in so many
/// intervals of `replication.poll_interval`: each look is a request.
const INTERVALS_BETWEEN_LOOKS: u32 = 10;

impl Context<'_> {
    /// Makes the tags of a table those of the primary, if it is time to look.
    pub(super) async fn sync_tags(
        &self,
        table: &TableName,
        memory: &mut Memory,
    ) -> Result<(), ReplicationError> {
        let announced = self.primary.announced(table);
        let every: Duration = self.options.poll_interval * INTERVALS_BETWEEN_LOOKS;
        if memory
            .tags_seen
            .is_some_and(|(n, at)| n == announced && at.elapsed() < every)
        {
            return Ok(());
        }
        let looked = Instant::now();
        let wanted = tags(self.source.objects(), table).await?;
        if memory.tags.as_ref() != Some(&wanted) {
            self.write_tags(table, &wanted, memory).await?;
            memory.tags = Some(wanted);
        }
        memory.tags_seen = Some((announced, looked));
        Ok(())
    }

    async fn write_tags(
        &self,
        table: &TableName,
        wanted: &BTreeMap<String, Bytes>,
        memory: &mut Memory,
    ) -> Result<(), ReplicationError> {
        let target = self.target.objects();
        let there = tags(target, table).await?;
        for path in there.keys().filter(|path| !wanted.contains_key(*path)) {
            target.delete(path).await?;
        }
        let changed = wanted
            .iter()
            .filter(|(path, bytes)| there.get(*path) != Some(bytes));
        for (path, bytes) in changed {
            let Some(version) = version_of(bytes) else {
                tracing::warn!(%table, "a tag that cannot be read was not copied");
                continue;
            };
            match self.need_version(table, version, memory).await {
                Ok(()) => {}
                Err(ReplicationError::SourceGone(_)) => {
                    tracing::warn!(%table, version, "a tag's version is gone: the tag was not copied");
                    continue;
                }
                Err(e) => return Err(e),
            }
            failpoint::reached("tag:begins");
            target.put(path, bytes.clone()).await?;
            failpoint::reached("tag:written");
        }
        Ok(())
    }

    /// Copies a version that the replica lacks: it began at a later one, or
    /// skipped this one.
    async fn need_version(
        &self,
        table: &TableName,
        version: u64,
        memory: &mut Memory,
    ) -> Result<(), ReplicationError> {
        let there = self.target.open(table).await?.version_numbers().await?;
        if there.contains(&version) {
            return Ok(());
        }
        let head = self.primary.head(table).await?;
        self.copy_versions(table, head.handle(), &[version], memory)
            .await
    }
}

/// The tags of a table, by path relative to the location.
async fn tags(
    objects: &Objects,
    table: &TableName,
) -> Result<BTreeMap<String, Bytes>, ReplicationError> {
    let folder = format!("{}/{FOLDER}", Objects::table_folder(table));
    let mut tags = BTreeMap::new();
    for path in objects.list(&folder).await?.into_keys() {
        match objects.get(&path).await {
            Ok(bytes) => tags.insert(path, bytes),
            // Deleted since it was listed.
            Err(ObjectError::NotFound(_)) => continue,
            Err(e) => return Err(e.into()),
        };
    }
    Ok(tags)
}

/// The version that a tag names.
fn version_of(tag: &[u8]) -> Option<u64> {
    let tag: serde_json::Value = serde_json::from_slice(tag).ok()?;
    tag.get("version")?.as_u64()
}
