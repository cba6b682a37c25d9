//! Answers that nobody reads: everything that they hold goes back after a while, though
//! their client and its connection stay.

mod body;

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use tower::{Layer, Service};

pub use self::body::ReadBody;
use super::{body::GrpcBody, stays_open, streams_out};
use crate::config::Live;

#[derive(Clone)]
pub(super) struct UnreadLayer {
    live: Live,
}

impl UnreadLayer {
    pub(super) fn new(live: Live) -> Self {
        Self { live }
    }
}

impl<S> Layer<S> for UnreadLayer {
    type Service = Unread<S>;

    fn layer(&self, inner: S) -> Unread<S> {
        Unread {
            inner,
            live: self.live.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Unread<S> {
    inner: S,
    live: Live,
}

impl<S, ReqB, B> Service<Request<ReqB>> for Unread<S>
where
    S: Service<Request<ReqB>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: GrpcBody + Unpin + Send + 'static,
{
    type Response = Response<ReadBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        // The parts of a stream go when its client wants them.
        let takes_its_time = stays_open(&request) || streams_out(request.uri().path());
        let patience = (!takes_its_time).then(|| self.live.load().limits.stall_timeout);
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| ReadBody::new(body, patience))) })
    }
}
