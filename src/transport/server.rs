//! TLS of a port.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    files::{Contents, Files, TlsError},
    provider,
    reloaded::Reloaded,
};
use crate::config::{self, ClientAuth};

/// The certificate of a port, its key, and who is believed to be a client.
pub struct ServerTls {
    reloaded: Arc<Reloaded<ServerConfig>>,
    every: std::time::Duration,
}

impl ServerTls {
    /// Reads the files for the first time. `name` is the port's in metrics and the
    /// log, `protocols` what may be spoken (ALPN), the best first.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn open(
        name: &'static str,
        config: &config::ServerTls,
        protocols: &'static [&'static [u8]],
    ) -> Result<Self, TlsError> {
        let files = Files {
            pair: Some((config.pair.cert_file.clone(), config.pair.key_file.clone())),
            ca: config.client_ca_file.clone(),
        };
        let auth = config.client_auth;
        let make = move |contents: &Contents| server_config(contents, auth, protocols);
        Ok(Self {
            reloaded: Arc::new(Reloaded::open(name, files, make)?),
            every: config.reload_interval,
        })
    }

    /// Looks for new files until `stop`.
    pub async fn keep(&self, stop: CancellationToken) {
        Arc::clone(&self.reloaded).keep(self.every, stop).await;
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.reloaded.current())
    }
}

fn server_config(
    contents: &Contents,
    auth: ClientAuth,
    protocols: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let wrong = |source| TlsError::Rustls {
        files: contents.names(),
        source,
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_client_cert_verifier(verifier(contents, auth)?);
    let Some((chain, key)) = contents.pair()? else {
        return Err(wrong(rustls::Error::NoCertificatesPresented));
    };
    // It also finds out a key that is another certificate's.
    let mut config = builder.with_single_cert(chain, key).map_err(wrong)?;
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    Ok(config)
}

fn verifier(
    contents: &Contents,
    auth: ClientAuth,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let Some(roots) = contents.authorities()?.filter(|_| auth != ClientAuth::None) else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = match auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required | ClientAuth::None => builder,
    };
    builder.build().map_err(|source| TlsError::Verifier {
        path: contents.ca_name(),
        source,
    })
}
