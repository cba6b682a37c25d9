//! Admission: the layer around [`crate::admission::Gate`]. What may not begin yet
//! waits here; what may not at all is refused, which costs little, and told when
//! to come back.

mod door;
mod kind;
mod permit;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Extensions, Request, Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::server::TcpConnectInfo};
use tower::{Layer, Service};

pub use self::{door::Door, kind::PRIORITY};
use self::{
    kind::{kind_of, priority},
    permit::Permit,
};
use super::{
    AnswerHold, Deadline, RequestFacts,
    body::{Ending, GrpcBody, Observed, code_of},
    is_health, stays_open, streams_out,
    watches::Watches,
};
use crate::{
    admission::{Ask, Begun, Client, Kind, Lane, Refusal, Why},
    config::Live,
    connection::Caller,
    domain::Error,
    telemetry::metrics,
    wire::status::status,
};

/// The gate of the whole server.
#[derive(Clone)]
pub(super) struct LimitLayer {
    door: Arc<Door>,
    watches: Watches,
}

impl LimitLayer {
    pub(super) fn new(door: Arc<Door>, live: Live) -> Self {
        Self {
            door,
            watches: Watches::new(live),
        }
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Limit<S> {
        Limit {
            inner,
            door: Arc::clone(&self.door),
            watches: self.watches.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Limit<S> {
    inner: S,
    door: Arc<Door>,
    watches: Watches,
}

impl<S, ReqB, B> Service<Request<ReqB>> for Limit<S>
where
    S: Service<Request<ReqB>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    ReqB: Send + 'static,
    B: GrpcBody,
{
    type Response = Response<Observed<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let quota = request.extensions_mut().remove::<Arc<Begun>>();
        // An overloaded server is not a dead one: probes and watchers take no slot.
        if is_health(&request) || stays_open(&request) {
            let ending = match self.watches.enter(&request) {
                Ok(ending) => ending,
                Err(error) => return Box::pin(async move { Ok(status(&error).into_http()) }),
            };
            let answer = self.inner.call(request);
            return Box::pin(async move { Ok(ending.watch(answer.await?)) });
        }
        let wanted = match Wanted::by(&request) {
            Ok(wanted) => wanted,
            Err(error) => return Box::pin(async move { Ok(status(&error).into_http()) }),
        };
        let is_stream = streams_out(request.uri().path());
        let door = Arc::clone(&self.door);
        // What was found ready is called, whenever that will be.
        let spare = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        Box::pin(async move {
            let (began, deadline) = (Instant::now(), wanted.ask.deadline);
            let kind = wanted.ask.lane.kind();
            let mut permit = match enter(&door, wanted, request.extensions_mut()).await {
                Ok(permit) => permit,
                Err(refusal) => return Ok(refused(refusal, deadline, began).into_http()),
            };
            // A read ends with its answer.
            let gone = (kind != Kind::Read).then(CancellationToken::new);
            if let Some(gone) = &gone {
                let held = (permit.place(), quota);
                let caller = Caller::new(gone.clone(), held);
                request.extensions_mut().insert(caller);
            }
            // Cancelled where this is dropped: the deadline has passed, or the client
            // has gone away.
            let gone = gone.map(CancellationToken::drop_guard);
            let response = inner.call(request).await?;
            if let Some(gone) = gone {
                gone.disarm();
            }
            let code = code_of(response.headers());
            permit.answered(code, !is_stream || code.is_some());
            // To the end of the answer: a stream is work until it is over, and what an
            // answer takes of the memory is taken until it was sent.
            let ending = Ending::new(move |code| permit.end(code));
            Ok(ending.watch(response))
        })
    }
}

/// The right to begin, and the memory to do so with.
async fn enter(
    door: &Arc<Door>,
    wanted: Wanted,
    extensions: &mut Extensions,
) -> Result<Permit, Refusal> {
    let permit = door.enter(wanted.ask).await?;
    let hold = door.hold();
    // Work whose answer has no room is not begun.
    if wanted.ask.lane.kind() == Kind::Read && !hold.begin() {
        return Err(Refusal {
            why: Why::AnswerBytes,
            retry_after: AnswerHold::RETRY,
        });
    }
    extensions.insert(hold.clone());
    Ok(permit.with(hold, wanted))
}

/// What a request wants of the gate.
struct Wanted {
    ask: Ask,
    /// Number of the method among those whose time is a signal.
    signal: Option<u8>,
    facts: RequestFacts,
}

impl Wanted {
    fn by<B>(request: &Request<B>) -> Result<Self, Error> {
        let (kind, signal) = kind_of(request.uri().path());
        let extensions = request.extensions();
        let peer = extensions.get::<TcpConnectInfo>();
        let address = peer.and_then(TcpConnectInfo::remote_addr);
        let ask = Ask {
            lane: Lane::of(kind, priority(request.headers())?),
            client: Client::of(address.map(|a| a.ip())),
            deadline: extensions.get::<Deadline>().map(|deadline| deadline.0),
        };
        Ok(Self {
            ask,
            signal,
            facts: extensions.get().cloned().unwrap_or_default(),
        })
    }
}

/// Counts a request that may not begin: what its client is told.
pub(super) fn refused(refusal: Refusal, deadline: Option<Instant>, began: Instant) -> Status {
    metrics::request_shed(refusal.why.as_str());
    let message = match refusal.why {
        Why::Deadline => {
            let total = deadline.map_or_else(Default::default, |d| d.duration_since(began));
            return status(&Error::Deadline(total));
        }
        Why::QueueFull => "too many requests are waiting",
        Why::TooLong => "a request would have to wait for too long",
        Why::Waited => "the request has waited for as long as it may",
        Why::AnswerBytes => AnswerHold::FULL,
        Why::Arriving => "too many requests are open whose messages have not come",
    };
    status(&Error::Shed {
        cause: refusal.why.as_str(),
        message,
        retry_after: refusal.retry_after,
    })
}
