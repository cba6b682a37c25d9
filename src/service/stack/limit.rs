//! How many requests are worked on at once, over all connections: beyond what
//! the machine can do more only makes all of them late. Those that find no slot
//! are refused at once, which costs little, and told when to come back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::StatusExt;
use tower::{Layer, Service};

use super::{
    body::{Ending, GrpcBody, Observed},
    stays_open,
};
use crate::{config::Live, domain::Error, telemetry::metrics, wire::status::status};

/// Tells clients of gRPC's own retries when to try again.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The slots of the whole server. How many there are may change: fewer let no new
/// request in until enough of the running ones have ended.
#[derive(Clone)]
pub(super) struct LimitLayer {
    taken: Arc<AtomicUsize>,
    live: Live,
}

impl LimitLayer {
    pub(super) fn new(live: Live) -> Self {
        Self {
            taken: Arc::default(),
            live,
        }
    }

    /// A slot, until it is dropped; `None` if there is none left.
    fn take(&self) -> Option<Slot> {
        let max = self.live.load().limits.max_concurrent_requests;
        let one_more = |taken| (taken < max).then_some(taken + 1);
        let before = self
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more)
            .ok()?;
        metrics::requests_in_flight(before + 1);
        Some(Slot(Arc::clone(&self.taken)))
    }
}

struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        let before = self.0.fetch_sub(1, Ordering::AcqRel);
        metrics::requests_in_flight(before.saturating_sub(1));
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Limit<S> {
        Limit {
            inner,
            limit: self.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Limit<S> {
    inner: S,
    limit: LimitLayer,
}

type EndOfCall = Box<dyn FnOnce(Code) + Send>;

impl<S, ReqB, B> Service<Request<ReqB>> for Limit<S>
where
    S: Service<Request<ReqB>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: GrpcBody,
{
    type Response = Response<Observed<B, EndOfCall>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        // An overloaded server is not a dead one: probes and watchers take no slot.
        let open = stays_open(&request);
        let slot = if open { None } else { self.limit.take() };
        if slot.is_none() && !open {
            metrics::request_shed();
            return Box::pin(async { Ok(overloaded().into_http()) });
        }
        // Held to the end of the answer: a stream is work until it is over.
        let ending: Ending<EndOfCall> = Ending::new(Box::new(move |_| drop(slot)));
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(ending.watch(answer.await?)) })
    }
}

fn overloaded() -> Status {
    let mut status = status(&Error::Overloaded(
        "too many requests are being worked on".to_owned(),
    ));
    let delay = status.get_details_retry_info().and_then(|i| i.retry_delay);
    if let Some(delay) = delay {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        status
            .metadata_mut()
            .insert(PUSHBACK, MetadataValue::from(millis));
    }
    status
}
