//! The time that a request may take: the client's `grpc-timeout`, and never
//! more than the server's maximum. It covers the answer to its last byte.
//! When it has passed the work is dropped and the client told so.

mod body;
mod timeout;

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tower::{Layer, Service};

use super::{body::GrpcBody, stays_open};
use crate::{config::Live, domain::Error, wire::status::status};

pub use body::DeadlineBody;

/// By when a request must be answered. The stack puts it into the extensions
/// of each request that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// What is left; zero when it has passed.
    pub fn remaining(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// How much earlier than asked the time is up: tonic runs a timer of its own
/// over the same header, outside of all layers, and answers CANCELLED, which
/// says that the client gave up. It polls this layer before it looks at its
/// timer, so being a little ahead is enough.
const AHEAD: Duration = Duration::from_millis(2);

/// A deadline and, for the client, how long it was.
#[derive(Clone, Copy)]
struct Until {
    at: Instant,
    total: Duration,
}

impl Until {
    fn passed(&self) -> bool {
        Instant::now() >= self.at
    }

    fn status(&self) -> Status {
        status(&Error::Deadline(self.total))
    }
}

#[derive(Clone)]
pub(super) struct DeadlineLayer {
    live: Live,
}

impl DeadlineLayer {
    pub(super) fn new(live: Live) -> Self {
        Self { live }
    }

    /// The deadline of a request that came in now.
    fn of<B>(&self, request: &Request<B>) -> Result<Option<Until>, Error> {
        let asked = timeout::parse(request.headers())?;
        let max = self.live.load().limits.max_deadline;
        let total = match (asked, stays_open(request)) {
            (Some(asked), true) => asked,
            (None, true) => return Ok(None),
            (asked, false) => asked.map_or(max, |asked| asked.min(max)),
        };
        let ahead = AHEAD.min(total / 4);
        // Further away than the clock can say is as good as none.
        let at = Instant::now().checked_add(total - ahead);
        Ok(at.map(|at| Until { at, total }))
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = WithDeadline<S>;

    fn layer(&self, inner: S) -> WithDeadline<S> {
        WithDeadline {
            inner,
            deadline: self.clone(),
        }
    }
}

#[derive(Clone)]
pub struct WithDeadline<S> {
    inner: S,
    deadline: DeadlineLayer,
}

impl<S, ReqB, B> Service<Request<ReqB>> for WithDeadline<S>
where
    S: Service<Request<ReqB>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: GrpcBody + Unpin + Send + 'static,
{
    type Response = Response<DeadlineBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let until = match self.deadline.of(&request) {
            Ok(until) => until,
            Err(error) => return Box::pin(async move { Ok(status(&error).into_http()) }),
        };
        let Some(until) = until else {
            let answer = self.inner.call(request);
            return Box::pin(async { Ok(answer.await?.map(|b| DeadlineBody::new(b, None))) });
        };
        if until.passed() {
            return Box::pin(async move { Ok(until.status().into_http()) });
        }
        request.extensions_mut().insert(Deadline(until.at));
        let answer = self.inner.call(request);
        Box::pin(async move {
            match by(until, answer).await {
                Some(answer) => Ok(answer?.map(|b| DeadlineBody::new(b, Some(until)))),
                None => Ok(until.status().into_http()),
            }
        })
    }
}

/// The output of `work`, or `None` when it was dropped because time was up.
async fn by<F: Future>(until: Until, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut timer = pin!(sleep_until(until.at));
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        // The clock itself is asked too: when polling the work took long, the
        // timer of tonic may have fired and this one not yet.
        if timer.as_mut().poll(cx).is_ready() || until.passed() {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await
}
