//! The connections to other nodes as they are written.

use std::time::Duration;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{NodeTls, StorageOption};
use crate::config::units::DurationText;

/// How this process talks to the other lancegate nodes among its connections:
/// those whose uri begins with grpc.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Nodes {
    /// Most HTTP/2 connections to one node. There is one at first; more are opened
    /// while those that are there carry many calls.
    #[schemars(range(min = 1, max = 64))]
    pub channels_per_node: usize,
    /// For how long connecting to a node may take.
    pub connect_timeout: DurationText,
    /// How often a connection is asked whether the node is still there.
    pub keepalive_interval: DurationText,
    /// For how long it may not answer that before the connection is closed.
    pub keepalive_timeout: DurationText,
    /// How often a grpc+dns name is resolved and a grpc+file file is read again.
    pub resolve_interval: DurationText,
    /// How much less time than it has itself this process gives a node for an
    /// answer: what the way back takes.
    pub deadline_margin: DurationText,
    /// TLS to the nodes whose uri begins with grpcs.
    pub tls: NodeTls,
    /// The API key that this process shows with its own probes. Requests of clients
    /// are forwarded with what the clients show.
    #[serde(skip_serializing_if = "StorageOption::is_empty")]
    pub api_key: StorageOption,
    /// A file with that key; it is read anew for each probe.
    pub api_key_file: String,
    /// Whether the nodes have [access] with the same bindings. A router passes on who
    /// asks; which tables, rows and columns are there for them the nodes decide, so that
    /// a router with such bindings does not start without this.
    pub enforce_access: bool,
}

impl Default for Nodes {
    fn default() -> Self {
        Nodes {
            channels_per_node: 4,
            connect_timeout: Duration::from_secs(1).into(),
            keepalive_interval: Duration::from_secs(10).into(),
            keepalive_timeout: Duration::from_secs(5).into(),
            resolve_interval: Duration::from_secs(5).into(),
            deadline_margin: Duration::from_millis(5).into(),
            tls: NodeTls::default(),
            api_key: StorageOption(SecretString::default()),
            api_key_file: String::new(),
            enforce_access: false,
        }
    }
}
