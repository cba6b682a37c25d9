//! The message of a request that has its place already: the rest of it has to keep coming.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Instant, Sleep, sleep};
use tonic::{Status, body::Body};

use super::{super::time_for, late};

/// A body of which the first frames are there.
pub(super) struct Paced {
    first: VecDeque<Frame<Bytes>>,
    /// `None` when nothing more comes.
    rest: Option<Body>,
    /// `None` where it may take its time.
    patience: Option<Duration>,
    /// By when more has to be there; `None` until something had to be waited for.
    due: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    pub(super) fn whole(first: VecDeque<Frame<Bytes>>) -> Self {
        Self {
            first,
            rest: None,
            patience: None,
            due: None,
        }
    }

    pub(super) fn freely(first: VecDeque<Frame<Bytes>>, rest: Body) -> Self {
        Self {
            rest: Some(rest),
            ..Self::whole(first)
        }
    }

    pub(super) fn within(patience: Duration, first: VecDeque<Frame<Bytes>>, rest: Body) -> Self {
        Self {
            patience: Some(patience),
            ..Self::freely(first, rest)
        }
    }

    /// So many bytes more have come.
    fn came(&mut self, bytes: usize) {
        let (Some(due), Some(patience)) = (&mut self.due, self.patience) else {
            return;
        };
        // What came fast does not allow for a longer pause.
        let until = (due.deadline() + time_for(bytes)).min(Instant::now() + patience);
        due.as_mut().reset(until);
    }

    /// Whether something that has to be waited for should have come by now.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(patience) = self.patience else {
            return false;
        };
        let due = self.due.get_or_insert_with(|| Box::pin(sleep(patience)));
        due.as_mut().poll(cx).is_ready()
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if let Some(frame) = this.first.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(rest) = &mut this.rest else {
            return Poll::Ready(None);
        };
        match Pin::new(rest).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.came(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending if this.is_late(cx) => {
                this.rest = None;
                Poll::Ready(Some(Err(late())))
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};

    use super::{super::super::PACE, *};

    /// Parts of so many bytes, each after such a time.
    fn parts(bytes: usize, pause: Duration, count: usize) -> Body {
        let parts = stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, Status>(Frame::data(Bytes::from(vec![0; bytes])))
        });
        Body::new(StreamBody::new(Box::pin(parts)))
    }

    async fn read(body: Paced) -> Result<usize, Status> {
        Ok(body.collect().await?.to_bytes().len())
    }

    const LONG: Duration = Duration::from_secs(5);
    const SHORT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn what_comes_at_its_pace_is_read() {
        let first = VecDeque::from([Frame::data(Bytes::from_static(b"first"))]);
        let rest = parts(32 << 10, Duration::from_millis(20), 20);
        let read = read(Paced::within(LONG, first, rest)).await;
        assert_eq!(read.unwrap(), 5 + 20 * (32 << 10));
    }

    #[tokio::test]
    async fn who_dribbles_is_cut_off() {
        // A byte now and then, half of what has to come, and all of it too late.
        for (bytes, millis) in [(1, 10), (PACE as usize / 20, 100), (1 << 20, 1_000)] {
            let rest = parts(bytes, Duration::from_millis(millis), 1_000);
            let read = read(Paced::within(SHORT, VecDeque::new(), rest));
            let late = tokio::time::timeout(LONG, read)
                .await
                .expect("it is cut off");
            assert_eq!(late.unwrap_err().code(), tonic::Code::DeadlineExceeded);
        }
    }

    #[tokio::test]
    async fn a_stream_may_take_its_time() {
        let rest = parts(1, 2 * SHORT, 3);
        let read = read(Paced::freely(VecDeque::new(), rest)).await;
        assert_eq!(read.unwrap(), 3);
    }
}
