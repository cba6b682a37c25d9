//! How a command shows who it is, and by what it believes a server.

use std::{path::PathBuf, time::Duration};

use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::{Channel, Endpoint, Uri},
};

use super::error::CliError;
use crate::{
    config,
    transport::{ClientTls, Named},
};

/// The variable of the key itself: a flag would be seen by everybody who may list
/// processes.
const API_KEY: &str = "LANCEGATE_API_KEY";

/// TLS to the server, and what is shown to it. The long names that begin with tls-
/// are those of grpc_health_probe.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Security {
    /// Connect with TLS; an address that begins with https:// asks for it too.
    #[arg(long, env = "LANCEGATE_TLS")]
    pub tls: bool,
    /// PEM file of the authorities that the server is believed by; by default the
    /// system's.
    #[arg(
        long,
        visible_alias = "tls-ca-cert",
        value_name = "FILE",
        env = "LANCEGATE_CA_FILE"
    )]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificate to show.
    #[arg(
        long,
        visible_alias = "tls-client-cert",
        value_name = "FILE",
        env = "LANCEGATE_CERT_FILE",
        requires = "key_file"
    )]
    pub cert_file: Option<PathBuf>,
    /// PEM file of that certificate's private key.
    #[arg(
        long,
        visible_alias = "tls-client-key",
        value_name = "FILE",
        env = "LANCEGATE_KEY_FILE",
        requires = "cert_file"
    )]
    pub key_file: Option<PathBuf>,
    /// The name that the server's certificate must have, instead of the address'.
    #[arg(
        long,
        visible_alias = "tls-server-name",
        value_name = "NAME",
        env = "LANCEGATE_SERVER_NAME"
    )]
    pub server_name: Option<String>,
    /// File with the API key to show; else the variable LANCEGATE_API_KEY is the key.
    #[arg(long, value_name = "FILE", env = "LANCEGATE_API_KEY_FILE")]
    pub api_key_file: Option<PathBuf>,
}

/// What every request shows: an API key, or nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown(Option<MetadataValue<Ascii>>);

impl Interceptor for Shown {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl Security {
    /// TLS to a server at `host`; `None`: plaintext. `asked` says that the address
    /// asks for it.
    ///
    /// # Errors
    /// Flags that mean nothing in plaintext, or files that cannot be used.
    pub(super) fn tls(&self, host: &str, asked: bool) -> Result<Option<Named>, CliError> {
        if !self.tls && !asked {
            let given = [
                ("--ca-file", self.ca_file.is_some()),
                ("--cert-file", self.cert_file.is_some()),
                ("--server-name", self.server_name.is_some()),
            ];
            return match given.iter().find(|(_, is_given)| *is_given) {
                Some((flag, _)) => Err(CliError::Usage(format!("{flag}: needs --tls"))),
                None => Ok(None),
            };
        }
        let pair = self.cert_file.clone().zip(self.key_file.clone());
        let tls = ClientTls::open(
            "cli",
            &config::ClientTls {
                ca_file: self.ca_file.clone(),
                pair: pair.map(|(cert_file, key_file)| config::KeyPair {
                    cert_file,
                    key_file,
                }),
                server_name: self.server_name.clone(),
                // A command is over before anything changes.
                reload_interval: Duration::MAX,
            },
        )?;
        Ok(Some(tls.named(host)))
    }

    /// What requests show.
    ///
    /// # Errors
    /// The file cannot be read, or holds no key.
    pub(super) fn shown(&self) -> Result<Shown, CliError> {
        let key = match &self.api_key_file {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                Some(text.map_err(|error| CliError::file(path, error))?)
            }
            None => std::env::var(API_KEY).ok().filter(|key| !key.is_empty()),
        };
        let Some(key) = key.map(SecretString::from) else {
            return Ok(Shown(None));
        };
        let key = key.expose_secret().trim();
        let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_graphic());
        let value = MetadataValue::try_from(format!("Bearer {key}"));
        let Some(mut value) = value.ok().filter(|_| is_key) else {
            let problem = "the API key must be printable ASCII without spaces";
            return Err(CliError::Usage(problem.into()));
        };
        value.set_sensitive(true);
        Ok(Shown(Some(value)))
    }
}

/// The host of an address: one of IPv6 without its brackets.
pub(super) fn host_of(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']')
}

/// One HTTP/2 connection, within TLS where there is some.
pub(super) async fn connect(
    endpoint: &Endpoint,
    tls: Option<&Named>,
) -> Result<Channel, tonic::transport::Error> {
    let Some(tls) = tls.cloned() else {
        return endpoint.connect().await;
    };
    let connector = tower::service_fn(move |uri: Uri| {
        let tls = tls.clone();
        async move {
            let port = uri.port_u16().unwrap_or_default();
            let stream = TcpStream::connect((host_of(&uri), port)).await?;
            stream.set_nodelay(true)?;
            tls.connect(stream).await.map(TokioIo::new)
        }
    });
    endpoint.connect_with_connector(connector).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_with_every_request_and_to_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let with = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let security = Security {
                api_key_file: Some(path.clone()),
                ..Security::default()
            };
            security.shown()
        };
        let mut shown = with("swordfish\n").unwrap();
        let request = shown.call(Request::new(())).unwrap();
        let value = request.metadata().get("authorization").unwrap();
        assert_eq!(value, "Bearer swordfish");
        assert!(!format!("{shown:?} {request:?}").contains("swordfish"));
        for wrong in ["", "  \n", "two words", "k\u{e9}y"] {
            let said = with(wrong).unwrap_err().to_string();
            assert!(said.contains("printable ASCII"), "{said}");
            assert!(!said.contains("two words"), "{said}");
        }
        std::fs::remove_file(&path).unwrap();
        let security = Security {
            api_key_file: Some(path.clone()),
            ..Security::default()
        };
        assert!(security.shown().unwrap_err().to_string().contains("key"));
    }
}
