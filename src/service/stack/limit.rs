//! How many requests are worked on at once, over all connections: beyond what
//! the machine can do more only makes all of them late. Those that find no slot
//! are refused at once, which costs little, and told when to come back.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::StatusExt;
use tower::{Layer, Service};

use super::{
    body::{Ending, GrpcBody, Observed},
    is_health,
};
use crate::{domain::Error, telemetry::metrics, wire::status::status};

/// Tells clients of gRPC's own retries when to try again.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The slots of the whole server.
#[derive(Clone)]
pub(super) struct LimitLayer {
    slots: Arc<Semaphore>,
    max: usize,
}

impl LimitLayer {
    pub(super) fn new(max: usize) -> Self {
        // The semaphore has a largest size of its own, far beyond any machine.
        let max = max.min(Semaphore::MAX_PERMITS);
        Self {
            slots: Arc::new(Semaphore::new(max)),
            max,
        }
    }

    /// A slot, until it is dropped; `None` if there is none left.
    fn take(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        metrics::requests_in_flight(self.max - self.slots.available_permits());
        Some(Slot {
            permit: Some(permit),
            limit: self.clone(),
        })
    }
}

struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    limit: LimitLayer,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.permit = None;
        metrics::requests_in_flight(self.limit.max - self.limit.slots.available_permits());
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
        // An overloaded server is not a dead one: probes take no slot.
        let health = is_health(&request);
        let slot = if health { None } else { self.limit.take() };
        if slot.is_none() && !health {
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
