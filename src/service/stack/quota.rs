//! Quotas: the layer around [`crate::admission::Quotas`]. It stands where it is known
//! who asks and before anything of the request is read: what is over a quota costs a
//! look-up. What depends on the request or the answer is measured as they pass by.

mod bodies;

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Extensions, Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

pub use self::bodies::AnswerBody;
use self::bodies::RequestBody;
use super::{body::GrpcBody, is_health, peer};
use crate::{
    admission::{Client, Identity, Over, Quotas},
    config::{Quota, failpoint},
    domain::{Error, Principal, Proof, Result},
    telemetry::metrics,
    wire::status::status,
};

const RATE: &str = "requests_per_second";
const CONCURRENCY: &str = "max_concurrent_requests";
const REQUEST_BYTES: &str = "max_request_bytes";
const ANSWER_BYTES: &str = "max_answer_bytes";
const ROWS: &str = "max_rows";
const ROWS_PER_WRITE: &str = "rows_per_write";

/// When one of the requests that are under way may be over.
const RETRY: Duration = Duration::from_secs(1);

/// A refusal, counted.
fn over(quota: &'static str, message: String, retry_after: Option<Duration>) -> Error {
    metrics::quota_refused(quota);
    Error::Quota {
        quota,
        message,
        retry_after,
    }
}

/// What whoever asks may have. The stack puts it into the extensions of each request;
/// without it nothing is bounded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed(Quota);

impl Allowed {
    /// That of a request.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or_default()
    }

    /// # Errors
    /// An answer may not have so many rows.
    pub fn rows(&self, rows: u64) -> Result<()> {
        match self.0.max_rows {
            most if most > 0 && rows > most && !failpoint::breaks("quota:no-rows") => Err(over(
                ROWS,
                format!("an answer may have {most} rows: ask for fewer"),
                None,
            )),
            _ => Ok(()),
        }
    }

    /// The size of a page that may have this one.
    pub fn page(&self, size: usize) -> usize {
        match self.0.max_rows {
            0 => size,
            most => size.min(usize::try_from(most).unwrap_or(usize::MAX)),
        }
    }

    /// # Errors
    /// A write may not have so many rows.
    pub fn written(&self, rows: u64) -> Result<()> {
        match self.0.rows_per_write {
            most if most > 0 && rows > most && !failpoint::breaks("quota:no-rows") => Err(over(
                ROWS_PER_WRITE,
                format!("one write may have {most} rows: send them in several"),
                None,
            )),
            _ => Ok(()),
        }
    }

    /// Whether the rows of a write are counted.
    pub fn bounds_writes(&self) -> bool {
        self.0.rows_per_write > 0
    }

    /// # Errors
    /// An answer may not have so many bytes.
    pub fn bytes(&self, bytes: u64) -> Result<()> {
        match self.0.max_answer_bytes {
            most if most > 0 && bytes > most => Err(too_many_answer_bytes(most)),
            _ => Ok(()),
        }
    }

    /// Bytes of rows that an answer may have which may have `limit` in any case.
    pub fn answer_bytes(&self, limit: usize) -> usize {
        match self.0.max_answer_bytes {
            0 => limit,
            most => limit.min(usize::try_from(most).unwrap_or(usize::MAX)),
        }
    }

    /// An answer that is surely larger than that: where it is the quota that it is too
    /// large for, that is what is told.
    pub fn told<T>(&self, limit: usize, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(Error::TooLarge(_)) if self.answer_bytes(limit) < limit => {
                Err(too_many_answer_bytes(self.0.max_answer_bytes))
            }
            other => other,
        }
    }

    /// A message of a request that came in parts was too large.
    pub fn large_message() -> Error {
        // It was counted as it came.
        Error::Quota {
            quota: REQUEST_BYTES,
            message: "a message of the request is larger than one may be".into(),
            retry_after: None,
        }
    }
}

fn too_many_answer_bytes(most: u64) -> Error {
    over(
        ANSWER_BYTES,
        format!("an answer may have {most} bytes: ask for fewer rows or columns"),
        None,
    )
}

fn too_many_request_bytes(most: u64, bytes: u64) -> Error {
    over(
        REQUEST_BYTES,
        format!("a request message may have {most} bytes, this one has {bytes}"),
        None,
    )
}

#[derive(Clone)]
pub(super) struct QuotaLayer {
    quotas: Arc<Quotas>,
}

impl QuotaLayer {
    pub(super) fn new(quotas: Arc<Quotas>) -> Self {
        Self { quotas }
    }
}

impl<S> Layer<S> for QuotaLayer {
    type Service = WithQuota<S>;

    fn layer(&self, inner: S) -> WithQuota<S> {
        WithQuota {
            inner,
            quotas: Arc::clone(&self.quotas),
        }
    }
}

#[derive(Clone)]
pub struct WithQuota<S> {
    inner: S,
    quotas: Arc<Quotas>,
}

impl<S, B> Service<Request<Body>> for WithQuota<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: GrpcBody,
{
    type Response = Response<AnswerBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let begun = match is_health(&request) {
            true => None,
            false => match self.quotas.begin(identity(request.extensions())) {
                Ok(begun) => begun,
                Err(refused) => {
                    let status = status(&error(refused));
                    return Box::pin(async move { Ok(status.into_http()) });
                }
            },
        };
        let begun = begun.map(Arc::new);
        if let Some(begun) = &begun {
            // For work that goes on when nobody waits for its answer.
            request.extensions_mut().insert(Arc::clone(begun));
            let quota = begun.quota();
            request.extensions_mut().insert(Allowed(quota));
            if quota.max_request_bytes > 0 {
                let most = quota.max_request_bytes;
                request = request.map(|body| Body::new(RequestBody::new(body, most)));
            }
        }
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| AnswerBody::new(body, begun))) })
    }
}

/// Whose quota a request is of.
fn identity(extensions: &Extensions) -> Identity {
    match extensions.get::<Arc<Principal>>() {
        Some(principal) if principal.proof != Proof::Nothing => {
            Identity::Principal(Arc::clone(principal))
        }
        _ => Identity::Address(Client::of(peer(extensions).map(|address| address.ip()))),
    }
}

/// What a client is told.
fn error(refused: Over) -> Error {
    match refused {
        Over::Rate(wait) => over(
            RATE,
            "too many requests have begun lately".into(),
            Some(wait),
        ),
        Over::Concurrency(most) => over(
            CONCURRENCY,
            format!("{most} requests are under way"),
            Some(RETRY),
        ),
    }
}
