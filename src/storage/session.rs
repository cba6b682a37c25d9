//! Caches of opened files and indexes, shared by the connections that may share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use lancedb::{ObjectStoreRegistry, Session};

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
    by_server: Mutex<HashMap<String, Arc<Session>>>,
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

    /// The session for a location.
    pub(super) fn of(&self, location: &Location) -> Arc<Session> {
        let mut sessions = self
            .by_server
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let session = sessions.entry(location.server()).or_insert_with(|| {
            let through = self.disk.clone().map(|cache| Through {
                cache,
                server: location.server(),
            });
            Arc::new(Session::new(
                self.cache.index_bytes,
                self.cache.metadata_bytes,
                Arc::new(super::rotated::registry(through.as_ref())),
            ))
        });
        Arc::clone(session)
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
            .cloned()
            .collect();
        let mut total = CacheUse::default();
        for session in sessions {
            total.index_bytes += session.index_cache_stats().await.size_bytes as u64;
            total.metadata_bytes += session.metadata_cache_stats().await.size_bytes as u64;
        }
        total
    }
}
