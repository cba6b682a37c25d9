//! A cache on the local disk of the files that a table on an object store is made of.
//!
//! Data, index and deletion files have unique names and never change, so that what was
//! read once is true for as long as it is kept. Manifests and everything that lancegate
//! itself keeps go past the cache: they say what there is. The cache holds pages of
//! [`PAGE`] bytes in one bounded folder, each with a checksum, and is there again after
//! a restart; what is damaged is read from the store anew, and so is all of a table
//! whose files were replaced ([`DiskCache::forget`]).

use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, PsyncIoEngineConfig, RecoverMode,
};
use object_store::{ObjectStore, path::Path as StorePath};

use self::{
    folder::{Claimed, claim},
    generations::Generations,
    page::{FileKey, Page, PageKey, TableKey},
    store::Cached,
};

mod folder;
mod generations;
mod page;
mod store;
#[cfg(test)]
mod tests;

/// The bytes of a file that are fetched and kept together: twice what Lance reads at
/// once from an object store, and enough that the 4 KiB by which a page is longer on
/// the disk than in the file do not count.
pub const PAGE: u64 = 128 << 10;

/// About how many blocks there are in a large cache. A block is what is freed together,
/// and a file that stays open, of which a process may often have no more than 1024.
const BLOCKS: u64 = 256;

/// The bounds of the size of a block, in bytes. Foyer counts within one in 32 bits.
const LEAST_BLOCK: u64 = 16 << 20;
const LARGEST_BLOCK: u64 = 2 << 30;

/// What the sizes of blocks are multiples of.
const ALIGNED: u64 = 4 << 10;

/// Pages that were just read are in memory for a moment, up to so many bytes. LanceDB
/// has caches of its own for what is read often.
const MEMORY: usize = 32 << 20;

/// Bytes that wait to be written to the disk; more of them are not kept.
const WRITE_BUFFER: usize = 64 << 20;

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
    generations: Generations,
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
        let Claimed {
            mark,
            blocks,
            generations,
        } = claim(folder, bytes)?;
        let engine = |cause| OpenError::Engine {
            folder: folder.to_owned(),
            cause,
        };
        let device = FsDeviceBuilder::new(blocks)
            .with_capacity(usize::try_from(bytes).unwrap_or(usize::MAX))
            .build()
            .map_err(engine)?;
        let blocks = BlockEngineConfig::new(device)
            .with_block_size(block_size(bytes))
            .with_buffer_pool_size(WRITE_BUFFER)
            // Foyer 0.22 has 16 MiB here, whatever the buffer has room for.
            .with_submit_queue_size_threshold(WRITE_BUFFER);
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
        Ok(Arc::new(Self {
            pages,
            generations,
            _mark: mark,
        }))
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

    /// Has the files of a table read from the store from now on, whatever was kept of
    /// them, also after a restart. `server` and `bucket` are those of
    /// [`DiskCache::over`], and `folder` is the table's.
    ///
    /// # Errors
    /// It could not be written down: then what was kept still counts.
    pub async fn forget(
        self: &Arc<Self>,
        server: &str,
        bucket: &str,
        folder: &StorePath,
    ) -> io::Result<()> {
        let table = TableKey::of(server, bucket, folder.as_ref());
        let cache = Arc::clone(self);
        // It waits for the disk.
        let noted = tokio::task::spawn_blocking(move || cache.generations.next(table)).await;
        noted.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
    }

    /// Writes what still waits to be written, and closes the cache: from now on all is
    /// read from the stores.
    pub async fn close(&self) {
        if let Err(error) = self.pages.close().await {
            tracing::warn!(%error, "the cache on the local disk could not be closed");
        }
    }

    /// Which file it is that is read from now on.
    fn file(&self, table: TableKey, path: &StorePath) -> FileKey {
        FileKey::of(table, self.generations.get(table), path)
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

/// The size of the blocks of a cache of so many bytes.
fn block_size(bytes: u64) -> usize {
    let size = bytes.div_ceil(BLOCKS).next_multiple_of(ALIGNED);
    // A machine that cannot count so far has no such disk.
    usize::try_from(size.clamp(LEAST_BLOCK, LARGEST_BLOCK)).unwrap_or(usize::MAX)
}
