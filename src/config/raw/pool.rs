//! How reads are spread, and what hides a fault, as it is written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Method, units::DurationText};

/// How reads are spread over the connections that can answer them.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Balance {
    /// round_robin: in turn, by weight. least_request: to the one with the fewest
    /// reads running for its weight. p2c_peak_ewma: of two at random the one that
    /// should answer sooner, by its latency and what is running.
    pub policy: Method,
    /// The zone of this server. Connections in another zone answer only where none
    /// in this zone can. Empty: zones say nothing.
    pub zone: String,
}

/// When a connection that answers badly is left alone for a while.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Outlier {
    /// Whether any is.
    pub enabled: bool,
    /// Faults in a row that eject a connection.
    #[schemars(range(min = 1, max = 1_000))]
    pub consecutive_failures: u32,
    /// Ejected is also whose share of failing reads is so many percentage points
    /// above the median of the others.
    #[schemars(range(min = 1, max = 100))]
    pub failure_percent: u32,
    /// Reads within the interval before a share says something.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_requests: u32,
    /// The time over which shares are counted.
    pub interval: DurationText,
    /// Ejected is also who takes so many times the median of the others, for reads
    /// that are running as well as for those that ended.
    #[schemars(range(min = 2, max = 1_000))]
    pub latency_factor: u32,
    /// What is faster than this is never too slow.
    pub min_latency: DurationText,
    /// How long the first ejection lasts. Each one in a row lasts twice as long.
    pub ejection: DurationText,
    /// The longest that an ejection lasts.
    pub max_ejection: DurationText,
    /// How many of the connections may be ejected at once; one always may.
    #[schemars(range(min = 1, max = 100))]
    pub max_ejected_percent: u32,
    /// For how long a connection that came back gets fewer reads than the others,
    /// more and more. 0: it gets its full share at once.
    pub slow_start: DurationText,
}

impl Default for Outlier {
    fn default() -> Self {
        Outlier {
            enabled: true,
            consecutive_failures: 5,
            failure_percent: 15,
            min_requests: 20,
            interval: Duration::from_secs(10).into(),
            latency_factor: 5,
            min_latency: Duration::from_secs(1).into(),
            ejection: Duration::from_secs(5).into(),
            max_ejection: Duration::from_secs(120).into(),
            max_ejected_percent: 50,
            slow_start: Duration::from_secs(10).into(),
        }
    }
}

/// Reads that failed on one connection are tried on another one.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Retries {
    /// Attempts of one read, the first included. 1: no retries.
    #[schemars(range(min = 1, max = 10))]
    pub max_attempts: u32,
    /// Retries that all reads together may cause, in percent of their number.
    #[schemars(range(max = 100))]
    pub budget_percent: u32,
    /// Retries each second that are there besides, for times with few reads.
    #[schemars(range(max = 1_000_000))]
    pub min_per_second: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Retries {
            max_attempts: 3,
            budget_percent: 20,
            min_per_second: 10,
        }
    }
}

/// A read that takes long is also sent to another connection that is at the very
/// same version; who answers first wins.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Hedging {
    /// Whether that is done.
    pub enabled: bool,
    /// After how long.
    pub delay: DurationText,
    /// Hedges that all reads together may cause, in percent of their number.
    #[schemars(range(min = 1, max = 100))]
    pub budget_percent: u32,
}

impl Default for Hedging {
    fn default() -> Self {
        Hedging {
            enabled: false,
            delay: Duration::from_millis(100).into(),
            budget_percent: 5,
        }
    }
}
