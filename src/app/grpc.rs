//! The gRPC server: the services, their codecs, and the stack around them.

use std::{future::Future, sync::Arc, time::Duration};

use futures::TryStreamExt;
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    body::Body,
    codec::CompressionEncoding,
    transport::{Server, server::TcpIncoming},
};
use tower::util::MapRequestLayer;

use super::{AppError, linger::Lingering, message::Bounded};
use crate::{
    config::{self, Live},
    gateway::GatewayLayer,
    proto::{
        DESCRIPTORS,
        v1::{
            cluster_service_server::ClusterServiceServer,
            search_service_server::SearchServiceServer, table_service_server::TableServiceServer,
            write_service_server::WriteServiceServer,
        },
    },
    service::{
        api::Api,
        cluster::Cluster,
        health::HealthReporter,
        stack::{self, Door},
    },
};

/// How often an idle connection is asked whether it is still there, so that
/// clients that vanished do not hold sockets.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What HTTP/2 flow control lets a client send before it is read. The protocol's
/// 64 KiB would make a large insert wait for the network again and again.
const WINDOW: u32 = 1 << 20;

/// Makes a request that its client reset an error. tonic reads a reset with
/// CANCEL as the end of the stream, and half an import would look whole.
fn tell_resets(request: http::Request<Body>) -> http::Request<Body> {
    request.map(|body| Body::new(body.map_err(|_| Status::aborted("reset by the client"))))
}

/// Compresses answers only for clients that compress their requests. Every client
/// can read gzip and says so, and most would rather have the answer sooner.
fn compress_in_kind(mut request: http::Request<Body>) -> http::Request<Body> {
    let compressed = request
        .headers()
        .get("grpc-encoding")
        .is_some_and(|encoding| encoding != "identity");
    if !compressed {
        request.headers_mut().remove("grpc-accept-encoding");
    }
    request
}

/// What is served, besides health and reflection.
pub(super) struct Services {
    /// `None` where the primary is another node.
    pub api: Option<Api>,
    pub cluster: Cluster,
    pub gateway: GatewayLayer,
}

/// Builds the server. It runs until `go_away`, then drains.
pub(super) fn server(
    services: Services,
    door: Arc<Door>,
    health: &HealthReporter,
    server: &config::Server,
    live: &Live,
    listener: TcpListener,
    go_away: CancellationToken,
) -> Result<impl Future<Output = Result<(), tonic::transport::Error>> + use<>, AppError> {
    /// Message limits and compression are settings of each generated service.
    macro_rules! service {
        ($service:ident, $of:expr) => {
            Bounded::new(
                $service::new($of)
                    .max_encoding_message_size(usize::MAX)
                    .accept_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Zstd)
                    .send_compressed(CompressionEncoding::Gzip)
                    .send_compressed(CompressionEncoding::Zstd),
                $service::max_decoding_message_size,
                live.clone(),
            )
        };
    }
    let Services {
        api,
        cluster,
        gateway,
    } = services;
    let mut routes = tonic::service::Routes::new(health.service())
        .add_service(service!(ClusterServiceServer, cluster));
    // Without a primary of its own this process forwards all that the others do.
    if let Some(api) = api {
        routes = routes
            .add_service(service!(SearchServiceServer, api.clone()))
            .add_service(service!(WriteServiceServer, api.clone()))
            .add_service(service!(TableServiceServer, api));
    }
    if server.reflection {
        use tonic_reflection::pb;
        // Each of the two names the other as well: a client that found one of
        // them can describe and call both.
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(pb::v1::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(pb::v1alpha::FILE_DESCRIPTOR_SET)
                .include_reflection_service(false)
        };
        routes = routes
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?);
    }
    let incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .map_ok(Lingering::new);
    let serving = Server::builder()
        .layer(stack::stack(live, door))
        .layer(MapRequestLayer::new(compress_in_kind))
        .layer(MapRequestLayer::new(tell_resets))
        // Innermost: what is forwarded went through all that is asked of a request.
        .layer(gateway)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .initial_stream_window_size(Some(WINDOW))
        .initial_connection_window_size(Some(4 * WINDOW))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async move { go_away.cancelled().await });
    Ok(serving)
}
