//! Places, so many in all and so many for one client.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Client;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    Total,
    /// This client has as many as one may have.
    Client,
}

/// How many are taken, and by whom.
#[derive(Default)]
pub struct Places(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    all: usize,
    /// Never a client without one.
    of: HashMap<Client, usize>,
}

impl Places {
    /// A place for a client, where there are `all` and one client may have `of_one`.
    ///
    /// # Errors
    /// There is none.
    pub fn enter(
        self: &Arc<Self>,
        client: Client,
        all: usize,
        of_one: usize,
    ) -> Result<OnePlace, Full> {
        let mut counts = self.counts();
        if counts.all >= all {
            return Err(Full::Total);
        }
        if counts.of.get(&client).copied().unwrap_or(0) >= of_one {
            return Err(Full::Client);
        }
        counts.all += 1;
        *counts.of.entry(client).or_default() += 1;
        Ok(OnePlace {
            places: Arc::clone(self),
            client,
        })
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.counts().all
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing that is done with it can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, given back when this is dropped.
pub struct OnePlace {
    places: Arc<Places>,
    client: Client,
}

impl Drop for OnePlace {
    fn drop(&mut self) {
        let mut counts = self.places.counts();
        counts.all = counts.all.saturating_sub(1);
        if let Some(own) = counts.of.get_mut(&self.client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
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
    fn a_client_that_takes_all_it_may_leaves_room_for_others() {
        let places = Arc::new(Places::default());
        let enter = |number| places.enter(client(number), 3, 2);
        let first = enter(1).ok().unwrap();
        let second = enter(1).ok().unwrap();
        assert_eq!(enter(1).err(), Some(Full::Client));
        let third = enter(2).ok().unwrap();
        assert_eq!(enter(2).err(), Some(Full::Total));
        drop(first);
        let again = enter(1).ok().unwrap();
        assert_eq!(places.taken(), 3);
        drop((second, third, again));
        assert_eq!(places.taken(), 0);
        assert!(places.counts().of.is_empty());
    }

    #[test]
    fn nothing_is_kept_of_clients_that_are_gone() {
        let places = Arc::new(Places::default());
        for number in 0..1_000 {
            drop(places.enter(client(number), 10, 1).ok().unwrap());
        }
        // Those who were refused leave nothing either.
        let _all = places.enter(client(1), 1, 1).ok().unwrap();
        for number in 0..1_000 {
            assert!(places.enter(client(number), 1, 1).is_err());
        }
        assert_eq!(places.counts().of.len(), 1);
    }
}
