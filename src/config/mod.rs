//! The validated configuration. What a file, the environment and flags say is
//! read by the modules below; nothing outside this folder sees a raw value.
//!
//! The way of a value: [`sources`] merges flags over environment over file into
//! one tree, [`structure`] compares the tree with the schema of [`raw`] and cuts
//! out what does not fit, [`build`] checks the meaning of the rest. All faults
//! found on the way are reported together.

mod access;
mod admission;
mod audit;
mod before_nodes;
mod build;
mod cache;
mod checks;
mod connections;
mod diff;
mod effect;
mod exposure;
pub mod failpoint;
mod fault;
mod freshness;
mod functions;
mod live;
mod location;
mod nodes;
mod options;
mod pattern;
mod pool;
mod quotas;
mod raw;
mod render;
mod replication;
mod retention;
mod sessions;
mod shadow;
mod sockets;
mod sources;
mod structure;
#[cfg(test)]
mod tests;
mod tls;
mod units;
mod writes;

pub use access::{Access, AccessRole, Binding, JwksSource, Jwt, PRINCIPAL, RowRule};
pub use admission::Admission;
pub use audit::{Audit, AuditTo, Rotation};
pub use cache::{Cache, DiskCache};
pub use diff::{Change, diff};
pub use effect::Effect;
pub use fault::{ConfigErrors, Fault};
pub use freshness::{DefaultFreshness, Freshness};
pub use functions::Functions;
pub use live::{Current, Live};
pub use location::read_secret;
pub use nodes::{Discovery, NodeAddress, NodeKey, NodePrimary, NodeReplica, NodeSettings, Nodes};
pub use pattern::{Pattern, Who};
pub use pool::{Balance, Hedging, Method, Outlier, Pool, Retries};
pub use quotas::{Quota, Quotas};
pub use raw::schema;
pub use replication::{OnDivergence, ReplicaMode, Replication, Verify};
pub use retention::{Keep, Retention};
pub use sessions::Sessions;
pub use shadow::Shadow;
pub use sockets::Sockets;
pub use sources::{Sources, load};
pub use tls::{ClientAuth, ClientTls, KeyPair, ServerTls};
pub use units::parse_bytes;
pub use writes::Writes;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use secrecy::SecretString;

/// Everything that a server needs to know. Every fault was reported before one
/// of these exists.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    pub limits: Limits,
    pub sockets: Sockets,
    /// `None`: everybody may do everything.
    pub access: Option<Access>,
    /// What expressions may call: `limits.allowed_functions`.
    pub functions: Arc<Functions>,
    pub quotas: Quotas,
    pub admission: Admission,
    pub shutdown: Shutdown,
    pub primary: Primary,
    /// Those of this process, read in turn, in this order.
    pub replicas: Vec<Location>,
    /// Those that are other nodes.
    pub nodes: Nodes,
    pub replication: Replication,
    pub retention: Retention,
    pub freshness: Freshness,
    pub sessions: Sessions,
    /// `None`: no read is run a second time.
    pub shadow: Option<Shadow>,
    /// `[balance]`, `[outlier]`, `[retries]` and `[hedging]`.
    pub pool: Pool,
    pub writes: Writes,
    pub health: Health,
    pub cache: Cache,
    /// `None`: object stores are read without one.
    pub disk_cache: Option<DiskCache>,
    pub logging: Logging,
    pub audit: Audit,
    pub metrics: Metrics,
}

/// What takes the writes.
#[derive(Debug, Clone)]
pub enum Primary {
    /// A location that this process opens.
    Embedded(Location),
    /// Another node, which everything that needs the primary is forwarded to.
    Node(NodePrimary),
}

impl Primary {
    /// The location, where this process opens it.
    pub fn location(&self) -> Option<&Location> {
        match self {
            Primary::Embedded(location) => Some(location),
            Primary::Node(_) => None,
        }
    }

    /// The name, where it is another node.
    pub fn node_name(&self) -> Option<&str> {
        match self {
            Primary::Embedded(_) => None,
            Primary::Node(node) => Some(&node.name),
        }
    }
}

/// Where the server listens.
#[derive(Debug, Clone)]
pub struct Server {
    /// gRPC.
    pub grpc_address: SocketAddr,
    /// /metrics, /livez, /readyz, /health, /ready, /health/deep.
    pub http_address: SocketAddr,
    /// Whether the reflection services are there.
    pub reflection: bool,
    /// Of the gRPC port; `None`: plaintext.
    pub tls: Option<ServerTls>,
    /// Of the HTTP port.
    pub http_tls: Option<ServerTls>,
    /// Plaintext is meant beyond loopback.
    pub allow_plaintext: bool,
    /// That anybody may call is meant beyond loopback.
    pub allow_unauthenticated: bool,
}

/// What one request, or all of them together, may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests being worked on at once, whatever [`Admission`] finds.
    pub max_concurrent_requests: usize,
    /// The longest deadline; requests without one get this one.
    pub max_deadline: Duration,
    /// How long a request's message may not come, and its answer not be read.
    pub stall_timeout: Duration,
    /// Bytes of one request message.
    pub max_request_bytes: usize,
    /// Bytes of one answer message.
    pub max_response_bytes: usize,
    /// Largest `limit` + `offset` of a search, and most keys of one Get.
    pub max_limit: usize,
    /// Most query vectors in one search.
    pub max_query_vectors: usize,
    /// Most elements of one vector.
    pub max_vector_dimension: usize,
    /// Page size where the request has none.
    pub default_page_size: usize,
    /// Largest page size.
    pub max_page_size: usize,
    /// Bytes of one filter or expression.
    pub max_filter_bytes: usize,
    /// How deep a filter may nest.
    pub max_filter_depth: usize,
    /// Operators and calls of one filter or expression.
    pub max_filter_terms: usize,
    /// Values of one list in a filter.
    pub max_filter_list: usize,
    /// Bytes of one pattern of LIKE or of a regular expression.
    pub max_pattern_bytes: usize,
    /// Bytes that one query may keep while it sorts, aggregates or joins.
    pub max_query_memory: usize,
    /// Bytes of Arrow data that one Import may carry.
    pub max_import_bytes: u64,
}

/// How the server stops.
#[derive(Debug, Clone, Copy)]
pub struct Shutdown {
    /// After NOT_SERVING, before connections are asked to go away.
    pub grace: Duration,
    /// After that, before what is still running is cut off.
    pub drain: Duration,
}

/// One connection: a LanceDB location with its own storage options.
#[derive(Debug, Clone)]
pub struct Location {
    /// Unique among the connections.
    pub name: String,
    /// A path, or a file, s3, s3+ddb, gs or az URI.
    pub uri: String,
    /// Who brings data there. The primary's is `Managed`, and says nothing.
    pub mode: ReplicaMode,
    /// Whether clients' reads go there.
    pub in_rotation: bool,
    /// Its share of the reads, against the others'; at least 1.
    pub weight: u32,
    /// Where it is, for [`Balance::zone`].
    pub zone: Option<String>,
    /// Passed to the object store; the values may be secrets.
    pub storage_options: BTreeMap<String, SecretString>,
    /// The files that some of them were read from, by the option, to be read again.
    pub option_files: BTreeMap<String, PathBuf>,
}

/// How connections are watched.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    pub probe_interval: Duration,
    pub probe_timeout: Duration,
    /// Failures in a row that take a connection out.
    pub failure_threshold: u32,
}

/// What the log looks like.
#[derive(Debug, Clone)]
pub struct Logging {
    pub format: LogFormat,
    /// A `tracing` filter, such as `info` or `lancegate=debug,lance=warn`.
    pub filter: String,
}

/// One of the shapes of the log.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    Json,
    Pretty,
}

/// What is measured.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Tables with a label of their own; the others share `_other`.
    pub max_table_labels: usize,
    /// The file with what /metrics and /health/deep ask for, and what it had.
    pub bearer_token: Option<SecretFile>,
}

/// A file with a secret.
#[derive(Debug, Clone)]
pub struct SecretFile {
    pub path: PathBuf,
    pub secret: SecretString,
}
