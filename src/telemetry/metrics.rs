//! Every metric of this server: its name, what it means, its buckets. Nothing
//! is measured under a name that is not here.

mod config;
mod disk;
mod grpc;
mod handles;
mod labels;
mod load;
mod record;
mod recorder;
mod rollup;
mod transport;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub use config::{config_loaded, config_reloaded};
pub use disk::disk_cache_pages;
pub use grpc::{Call, code_name, method};
pub use load::{
    access_refused, answer_bytes, audit_failed, audited, concurrency_limit, queue_waited,
    quota_refused, request_shed, requests_in_flight, requests_queued,
};
pub use record::{
    attempt, cache_bytes, connection_share, connection_state, copy_finished, ejected, file_copied,
    freshness_waited, hedged, nodes, prune_failed, pruned, read_finished, replica_diverged,
    replication_lag, retried, routed, search_finished, shadow_read, shadow_took, table_gone,
    table_rows, version_published, write_repeated,
};
pub use recorder::{MetricsError, Recorder, install};
pub use transport::{
    certificate_expiry, certificates_loaded, connection_cut, connection_refused, connections_open,
};

/// Upper bounds of every histogram of durations, in seconds: those of
/// Prometheus' own clients, with 1 ms and 2.5 ms below and 30 s above.
pub const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Label of the tables beyond the bound, all together.
pub const OTHER_TABLES: &str = "_other";

/// Label of calls to methods that do not exist.
pub const UNKNOWN_METHOD: &str = "unknown";

// The standard set of gRPC servers.
pub(crate) const GRPC_STARTED: &str = "grpc_server_started_total";
pub(crate) const GRPC_HANDLED: &str = "grpc_server_handled_total";
pub(crate) const GRPC_SECONDS: &str = "grpc_server_handling_seconds";

// Searches, under the names that LanceDB's tutorial uses.
pub(crate) const SEARCHES: &str = "lancedb_search_requests_total";
pub(crate) const SEARCH_SECONDS: &str = "lancedb_search_latency_seconds";
pub(crate) const REPEATED_WRITES: &str = "lancegate_repeated_writes_total";
pub(crate) const DISK_CACHE_PAGES: &str = "lancegate_disk_cache_pages_total";
pub(crate) const TABLE_ROWS: &str = "lancedb_table_rows";

// Routing and connections.
pub(crate) const ROUTED: &str = "lancegate_routed_total";
pub(crate) const READS: &str = "lancegate_connection_reads_total";
pub(crate) const READ_SECONDS: &str = "lancegate_connection_read_seconds";
pub(crate) const FRESHNESS_WAITS: &str = "lancegate_freshness_waits_total";
pub(crate) const FRESHNESS_WAIT_SECONDS: &str = "lancegate_freshness_wait_seconds";
pub(crate) const CONNECTION_UP: &str = "lancegate_connection_up";
pub(crate) const NODES: &str = "lancegate_nodes";

// Shadow reads.
pub(crate) const SHADOW_READS: &str = "lancegate_shadow_reads_total";
pub(crate) const SHADOW_SECONDS: &str = "lancegate_shadow_read_seconds";
pub(crate) const SHADOWED_SECONDS: &str = "lancegate_shadowed_read_seconds";

// What hides a fault.
pub(crate) const ATTEMPTS: &str = "lancegate_read_attempts_total";
pub(crate) const RETRIES: &str = "lancegate_read_retries_total";
pub(crate) const HEDGES: &str = "lancegate_read_hedges_total";
pub(crate) const EJECTIONS: &str = "lancegate_ejections_total";
pub(crate) const SHARE: &str = "lancegate_connection_share";

// Replication.
pub(crate) const LAG_VERSIONS: &str = "lancegate_replication_lag_versions";
pub(crate) const LAG_SECONDS: &str = "lancegate_replication_lag_seconds";
pub(crate) const COPIES: &str = "lancegate_copies_total";
pub(crate) const COPIED_FILES: &str = "lancegate_copied_files_total";
pub(crate) const COPIED_BYTES: &str = "lancegate_copied_bytes_total";
pub(crate) const COPY_SECONDS: &str = "lancegate_copy_seconds";
pub(crate) const DIVERGED: &str = "lancegate_replica_diverged";
pub(crate) const PUBLISHED: &str = "lancegate_versions_published_total";
pub(crate) const PRUNED_VERSIONS: &str = "lancegate_pruned_versions_total";
pub(crate) const PRUNED_BYTES: &str = "lancegate_pruned_bytes_total";
pub(crate) const PRUNE_ERRORS: &str = "lancegate_prune_errors_total";

// The server itself.
pub(crate) const CACHE_BYTES: &str = "lancegate_cache_bytes";
pub(crate) const ANSWER_BYTES: &str = "lancegate_answer_bytes";
pub(crate) const CONCURRENCY_LIMIT: &str = "lancegate_concurrency_limit";
pub(crate) const QUEUED: &str = "lancegate_requests_queued";
pub(crate) const QUEUE_SECONDS: &str = "lancegate_queue_wait_seconds";
pub(crate) const IN_FLIGHT: &str = "lancegate_requests_in_flight";
pub(crate) const REFUSED: &str = "lancegate_access_refused_total";
pub(crate) const SHED: &str = "lancegate_requests_shed_total";
pub(crate) const CONNECTIONS_OPEN: &str = "lancegate_open_connections";
pub(crate) const CONNECTIONS_REFUSED: &str = "lancegate_connections_refused_total";
pub(crate) const CONNECTIONS_CUT: &str = "lancegate_connections_cut_total";
pub(crate) const CERTIFICATE_EXPIRY: &str = "lancegate_certificate_expiry_timestamp_seconds";
pub(crate) const CERTIFICATE_LOADS: &str = "lancegate_certificate_loads_total";
pub(crate) const QUOTA_REFUSALS: &str = "lancegate_quota_refusals_total";
pub(crate) const AUDIT_LINES: &str = "lancegate_audit_lines_total";
pub(crate) const AUDIT_ERRORS: &str = "lancegate_audit_errors_total";
pub(crate) const CONFIG_RELOADS: &str = "lancegate_config_reloads_total";
pub(crate) const CONFIG_GOOD: &str = "lancegate_config_last_reload_successful";
pub(crate) const CONFIG_TIME: &str = "lancegate_config_last_reload_success_timestamp_seconds";
pub(crate) const BUILD_INFO: &str = "lancegate_build_info";

/// Says what each metric means. Called once, when the recorder is installed.
fn describe() {
    describe_grpc();
    describe_routing();
    describe_attempts();
    describe_replication();
    describe_store();
    describe_gauge!(
        CACHE_BYTES,
        Unit::Bytes,
        "Bytes held by a cache of LanceDB."
    );
    describe_admission();
    transport::describe();
    disk::describe();
    describe_gauge!(BUILD_INFO, "Always 1; the labels say what runs.");
}

fn describe_admission() {
    describe_gauge!(IN_FLIGHT, "Requests being worked on.");
    describe_gauge!(
        CONCURRENCY_LIMIT,
        "Reads that may be worked on at once, as found by how long they take."
    );
    describe_gauge!(QUEUED, "Requests that wait to be worked on.");
    describe_histogram!(
        QUEUE_SECONDS,
        Unit::Seconds,
        "Time that requests waited which could not begin at once."
    );
    describe_counter!(
        SHED,
        "Requests refused by the load, by reason: queue_full, too_long, waited, deadline, answer_bytes or arriving."
    );
    describe_counter!(
        REFUSED,
        "Requests refused because of who asks, by reason: missing_credentials, malformed_credentials, unknown_key, expired, invalid_token, method, table or rows."
    );
    describe_counter!(
        QUOTA_REFUSALS,
        "Requests refused because whoever asked had used up a quota, by its name."
    );
    describe_counter!(AUDIT_LINES, "Lines written to the audit log.");
    describe_counter!(
        AUDIT_ERRORS,
        "Lines of the audit log that were lost, by what was wrong: queue_full, write, or closed."
    );
    describe_gauge!(
        ANSWER_BYTES,
        Unit::Bytes,
        "Memory that is set aside for answers being made or sent."
    );
    describe_counter!(
        CONFIG_RELOADS,
        "Times that the configuration was read again, by what became of it: applied, unchanged, invalid or needs_restart."
    );
    describe_gauge!(
        CONFIG_GOOD,
        "1 if the configuration could be used when it was read last, 0 if not."
    );
    describe_gauge!(
        CONFIG_TIME,
        Unit::Seconds,
        "When a configuration that could be used was read last, since 1970."
    );
}

fn describe_grpc() {
    describe_counter!(GRPC_STARTED, "RPCs started on the server.");
    describe_counter!(
        GRPC_HANDLED,
        "RPCs completed on the server, by the code that the client was sent."
    );
    describe_histogram!(
        GRPC_SECONDS,
        Unit::Seconds,
        "Time from the arrival of an RPC to the end of its answer."
    );
    describe_counter!(SEARCHES, "Searches answered, by table and outcome.");
    describe_histogram!(
        SEARCH_SECONDS,
        Unit::Seconds,
        "Time that a search took, by table."
    );
    describe_gauge!(TABLE_ROWS, "Rows of a table on the primary.");
    describe_counter!(
        REPEATED_WRITES,
        "Writes under a request id that was used before: answered with the first result, or refused because they ask for something else."
    );
}

fn describe_routing() {
    describe_counter!(
        ROUTED,
        "Requests sent to a connection, by the policy that chose it."
    );
    describe_counter!(READS, "Reads that a connection finished, by outcome.");
    describe_histogram!(
        READ_SECONDS,
        Unit::Seconds,
        "Time that a connection took to answer a read."
    );
    describe_counter!(
        FRESHNESS_WAITS,
        "Reads that found no replica fresh enough at first, by what became of them: fresh, spilled or failed."
    );
    describe_histogram!(
        FRESHNESS_WAIT_SECONDS,
        Unit::Seconds,
        "Time that such reads waited."
    );
    describe_counter!(
        SHADOW_READS,
        "Searches run a second time, by outcome: same, order, rows, distance, error or skipped."
    );
    describe_histogram!(
        SHADOW_SECONDS,
        Unit::Seconds,
        "Time that shadow reads took which were compared."
    );
    describe_histogram!(
        SHADOWED_SECONDS,
        Unit::Seconds,
        "Time that the clients' reads took with which they were compared."
    );
    describe_gauge!(CONNECTION_UP, "1 if a connection can be used, 0 if not.");
    describe_gauge!(
        NODES,
        "Other nodes behind a connection of the configuration, by state: connecting, up or down."
    );
}

fn describe_attempts() {
    describe_counter!(
        ATTEMPTS,
        "Attempts at reads: the first ones, retries and hedges."
    );
    describe_counter!(
        RETRIES,
        "Reads that failed and might have been retried, by what became of them: answered, given_up (attempts or time used up), nobody_left or no_budget."
    );
    describe_counter!(
        HEDGES,
        "Slow reads that might have been sent twice, by what became of the second one: won, lost or no_budget."
    );
    describe_counter!(EJECTIONS, "Ejections of a connection, by reason.");
    describe_gauge!(
        SHARE,
        "How much of its share of the reads a connection gets: 1 in rotation, less while it starts slowly, 0 out of it."
    );
}

fn describe_replication() {
    describe_gauge!(
        LAG_VERSIONS,
        "How many versions a table of a connection is behind the primary."
    );
    describe_gauge!(
        LAG_SECONDS,
        Unit::Seconds,
        "For how long the primary has been ahead of a table of a connection."
    );
    describe_counter!(
        COPIES,
        "Copies of a table version to a connection, by outcome."
    );
    describe_counter!(COPIED_FILES, "Files copied to a connection.");
    describe_counter!(COPIED_BYTES, Unit::Bytes, "Bytes copied to a connection.");
    describe_histogram!(
        COPY_SECONDS,
        Unit::Seconds,
        "Time that the copy of a table version took."
    );
    describe_gauge!(
        DIVERGED,
        "Tables of a replica whose copy is not the primary's: served no more until rebuilt."
    );
    describe_counter!(PUBLISHED, "Table versions made visible on a connection.");
    describe_counter!(
        PRUNED_VERSIONS,
        "Old table versions deleted from a connection."
    );
    describe_counter!(
        PRUNED_BYTES,
        Unit::Bytes,
        "Bytes that were deleted from a connection with old table versions."
    );
    describe_counter!(
        PRUNE_ERRORS,
        "Times that old versions of a table could not be deleted from a connection."
    );
}

/// What Lance itself counts through the same facade, under its own names.
fn describe_store() {
    describe_counter!(
        "lance_object_store_requests_total",
        "Requests to an object store, by operation."
    );
    describe_counter!(
        "lance_object_store_request_bytes_total",
        Unit::Bytes,
        "Bytes read from and written to an object store, by operation."
    );
    describe_histogram!(
        "lance_object_store_request_duration_seconds",
        Unit::Seconds,
        "Time that a request to an object store took, by operation."
    );
    describe_counter!(
        "lance_object_store_errors_total",
        "Requests to an object store that failed, by operation."
    );
    describe_counter!(
        "lance_object_store_throttle_total",
        "Answers of an object store that asked to slow down, by HTTP status."
    );
    describe_counter!(
        "lance_object_store_retryable_responses_total",
        "Answers of an object store that may be retried, by HTTP status."
    );
    describe_gauge!(
        "lance_object_store_in_flight_requests",
        "Requests to an object store being waited for, by operation."
    );
}
