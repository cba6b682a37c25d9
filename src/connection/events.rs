//! What tasks and waiting reads are woken by.

use tokio::sync::watch;

/// Wakes whoever waits for something to change. Clones wake the same waiters.
#[derive(Clone)]
pub struct Events {
    states: watch::Sender<u64>,
    versions: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            states: watch::Sender::new(0),
            versions: watch::Sender::new(0),
        }
    }
}

impl Events {
    /// Wakes when a connection comes up, goes down or has looked up its tables.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.states.subscribe()
    }

    /// Wakes when a connection serves another version of a table, or comes up.
    pub fn subscribe_versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    /// A connection's state changed.
    pub(super) fn announce(&self) {
        self.states.send_modify(|n| *n += 1);
        self.published();
    }

    /// A connection serves another version of a table.
    pub(super) fn published(&self) {
        self.versions.send_modify(|n| *n += 1);
    }
}
