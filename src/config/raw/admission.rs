//! Admission as it is written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{ByteSize, DurationText};

/// What happens when more is asked than can be worked on at once. Within
/// limits.max_concurrent_requests, the number of reads worked on follows how long
/// they take; the others wait in a fair order, for a bounded time.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Admission {
    /// Whether the number of reads worked on at once is found by how long they
    /// take. If not, limits.max_concurrent_requests is all there is.
    pub adaptive: bool,
    /// The least number of reads worked on at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_concurrent_requests: usize,
    /// The number to begin with, at the start and after 30 s without reads.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub initial_concurrent_requests: usize,
    /// How many times as long as by themselves reads may take before fewer of
    /// them are worked on at once.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub latency_tolerance: f64,
    /// Requests that may wait: of reads, of writes and streams, and of an
    /// operator's requests, each. 0: none waits.
    #[schemars(range(max = 1_000_000))]
    pub max_queued: usize,
    /// The longest that a request waits; it is refused then, or before it waits
    /// where it can be seen that it would have to.
    pub max_wait: DurationText,
    /// Once the oldest waiting request of a client has waited this long, its newest
    /// and its oldest one go alternately.
    pub newest_first_after: DurationText,
    /// Bytes of memory for answers that are being made or sent, all together. At
    /// least twice limits.max_response_bytes.
    pub max_answer_bytes: ByteSize,
}

impl Default for Admission {
    fn default() -> Self {
        Admission {
            adaptive: true,
            min_concurrent_requests: 8,
            initial_concurrent_requests: 32,
            latency_tolerance: 2.0,
            max_queued: 1_024,
            max_wait: Duration::from_secs(10).into(),
            newest_first_after: Duration::from_millis(500).into(),
            max_answer_bytes: (1 << 30).into(),
        }
    }
}
