//! Who watches the topology: a bounded number, until the server stops.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::domain::{Error, Result};

/// Most watchers at a time. Each costs a look at all connections a few times a
/// second; dashboards and terminals are few.
const MOST: usize = 32;

/// Most of them that are no operators: whoever has to look when something is wrong
/// finds a place.
const MOST_GUESTS: usize = MOST / 2;

/// Lets watchers in, and tells them when to go.
#[derive(Clone)]
pub struct Watchers {
    places: Arc<Semaphore>,
    guests: Arc<Semaphore>,
    closed: CancellationToken,
}

/// A watcher, until it is dropped.
pub struct Watcher {
    _place: OwnedSemaphorePermit,
    _guest: Option<OwnedSemaphorePermit>,
    /// Set when the server drains.
    pub closed: CancellationToken,
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MOST)),
            guests: Arc::new(Semaphore::new(MOST_GUESTS)),
            closed: CancellationToken::new(),
        }
    }
}

impl Watchers {
    /// One more, who may operate the server or not.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn admit(&self, operates: bool) -> Result<Watcher> {
        let full = |most: usize, who: &str| {
            let text = format!("{most} {who} are watching the topology, as many as may");
            move |_| Error::Overloaded(text)
        };
        let guest = match operates {
            true => None,
            false => Some(
                Arc::clone(&self.guests)
                    .try_acquire_owned()
                    .map_err(full(MOST_GUESTS, "clients that are no operators"))?,
            ),
        };
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(full(MOST, "clients"))?;
        Ok(Watcher {
            _place: place,
            _guest: guest,
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
        let mut all: Vec<_> = (0..MOST).map(|_| watchers.admit(true).unwrap()).collect();
        assert!(matches!(watchers.admit(true), Err(Error::Overloaded(_))));
        all.pop();
        let last = watchers.admit(true).unwrap();
        watchers.close();
        assert!(last.closed.is_cancelled());
    }

    #[test]
    fn who_is_no_operator_leaves_places_for_those_who_are() {
        let watchers = Watchers::default();
        let admit = |_| watchers.admit(false).unwrap();
        let mut guests: Vec<_> = (0..MOST_GUESTS).map(admit).collect();
        assert!(matches!(watchers.admit(false), Err(Error::Overloaded(_))));
        let operators = MOST - MOST_GUESTS;
        let _operators: Vec<_> = (0..operators).map(|_| watchers.admit(true)).collect();
        assert!(watchers.admit(true).is_err());
        guests.pop();
        watchers.admit(true).unwrap();
        watchers.admit(false).unwrap();
    }
}
