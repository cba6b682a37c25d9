//! Stores that are read through the cache on the local disk. Only what LanceDB reads
//! goes through it: replication, verification and what lancegate keeps itself look at
//! the stores themselves.

use std::{collections::HashMap, sync::Arc};

use lance_io::object_store::{
    ObjectStore, ObjectStoreParams, ObjectStoreProvider, WrappingObjectStore,
};
use object_store::{list::PaginatedListStore, path::Path};
use url::Url;

use crate::disk_cache::DiskCache;

/// Opens stores of one kind, to be read through the cache.
#[derive(Debug)]
pub(super) struct Caching {
    pub inner: Arc<dyn ObjectStoreProvider>,
    pub through: Through,
}

/// The cache, and the server that the stores are at.
#[derive(Debug, Clone)]
pub(super) struct Through {
    pub cache: Arc<DiskCache>,
    pub server: String,
}

#[async_trait::async_trait]
impl ObjectStoreProvider for Caching {
    async fn new_store(
        &self,
        base_path: Url,
        params: &ObjectStoreParams,
    ) -> lance::Result<ObjectStore> {
        let mut store = self.inner.new_store(base_path, params).await?;
        store.apply_wrapper(&self.through);
        Ok(store)
    }

    fn extract_path(&self, url: &Url) -> lance::Result<Path> {
        self.inner.extract_path(url)
    }

    fn calculate_object_store_prefix(
        &self,
        url: &Url,
        options: Option<&HashMap<String, String>>,
    ) -> lance::Result<String> {
        self.inner.calculate_object_store_prefix(url, options)
    }
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
