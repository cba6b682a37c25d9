//! Tables that are dropped: their files, and what knows of their versions.

use futures::{StreamExt, TryStreamExt, stream};
use lance_table::io::commit::ManifestNamingScheme;
use object_store::path::Path;

use super::{ObjectError, Objects, Published, Store, error};
use crate::domain::{Error, Result, TableName};

/// Manifests deleted concurrently.
const PARALLEL_DELETES: usize = 16;

/// How often a folder that does not stay empty is deleted.
const MAX_DROPS: usize = 5;

/// Of how many answers of DynamoDB versions are forgotten.
const MAX_PAGES: usize = 10_000;

impl Store {
    /// Drops a table with all its files: its manifests first, the newest last, so
    /// that nobody opens half a table, and so that who misses a file of it can
    /// tell that it is gone.
    pub async fn drop_table(&self, name: &TableName) -> Result<()> {
        let folder = Objects::table_folder(name);
        let manifests = self.objects.published(name).await.map_err(unanswered)?;
        let last = manifests.last_key_value().map(|(version, _)| *version);
        let mut manifests: Vec<_> = manifests.into_values().collect();
        let newest = manifests.pop();
        let delete = |manifest: Published| {
            let path = format!("{folder}/{}", manifest.file);
            async move { self.objects.delete(&path).await.map_err(unanswered) }
        };
        stream::iter(manifests)
            .map(|manifest| Ok(delete(manifest)))
            .try_buffer_unordered(PARALLEL_DELETES)
            .try_collect::<()>()
            .await?;
        if let Some(newest) = newest {
            delete(newest).await?;
        }
        let forgotten = self.forget_commits(&folder, last).await;
        forgotten.map_err(|e| error::in_table(name, e.into()))?;
        let mut attempt = 1;
        loop {
            match self.objects.delete_folder(&folder).await {
                Ok(()) => return Ok(()),
                // A local folder that another process has just put a file into.
                Err(_) if attempt < MAX_DROPS => attempt += 1,
                Err(e) => return Err(unanswered(e)),
            }
        }
    }

    /// Has what commits versions beside the store forget those of a table's folder, of
    /// which this one was the last. Of DynamoDB's, a page of its answers is forgotten at a
    /// time, in their order.
    async fn forget_commits(&self, folder: &str, last: Option<u64>) -> lance::Result<()> {
        let folder = self.objects.full(folder);
        for _ in 0..MAX_PAGES {
            self.commits.delete(&folder).await?;
            let Some(last) = last.filter(|_| self.elsewhere.is_some()) else {
                return Ok(());
            };
            if !self.is_committed(&folder, last).await? {
                return Ok(());
            }
        }
        let text = "more versions are committed there than can be forgotten";
        Err(lance::Error::io(text))
    }

    /// Whether there may be this version of a table: where versions are committed beside
    /// the store, that is known.
    pub(super) async fn may_have(&self, name: &TableName, version: u64) -> Result<bool> {
        if self.elsewhere.is_none() {
            return Ok(true);
        }
        let folder = self.objects.full(&Objects::table_folder(name));
        let is_there = self.is_committed(&folder, version).await;
        is_there.map_err(|e| error::in_table(name, e.into()))
    }

    async fn is_committed(&self, folder: &Path, version: u64) -> lance::Result<bool> {
        let (store, scheme) = (&self.objects.store.inner, ManifestNamingScheme::V2);
        let is_there = self.commits.version_exists(folder, version, store, scheme);
        is_there.await
    }
}

fn unanswered(error: ObjectError) -> Error {
    super::incarnation::unavailable(&error)
}
