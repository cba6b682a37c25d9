//! Other lancegate nodes as connections: where they are, and how they are talked
//! to.

use std::{path::PathBuf, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{
    checks::{Zero, duration},
    fault::Faults,
    raw,
    tls::{ClientTls, node_tls},
};

/// Longest name of a host in DNS (RFC 1035, 2.3.4).
const MAX_HOST: usize = 253;

/// Every connection that is another node, and how they are talked to.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    /// Those that answer reads, in the order of the configuration.
    pub replicas: Vec<NodeReplica>,
    pub settings: NodeSettings,
    /// For those with TLS.
    pub tls: ClientTls,
    /// What this process shows with its own probes.
    pub api_key: Option<NodeKey>,
}

/// The API key of this process.
#[derive(Debug, Clone)]
pub enum NodeKey {
    Text(SecretString),
    /// Read anew whenever it is needed.
    File(PathBuf),
}

/// How nodes are talked to.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeSettings {
    /// Most HTTP/2 connections to one node.
    pub channels_per_node: usize,
    pub connect_timeout: Duration,
    /// Between two pings of a connection.
    pub keepalive_interval: Duration,
    /// For the answer to a ping.
    pub keepalive_timeout: Duration,
    /// Between two looks at a name or a file.
    pub resolve_interval: Duration,
    /// How much less time than there is a node is given.
    pub deadline_margin: Duration,
    /// Whether the nodes decide by the same bindings what is there for whom.
    pub enforce_access: bool,
}

/// The node that is the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePrimary {
    pub name: String,
    pub address: NodeAddress,
    /// Whether it is talked to with TLS.
    pub tls: bool,
}

/// Nodes that answer reads, under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReplica {
    pub name: String,
    pub discovery: Discovery,
    /// Whether they are talked to with TLS.
    pub tls: bool,
    /// Whether clients' reads go there.
    pub in_rotation: bool,
    /// Its share of the reads, beside the others.
    pub weight: u32,
    /// Where it is, for [`super::Balance::zone`].
    pub zone: Option<String>,
}

/// Where one node listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeAddress {
    /// An IP address or a name, without the brackets of IPv6.
    pub host: String,
    pub port: u16,
}

/// How the nodes behind a name are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// There is one, at this address.
    Static(NodeAddress),
    /// Each address of the name is one.
    Dns(NodeAddress),
    /// The file has one on each line.
    File(PathBuf),
}

impl std::fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl NodeAddress {
    /// `host:port`, the host an IP address or a name.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no address: write host:port");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if port == 0 {
            return Err("port 0 is no port to connect to".into());
        }
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
            Some(_) => return Err(wrong()),
            None => host,
        };
        let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let is_name = (1..=MAX_HOST).contains(&host.len()) && host.chars().all(fits);
        if !is_v6 && !is_name {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// Whether a uri is that of a node, whatever else may be wrong with it.
pub(super) fn is_node(uri: &str) -> bool {
    let scheme = uri.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|s| s.starts_with("grpc"))
}

impl Discovery {
    /// `grpc://host:port`, `grpc+dns://name:port` or `grpc+file:///path`; with TLS if
    /// it begins with grpcs.
    ///
    /// # Errors
    /// What would be right.
    pub(super) fn parse(uri: &str) -> Result<(Self, bool), String> {
        let Some((scheme, rest)) = uri.split_once("://") else {
            return Err("is no URI".into());
        };
        match scheme.strip_prefix("grpcs") {
            Some(how) => Ok((Self::parse_as(&format!("grpc{how}"), rest)?, true)),
            None => Ok((Self::parse_as(scheme, rest)?, false)),
        }
    }

    fn parse_as(scheme: &str, rest: &str) -> Result<Self, String> {
        match scheme {
            "grpc" => NodeAddress::parse(rest).map(Self::Static),
            "grpc+dns" => {
                let address = NodeAddress::parse(rest)?;
                Ok(Self::Dns(address))
            }
            "grpc+file" => {
                let url = Url::parse(&format!("file://{rest}"))
                    .map_err(|error| format!("is not a URI: {error}"))?;
                let path = url.to_file_path();
                let path = path.map_err(|()| "must be grpc+file:///absolute/path")?;
                Ok(Self::File(path))
            }
            _ => Err("must be grpc://host:port, grpc+dns://name:port or grpc+file:///path (grpcs with TLS)".into()),
        }
    }

    /// As it would be written.
    pub(super) fn to_uri(&self, tls: bool) -> String {
        let grpc = if tls { "grpcs" } else { "grpc" };
        match self {
            Self::Static(address) => format!("{grpc}://{address}"),
            Self::Dns(address) => format!("{grpc}+dns://{address}"),
            Self::File(path) => match Url::from_file_path(path) {
                Ok(url) => format!("{grpc}+{url}"),
                // It was made from such a URL.
                Err(()) => format!("{grpc}+file://{}", path.display()),
            },
        }
    }
}

/// Checks `nodes.tls`, and what this process shows to nodes.
pub(super) fn trust(raw: &raw::Nodes, faults: &mut Faults) -> (ClientTls, Option<NodeKey>) {
    let text = raw.api_key.0.expose_secret();
    let api_key = match (text.is_empty(), raw.api_key_file.is_empty()) {
        (true, true) => None,
        (true, false) => Some(NodeKey::File(raw.api_key_file.as_str().into())),
        (false, true) => Some(NodeKey::Text(raw.api_key.0.clone())),
        (false, false) => {
            faults.push(
                "nodes.api_key_file",
                "and nodes.api_key cannot both be there",
            );
            None
        }
    };
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        faults.push("nodes.api_key", "must be printable ASCII without spaces");
    }
    (node_tls(&raw.tls, faults), api_key)
}

/// Checks `[nodes]`.
pub(super) fn settings(raw: &raw::Nodes, faults: &mut Faults) -> NodeSettings {
    let mut read = |key: &str, text, zero| duration(faults, &format!("nodes.{key}"), text, zero);
    NodeSettings {
        channels_per_node: raw.channels_per_node,
        connect_timeout: read("connect_timeout", &raw.connect_timeout, Zero::Refused),
        keepalive_interval: read("keepalive_interval", &raw.keepalive_interval, Zero::Refused),
        keepalive_timeout: read("keepalive_timeout", &raw.keepalive_timeout, Zero::Refused),
        resolve_interval: read("resolve_interval", &raw.resolve_interval, Zero::Refused),
        deadline_margin: read("deadline_margin", &raw.deadline_margin, Zero::Allowed),
        enforce_access: raw.enforce_access,
    }
}

impl Nodes {
    pub(super) fn to_raw(&self) -> raw::Nodes {
        let settings = self.settings;
        let (mut api_key, mut api_key_file) = (SecretString::default(), String::new());
        match &self.api_key {
            Some(NodeKey::Text(text)) => api_key = text.clone(),
            Some(NodeKey::File(path)) => api_key_file = path.to_string_lossy().into_owned(),
            None => {}
        }
        raw::Nodes {
            channels_per_node: settings.channels_per_node,
            connect_timeout: settings.connect_timeout.into(),
            keepalive_interval: settings.keepalive_interval.into(),
            keepalive_timeout: settings.keepalive_timeout.into(),
            resolve_interval: settings.resolve_interval.into(),
            deadline_margin: settings.deadline_margin.into(),
            tls: self.tls.to_raw(),
            api_key: raw::StorageOption(api_key),
            api_key_file,
            enforce_access: settings.enforce_access,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for uri in [
            "grpc://10.0.0.8:50051",
            "grpc://[::1]:50051",
            "grpc://node_1.example:1",
            "grpc+dns://nodes.example:50051",
            "grpc+file:///etc/lancegate/nodes",
            "grpc+file:///etc/a%20b",
            "grpcs://10.0.0.8:50051",
            "grpcs+dns://nodes.example:50051",
            "grpcs+file:///etc/lancegate/nodes",
        ] {
            assert!(is_node(uri));
            let (discovery, tls) = Discovery::parse(uri).unwrap();
            assert_eq!(tls, uri.starts_with("grpcs"));
            assert_eq!(discovery.to_uri(tls), uri);
        }
    }

    #[test]
    fn what_is_no_node_says_what_would_be_right() {
        for (uri, part) in [
            ("grpc://", "host:port"),
            ("grpc://host", "host:port"),
            ("grpc://host:0", "port 0"),
            ("grpc://host:99999", "host:port"),
            ("grpc://us er@host:1", "host:port"),
            ("grpc://[::1:5", "host:port"),
            ("grpc://host/path:1", "host:port"),
            ("grpc+dns://nodes", "host:port"),
            ("grpc+file://host/x", "absolute"),
            ("grpcs://host", "host:port"),
            ("grpcss://host:1", "grpcs with TLS"),
            ("grpc+srv://host:1", "grpc+dns"),
        ] {
            let problem = Discovery::parse(uri).unwrap_err();
            assert!(problem.contains(part), "{uri}: {problem}");
        }
        for other in ["/grpc/x", "s3://grpc/x", "file:///grpc"] {
            assert!(!is_node(other));
        }
    }
}
