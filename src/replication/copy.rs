//! Copying the files of one version, and publishing it.

use std::collections::{BTreeSet, HashMap};

use futures::{StreamExt, TryStreamExt, stream};

use super::ReplicationError;
use crate::{
    domain::TableName,
    storage::{FileCopy, ObjectError, Objects, VersionFiles},
};

/// The files of a table that a replica is known to have, so that each is asked
/// for once and not at every version.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// `None` before the first look.
    files: Option<HashMap<String, u64>>,
}

/// How much was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Copied {
    pub files: u64,
    pub bytes: u64,
}

/// Where a table is copied from and to.
pub(super) struct Route<'a> {
    pub source: &'a Objects,
    pub target: &'a Objects,
    pub table: &'a TableName,
    pub parallel: usize,
}

impl Route<'_> {
    fn path(&self, file: &str) -> String {
        format!("{}/{file}", Objects::table_folder(self.table))
    }

    /// Copies those of `files` that the replica lacks, or has in another size
    /// because an earlier copier wrote something else there.
    pub(super) async fn copy_files(
        &self,
        files: &BTreeSet<String>,
        present: &mut Present,
    ) -> Result<Copied, ReplicationError> {
        let have = match &mut present.files {
            Some(have) => have,
            None => {
                let folder = Objects::table_folder(self.table);
                let found = self.target.list(&folder).await?;
                let mut have = HashMap::with_capacity(found.len());
                // After a restart nothing is trusted without a look at its size.
                for (path, size) in found {
                    let Some(file) = path.strip_prefix(&folder) else {
                        continue;
                    };
                    let file = file.trim_start_matches('/');
                    if files.contains(file) && self.source_size(file).await? == size {
                        have.insert(file.to_owned(), size);
                    }
                }
                present.files.insert(have)
            }
        };
        let mut missing: Vec<String> = Vec::new();
        for file in files {
            if !have.contains_key(file) {
                missing.push(file.clone());
            }
        }
        let copies: Vec<(String, u64)> = stream::iter(missing)
            .map(|file| async move {
                let size = self.source_size(&file).await?;
                let copy = FileCopy {
                    path: self.path(&file),
                    size,
                };
                match self.target.copy_from(self.source, &copy).await {
                    Ok(_) => Ok((file, size)),
                    Err(ObjectError::NotFound(_)) => Err(ReplicationError::SourceGone(file)),
                    Err(e) => Err(e.into()),
                }
            })
            .buffer_unordered(self.parallel)
            .try_collect()
            .await?;
        let copied = Copied {
            files: copies.len() as u64,
            bytes: copies.iter().map(|(_, size)| size).sum(),
        };
        have.extend(copies);
        Ok(copied)
    }

    async fn source_size(&self, file: &str) -> Result<u64, ReplicationError> {
        self.source
            .size(&self.path(file))
            .await?
            .ok_or_else(|| ReplicationError::SourceGone(file.to_owned()))
    }

    /// Publishes a version whose files are all there: its manifest is what makes
    /// it visible. One that is there must have the same bytes.
    pub(super) async fn publish(
        &self,
        version: u64,
        files: &VersionFiles,
    ) -> Result<u64, ReplicationError> {
        let path = self.path(&files.manifest);
        let bytes = match self.source.get(&path).await {
            Ok(bytes) => bytes,
            Err(ObjectError::NotFound(_)) => {
                return Err(ReplicationError::SourceGone(files.manifest.clone()));
            }
            Err(e) => return Err(e.into()),
        };
        let size = bytes.len() as u64;
        if self.target.put_if_absent(&path, bytes.clone()).await? {
            return Ok(size);
        }
        match self.target.get(&path).await? == bytes {
            true => Ok(0),
            false => Err(ReplicationError::Diverged { version }),
        }
    }
}
