//! Copying the files of one version, and publishing it.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::{ReplicationError, drop::Dropper, failpoint, lease::Turn};
use crate::{
    domain::{Incarnation, TableName},
    storage::{FileCopy, ObjectError, Objects, Transfer, VersionFiles},
    telemetry::metrics,
};

/// The files of a table that a replica is known to have, so that each is asked
/// for once and not at every version.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// `None` before the first look.
    files: Option<HashMap<String, u64>>,
}

impl Present {
    /// A file is there no more.
    pub(super) fn forget(&mut self, file: &str) {
        if let Some(files) = &mut self.files {
            files.remove(file);
        }
    }

    /// Whatever is there is not to be relied on.
    pub(super) fn nothing() -> Self {
        Self {
            files: Some(HashMap::new()),
        }
    }
}

/// Where a table is copied from and to.
pub(super) struct Route<'a> {
    pub source: &'a Objects,
    pub target: &'a Objects,
    /// The replica's name.
    pub replica: &'a str,
    pub table: &'a TableName,
    /// The creation of the table that is copied.
    pub incarnation: Incarnation,
    pub parallel: usize,
    pub transfer: Transfer<'a>,
    pub dropper: &'a Dropper,
    pub turn: &'a Turn,
}

impl Route<'_> {
    /// Path of a file of the table, relative to both locations.
    pub(super) fn path(&self, file: &str) -> String {
        format!("{}/{file}", Objects::table_folder(self.table))
    }

    /// Copies those of `files` that the replica lacks, or has in another size
    /// because an earlier copier wrote something else there.
    pub(super) async fn copy_files(
        &self,
        files: &BTreeSet<String>,
        present: &mut Present,
    ) -> Result<(), ReplicationError> {
        let have = match &mut present.files {
            Some(have) => have,
            None => {
                let found = self.look(files).await?;
                present.files.insert(found)
            }
        };
        // What an earlier table of the name left, and this one needs, is kept.
        let mut paths = Vec::with_capacity(files.len());
        for file in files {
            paths.push(self.path(file));
        }
        self.dropper.spare(paths).await;
        let mut missing: Vec<String> = Vec::new();
        for file in files {
            if !have.contains_key(file) {
                missing.push(file.clone());
            }
        }
        let copies: Vec<(String, u64)> = stream::iter(missing)
            .map(|file| self.copy_file(file))
            .buffer_unordered(self.parallel)
            .try_collect()
            .await?;
        have.extend(copies);
        failpoint::reached("copy:files");
        Ok(())
    }

    /// Which of `files` the replica has. After a restart nothing is trusted
    /// without a look at its size.
    async fn look(
        &self,
        files: &BTreeSet<String>,
    ) -> Result<HashMap<String, u64>, ReplicationError> {
        let folder = Objects::table_folder(self.table);
        let found = self.target.list(&folder).await?;
        let mut have = HashMap::with_capacity(found.len());
        for (path, size) in found {
            let Some(file) = path.strip_prefix(&folder) else {
                continue;
            };
            let file = file.trim_start_matches('/');
            if files.contains(file) && self.source_size(file).await? == size {
                have.insert(file.to_owned(), size);
            }
        }
        Ok(have)
    }

    async fn copy_file(&self, file: String) -> Result<(String, u64), ReplicationError> {
        failpoint::reached("copy:file-begins");
        let copy = FileCopy {
            path: self.path(&file),
            size: self.source_size(&file).await?,
        };
        let copied = self.target.copy_from(self.source, &copy, self.transfer);
        match copied.await {
            Ok(()) => {}
            Err(ObjectError::NotFound(_)) => {
                return Err(ReplicationError::SourceGone(file));
            }
            Err(e) => return Err(e.into()),
        }
        metrics::file_copied(self.replica, copy.size);
        failpoint::reached("copy:file");
        Ok((file, copy.size))
    }

    async fn source_size(&self, file: &str) -> Result<u64, ReplicationError> {
        self.source
            .size(&self.path(file))
            .await?
            .ok_or_else(|| ReplicationError::SourceGone(file.to_owned()))
    }

    /// The manifest of a version, as the primary has it.
    pub(super) async fn manifest(&self, files: &VersionFiles) -> Result<Bytes, ReplicationError> {
        match self.source.get(&self.path(&files.manifest)).await {
            Ok(bytes) => Ok(bytes),
            Err(ObjectError::NotFound(_)) => {
                Err(ReplicationError::SourceGone(files.manifest.clone()))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Publishes a version whose files are all there: its manifest is what makes
    /// it visible. One that is there must have the same bytes.
    pub(super) async fn publish(
        &self,
        version: u64,
        files: &VersionFiles,
    ) -> Result<(), ReplicationError> {
        let path = self.path(&files.manifest);
        let bytes = self.manifest(files).await?;
        // What was read is of the creation whose mark is still there: dropping deletes
        // the manifests first. Another one has manifests of the same names.
        self.must_be_of_it(self.source).await?;
        self.dropper.spare(vec![path.clone()]).await;
        // Another process may have deleted meanwhile what this one found there.
        if !self.turn.is_ours() {
            return Err(ReplicationError::NotOurTurn);
        }
        failpoint::reached("copy:manifest");
        self.must_be_of_it(self.target).await?;
        if self.target.put_if_absent(&path, bytes.clone()).await? {
            metrics::file_copied(self.replica, bytes.len() as u64);
        } else if self.target.get(&path).await? != bytes {
            return Err(ReplicationError::Diverged { version });
        }
        failpoint::reached("copy:published");
        Ok(())
    }

    /// Makes sure that a location has the creation of the table that is copied.
    async fn must_be_of_it(&self, place: &Objects) -> Result<(), ReplicationError> {
        if self.incarnation == Incarnation::UNKNOWN
            || place.incarnation(self.table).await? == Some(self.incarnation)
        {
            return Ok(());
        }
        Err(ReplicationError::SourceGone("incarnation".to_owned()))
    }

    /// Copies the files of a version and publishes it.
    pub(super) async fn copy_version(
        &self,
        version: u64,
        files: &VersionFiles,
        present: &mut Present,
    ) -> Result<(), ReplicationError> {
        let began = Instant::now();
        let outcome = async {
            if failpoint::breaks("manifest-first") {
                self.publish(version, files).await?;
                // Long enough for a reader to come.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            self.copy_files(&files.files, present).await?;
            self.publish(version, files).await
        };
        let outcome = outcome.await;
        metrics::copy_finished(self.replica, outcome.is_ok(), began.elapsed());
        outcome
    }
}

#[cfg(test)]
mod tests;
