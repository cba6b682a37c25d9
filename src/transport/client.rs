//! TLS to a server.

use std::{io, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    files::{Contents, Files, TlsError, system_authorities},
    provider,
    reloaded::Reloaded,
};
use crate::config;

/// Who is believed to be a server, and what is shown to one. Clones share it.
#[derive(Clone)]
pub struct ClientTls {
    reloaded: Arc<Reloaded<ClientConfig>>,
    every: Duration,
    server_name: Option<ServerName<'static>>,
}

/// The same, for one server: with the name that its certificate must have.
#[derive(Clone)]
pub struct Named {
    tls: ClientTls,
    host: Arc<str>,
}

impl ClientTls {
    /// Reads the files for the first time. `name` is what it is for, in metrics and
    /// the log.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn open(name: &'static str, config: &config::ClientTls) -> Result<Self, TlsError> {
        let ca = match &config.ca_file {
            Some(file) => file.clone(),
            None => system_authorities()?,
        };
        let pair = config.pair.as_ref();
        let files = Files {
            pair: pair.map(|pair| (pair.cert_file.clone(), pair.key_file.clone())),
            ca: Some(ca),
        };
        let server_name = config.server_name.as_deref().map(parse_name).transpose()?;
        Ok(Self {
            reloaded: Arc::new(Reloaded::open(name, files, client_config)?),
            every: config.reload_interval,
            server_name,
        })
    }

    /// Looks for new files until `stop`.
    pub async fn keep(self, stop: CancellationToken) {
        self.reloaded.keep(self.every, stop).await;
    }

    /// For a server at this host, unless the configuration has a name for all.
    pub fn named(&self, host: &str) -> Named {
        Named {
            tls: self.clone(),
            host: host.into(),
        }
    }
}

impl Named {
    /// Shakes hands. What comes out speaks HTTP/2.
    ///
    /// # Errors
    /// The handshake failed: the text says why.
    pub async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.tls.server_name {
            Some(name) => name.clone(),
            None => parse_name(&self.host).map_err(io::Error::other)?,
        };
        let connector = TlsConnector::from(self.tls.reloaded.current());
        connector.connect(name, stream).await
    }
}

fn parse_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::ServerName(host.to_owned()))
}

fn client_config(contents: &Contents) -> Result<ClientConfig, TlsError> {
    let wrong = |source| TlsError::Rustls {
        files: contents.names(),
        source,
    };
    let Some(roots) = contents.authorities()? else {
        return Err(TlsError::NoAuthorities);
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_root_certificates(roots);
    let mut config = match contents.pair()? {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(wrong)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
