//! A cache on the local disk of the files that a table on an object store is made of.
//!
//! Data, index and deletion files have unique names and never change, so that what was
//! read once is true for as long as it is kept. Manifests and everything that lancegate
//! itself keeps go past the cache: they say what there is. The cache holds pages of
//! [`PAGE`] bytes in one bounded folder, each with a checksum, and is there again after
//! a restart; what is damaged is read from the store anew.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, PsyncIoEngineConfig, RecoverMode,
};
use object_store::ObjectStore;

use self::{
    page::{Page, PageKey},
    store::Cached,
};

mod page;
mod store;
#[cfg(test)]
mod tests;

/// The bytes of a file that are fetched and kept together: twice what Lance reads at
/// once from an object store, and enough that the 4 KiB by which a page is longer on
/// the disk than in the file do not count.
pub const PAGE: u64 = 128 << 10;

/// What is freed together, in bytes.
const BLOCK: usize = 16 << 20;

/// Pages that were just read are in memory for a moment, up to so many bytes. LanceDB
/// has caches of its own for what is read often.
const MEMORY: usize = 32 << 20;

/// Bytes that wait to be written to the disk; more of them are not kept.
const WRITE_BUFFER: usize = 64 << 20;

/// Says that a folder is a cache, and of which size and form.
const MARK: &str = "lancegate-cache";

/// The form of what is in a folder: another one is thrown away.
const FORM: u32 = 1;

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made, read or written.
    #[error("the folder '{folder}' cannot be used: {cause}")]
    Folder { folder: PathBuf, cause: io::Error },
    /// Another process has it.
    #[error("the folder '{0}' is in use by another process: each needs its own")]
    InUse(PathBuf),
    /// Something else is in it.
    #[error("the folder '{0}' has files in it that are not a cache's: name an empty one")]
    NotACache(PathBuf),
    /// The library could not open it.
    #[error("the folder '{folder}' cannot be opened as a cache: {cause}")]
    Engine {
        folder: PathBuf,
        cause: foyer::Error,
    },
}

/// A cache in one folder. It is shared by all the tables and stores of a process.
pub struct DiskCache {
    pages: HybridCache<PageKey, Page>,
    /// Locked for as long as the cache is open.
    _mark: File,
}

impl fmt::Debug for DiskCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskCache").finish_non_exhaustive()
    }
}

impl DiskCache {
    /// Opens the cache in `folder`, which is created if it is not there. It takes at
    /// most `bytes` on the disk; what a cache of another size left there is deleted.
    ///
    /// # Errors
    /// Those of [`OpenError`].
    pub async fn open(folder: &Path, bytes: u64) -> Result<Arc<Self>, OpenError> {
        let mark = claim(folder, bytes)?;
        let engine = |cause| OpenError::Engine {
            folder: folder.to_owned(),
            cause,
        };
        let device = FsDeviceBuilder::new(folder.join("blocks"))
            .with_capacity(usize::try_from(bytes).unwrap_or(usize::MAX))
            .build()
            .map_err(engine)?;
        let blocks = BlockEngineConfig::new(device)
            .with_block_size(BLOCK)
            .with_buffer_pool_size(WRITE_BUFFER);
        let pages = HybridCacheBuilder::new()
            .with_name("lancegate")
            // What was read is of use after a restart: it does not wait until memory is full.
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .memory(MEMORY)
            .with_weighter(|_: &PageKey, page: &Page| page.weight())
            .storage()
            .with_io_engine_config(PsyncIoEngineConfig::new())
            .with_engine_config(blocks)
            .with_recover_mode(RecoverMode::Quiet)
            .build()
            .await
            .map_err(engine)?;
        Ok(Arc::new(Self { pages, _mark: mark }))
    }

    /// A store that is read through the cache. `server` tells stores apart whose
    /// `bucket` and paths are alike.
    pub fn over(
        self: &Arc<Self>,
        server: &str,
        bucket: &str,
        inner: Arc<dyn ObjectStore>,
    ) -> Arc<dyn ObjectStore> {
        Arc::new(Cached::new(Arc::clone(self), server, bucket, inner))
    }

    /// Writes what still waits to be written, and closes the cache: from now on all is
    /// read from the stores.
    pub async fn close(&self) {
        if let Err(error) = self.pages.close().await {
            tracing::warn!(%error, "the cache on the local disk could not be closed");
        }
    }

    /// A page, unless it is not there or damaged.
    async fn page(&self, key: &PageKey) -> Option<Page> {
        match self.pages.get(key).await {
            Ok(found) => found.map(|entry| entry.value().clone()),
            Err(error) => {
                tracing::debug!(%error, "a page of the cache could not be read");
                None
            }
        }
    }

    fn keep(&self, key: PageKey, page: Page) {
        self.pages.insert(key, page);
    }
}

/// Takes a folder for this process, and empties it where it has another size or form.
fn claim(folder: &Path, bytes: u64) -> Result<File, OpenError> {
    let unusable = |cause| OpenError::Folder {
        folder: folder.to_owned(),
        cause,
    };
    fs::create_dir_all(folder).map_err(unusable)?;
    let path = folder.join(MARK);
    if !path.exists() && fs::read_dir(folder).map_err(unusable)?.next().is_some() {
        return Err(OpenError::NotACache(folder.to_owned()));
    }
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut mark = options.open(&path).map_err(unusable)?;
    match mark.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(OpenError::InUse(folder.to_owned())),
        Err(fs::TryLockError::Error(cause)) => return Err(unusable(cause)),
    }
    let wanted = format!("form {FORM}, {bytes} bytes\n");
    let mut found = String::new();
    mark.read_to_string(&mut found).map_err(unusable)?;
    if found != wanted {
        match fs::remove_dir_all(folder.join("blocks")) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(unusable(cause)),
            _ => {}
        }
        mark.set_len(0).map_err(unusable)?;
        mark.rewind().map_err(unusable)?;
        mark.write_all(wanted.as_bytes()).map_err(unusable)?;
    }
    Ok(mark)
}
