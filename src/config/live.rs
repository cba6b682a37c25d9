//! The configuration that holds now, for everybody who reads it while the server
//! runs.

use std::{ops::Deref, sync::Arc, time::SystemTime};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::Config;

/// Letters of a fingerprint: enough to tell the configurations of a fleet apart.
const FINGERPRINT: usize = 16;

/// A configuration, and since when it holds.
#[derive(Debug)]
pub struct Current {
    config: Config,
    fingerprint: String,
    since: SystemTime,
}

impl Current {
    fn new(config: Config) -> Self {
        // Of the text without its secrets: they cannot change while the server runs.
        let hash = blake3::hash(config.render().as_bytes()).to_hex();
        Self {
            fingerprint: hash.chars().take(FINGERPRINT).collect(),
            config,
            since: SystemTime::now(),
        }
    }

    /// The same for every server with the same effective configuration.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// When it was loaded.
    pub fn since(&self) -> SystemTime {
        self.since
    }
}

impl Deref for Current {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

/// Shared by all readers, and swapped whole: whoever loads it once sees one
/// configuration, never half of another. Clones are the same one.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    current: ArcSwap<Current>,
    changes: watch::Sender<u64>,
}

impl Live {
    /// What holds at the start.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Inner {
            current: ArcSwap::from_pointee(Current::new(config)),
            changes: watch::Sender::new(0),
        }))
    }

    /// What holds now: a pointer, and not for longer than a request.
    pub fn load(&self) -> Guard<Arc<Current>> {
        self.0.current.load()
    }

    /// Puts another one into its place.
    pub fn store(&self, config: Config) {
        self.0.current.store(Arc::new(Current::new(config)));
        self.0.changes.send_modify(|n| *n += 1);
    }

    /// Wakes when another one holds.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn a_swap_is_seen_whole_and_wakes() {
        let live = Live::new(load(Sources::default()).unwrap());
        let (reader, changes) = (live.clone(), live.changes());
        let held = reader.load();
        let mut config = load(Sources::default()).unwrap();
        config.limits.max_limit = 7;
        config.sessions.max_open = 8;
        live.store(config);
        assert_eq!(held.limits.max_limit, 10_000, "what was loaded stays");
        let now = reader.load();
        assert_eq!((now.limits.max_limit, now.sessions.max_open), (7, 8));
        assert!(changes.has_changed().unwrap());
        assert_ne!(now.fingerprint(), held.fingerprint());
        assert_eq!(now.fingerprint().len(), FINGERPRINT);
    }
}
