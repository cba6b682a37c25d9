//! What a request is about, before it is read: all that are about a table or a connection
//! name it in the first field of their message.

use std::{
    collections::VecDeque,
    io::Read,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use http::HeaderValue;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tonic::{Status, body::Body};

/// The key of field 1, if that is a string.
const FIRST: u8 = 0x0a;

/// Bytes before a message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// The longest text that is looked for, with its key and its length, in bytes: names of
/// one byte's length are all that there are.
const MOST: usize = 0x7f + 2;

/// How much of a compressed message is looked at, in bytes: zstd unpacks by blocks of at
/// most 128 KiB (RFC 8878, 3.1.1.2).
const MOST_PACKED: usize = 160 << 10;

/// The largest window of zstd, as the logarithm of its bytes: RFC 8878, 3.1.1.1.2 asks
/// nobody for more than 8 MiB.
const MOST_WINDOW: u32 = 23;

/// The text of the first field of the first message, and a body that is still whole.
/// `None` where the message does not begin with a text. `encoding` is what the client
/// says of messages that are compressed.
pub(super) async fn first_field(
    encoding: Option<&HeaderValue>,
    mut body: Body,
) -> (Option<String>, Body) {
    let (mut taken, mut seen) = (VecDeque::new(), BytesMut::new());
    let mut text = None;
    while text.is_none() && seen.len() < enough(&seen) {
        let Some(frame) = body.frame().await else {
            break;
        };
        let data = frame.as_ref().ok().and_then(Frame::data_ref);
        let is_data = data.is_some();
        if let Some(data) = data {
            seen.extend_from_slice(data);
            text = text_in(encoding, &seen);
        }
        taken.push_back(frame);
        if !is_data {
            break;
        }
    }
    (text, Body::new(Again { taken, rest: body }))
}

/// After how many bytes there is nothing more to be found: not more than the first
/// message has, or nobody would be answered who waits for that.
pub(super) fn enough(seen: &[u8]) -> usize {
    let [flag, a, b, c, d, ..] = *seen else {
        return HEAD;
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    HEAD + length.min(if flag == 0 { MOST } else { MOST_PACKED })
}

fn text_in(encoding: Option<&HeaderValue>, seen: &[u8]) -> Option<String> {
    let (head, message) = seen.split_at_checked(HEAD)?;
    match head[0] {
        0 => text_of(message),
        _ => text_of(&unpacked(encoding?.as_bytes(), message)?),
    }
}

fn text_of(message: &[u8]) -> Option<String> {
    let (key, rest) = message.split_first()?;
    let (length, rest) = rest.split_first()?;
    let is_text = *key == FIRST && *length < 0x80;
    let text = rest.get(..usize::from(*length)).filter(|_| is_text)?;
    String::from_utf8(text.to_vec()).ok()
}

/// The beginning of a compressed message, of which only a part may be there.
fn unpacked(encoding: &[u8], packed: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let most = MOST as u64;
    // What was unpacked before it broke off is good.
    let _ = match encoding {
        b"gzip" => GzDecoder::new(packed).take(most).read_to_end(&mut message),
        b"zstd" => {
            let mut decoder = zstd::Decoder::with_buffer(packed).ok()?;
            decoder.window_log_max(MOST_WINDOW).ok()?;
            decoder.take(most).read_to_end(&mut message)
        }
        _ => return None,
    };
    Some(message)
}

/// A body of which frames were taken.
struct Again {
    taken: VecDeque<Result<Frame<Bytes>, Status>>,
    rest: Body,
}

impl http_body::Body for Again {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.taken.pop_front() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.taken.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.taken.is_empty() {
            false => SizeHint::default(),
            true => self.rest.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use futures::{FutureExt, StreamExt};
    use http_body_util::{Full, StreamBody};
    use prost::Message;

    use super::*;
    use crate::proto::v1::{DeleteRequest, ImportRequest, ReloadConfigurationRequest};

    fn framed(message: &impl Message) -> Bytes {
        let message = message.encode_to_vec();
        let mut bytes = vec![0];
        bytes.extend((message.len() as u32).to_be_bytes());
        bytes.extend(message);
        bytes.into()
    }

    async fn peeked(body: Body) -> (Option<String>, Bytes) {
        let (text, body) = first_field(None, body).await;
        (text, body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn the_body_stays_whole_whatever_is_found() {
        let named = |table: &str| {
            framed(&DeleteRequest {
                table: table.into(),
                request_id: "id".into(),
                ..Default::default()
            })
        };
        let none = framed(&ReloadConfigurationRequest {
            validate_only: true,
        });
        for (bytes, found) in [
            (named("packages"), Some("packages")),
            (named(""), None),
            (named(&"x".repeat(200)), None),
            (none, None),
            (Bytes::from_static(&[0, 0, 0]), None),
            (Bytes::from_static(&[1, 0, 0, 0, 3, 10, 1, b'x']), None),
            (Bytes::from_static(&[0, 0, 0, 0, 9, 10, 7, b'x']), None),
            (Bytes::new(), None),
        ] {
            let (text, whole) = peeked(Body::new(Full::new(bytes.clone()))).await;
            assert_eq!(text.as_deref(), found, "{bytes:?}");
            assert_eq!(whole, bytes);
        }
        let all = named("packages");
        for cut in [3, 9, 16] {
            let parts = [all.slice(..cut), all.slice(cut..)];
            let frames = parts.map(|part| Ok::<_, Status>(Frame::data(part)));
            let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
            assert_eq!(peeked(body).await, (Some("packages".into()), all.clone()));
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_more_than_the_first_message() {
        let whole = framed(&DeleteRequest {
            request_id: "no table".into(),
            ..Default::default()
        });
        let first = futures::stream::iter([Ok::<_, Status>(Frame::data(whole))]);
        let body = Body::new(StreamBody::new(first.chain(futures::stream::pending())));
        assert_eq!(first_field(None, body).now_or_never().unwrap().0, None);
    }

    /// Of a name before much that cannot be compressed.
    #[tokio::test]
    async fn what_is_compressed_is_unpacked_as_far_as_is_needed() {
        let mut noise = 1_u32;
        let rows: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        })
        .take(1 << 20)
        .collect();
        let message = ImportRequest {
            table: "packages".into(),
            arrow_ipc: rows.into(),
            ..Default::default()
        }
        .encode_to_vec();
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&message).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(message.as_slice(), 1).unwrap();
        for (encoding, packed) in [("gzip", gzip), ("zstd", zstd)] {
            let mut bytes = vec![1];
            bytes.extend((packed.len() as u32).to_be_bytes());
            bytes.extend(packed);
            // As HTTP/2 brings it.
            let frames: Vec<_> = bytes
                .chunks(16_384)
                .map(|part| Ok::<_, Status>(Frame::data(Bytes::copy_from_slice(part))))
                .collect();
            let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
            let header = HeaderValue::from_static(encoding);
            let (text, body) = first_field(Some(&header), body).await;
            assert_eq!(text.as_deref(), Some("packages"), "{encoding}");
            assert_eq!(body.collect().await.unwrap().to_bytes(), bytes);
            // Cut off, or not what it is said to be.
            for (encoding, length) in [(encoding, 9), ("br", bytes.len())] {
                let body = Body::new(Full::new(Bytes::copy_from_slice(&bytes[..length])));
                let header = HeaderValue::from_static(encoding);
                assert_eq!(first_field(Some(&header), body).await.0, None);
            }
        }
    }
}
