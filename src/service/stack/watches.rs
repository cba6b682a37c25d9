//! How many watches of the health are open. Each is a stream that ends when its client
//! wants, needs no credential and takes no place of the others: so there are as many as
//! there may be connections, and one client has as many of them.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use super::{
    body::{Ending, GrpcBody, Observed},
    peer,
};
use crate::{
    admission::{Client, Places},
    config::{Live, failpoint},
    domain::Error,
    wire::status::status,
};

pub(super) const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";

#[derive(Clone)]
pub(super) struct WatchesLayer {
    live: Live,
    open: Arc<Places>,
}

impl WatchesLayer {
    pub(super) fn new(live: Live) -> Self {
        Self {
            live,
            open: Arc::default(),
        }
    }
}

impl<S> Layer<S> for WatchesLayer {
    type Service = Watches<S>;

    fn layer(&self, inner: S) -> Watches<S> {
        Watches {
            inner,
            layer: self.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Watches<S> {
    inner: S,
    layer: WatchesLayer,
}

impl<S, B> Service<Request<Body>> for Watches<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: GrpcBody,
{
    type Response = Response<Observed<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_watch = request.uri().path() == HEALTH_WATCH;
        let ending = match is_watch && !failpoint::breaks("health:watched-by-all") {
            false => Ending::of_nothing(),
            true => {
                let sockets = self.layer.live.load().sockets;
                let client = Client::of(peer(request.extensions()).map(|address| address.ip()));
                let (all, of_one) = (sockets.max_connections, sockets.max_per_client);
                match self.layer.open.enter(client, all, of_one) {
                    Ok(place) => Ending::new(move |_| drop(place)),
                    Err(_) => return Box::pin(async { Ok(status(&too_many()).into_http()) }),
                }
            }
        };
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(ending.watch(answer.await?)) })
    }
}

/// What is told where there are too many.
fn too_many() -> Error {
    let text = "too many watches of the health are open, of this client or of all";
    Error::Overloaded(text.into())
}
