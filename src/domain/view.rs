//! What is known of a connection, and what was decided: printable values.

use std::{fmt, sync::Arc, time::Duration};

use super::{Incarnation, Role, TokenKey};

/// Whether a connection can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// Not heard from yet.
    Connecting,
    /// Answers.
    Up,
    /// Does not answer.
    Down,
}

impl ConnectionState {
    /// The word used in logs, tables and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            ConnectionState::Connecting => "connecting",
            ConnectionState::Up => "up",
            ConnectionState::Down => "down",
        }
    }
}

/// How a connection was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// In turn: the `position`th of `of` usable replicas (from 1).
    RoundRobin { position: usize, of: usize },
    /// In turn, where weights differ: it gets `weight` of each `of` reads.
    Weighted { weight: u64, of: u64 },
    /// It had the fewest reads running for its weight.
    LeastRequest,
    /// Of two at random it should answer sooner.
    P2cPeakEwma,
    /// It was ejected; this read shows whether it is well again.
    Trial,
    /// None is in rotation: rather one that is not than nobody.
    FailSafe,
    /// Replicas are fresh enough and none of them is in rotation: the primary.
    NoHealthyReplica,
    /// There are no replicas.
    NoReplicas,
    /// There are replicas; none is usable for this table.
    NoUsableReplica,
    /// A write, or a read that must be of the primary.
    PrimaryOnly,
    /// A strong read: of the primary, after a look at its location.
    Strong,
    /// A read of exactly one version: the next connection in turn that has it.
    Exact,
    /// No replica was fresh enough in time: the primary answers instead.
    Spilled,
}

impl Policy {
    /// The word used in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::RoundRobin { .. } | Policy::Weighted { .. } => "round_robin",
            Policy::LeastRequest => "least_request",
            Policy::P2cPeakEwma => "p2c_peak_ewma",
            Policy::Trial => "trial",
            Policy::FailSafe => "fail_safe",
            Policy::NoHealthyReplica => "no_healthy_replica",
            Policy::NoReplicas => "no_replicas",
            Policy::NoUsableReplica => "no_usable_replica",
            Policy::PrimaryOnly => "primary_only",
            Policy::Strong => "strong",
            Policy::Exact => "exact",
            Policy::Spilled => "spilled",
        }
    }
}

/// What came before or beside an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Detour {
    /// It is in another zone than this server.
    pub other_zone: bool,
    /// How many attempts failed before.
    pub retry: u32,
    /// It was sent beside one that took long.
    pub hedge: bool,
}

impl fmt::Display for Detour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.other_zone {
            f.write_str(" other_zone")?;
        }
        if self.retry > 0 {
            write!(f, " retry {}", self.retry)?;
        }
        if self.hedge {
            f.write_str(" hedge")?;
        }
        Ok(())
    }
}

/// A routing decision. It prints as `round_robin(replica-1 2/3)`, and where another
/// one failed before as `round_robin(replica-1 1/2 retry 1)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Index of the connection: 0 is the primary, replicas follow.
    pub connection: usize,
    pub name: Arc<str>,
    pub role: Role,
    pub policy: Policy,
    pub detour: Detour,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}", self.policy.as_str(), self.name)?;
        match self.policy {
            Policy::RoundRobin { position, of } => write!(f, " {position}/{of}")?,
            Policy::Weighted { weight, of } => write!(f, " weight {weight}/{of}")?,
            _ => {}
        }
        write!(f, "{})", self.detour)
    }
}

/// How far an answer is behind the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// The primary's newest known version minus this one.
    pub versions: u64,
    /// For how long the primary has been ahead. Zero when it is not.
    pub age: Duration,
}

/// Who answered, at which version, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub route: Route,
    /// 0 where no table is concerned.
    pub version: u64,
    pub lag: Lag,
    /// What makes a token of the version; `None` where no table is concerned or
    /// the primary is not known yet.
    pub origin: Option<Origin>,
}

/// What a token says besides the version, and what seals it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub incarnation: Incarnation,
    pub key: TokenKey,
}
