//! How many connections there are, together and by client.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{admission::Client, telemetry::metrics};

/// Why a connection may not be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// There are as many as may be.
    Total,
    /// This client has as many as one may have.
    Client,
}

impl Full {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Full::Total => "total",
            Full::Client => "client",
        }
    }
}

/// The connections of one port.
pub(super) struct Caps {
    port: &'static str,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    /// Never one without connections.
    by_client: HashMap<Client, usize>,
}

/// The place of one connection, until it is dropped.
pub(super) struct Place {
    caps: Arc<Caps>,
    client: Client,
}

impl Caps {
    pub(super) fn new(port: &'static str) -> Arc<Self> {
        metrics::connections_open(port, 0);
        Arc::new(Self {
            port,
            open: Mutex::default(),
        })
    }

    /// Takes a place for a connection from `ip`.
    pub(super) fn enter(
        self: &Arc<Self>,
        ip: IpAddr,
        most: usize,
        most_of_client: usize,
    ) -> Result<Place, Full> {
        let client = Client::of(Some(ip));
        let mut open = self.lock();
        if open.total >= most {
            return Err(Full::Total);
        }
        let own = open.by_client.entry(client).or_default();
        if *own >= most_of_client {
            return Err(Full::Client);
        }
        *own += 1;
        open.total += 1;
        metrics::connections_open(self.port, open.total);
        Ok(Place {
            caps: Arc::clone(self),
            client,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.caps.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(own) = open.by_client.get_mut(&self.client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.by_client.remove(&self.client);
            }
        }
        metrics::connections_open(self.caps.port, open.total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_takes_all_it_may_leaves_room_for_others() {
        let caps = Caps::new("caps-test");
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let enter = |ip| caps.enter(ip, 3, 2);
        let first = enter(a).ok().unwrap();
        let _second = enter(a).ok().unwrap();
        assert_eq!(enter(a).err(), Some(Full::Client));
        let _third = enter(b).ok().unwrap();
        assert_eq!(enter(b).err(), Some(Full::Total));
        drop(first);
        let _again = enter(a).ok().unwrap();
        assert_eq!(caps.lock().total, 3);
    }

    #[test]
    fn nothing_is_kept_of_clients_that_are_gone() {
        let caps = Caps::new("caps-test");
        for i in 0..1_000_u32 {
            let ip = IpAddr::from(i.to_be_bytes());
            drop(caps.enter(ip, 10, 1).ok().unwrap());
        }
        // Those who were refused leave nothing either.
        let _all = caps.enter(IpAddr::from([1, 1, 1, 1]), 1, 1).ok().unwrap();
        for i in 0..1_000_u32 {
            assert!(caps.enter(IpAddr::from(i.to_be_bytes()), 1, 1).is_err());
        }
        assert_eq!(caps.lock().by_client.len(), 1);
    }
}
