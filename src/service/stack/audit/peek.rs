//! What a request is about, before it is read: all that change something name a table
//! or a connection in the first field of their message.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tonic::{Status, body::Body};

/// The key of field 1, if that is a string.
const FIRST: u8 = 0x0a;

/// The text of the first field as far as it is in the first bytes that come, and a
/// body that is still whole. `None` for what is compressed, in pieces, or no text.
pub(super) async fn first_field(mut body: Body) -> (Option<String>, Body) {
    let Some(first) = body.frame().await else {
        return (None, body);
    };
    let text = match &first {
        Ok(frame) => frame.data_ref().and_then(|data| text(data)),
        Err(_) => None,
    };
    let whole = Again {
        first: Some(first),
        rest: body,
    };
    (text, Body::new(whole))
}

/// The text of the first field of the first message.
fn text(bytes: &[u8]) -> Option<String> {
    let (head, message) = bytes.split_at_checked(5)?;
    let (key, rest) = message.split_first()?;
    let (length, rest) = rest.split_first()?;
    // Names of one byte's length are all that there are.
    let is_text = head[0] == 0 && *key == FIRST && *length < 0x80;
    let text = rest.get(..usize::from(*length)).filter(|_| is_text)?;
    String::from_utf8(text.to_vec()).ok()
}

/// A body of which one frame was taken.
struct Again {
    first: Option<Result<Frame<Bytes>, Status>>,
    rest: Body,
}

impl http_body::Body for Again {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.first {
            Some(_) => SizeHint::default(),
            None => self.rest.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};
    use prost::Message;

    use super::*;
    use crate::proto::v1::{DeleteRequest, ReloadConfigurationRequest};

    fn framed(message: &impl Message) -> Bytes {
        let message = message.encode_to_vec();
        let mut bytes = vec![0];
        bytes.extend((message.len() as u32).to_be_bytes());
        bytes.extend(message);
        bytes.into()
    }

    async fn peeked(body: Body) -> (Option<String>, Bytes) {
        let (text, body) = first_field(body).await;
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
        let parts = [all.slice(..16), all.slice(16..)];
        let frames = parts.map(|part| Ok::<_, Status>(Frame::data(part)));
        let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
        assert_eq!(peeked(body).await, (Some("packages".into()), all));
    }
}
