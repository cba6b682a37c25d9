//! Lance's commit, with something done at the moment when everything but the
//! manifest is there: Lance calls this in place of the store's own way to commit.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::stream::BoxStream;
use lance::Dataset;
use lance_io::object_store::ObjectStore;
use lance_table::{
    format::{IndexMetadata, Manifest, Transaction},
    io::commit::{
        CommitError, CommitHandler, ManifestLocation, ManifestNamingScheme, ManifestWriter,
    },
};
use object_store::{ObjectStore as OSObjectStore, path::Path};

use super::recorded::made_by;
use crate::{config::failpoint, domain::request::Recorded};

/// What a commit that is kept says: no error of anything.
pub(super) const KEPT: &str = "this commit is kept for later";

/// The store's way to commit, and what comes before it.
pub(super) struct Step {
    inner: Arc<dyn CommitHandler>,
    first: First,
}

enum First {
    /// Keeps the transaction and commits nothing.
    Capture(Mutex<Option<Box<Transaction>>>),
    /// Commits unless a request id is recorded already.
    LookFor(LookFor),
}

struct LookFor {
    /// The key of the request id.
    key: u128,
    /// For reading what other versions record.
    dataset: Arc<Dataset>,
    /// No version up to this one records it.
    seen: AtomicU64,
    found: Mutex<Option<Recorded>>,
}

impl Step {
    /// Keeps the transaction of a write, which fails then.
    pub(super) fn capture(inner: Arc<dyn CommitHandler>) -> Self {
        Self {
            inner,
            first: First::Capture(Mutex::default()),
        }
    }

    /// Commits unless a version after `seen` records this request id.
    ///
    /// Lance numbers a version before it commits it, and the store takes each
    /// number once. So when all versions below the number were looked at and the
    /// number is still free, no other process has recorded the id.
    pub(super) fn look_for(
        inner: Arc<dyn CommitHandler>,
        dataset: Arc<Dataset>,
        key: u128,
        seen: u64,
    ) -> Self {
        Self {
            inner,
            first: First::LookFor(LookFor {
                key,
                dataset,
                seen: AtomicU64::new(seen),
                found: Mutex::default(),
            }),
        }
    }

    /// The transaction that was kept.
    pub(super) fn captured(&self) -> Option<Transaction> {
        match &self.first {
            First::Capture(kept) => {
                let kept = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
                kept.map(|transaction| *transaction)
            }
            First::LookFor(_) => None,
        }
    }

    /// The record that kept this from committing.
    pub(super) fn found(&self) -> Option<Recorded> {
        match &self.first {
            First::Capture(_) => None,
            First::LookFor(look) => *look.found.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl LookFor {
    /// Whether a version below `next` records the id.
    async fn is_recorded_below(&self, next: u64) -> lance::Result<bool> {
        if failpoint::breaks("once:no-lookup") {
            return Ok(false);
        }
        // At most the commits of others since the write began, a few at a time:
        // Lance itself has just read each of them.
        for version in self.seen.load(Ordering::Relaxed) + 1..next {
            let made = made_by(&self.dataset, version).await?;
            if let Some((key, recorded)) = made.and_then(|made| made.entry)
                && key == self.key
            {
                let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                *found = Some(recorded);
                return Ok(true);
            }
            self.seen.store(version, Ordering::Relaxed);
        }
        Ok(false)
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Step(..)")
    }
}

#[async_trait::async_trait]
impl CommitHandler for Step {
    async fn commit(
        &self,
        manifest: &mut Manifest,
        indices: Option<Vec<IndexMetadata>>,
        base_path: &Path,
        object_store: &ObjectStore,
        manifest_writer: ManifestWriter,
        naming_scheme: ManifestNamingScheme,
        transaction: Option<Transaction>,
    ) -> Result<ManifestLocation, CommitError> {
        match &self.first {
            First::Capture(kept) => {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = transaction.map(Box::new);
                return Err(lance::Error::internal(KEPT).into());
            }
            First::LookFor(look) => {
                if look.is_recorded_below(manifest.version).await? {
                    return Err(lance::Error::internal("committed before").into());
                }
            }
        }
        self.inner
            .commit(
                manifest,
                indices,
                base_path,
                object_store,
                manifest_writer,
                naming_scheme,
                transaction,
            )
            .await
    }

    // Everything else is the store's.

    fn is_version_not_found_definitive(&self) -> bool {
        // Of what is kept there is no version: nobody has to look for it again.
        matches!(self.first, First::Capture(_)) || self.inner.is_version_not_found_definitive()
    }

    fn propagate_commit_error_after_success(&self) -> bool {
        self.inner.propagate_commit_error_after_success()
    }

    async fn resolve_latest_location(
        &self,
        base_path: &Path,
        object_store: &ObjectStore,
    ) -> lance::Result<ManifestLocation> {
        let inner = &self.inner;
        inner.resolve_latest_location(base_path, object_store).await
    }

    async fn resolve_version_location(
        &self,
        base_path: &Path,
        version: u64,
        object_store: &dyn OSObjectStore,
    ) -> lance::Result<ManifestLocation> {
        let inner = &self.inner;
        inner
            .resolve_version_location(base_path, version, object_store)
            .await
    }

    async fn version_exists(
        &self,
        base_path: &Path,
        version: u64,
        object_store: &dyn OSObjectStore,
        naming_scheme: ManifestNamingScheme,
    ) -> lance::Result<bool> {
        let inner = &self.inner;
        inner
            .version_exists(base_path, version, object_store, naming_scheme)
            .await
    }

    fn list_manifest_locations<'a>(
        &self,
        base_path: &Path,
        object_store: &'a ObjectStore,
        sorted_descending: bool,
    ) -> BoxStream<'a, lance::Result<ManifestLocation>> {
        let inner = &self.inner;
        inner.list_manifest_locations(base_path, object_store, sorted_descending)
    }

    fn list_manifest_locations_since<'a>(
        &self,
        base_path: &Path,
        object_store: &'a ObjectStore,
        since_version: u64,
    ) -> BoxStream<'a, lance::Result<ManifestLocation>> {
        let inner = &self.inner;
        inner.list_manifest_locations_since(base_path, object_store, since_version)
    }
}
