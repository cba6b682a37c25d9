//! A request takes a place when its message is there. Who sends nothing, or a byte now
//! and then, keeps nobody else from being served.

mod paced;

use std::{
    collections::VecDeque,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{future::BoxFuture, poll};
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use self::paced::Paced;
use super::{AnswerHold, body::GrpcBody, is_health, limit::refused, peek, peer, streams_in};
use crate::{
    admission::{Client, Places, Refusal, Why},
    config::{Live, failpoint},
    domain::Error,
    wire::status::status,
};

/// Bytes of a message that are waited for. All who may wait hold a gigabyte with it at
/// most, and as much again in what HTTP/2 lets them send on.
const FIRST: usize = 256 << 10;

/// Requests that are open and whose messages have not come: each costs some KiB, and what
/// has come of its message.
const WAITING: usize = 4_096;

/// Of one client, which may be a proxy of many.
const WAITING_OF_ONE: usize = 512;

#[derive(Clone)]
pub(super) struct ArrivalLayer {
    live: Live,
    waiting: Arc<Places>,
    /// Of health checks: nobody else's requests keep a probe out.
    probes: Arc<Places>,
}

impl ArrivalLayer {
    pub(super) fn new(live: Live) -> Self {
        Self {
            live,
            waiting: Arc::default(),
            probes: Arc::default(),
        }
    }
}

impl<S> Layer<S> for ArrivalLayer {
    type Service = Arrival<S>;

    fn layer(&self, inner: S) -> Arrival<S> {
        Arrival {
            inner,
            layer: self.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Arrival<S> {
    inner: S,
    layer: ArrivalLayer,
}

impl<S, B> Service<Request<Body>> for Arrival<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: GrpcBody,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if failpoint::breaks("arrival:not-awaited") {
            return Box::pin(self.inner.call(request));
        }
        let limits = self.layer.live.load().limits;
        let patience = limits.stall_timeout;
        let waiting = match is_health(&request) {
            true => Arc::clone(&self.layer.probes),
            false => Arc::clone(&self.layer.waiting),
        };
        // What was found ready is called, whenever that will be.
        let spare = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        Box::pin(async move {
            let client = Client::of(peer(request.extensions()).map(|address| address.ip()));
            let is_stream = streams_in(request.uri().path());
            let (head, mut body) = request.into_parts();
            let first = first(&mut body, is_stream, limits.max_request_bytes);
            let first = match arrived(first, patience, &waiting, client).await {
                Ok(first) => first,
                Err(refused) => return Ok(refused.into_http()),
            };
            let (is_whole, first) = (first.is_whole, first.into_frames());
            let body = match is_whole {
                true => Paced::whole(first),
                // Its parts come when its client has them.
                false if is_stream => Paced::freely(first, body),
                false => Paced::within(patience, first, body),
            };
            inner.call(Request::from_parts(head, Body::new(body))).await
        })
    }
}

/// The first part of a message.
#[derive(Default)]
struct First {
    data: Bytes,
    /// What came after `data`, when it came in more than one frame: together in memory,
    /// because a frame may be a byte and takes a hundred.
    gathered: BytesMut,
    trailers: Option<Frame<Bytes>>,
    /// Whether nothing more comes.
    is_whole: bool,
}

impl First {
    fn add(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) if self.data.is_empty() => self.data = data,
            Ok(data) => self.gathered.extend_from_slice(&data),
            Err(trailers) => self.trailers = Some(trailers),
        }
    }

    fn bytes(&self) -> usize {
        self.data.len() + self.gathered.len()
    }

    fn into_frames(self) -> VecDeque<Frame<Bytes>> {
        let data = [self.data, self.gathered.freeze()].into_iter();
        let data = data.filter(|data| !data.is_empty()).map(Frame::data);
        data.chain(self.trailers).collect()
    }
}

/// Waits for the first part of a message of this client.
async fn arrived(
    first: impl Future<Output = Result<First, Status>>,
    patience: Duration,
    waiting: &Arc<Places>,
    client: Client,
) -> Result<First, Status> {
    let mut first = pin!(first);
    // Mostly it is there.
    if let Poll::Ready(first) = poll!(first.as_mut()) {
        return first;
    }
    let Ok(_place) = waiting.enter(client, WAITING, WAITING_OF_ONE) else {
        let refusal = Refusal {
            why: Why::Arriving,
            retry_after: AnswerHold::RETRY,
        };
        return Err(refused(refusal, None, Instant::now()));
    };
    match timeout(patience, first).await {
        Ok(first) => first,
        Err(_) => Err(late()),
    }
}

/// Reads the first part of a message, or all of it; of the messages of a stream what the
/// first is about.
async fn first(body: &mut Body, is_stream: bool, most: usize) -> Result<First, Status> {
    let (mut first, mut length) = (First::default(), Length::default());
    let enough = |length: &Length| match is_stream {
        true => peek::enough(length.seen()),
        false => FIRST,
    };
    // One that says that it is too large is refused by that.
    while first.bytes() < enough(&length) && !length.is_more_than(most) {
        if body.is_end_stream() {
            break;
        }
        let Some(frame) = body.frame().await else {
            first.is_whole = true;
            break;
        };
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            length.read(data);
        }
        first.add(frame);
    }
    // The end may have come with the last of them.
    first.is_whole |= body.is_end_stream();
    Ok(first)
}

/// How long a message says that it is: a byte of flags, and four of its length.
#[derive(Default)]
struct Length {
    prefix: [u8; 5],
    read: usize,
}

impl Length {
    fn read(&mut self, data: &[u8]) {
        let missing = &mut self.prefix[self.read..];
        let n = missing.len().min(data.len());
        missing[..n].copy_from_slice(&data[..n]);
        self.read += n;
    }

    /// What is known of it.
    fn seen(&self) -> &[u8] {
        &self.prefix[..self.read]
    }

    fn is_more_than(&self, most: usize) -> bool {
        let [_, length @ ..] = self.prefix;
        self.read == self.prefix.len() && u32::from_be_bytes(length) as usize > most
    }
}

/// What a client is told whose message does not come.
fn late() -> Status {
    status(&Error::Stalled(Error::NO_MESSAGE))
}
