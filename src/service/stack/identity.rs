//! Which request this is: its id, which the client may choose and is told, and
//! the trace that it belongs to. Everything that is logged for the request is
//! logged within the span that is opened here.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use pin_project_lite::pin_project;
use tonic::Status;
use tower::{Layer, Service};
use tracing::{Instrument, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use uuid::Uuid;

use super::{body::GrpcBody, is_health};
use crate::telemetry::traces;

/// Metadata of requests and answers.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id taken from a client: it is written to every line of the log.
const MAX_REQUEST_ID: usize = 128;

#[derive(Clone, Copy)]
pub(super) struct IdentityLayer;

impl<S> Layer<S> for IdentityLayer {
    type Service = Identity<S>;

    fn layer(&self, inner: S) -> Identity<S> {
        Identity { inner }
    }
}

#[derive(Clone)]
pub struct Identity<S> {
    inner: S,
}

impl<S, ReqB, B> Service<Request<ReqB>> for Identity<S>
where
    S: Service<Request<ReqB>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: GrpcBody,
{
    type Response = Response<SpanBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let id = request_id(request.headers());
        // For whoever it is forwarded to.
        request.headers_mut().insert(REQUEST_ID, id.clone());
        // Probes come every few seconds; a trace of each would only be in the way.
        let span = if is_health(&request) {
            Span::none()
        } else {
            let method = request.uri().path().trim_start_matches('/');
            open_span(&id, method, request.headers())
        };
        let answer = span
            .in_scope(|| self.inner.call(request))
            .instrument(span.clone());
        Box::pin(async move {
            let mut response = answer.await?;
            response.headers_mut().insert(REQUEST_ID, id);
            Ok(response.map(|inner| SpanBody { inner, span }))
        })
    }
}

/// The client's id if it can be shown as it is, else one that sorts by time.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(sane) {
        return id.clone();
    }
    let mut text = Uuid::encode_buffer();
    let text = Uuid::now_v7().as_hyphenated().encode_lower(&mut text);
    // Hexadecimal digits and hyphens are always a header value.
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("none"))
}

/// The span of one request. Its level is ERROR so that no filter takes the
/// request's id from the lines that do pass.
fn open_span(id: &HeaderValue, method: &str, headers: &HeaderMap) -> Span {
    let span = tracing::error_span!(
        target: "lancegate::request",
        "request",
        request_id = id.to_str().unwrap_or_default(),
        trace_id = Empty,
        span_id = Empty,
        otel.name = method,
        otel.kind = "server",
    );
    let remote = traces::parent(headers);
    let remote_span = remote
        .as_ref()
        .map(|context| context.span().span_context().clone());
    if let Some(context) = remote {
        // Without an exporter there is nothing to be the parent of.
        let _ = span.set_parent(context);
    }
    // With an exporter the span has ids of its own. Without one, the caller's
    // are what ties our lines to the rest of the trace.
    let own = span.context().span().span_context().clone();
    if own.is_valid() {
        record_ids(&span, &own);
        describe(&span, method);
    } else if let Some(remote) = remote_span.filter(SpanContext::is_valid) {
        record_ids(&span, &remote);
    }
    span
}

/// What OpenTelemetry's conventions ask of the span of an RPC. Attributes of the
/// trace only: the log has the method in its own way.
fn describe(span: &Span, method: &str) {
    span.set_attribute("rpc.system", "grpc");
    if let Some((service, method)) = method.split_once('/') {
        span.set_attribute("rpc.service", service.to_owned());
        span.set_attribute("rpc.method", method.to_owned());
    }
}

fn record_ids(span: &Span, ids: &SpanContext) {
    span.record("trace_id", tracing::field::display(ids.trace_id()));
    span.record("span_id", tracing::field::display(ids.span_id()));
}

pin_project! {
    /// A body that is made within the span of its request.
    pub struct SpanBody<B> {
        #[pin]
        inner: B,
        span: Span,
    }
}

impl<B: Default> Default for SpanBody<B> {
    fn default() -> Self {
        Self {
            inner: B::default(),
            span: Span::none(),
        }
    }
}

impl<B: GrpcBody> Body for SpanBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let _within = this.span.enter();
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
    use super::*;

    fn id_for(sent: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(sent).unwrap());
        request_id(&headers).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_sane_id_is_kept() {
        assert_eq!(id_for(b"abc-123/x"), "abc-123/x");
        assert_eq!(id_for(&[b'a'; 128]).len(), 128);
    }

    #[test]
    fn any_other_is_replaced_by_a_uuid_of_version_7() {
        for bad in [&b""[..], b"a b", b"\xc3\xa4", &[b'a'; 129], b"tab\tbed"] {
            let id = id_for(bad);
            let parsed = Uuid::parse_str(&id).unwrap();
            assert_eq!(parsed.get_version_num(), 7, "{id}");
        }
        let none = request_id(&HeaderMap::new());
        assert!(Uuid::parse_str(none.to_str().unwrap()).is_ok());
    }
}
