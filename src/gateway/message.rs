//! Requests as bytes: the few fields of their messages that the way depends on.
//! Nothing else is decoded.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Limited};
use prost::Message;
use tonic::{Code, Status, body::Body};

use super::methods::Method;
use crate::{
    domain::Error,
    proto::v1 as pb,
    service::stack::Allowed,
    wire::grpc::{HEAD, message},
};

/// Longest table name that is looked at: longer ones are refused further on.
const MAX_NAME: usize = 200;

/// How fresh a read asks its answer to be, as far as its way depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Asks {
    /// It does not say.
    #[default]
    Nothing,
    /// A bound: any node keeps it.
    Bound,
    /// The newest version: of the primary.
    Strong,
    /// One version: whoever still has it.
    Version,
}

/// What is known of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Peek {
    /// Empty where it is not known.
    pub table: String,
    pub asks: Asks,
    /// Whether it can be repeated: it has a request id.
    pub has_id: bool,
    /// Whether the message could be looked into.
    pub is_known: bool,
}

/// Reads the whole body of a request: one frame, at most `limit` bytes of message.
pub(super) async fn read_whole(body: Body, limit: usize) -> Result<Bytes, Error> {
    let limited = Limited::new(body, limit.saturating_add(HEAD));
    match limited.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Error::TooLarge(
            format!("the request message is over the limit of {limit} bytes"),
        )),
        Err(error) if has_code(&*error, Code::ResourceExhausted) => Err(Allowed::large_message()),
        Err(error) if has_code(&*error, Code::DeadlineExceeded) => {
            Err(Error::Stalled(Error::NO_MESSAGE))
        }
        // Nobody is there to read this.
        Err(_) => Err(Error::invalid("request", "was not sent to its end")),
    }
}

/// Whether a body was cut off by a layer of ours, with this code: by the quota of whoever
/// sends it, or because it did not come.
fn has_code(error: &(dyn std::error::Error + 'static), code: Code) -> bool {
    let status = error.downcast_ref::<Status>();
    status.is_some_and(|s| s.code() == code && !s.details().is_empty())
}

/// Looks into a request.
pub(super) fn peek(body: &Bytes, method: &Method) -> Peek {
    message(body)
        .and_then(|message| look(message, method))
        .unwrap_or_default()
}

fn look(message: &[u8], method: &Method) -> Option<Peek> {
    let mut peek = Peek {
        is_known: true,
        ..Peek::default()
    };
    // Parts of one message that is there several times are merged.
    let mut freshness = Vec::new();
    let mut is_page = false;
    let mut rest = message;
    while !rest.is_empty() {
        let (number, value) = field(&mut rest)?;
        let Some(value) = value else { continue };
        let is = |field: Option<u32>| field == Some(number);
        if is(method.table) && value.len() <= MAX_NAME {
            peek.table = std::str::from_utf8(value).ok()?.to_owned();
        } else if is(method.freshness) {
            freshness.extend_from_slice(value);
        } else if is(method.page_token) {
            is_page = !value.is_empty();
        } else if is(method.request_id) {
            peek.has_id = !value.is_empty();
        }
    }
    peek.asks = match (
        is_page,
        pb::Freshness::decode(freshness.as_slice()).ok()?.kind,
    ) {
        (true, _) => Asks::Version,
        (false, Some(kind)) => asks(&kind),
        (false, None) => Asks::Nothing,
    };
    Some(peek)
}

fn asks(kind: &pb::freshness::Kind) -> Asks {
    use pb::freshness::Kind;
    match kind {
        Kind::Eventual(_) | Kind::Token(_) | Kind::MaxStaleness(_) => Asks::Bound,
        Kind::Strong(_) => Asks::Strong,
        Kind::Exact(_) | Kind::Session(_) => Asks::Version,
    }
}

/// The next field of a message, with its bytes if it has a length. `None`: this is
/// no message.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Option<&'a [u8]>)> {
    let key = varint(rest)?;
    let number = u32::try_from(key >> 3).ok().filter(|n| *n > 0)?;
    let value = match key & 7 {
        0 => {
            varint(rest)?;
            None
        }
        1 => {
            take(rest, 8)?;
            None
        }
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Some(take(rest, length)?)
        }
        5 => {
            take(rest, 4)?;
            None
        }
        // Groups are of proto2, and the contract is not.
        _ => return None,
    };
    Some((number, value))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    // Seven bits a byte: ten bytes are the longest there is.
    for shift in (0..64).step_by(7) {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The body with one more field at the end of its message. A message whose length
/// would not fit is left as it is.
pub(super) fn with_field(body: &Bytes, number: u32, value: &impl Message) -> Bytes {
    let more = encode_field(number, value);
    let Some(length) = message(body)
        .and_then(|message| message.len().checked_add(more.len()))
        .and_then(|length| u32::try_from(length).ok())
    else {
        return body.clone();
    };
    let mut longer = BytesMut::with_capacity(body.len() + more.len());
    longer.put_u8(0);
    longer.put_u32(length);
    longer.put_slice(&body[HEAD..]);
    longer.put_slice(&more);
    longer.freeze()
}

/// A message as a field of another one. Put behind what is there it is merged with
/// it, the later values winning: that is what protobuf's own rules say.
pub(super) fn encode_field(number: u32, value: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    put_varint(&mut bytes, u64::from(number) << 3 | 2);
    put_varint(&mut bytes, value.encoded_len() as u64);
    bytes.put_slice(&value.encode_to_vec());
    bytes.freeze()
}

fn put_varint(bytes: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        // The low seven bits, and that there are more.
        bytes.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::{super::methods::Methods, *};

    fn frame(message: &impl Message) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u8(0);
        bytes.put_u32(message.encoded_len() as u32);
        bytes.put_slice(&message.encode_to_vec());
        bytes.freeze()
    }

    fn method(path: &str) -> Method {
        let methods = Methods::of_contract().unwrap();
        *methods.get(&format!("/lancegate.v1.{path}")).unwrap()
    }

    fn scan(page_token: &str, kind: Option<pb::freshness::Kind>) -> pb::ScanRequest {
        pb::ScanRequest {
            table: "t".into(),
            page_size: 300,
            page_token: page_token.into(),
            freshness: kind.map(|kind| pb::Freshness { kind: Some(kind) }),
            ..Default::default()
        }
    }

    #[test]
    fn the_table_and_the_freshness_are_found() {
        use pb::freshness::Kind;
        let scan_method = method("SearchService/Scan");
        for (message, asks) in [
            (scan("", None), Asks::Nothing),
            (scan("", Some(Kind::Token("x".into()))), Asks::Bound),
            (scan("", Some(Kind::Strong(pb::Strong {}))), Asks::Strong),
            (scan("", Some(Kind::Session("s".into()))), Asks::Version),
            (scan("page", None), Asks::Version),
        ] {
            let found = peek(&frame(&message), &scan_method);
            assert_eq!((found.table.as_str(), found.asks), ("t", asks));
            assert!(found.is_known);
        }
    }

    #[test]
    fn what_is_no_single_plain_message_is_not_known() {
        let read = method("SearchService/Scan");
        let good = frame(&scan("", None));
        let mut compressed = good.to_vec();
        compressed[0] = 1;
        let twice = [good.as_ref(), good.as_ref()].concat();
        let cut = &good[..good.len() - 1];
        let group = [0, 0, 0, 0, 1, 0x0b];
        let endless = [&[0, 0, 0, 0, 12][..], &[0xff; 12]].concat();
        for body in [&[][..], &compressed, &twice, cut, &group, &endless] {
            let found = peek(&Bytes::copy_from_slice(body), &read);
            assert_eq!(found, Peek::default(), "{body:?}");
        }
    }

    #[test]
    fn a_field_that_is_put_behind_wins() {
        let read = method("SearchService/Scan");
        let strong = pb::Freshness {
            kind: Some(pb::freshness::Kind::Strong(pb::Strong {})),
        };
        let body = with_field(&frame(&scan("", None)), 6, &strong);
        assert_eq!(peek(&body, &read).asks, Asks::Strong);
        let whole = pb::ScanRequest::decode(&body[HEAD..]).unwrap();
        assert_eq!(whole.freshness, Some(strong));
        assert_eq!((whole.table.as_str(), whole.page_size), ("t", 300));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let body =
            |length: usize| Body::new(http_body_util::Full::new(Bytes::from(vec![0; length])));
        assert_eq!(
            read_whole(body(HEAD + 10), 10).await.unwrap().len(),
            HEAD + 10
        );
        let refused = read_whole(body(HEAD + 11), 10).await.unwrap_err();
        assert!(matches!(refused, Error::TooLarge(_)), "{refused:?}");
    }
}
