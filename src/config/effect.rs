//! Which keys of the configuration take effect while the server runs, and which
//! need a restart. Every key is in exactly one of the two lists.

/// When a changed key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// With a reload, for whatever begins after it.
    Live,
    /// With the next start. A reload that changes such a key is refused.
    Restart,
}

/// What is read anew by each request or round, or handed on by a reload.
const LIVE: &[&str] = &[
    "access.allow_explain",
    "access.allow_reflection",
    "access.bindings[].hidden_columns[]",
    "access.bindings[].principals[]",
    "access.bindings[].role",
    "access.bindings[].rows",
    "access.bindings[].tables[]",
    "admission.adaptive",
    "admission.initial_concurrent_requests",
    "admission.latency_tolerance",
    "admission.max_queued",
    "admission.max_wait",
    "admission.min_concurrent_requests",
    "admission.newest_first_after",
    "balance.policy",
    "balance.zone",
    "freshness.default",
    "freshness.max_spilled_reads",
    "freshness.spill_to_primary",
    "freshness.tables.*",
    "freshness.wait",
    "health.failure_threshold",
    "health.probe_interval",
    "health.probe_timeout",
    "hedging.budget_percent",
    "hedging.delay",
    "hedging.enabled",
    "limits.allowed_functions[]",
    "limits.default_page_size",
    "limits.first_request_timeout",
    "limits.max_concurrent_requests",
    "limits.max_connections",
    "limits.max_connections_per_client",
    "limits.max_deadline",
    "limits.max_filter_bytes",
    "limits.max_filter_depth",
    "limits.max_filter_list",
    "limits.max_filter_terms",
    "limits.max_header_bytes",
    "limits.max_import_bytes",
    "limits.max_limit",
    "limits.max_page_size",
    "limits.max_pattern_bytes",
    "limits.max_query_memory",
    "limits.max_query_vectors",
    "limits.max_request_bytes",
    "limits.max_response_bytes",
    "limits.max_streams_per_connection",
    "limits.max_vector_dimension",
    "limits.stall_timeout",
    "logging.filter",
    "metrics.bearer_token_file",
    "nodes.api_key",
    "nodes.api_key_file",
    "outlier.consecutive_failures",
    "outlier.ejection",
    "outlier.enabled",
    "outlier.failure_percent",
    "outlier.interval",
    "outlier.latency_factor",
    "outlier.max_ejected_percent",
    "outlier.max_ejection",
    "outlier.min_latency",
    "outlier.min_requests",
    "outlier.slow_start",
    "quotas.burst",
    "quotas.max_answer_bytes",
    "quotas.max_concurrent_requests",
    "quotas.max_identities",
    "quotas.max_request_bytes",
    "quotas.max_rows",
    "quotas.principals.*.burst",
    "quotas.principals.*.max_answer_bytes",
    "quotas.principals.*.max_concurrent_requests",
    "quotas.principals.*.max_request_bytes",
    "quotas.principals.*.max_rows",
    "quotas.principals.*.requests_per_second",
    "quotas.principals.*.rows_per_write",
    "quotas.requests_per_second",
    "quotas.rows_per_write",
    "replicas[].weight",
    "replicas[].zone",
    "retries.budget_percent",
    "retries.max_attempts",
    "retries.min_per_second",
    "sessions.default_ttl",
    "sessions.max_open",
    "sessions.max_per_principal",
    "sessions.max_ttl",
    "shutdown.drain",
    "shutdown.grace",
];

/// All others, which only the test must know: what is built once, such as sockets,
/// caches, connections and what copies between them.
#[cfg(test)]
const RESTART: &[&str] = &[
    "access.api_keys_file",
    "access.enabled",
    "access.jwt.algorithms[]",
    "access.jwt.audience",
    "access.jwt.issuer",
    "access.jwt.jwks_file",
    "access.jwt.jwks_url",
    "access.jwt.leeway",
    "access.jwt.name_claim",
    "access.jwt.refresh_interval",
    "access.jwt.roles_claim",
    "access.jwt.row_claims[]",
    "access.reload_interval",
    "admission.max_answer_bytes",
    "audit.folder",
    "audit.max_files",
    "audit.required",
    "audit.rotation",
    "audit.sync",
    "audit.to",
    "cache.disk_bytes",
    "cache.disk_folder",
    "cache.index_bytes",
    "cache.metadata_bytes",
    "logging.format",
    "metrics.max_table_labels",
    "nodes.channels_per_node",
    "nodes.connect_timeout",
    "nodes.deadline_margin",
    "nodes.enforce_access",
    "nodes.keepalive_interval",
    "nodes.keepalive_timeout",
    "nodes.resolve_interval",
    "nodes.tls.ca_file",
    "nodes.tls.cert_file",
    "nodes.tls.key_file",
    "nodes.tls.reload_interval",
    "nodes.tls.server_name",
    "primary.name",
    "primary.storage_options.*",
    "primary.uri",
    "replicas[].in_rotation",
    "replicas[].mode",
    "replicas[].name",
    "replicas[].storage_options.*",
    "replicas[].uri",
    "replication.delete_grace",
    "replication.enabled",
    "replication.lease",
    "replication.lease_ttl",
    "replication.max_bytes_per_second",
    "replication.max_versions_behind",
    "replication.on_divergence",
    "replication.parallel_copies",
    "replication.poll_interval",
    "replication.verify",
    "replication.warm_timeout",
    "retention.enabled",
    "retention.interval",
    "retention.max_age",
    "retention.min_versions",
    "retention.tables.*.max_age",
    "retention.tables.*.min_versions",
    "server.allow_plaintext",
    "server.allow_unauthenticated",
    "server.grpc_address",
    "server.http_address",
    "server.http_tls.cert_file",
    "server.http_tls.client_auth",
    "server.http_tls.client_ca_file",
    "server.http_tls.key_file",
    "server.http_tls.reload_interval",
    "server.reflection",
    "server.tls.cert_file",
    "server.tls.client_auth",
    "server.tls.client_ca_file",
    "server.tls.key_file",
    "server.tls.reload_interval",
    "shadow.connection",
    "shadow.max_in_flight",
    "shadow.share",
    "shadow.timeout",
    "shadow.tolerance",
    "writes.max_request_ids",
    "writes.request_id_ttl",
];

/// When a key takes effect: `[]` stands for the number of an element and `*` for
/// a name that is not the schema's. What is in no list needs a restart.
pub(super) fn effect(pattern: &str) -> Effect {
    match LIVE.contains(&pattern) {
        true => Effect::Live,
        false => Effect::Restart,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::schema;

    /// Every key of the schema that has no keys below it.
    fn keys(node: &Value, key: String, found: &mut Vec<String>) {
        let dot = if key.is_empty() { "" } else { "." };
        if let Some(items) = node.get("items") {
            return keys(items, format!("{key}[]"), found);
        }
        let properties = node.get("properties").and_then(Value::as_object);
        let any = node.get("additionalProperties").filter(|n| n.is_object());
        if properties.is_none() && any.is_none() {
            return found.push(key);
        }
        for (name, child) in properties.into_iter().flatten() {
            keys(child, format!("{key}{dot}{name}"), found);
        }
        if let Some(any) = any {
            keys(any, format!("{key}{dot}*"), found);
        }
    }

    #[test]
    fn every_key_is_in_exactly_one_list() {
        let mut all = Vec::new();
        keys(&schema(), String::new(), &mut all);
        assert!(all.len() > 50, "{all:?}");
        for key in &all {
            let lists = LIVE.iter().chain(RESTART).filter(|k| *k == key).count();
            assert_eq!(
                lists, 1,
                "{key} must be in one of the lists of src/config/effect.rs: does a running server \
                 heed a change of it?"
            );
        }
        let unknown: Vec<_> = LIVE
            .iter()
            .chain(RESTART)
            .filter(|k| !all.iter().any(|key| key == *k))
            .collect();
        assert!(unknown.is_empty(), "the schema has no {unknown:?}");
    }

    #[test]
    fn what_nobody_listed_needs_a_restart() {
        assert_eq!(effect("limits.max_limit"), Effect::Live);
        assert_eq!(effect("server.grpc_address"), Effect::Restart);
        assert_eq!(effect("no.such.key"), Effect::Restart);
    }
}
