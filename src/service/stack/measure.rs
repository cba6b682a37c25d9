//! The standard metrics of a gRPC server: calls started, calls handled by the
//! code that the client saw, and the time to the end of the answer.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::time::Instant;
use tower::{Layer, Service};

use super::body::{Ending, GrpcBody, Observed};
use crate::telemetry::metrics;

#[derive(Clone, Copy)]
pub(super) struct MeasureLayer;

impl<S> Layer<S> for MeasureLayer {
    type Service = Measure<S>;

    fn layer(&self, inner: S) -> Measure<S> {
        Measure { inner }
    }
}

#[derive(Clone)]
pub struct Measure<S> {
    inner: S,
}

impl<S, ReqB, B> Service<Request<ReqB>> for Measure<S>
where
    S: Service<Request<ReqB>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: GrpcBody,
{
    type Response = Response<Observed<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let call = metrics::method(request.uri().path());
        let began = Instant::now();
        call.started();
        let ending = Ending::new(move |code| call.handled(code, began.elapsed()));
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(ending.watch(answer.await?)) })
    }
}
