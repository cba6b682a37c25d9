//! The requests of one connection: that there are any, that they are not all given
//! up at once, and what each is told of the connection.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpConnectInfo;
use tower::Service;

use crate::domain::PeerCertificate;

/// A request that is given up within this time cost its client nothing.
const SOON: Duration = Duration::from_secs(1);

/// Requests given up that soon from which on a connection is looked at. Clients
/// whose deadlines are short, and those that ask twice and take the first answer,
/// give up some of theirs.
const MANY: u32 = 500;

/// Requests after which counting begins anew.
const WINDOW: u32 = 2 * MANY;

/// What is known of the requests of a connection.
#[derive(Default)]
pub(super) struct Seen {
    any: AtomicBool,
    requests: AtomicU32,
    given_up: AtomicU32,
    abused: CancellationToken,
}

impl Seen {
    /// Whether there was a request.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// When the client resets most of what it asks for as soon as it has asked
    /// (CVE-2023-44487): each costs it a few bytes and the server its work.
    pub(super) async fn abused(&self) {
        self.abused.cancelled().await;
    }

    fn begin(&self) {
        self.any.store(true, Ordering::Relaxed);
        if self.requests.fetch_add(1, Ordering::Relaxed) >= WINDOW {
            self.requests.store(1, Ordering::Relaxed);
            self.given_up.store(0, Ordering::Relaxed);
        }
    }

    fn give_up(&self) {
        let given_up = self.given_up.fetch_add(1, Ordering::Relaxed) + 1;
        let requests = self.requests.load(Ordering::Relaxed);
        if given_up >= MANY && given_up > requests / 2 {
            self.abused.cancel();
        }
    }
}

/// One request, as its body and its answer know it together.
struct Asked {
    seen: Arc<Seen>,
    since: Instant,
    answered: AtomicBool,
    /// It is given up once, whoever notices first.
    given_up: AtomicBool,
}

impl Asked {
    fn give_up(&self) {
        let answered = self.answered.load(Ordering::Relaxed);
        if !answered && self.since.elapsed() < SOON && !self.given_up.swap(true, Ordering::Relaxed)
        {
            self.seen.give_up();
        }
    }
}

/// A service for the requests of one connection.
#[derive(Clone)]
pub(super) struct Counted<S> {
    pub inner: S,
    pub seen: Arc<Seen>,
    pub address: TcpConnectInfo,
    pub certificate: Option<PeerCertificate>,
}

impl<S, B> Service<Request<Incoming>> for Counted<S>
where
    S: Service<Request<Upload>, Response = Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        self.seen.begin();
        let extensions = request.extensions_mut();
        extensions.insert(self.address.clone());
        if let Some(certificate) = &self.certificate {
            extensions.insert(certificate.clone());
        }
        let asked = Arc::new(Asked {
            seen: Arc::clone(&self.seen),
            since: Instant::now(),
            answered: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
        });
        let request = request.map(|body| Upload {
            body,
            asked: Arc::clone(&asked),
        });
        Answer {
            inner: self.inner.call(request),
            waiting: Waiting(asked),
        }
    }
}

/// What a client sends. Whoever reads it when the client gives up answers with an
/// error that nobody hears: it is here that giving up is seen.
pub struct Upload {
    body: Incoming,
    asked: Arc<Asked>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(_))) = &frame {
            self.asked.give_up();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// An answer that is waited for.
    pub(super) struct Answer<F> {
        #[pin]
        inner: F,
        waiting: Waiting,
    }
}

/// Notes a request that is dropped while it is waited for.
struct Waiting(Arc<Asked>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

impl<F: Future> Future for Answer<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answer = this.inner.poll(cx);
        if answer.is_ready() {
            this.waiting.0.answered.store(true, Ordering::Relaxed);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(seen: &Seen, given_up: bool) {
        seen.begin();
        if given_up {
            seen.give_up();
        }
    }

    #[test]
    fn whoever_gives_up_nearly_everything_is_found_out() {
        let seen = Seen::default();
        for _ in 0..MANY {
            assert!(!seen.abused.is_cancelled());
            ask(&seen, true);
        }
        assert!(seen.abused.is_cancelled());
    }

    #[test]
    fn whoever_gives_up_a_part_is_not() {
        let seen = Seen::default();
        for i in 0..100 * WINDOW {
            ask(&seen, i % 5 < 2);
        }
        assert!(!seen.abused.is_cancelled());
    }
}
