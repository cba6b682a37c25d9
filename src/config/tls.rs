//! Certificates and keys: which files, and that they belong together. The files
//! themselves are read when the server starts.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    checks::{Zero, duration},
    fault::Faults,
    raw,
};

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// They may; one that is shown must be right.
    Optional,
    /// Nobody connects without.
    Required,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// TLS of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    pub pair: KeyPair,
    /// Authorities of clients; there unless `client_auth` is `None`.
    pub client_ca_file: Option<PathBuf>,
    pub client_auth: ClientAuth,
    /// Between two looks at the files.
    pub reload_interval: Duration,
}

/// TLS to servers: other nodes, or what the command line talks to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// `None`: the authorities of the system.
    pub ca_file: Option<PathBuf>,
    /// What is shown to servers that ask.
    pub pair: Option<KeyPair>,
    /// Instead of the host of the address.
    pub server_name: Option<String>,
    /// Between two looks at the files.
    pub reload_interval: Duration,
}

/// Checks `[server.tls]` or `[server.http_tls]`; `None` where the port is plaintext.
pub(super) fn server_tls(
    path: &str,
    raw: &raw::ServerTls,
    faults: &mut Faults,
) -> Option<ServerTls> {
    let reload_interval = interval(path, &raw.reload_interval, faults);
    let pair = pair(path, &raw.cert_file, &raw.key_file, faults);
    let client_ca_file = file(&raw.client_ca_file);
    let asks = raw.client_auth != ClientAuth::None;
    if asks && client_ca_file.is_none() {
        let problem = "is required where client_auth is \"optional\" or \"required\"";
        faults.push(format!("{path}.client_ca_file"), problem);
    }
    if !asks && client_ca_file.is_some() {
        let problem =
            "is \"none\", and client_ca_file is given: write \"optional\" or \"required\"";
        faults.push(format!("{path}.client_auth"), problem);
    }
    if asks && raw.cert_file.is_empty() {
        let problem = "is required where clients show certificates";
        faults.push(format!("{path}.cert_file"), problem);
    }
    Some(ServerTls {
        pair: pair?,
        client_ca_file,
        client_auth: raw.client_auth,
        reload_interval,
    })
}

/// Checks `[nodes.tls]`.
pub(super) fn node_tls(raw: &raw::NodeTls, faults: &mut Faults) -> ClientTls {
    let path = "nodes.tls";
    ClientTls {
        ca_file: file(&raw.ca_file),
        pair: pair(path, &raw.cert_file, &raw.key_file, faults),
        server_name: (!raw.server_name.is_empty()).then(|| raw.server_name.clone()),
        reload_interval: interval(path, &raw.reload_interval, faults),
    }
}

fn interval(path: &str, text: &super::units::DurationText, faults: &mut Faults) -> Duration {
    let path = format!("{path}.reload_interval");
    duration(faults, &path, text, Zero::Refused)
}

fn file(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// Both or neither.
fn pair(path: &str, cert: &str, key: &str, faults: &mut Faults) -> Option<KeyPair> {
    match (file(cert), file(key)) {
        (Some(cert_file), Some(key_file)) => Some(KeyPair {
            cert_file,
            key_file,
        }),
        (None, None) => None,
        (Some(_), None) => {
            let problem = "is required where cert_file is given";
            faults.push(format!("{path}.key_file"), problem);
            None
        }
        (None, Some(_)) => {
            let problem = "is required where key_file is given";
            faults.push(format!("{path}.cert_file"), problem);
            None
        }
    }
}

fn text(path: Option<&Path>) -> String {
    // It was made from text.
    path.map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// As they would be written.
pub(super) fn raw_server_tls(tls: Option<&ServerTls>) -> raw::ServerTls {
    let Some(tls) = tls else {
        return raw::ServerTls::default();
    };
    raw::ServerTls {
        cert_file: text(Some(&tls.pair.cert_file)),
        key_file: text(Some(&tls.pair.key_file)),
        client_ca_file: text(tls.client_ca_file.as_deref()),
        client_auth: tls.client_auth,
        reload_interval: tls.reload_interval.into(),
    }
}

impl ClientTls {
    pub(super) fn to_raw(&self) -> raw::NodeTls {
        let pair = self.pair.as_ref();
        raw::NodeTls {
            ca_file: text(self.ca_file.as_deref()),
            cert_file: text(pair.map(|pair| pair.cert_file.as_path())),
            key_file: text(pair.map(|pair| pair.key_file.as_path())),
            server_name: self.server_name.clone().unwrap_or_default(),
            reload_interval: self.reload_interval.into(),
        }
    }
}
