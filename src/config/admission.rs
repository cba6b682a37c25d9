//! What happens under more load than can be carried: the meaning of
//! `[admission]`.

use std::time::Duration;

use super::{
    Limits,
    checks::{Zero, bytes, duration},
    fault::Faults,
    raw,
};

/// Who may begin, who waits, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Admission {
    /// Whether the limit on reads follows how long they take.
    pub adaptive: bool,
    /// The least limit. One above `limits.max_concurrent_requests` is that.
    pub min_concurrent_requests: usize,
    /// The limit to begin with.
    pub initial_concurrent_requests: usize,
    /// How many times as long as by themselves reads may take.
    pub latency_tolerance: f64,
    /// Requests of one kind that may wait.
    pub max_queued: usize,
    /// For how long each of them may.
    pub max_wait: Duration,
    /// From when on the newest go too.
    pub newest_first_after: Duration,
    /// Memory of all answers together, in bytes.
    pub max_answer_bytes: usize,
}

/// Checks `[admission]`.
pub(super) fn admission(raw: &raw::Admission, limits: &Limits, faults: &mut Faults) -> Admission {
    let admission = Admission {
        adaptive: raw.adaptive,
        min_concurrent_requests: raw.min_concurrent_requests,
        initial_concurrent_requests: raw.initial_concurrent_requests,
        latency_tolerance: raw.latency_tolerance,
        max_queued: raw.max_queued,
        max_wait: duration(faults, "admission.max_wait", &raw.max_wait, Zero::Refused),
        newest_first_after: duration(
            faults,
            "admission.newest_first_after",
            &raw.newest_first_after,
            Zero::Allowed,
        ),
        max_answer_bytes: bytes(
            faults,
            "admission.max_answer_bytes",
            &raw.max_answer_bytes,
            Zero::Refused,
        ),
    };
    if raw.min_concurrent_requests > raw.initial_concurrent_requests {
        faults.push(
            "admission.min_concurrent_requests",
            "is more than admission.initial_concurrent_requests",
        );
    }
    // The rows of the largest answer, and what they are encoded to.
    if admission.max_answer_bytes / 2 < limits.max_response_bytes {
        faults.push(
            "admission.max_answer_bytes",
            "must be at least twice limits.max_response_bytes: the largest answer must fit",
        );
    }
    admission
}

impl Admission {
    /// As it would be written.
    pub(super) fn to_raw(self) -> raw::Admission {
        raw::Admission {
            adaptive: self.adaptive,
            min_concurrent_requests: self.min_concurrent_requests,
            initial_concurrent_requests: self.initial_concurrent_requests,
            latency_tolerance: self.latency_tolerance,
            max_queued: self.max_queued,
            max_wait: self.max_wait.into(),
            newest_first_after: self.newest_first_after.into(),
            max_answer_bytes: (self.max_answer_bytes as u64).into(),
        }
    }
}
