//! Whether every file of a version is there: for copies that something else makes.

use std::collections::HashMap;

use lance::{Dataset, index::DatasetIndexExt};
use lance_table::io::deletion::relative_deletion_file_path;

use super::{Objects, Snapshot, error};
use crate::domain::{Error, Result};

/// A file that a read of a version needs. Its size, in bytes, where the manifest
/// knows it.
type NeededFile = (String, Option<u64>);

impl Snapshot {
    /// The first file of this version that is not there, or has another size than
    /// the manifest says. The table's folder is listed once; the manifest itself
    /// is there, or there would be no snapshot.
    pub async fn missing_file(&self, objects: &Objects) -> Result<Option<String>> {
        let folder = Objects::table_folder(&self.name);
        let found = objects.list(&folder).await.map_err(|e| {
            tracing::warn!(detail = %e, "a folder could not be listed");
            Error::Unavailable {
                reason: "STORAGE_UNAVAILABLE",
                message: "the location could not be listed".into(),
                retry_after: std::time::Duration::from_secs(1),
            }
        })?;
        let there: HashMap<&str, u64> = found
            .iter()
            .filter_map(|(path, size)| Some((path.strip_prefix(&folder)?, *size)))
            .map(|(path, size)| (path.trim_start_matches('/'), size))
            .collect();
        let fits = |(path, size): &NeededFile| match (there.get(path.as_str()), size) {
            (Some(found), Some(size)) => found == size,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let dataset = error::dataset(&self.table).await?;
        let needed = self.needed_files(&dataset).await?;
        if let Some((missing, _)) = needed.into_iter().find(|file| !fits(file)) {
            return Ok(Some(missing));
        }
        // Only data files that are there say which side files their blobs are in.
        let references = self.blobs.references(&dataset).await?;
        let mut beside = references.iter().flat_map(|r| &r.side_files);
        let missing = beside.find(|(path, size)| {
            let found = there.get(path.as_str());
            found.is_none_or(|found| found < *size)
        });
        Ok(missing.map(|(path, _)| path.clone()))
    }

    async fn needed_files(&self, dataset: &Dataset) -> Result<Vec<NeededFile>> {
        let mut needed = Vec::new();
        for fragment in dataset.fragments().iter() {
            for file in fragment.referenced_lance_files() {
                let size = file.file_size_bytes.get().map(u64::from);
                needed.push((format!("data/{}", file.path), size));
            }
            if let Some(deletions) = &fragment.deletion_file {
                needed.push((relative_deletion_file_path(fragment.id, deletions), None));
            }
        }
        let indexes = dataset.load_indices().await;
        let indexes = indexes.map_err(|e| error::in_table(&self.name, e.into()))?;
        for index in indexes.iter() {
            // Indexes of old writers do not say what they are made of.
            for file in index.files.iter().flatten() {
                let path = format!("_indices/{}/{}", index.uuid, file.path);
                needed.push((path, Some(file.size_bytes)));
            }
        }
        Ok(needed)
    }
}
