//! An answer that is dropped when nobody reads it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::super::{
    body::{GrpcBody, trailers},
    time_for,
};
use crate::{domain::Error, wire::status::status};

/// Bytes of an answer that are handed on at a time. What was handed on stays in memory
/// until its client reads it, and nobody can take it back.
const CHUNK: usize = 64 << 10;

/// A body whose client has to read it.
///
/// While a chunk waits for a client the connection asks for nothing more. So a task of
/// its own drops the rest on time; that it did is told if the client reads after all.
pub struct ReadBody<B> {
    work: Arc<Mutex<Work<B>>>,
    /// `None` where the client may take its time.
    patience: Option<Duration>,
    timer: Option<AbortOnDropHandle<()>>,
}

struct Work<B> {
    /// `None` once nobody has read it.
    body: Option<B>,
    /// The rest of the frame that is being sent.
    rest: Bytes,
    /// When what was sent will have been unread for too long; `None` while the client
    /// waits for us.
    until: Option<Instant>,
    /// Whether the client was told that it took too long.
    told: bool,
}

impl<B> ReadBody<B> {
    pub(super) fn new(body: B, patience: Option<Duration>) -> Self {
        let work = Work {
            body: Some(body),
            rest: Bytes::new(),
            until: None,
            told: false,
        };
        Self {
            work: Arc::new(Mutex::new(work)),
            patience,
            timer: None,
        }
    }
}

fn lock<B>(work: &Mutex<Work<B>>) -> MutexGuard<'_, Work<B>> {
    // A panic while it was held left the body as it was: over, or to be dropped.
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drops a body that is unread for too long. Ended when the body is dropped.
async fn watch<B>(work: Arc<Mutex<Work<B>>>, patience: Duration) {
    loop {
        let until = lock(&work).until;
        match until {
            Some(at) if at <= Instant::now() => break,
            // It cannot be too long before that.
            at => sleep_until(at.unwrap_or_else(|| Instant::now() + patience)).await,
        }
    }
    let dropped = {
        let mut work = lock(&work);
        (work.body.take(), std::mem::take(&mut work.rest))
    };
    drop(dropped);
}

impl<B: GrpcBody + Unpin> Work<B> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.rest.is_empty() {
            let chunk = self.rest.split_to(CHUNK.min(self.rest.len()));
            return Poll::Ready(Some(Ok(Frame::data(alone(&chunk)))));
        }
        let Some(body) = &mut self.body else {
            let unread = status(&Error::Stalled("the answer was not read"));
            let told = std::mem::replace(&mut self.told, true);
            return Poll::Ready((!told).then(|| Ok(trailers(&unread))));
        };
        let polled = Pin::new(body).poll_frame(cx);
        let Poll::Ready(Some(Ok(frame))) = polled else {
            return polled;
        };
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(mut bytes) if bytes.len() > CHUNK => {
                let first = alone(&bytes.split_to(CHUNK));
                self.rest = bytes;
                Frame::data(first)
            }
            Ok(bytes) => Frame::data(bytes),
            Err(trailers) => trailers,
        })))
    }
}

/// The same bytes in memory of their own: a part would keep the whole.
fn alone(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

impl<B: GrpcBody + Unpin + Send + 'static> Body for ReadBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let mut work = lock(&this.work);
        let Some(patience) = this.patience else {
            return match &mut work.body {
                Some(body) => Pin::new(body).poll_frame(cx),
                None => Poll::Ready(None),
            };
        };
        let polled = work.poll_chunk(cx);
        let sent = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref().map(Bytes::len),
            _ => None,
        };
        work.until = sent.map(|bytes| Instant::now() + patience + time_for(bytes));
        drop(work);
        if sent.is_some() && this.timer.is_none() {
            let watch = watch(Arc::clone(&this.work), patience);
            this.timer = Some(AbortOnDropHandle::new(tokio::spawn(watch)));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let work = lock(&self.work);
        let is_over = work.body.as_ref().map_or(work.told, Body::is_end_stream);
        work.rest.is_empty() && is_over
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, task::ready};

    use http_body_util::BodyExt;
    use tokio::time::{Sleep, sleep};
    use tonic::Code;

    use super::*;

    const LONG: Duration = Duration::from_secs(5);
    const SHORT: Duration = Duration::from_millis(100);

    /// So many bytes after a pause of the server's; tells when it is dropped.
    #[derive(Default)]
    struct Answer {
        pause: Option<Pin<Box<Sleep>>>,
        frames: VecDeque<Frame<Bytes>>,
        _held: Option<Arc<()>>,
    }

    impl Body for Answer {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            Poll::Ready(self.frames.pop_front().map(Ok))
        }
    }

    fn answer(bytes: usize, pause: Duration) -> (Answer, Arc<()>) {
        let held = Arc::new(());
        let data = Frame::data(Bytes::from(vec![7; bytes]));
        let answer = Answer {
            pause: Some(Box::pin(sleep(pause))),
            frames: VecDeque::from([data, trailers(&Status::ok(""))]),
            _held: Some(Arc::clone(&held)),
        };
        (answer, held)
    }

    fn is_held(held: &Arc<()>) -> bool {
        Arc::strong_count(held) > 1
    }

    #[tokio::test]
    async fn what_is_read_comes_whole_and_in_pieces() {
        for bytes in [0, 1, CHUNK, CHUNK + 1, 10 * CHUNK - 1] {
            let (answer, _) = answer(bytes, Duration::ZERO);
            let mut body = ReadBody::new(answer, Some(LONG));
            let mut read = 0;
            while let Some(frame) = body.frame().await {
                match frame.unwrap().into_data() {
                    Ok(data) => {
                        assert!(data.len() <= CHUNK);
                        read += data.len();
                    }
                    Err(end) => assert_eq!(end.trailers_ref().unwrap()["grpc-status"], "0"),
                }
            }
            assert_eq!(read, bytes);
        }
    }

    #[tokio::test]
    async fn the_server_may_take_its_time() {
        let (answer, _) = answer(1, 5 * SHORT);
        let mut body = ReadBody::new(answer, Some(SHORT));
        assert_eq!(
            body.frame()
                .await
                .unwrap()
                .unwrap()
                .data_ref()
                .unwrap()
                .len(),
            1
        );
        assert!(body.frame().await.unwrap().unwrap().is_trailers());
    }

    #[tokio::test]
    async fn what_nobody_reads_is_dropped_and_told() {
        let (answer, held) = answer(10 * CHUNK, Duration::ZERO);
        let mut body = ReadBody::new(answer, Some(SHORT));
        body.frame().await.unwrap().unwrap();
        assert!(is_held(&held));
        let began = Instant::now();
        while is_held(&held) {
            assert!(began.elapsed() < 10 * LONG, "it is held for ever");
            sleep(SHORT / 10).await;
        }
        let end = body.frame().await.unwrap().unwrap();
        let status = Status::from_header_map(end.trailers_ref().unwrap()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.message().contains("limits.stall_timeout"));
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_stream_is_kept() {
        let (answer, held) = answer(10 * CHUNK, Duration::ZERO);
        let mut body = ReadBody::new(answer, None);
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.data_ref().unwrap().len(), 10 * CHUNK);
        sleep(2 * SHORT).await;
        assert!(is_held(&held));
    }
}
