//! How many connections a port has, together and by client.

use std::{net::IpAddr, sync::Arc};

use crate::{
    admission::{Client, Full, OnePlace, Places},
    telemetry::metrics,
};

/// Why a connection may not be there, as the metric has it.
pub(super) fn reason(full: Full) -> &'static str {
    match full {
        Full::Total => "total",
        Full::Client => "client",
    }
}

/// The connections of one port.
pub(super) struct Caps {
    port: &'static str,
    open: Arc<Places>,
}

/// The place of one connection, until it is dropped.
pub(super) struct Place {
    caps: Arc<Caps>,
    place: Option<OnePlace>,
}

impl Caps {
    pub(super) fn new(port: &'static str) -> Arc<Self> {
        metrics::connections_open(port, 0);
        Arc::new(Self {
            port,
            open: Arc::default(),
        })
    }

    /// Takes a place for a connection from `ip`.
    pub(super) fn enter(
        self: &Arc<Self>,
        ip: IpAddr,
        most: usize,
        most_of_client: usize,
    ) -> Result<Place, Full> {
        let place = self
            .open
            .enter(Client::of(Some(ip)), most, most_of_client)?;
        metrics::connections_open(self.port, self.open.taken());
        Ok(Place {
            caps: Arc::clone(self),
            place: Some(place),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.place = None;
        metrics::connections_open(self.caps.port, self.caps.open.taken());
    }
}
