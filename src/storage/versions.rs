//! What one version of a table consists of: for replication.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use arrow::{
    array::{AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use futures::TryStreamExt;
use lance::{
    dataset::{Dataset, files::TrackedFilesOptions},
    index::DatasetIndexExt,
};
use lance_table::{format::Manifest, system_index::mem_wal::MEM_WAL_INDEX_NAME};

use super::{Handle, blobs::MANAGED, error, sides::Needed};
use crate::domain::{Error, Result};

/// One commit of one table. The number alone is no identity: dropping and
/// re-creating a table begins again at 1. The time of the commit, in
/// nanoseconds and part of the copied manifest, tells the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commit {
    pub version: u64,
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub timestamp_nanos: u128,
}

impl Commit {
    pub(super) fn of(manifest: &Manifest) -> Self {
        Self {
            version: manifest.version,
            timestamp_nanos: manifest.timestamp_nanos,
        }
    }

    /// When it was committed.
    pub fn time(&self) -> SystemTime {
        let nanos = u64::try_from(self.timestamp_nanos).unwrap_or(u64::MAX);
        SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
    }
}

/// The files of one version, relative to the table's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionFiles {
    /// Data files with their side files; deletion, index and transaction files.
    pub files: BTreeSet<String>,
    /// The manifest: its presence publishes the version.
    pub manifest: String,
}

impl Handle {
    /// The numbers of all versions that are there, ascending.
    pub async fn version_numbers(&self) -> Result<Vec<u64>> {
        let dataset = error::dataset(&self.table).await?;
        let refs = dataset
            .version_refs()
            .await
            .map_err(|e| error::in_table(&self.name, e.into()))?;
        Ok(refs.into_iter().map(|r| r.version).collect())
    }

    /// The commit of a version, or `None` if that version is not there.
    pub async fn commit_of(&self, version: u64) -> Result<Option<Commit>> {
        let dataset = error::dataset(&self.table).await?;
        if dataset.manifest().version == version {
            return Ok(Some(Commit::of(dataset.manifest())));
        }
        let other = self.checkout(&dataset, version).await?;
        Ok(other.map(|other| Commit::of(other.manifest())))
    }

    /// Another version of the table, or `None` if that version is not there.
    pub(super) async fn checkout(
        &self,
        dataset: &Dataset,
        version: u64,
    ) -> Result<Option<Dataset>> {
        match dataset.checkout_version(version).await {
            Ok(other) => Ok(Some(other)),
            // Listed only now: a list has every version that there is.
            Err(e) => match self.version_numbers().await?.contains(&version) {
                true => Err(error::in_table(&self.name, e.into())),
                false => Ok(None),
            },
        }
    }

    /// Why this table cannot be copied file by file, if it cannot.
    pub async fn not_copyable(&self) -> Result<Option<&'static str>> {
        let dataset = error::dataset(&self.table).await?;
        let in_table = |e: lance::Error| error::in_table(&self.name, e.into());
        let manifest = dataset.manifest();
        let branches = dataset.list_branches().await.map_err(in_table)?;
        let indexes = dataset.load_indices().await.map_err(in_table)?;
        Ok(if !manifest.base_paths.is_empty() {
            Some("the table refers to files outside its folder (base paths or a shallow clone)")
        } else if manifest.branch.is_some() {
            Some("the table is a branch")
        } else if !branches.is_empty() {
            Some("the table has branches")
        } else if indexes.iter().any(|i| i.name == MEM_WAL_INDEX_NAME) {
            Some("the table has write-ahead state outside its versions (MemWAL)")
        } else if manifest.has_managed_blobs() {
            Some(MANAGED)
        } else {
            let references = self.blobs.references(&dataset).await?;
            references.iter().find_map(|r| r.not_copyable)
        })
    }

    /// The files of every version from `first` on, by version, with the side files
    /// of blobs.
    pub async fn version_files(&self, first: u64) -> Result<BTreeMap<u64, VersionFiles>> {
        let dataset = error::dataset(&self.table).await?;
        let mut versions = tracked(&dataset, first).await?;
        self.add_side_files(&dataset, &mut versions).await?;
        Ok(versions)
    }

    /// What the versions that are there need: whatever else is in the table's
    /// folders of files may be deleted.
    pub async fn needed(&self) -> Result<Needed> {
        let dataset = error::dataset(&self.table).await?;
        Ok(Needed::by(tracked(&dataset, 0).await?))
    }
}

/// The files that manifests name, of every version from `first` on.
async fn tracked(dataset: &Dataset, first: u64) -> Result<BTreeMap<u64, VersionFiles>> {
    let mut rows = dataset
        .tracked_files_with_options(TrackedFilesOptions {
            min_version: Some(first),
            progress: None,
        })
        .await;
    let mut versions = BTreeMap::new();
    while let Some(batch) = rows.try_next().await.map_err(|e| error::from_chain(&e))? {
        add_files(&batch, &mut versions)?;
    }
    Ok(versions)
}

fn add_files(batch: &RecordBatch, versions: &mut BTreeMap<u64, VersionFiles>) -> Result<()> {
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .ok_or_else(|| Error::Internal(format!("tracked files have no column {name}")))
    };
    let text = |name: &str| {
        cast(column(name)?, &DataType::Utf8).map_err(|e| Error::Internal(e.to_string()))
    };
    let numbers = column("version")?;
    let (paths, kinds) = (text("path")?, text("type")?);
    let numbers = numbers.as_primitive::<Int64Type>();
    let (paths, kinds) = (paths.as_string::<i32>(), kinds.as_string::<i32>());
    for row in 0..batch.num_rows() {
        // Lance keeps version numbers as u64 and shows them as i64 here.
        let files: &mut VersionFiles = versions
            .entry(numbers.value(row).cast_unsigned())
            .or_default();
        let path = paths.value(row).to_owned();
        if kinds.value(row) == "manifest" {
            files.manifest = path;
        } else {
            files.files.insert(path);
        }
    }
    Ok(())
}
