//! How many watches of the health are open. Each is a stream that ends when its client
//! wants, needs no credential and takes no place of the others: so there are as many as
//! there may be connections, and one client has as many of them.

use std::sync::Arc;

use http::Request;

use super::{body::Ending, peer};
use crate::{
    admission::{Client, Places},
    config::{Live, failpoint},
    domain::{Error, Result},
};

pub(super) const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";

/// Those that are open.
#[derive(Clone)]
pub struct Watches {
    live: Live,
    open: Arc<Places>,
}

impl Watches {
    pub(super) fn new(live: Live) -> Self {
        Self {
            live,
            open: Arc::default(),
        }
    }

    /// What gives the place of a watch back; nothing for other requests.
    ///
    /// # Errors
    /// There are too many, of this client or of all.
    pub(super) fn enter<B>(&self, request: &Request<B>) -> Result<Ending> {
        let is_watch = request.uri().path() == HEALTH_WATCH;
        if !is_watch || failpoint::breaks("health:watched-by-all") {
            return Ok(Ending::of_nothing());
        }
        let sockets = self.live.load().sockets;
        let client = Client::of(peer(request.extensions()).map(|address| address.ip()));
        let (all, of_one) = (sockets.max_connections, sockets.max_per_client);
        let place = self.open.enter(client, all, of_one).map_err(|_| {
            let text = "too many watches of the health are open, of this client or of all";
            Error::Overloaded(text.into())
        })?;
        Ok(Ending::new(move |_| drop(place)))
    }
}
