//! What the rest of the server calls when something happened. Each function is
//! a few atomic operations; before [`super::install`] it does nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use metrics::{Histogram, counter, gauge, histogram};

use super::{
    ATTEMPTS, CACHE_BYTES, CONNECTION_UP, COPIED_BYTES, COPIED_FILES, COPIES, COPY_SECONDS,
    DIVERGED, EJECTIONS, FRESHNESS_WAIT_SECONDS, FRESHNESS_WAITS, HEDGES, NODES, PRUNE_ERRORS,
    PRUNED_BYTES, PRUNED_VERSIONS, PUBLISHED, READ_SECONDS, READS, REPEATED_WRITES, RETRIES,
    ROUTED, SHADOW_READS, SHADOW_SECONDS, SHADOWED_SECONDS, SHARE,
    handles::{ByName, Outcomes},
    labels::{Place, Tables},
    rollup::{Largest, Sum},
};

static STATE: OnceLock<State> = OnceLock::new();

struct State {
    tables: Tables,
    connections: ByName<Connection>,
    other: Mutex<Other>,
    attempts: Outcomes,
    repeated: Outcomes,
}

/// The numbers of the tables that share a label.
#[derive(Default)]
struct Other {
    rows: Sum,
    /// Versions and seconds, by connection.
    lag: HashMap<String, (Largest, Largest)>,
}

/// The series of one connection. There are as many as the configuration names.
struct Connection {
    routed: Outcomes,
    reads: Outcomes,
    read_seconds: Histogram,
}

impl Connection {
    fn new(name: &str) -> Self {
        let by = |metric: &'static str, label: &'static str| {
            let name = name.to_owned();
            Outcomes::new(
                move |value| counter!(metric, "connection" => name.clone(), label => value),
            )
        };
        Self {
            routed: by(ROUTED, "policy"),
            reads: by(READS, "outcome"),
            read_seconds: histogram!(READ_SECONDS, "connection" => name.to_owned()),
        }
    }
}

impl State {
    fn connection(&self, name: &str) -> Option<Arc<Connection>> {
        self.connections
            .get_within(usize::MAX, name, || Connection::new(name))
    }

    fn other(&self) -> MutexGuard<'_, Other> {
        self.other.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates the series that have no label. The recorder must be there.
pub(super) fn start(max_table_labels: usize) {
    STATE.get_or_init(|| State {
        tables: Tables::new(max_table_labels),
        connections: ByName::new(),
        other: Mutex::default(),
        attempts: Outcomes::new(|kind| counter!(ATTEMPTS, "kind" => kind)),
        repeated: Outcomes::new(|value| counter!(REPEATED_WRITES, "outcome" => value)),
    });
}

/// A search was answered. `status` is `ok` or the name of the gRPC code.
pub fn search_finished(table: &str, status: &'static str, elapsed: Duration) {
    let Some(state) = STATE.get() else { return };
    // A name that no search found may be anything: it gets no label.
    let place = if status == "ok" {
        state.tables.existing(table)
    } else {
        state.tables.find(table)
    };
    let table = place.table();
    table.searches.count(status);
    table.search_seconds.record(elapsed);
}

/// A write came under a request id that was used before: `answered` or `refused`.
pub fn write_repeated(outcome: &'static str) {
    if let Some(state) = STATE.get() {
        state.repeated.count(outcome);
    }
}

/// How many rows a table of the primary has.
pub fn table_rows(table: &str, rows: u64) {
    let Some(state) = STATE.get() else { return };
    match state.tables.existing(table) {
        Place::Own(own) => own.rows().set(rows as f64),
        Place::Other(shared) => {
            let mut other = state.other();
            shared.rows().set(other.rows.set(table, rows) as f64);
        }
    }
}

/// A table of the primary was dropped.
pub fn table_gone(table: &str) {
    let Some(state) = STATE.get() else { return };
    let shared = match state.tables.find(table) {
        Place::Own(own) => return own.gone(),
        Place::Other(shared) => shared,
    };
    let mut other = state.other();
    shared.rows().set(other.rows.remove(table) as f64);
    for (connection, (versions, seconds)) in &mut other.lag {
        if let Some(lag) = shared.lag(connection) {
            lag.versions.set(versions.remove(table));
            lag.seconds.set(seconds.remove(table));
        }
    }
}

/// How far a table of a connection is behind the primary. The tables that share
/// a label show the largest lag among them.
pub fn replication_lag(connection: &str, table: &str, versions: u64, age: Duration) {
    let Some(state) = STATE.get() else { return };
    let (versions, seconds) = (versions as f64, age.as_secs_f64());
    match state.tables.existing(table) {
        Place::Own(own) => {
            if let Some(lag) = own.lag(connection) {
                lag.versions.set(versions);
                lag.seconds.set(seconds);
            }
        }
        Place::Other(shared) => {
            let mut other = state.other();
            let (by_versions, by_seconds) = other.lag.entry(connection.to_owned()).or_default();
            if let Some(lag) = shared.lag(connection) {
                lag.versions.set(by_versions.set(table, versions));
                lag.seconds.set(by_seconds.set(table, seconds));
            }
        }
    }
}

/// A request was sent to a connection, by the word of `Policy::as_str`.
pub fn routed(connection: &str, policy: &'static str) {
    if let Some(connection) = STATE.get().and_then(|s| s.connection(connection)) {
        connection.routed.count(policy);
    }
}

/// A connection answered a read, or failed to.
pub fn read_finished(connection: &str, ok: bool, elapsed: Duration) {
    if let Some(connection) = STATE.get().and_then(|s| s.connection(connection)) {
        connection.reads.count(if ok { "ok" } else { "error" });
        connection.read_seconds.record(elapsed);
    }
}

/// An attempt at a read begins: `first`, `retry` or `hedge`.
pub fn attempt(kind: &'static str) {
    if let Some(state) = STATE.get() {
        state.attempts.count(kind);
    }
}

/// A read failed on a connection, and was or was not tried elsewhere. `outcome` is
/// `answered`, `given_up`, `nobody_left` or `no_budget`.
pub fn retried(outcome: &'static str) {
    counter!(RETRIES, "outcome" => outcome).increment(1);
}

/// A read took long, and was or was not sent twice. `outcome` is `won`, `lost` or
/// `no_budget`.
pub fn hedged(outcome: &'static str) {
    counter!(HEDGES, "outcome" => outcome).increment(1);
}

/// A connection was ejected, by the word of `Why::as_str`.
pub fn ejected(connection: &str, why: &'static str) {
    counter!(EJECTIONS, "connection" => connection.to_owned(), "reason" => why).increment(1);
}

/// How much of its share of the reads a connection gets, in percent.
pub fn connection_share(connection: &str, percent: u32) {
    gauge!(SHARE, "connection" => connection.to_owned()).set(f64::from(percent) / 100.0);
}

/// A read that found no replica fresh enough at first went on. `outcome` is
/// `fresh`, `spilled` or `failed`.
pub fn freshness_waited(outcome: &'static str, elapsed: Duration) {
    counter!(FRESHNESS_WAITS, "outcome" => outcome).increment(1);
    histogram!(FRESHNESS_WAIT_SECONDS).record(elapsed);
}

/// A search was run a second time, or was to be. `outcome` is `same`, `order`,
/// `rows`, `distance`, `error` or `skipped`.
pub fn shadow_read(outcome: &'static str) {
    counter!(SHADOW_READS, "outcome" => outcome).increment(1);
}

/// A shadow read took this long, and the client's this.
pub fn shadow_took(shadow: Duration, client: Duration) {
    histogram!(SHADOW_SECONDS).record(shadow);
    histogram!(SHADOWED_SECONDS).record(client);
}

/// A connection was found usable, or not. `role` is the word of `Role::as_str`.
pub fn connection_state(connection: &str, role: &'static str, up: bool) {
    gauge!(CONNECTION_UP, "connection" => connection.to_owned(), "role" => role)
        .set(f64::from(u8::from(up)));
}

/// How many nodes there are behind a connection of the configuration in one state, by
/// the word of `ConnectionState::as_str`.
pub fn nodes(connection: &str, state: &'static str, count: usize) {
    gauge!(NODES, "connection" => connection.to_owned(), "state" => state).set(count as f64);
}

/// The copy of one table version ended.
pub fn copy_finished(connection: &str, ok: bool, elapsed: Duration) {
    let name = connection.to_owned();
    let outcome = if ok { "ok" } else { "error" };
    histogram!(COPY_SECONDS, "connection" => name.clone()).record(elapsed);
    counter!(COPIES, "connection" => name, "outcome" => outcome).increment(1);
}

/// A file was copied, also for a version whose copy did not succeed.
pub fn file_copied(connection: &str, bytes: u64) {
    let name = connection.to_owned();
    counter!(COPIED_FILES, "connection" => name.clone()).increment(1);
    counter!(COPIED_BYTES, "connection" => name).increment(bytes);
}

/// How many tables of a replica have a copy that is not the primary's.
pub fn replica_diverged(connection: &str, tables: usize) {
    gauge!(DIVERGED, "connection" => connection.to_owned()).set(tables as f64);
}

/// A replica began to serve a newer version of a table.
pub fn version_published(connection: &str) {
    counter!(PUBLISHED, "connection" => connection.to_owned()).increment(1);
}

/// Old versions of a table were deleted from a connection, or there were none.
pub fn pruned(connection: &str, versions: u64, bytes: u64) {
    let name = connection.to_owned();
    counter!(PRUNED_VERSIONS, "connection" => name.clone()).increment(versions);
    counter!(PRUNED_BYTES, "connection" => name.clone()).increment(bytes);
    counter!(PRUNE_ERRORS, "connection" => name).increment(0);
}

/// Old versions of a table could not be deleted from a connection.
pub fn prune_failed(connection: &str) {
    counter!(PRUNE_ERRORS, "connection" => connection.to_owned()).increment(1);
}

/// How large a cache of LanceDB is: `index` or `metadata`.
pub fn cache_bytes(cache: &'static str, bytes: u64) {
    gauge!(CACHE_BYTES, "cache" => cache).set(bytes as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        super::super::install(4).unwrap().render()
    }

    // The recorder is one per process: names in here are of this test alone.
    #[test]
    fn searches_count_under_the_names_of_the_tutorial() {
        super::super::install(4).unwrap();
        search_finished("record-a", "ok", Duration::from_millis(3));
        search_finished("record-a", "ok", Duration::from_millis(3));
        search_finished("record-a", "NotFound", Duration::from_millis(3));
        let text = text();
        for line in [
            "lancedb_search_requests_total{table=\"record-a\",status=\"ok\"} 2",
            "lancedb_search_requests_total{table=\"record-a\",status=\"NotFound\"} 1",
            "lancedb_search_latency_seconds_count{table=\"record-a\"} 3",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn routing_and_copies_are_counted_by_connection() {
        super::super::install(4).unwrap();
        routed("record-r", "round_robin");
        routed("record-r", "no_usable_replica");
        routed("record-r", "round_robin");
        read_finished("record-r", false, Duration::from_millis(1));
        connection_state("record-r", "replica", true);
        file_copied("record-r", 400);
        file_copied("record-r", 600);
        copy_finished("record-r", true, Duration::from_secs(1));
        replica_diverged("record-r", 2);
        version_published("record-r");
        pruned("record-r", 3, 5_000);
        prune_failed("record-r");
        let text = text();
        for line in [
            "lancegate_routed_total{connection=\"record-r\",policy=\"round_robin\"} 2",
            "lancegate_connection_reads_total{connection=\"record-r\",outcome=\"error\"} 1",
            "lancegate_connection_up{connection=\"record-r\",role=\"replica\"} 1",
            "lancegate_copied_bytes_total{connection=\"record-r\"} 1000",
            "lancegate_copied_files_total{connection=\"record-r\"} 2",
            "lancegate_copies_total{connection=\"record-r\",outcome=\"ok\"} 1",
            "lancegate_replica_diverged{connection=\"record-r\"} 2",
            "lancegate_versions_published_total{connection=\"record-r\"} 1",
            "lancegate_pruned_versions_total{connection=\"record-r\"} 3",
            "lancegate_pruned_bytes_total{connection=\"record-r\"} 5000",
            "lancegate_prune_errors_total{connection=\"record-r\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
