//! Certificates and keys whose files change while the server is in use.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use lancegate::{
    app::App,
    config,
    proto::v1::{search_service_client::SearchServiceClient, *},
};
use rustls::{ClientConfig, pki_types::CertificateDer};
use tempfile::TempDir;
use tonic::transport::Channel;

use super::certs::{Authority, Leaf, secure_channel, tls_to};
use crate::{
    data::{ipc, small},
    server::{settings_with, wait_until},
};

/// A server whose two ports have the certificate in the folder `tls`.
pub struct Secured {
    pub app: App,
    pub folder: TempDir,
}

pub async fn secured(folder: TempDir, more: &[(&str, &str)]) -> Secured {
    let file = |name: &str| folder.path().join("tls").join(name).display().to_string();
    let (cert, key) = (file("tls.crt"), file("tls.key"));
    let mut env = vec![
        ("LANCEGATE_SERVER__TLS__CERT_FILE", cert.as_str()),
        ("LANCEGATE_SERVER__TLS__KEY_FILE", key.as_str()),
        ("LANCEGATE_SERVER__TLS__RELOAD_INTERVAL", "20ms"),
        ("LANCEGATE_SERVER__HTTP_TLS__CERT_FILE", cert.as_str()),
        ("LANCEGATE_SERVER__HTTP_TLS__KEY_FILE", key.as_str()),
    ];
    env.retain(|(key, _)| more.iter().all(|(name, _)| name != key));
    env.extend_from_slice(more);
    let config: config::Config = settings_with(folder.path(), 1, &env);
    let app = App::start(config).await.expect("the server starts");
    wait_until("ready", || app.serving("lancegate.v1.WriteService")).await;
    Secured { app, folder }
}

/// The certificate that a new connection is shown.
async fn shown(server: &Secured, config: &ClientConfig) -> CertificateDer<'static> {
    let stream = tls_to(server.app.grpc_address(), config.clone())
        .await
        .unwrap();
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].clone().into_owned()
}

async fn until_shown(server: &Secured, config: &ClientConfig, leaf: &Leaf) {
    for _ in 0..1_500 {
        if shown(server, config).await == leaf.cert_der() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the new certificate is not shown within 30 s");
}

async fn count(channel: Channel) -> Result<u64, tonic::Status> {
    let request = CountRequest {
        table: "t".into(),
        ..Default::default()
    };
    let answer = SearchServiceClient::new(channel).count(request).await?;
    Ok(answer.into_inner().count)
}

/// Puts a version of the files where Kubernetes would: `..data` is a link that is
/// replaced, and the files are links through it.
fn swap(folder: &Path, number: usize, leaf: &Leaf) {
    let name = format!("..{number}");
    leaf.write(&folder.join(&name));
    let fresh = folder.join("..data_tmp");
    std::os::unix::fs::symlink(&name, &fresh).unwrap();
    std::fs::rename(fresh, folder.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        let link = folder.join(file);
        if !link.is_symlink() {
            std::os::unix::fs::symlink(Path::new("..data").join(file), link).unwrap();
        }
    }
}

/// What clients did while certificates changed.
#[derive(Default)]
struct Work {
    stop: AtomicBool,
    calls: AtomicUsize,
    connections: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_under_load_fail_no_request() {
    const RENEWALS: usize = 60;
    let authority = Authority::new("all");
    let folder = TempDir::new().unwrap();
    let tls = folder.path().join("tls");
    std::fs::create_dir_all(&tls).unwrap();
    swap(&tls, 0, &authority.server());
    let server = secured(folder, &[]).await;
    let (address, config) = (server.app.grpc_address(), authority.believed(None));
    let channel = secure_channel(address, config.clone()).await.unwrap();
    table_service_client::TableServiceClient::new(channel.clone())
        .create_table(CreateTableRequest {
            table: "t".into(),
            source: Some(create_table_request::Source::Rows(ipc(&small(0, 10)))),
            ..Default::default()
        })
        .await
        .unwrap();
    let router = Arc::clone(server.app.router().unwrap());
    let name = lancegate::domain::TableName::parse("t").unwrap();
    wait_until("copied", || {
        router
            .connections()
            .all(|c| c.catalog().version(&name).is_some())
    })
    .await;

    let work = Arc::new(Work::default());
    let mut clients = Vec::new();
    for _ in 0..3 {
        // One that stays, from before the first renewal to after the last.
        let (work, channel) = (Arc::clone(&work), channel.clone());
        clients.push(tokio::spawn(async move {
            while !work.stop.load(Ordering::Relaxed) {
                assert_eq!(count(channel.clone()).await.expect("an answer"), 10);
                work.calls.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for _ in 0..2 {
        let (work, config) = (Arc::clone(&work), config.clone());
        clients.push(tokio::spawn(async move {
            while !work.stop.load(Ordering::Relaxed) {
                let channel = secure_channel(address, config.clone()).await;
                let rows = count(channel.expect("a new connection")).await;
                assert_eq!(rows.expect("an answer"), 10);
                work.connections.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let mut in_place = tls.join("..0");
    for number in 1..=RENEWALS {
        let leaf = authority.server();
        // Now as Kubernetes does it, now by writing over the two files.
        if number % 2 == 0 {
            leaf.write(&in_place);
        } else {
            swap(&tls, number, &leaf);
            in_place = tls.join(format!("..{number}"));
        }
        until_shown(&server, &config, &leaf).await;
    }
    work.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no client failed");
    }
    let (calls, connections) = (
        work.calls.load(Ordering::Relaxed),
        work.connections.load(Ordering::Relaxed),
    );
    println!("{RENEWALS} renewals: {calls} calls, {connections} new connections, 0 failed");
    assert!(calls > RENEWALS && connections > RENEWALS / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_changes_nothing_until_it_is_mended() {
    let authority = Authority::new("all");
    let folder = TempDir::new().unwrap();
    let tls = folder.path().join("tls");
    let first = authority.server();
    first.write(&tls);
    let server = secured(folder, &[]).await;
    let config = authority.believed(None);
    let loads = "lancegate_certificate_loads_total{of=\"grpc\",outcome=\"error\"}";
    let failed = || async {
        let text = metrics(&server, &authority).await;
        let line = text.lines().find_map(|line| line.strip_prefix(loads));
        line.map_or(0, |n| n.trim().parse::<u64>().unwrap())
    };
    let other = authority.server();
    type Breaks<'a> = Box<dyn Fn() + 'a>;
    let broken: [(&str, Breaks<'_>); 4] = [
        ("no PEM", Box::new(|| write(&tls, "tls.crt", "nothing"))),
        (
            "half a file",
            Box::new(|| write(&tls, "tls.crt", &other.cert[..other.cert.len() / 2])),
        ),
        (
            "another's key",
            Box::new(|| {
                write(&tls, "tls.crt", &first.cert);
                write(&tls, "tls.key", &other.key);
            }),
        ),
        (
            "no file",
            Box::new(|| std::fs::remove_file(tls.join("tls.key")).unwrap()),
        ),
    ];
    for (what, breaks) in broken {
        let before = failed().await;
        breaks();
        let mut noticed = false;
        for _ in 0..1_500 {
            assert_eq!(shown(&server, &config).await, first.cert_der(), "{what}");
            if failed().await > before {
                noticed = true;
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(noticed, "{what} is counted within 30 s");
    }
    other.write(&tls);
    until_shown(&server, &config, &other).await;
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// What the HTTP port measures.
async fn metrics(server: &Secured, authority: &Authority) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut config = authority.believed(None);
    config.alpn_protocols.clear();
    let mut stream = tls_to(server.app.http_address(), config).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// The authorities of clients change as certificates do.
#[tokio::test(flavor = "multi_thread")]
async fn authorities_of_clients_are_read_again_too() {
    let servers = Authority::new("servers");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let folder = TempDir::new().unwrap();
    servers.server().write(&folder.path().join("tls"));
    let ca = folder.path().join("clients.crt");
    std::fs::write(&ca, &old.pem).unwrap();
    let server = secured(
        folder,
        &[
            ("LANCEGATE_SERVER__TLS__CLIENT_AUTH", "required"),
            (
                "LANCEGATE_SERVER__TLS__CLIENT_CA_FILE",
                &ca.display().to_string(),
            ),
        ],
    )
    .await;
    let grpc = server.app.grpc_address();
    let of_old = servers.believed(Some(&old.client("spiffe://test/old")));
    let of_new = servers.believed(Some(&new.client("spiffe://test/new")));
    let lets_in = async |config: &ClientConfig| match secure_channel(grpc, config.clone()).await {
        Err(_) => false,
        // No table is there: what counts is that somebody answers.
        Ok(channel) => {
            let said = count(channel).await;
            said.is_err_and(|status| status.code() == tonic::Code::NotFound)
        }
    };
    assert!(lets_in(&of_old).await && !lets_in(&of_new).await);
    let stays = secure_channel(grpc, of_old.clone()).await.unwrap();
    // Both, while clients renew theirs; then the new one alone.
    std::fs::write(&ca, format!("{}{}", old.pem, new.pem)).unwrap();
    until(async || lets_in(&of_new).await).await;
    assert!(lets_in(&of_old).await);
    std::fs::write(&ca, &new.pem).unwrap();
    until(async || !lets_in(&of_old).await).await;
    assert!(lets_in(&of_new).await);
    // Who was let in stays.
    let said = count(stays).await.unwrap_err();
    assert_eq!(said.code(), tonic::Code::NotFound);
}

async fn until(holds: impl AsyncFn() -> bool) {
    for _ in 0..1_500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within 30 s");
}
