//! Who watches the topology: a bounded number, until the server stops.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::domain::{Error, Result};

/// Most watchers at a time. Each costs a look at all connections a few times a
/// second; dashboards and terminals are few.
const MOST: usize = 32;

/// Lets watchers in, and tells them when to go.
#[derive(Clone)]
pub struct Watchers {
    places: Arc<Semaphore>,
    closed: CancellationToken,
}

/// A watcher, until it is dropped.
pub struct Watcher {
    _place: OwnedSemaphorePermit,
    /// Set when the server drains.
    pub closed: CancellationToken,
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MOST)),
            closed: CancellationToken::new(),
        }
    }
}

impl Watchers {
    /// One more.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn admit(&self) -> Result<Watcher> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let text = format!("{MOST} clients are watching the topology, as many as may");
            Error::Overloaded(text)
        })?;
        Ok(Watcher {
            _place: place,
            closed: self.closed.clone(),
        })
    }

    /// Ends all of them: they would hold up the drain.
    pub fn close(&self) {
        self.closed.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_and_for_another_when_one_goes() {
        let watchers = Watchers::default();
        let mut all: Vec<_> = (0..MOST).map(|_| watchers.admit().unwrap()).collect();
        assert!(matches!(watchers.admit(), Err(Error::Overloaded(_))));
        all.pop();
        let last = watchers.admit().unwrap();
        watchers.close();
        assert!(last.closed.is_cancelled());
    }
}
