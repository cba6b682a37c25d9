//! The audit log's part of the stack: one layer outside of all that can refuse, which
//! tells how a request ended, and one inside of all, which tells that it begins.
//!
//! What a client asks for may be done although it does not hear of it: its deadline
//! passed, or it went away. So what is audited runs in a task of its own, and its last
//! line is written when both are over: the task and the answer.

mod trail;

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use self::trail::{Request as Asked, Trail};
use super::{
    IMPORT, RequestFacts,
    body::{Ending, GrpcBody, Observed},
    is_health, peek,
};
use crate::{
    config::failpoint,
    domain::Error,
    telemetry::{
        audit::{AuditLog, Event, Line, NotAudited},
        metrics::code_name,
    },
    wire::status::{code, status},
};

/// When whoever may do nothing that is not audited may come back.
const RETRY: std::time::Duration = std::time::Duration::from_secs(5);

/// Whether a method changes something, or is an order of an operator.
fn is_audited(path: &str) -> bool {
    let Some((service, method)) = path.trim_start_matches('/').split_once('/') else {
        return false;
    };
    match service {
        "lancegate.v1.WriteService" => true,
        "lancegate.v1.TableService" => {
            let looks =
                method.starts_with("List") || matches!(method, "DescribeTable" | "WaitForIndexes");
            !looks
        }
        "lancegate.v1.ClusterService" => !matches!(method, "GetTopology" | "WatchTopology"),
        _ => false,
    }
}

/// What is told where something cannot be audited that must be.
fn not_audited() -> Error {
    Error::Unavailable {
        reason: "AUDIT_UNAVAILABLE",
        message: "nothing is changed here that is not audited, and the audit log cannot be \
                  written"
            .into(),
        retry_after: RETRY,
    }
}

/// The outer layer.
#[derive(Clone)]
pub(super) struct AuditedLayer {
    log: AuditLog,
}

impl AuditedLayer {
    pub(super) fn new(log: AuditLog) -> Self {
        Self { log }
    }
}

impl<S> Layer<S> for AuditedLayer {
    type Service = Audited<S>;

    fn layer(&self, inner: S) -> Audited<S> {
        Audited {
            inner,
            log: self.log.clone(),
        }
    }
}

#[derive(Clone)]
pub struct Audited<S> {
    inner: S,
    log: AuditLog,
}

impl<S, ReqB, B> Service<Request<ReqB>> for Audited<S>
where
    S: Service<Request<ReqB>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: GrpcBody,
{
    type Response = Response<Observed<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let trail = match self.log.is_on() && !is_health(&request) {
            true => Some(Trail::new(self.log.clone(), Asked::by(&request))),
            false => None,
        };
        if let Some(trail) = &trail {
            request.extensions_mut().insert(trail.clone());
        }
        let ending = match trail.clone() {
            Some(trail) => Ending::new(move |code| trail.told(code)),
            None => Ending::of_nothing(),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            if let (Some(trail), Some(status)) =
                (&trail, Status::from_header_map(response.headers()))
            {
                trail.reason(&status);
            }
            drop(trail);
            Ok(ending.watch(response))
        })
    }
}

/// The inner layer.
#[derive(Clone, Copy)]
pub(super) struct AttemptLayer;

impl<S> Layer<S> for AttemptLayer {
    type Service = Attempt<S>;

    fn layer(&self, inner: S) -> Attempt<S> {
        Attempt { inner }
    }
}

#[derive(Clone)]
pub struct Attempt<S> {
    inner: S,
}

impl<S, B> Service<Request<Body>> for Attempt<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: GrpcBody + Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let trail = request.extensions_mut().remove::<Trail>();
        let Some(trail) = trail.filter(|_| is_audited(request.uri().path())) else {
            return Box::pin(self.inner.call(request));
        };
        // What was found ready is called, whenever that will be.
        let spare = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let streams = parts.uri.path() == IMPORT;
            let encoding = parts.headers.get("grpc-encoding");
            let (first, body) = peek::first_field(encoding, body).await;
            trail.about(parts.uri.path(), first);
            if trail.begin().await == Err(NotAudited) && !failpoint::breaks("audit:no-attempt") {
                return Ok(status(&not_audited()).into_http());
            }
            let work = async move {
                let response = inner.call(Request::from_parts(parts, body)).await;
                trail.worked(
                    response
                        .as_ref()
                        .map_or(None, |response| Status::from_header_map(response.headers())),
                );
                response
            };
            let task = tokio::spawn(work.instrument(Span::current()));
            let ended = match streams {
                // Whoever waits for no answer sends no more rows either.
                true => AbortOnDropHandle::new(task).await,
                false => task.await,
            };
            match ended {
                Ok(response) => response,
                Err(error) => match error.try_into_panic() {
                    // The layer for panics answers it.
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Ok(status(&Error::Internal("a task was stopped".into())).into_http()),
                },
            }
        })
    }
}

/// Does what a signal asks for, which is audited like any order of an operator; not
/// at all where it must be audited and cannot be. The signal is named as the action.
pub async fn by_signal<T>(
    log: &AuditLog,
    signal: &str,
    order: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let attempt = Line::new(Event::Attempt, signal);
    let place = match log.is_required() {
        true => match log.written(&attempt).await {
            Ok(place) => place,
            Err(NotAudited) => {
                tracing::error!(signal, "not done: the audit log cannot be written");
                return Err(not_audited());
            }
        },
        false => None,
    };
    let outcome = order.await;
    let status = outcome.as_ref().err().map(status);
    let reason = status.as_ref().and_then(trail::reason);
    let line = Line {
        code: Some(code_name(match &outcome {
            Ok(_) => Code::Ok,
            Err(error) => code(error),
        })),
        reason: reason.as_deref(),
        ..Line::new(Event::Outcome, signal)
    };
    log.note(&line, place);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::DESCRIPTORS;
    use prost::Message;

    /// Every method of the contract, by what it does.
    #[test]
    fn what_changes_something_is_audited() {
        let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let mut quiet = Vec::new();
        for file in set.file {
            let package = file.package().to_owned();
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{package}.{}/{}", service.name(), method.name());
                    if package == "lancegate.v1" && !is_audited(&path) {
                        quiet.push(path.replace("/lancegate.v1.", ""));
                    }
                }
            }
        }
        quiet.sort();
        assert_eq!(
            quiet,
            [
                "ClusterService/GetTopology",
                "ClusterService/WatchTopology",
                "SearchService/CloseSession",
                "SearchService/Count",
                "SearchService/Explain",
                "SearchService/Get",
                "SearchService/OpenSession",
                "SearchService/RenewSession",
                "SearchService/Scan",
                "SearchService/Search",
                "SearchService/SearchStream",
                "TableService/DescribeTable",
                "TableService/ListIndexes",
                "TableService/ListTables",
                "TableService/ListTags",
                "TableService/ListVersions",
                "TableService/WaitForIndexes",
            ]
        );
        assert!(
            !is_audited("") && !is_audited("/x") && !is_audited("/grpc.health.v1.Health/Check")
        );
    }
}
