//! Traces over OTLP/gRPC, when the standard environment asks for them, and the
//! W3C propagation that works with and without them.

use std::{env, sync::LazyLock, time::Duration};

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, Injector, TextMapCompositePropagator, TextMapPropagator},
    trace::{TraceContextExt, TracerProvider as _},
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::{
    Resource,
    propagation::{BaggagePropagator, TraceContextPropagator},
    trace::SdkTracerProvider,
};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

/// How long the end of the process waits for the last spans to be taken.
const FLUSH: Duration = Duration::from_secs(5);

/// Spans of these targets are exported. Ours only: the exporter is itself a
/// gRPC client, and would otherwise trace its own calls.
const EXPORTED: &str = "lancegate";

static PROPAGATOR: LazyLock<TextMapCompositePropagator> = LazyLock::new(|| {
    TextMapCompositePropagator::new(vec![
        Box::new(TraceContextPropagator::new()),
        Box::new(BaggagePropagator::new()),
    ])
});

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The endpoint or another setting is not usable.
    #[error("the OTLP exporter could not be built from OTEL_EXPORTER_OTLP_*: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// Another protocol was asked for.
    #[error("{variable}: '{value}' is not supported, only 'grpc' is")]
    Protocol {
        variable: &'static str,
        value: String,
    },
}

/// Flushes what was not sent yet when it is dropped.
pub struct TraceGuard(SdkTracerProvider);

impl Drop for TraceGuard {
    fn drop(&mut self) {
        let flush = || {
            if let Err(error) = self.0.shutdown_with_timeout(FLUSH) {
                tracing::warn!(%error, "the last spans were not sent");
            }
        };
        // The exporter's connection is driven by this runtime, so a worker that
        // waits for it must hand its other tasks over first.
        match tokio::runtime::Handle::try_current().map(|h| h.runtime_flavor()) {
            Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(flush),
            _ => flush(),
        }
    }
}

/// The layer, and what keeps its exporter alive.
type Traces<S> = (Box<dyn Layer<S> + Send + Sync>, TraceGuard);

/// The layer that turns spans into traces; `None` where `OTEL_*` does not ask
/// for it. Must be called within the runtime.
pub(super) fn from_environment<S>() -> Result<Option<Traces<S>>, TraceError>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    if !wanted(|name| env::var(name).ok())? {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_tonic().build()?;
    Ok(Some(layer(exporter, resource())))
}

fn layer<S>(exporter: SpanExporter, resource: Resource) -> Traces<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("lancegate"))
        .with_filter(Targets::new().with_target(EXPORTED, LevelFilter::INFO))
        .boxed();
    (layer, TraceGuard(provider))
}

/// Whether the environment asks for traces, by the rules of OpenTelemetry.
fn wanted(variable: impl Fn(&str) -> Option<String>) -> Result<bool, TraceError> {
    let set = |name: &str| variable(name).filter(|v| !v.trim().is_empty());
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let off = set("OTEL_TRACES_EXPORTER").is_some_and(|v| v == "none");
    let endpoint = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or(set("OTEL_EXPORTER_OTLP_ENDPOINT"));
    if disabled || off || endpoint.is_none() {
        return Ok(false);
    }
    for name in [
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ] {
        match set(name) {
            // The one for traces decides, so the general one is not looked at.
            Some(value) if value == "grpc" => break,
            Some(value) => {
                return Err(TraceError::Protocol {
                    variable: name,
                    value,
                });
            }
            None => {}
        }
    }
    Ok(true)
}

/// Who sends: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, else our name.
fn resource() -> Resource {
    let from_environment = Resource::builder().build();
    let mut attributes = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    let named = from_environment
        .get(&"service.name".into())
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if !named {
        attributes.push(KeyValue::new("service.name", "lancegate"));
    }
    Resource::builder().with_attributes(attributes).build()
}

/// The trace that a request belongs to, from its `traceparent`, `tracestate`
/// and `baggage`. `None` where it has none.
pub fn parent(headers: &HeaderMap) -> Option<Context> {
    if !headers.contains_key("traceparent") && !headers.contains_key("baggage") {
        return None;
    }
    Some(PROPAGATOR.extract_with_context(&Context::new(), &Headers(headers)))
}

/// Makes the span of this request the parent of what follows from `headers`. Where
/// spans are not exported, the caller's stays it.
pub fn continue_in(headers: &mut HeaderMap) {
    let context = tracing::Span::current().context();
    if context.span().span_context().is_valid() {
        PROPAGATOR.inject_context(&context, &mut HeadersMut(headers));
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = http::HeaderName::from_bytes(key.as_bytes());
        // An empty value is one that there is not, such as baggage.
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::try_from(value))
            && !value.is_empty()
        {
            self.0.insert(name, value);
        }
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests;
