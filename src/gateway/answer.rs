//! Answers of nodes on their way to the client: as bytes, with who answered put
//! behind the first message.

use std::{
    collections::VecDeque,
    mem::take,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tonic::{Code, Status, body::Body};

use super::message::HEAD;
use crate::node::OnChannel;

/// What is called with the code that an answer ended with; dropped without a call
/// where the client gave up.
pub(super) type AtEnd = Box<dyn FnOnce(Code) + Send>;

/// Puts bytes behind the first message of an answer, and corrects its length.
#[derive(Debug)]
pub(super) struct Tag {
    more: Bytes,
    at: At,
}

/// How far into the first frame an answer is.
#[derive(Debug)]
enum At {
    /// So many bytes of its head are here.
    Head([u8; HEAD], usize),
    /// So many bytes of its message are still to come.
    Message(usize),
    Behind,
}

impl Tag {
    pub(super) fn new(more: Bytes) -> Self {
        let at = match more.is_empty() {
            true => At::Behind,
            false => At::Head([0; HEAD], 0),
        };
        Self { more, at }
    }

    /// Takes some bytes of the answer; what is to be sent of them goes to `out`.
    fn pass(&mut self, mut bytes: Bytes, out: &mut Vec<Bytes>) {
        if let At::Head(head, filled) = &mut self.at {
            let missing = (HEAD - *filled).min(bytes.len());
            let part = bytes.split_to(missing);
            head[*filled..*filled + missing].copy_from_slice(&part);
            *filled += missing;
            if *filled < HEAD {
                return;
            }
            let mut head = *head;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let longer = length.checked_add(self.more.len() as u32);
            match longer {
                Some(longer) if head[0] == 0 => {
                    head[1..].copy_from_slice(&longer.to_be_bytes());
                    self.at = At::Message(length as usize);
                }
                // Compressed though nobody asked for it, or too long: as it is.
                _ => self.at = At::Behind,
            }
            out.push(Bytes::copy_from_slice(&head));
        }
        if let At::Message(left) = &mut self.at {
            let part = bytes.split_to(bytes.len().min(*left));
            *left -= part.len();
            let is_whole = *left == 0;
            if !part.is_empty() {
                out.push(part);
            }
            if is_whole {
                out.push(take(&mut self.more));
                self.at = At::Behind;
            }
        }
        if !bytes.is_empty() {
            out.push(bytes);
        }
    }
}

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

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::{gateway::message::encode_field, proto::v1 as pb};

    fn frame(message: &impl Message, flag: u8) -> Vec<u8> {
        let mut bytes = vec![flag];
        bytes.extend((message.encoded_len() as u32).to_be_bytes());
        bytes.extend(message.encode_to_vec());
        bytes
    }

    fn chunk(connection: &str) -> pb::SearchStreamResponse {
        pb::SearchStreamResponse {
            arrow_ipc: Bytes::from(vec![7; 300]),
            served: Some(pb::Served {
                connection: connection.into(),
                version: 12,
                token: "token".into(),
                route: "round_robin(replica-1 1/2)".into(),
                ..Default::default()
            }),
        }
    }

    /// What comes out when the bytes come in pieces of `size`.
    fn passed(bytes: &[u8], size: usize, more: &Bytes) -> Vec<u8> {
        let (mut tag, mut out) = (Tag::new(more.clone()), Vec::new());
        for piece in bytes.chunks(size) {
            tag.pass(Bytes::copy_from_slice(piece), &mut out);
        }
        out.concat()
    }

    #[test]
    fn who_answered_is_put_behind_the_first_message_however_it_is_cut() {
        let more = encode_field(
            2,
            &pb::Served {
                connection: "nodes@a:1/replica-1".into(),
                route: "node(nodes@a:1) > round_robin(replica-1 1/2)".into(),
                ..Default::default()
            },
        );
        let bytes = [frame(&chunk("replica-1"), 0), frame(&chunk("second"), 0)].concat();
        for size in 1..=bytes.len() {
            let out = passed(&bytes, size, &more);
            assert_eq!(out.len(), bytes.len() + more.len());
            let length = u32::from_be_bytes(out[1..5].try_into().unwrap()) as usize;
            let first = pb::SearchStreamResponse::decode(&out[5..5 + length]).unwrap();
            let served = first.served.unwrap();
            assert_eq!(served.connection, "nodes@a:1/replica-1");
            assert!(served.route.starts_with("node("));
            // What the node said and nobody replaced is still there.
            assert_eq!((served.version, served.token.as_str()), (12, "token"));
            assert_eq!(first.arrow_ipc, chunk("").arrow_ipc);
            assert_eq!(out[5 + length..], frame(&chunk("second"), 0));
        }
    }

    #[test]
    fn an_empty_message_gets_it_and_a_compressed_one_does_not() {
        let more = Bytes::from_static(b"more");
        assert_eq!(passed(&[0, 0, 0, 0, 0], 2, &more), b"\0\0\0\0\x04more");
        let compressed = frame(&chunk("x"), 1);
        assert_eq!(passed(&compressed, 7, &more), compressed);
        assert_eq!(passed(&[], 1, &more), b"");
    }
}
