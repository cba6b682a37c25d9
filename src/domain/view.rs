//! What the router knows, and what it decided: two printable values.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Incarnation, Position, Role, TokenKey};

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

/// One connection, as the router sees it for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionView {
    pub name: Arc<str>,
    pub role: Role,
    pub state: ConnectionState,
    /// Where it has the asked table; `None` if it has none.
    pub position: Option<Position>,
    /// Until when everything that was committed is in that, where the request
    /// needs to know.
    pub as_of: Option<SystemTime>,
}

/// How a connection was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// In turn: the `position`th of `of` usable replicas (from 1).
    RoundRobin { position: usize, of: usize },
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
            Policy::RoundRobin { .. } => "round_robin",
            Policy::NoReplicas => "no_replicas",
            Policy::NoUsableReplica => "no_usable_replica",
            Policy::PrimaryOnly => "primary_only",
            Policy::Strong => "strong",
            Policy::Exact => "exact",
            Policy::Spilled => "spilled",
        }
    }
}

/// A routing decision. It prints as `round_robin(replica-1 2/3)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Index of the connection: 0 is the primary, replicas follow.
    pub connection: usize,
    pub name: Arc<str>,
    pub role: Role,
    pub policy: Policy,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.policy.as_str();
        match self.policy {
            Policy::RoundRobin { position, of } => {
                write!(f, "{word}({} {position}/{of})", self.name)
            }
            _ => write!(f, "{word}({})", self.name),
        }
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
