//! Caches of opened files and indexes, shared by the connections that may share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use lancedb::{ObjectStoreRegistry, Session};

use crate::config::{Cache, Location};

/// Storage options that name the server behind a URI. Two connections with the
/// same URI at different endpoints hold different data, and a cache keyed by
/// URI would mix them.
const ENDPOINT_KEYS: [&str; 4] = [
    "endpoint",
    "aws_endpoint",
    "aws_endpoint_url",
    "azure_storage_endpoint",
];

/// One LanceDB session per endpoint; every connection to that endpoint uses it.
pub struct Sessions {
    cache: Cache,
    by_endpoint: Mutex<HashMap<Option<String>, Arc<Session>>>,
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
            by_endpoint: Mutex::default(),
        }
    }

    /// The session for a location.
    pub(super) fn of(&self, location: &Location) -> Arc<Session> {
        use secrecy::ExposeSecret;
        let endpoint = ENDPOINT_KEYS.iter().find_map(|key| {
            let value = location.storage_options.get(*key)?;
            Some(value.expose_secret().to_owned())
        });
        let mut sessions = self
            .by_endpoint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let session = sessions.entry(endpoint).or_insert_with(|| {
            Arc::new(Session::new(
                self.cache.index_bytes,
                self.cache.metadata_bytes,
                Arc::new(ObjectStoreRegistry::default()),
            ))
        });
        Arc::clone(session)
    }

    /// What all caches together hold now.
    pub async fn cache_use(&self) -> CacheUse {
        let sessions: Vec<_> = self
            .by_endpoint
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
