//! What the gate is about: how many requests are worked on and wait, and how many
//! were refused.

use std::{sync::OnceLock, time::Duration};

use metrics::{Gauge, Histogram, counter, gauge, histogram};

use super::{
    ANSWER_BYTES, AUDIT_ERRORS, AUDIT_LINES, CONCURRENCY_LIMIT, IN_FLIGHT, QUEUE_SECONDS, QUEUED,
    QUOTA_REFUSALS, REFUSED, SHED, handles::Outcomes,
};

static LOAD: OnceLock<Load> = OnceLock::new();

struct Load {
    in_flight: Gauge,
    limit: Gauge,
    queued: Gauge,
    queue_seconds: Histogram,
    answer_bytes: Gauge,
    shed: Outcomes,
    refused: Outcomes,
}

impl Load {
    fn new() -> Self {
        for why in [
            "queue_full",
            "too_long",
            "waited",
            "deadline",
            "answer_bytes",
            "arriving",
        ] {
            counter!(SHED, "reason" => why).increment(0);
        }
        for why in [
            "missing_credentials",
            "malformed_credentials",
            "unknown_key",
            "expired",
            "invalid_token",
            "method",
            "table",
            "rows",
        ] {
            counter!(REFUSED, "reason" => why).increment(0);
        }
        for why in ["queue_full", "write", "closed"] {
            counter!(AUDIT_ERRORS, "reason" => why).increment(0);
        }
        counter!(AUDIT_LINES).increment(0);
        let load = Self {
            in_flight: gauge!(IN_FLIGHT),
            limit: gauge!(CONCURRENCY_LIMIT),
            queued: gauge!(QUEUED),
            queue_seconds: histogram!(QUEUE_SECONDS),
            answer_bytes: gauge!(ANSWER_BYTES),
            shed: Outcomes::new(|why| counter!(SHED, "reason" => why)),
            refused: Outcomes::new(|why| counter!(REFUSED, "reason" => why)),
        };
        for gauge in [&load.in_flight, &load.queued, &load.answer_bytes] {
            gauge.set(0.0);
        }
        load
    }
}

/// Creates the series. The recorder must be there.
pub(super) fn start() {
    LOAD.get_or_init(Load::new);
}

/// How many requests are being worked on.
pub fn requests_in_flight(n: usize) {
    if let Some(load) = LOAD.get() {
        load.in_flight.set(n as f64);
    }
}

/// How many reads may be worked on at once.
pub fn concurrency_limit(n: usize) {
    if let Some(load) = LOAD.get() {
        load.limit.set(n as f64);
    }
}

/// How many requests wait to begin.
pub fn requests_queued(n: usize) {
    if let Some(load) = LOAD.get() {
        load.queued.set(n as f64);
    }
}

/// A request that could not begin at once waited this long, whatever came of it.
pub fn queue_waited(time: Duration) {
    if let Some(load) = LOAD.get() {
        load.queue_seconds.record(time);
    }
}

/// How much memory is set aside for answers.
pub fn answer_bytes(bytes: usize) {
    if let Some(load) = LOAD.get() {
        load.answer_bytes.set(bytes as f64);
    }
}

/// A request was refused because of who asks: `reason` says of what.
pub fn access_refused(reason: &'static str) {
    if let Some(load) = LOAD.get() {
        load.refused.count(reason);
    }
}

/// A request was refused because of the load: `reason` says of what.
pub fn request_shed(reason: &'static str) {
    if let Some(load) = LOAD.get() {
        load.shed.count(reason);
    }
}

/// A request was refused because whoever asked had used up the quota of this name.
pub fn quota_refused(quota: &'static str) {
    counter!(QUOTA_REFUSALS, "quota" => quota).increment(1);
}

/// So many lines were written to the audit log.
pub fn audited(lines: usize) {
    counter!(AUDIT_LINES).increment(lines as u64);
}

/// So many lines of the audit log were lost.
pub fn audit_failed(reason: &'static str, lines: usize) {
    counter!(AUDIT_ERRORS, "reason" => reason).increment(lines as u64);
}
