//! The innermost layer: tells the work who waits for it. It is within the task that an
//! audited request has, which goes on without its client: what has not begun then is
//! given up, and what has takes up its places until it has ended.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::connection::Caller;

#[derive(Clone, Copy)]
pub(super) struct CallerLayer;

impl<S> Layer<S> for CallerLayer {
    type Service = WithCaller<S>;

    fn layer(&self, inner: S) -> WithCaller<S> {
        WithCaller { inner }
    }
}

#[derive(Clone)]
pub struct WithCaller<S> {
    inner: S,
}

impl<S, B> Service<Request<Body>> for WithCaller<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // Taken out: whoever keeps the extensions of a request keeps no place.
        let Some(caller) = request.extensions_mut().remove::<Caller>() else {
            return Box::pin(self.inner.call(request));
        };
        let request = request.map(|inner| {
            let gone = caller.gone();
            Body::new(Incoming { inner, gone })
        });
        Box::pin(caller.scope(self.inner.call(request)))
    }
}

pin_project! {
    /// The body of a request, which ends when its caller is gone: who has their answer
    /// could go on sending it for as long as they like.
    struct Incoming {
        #[pin]
        inner: Body,
        #[pin]
        gone: WaitForCancellationFutureOwned,
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        if this.gone.poll(cx).is_ready() {
            // Not CANCELLED, which tonic takes for the end of the stream: half an import
            // would look whole.
            let status = Status::aborted("the client has gone away");
            return Poll::Ready(Some(Err(status)));
        }
        this.inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};
    use tokio_util::sync::CancellationToken;
    use tonic::Code;
    use tower::{ServiceExt, service_fn};

    use super::*;

    /// Somebody sends a part, hears that time is up, and sends no more.
    #[tokio::test]
    async fn a_request_whose_caller_is_gone_has_come_to_its_end() {
        let read = |request: Request<Body>| async move {
            let whole = request.into_body().collect().await;
            Ok::<_, Infallible>(Response::new(whole.map(|_| ())))
        };
        let frames = stream::iter([Ok(Frame::data(Bytes::from_static(b"part")))]);
        let body = StreamBody::new(frames.chain(stream::pending::<Result<_, Status>>()));
        let mut request = Request::new(Body::new(body));
        let gone = CancellationToken::new();
        let caller = Caller::new(gone.clone(), ());
        request.extensions_mut().insert(caller);
        let service = CallerLayer.layer(service_fn(read));
        let mut answer = Box::pin(service.oneshot(request));
        assert!(futures::poll!(answer.as_mut()).is_pending());
        gone.cancel();
        let answer = answer.await.unwrap_or_else(|never| match never {});
        assert_eq!(answer.into_body().unwrap_err().code(), Code::Aborted);
    }
}
