//! The answer's part of the deadline.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::{task::JoinHandle, time::sleep_until};
use tonic::Status;

use super::{
    super::body::{GrpcBody, trailers},
    Until,
};

/// A body that ends with DEADLINE_EXCEEDED trailers when time is up.
///
/// A client that stops reading stops the polls too. So a task of its own drops
/// the work, and with it everything that the work holds, on time; the trailers
/// follow when the client reads again.
pub struct DeadlineBody<B> {
    /// `None` once there is nothing more to send.
    work: Option<Arc<Mutex<Work<B>>>>,
    until: Option<Until>,
    timer: Option<Timer>,
}

struct Work<B> {
    /// `None` once time was up.
    body: Option<B>,
    /// Whoever waits for the next frame.
    waiting: Option<Waker>,
}

/// Ends the task that it stands for.
struct Timer(JoinHandle<()>);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<B> Default for DeadlineBody<B> {
    fn default() -> Self {
        Self {
            work: None,
            until: None,
            timer: None,
        }
    }
}

fn lock<B>(work: &Mutex<Work<B>>) -> MutexGuard<'_, Work<B>> {
    // A panic while it was held left the body as it was: over, or to be dropped.
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Send + 'static> DeadlineBody<B> {
    pub(super) fn new(body: B, until: Option<Until>) -> Self {
        let work = Work {
            body: Some(body),
            waiting: None,
        };
        Self {
            work: Some(Arc::new(Mutex::new(work))),
            until,
            timer: None,
        }
    }

    /// Has the work dropped on time whether or not it is polled again.
    fn start_timer(&mut self) {
        if self.timer.is_some() {
            return;
        }
        if let (Some(until), Some(work)) = (self.until, &self.work) {
            let work = Arc::downgrade(work);
            self.timer = Some(Timer(tokio::spawn(async move {
                sleep_until(until.at).await;
                stop(&work);
            })));
        }
    }
}

fn stop<B>(work: &Weak<Mutex<Work<B>>>) {
    let Some(work) = work.upgrade() else { return };
    let (body, waiting) = {
        let mut work = lock(&work);
        (work.body.take(), work.waiting.take())
    };
    drop(body);
    if let Some(waiting) = waiting {
        waiting.wake();
    }
}

impl<B: GrpcBody + Unpin + Send + 'static> Body for DeadlineBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(shared) = self.work.clone() else {
            return Poll::Ready(None);
        };
        let mut work = lock(&shared);
        let polled = match &mut work.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Pending,
        };
        // A frame that ends the answer counts even when it is a little late.
        let more = match &polled {
            Poll::Pending => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_data(),
            Poll::Ready(_) => false,
        };
        if !more {
            drop(work);
            *self = Self::default();
            return polled;
        }
        if let Some(until) = self.until
            && (work.body.is_none() || until.passed())
        {
            drop(work);
            *self = Self::default();
            return Poll::Ready(Some(Ok(trailers(&until.status()))));
        }
        if polled.is_pending() {
            work.waiting = Some(cx.waker().clone());
        }
        drop(work);
        self.start_timer();
        polled
    }

    fn is_end_stream(&self) -> bool {
        let Some(work) = &self.work else { return true };
        lock(work).body.as_ref().is_some_and(Body::is_end_stream)
    }
}
