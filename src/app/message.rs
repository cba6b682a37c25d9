//! The size of request messages, as it is configured when a request arrives.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{body::Body, server::NamedService};
use tower::Service;

use crate::config::Live;

/// A generated service. Its limit is one of its fields: each request gets a clone,
/// two pointers and a few numbers, that has the limit of now.
#[derive(Clone)]
pub(super) struct Bounded<S> {
    service: S,
    limit: fn(S, usize) -> S,
    live: Live,
}

impl<S> Bounded<S> {
    /// `limit` sets the largest message that a service reads.
    pub(super) fn new(service: S, limit: fn(S, usize) -> S, live: Live) -> Self {
        Self {
            service,
            limit,
            live,
        }
    }
}

impl<S: NamedService> NamedService for Bounded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        let most = self.live.load().limits.max_request_bytes;
        (self.limit)(self.service.clone(), most).call(request)
    }
}
