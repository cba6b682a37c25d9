//! Connections to a server, for the commands that talk to one.

use std::{error::Error, time::Duration};

use tonic::transport::{Channel, Endpoint};

use super::error::{CliError, chain};
use crate::{
    domain::Role,
    proto::v1::{
        self, cluster_service_client::ClusterServiceClient,
        search_service_client::SearchServiceClient, table_service_client::TableServiceClient,
        write_service_client::WriteServiceClient,
    },
};

/// For how long a TCP connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a gRPC message can have at most. The server's own limits are the ones
/// that count.
const MAX_MESSAGE_BYTES: usize = u32::MAX as usize;

/// Which server to talk to.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Server {
    /// The server: host:port, or an http:// URL.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "LANCEGATE_ADDRESS",
        default_value = "127.0.0.1:50051"
    )]
    pub address: String,
}

impl Server {
    pub(super) async fn connect(&self) -> Result<Channel, CliError> {
        connect(&self.address).await
    }
}

/// Where to connect to, not connected yet.
///
/// # Errors
/// [`CliError::Usage`] for what is no address, and for https: this build of the
/// client has no TLS.
pub(super) fn endpoint(address: &str) -> Result<Endpoint, CliError> {
    let url = match address.split_once("://") {
        Some(("http", _)) => address.to_string(),
        Some((scheme, _)) => {
            let problem = format!("--address: {scheme} is not spoken, only plaintext http");
            return Err(CliError::Usage(problem));
        }
        None => format!("http://{address}"),
    };
    let endpoint = Endpoint::from_shared(url)
        .ok()
        .filter(|e| e.uri().port().is_some());
    let Some(endpoint) = endpoint else {
        let problem = format!("--address: '{address}' is not host:port or http://host:port");
        return Err(CliError::Usage(problem));
    };
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT))
}

/// One HTTP/2 connection.
pub(super) async fn connect(address: &str) -> Result<Channel, CliError> {
    let connected = endpoint(address)?.connect().await;
    connected.map_err(|error| CliError::Connect {
        address: address.to_string(),
        cause: why(&error),
    })
}

/// Why there is no connection. tonic's own words are only "transport error".
pub(super) fn why(error: &tonic::transport::Error) -> String {
    error.source().map_or_else(|| error.to_string(), chain)
}

pub(super) fn search(channel: Channel) -> SearchServiceClient<Channel> {
    SearchServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

pub(super) fn write(channel: Channel) -> WriteServiceClient<Channel> {
    WriteServiceClient::new(channel).max_encoding_message_size(MAX_MESSAGE_BYTES)
}

pub(super) fn table(channel: Channel) -> TableServiceClient<Channel> {
    TableServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

pub(super) fn cluster(channel: Channel) -> ClusterServiceClient<Channel> {
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
        ] {
            assert!(endpoint(fits).is_ok(), "{fits}");
        }
        for wrong in [
            "",
            "localhost",
            "https://host:1",
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
}
