//! What is kept of the tables' files, in memory and on the local disk: the meaning of
//! `[cache]`.

use std::path::PathBuf;

use super::{
    checks::{Zero, bytes},
    fault::Faults,
    raw,
};

/// The least that the folder may be bounded to, in bytes: some of the blocks of 16 MiB
/// that are freed together.
const MIN_DISK_BYTES: u64 = 128 << 20;

/// Memory for LanceDB's caches, shared by all connections.
#[derive(Debug, Clone, Copy)]
pub struct Cache {
    pub index_bytes: usize,
    pub metadata_bytes: usize,
}

/// A folder for what was read of object stores.
#[derive(Debug, Clone)]
pub struct DiskCache {
    pub folder: PathBuf,
    /// The most that it takes.
    pub bytes: u64,
}

/// Checks `[cache]`.
pub(super) fn cache(raw: &raw::Cache, faults: &mut Faults) -> (Cache, Option<DiskCache>) {
    let mut size = |key: &str, size, zero| bytes(faults, &format!("cache.{key}"), size, zero);
    let memory = Cache {
        index_bytes: size("index_bytes", &raw.index_bytes, Zero::Allowed),
        metadata_bytes: size("metadata_bytes", &raw.metadata_bytes, Zero::Allowed),
    };
    let bytes = size("disk_bytes", &raw.disk_bytes, Zero::Refused) as u64;
    if bytes > 0 && bytes < MIN_DISK_BYTES {
        let least = MIN_DISK_BYTES >> 20;
        faults.push("cache.disk_bytes", format!("must be at least {least} MiB"));
    }
    if raw.disk_folder.is_empty() {
        return (memory, None);
    }
    if cfg!(not(feature = "disk-cache")) {
        let text = "needs a lancegate that was built with the feature disk-cache";
        faults.push("cache.disk_folder", text);
    }
    let folder = PathBuf::from(&raw.disk_folder);
    (memory, Some(DiskCache { folder, bytes }))
}

impl Cache {
    pub(super) fn to_raw(self, disk: Option<&DiskCache>) -> raw::Cache {
        let written = raw::Cache::default();
        raw::Cache {
            index_bytes: (self.index_bytes as u64).into(),
            metadata_bytes: (self.metadata_bytes as u64).into(),
            disk_folder: disk.map_or_else(String::new, |d| d.folder.display().to_string()),
            disk_bytes: disk.map_or(written.disk_bytes, |d| d.bytes.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_a_bound_that_is_of_use() {
        let checked = |text: &str| {
            let mut faults = Faults::default();
            let (_, disk) = cache(&toml::from_str(text).unwrap(), &mut faults);
            let found = faults.finish::<()>(None, |_| None).unwrap_err();
            let found = found.faults().iter().map(|fault| fault.path.clone());
            (disk, found.collect::<Vec<_>>())
        };
        // Where nothing is wrong, only the missing value is.
        let (disk, none) = checked("disk_folder = '/var/cache/lancegate'\ndisk_bytes = '1GiB'");
        let disk = disk.unwrap();
        assert_eq!(
            (disk.folder, disk.bytes),
            ("/var/cache/lancegate".into(), 1 << 30)
        );
        assert_eq!(none, ["configuration"]);
        assert!(checked("").0.is_none());
        let (_, small) = checked("disk_folder = 'x'\ndisk_bytes = '1MiB'");
        assert_eq!(small, ["cache.disk_bytes"]);
        let (_, nothing) = checked("disk_folder = 'x'\ndisk_bytes = 0");
        assert_eq!(nothing, ["cache.disk_bytes"]);
    }
}
