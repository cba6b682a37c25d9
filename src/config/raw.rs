//! The configuration as it is written. The doc comments of this file are the
//! descriptions in `config.schema.json`, the defaults are here and nowhere else.

use std::{collections::BTreeMap, time::Duration};

use schemars::{JsonSchema, generate::SchemaSettings};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::{
    functions::default_functions,
    units::{ByteSize, DurationText},
};

mod access;
mod admission;
mod audit;
mod nodes;
mod pool;
mod process;
mod quotas;
mod replication;
mod retention;
mod sessions;
mod shadow;
mod tls;
mod writes;

pub(super) use access::{Access, Binding, Jwt};
pub(super) use admission::Admission;
pub(super) use audit::Audit;
pub(super) use nodes::Nodes;
pub(super) use pool::{Balance, Hedging, Outlier, Retries};
pub(super) use process::{Health, Logging, Metrics, Shutdown};
pub(super) use quotas::{PrincipalQuotas, Quotas};
pub(super) use replication::{Replica, Replication};
pub(super) use retention::{Retention, TableRetention};
pub(super) use sessions::Sessions;
pub(super) use shadow::Shadow;
pub(super) use tls::{NodeTls, ServerTls};
pub(super) use writes::Writes;

/// Configuration of a lancegate server. Unknown keys are errors. Every key can
/// also be set by an environment variable: LANCEGATE_, then the key in upper
/// case, with two underscores for each dot and for the index of a replica:
/// LANCEGATE_SERVER__GRPC_ADDRESS, LANCEGATE_REPLICAS__0__URI.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "lancegate.toml")]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub server: Server,
    pub limits: Limits,
    pub access: Access,
    pub quotas: Quotas,
    pub admission: Admission,
    pub shutdown: Shutdown,
    /// The connection that takes every write: a LanceDB location, or another
    /// lancegate node. With neither primary nor replicas given:
    /// ./lancegate-data/primary.
    #[schemars(with = "Location")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<Location>,
    /// The connections that answer reads, in turn. With none the primary does.
    /// With neither primary nor replicas given: ./lancegate-data/replica-1 and
    /// ./lancegate-data/replica-2.
    #[schemars(with = "Vec<Replica>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Vec<Replica>>,
    pub replication: Replication,
    pub retention: Retention,
    pub freshness: Freshness,
    pub sessions: Sessions,
    pub shadow: Shadow,
    pub balance: Balance,
    pub outlier: Outlier,
    pub retries: Retries,
    pub hedging: Hedging,
    pub nodes: Nodes,
    pub writes: Writes,
    pub health: Health,
    pub cache: Cache,
    pub logging: Logging,
    pub audit: Audit,
    pub metrics: Metrics,
}

/// Where the server listens.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Server {
    /// Address and port of gRPC: HTTP/2, in plaintext unless there is a certificate
    /// in [server.tls].
    pub grpc_address: String,
    /// Address and port of HTTP: /metrics, /livez, /readyz, /health, /ready and
    /// /health/deep.
    pub http_address: String,
    /// Whether the reflection services are there (grpcurl and others use them).
    pub reflection: bool,
    /// TLS of the gRPC port.
    pub tls: ServerTls,
    /// TLS of the HTTP port.
    pub http_tls: ServerTls,
    /// Whether gRPC and HTTP may be served in plaintext on an address that is not
    /// loopback: for a mesh or a private network that protects it.
    pub allow_plaintext: bool,
    /// Whether gRPC, and the metrics of the HTTP port, may be served to everybody on an
    /// address that is not loopback: for a mesh or a private network that knows who may
    /// call.
    pub allow_unauthenticated: bool,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            grpc_address: "127.0.0.1:50051".into(),
            http_address: "127.0.0.1:9464".into(),
            reflection: true,
            tls: ServerTls::default(),
            http_tls: ServerTls::default(),
            allow_plaintext: false,
            allow_unauthenticated: false,
        }
    }
}

/// What one request, or all of them together, may cost.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Requests being worked on at once, whatever [admission] finds. More wait, or
    /// are refused with RESOURCE_EXHAUSTED.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_concurrent_requests: usize,
    /// The longest deadline. Requests without a deadline get this one.
    pub max_deadline: DurationText,
    /// How long the message of a request may not come, and its answer not be read,
    /// before the request is ended. Streams that have begun may take their time.
    pub stall_timeout: DurationText,
    /// Bytes of one request message.
    pub max_request_bytes: ByteSize,
    /// Bytes of one answer message.
    pub max_response_bytes: ByteSize,
    /// Largest limit + offset of a search, and most keys of one Get.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub max_limit: usize,
    /// Most query vectors in one search.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_query_vectors: usize,
    /// Most elements of one vector.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub max_vector_dimension: usize,
    /// Page size where the request has none.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub default_page_size: usize,
    /// Largest page size; at least default_page_size.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub max_page_size: usize,
    /// Bytes of one filter or expression.
    pub max_filter_bytes: ByteSize,
    /// How deep a filter may nest.
    #[schemars(range(min = 1, max = 1_000))]
    pub max_filter_depth: usize,
    /// Operators and calls of one filter or expression.
    #[schemars(range(min = 1, max = 4_000))]
    pub max_filter_terms: usize,
    /// Values of one list in a filter, written down or bound.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_filter_list: usize,
    /// Bytes of one pattern of LIKE or of a regular expression.
    pub max_pattern_bytes: ByteSize,
    /// Functions that filters and expressions may call. "@safe" stands for all whose
    /// cost and whose answer are bounded by what they are given.
    pub allowed_functions: Vec<String>,
    /// Bytes that one read may keep while it sorts, aggregates or joins. One that
    /// needs more fails with RESOURCE_EXHAUSTED; nothing is written to a disk for it.
    pub max_query_memory: ByteSize,
    /// Bytes of Arrow data that one Import may carry.
    pub max_import_bytes: ByteSize,
    /// Connections to the gRPC port that are open at once. More are closed as they
    /// come.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: usize,
    /// The same for one client: an IPv4 address, or the first 64 bits of an IPv6
    /// address. Behind a proxy that hides addresses all are one client.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections_per_client: usize,
    /// Requests that run at once on one connection. A client waits with more.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_streams_per_connection: u32,
    /// Bytes of the headers (the metadata) of one request.
    pub max_header_bytes: ByteSize,
    /// For how long a connection may be there without a first request.
    pub first_request_timeout: DurationText,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_concurrent_requests: 256,
            max_deadline: Duration::from_secs(600).into(),
            stall_timeout: Duration::from_secs(30).into(),
            max_request_bytes: (64 << 20).into(),
            max_response_bytes: (64 << 20).into(),
            max_limit: 10_000,
            max_query_vectors: 1_000,
            max_vector_dimension: 65_536,
            default_page_size: 1_000,
            max_page_size: 10_000,
            max_filter_bytes: (64 << 10).into(),
            max_filter_depth: 64,
            max_filter_terms: 1_000,
            max_filter_list: 20_000,
            max_pattern_bytes: (1 << 10).into(),
            allowed_functions: default_functions(),
            max_query_memory: (1 << 30).into(),
            max_import_bytes: (64 << 30).into(),
            max_connections: 10_000,
            max_connections_per_client: 1_000,
            max_streams_per_connection: 1_000,
            max_header_bytes: (16 << 10).into(),
            first_request_timeout: Duration::from_secs(60).into(),
        }
    }
}

/// A LanceDB location.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Location {
    /// 1 to 63 of a-z, 0-9 and -. "primary", and "replica-1", "replica-2", ...
    /// in order, when left out.
    #[schemars(with = "String")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A path (relative to the working directory), or a file, s3, s3+ddb, gs or
    /// az URI; or grpc://host:port for another lancegate node.
    #[schemars(required, with = "String")]
    pub uri: Option<String>,
    /// Options of the object store, by the names that LanceDB knows. The values
    /// are treated as secrets. With "_file" after its name an option is read
    /// from that file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub storage_options: BTreeMap<String, StorageOption>,
}

/// The value of a storage option: text that is never written anywhere.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct StorageOption(#[schemars(with = "String")] pub SecretString);

impl StorageOption {
    fn is_empty(&self) -> bool {
        self.0.expose_secret().is_empty()
    }
}

impl Serialize for StorageOption {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

/// How old an answer may be. A read can say it itself; this is for those that do
/// not, and for what happens when no replica is fresh enough.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Freshness {
    /// "eventual": whatever the next replica in turn has. "strong": the primary's
    /// newest version. "max_age=5s": with everything that was committed until
    /// this long ago. "max_versions=3": at most this many versions behind.
    pub default: String,
    /// The same for single tables, by name.
    pub tables: BTreeMap<String, String>,
    /// The longest that a read waits for a replica that is fresh enough.
    pub wait: DurationText,
    /// Whether the primary answers when no replica was fresh enough in time. If
    /// not, the read is UNAVAILABLE.
    pub spill_to_primary: bool,
    /// How many such reads the primary answers at once. More are UNAVAILABLE.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_spilled_reads: usize,
}

impl Default for Freshness {
    fn default() -> Self {
        Freshness {
            default: "eventual".into(),
            tables: BTreeMap::new(),
            wait: Duration::from_secs(1).into(),
            spill_to_primary: true,
            max_spilled_reads: 32,
        }
    }
}

/// What is kept of the tables' files, for all connections together.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Cache {
    /// For parts of indexes. 0: none.
    pub index_bytes: ByteSize,
    /// For manifests and other metadata. 0: none.
    pub metadata_bytes: ByteSize,
    /// A folder on the local disk for what was read of object stores: each process has
    /// its own. Empty: none.
    pub disk_folder: String,
    /// The most that disk_folder takes.
    pub disk_bytes: ByteSize,
}

impl Default for Cache {
    fn default() -> Self {
        Cache {
            index_bytes: (1 << 30).into(),
            metadata_bytes: (256 << 20).into(),
            disk_folder: String::new(),
            disk_bytes: (10 << 30).into(),
        }
    }
}

/// The JSON schema of the configuration, without references so that it can be
/// walked along a key.
pub fn schema() -> serde_json::Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<Raw>()
        .to_value()
}
