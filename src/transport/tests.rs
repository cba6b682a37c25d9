//! Ports over real sockets, with a service that says what it was told of its client.

use std::{convert::Infallible, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpConnectInfo;

use super::*;
use crate::{
    config::{self, ClientAuth, Live, Sources},
    domain::PeerCertificate,
    telemetry::audit::AuditLog,
};

/// A port that is served, and its end.
struct Port {
    address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn who(request: Request<Upload>) -> Result<Response<Full<Bytes>>, Infallible> {
    let extensions = request.extensions();
    let address = extensions.get::<TcpConnectInfo>().unwrap();
    let certificate = extensions.get::<PeerCertificate>();
    let subject = certificate.map_or("nobody", |c| &*c.subject);
    let text = format!("{} {subject}", address.remote_addr().unwrap());
    Ok(Response::new(Full::from(text)))
}

async fn start(tls: Option<ServerTls>, env: &[(&str, &str)]) -> Port {
    let sources = Sources {
        env: env
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect(),
        ..Sources::default()
    };
    let live = Live::new(config::load(sources).unwrap());
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let listener = Listener {
        socket,
        protocol: Protocol::Http,
        tls: tls.map(Arc::new),
        audit: AuditLog::nowhere(),
    };
    let stop = CancellationToken::new();
    let serving = serve(listener, tower::service_fn(who), live, stop.clone());
    Port {
        address,
        stop,
        task: tokio::spawn(serving),
    }
}

async fn get<S>(stream: &mut S) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // Without a goodbye of TLS the answer is whole all the same.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    answer.split("\r\n\r\n").nth(1).unwrap().to_owned()
}

/// Writes an authority, and a certificate of it with its key, to a folder.
fn certificates(folder: &Path) -> config::KeyPair {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "ca");
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![
        SanType::DnsName("localhost".try_into().unwrap()),
        SanType::URI("spiffe://test/both".try_into().unwrap()),
    ];
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap();
    for (name, text) in [
        ("ca.crt", ca.pem()),
        ("tls.crt", leaf.pem()),
        ("tls.key", key.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    config::KeyPair {
        cert_file: folder.join("tls.crt"),
        key_file: folder.join("tls.key"),
    }
}

#[tokio::test]
async fn a_request_knows_the_address_and_the_certificate_of_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let pair = certificates(folder.path());
    let ca = Some(folder.path().join("ca.crt"));
    let every = Duration::from_secs(60);
    let server = config::ServerTls {
        pair: pair.clone(),
        client_ca_file: ca.clone(),
        client_auth: ClientAuth::Optional,
        reload_interval: every,
    };
    let tls = ServerTls::open("of this test", &server, Protocol::Http.names()).unwrap();
    let port = start(Some(tls), &[]).await;
    for (pair, subject) in [(None, "nobody"), (Some(pair), "spiffe://test/both")] {
        let client = config::ClientTls {
            ca_file: ca.clone(),
            pair,
            server_name: Some("localhost".into()),
            reload_interval: every,
        };
        let client = ClientTls::open("of this test", &client).unwrap();
        let stream = TcpStream::connect(port.address).await.unwrap();
        let own = stream.local_addr().unwrap();
        let stream = client.named("127.0.0.1").connect(stream).await.unwrap();
        // It has said that it speaks HTTP/2 alone: so it does.
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("https://localhost/").body(()).unwrap();
        let (answer, _) = send.send_request(request, true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let text = body.data().await.unwrap().unwrap();
        assert_eq!(text, format!("{own} {subject}"));
    }
    let plain = start(None, &[]).await;
    let mut stream = TcpStream::connect(plain.address).await.unwrap();
    let own = stream.local_addr().unwrap();
    assert_eq!(get(&mut stream).await, format!("{own} nobody"));
}

#[tokio::test]
async fn a_port_that_is_stopped_waits_for_nobody_who_asks_nothing() {
    let port = start(None, &[]).await;
    let mut idle = TcpStream::connect(port.address).await.unwrap();
    let mut half = TcpStream::connect(port.address).await.unwrap();
    half.write_all(b"GET / HT").await.unwrap();
    let mut asks = TcpStream::connect(port.address).await.unwrap();
    get(&mut asks).await;
    port.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(30), port.task).await;
    ended.expect("it ends").unwrap();
    assert!(TcpStream::connect(port.address).await.is_err());
    for stream in [&mut idle, &mut half] {
        let mut rest = Vec::new();
        // Closed or reset, and not kept.
        let _ = stream.read_to_end(&mut rest).await;
    }
}

#[tokio::test]
async fn who_does_not_ask_in_time_is_let_go() {
    let port = start(None, &[("LANCEGATE_LIMITS__FIRST_REQUEST_TIMEOUT", "50ms")]).await;
    let mut idle = TcpStream::connect(port.address).await.unwrap();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(30), idle.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "it is closed");
    // Whoever asks is served, however long the connection is there.
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    assert!(get(&mut stream).await.ends_with("nobody"));
}
