//! How many requests are open whose messages have not come. They cost memory, so there
//! are not many, and not many of one client.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::admission::Client;

/// Of all clients. One takes some KiB, and what has come of its message.
const ALL: usize = 4_096;

/// Of one client, which may be a proxy of many.
const OF_ONE: usize = 512;

#[derive(Default)]
pub(super) struct Waiting(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    of: HashMap<Client, usize>,
    all: usize,
}

impl Waiting {
    /// A place to wait; `None` where there is none.
    pub(super) fn enter(self: &Arc<Self>, client: Client) -> Option<Place> {
        let mut counts = self.counts();
        if counts.all >= ALL || counts.of.get(&client).is_some_and(|n| *n >= OF_ONE) {
            return None;
        }
        counts.all += 1;
        *counts.of.entry(client).or_default() += 1;
        Some(Place {
            waiting: Arc::clone(self),
            client,
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing that is done with it can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place to wait, given back when this is dropped.
pub(super) struct Place {
    waiting: Arc<Waiting>,
    client: Client,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.waiting.counts();
        counts.all -= 1;
        if let Some(n) = counts.of.get_mut(&self.client) {
            *n -= 1;
            if *n == 0 {
                counts.of.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn client(number: u32) -> Client {
        Client::of(Some(IpAddr::V4(Ipv4Addr::from_bits(number))))
    }

    #[test]
    fn no_client_takes_all_places_and_all_come_back() {
        let waiting = Arc::new(Waiting::default());
        let mut places = Vec::new();
        let mut number = 0;
        while places.len() < ALL {
            let before = places.len();
            places.extend(std::iter::from_fn(|| waiting.enter(client(number))));
            assert!(places.len() - before <= OF_ONE, "one has too many");
            assert!(places.len() > before, "there is no place for another");
            number += 1;
        }
        assert!(waiting.enter(client(number)).is_none());
        drop(places);
        assert!(waiting.counts().of.is_empty());
        assert_eq!(waiting.counts().all, 0);
    }
}
