use std::sync::{Arc, Mutex};

use opentelemetry::trace::TraceContextExt;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_receives_the_span_with_its_parent() {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);

    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .unwrap();
    let (layer, guard) = layer(exporter, resource());
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", PARENT.parse().unwrap());
        let span =
            tracing::info_span!(target: "lancegate::request", "Search", otel.kind = "server");
        span.set_parent(parent(&headers).unwrap()).unwrap();
        span.in_scope(|| tracing::info_span!(target: "h2", "noise").in_scope(|| ()));
    });
    drop(guard);

    let received = collector.0.lock().unwrap().clone();
    let resource_spans: Vec<_> = received.iter().flat_map(|r| &r.resource_spans).collect();
    let spans: Vec<_> = resource_spans
        .iter()
        .flat_map(|r| &r.scope_spans)
        .flat_map(|s| &s.spans)
        .collect();
    assert_eq!(spans.len(), 1, "{spans:?}");
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(spans[0].name, "Search");
    assert_eq!(hex(&spans[0].trace_id), TRACE);
    assert_eq!(hex(&spans[0].parent_span_id), "b7ad6b7169203331");
    assert_eq!(spans[0].kind, 2, "server");
    let resource = resource_spans[0].resource.as_ref().unwrap();
    assert!(
        resource
            .attributes
            .iter()
            .any(|a| a.key == "service.version")
    );
    server.abort();
}

#[test]
fn a_trace_and_its_baggage_are_taken_over() {
    let mut headers = HeaderMap::new();
    assert!(parent(&headers).is_none());
    headers.insert("traceparent", PARENT.parse().unwrap());
    headers.insert("tracestate", "vendor=1".parse().unwrap());
    headers.insert("baggage", "tenant=a".parse().unwrap());
    let context = parent(&headers).unwrap();
    let span = context.span().span_context().clone();
    assert_eq!(span.trace_id().to_string(), TRACE);
    assert_eq!(span.trace_state().header(), "vendor=1");
    let baggage = opentelemetry::baggage::BaggageExt::baggage(&context);
    assert_eq!(
        baggage
            .get("tenant")
            .map(|v| v.as_str().to_owned())
            .as_deref(),
        Some("a")
    );
    headers.insert("traceparent", "00-0000-not-a-trace".parse().unwrap());
    assert!(!parent(&headers).unwrap().span().span_context().is_valid());
}

#[test]
fn the_environment_decides() {
    let wanted = |vars: &[(&str, &str)]| {
        super::wanted(|name| {
            let found = vars.iter().find(|(n, _)| *n == name);
            found.map(|(_, v)| (*v).to_owned())
        })
    };
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
    assert!(!wanted(&[]).unwrap());
    assert!(wanted(&[endpoint]).unwrap());
    assert!(wanted(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x:1")]).unwrap());
    assert!(!wanted(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).unwrap());
    assert!(!wanted(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]).unwrap());
    assert!(!wanted(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).unwrap());
    assert!(wanted(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap());
    let error = wanted(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json'")
    );
}
