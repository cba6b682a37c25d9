//! How reads are spread and what hides a fault: the meaning of `[balance]`,
//! `[outlier]`, `[retries]` and `[hedging]`.

use std::time::Duration;

use super::{
    checks::{Zero, duration},
    fault::Faults,
    raw,
};

/// Everything that a pool of members goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub balance: Balance,
    pub outlier: Outlier,
    pub retries: Retries,
    pub hedging: Hedging,
}

/// How reads are spread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    pub method: Method,
    /// The zone of this server; `None`: zones say nothing.
    pub zone: Option<String>,
}

/// How one of several members is chosen.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// In turn, by weight, smoothly.
    #[default]
    RoundRobin,
    /// Who has the fewest reads running for its weight.
    LeastRequest,
    /// Of two at random the one that should answer sooner.
    P2cPeakEwma,
}

/// When a member that answers badly is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlier {
    pub enabled: bool,
    /// Faults in a row that eject.
    pub consecutive_failures: u32,
    /// Percentage points above the median of the others that eject.
    pub failure_percent: u32,
    /// Reads before a share says something.
    pub min_requests: u32,
    /// The time over which shares are counted.
    pub interval: Duration,
    /// So many times the median of the others is too slow.
    pub latency_factor: u32,
    /// What is faster is never too slow.
    pub min_latency: Duration,
    /// The first ejection; each one in a row lasts twice as long.
    pub ejection: Duration,
    /// The longest one.
    pub max_ejection: Duration,
    /// How many may be out; one always may.
    pub max_ejected_percent: u32,
    /// From a return to the full share.
    pub slow_start: Duration,
}

/// How often a read is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Attempts of one read, the first included.
    pub max_attempts: u32,
    /// Retries in percent of all reads.
    pub budget_percent: u32,
    /// Retries each second besides.
    pub min_per_second: u32,
}

/// Whether a slow read is sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hedging {
    pub enabled: bool,
    /// After how long.
    pub delay: Duration,
    /// Hedges in percent of all reads.
    pub budget_percent: u32,
}

impl Default for Pool {
    /// What is meant where nothing is written.
    fn default() -> Self {
        // The defaults have no faults: tests/files.rs loads them.
        pool(&raw::Raw::default(), &mut Faults::default())
    }
}

/// Checks the four sections.
pub(super) fn pool(raw: &raw::Raw, faults: &mut Faults) -> Pool {
    let outlier = outlier(&raw.outlier, faults);
    Pool {
        balance: Balance {
            method: raw.balance.policy,
            zone: zone("balance.zone", &raw.balance.zone, faults),
        },
        outlier,
        retries: Retries {
            max_attempts: raw.retries.max_attempts,
            budget_percent: raw.retries.budget_percent,
            min_per_second: raw.retries.min_per_second,
        },
        hedging: Hedging {
            enabled: raw.hedging.enabled,
            delay: duration(faults, "hedging.delay", &raw.hedging.delay, Zero::Refused),
            budget_percent: raw.hedging.budget_percent,
        },
    }
}

fn outlier(raw: &raw::Outlier, faults: &mut Faults) -> Outlier {
    let mut time = |path, text, zero| duration(faults, path, text, zero);
    let outlier = Outlier {
        enabled: raw.enabled,
        consecutive_failures: raw.consecutive_failures,
        failure_percent: raw.failure_percent,
        min_requests: raw.min_requests,
        interval: time("outlier.interval", &raw.interval, Zero::Refused),
        latency_factor: raw.latency_factor,
        min_latency: time("outlier.min_latency", &raw.min_latency, Zero::Refused),
        ejection: time("outlier.ejection", &raw.ejection, Zero::Refused),
        max_ejection: time("outlier.max_ejection", &raw.max_ejection, Zero::Refused),
        max_ejected_percent: raw.max_ejected_percent,
        slow_start: time("outlier.slow_start", &raw.slow_start, Zero::Allowed),
    };
    if outlier.max_ejection < outlier.ejection {
        faults.push("outlier.max_ejection", "is shorter than outlier.ejection");
    }
    outlier
}

/// The zone of that name, which is of what the names of zones are everywhere.
pub(super) fn zone(path: &str, written: &str, faults: &mut Faults) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if written.len() > 63 || !written.chars().all(fits) {
        faults.push(path, "must be at most 63 of A-Z, a-z, 0-9, -, _ and .");
    }
    (!written.is_empty()).then(|| written.to_owned())
}

impl Pool {
    /// `[balance]` as it would be written.
    pub(super) fn raw_balance(&self) -> raw::Balance {
        raw::Balance {
            policy: self.balance.method,
            zone: self.balance.zone.clone().unwrap_or_default(),
        }
    }

    /// `[outlier]` as it would be written.
    pub(super) fn raw_outlier(&self) -> raw::Outlier {
        let outlier = self.outlier;
        raw::Outlier {
            enabled: outlier.enabled,
            consecutive_failures: outlier.consecutive_failures,
            failure_percent: outlier.failure_percent,
            min_requests: outlier.min_requests,
            interval: outlier.interval.into(),
            latency_factor: outlier.latency_factor,
            min_latency: outlier.min_latency.into(),
            ejection: outlier.ejection.into(),
            max_ejection: outlier.max_ejection.into(),
            max_ejected_percent: outlier.max_ejected_percent,
            slow_start: outlier.slow_start.into(),
        }
    }

    /// `[retries]` as it would be written.
    pub(super) fn raw_retries(&self) -> raw::Retries {
        raw::Retries {
            max_attempts: self.retries.max_attempts,
            budget_percent: self.retries.budget_percent,
            min_per_second: self.retries.min_per_second,
        }
    }

    /// `[hedging]` as it would be written.
    pub(super) fn raw_hedging(&self) -> raw::Hedging {
        raw::Hedging {
            enabled: self.hedging.enabled,
            delay: self.hedging.delay.into(),
            budget_percent: self.hedging.budget_percent,
        }
    }
}
