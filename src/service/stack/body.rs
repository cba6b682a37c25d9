//! What several layers need of a gRPC answer: to know its final code, and to
//! end it with one of their own.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Code, Status};

/// The answers that pass through the stack. `Default` is an empty body, which
/// is what an answer has whose status is in its headers.
pub trait GrpcBody: Body<Data = Bytes, Error = Status> + Default {}

impl<B: Body<Data = Bytes, Error = Status> + Default> GrpcBody for B {}

/// Calls a function once, with the code that a call ended with. One that is
/// dropped before that was given up by the client.
pub struct Ending(Option<Box<dyn FnOnce(Code) + Send>>);

impl Ending {
    pub(super) fn new(f: impl FnOnce(Code) + Send + 'static) -> Self {
        Self(Some(Box::new(f)))
    }

    /// Nobody wants to know.
    pub(super) fn of_nothing() -> Self {
        Self(None)
    }

    fn end(&mut self, code: Code) {
        if let Some(f) = self.0.take() {
            f(code);
        }
    }

    /// Watches an answer to its end.
    pub(super) fn watch<B: GrpcBody>(mut self, response: Response<B>) -> Response<Observed<B>> {
        match code_of(response.headers()) {
            Some(code) => self.end(code),
            // Nothing will follow that could carry a code.
            None if response.body().is_end_stream() => self.end(Code::Unknown),
            None => {}
        }
        response.map(|inner| Observed {
            inner,
            ending: self,
        })
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

pin_project! {
    /// A body that is watched to its end.
    pub struct Observed<B> {
        #[pin]
        inner: B,
        ending: Ending,
    }
}

impl<B: Default> Default for Observed<B> {
    fn default() -> Self {
        Self {
            inner: B::default(),
            ending: Ending::of_nothing(),
        }
    }
}

impl<B: GrpcBody> Body for Observed<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.ending.end(code_of(trailers).unwrap_or(Code::Unknown));
                }
            }
            Some(Err(status)) => this.ending.end(status.code()),
            None => this.ending.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The code that headers or trailers carry.
pub(super) fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers
        .get(Status::GRPC_STATUS)
        .map(|value| Code::from_bytes(value.as_bytes()))
}

/// The last frame of an answer that ends with `status`.
pub(super) fn trailers(status: &Status) -> Frame<Bytes> {
    let mut map = HeaderMap::with_capacity(3);
    write(status, &mut map);
    Frame::trailers(map)
}

/// Replaces the status that headers or trailers carry.
pub(super) fn write(status: &Status, map: &mut HeaderMap) {
    for name in [
        Status::GRPC_STATUS,
        Status::GRPC_MESSAGE,
        Status::GRPC_STATUS_DETAILS,
    ] {
        map.remove(name);
    }
    if status.add_header(map).is_err() {
        // A text that no header can carry: the code alone always can.
        map.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::executor::block_on;
    use http_body_util::BodyExt;

    use super::*;

    /// A body of the given frames.
    #[derive(Default)]
    struct Frames(Vec<Result<Frame<Bytes>, Status>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready((!self.0.is_empty()).then(|| self.0.remove(0)))
        }
    }

    type Seen = Arc<Mutex<Vec<Code>>>;

    fn watched(seen: &Seen, response: Response<Frames>) -> Response<impl GrpcBody> {
        let seen = Arc::clone(seen);
        Ending::new(move |code| seen.lock().unwrap().push(code)).watch(response)
    }

    fn data() -> Result<Frame<Bytes>, Status> {
        Ok(Frame::data(Bytes::from_static(b"x")))
    }

    #[test]
    fn the_code_is_that_of_the_trailers() {
        let seen = Seen::default();
        let status = Status::not_found("no");
        let body = Frames(vec![data(), Ok(trailers(&status))]);
        let response = watched(&seen, Response::new(body));
        assert!(seen.lock().unwrap().is_empty());
        block_on(response.into_body().collect()).unwrap();
        assert_eq!(*seen.lock().unwrap(), [Code::NotFound]);
    }

    #[test]
    fn or_of_the_headers_or_of_the_error_or_unknown() {
        for (response, code) in [
            (Status::aborted("x").into_http(), Code::Aborted),
            (
                Response::new(Frames(vec![Err(Status::data_loss("x"))])),
                Code::DataLoss,
            ),
            (Response::new(Frames(vec![data()])), Code::Unknown),
        ] {
            let seen = Seen::default();
            let response = watched(&seen, response);
            let _ = block_on(response.into_body().collect());
            assert_eq!(*seen.lock().unwrap(), [code]);
        }
    }

    #[test]
    fn a_dropped_answer_was_cancelled() {
        let seen = Seen::default();
        let response = watched(&seen, Response::new(Frames(vec![data(), data()])));
        let mut body = Box::pin(response.into_body());
        block_on(body.frame()).unwrap().unwrap();
        drop(body);
        assert_eq!(*seen.lock().unwrap(), [Code::Cancelled]);
    }

    #[test]
    fn a_status_is_replaced_whole() {
        let mut map = HeaderMap::new();
        Status::with_details(Code::OutOfRange, "old", Bytes::from_static(b"d"))
            .add_header(&mut map)
            .unwrap();
        write(&Status::unavailable(""), &mut map);
        assert_eq!(map.len(), 1);
        assert_eq!(code_of(&map), Some(Code::Unavailable));
    }
}
