//! Stores that are read through the cache on the local disk. Only what LanceDB reads
//! goes through it: replication, verification and what lancegate keeps itself look at
//! the stores themselves.

use std::sync::Arc;

use lance_io::object_store::WrappingObjectStore;
use object_store::list::PaginatedListStore;

use crate::disk_cache::DiskCache;

/// The cache, and the server that the stores are at.
#[derive(Debug, Clone)]
pub(super) struct Through {
    pub cache: Arc<DiskCache>,
    pub server: String,
}

impl WrappingObjectStore for Through {
    fn wrap(
        &self,
        store_prefix: &str,
        original: Arc<dyn object_store::ObjectStore>,
    ) -> Arc<dyn object_store::ObjectStore> {
        self.cache.over(&self.server, store_prefix, original)
    }

    /// Listings are not of files that never change: they pass.
    fn wrap_paginated(
        &self,
        _: &str,
        original: Arc<dyn PaginatedListStore>,
    ) -> Option<Arc<dyn PaginatedListStore>> {
        Some(original)
    }
}
