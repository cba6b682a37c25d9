//! Where the process listens, and what is believed of whom it connects to: sockets
//! and certificates, opened before anything is served.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use super::{AppError, tasks::Tasks};
use crate::{
    config::{self, Config},
    telemetry::audit::AuditLog,
    transport::{ClientTls, Listener, Protocol, ServerTls, TlsError},
};

/// What is shown to nodes, in metrics and the log.
const NODES: &str = "nodes";

/// What is believed of the nodes that have TLS, where there are some.
pub(super) fn node_tls(config: &Config, tasks: &Tasks) -> Result<Option<ClientTls>, TlsError> {
    if !has_secure_nodes(config) {
        return Ok(None);
    }
    let tls = ClientTls::open(NODES, &config.nodes.tls)?;
    let (kept, stop) = (tls.clone(), tasks.stop());
    tasks.spawn(kept.keep(stop));
    Ok(Some(tls))
}

fn has_secure_nodes(config: &Config) -> bool {
    let primary = match &config.primary {
        config::Primary::Embedded(_) => false,
        config::Primary::Node(node) => node.tls,
    };
    primary || config.nodes.replicas.iter().any(|node| node.tls)
}

/// Reads every certificate and key of a configuration, as a start would.
///
/// # Errors
/// One that cannot be used.
pub fn check_certificates(config: &Config) -> Result<(), AppError> {
    let server = &config.server;
    for (protocol, tls) in [
        (Protocol::Grpc, &server.tls),
        (Protocol::Http, &server.http_tls),
    ] {
        if let Some(tls) = tls {
            ServerTls::open(protocol.port(), tls, protocol.names())?;
        }
    }
    if has_secure_nodes(config) {
        ClientTls::open(NODES, &config.nodes.tls)?;
    }
    Ok(())
}

/// A socket with its certificate, where it has one.
pub(super) fn listener(
    socket: TcpListener,
    protocol: Protocol,
    tls: Option<&config::ServerTls>,
    audit: &AuditLog,
    tasks: &Tasks,
) -> Result<Listener, TlsError> {
    let tls = match tls {
        None => None,
        Some(config) => {
            let tls = ServerTls::open(protocol.port(), config, protocol.names())?;
            let tls = Arc::new(tls);
            let (kept, stop) = (Arc::clone(&tls), tasks.stop());
            tasks.spawn(async move { kept.keep(stop).await });
            Some(tls)
        }
    };
    Ok(Listener {
        socket,
        protocol,
        tls,
        audit: audit.clone(),
    })
}

/// Listens at an address of the configuration.
pub(super) async fn listen(
    setting: &'static str,
    address: SocketAddr,
) -> Result<TcpListener, AppError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| AppError::Listen {
            setting,
            address,
            source,
        })
}

/// Where that is, once it is known.
pub(super) fn local(setting: &'static str, listener: &TcpListener) -> Result<SocketAddr, AppError> {
    listener.local_addr().map_err(|source| AppError::Listen {
        setting,
        address: SocketAddr::from(([0, 0, 0, 0], 0)),
        source,
    })
}
