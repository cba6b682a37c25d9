//! Side files: `data/<stem of a data file>/<id>.blob`, where Lance keeps the bytes
//! of larger blobs. No manifest names them. They belong to a version when their
//! data file does, and are all written before that is committed: so they can be
//! listed, and what was listed once stays true.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use lance::dataset::Dataset;
use lance_table::format::Manifest;
use object_store::{ObjectStore as _, path::Path};

use super::{Handle, VersionFiles, blobs, error, incarnation::unavailable};
use crate::domain::Result;

/// The folder of data files, and of the folders of side files, in a table's.
pub(super) const DATA: &str = "data";

/// With more data files than this to look for, their common folder is listed
/// instead: a thousand files cost one request.
const LISTED_SINGLY: usize = 16;

/// Folders listed concurrently.
const PARALLEL_LISTS: usize = 8;

/// What the folder of a data file's side files is called: the name of the data
/// file without its ending.
pub(super) fn stem(data_file: &str) -> &str {
    let name = data_file.rsplit('/').next().unwrap_or(data_file);
    name.strip_suffix(".lance").unwrap_or(name)
}

/// The stem of the data file that a file is beside, if it is a side file.
fn beside(file: &str) -> Option<&str> {
    let (folder, rest) = file.split_once('/')?;
    let (stem, _) = rest.split_once('/')?;
    (folder == DATA).then_some(stem)
}

fn is_data_file(file: &str) -> bool {
    file.strip_prefix(DATA)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// What some versions of a table need. For deciding what may be deleted: a side
/// file is needed when its data file is, whatever is known of its columns.
#[derive(Debug, Default)]
pub struct Needed {
    files: HashSet<String>,
    stems: HashSet<String>,
}

impl Needed {
    /// What these versions need, their manifests included.
    pub(super) fn by(versions: BTreeMap<u64, VersionFiles>) -> Self {
        let mut needed = Self::default();
        for version in versions.into_values() {
            for file in version.files.into_iter().chain([version.manifest]) {
                if is_data_file(&file) {
                    needed.stems.insert(stem(&file).to_owned());
                }
                needed.files.insert(file);
            }
        }
        needed
    }

    /// Whether a file, relative to the table's folder, is among them.
    pub fn has(&self, file: &str) -> bool {
        self.files.contains(file) || beside(file).is_some_and(|stem| self.stems.contains(stem))
    }

    /// Whether there is no version at all.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

/// The data files of a version that may have side files: those with a blob
/// column, or with a column that the version has no more.
fn with_blobs(manifest: &Manifest) -> HashSet<String> {
    let mut plain: HashSet<i32> = manifest.schema.fields_pre_order().map(|f| f.id).collect();
    for field in manifest.schema.fields_pre_order() {
        if field.is_blob_v2() {
            for id in blobs::ids(field) {
                plain.remove(&id);
            }
        }
    }
    let fragments = manifest.fragments.iter();
    let files = fragments.flat_map(|fragment| fragment.referenced_lance_files());
    files
        .filter(|file| file.fields.iter().any(|id| !plain.contains(id)))
        .map(|file| format!("{DATA}/{}", file.path))
        .collect()
}

impl Handle {
    /// Adds the side files of each version to its files. A version that is gone
    /// by now is left out. Of tables that never had blobs nothing is listed.
    pub(super) async fn add_side_files(
        &self,
        dataset: &Dataset,
        versions: &mut BTreeMap<u64, VersionFiles>,
    ) -> Result<()> {
        let mut sides: HashMap<String, Vec<String>> = HashMap::new();
        let mut gone = HashSet::new();
        // Newest first: most data files of older versions are in newer ones too.
        for (version, found) in versions.iter_mut().rev() {
            let data = found.files.iter().filter(|file| is_data_file(file));
            let new: Vec<String> = data.filter(|f| !sides.contains_key(*f)).cloned().collect();
            let new = self.blobs.recall(new, &mut sides);
            if !new.is_empty() {
                let older;
                let manifest = if dataset.manifest().version == *version {
                    dataset.manifest()
                } else {
                    match self.checkout(dataset, *version).await? {
                        Some(other) => {
                            older = other;
                            older.manifest()
                        }
                        None => {
                            gone.insert(*version);
                            continue;
                        }
                    }
                };
                let with = with_blobs(manifest);
                let (with, without): (Vec<_>, Vec<_>) =
                    new.into_iter().partition(|file| with.contains(file));
                sides.extend(without.into_iter().map(|file| (file, Vec::new())));
                sides.extend(self.side_files(dataset, with).await?);
            }
            let beside = found.files.iter().filter_map(|file| sides.get(file));
            let beside: Vec<String> = beside.flatten().cloned().collect();
            found.files.extend(beside);
        }
        versions.retain(|version, _| !gone.contains(version));
        self.blobs.remember(sides);
        Ok(())
    }

    /// The side files of these data files: what is there, and what blobs that
    /// were read refer to, so that one which is lost is missed.
    async fn side_files(
        &self,
        dataset: &Dataset,
        data_files: Vec<String>,
    ) -> Result<Vec<(String, Vec<String>)>> {
        let mut listed = match data_files.len() {
            0 => HashMap::new(),
            1..=LISTED_SINGLY => {
                let folders = data_files.iter();
                let folders = folders.map(|file| dataset.data_dir().join(stem(file)));
                let folders: Vec<Path> = folders.collect();
                let lists = stream::iter(folders).map(|folder| list(dataset, folder));
                let lists = lists.buffer_unordered(PARALLEL_LISTS);
                lists.try_concat().await?
            }
            _ => list(dataset, dataset.data_dir()).await?,
        };
        let sides = data_files.into_iter().map(|file| {
            let mut beside = listed.remove(stem(&file)).unwrap_or_default();
            beside.extend(self.blobs.side_files_read_of(&file));
            (file, beside)
        });
        Ok(sides.collect())
    }
}

/// The side files below a folder, by the stem of their data file.
async fn list(dataset: &Dataset, folder: Path) -> Result<HashMap<String, Vec<String>>> {
    let store = dataset.object_store(None).await;
    let store = store.map_err(|e| error::from_chain(&e))?;
    let base = dataset.branch_location().path;
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    let mut listing = store.inner.list(Some(&folder));
    while let Some(meta) = listing.next().await {
        let meta = match meta {
            Ok(meta) => meta,
            // A file that was deleted while its folder was listed.
            Err(object_store::Error::NotFound { .. }) => continue,
            Err(e) => return Err(unavailable(&e.into())),
        };
        let Some(parts) = meta.location.prefix_match(&base) else {
            continue;
        };
        let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
        let file = parts.join("/");
        if let Some(stem) = beside(&file) {
            found.entry(stem.to_owned()).or_default().push(file);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_file_is_needed_as_long_as_its_data_file_is() {
        let files = ["data/a1.lance", "_deletions/0-1-2.arrow"];
        let version = VersionFiles {
            files: files.map(str::to_owned).into(),
            manifest: "_versions/1.manifest".into(),
        };
        let needed = Needed::by(BTreeMap::from([(1, version)]));
        for file in [
            "data/a1.lance",
            "data/a1/10.blob",
            "_deletions/0-1-2.arrow",
            "_versions/1.manifest",
        ] {
            assert!(needed.has(file), "{file}");
        }
        for file in [
            "data/a2.lance",
            "data/a2/10.blob",
            "data/a1",
            "other/a1/10.blob",
            "_deletions/a1/10.blob",
        ] {
            assert!(!needed.has(file), "{file}");
        }
        assert!(Needed::by(BTreeMap::new()).is_empty());
    }
}
