//! What is at a location, without opening it as a table: which versions are
//! published, and checksums of files. For comparing two locations.

use std::{collections::BTreeMap, fmt};

use lance_table::io::commit::ManifestNamingScheme;
use object_store::ObjectStoreExt as _;

use super::{ObjectError, Objects};
use crate::domain::TableName;

/// Bytes that are read at once for a checksum: few requests to an object store,
/// and a bounded buffer for each file that is being read.
const PIECE_BYTES: u64 = 4 << 20;

/// The BLAKE3 of an object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum([u8; 32]);

impl Checksum {
    /// Of bytes that are in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }
}

impl fmt::Display for Checksum {
    /// The first 8 of the 32 bytes in hexadecimal: enough to tell two apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// A manifest that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its path relative to the table's folder.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
}

impl Objects {
    /// The manifests of a table by version, as its folder has them; none where
    /// there is no such table.
    ///
    /// # Errors
    /// What the store answers to a listing.
    pub async fn published(
        &self,
        table: &TableName,
    ) -> Result<BTreeMap<u64, Published>, ObjectError> {
        let folder = Objects::table_folder(table);
        let found = self.list(&format!("{folder}/_versions")).await?;
        let manifests = found.into_iter().filter_map(|(path, size)| {
            let file = path.strip_prefix(&folder)?.trim_start_matches('/');
            let version = version_of(file.rsplit('/').next()?)?;
            let file = file.to_owned();
            Some((version, Published { file, size }))
        });
        Ok(manifests.collect())
    }

    /// The checksum of the first `size` bytes of an object, read in pieces.
    /// `read` is told the bytes of each piece.
    ///
    /// # Errors
    /// The object is not there, is shorter, or cannot be read.
    pub async fn checksum(
        &self,
        path: &str,
        size: u64,
        read: impl Fn(u64),
    ) -> Result<Checksum, ObjectError> {
        let path = self.full(path);
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < size {
            let end = size.min(at + PIECE_BYTES);
            let piece = self.store.inner.get_range(&path, at..end).await?;
            hasher.update(&piece);
            read(end - at);
            at = end;
        }
        Ok(Checksum(hasher.finalize().into()))
    }
}

/// The version that a manifest of this name publishes; `None` for other files
/// and for detached versions, which no reader finds by itself.
fn version_of(name: &str) -> Option<u64> {
    let scheme = ManifestNamingScheme::detect_scheme(name)?;
    scheme.parse_version(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_of_both_naming_schemes_are_known() {
        let newest = format!("{:020}.manifest", u64::MAX - 7);
        assert_eq!(version_of(&newest), Some(7));
        assert_eq!(version_of("7.manifest"), Some(7));
        for other in [
            "latest_version_hint.json",
            "d00000000000000000007.manifest",
            "x.manifest",
            "",
        ] {
            assert_eq!(version_of(other), None, "{other}");
        }
    }
}
