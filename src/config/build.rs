//! From what is written to what is meant: durations, sizes, addresses and what
//! they have to do with one another.

use std::{net::SocketAddr, path::Path, sync::Arc};

use tracing_subscriber::EnvFilter;

use super::{
    Config, Health, Limits, Logging, Metrics, Server, Shutdown,
    access::access,
    admission::admission,
    audit::audit,
    before_nodes::OfNodes,
    cache::cache,
    checks::{Zero, bytes, duration, secret_file},
    connections::{Connections, connections},
    exposure::exposure,
    fault::Faults,
    freshness::freshness,
    functions::Functions,
    nodes,
    pool::pool,
    quotas::quotas,
    raw::{self, Raw},
    replication::replication,
    retention::retention,
    sessions::sessions,
    shadow::shadow,
    sockets::sockets,
    tls::server_tls,
    units::ByteSize,
    writes::writes,
};

/// Largest gRPC message: its length prefix has 32 bits.
const LARGEST_MESSAGE: u64 = u32::MAX as u64;

/// Checks everything; faults are noted and checking goes on. `None` only where
/// a fault was noted.
pub(super) fn build_and_validate(
    raw: &Raw,
    data_dir: Option<&Path>,
    faults: &mut Faults,
) -> Option<Config> {
    let server = server(raw, faults);
    let limits = limits(&raw.limits, faults);
    let sockets = sockets(&raw.limits, faults);
    let functions = functions(&raw.limits.allowed_functions, faults);
    let quotas = quotas(&raw.quotas, faults);
    let audit = audit(&raw.audit, faults);
    let admission = admission(&raw.admission, &limits, faults);
    let shutdown = Shutdown {
        grace: duration(faults, "shutdown.grace", &raw.shutdown.grace, Zero::Allowed),
        drain: duration(faults, "shutdown.drain", &raw.shutdown.drain, Zero::Allowed),
    };
    let settings = nodes::settings(&raw.nodes, faults);
    let (tls, api_key) = nodes::trust(&raw.nodes, faults);
    let connections = connections(raw, data_dir, faults);
    let replication = replication(&raw.replication, faults);
    let retention = retention(&raw.retention, &replication, faults);
    let freshness = freshness(&raw.freshness, faults);
    let sessions = sessions(&raw.sessions, faults);
    let pool = pool(raw, faults);
    let writes = writes(&raw.writes, faults);
    let health = health(&raw.health, faults);
    let (cache, disk_cache) = cache(&raw.cache, faults);
    let logging = logging(&raw.logging, faults);
    let key = "metrics.bearer_token_file";
    let bearer_token = secret_file(faults, key, &raw.metrics.bearer_token_file);

    let Connections {
        primary,
        replicas,
        nodes,
    } = connections?;
    let has_nodes = !nodes.is_empty() || primary.location().is_none();
    let of_nodes = match (has_nodes, raw.nodes.enforce_access) {
        (false, _) => OfNodes::None,
        (true, false) => OfNodes::Unsaid,
        (true, true) => OfNodes::Enforced,
    };
    let access = access(&raw.access, of_nodes, faults);
    let here = replicas.iter().chain(primary.location());
    let named = here.map(|location| location.name.as_str());
    let named = named.chain(nodes.iter().map(|node| node.name.as_str()));
    let shadow = shadow(&raw.shadow, named.chain(primary.node_name()), faults);
    if retention.enabled && primary.location().is_none() {
        let problem =
            "needs a primary whose location this process opens: another node prunes its own";
        faults.push("retention.enabled", problem);
    }
    Some(Config {
        server: server?,
        limits,
        sockets,
        access,
        functions: Arc::new(functions?),
        quotas,
        admission,
        shutdown,
        primary,
        replicas,
        nodes: nodes::Nodes {
            replicas: nodes,
            settings,
            tls,
            api_key,
        },
        replication,
        retention,
        freshness,
        sessions,
        shadow,
        pool,
        writes,
        health,
        cache,
        disk_cache,
        logging,
        audit,
        metrics: Metrics {
            max_table_labels: raw.metrics.max_table_labels,
            bearer_token,
        },
    })
}

fn functions(written: &[String], faults: &mut Faults) -> Option<Functions> {
    let fault = |(i, problem): (usize, String)| {
        faults.push(format!("limits.allowed_functions[{i}]"), problem);
    };
    Functions::of(written).map_err(fault).ok()
}

fn server(all: &Raw, faults: &mut Faults) -> Option<Server> {
    let raw = &all.server;
    let tls = server_tls("server.tls", &raw.tls, faults);
    let http_tls = server_tls("server.http_tls", &raw.http_tls, faults);
    let grpc = faults.ok("server.grpc_address", address(&raw.grpc_address));
    let http = faults.ok("server.http_address", address(&raw.http_address));
    let (grpc_address, http_address) = (grpc?, http?);
    let one_takes_all = grpc_address.ip().is_unspecified() || http_address.ip().is_unspecified();
    let same_ip = grpc_address.ip() == http_address.ip() || one_takes_all;
    if grpc_address.port() != 0 && grpc_address.port() == http_address.port() && same_ip {
        faults.push(
            "server.http_address",
            "must differ from server.grpc_address",
        );
    }
    let ports = [
        (grpc_address, tls.as_ref()),
        (http_address, http_tls.as_ref()),
    ];
    exposure(ports, all, faults);
    Some(Server {
        grpc_address,
        http_address,
        reflection: raw.reflection,
        tls,
        http_tls,
        allow_plaintext: raw.allow_plaintext,
        allow_unauthenticated: raw.allow_unauthenticated,
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("'{text}' is no address: write an IP address and a port, such as 127.0.0.1:50051 or [::]:50051")
    })
}

fn limits(raw: &raw::Limits, faults: &mut Faults) -> Limits {
    let limits = Limits {
        max_concurrent_requests: raw.max_concurrent_requests,
        max_deadline: duration(
            faults,
            "limits.max_deadline",
            &raw.max_deadline,
            Zero::Refused,
        ),
        stall_timeout: duration(
            faults,
            "limits.stall_timeout",
            &raw.stall_timeout,
            Zero::Refused,
        ),
        max_request_bytes: message_bytes(
            faults,
            "limits.max_request_bytes",
            &raw.max_request_bytes,
        ),
        max_response_bytes: message_bytes(
            faults,
            "limits.max_response_bytes",
            &raw.max_response_bytes,
        ),
        max_limit: raw.max_limit,
        max_query_vectors: raw.max_query_vectors,
        max_vector_dimension: raw.max_vector_dimension,
        default_page_size: raw.default_page_size,
        max_page_size: raw.max_page_size,
        max_filter_bytes: bytes(
            faults,
            "limits.max_filter_bytes",
            &raw.max_filter_bytes,
            Zero::Refused,
        ),
        max_filter_depth: raw.max_filter_depth,
        max_filter_terms: raw.max_filter_terms,
        max_filter_list: raw.max_filter_list,
        max_pattern_bytes: bytes(
            faults,
            "limits.max_pattern_bytes",
            &raw.max_pattern_bytes,
            Zero::Refused,
        ),
        max_query_memory: bytes(
            faults,
            "limits.max_query_memory",
            &raw.max_query_memory,
            Zero::Refused,
        ),
        max_import_bytes: bytes(
            faults,
            "limits.max_import_bytes",
            &raw.max_import_bytes,
            Zero::Refused,
        ) as u64,
    };
    if limits.max_page_size < limits.default_page_size {
        let problem = format!(
            "must be at least limits.default_page_size ({})",
            limits.default_page_size
        );
        faults.push("limits.max_page_size", problem);
    }
    limits
}

fn health(raw: &raw::Health, faults: &mut Faults) -> Health {
    Health {
        probe_interval: duration(
            faults,
            "health.probe_interval",
            &raw.probe_interval,
            Zero::Refused,
        ),
        probe_timeout: duration(
            faults,
            "health.probe_timeout",
            &raw.probe_timeout,
            Zero::Refused,
        ),
        failure_threshold: raw.failure_threshold,
    }
}

fn logging(raw: &raw::Logging, faults: &mut Faults) -> Logging {
    if raw.filter.trim().is_empty() {
        faults.push(
            "logging.filter",
            "is empty: write a level, such as \"info\" or \"off\"",
        );
    } else if let Err(error) = EnvFilter::builder().parse(&raw.filter) {
        faults.push("logging.filter", format!("is no filter: {error}"));
    }
    Logging {
        format: raw.format,
        filter: raw.filter.clone(),
    }
}

fn message_bytes(faults: &mut Faults, path: &str, size: &ByteSize) -> usize {
    let value = bytes(faults, path, size, Zero::Refused);
    if value as u64 > LARGEST_MESSAGE {
        faults.push(
            path,
            "must be below 4GiB, the most that a gRPC message can have",
        );
    }
    value
}
