//! One line per request, when it is over. Probes come every few seconds and
//! say nothing new, so health is left out.

use std::{
    net::SocketAddr,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use opentelemetry::trace;
use tokio::time::Instant;
use tonic::{Code, transport::server::TcpConnectInfo};
use tower::{Layer, Service};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{
    RequestFacts,
    body::{Ending, GrpcBody, Observed},
    is_health, method_of,
};
use crate::telemetry::metrics::code_name;

#[derive(Clone, Copy)]
pub(super) struct AccessLogLayer;

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLog<S>;

    fn layer(&self, inner: S) -> AccessLog<S> {
        AccessLog { inner }
    }
}

#[derive(Clone)]
pub struct AccessLog<S> {
    inner: S,
}

/// A line in the making; `None` for what is not logged.
struct Line {
    method: String,
    peer: Option<SocketAddr>,
    began: Instant,
    facts: RequestFacts,
    span: Span,
}

impl<S, ReqB, B> Service<Request<ReqB>> for AccessLog<S>
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
        let facts = RequestFacts::default();
        request.extensions_mut().insert(facts.clone());
        let line = (!is_health(&request)).then(|| Line::new(&request, facts));
        let ending = match line {
            Some(line) => Ending::new(move |code| line.write(code)),
            None => Ending::of_nothing(),
        };
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(ending.watch(answer.await?)) })
    }
}

impl Line {
    fn new<B>(request: &Request<B>, facts: RequestFacts) -> Self {
        let connection = request.extensions().get::<TcpConnectInfo>();
        Self {
            method: method_of(request.uri().path()).to_owned(),
            peer: connection.and_then(TcpConnectInfo::remote_addr),
            began: Instant::now(),
            facts,
            span: Span::current(),
        }
    }

    /// The end may come from anywhere, so the span is entered for the line.
    fn write(&self, code: Code) {
        // Microseconds are as fine as it means anything.
        let duration_ms = self.began.elapsed().as_micros() as f64 / 1_000.0;
        close_trace(&self.span, code);
        self.span.in_scope(|| {
            tracing::info!(
                target: "lancegate::access",
                method = self.method,
                code = code_name(code),
                duration_ms,
                peer = self.peer.map(tracing::field::display),
                principal = self.facts.get_principal().map(|p| &*p.name),
                table = self.facts.get_table(),
                version = self.facts.get_version(),
                connection = self.facts.get_connection(),
                route = self.facts.get_route(),
                "request finished"
            );
        });
    }
}

/// What the trace says of the end. The codes that are an error of the server's
/// are those of OpenTelemetry's conventions.
fn close_trace(span: &Span, code: Code) {
    span.set_attribute("rpc.grpc.status_code", i64::from(code as i32));
    if matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    ) {
        span.set_status(trace::Status::error(code_name(code)));
    }
}
