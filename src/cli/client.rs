//! Connections to a server, for the commands that talk to one.

use std::{error::Error, time::Duration};

use tonic::{
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use super::{
    error::{CliError, chain},
    security::{self, Security, Shown},
};
use crate::{
    domain::Role,
    proto::v1::{
        self, cluster_service_client::ClusterServiceClient,
        search_service_client::SearchServiceClient, table_service_client::TableServiceClient,
        write_service_client::WriteServiceClient,
    },
    transport::Named,
};

/// For how long a TCP connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a gRPC message can have at most. The server's own limits are the ones
/// that count.
const MAX_MESSAGE_BYTES: usize = u32::MAX as usize;

/// A connection whose requests show what they have to.
pub(super) type Link = InterceptedService<Channel, Shown>;

/// Which server to talk to.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Server {
    /// The server: host:port, or an http:// or https:// URL.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "LANCEGATE_ADDRESS",
        default_value = "127.0.0.1:50051"
    )]
    pub address: String,
    #[command(flatten)]
    pub security: Security,
}

impl Server {
    pub(super) async fn connect(&self) -> Result<Link, CliError> {
        connect(&self.address, &self.security).await
    }
}

/// Where to connect to and how, not connected yet.
pub(super) struct Way {
    endpoint: Endpoint,
    tls: Option<Named>,
    shown: Shown,
}

impl Way {
    /// # Errors
    /// What is wrong with the address, the flags or the files that they name.
    pub(super) fn to(address: &str, security: &Security) -> Result<Self, CliError> {
        let (endpoint, asks_for_tls) = endpoint(address)?;
        Ok(Self {
            tls: security.tls(security::host_of(endpoint.uri()), asks_for_tls)?,
            shown: security.shown()?,
            endpoint,
        })
    }

    /// One HTTP/2 connection.
    pub(super) async fn connect(self) -> Result<Link, tonic::transport::Error> {
        let channel = security::connect(&self.endpoint, self.tls.as_ref()).await?;
        Ok(InterceptedService::new(channel, self.shown))
    }

    /// One that is made when it is needed, in plaintext.
    #[cfg(test)]
    pub(super) fn connect_lazy(self) -> Link {
        InterceptedService::new(self.endpoint.connect_lazy(), self.shown)
    }
}

/// The address in a form that is plaintext to tonic, and whether it asks for TLS.
///
/// # Errors
/// [`CliError::Usage`] for what is no address.
fn endpoint(address: &str) -> Result<(Endpoint, bool), CliError> {
    let (rest, asks_for_tls) = match address.split_once("://") {
        Some(("http", rest)) => (rest, false),
        Some(("https", rest)) => (rest, true),
        Some((scheme, _)) => {
            let problem = format!("--address: {scheme} is not spoken, only http and https");
            return Err(CliError::Usage(problem));
        }
        None => (address, false),
    };
    let endpoint = Endpoint::from_shared(format!("http://{rest}"))
        .ok()
        .filter(|e| e.uri().port().is_some());
    let Some(endpoint) = endpoint else {
        let problem = format!(
            "--address: '{address}' is not host:port, http://host:port or https://host:port"
        );
        return Err(CliError::Usage(problem));
    };
    Ok((endpoint.connect_timeout(CONNECT_TIMEOUT), asks_for_tls))
}

/// One HTTP/2 connection.
pub(super) async fn connect(address: &str, security: &Security) -> Result<Link, CliError> {
    let connected = Way::to(address, security)?.connect().await;
    connected.map_err(|error| CliError::Connect {
        address: address.to_string(),
        cause: why(&error),
    })
}

/// Why there is no connection. tonic's own words are only "transport error".
pub(super) fn why(error: &tonic::transport::Error) -> String {
    error.source().map_or_else(|| error.to_string(), chain)
}

pub(super) fn search(channel: Link) -> SearchServiceClient<Link> {
    SearchServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

pub(super) fn write(channel: Link) -> WriteServiceClient<Link> {
    WriteServiceClient::new(channel).max_encoding_message_size(MAX_MESSAGE_BYTES)
}

pub(super) fn table(channel: Link) -> TableServiceClient<Link> {
    TableServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

pub(super) fn cluster(channel: Link) -> ClusterServiceClient<Link> {
    ClusterServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// A field of an answer that the contract promises.
pub(super) fn required<T>(field: Option<T>, name: &str) -> Result<T, CliError> {
    field.ok_or_else(|| CliError::Data(format!("the server's answer has no {name}")))
}

/// A duration of the contract; a negative one counts as none.
pub(super) fn duration(value: Option<prost_types::Duration>) -> Duration {
    value
        .and_then(|d| Duration::try_from(d).ok())
        .unwrap_or_default()
}

/// The role in a word.
pub(super) fn role(role: i32) -> &'static str {
    match v1::Role::try_from(role) {
        Ok(v1::Role::Primary) => Role::Primary.as_str(),
        Ok(v1::Role::Replica) => Role::Replica.as_str(),
        Ok(v1::Role::Shadow) => Role::Shadow.as_str(),
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ports_or_urls() {
        for fits in [
            "localhost:50051",
            "127.0.0.1:1",
            "[::1]:50051",
            "http://host:80",
            "https://host:443",
        ] {
            let (_, asks_for_tls) = endpoint(fits).unwrap();
            assert_eq!(asks_for_tls, fits.starts_with("https"), "{fits}");
        }
        for wrong in [
            "",
            "localhost",
            "https://host",
            "unix://x",
            "http://",
            "a b:1",
            "host:port",
        ] {
            assert!(
                matches!(endpoint(wrong), Err(CliError::Usage(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_means_nothing_in_plaintext_is_said() {
        let name = |name: &str| Security {
            server_name: Some(name.into()),
            ..Security::default()
        };
        let said = Way::to("host:1", &name("x")).err().unwrap().to_string();
        assert_eq!(said, "--server-name: needs --tls");
        let file = Security {
            tls: true,
            ca_file: Some("/no/such/file".into()),
            ..Security::default()
        };
        let said = Way::to("host:1", &file).err().unwrap().to_string();
        assert!(said.contains("/no/such/file"), "{said}");
    }
}
