//! Caches of opened files and indexes, shared by the connections that may share.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use lance::session::CacheSpec;
use lance_core::cache::{CacheBackend, QuickCacheBackend, QuickCacheShardPolicy};
use lance_io::object_store::ObjectStore;
use lancedb::{ObjectStoreRegistry, Session};
use object_store::path::Path;

use super::cached::Through;
use crate::{
    config::{Cache, Location},
    disk_cache::DiskCache,
};

/// One LanceDB session per server; every connection to that server uses it. Two
/// connections with the same URI at different servers hold different data, and a
/// cache keyed by URI would mix them.
pub struct Sessions {
    cache: Cache,
    disk: Option<Arc<DiskCache>>,
    by_server: Mutex<HashMap<String, Caches>>,
}

/// What is kept of what was read at one server.
#[derive(Clone)]
pub(super) struct Caches {
    pub session: Arc<Session>,
    /// That of the session, which shows only how large it is.
    indexes: Arc<dyn CacheBackend>,
    disk: Option<Through>,
}

impl Caches {
    fn new(sizes: Cache, disk: Option<Through>) -> Self {
        // As the session makes it by itself.
        let indexes: Arc<dyn CacheBackend> = Arc::new(QuickCacheBackend::with_shard_policy(
            sizes.index_bytes,
            QuickCacheShardPolicy::Single,
        ));
        let session = Session::with_cache_backends(
            CacheSpec::Backend(Arc::clone(&indexes)),
            CacheSpec::Size(sizes.metadata_bytes),
            Arc::new(super::rotated::registry(disk.as_ref())),
        );
        Self {
            session: Arc::new(session),
            indexes,
            disk,
        }
    }

    /// Forgets what was read of a folder of this store. What is in memory is found by
    /// keys that cannot be told apart: all of it goes, and is read again.
    pub async fn forget(&self, store: &ObjectStore, folder: &Path) -> io::Result<()> {
        if let Some(Through { cache, server }) = &self.disk
            // Files of this machine are read past the cache.
            && !store.is_local()
        {
            cache.forget(server, &store.store_prefix, folder).await?;
        }
        self.indexes.clear().await;
        self.session.file_metadata_cache().clear().await;
        Ok(())
    }
}

/// Memory that the caches hold now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheUse {
    pub index_bytes: u64,
    pub metadata_bytes: u64,
}

impl Sessions {
    /// Sessions whose caches may each grow to the sizes in `cache`.
    pub fn new(cache: Cache) -> Self {
        Self {
            cache,
            disk: None,
            by_server: Mutex::default(),
        }
    }

    /// The same, where LanceDB reads object stores through this cache.
    pub fn through(self, disk: Option<Arc<DiskCache>>) -> Self {
        Self { disk, ..self }
    }

    /// The session for a location, and what else is kept for it.
    pub(super) fn of(&self, location: &Location) -> Caches {
        let mut caches = self
            .by_server
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let caches = caches.entry(location.server()).or_insert_with(|| {
            let through = self.disk.clone().map(|cache| Through {
                cache,
                server: location.server(),
            });
            Caches::new(self.cache, through)
        });
        caches.clone()
    }

    /// What opens the stores of a location past the cache on the local disk.
    pub(super) fn stores_themselves(&self, session: &Session) -> Arc<ObjectStoreRegistry> {
        match &self.disk {
            Some(_) => Arc::new(super::rotated::registry(None)),
            None => session.store_registry(),
        }
    }

    /// What all caches together hold now.
    pub async fn cache_use(&self) -> CacheUse {
        let sessions: Vec<_> = self
            .by_server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(|caches| Arc::clone(&caches.session))
            .collect();
        let mut total = CacheUse::default();
        for session in sessions {
            total.index_bytes += session.index_cache_stats().await.size_bytes as u64;
            total.metadata_bytes += session.metadata_cache_stats().await.size_bytes as u64;
        }
        total
    }
}
