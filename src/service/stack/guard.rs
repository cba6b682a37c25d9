//! Who asks, and whether they may call this method at all: decided by the head of a
//! request. Of what is refused here no byte of the body is read.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::Status;
use tower::{Layer, Service};

use super::{RequestFacts, body::GrpcBody};
use crate::{
    access::{Access, Caller, Need, Refusal, need},
    domain::{PeerCertificate, Proof},
    telemetry::metrics,
    wire::status::status,
};

/// What decides; `None` where nobody is asked who they are.
#[derive(Clone)]
pub(super) struct GuardLayer {
    access: Option<Arc<Access>>,
    anybody: Caller,
}

impl GuardLayer {
    pub(super) fn new(access: Option<Arc<Access>>) -> Self {
        Self {
            access,
            anybody: Caller::anybody(),
        }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard {
            inner,
            guard: self.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Guard<S> {
    inner: S,
    guard: GuardLayer,
}

impl<S, ReqB, B> Service<Request<ReqB>> for Guard<S>
where
    S: Service<Request<ReqB>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    ReqB: Send + 'static,
    B: GrpcBody,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let Some(access) = self.guard.access.clone() else {
            admit(&mut request, self.guard.anybody.clone());
            return Box::pin(self.inner.call(request));
        };
        let needed = need(request.uri().path());
        if needed == Some(Need::Nothing) {
            return Box::pin(self.inner.call(request));
        }
        // What was found ready is called, whenever that will be.
        let spare = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        Box::pin(async move {
            // Of the request only its head is looked at, also while this waits.
            let (mut parts, body) = request.into_parts();
            let certificate = parts.extensions.get::<PeerCertificate>();
            let caller = access.caller(&parts.headers, certificate).await;
            let caller = caller.and_then(|caller| {
                if let Some(facts) = parts.extensions.get::<RequestFacts>() {
                    facts.principal(&caller.principal);
                }
                let may = needed.is_some_and(|need| caller.grants.may(need));
                may.then_some(caller).ok_or(Refusal::Method)
            });
            match caller {
                Ok(caller) => {
                    parts.extensions.insert(caller.principal);
                    parts.extensions.insert(caller.grants);
                    inner.call(Request::from_parts(parts, body)).await
                }
                Err(refusal) => Ok(refused(refusal).into_http()),
            }
        })
    }
}

fn admit<B>(request: &mut Request<B>, caller: Caller) {
    debug_assert!(caller.principal.proof == Proof::Nothing);
    if let Some(facts) = request.extensions().get::<RequestFacts>() {
        facts.principal(&caller.principal);
    }
    request.extensions_mut().insert(caller.principal);
    request.extensions_mut().insert(caller.grants);
}

/// What somebody is told who may not.
pub(super) fn refused(refusal: Refusal) -> Status {
    metrics::access_refused(refusal.as_str());
    status(&refusal.error())
}
