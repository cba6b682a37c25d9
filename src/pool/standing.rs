//! How a member is, as values that print.

use std::{fmt, sync::Arc, time::Duration};

/// How an attempt ended, as far as the member is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Ok,
    /// It is at fault: it could not be reached, broke, or took too long.
    Fault,
    /// It had too much to do.
    Shed,
    /// The request was at fault, or nobody wanted the answer any more.
    Blameless,
}

/// Why a member was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// So many faults in a row.
    ConsecutiveFailures,
    /// More of its reads fail than of the others'.
    FailureRate,
    /// It takes several times as long as the others, or does not answer.
    Latency,
    /// The one request that was to show that it is well failed.
    Trial,
    /// An operator said so.
    Operator,
}

impl Why {
    /// The word used in logs, tables and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::ConsecutiveFailures => "consecutive_failures",
            Why::FailureRate => "failure_rate",
            Why::Latency => "latency",
            Why::Trial => "trial",
            Why::Operator => "operator",
        }
    }
}

/// How a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It gets its full share.
    Ready,
    /// It came back, and gets this much of its share.
    SlowStart { percent: u32 },
    /// Its ejection is over. One request, or a probe, is to show that it is well.
    HalfOpen,
    /// It gets nothing.
    Ejected { for_another: Duration, why: Why },
    /// An operator wants it left alone.
    Draining,
    /// It does not answer probes.
    Down,
}

impl Standing {
    /// The word used in logs, tables and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Ready => "ready",
            Standing::SlowStart { .. } => "slow_start",
            Standing::HalfOpen => "half_open",
            Standing::Ejected { .. } => "ejected",
            Standing::Draining => "draining",
            Standing::Down => "down",
        }
    }

    /// How much of its share it gets, in percent.
    pub fn percent(self) -> u32 {
        match self {
            Standing::Ready => 100,
            Standing::SlowStart { percent } => percent,
            _ => 0,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Standing::SlowStart { percent } => write!(f, " {percent}%"),
            Standing::Ejected { for_another, why } => {
                let left = for_another.as_secs_f32();
                write!(f, " for another {left:.1}s ({})", why.as_str())
            }
            _ => Ok(()),
        }
    }
}

/// How good a choice a member is: the lesser, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// In rotation.
    In,
    /// To be tried with one request.
    Trial,
    /// Ejected, or being tried.
    Out,
    Draining,
    Down,
}

/// What a decision needs to know of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    pub rank: Rank,
    /// 0: the zone of this server.
    pub tier: u8,
    /// Its share of the reads, in hundredths of its weight.
    pub weight: u32,
    pub in_flight: u32,
    /// Its latency in nanoseconds, as peak EWMA; 0: not known.
    pub latency: u64,
}

impl Seat {
    /// The seat of a member of weight 1 that is in rotation.
    pub const READY: Seat = Seat {
        rank: Rank::In,
        tier: 0,
        weight: 100,
        in_flight: 0,
        latency: 0,
    };
}

/// What operators see of a member.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberFacts {
    pub name: Arc<str>,
    pub zone: Option<Arc<str>>,
    pub weight: u32,
    pub standing: Standing,
    /// Whether it was drained, up or not.
    pub drained: bool,
    /// Attempts that are running.
    pub in_flight: u32,
    /// Peak EWMA; zero where nothing is known.
    pub latency: Duration,
    /// Attempts since the start, those that it failed, and its ejections.
    pub attempts: u64,
    pub faults: u64,
    pub ejections: u64,
}
