//! Answers of nodes on their way to the client: as bytes, with who answered put
//! behind the first message.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tonic::{Code, Status, body::Body};

use super::tag::Tag;
use crate::node::OnChannel;

/// What is called with the code that an answer ended with; dropped without a call
/// where the client gave up.
pub(super) type AtEnd = Box<dyn FnOnce(Code) + Send>;

/// The beginning of an answer, and the rest where it is longer.
pub(super) struct Start {
    pub data: Vec<Bytes>,
    /// `None` while there is more to come.
    pub trailers: Option<HeaderMap>,
}

/// Reads an answer until it ends or `most` bytes of it are here.
///
/// # Errors
/// The connection was lost, or the answer has no end.
pub(super) async fn start(body: &mut Incoming, most: usize) -> Result<Start, hyper::Error> {
    let (mut data, mut length) = (Vec::new(), 0);
    loop {
        let next = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        let trailers = match next {
            Some(frame) => match frame?.into_data() {
                Ok(bytes) => {
                    length += bytes.len();
                    data.push(bytes);
                    if length >= most {
                        return Ok(Start {
                            data,
                            trailers: None,
                        });
                    }
                    continue;
                }
                Err(frame) => frame.into_trailers().unwrap_or_default(),
            },
            // No status: a client takes it for UNKNOWN.
            None => HeaderMap::new(),
        };
        return Ok(Start {
            data,
            trailers: Some(trailers),
        });
    }
}

/// The code that trailers carry.
pub(super) fn code_of(trailers: &HeaderMap) -> Code {
    let code = trailers.get(Status::GRPC_STATUS);
    code.map_or(Code::Unknown, |code| Code::from_bytes(code.as_bytes()))
}

/// An answer as it is sent on.
pub(super) struct Forwarded {
    ready: VecDeque<Frame<Bytes>>,
    /// What comes after that; `None` once the end is known.
    rest: Option<Incoming>,
    tag: Tag,
    at_end: Option<AtEnd>,
    /// Held until the answer is over: it is a call on its connection until then.
    _call: OnChannel,
}

/// An answer whose beginning is here.
pub(super) struct Begun {
    pub start: Start,
    pub rest: Incoming,
    pub tag: Tag,
    pub at_end: AtEnd,
    pub call: OnChannel,
}

/// The body that sends it on.
pub(super) fn body(begun: Begun) -> Body {
    let Begun {
        start: Start { data, trailers },
        rest,
        mut tag,
        at_end,
        call,
    } = begun;
    let mut parts = Vec::with_capacity(data.len() + 2);
    for bytes in data {
        tag.pass(bytes, &mut parts);
    }
    let mut ready = VecDeque::with_capacity(2);
    // One frame: each of its own would cost the client a wakeup.
    if let Some(joined) = join(parts) {
        ready.push_back(Frame::data(joined));
    }
    let (rest, at_end) = match trailers {
        Some(trailers) => {
            at_end(code_of(&trailers));
            ready.push_back(Frame::trailers(trailers));
            (None, None)
        }
        None => (Some(rest), Some(at_end)),
    };
    Body::new(Forwarded {
        ready,
        rest,
        tag,
        at_end,
        _call: call,
    })
}

fn join(mut parts: Vec<Bytes>) -> Option<Bytes> {
    if parts.len() <= 1 {
        return parts.pop();
    }
    let mut joined = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts {
        joined.put(part);
    }
    Some(joined.freeze())
}

impl Forwarded {
    fn end(&mut self, code: Code) {
        self.rest = None;
        if let Some(at_end) = self.at_end.take() {
            at_end(code);
        }
    }
}

impl http_body::Body for Forwarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if let Some(frame) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            let Some(rest) = &mut this.rest else {
                return Poll::Ready(None);
            };
            match ready!(Pin::new(rest).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => {
                        let mut parts = Vec::with_capacity(1);
                        this.tag.pass(bytes, &mut parts);
                        this.ready.extend(parts.into_iter().map(Frame::data));
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        this.end(code_of(&trailers));
                        this.ready.push_back(Frame::trailers(trailers));
                    }
                },
                Some(Err(error)) => {
                    tracing::debug!(%error, "the rest of an answer is lost");
                    this.end(Code::Unavailable);
                    let status = super::verdict::lost();
                    this.ready.push_back(Frame::trailers(trailers_of(&status)));
                }
                None => {
                    this.end(Code::Unknown);
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.rest.is_none()
    }
}

fn trailers_of(status: &Status) -> HeaderMap {
    let mut map = HeaderMap::new();
    if status.add_header(&mut map).is_err() {
        map.insert(Status::GRPC_STATUS, (status.code() as i32).into());
    }
    map
}

/// A head for an answer that is sent on: as the node's, but for what is of the hop.
pub(super) fn head(mut response: Response<()>) -> Response<()> {
    for name in [
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "transfer-encoding",
    ] {
        response.headers_mut().remove(name);
    }
    *response.version_mut() = http::Version::HTTP_2;
    response
}
