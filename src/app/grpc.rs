//! The gRPC server: the services, their codecs, and the stack around them.

use std::future::Future;

use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body, codec::CompressionEncoding};
use tower::{ServiceBuilder, util::MapRequestLayer};

use super::{AppError, message::Bounded};
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
    service::{api::Api, cluster::Cluster, health::HealthReporter, stack::Stack},
    transport::{Listener, Upload, serve},
};

/// Makes a request that its client reset an error. tonic reads a reset with
/// CANCEL as the end of the stream, and half an import would look whole.
fn tell_resets(request: http::Request<Body>) -> http::Request<Body> {
    let told = |status: Status| match status.details().is_empty() {
        true => Status::aborted("reset by the client"),
        // One of ours: it was cut off here.
        false => status,
    };
    request.map(|body| Body::new(body.map_err(told)))
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
    stack: Stack,
    health: &HealthReporter,
    server: &config::Server,
    live: &Live,
    listener: Listener,
    go_away: CancellationToken,
) -> Result<impl Future<Output = ()> + use<>, AppError> {
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
    let service = ServiceBuilder::new()
        .layer(MapRequestLayer::new(|request: http::Request<Upload>| {
            request.map(Body::new)
        }))
        .layer(stack)
        .layer(MapRequestLayer::new(compress_in_kind))
        .layer(MapRequestLayer::new(tell_resets))
        // Innermost: what is forwarded went through all that is asked of a request.
        .layer(gateway)
        .service(routes.prepare());
    Ok(serve(listener, service, live.clone(), go_away))
}
