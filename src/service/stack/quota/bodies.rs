//! The bodies of requests and answers, whose bytes are counted as they pass by.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;

use super::{too_many_answer_bytes, too_many_request_bytes};
use crate::{
    admission::Begun,
    config::failpoint,
    service::stack::body::{GrpcBody, trailers},
    wire::status::status,
};

/// What gRPC puts before each message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// The lengths of the messages of a body, whose bytes come in any portions.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    head: [u8; HEAD],
    /// Bytes of the head that are there.
    has: usize,
    /// Bytes of the message that are still to come.
    left: u64,
}

impl Lengths {
    /// The longest message that begins in these bytes.
    pub(super) fn longest(&mut self, mut bytes: &[u8]) -> u64 {
        let mut longest = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let some = (bytes.len() as u64).min(self.left);
                self.left -= some;
                // No more than there are.
                bytes.advance(some as usize);
                continue;
            }
            self.head[self.has] = bytes[0];
            bytes.advance(1);
            self.has += 1;
            if self.has == HEAD {
                let [_, a, b, c, d] = self.head;
                self.has = 0;
                self.left = u64::from(u32::from_be_bytes([a, b, c, d]));
                longest = longest.max(self.left);
            }
        }
        longest
    }
}

pin_project! {
    /// The body of a request, which ends where a message is too large.
    pub(super) struct RequestBody<B> {
        #[pin]
        inner: B,
        lengths: Lengths,
        most: u64,
    }
}

impl<B> RequestBody<B> {
    pub(super) fn new(inner: B, most: u64) -> Self {
        Self {
            inner,
            lengths: Lengths::default(),
            most,
        }
    }
}

impl<B: Body<Data = Bytes, Error = Status>> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let longest = this.lengths.longest(data);
            if longest > *this.most && !failpoint::breaks("quota:no-sizes") {
                let error = too_many_request_bytes(*this.most, longest);
                return Poll::Ready(Some(Err(status(&error))));
            }
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

pin_project! {
    /// The body of an answer. It ends with a refusal where it is too large, and it
    /// is over when it is dropped.
    pub struct AnswerBody<B> {
        #[pin]
        inner: B,
        begun: Option<Arc<Begun>>,
        sent: u64,
        over: bool,
    }
}

impl<B> AnswerBody<B> {
    pub(super) fn new(inner: B, begun: Option<Arc<Begun>>) -> Self {
        Self {
            inner,
            begun,
            sent: 0,
            over: false,
        }
    }
}

impl<B: Default> Default for AnswerBody<B> {
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}

impl<B: GrpcBody> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        let frame = ready!(this.inner.poll_frame(cx));
        let most = this.begun.as_ref().map(|b| b.quota().max_answer_bytes);
        if let (Some(Ok(frame)), Some(most @ 1..)) = (&frame, most)
            && let Some(data) = frame.data_ref()
        {
            *this.sent += data.len() as u64;
            if *this.sent > most && !failpoint::breaks("quota:no-sizes") {
                *this.over = true;
                let status = status(&too_many_answer_bytes(most));
                return Poll::Ready(Some(Ok(trailers(&status))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // What is cut off is shorter than was said.
        match &self.begun {
            Some(begun) if begun.quota().max_answer_bytes > 0 => SizeHint::default(),
            _ => self.inner.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.extend(vec![9; length as usize]);
        bytes
    }

    #[test]
    fn lengths_are_found_however_the_bytes_are_cut() {
        let all: Vec<u8> = [framed(3), framed(0), framed(700), framed(1)].concat();
        for step in [1, 2, 3, 5, 7, 100, all.len()] {
            let mut lengths = Lengths::default();
            let parts = all.chunks(step).map(|part| lengths.longest(part));
            assert_eq!(parts.max(), Some(700), "{step}");
            assert_eq!((lengths.has, lengths.left), (0, 0), "{step}");
        }
    }

    #[test]
    fn a_length_is_known_before_its_message_comes() {
        let mut lengths = Lengths::default();
        assert_eq!(lengths.longest(&[0, 0xff, 0xff, 0xff]), 0);
        assert_eq!(lengths.longest(&[0xff]), u64::from(u32::MAX));
    }
}
