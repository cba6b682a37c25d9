//! Both ports with TLS, and who is let in.

use std::path::Path;

use lancegate::proto::{
    health::{HealthCheckRequest, health_client::HealthClient},
    v1::{search_service_client::SearchServiceClient, *},
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::{Channel, Endpoint};

use super::{
    certs::{Authority, secure_channel, tls_to},
    renewed::secured,
};
use crate::{
    data::{ipc, small},
    server::http_get,
};

async fn is_alive(channel: Channel) -> Result<(), tonic::Status> {
    let mut health = HealthClient::new(channel);
    let about = HealthCheckRequest {
        service: "liveness".into(),
    };
    health.check(about).await.map(drop)
}

fn folder() -> TempDir {
    TempDir::new().unwrap()
}

fn client_ca(folder: &Path, authority: &Authority) -> String {
    let path = folder.join("clients.crt");
    std::fs::write(&path, &authority.pem).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_and_http_speak_tls_and_nothing_else() {
    let authority = Authority::new("all");
    let folder = folder();
    authority.server().write(&folder.path().join("tls"));
    let server = secured(folder, &[]).await;
    let grpc = server.app.grpc_address();

    for version in rustls::ALL_VERSIONS {
        let config = authority.believed_in(&[version], None);
        let stream = tls_to(grpc, config.clone()).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(b"h2".as_slice()));
        assert_eq!(session.protocol_version(), Some(version.version));
        is_alive(secure_channel(grpc, config).await.unwrap())
            .await
            .unwrap();
    }
    // Who believes another authority does not go on, nor does who speaks no TLS.
    let stranger = Authority::new("stranger");
    assert!(tls_to(grpc, stranger.believed(None)).await.is_err());
    let plain = Endpoint::from_shared(format!("http://{grpc}")).unwrap();
    assert!(is_alive(plain.connect_lazy()).await.is_err());

    let http = server.app.http_address();
    for (protocol, begin) in [("http/1.1", "HTTP/1.1 200 OK"), ("", "HTTP/1.1 200 OK")] {
        let mut config = authority.believed(None);
        config.alpn_protocols = match protocol {
            "" => Vec::new(),
            name => vec![name.into()],
        };
        let mut stream = tls_to(http, config).await.unwrap();
        let request = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(begin), "{answer}");
        assert!(answer.ends_with("ok"), "{answer}");
    }
    let stream = tls_to(http, authority.believed(None)).await.unwrap();
    let (mut h2, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://localhost/metrics")
        .body(())
        .unwrap();
    let (answer, _) = h2.send_request(request, true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        text.extend_from_slice(&part);
    }
    let text = String::from_utf8(text).unwrap();
    for port in ["grpc", "http"] {
        let expiry = format!("lancegate_certificate_expiry_timestamp_seconds{{of=\"{port}\"}} ");
        assert!(text.contains(&expiry), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_certificates_are_required_nobody_connects_without() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let folder = folder();
    servers.server().write(&folder.path().join("tls"));
    let ca = client_ca(folder.path(), &clients);
    let server = secured(
        folder,
        &[
            ("LANCEGATE_SERVER__TLS__CLIENT_AUTH", "required"),
            ("LANCEGATE_SERVER__TLS__CLIENT_CA_FILE", &ca),
        ],
    )
    .await;
    let grpc = server.app.grpc_address();

    let known = clients.client("spiffe://test/client");
    let channel = secure_channel(grpc, servers.believed(Some(&known))).await;
    is_alive(channel.unwrap()).await.unwrap();

    let stranger = Authority::new("clients").client("spiffe://test/client");
    for shown in [None, Some(&stranger)] {
        for version in rustls::ALL_VERSIONS {
            let config = servers.believed_in(&[version], shown);
            // In TLS 1.3 a client hears of it when it reads.
            let refused = match secure_channel(grpc, config).await {
                Err(_) => true,
                Ok(channel) => is_alive(channel).await.is_err(),
            };
            assert!(refused, "{:?} {version:?}", shown.is_some());
        }
    }
    // The HTTP port asks nobody.
    let http = server.app.http_address();
    tls_to(http, servers.believed(None)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_certificates_are_optional_a_wrong_one_is_refused() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let folder = folder();
    servers.server().write(&folder.path().join("tls"));
    let ca = client_ca(folder.path(), &clients);
    let server = secured(
        folder,
        &[
            ("LANCEGATE_SERVER__TLS__CLIENT_AUTH", "optional"),
            ("LANCEGATE_SERVER__TLS__CLIENT_CA_FILE", &ca),
        ],
    )
    .await;
    let grpc = server.app.grpc_address();
    let known = clients.client("spiffe://test/client");
    for shown in [None, Some(&known)] {
        let channel = secure_channel(grpc, servers.believed(shown)).await;
        is_alive(channel.unwrap()).await.unwrap();
    }
    let stranger = servers.client("spiffe://test/client");
    let refused = match secure_channel(grpc, servers.believed(Some(&stranger))).await {
        Err(_) => true,
        Ok(channel) => is_alive(channel).await.is_err(),
    };
    assert!(refused);
}

/// A large answer and a large request go whole through TLS, and the connection ends
/// without losing the end of one.
#[tokio::test(flavor = "multi_thread")]
async fn large_messages_go_through() {
    let authority = Authority::new("all");
    let folder = folder();
    authority.server().write(&folder.path().join("tls"));
    let server = secured(folder, &[]).await;
    let channel = secure_channel(server.app.grpc_address(), authority.believed(None)).await;
    let channel = channel.unwrap();
    let mut table = table_service_client::TableServiceClient::new(channel.clone())
        .max_encoding_message_size(1 << 30);
    table
        .create_table(CreateTableRequest {
            table: "t".into(),
            source: Some(create_table_request::Source::Rows(ipc(&small(0, 200_000)))),
            ..Default::default()
        })
        .await
        .unwrap();
    let mut search = SearchServiceClient::new(channel).max_decoding_message_size(1 << 30);
    let count = search
        .count(CountRequest {
            table: "t".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(count.into_inner().count, 200_000);
    server.app.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_port_may_stay_plaintext() {
    let authority = Authority::new("all");
    let folder = folder();
    authority.server().write(&folder.path().join("tls"));
    let plain = [
        ("LANCEGATE_SERVER__HTTP_TLS__CERT_FILE", ""),
        ("LANCEGATE_SERVER__HTTP_TLS__KEY_FILE", ""),
    ];
    let server = secured(folder, &plain).await;
    assert_eq!(http_get(server.app.http_address(), "/livez").await.0, 200);
}
