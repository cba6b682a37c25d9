//! Certificates and keys as they are written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{tls::ClientAuth, units::DurationText};

/// How often files are looked at where it is not said.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// TLS 1.2 and 1.3 of a port. The files are PEM; when they change the new ones are
/// used for new connections, and those that are open stay.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ServerTls {
    /// The certificate, followed by those that lead to its authority. Without one
    /// the port is plaintext.
    pub cert_file: String,
    /// The private key of the certificate.
    pub key_file: String,
    /// The authorities whose clients are believed.
    pub client_ca_file: String,
    /// Whether clients show a certificate. "none": they are not asked. "optional":
    /// they may; one that is shown must be right. "required": nobody connects
    /// without.
    pub client_auth: ClientAuth,
    /// How often the files are looked at.
    pub reload_interval: DurationText,
}

impl Default for ServerTls {
    fn default() -> Self {
        ServerTls {
            cert_file: String::new(),
            key_file: String::new(),
            client_ca_file: String::new(),
            client_auth: ClientAuth::None,
            reload_interval: RELOAD_INTERVAL.into(),
        }
    }
}

/// TLS to other nodes. The files are PEM; when they change the new ones are used
/// for new connections.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct NodeTls {
    /// The authorities that nodes are believed by. Without it those of the system:
    /// the file that SSL_CERT_FILE names, or the one of the distribution.
    pub ca_file: String,
    /// The certificate that this process shows, where nodes ask for one.
    pub cert_file: String,
    /// The private key of that certificate.
    pub key_file: String,
    /// The name that the certificates of nodes must have, instead of the host of
    /// their address.
    pub server_name: String,
    /// How often the files are looked at.
    pub reload_interval: DurationText,
}

impl Default for NodeTls {
    fn default() -> Self {
        NodeTls {
            ca_file: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
            server_name: String::new(),
            reload_interval: RELOAD_INTERVAL.into(),
        }
    }
}
