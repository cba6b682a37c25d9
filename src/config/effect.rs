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
    "limits.default_page_size",
    "limits.max_concurrent_requests",
    "limits.max_deadline",
    "limits.max_filter_bytes",
    "limits.max_filter_depth",
    "limits.max_import_bytes",
    "limits.max_limit",
    "limits.max_page_size",
    "limits.max_query_vectors",
    "limits.max_request_bytes",
    "limits.max_response_bytes",
    "limits.max_vector_dimension",
    "logging.filter",
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
    "replicas[].weight",
    "replicas[].zone",
    "retries.budget_percent",
    "retries.max_attempts",
    "retries.min_per_second",
    "sessions.default_ttl",
    "sessions.max_open",
    "sessions.max_ttl",
    "shutdown.drain",
    "shutdown.grace",
];

/// All others, which only the test must know: what is built once, such as sockets,
/// caches, connections and what copies between them.
#[cfg(test)]
const RESTART: &[&str] = &[
    "admission.max_answer_bytes",
    "cache.index_bytes",
    "cache.metadata_bytes",
    "logging.format",
    "metrics.max_table_labels",
    "nodes.channels_per_node",
    "nodes.connect_timeout",
    "nodes.deadline_margin",
    "nodes.keepalive_interval",
    "nodes.keepalive_timeout",
    "nodes.resolve_interval",
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
    "server.grpc_address",
    "server.http_address",
    "server.reflection",
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
