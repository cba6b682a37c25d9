//! Nodes that are reached with TLS, and show who they are to one another.

use std::path::Path;

use lancegate::{app::App, proto::v1::*};
use tempfile::TempDir;

use super::{
    certs::Authority,
    renewed::{Secured, secured},
};
use crate::{
    data::{ipc, small},
    nodes::up,
    server::{TestServer, settings_with},
};

/// A router over one node that is the primary and answers the reads too.
async fn router(uri: &str, more: &[(&str, &str)]) -> TestServer {
    let folder = TempDir::new().unwrap();
    let mut env = vec![
        ("LANCEGATE_PRIMARY__URI", uri),
        ("LANCEGATE_REPLICAS__0__NAME", "node"),
        ("LANCEGATE_REPLICAS__0__URI", uri),
    ];
    env.extend_from_slice(more);
    let config = settings_with(folder.path(), 0, &env);
    TestServer::start_with(folder, config).await
}

/// A node that lets nobody in without a certificate.
async fn node(authority: &Authority) -> Secured {
    let folder = TempDir::new().unwrap();
    authority.server().write(&folder.path().join("tls"));
    authority
        .client("spiffe://test/router")
        .write(&folder.path().join("router"));
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, &authority.pem).unwrap();
    let required = [
        ("LANCEGATE_SERVER__TLS__CLIENT_AUTH", "required"),
        (
            "LANCEGATE_SERVER__TLS__CLIENT_CA_FILE",
            ca.to_str().unwrap(),
        ),
    ];
    secured(folder, &required).await
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_reads_and_writes_through_mutual_tls() {
    let authority = Authority::new("all");
    let node = node(&authority).await;
    let folder = node.folder.path();
    let (ca, cert, key) = (
        path(folder, "ca.crt"),
        path(folder, "router/tls.crt"),
        path(folder, "router/tls.key"),
    );
    let port = node.app.grpc_address().port();
    for uri in [
        format!("grpcs://127.0.0.1:{port}"),
        format!("grpcs://localhost:{port}"),
    ] {
        let tls = [
            ("LANCEGATE_NODES__TLS__CA_FILE", ca.as_str()),
            ("LANCEGATE_NODES__TLS__CERT_FILE", &cert),
            ("LANCEGATE_NODES__TLS__KEY_FILE", &key),
        ];
        let mut router = router(&uri, &tls).await;
        up(&mut router, 2).await;
        let created = router
            .table
            .create_table(CreateTableRequest {
                table: "t".into(),
                source: Some(create_table_request::Source::Rows(ipc(&small(0, 10)))),
                exist_ok: true,
            })
            .await;
        created.expect("a table through the router");
        let request = CountRequest {
            table: "t".into(),
            ..Default::default()
        };
        let answer = router.search.count(request).await.expect("an answer");
        assert_eq!(answer.into_inner().count, 10);
        router.app.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_addresses_of_a_name_show_a_certificate_of_that_name() {
    let authority = Authority::new("all");
    let node = node(&authority).await;
    let folder = node.folder.path();
    let port = node.app.grpc_address().port();
    let (ca, cert, key) = (
        path(folder, "ca.crt"),
        path(folder, "router/tls.crt"),
        path(folder, "router/tls.key"),
    );
    let tls = [
        ("LANCEGATE_NODES__TLS__CA_FILE", ca.as_str()),
        ("LANCEGATE_NODES__TLS__CERT_FILE", &cert),
        ("LANCEGATE_NODES__TLS__KEY_FILE", &key),
    ];
    let uri = format!("grpcs+dns://localhost:{port}");
    let more = [("LANCEGATE_REPLICAS__0__URI", uri.as_str())];
    let more: Vec<_> = more.into_iter().chain(tls).collect();
    let data = TempDir::new().unwrap();
    let primary = format!("grpcs://127.0.0.1:{port}");
    let mut env = vec![("LANCEGATE_PRIMARY__URI", primary.as_str())];
    env.extend_from_slice(&more);
    let config = settings_with(data.path(), 0, &env);
    let mut router = TestServer::start_with(data, config).await;
    // The primary, and of the name the address on which the node listens.
    up(&mut router, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_believed_is_down_and_the_reason_is_said() {
    let authority = Authority::new("all");
    let node = node(&authority).await;
    let folder = node.folder.path();
    let stranger = folder.join("stranger.crt");
    std::fs::write(&stranger, &Authority::new("stranger").pem).unwrap();
    let uri = format!("grpcs://{}", node.app.grpc_address());
    let data = TempDir::new().unwrap();
    let config = settings_with(
        data.path(),
        0,
        &[
            ("LANCEGATE_PRIMARY__URI", uri.as_str()),
            ("LANCEGATE_NODES__TLS__CA_FILE", stranger.to_str().unwrap()),
        ],
    );
    let app = App::start(config).await.unwrap();
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", app.grpc_address()));
    let channel = channel.unwrap().connect().await.unwrap();
    let mut cluster = cluster_service_client::ClusterServiceClient::new(channel);
    let mut said = String::new();
    for _ in 0..1_500 {
        let topology = cluster.get_topology(GetTopologyRequest {}).await.unwrap();
        said = topology.into_inner().connections[0].last_error.clone();
        if !said.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(said.contains("invalid peer certificate"), "{said}");
    assert!(!app.serving("lancegate.v1.WriteService"));
}

/// Where TLS is configured nothing is ever sent without.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_tls_is_down_for_who_asks_for_it() {
    let plain = TestServer::start(0).await;
    let folder = TempDir::new().unwrap();
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, &Authority::new("all").pem).unwrap();
    let uri = format!("grpcs://{}", plain.app.grpc_address());
    let config = settings_with(
        folder.path(),
        0,
        &[
            ("LANCEGATE_PRIMARY__URI", uri.as_str()),
            ("LANCEGATE_NODES__TLS__CA_FILE", ca.to_str().unwrap()),
        ],
    );
    let app = App::start(config).await.unwrap();
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", app.grpc_address()));
    let channel = channel.unwrap().connect().await.unwrap();
    let mut cluster = cluster_service_client::ClusterServiceClient::new(channel);
    let mut down = false;
    for _ in 0..1_500 {
        let topology = cluster.get_topology(GetTopologyRequest {}).await.unwrap();
        let primary = &topology.get_ref().connections[0];
        assert_ne!(primary.state(), ConnectionState::Up);
        if !primary.last_error.is_empty() {
            down = true;
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(down);
}
