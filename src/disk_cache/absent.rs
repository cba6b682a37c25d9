//! A build without the feature `disk-cache`: nothing opens one.

use std::{convert::Infallible, io, path::Path, sync::Arc};

use object_store::{ObjectStore, path::Path as StorePath};

/// There is none.
#[derive(Debug, thiserror::Error)]
#[error("this build has no cache on the local disk")]
pub struct OpenError;

/// There is none.
#[derive(Debug)]
pub struct DiskCache(Infallible);

impl DiskCache {
    /// Opens none.
    pub async fn open(_: &Path, _: u64) -> Result<Arc<Self>, OpenError> {
        Err(OpenError)
    }

    /// Nobody has one to call this with.
    pub fn over(
        self: &Arc<Self>,
        _: &str,
        _: &str,
        _: Arc<dyn ObjectStore>,
    ) -> Arc<dyn ObjectStore> {
        match self.0 {}
    }

    /// Nobody has one to call this with.
    pub async fn forget(self: &Arc<Self>, _: &str, _: &str, _: &StorePath) -> io::Result<()> {
        match self.0 {}
    }

    /// Nobody has one to call this with.
    pub async fn close(&self) {
        match self.0 {}
    }
}
