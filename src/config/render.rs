//! The effective configuration as text that could be loaded again, but for the
//! secrets.

use std::collections::BTreeMap;

use super::{
    Config, Discovery, Location, NodeReplica, Primary, ReplicaMode, SecretFile, access::raw_access,
    freshness::raw_freshness, raw, shadow::raw_shadow, tls::raw_server_tls,
};

impl Config {
    /// The effective configuration as TOML. Values of `storage_options` are
    /// redacted.
    pub fn render(&self) -> String {
        // Only a map with keys that are no strings, or a value that is nothing,
        // cannot be TOML; there is neither.
        toml::to_string(&self.to_raw()).unwrap_or_default()
    }

    pub(super) fn to_raw(&self) -> raw::Raw {
        raw::Raw {
            server: raw::Server {
                grpc_address: self.server.grpc_address.to_string(),
                http_address: self.server.http_address.to_string(),
                reflection: self.server.reflection,
                tls: raw_server_tls(self.server.tls.as_ref()),
                http_tls: raw_server_tls(self.server.http_tls.as_ref()),
                allow_plaintext: self.server.allow_plaintext,
                allow_unauthenticated: self.server.allow_unauthenticated,
            },
            limits: self.raw_limits(),
            access: raw_access(self.access.as_ref()),
            quotas: self.quotas.to_raw(),
            admission: self.admission.to_raw(),
            shutdown: raw::Shutdown {
                grace: self.shutdown.grace.into(),
                drain: self.shutdown.drain.into(),
            },
            primary: Some(raw_primary(&self.primary)),
            replicas: Some(self.raw_replicas()),
            replication: self.replication.to_raw(),
            retention: self.retention.to_raw(),
            freshness: raw_freshness(&self.freshness),
            sessions: self.sessions.to_raw(),
            shadow: raw_shadow(self.shadow.as_ref()),
            nodes: self.nodes.to_raw(),
            balance: self.pool.raw_balance(),
            outlier: self.pool.raw_outlier(),
            retries: self.pool.raw_retries(),
            hedging: self.pool.raw_hedging(),
            writes: self.writes.to_raw(),
            health: raw::Health {
                probe_interval: self.health.probe_interval.into(),
                probe_timeout: self.health.probe_timeout.into(),
                failure_threshold: self.health.failure_threshold,
            },
            cache: self.cache.to_raw(self.disk_cache.as_ref()),
            logging: raw::Logging {
                format: self.logging.format,
                filter: self.logging.filter.clone(),
            },
            audit: self.audit.to_raw(),
            metrics: raw::Metrics {
                max_table_labels: self.metrics.max_table_labels,
                bearer_token_file: path_of(self.metrics.bearer_token.as_ref()),
            },
        }
    }

    fn raw_replicas(&self) -> Vec<raw::Replica> {
        let embedded = self.replicas.iter().map(raw_replica);
        embedded
            .chain(self.nodes.replicas.iter().map(raw_node))
            .collect()
    }

    fn raw_limits(&self) -> raw::Limits {
        let (limits, sockets) = (self.limits, self.sockets);
        raw::Limits {
            max_concurrent_requests: limits.max_concurrent_requests,
            max_deadline: limits.max_deadline.into(),
            stall_timeout: limits.stall_timeout.into(),
            max_request_bytes: (limits.max_request_bytes as u64).into(),
            max_response_bytes: (limits.max_response_bytes as u64).into(),
            max_limit: limits.max_limit,
            max_query_vectors: limits.max_query_vectors,
            max_vector_dimension: limits.max_vector_dimension,
            default_page_size: limits.default_page_size,
            max_page_size: limits.max_page_size,
            max_filter_bytes: (limits.max_filter_bytes as u64).into(),
            max_filter_depth: limits.max_filter_depth,
            max_filter_terms: limits.max_filter_terms,
            max_filter_list: limits.max_filter_list,
            max_pattern_bytes: (limits.max_pattern_bytes as u64).into(),
            allowed_functions: self.functions.written().to_vec(),
            max_query_memory: (limits.max_query_memory as u64).into(),
            max_import_bytes: limits.max_import_bytes.into(),
            max_connections: sockets.max_connections,
            max_connections_per_client: sockets.max_per_client,
            max_streams_per_connection: sockets.max_streams,
            max_header_bytes: u64::from(sockets.max_header_bytes).into(),
            first_request_timeout: sockets.first_request_timeout.into(),
        }
    }
}

fn raw_primary(primary: &Primary) -> raw::Location {
    match primary {
        Primary::Embedded(location) => raw_location(location),
        Primary::Node(node) => raw::Location {
            name: Some(node.name.clone()),
            uri: Some(Discovery::Static(node.address.clone()).to_uri(node.tls)),
            storage_options: BTreeMap::new(),
        },
    }
}

fn raw_node(node: &NodeReplica) -> raw::Replica {
    raw::Replica {
        name: Some(node.name.clone()),
        uri: Some(node.discovery.to_uri(node.tls)),
        mode: ReplicaMode::default(),
        in_rotation: node.in_rotation,
        weight: node.weight,
        zone: node.zone.clone().unwrap_or_default(),
        storage_options: BTreeMap::new(),
    }
}

fn raw_location(location: &Location) -> raw::Location {
    raw::Location {
        name: Some(location.name.clone()),
        uri: Some(location.uri.clone()),
        storage_options: raw_options(location),
    }
}

fn raw_replica(location: &Location) -> raw::Replica {
    raw::Replica {
        name: Some(location.name.clone()),
        uri: Some(location.uri.clone()),
        mode: location.mode,
        in_rotation: location.in_rotation,
        weight: location.weight,
        zone: location.zone.clone().unwrap_or_default(),
        storage_options: raw_options(location),
    }
}

fn raw_options(location: &Location) -> BTreeMap<String, raw::StorageOption> {
    let options = location.storage_options.iter();
    options
        .map(|(key, value)| (key.clone(), raw::StorageOption(value.clone())))
        .collect()
}

/// The file of a secret as it would be written.
pub(super) fn path_of(file: Option<&SecretFile>) -> String {
    file.map_or_else(String::new, |file| file.path.display().to_string())
}
