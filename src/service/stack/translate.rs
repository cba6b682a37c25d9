//! Statuses that tonic makes by itself, without details and not always with
//! the code that clients of other stacks know, become those of our own table.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::body::{GrpcBody, write};
use crate::{domain::Error, wire::status::status};

#[derive(Clone, Copy)]
pub(super) struct TranslateLayer;

impl<S> Layer<S> for TranslateLayer {
    type Service = Translate<S>;

    fn layer(&self, inner: S) -> Translate<S> {
        Translate { inner }
    }
}

#[derive(Clone)]
pub struct Translate<S> {
    inner: S,
}

impl<S, ReqB, B> Service<Request<ReqB>> for Translate<S>
where
    S: Service<Request<ReqB>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: GrpcBody,
{
    type Response = Response<TranslateBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            translate(response.headers_mut());
            Ok(response.map(|inner| TranslateBody { inner }))
        })
    }
}

/// Replaces a status of tonic's in headers or trailers.
fn translate(map: &mut HeaderMap) {
    // Ours all have details.
    let ours = map.contains_key(Status::GRPC_STATUS_DETAILS);
    if ours || map.get(Status::GRPC_STATUS).is_none_or(|code| code == "0") {
        return;
    }
    let tonics = Status::from_header_map(map);
    if let Some(error) = tonics.and_then(|s| meaning(s.code(), s.message())) {
        write(&status(&error), map);
    }
}

/// What a status of tonic 0.14 means; `None` for what it does not make. The
/// texts are those of its codec and of tonic-prost; the tests of the stack
/// send what makes each of them.
pub fn meaning(code: Code, message: &str) -> Option<Error> {
    match code {
        Code::OutOfRange if message.contains("message length too large") => {
            let whose = match message.contains("decoded") {
                true => "the request message",
                false => "the answer message",
            };
            let mut numbers = message
                .split(|c: char| !c.is_ascii_digit())
                .filter(|n| !n.is_empty());
            Some(Error::TooLarge(match (numbers.next(), numbers.next()) {
                (Some(found), Some(limit)) => {
                    format!("{whose} has {found} bytes, the limit is {limit}")
                }
                _ => format!("{whose} is over the limit"),
            }))
        }
        Code::ResourceExhausted if message.starts_with("Error decompressing: size limit") => Some(
            Error::TooLarge("the request message is over the limit when decompressed".to_owned()),
        ),
        Code::Internal if message.starts_with("failed to decode Protobuf message") => Some(
            Error::invalid("request", "the message is not the protobuf of this method"),
        ),
        Code::Internal if message == "Missing request message." => {
            Some(Error::invalid("request", "the message is missing"))
        }
        Code::Unimplemented if message.is_empty() => {
            Some(Error::Unsupported("there is no such method".to_owned()))
        }
        Code::Unimplemented => Some(Error::Unsupported(message.to_owned())),
        _ => None,
    }
}

pin_project! {
    /// A body whose trailers are translated.
    #[derive(Default)]
    pub struct TranslateBody<B> {
        #[pin]
        inner: B,
    }
}

impl<B: GrpcBody> Body for TranslateBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut polled = self.project().inner.poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            translate(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
