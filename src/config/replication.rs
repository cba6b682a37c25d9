//! How replicas are kept true: the meaning of `[replication]`, and of a replica's
//! mode.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Config, Location,
    checks::{Zero, bytes, duration},
    fault::Faults,
    raw,
};

/// The shortest lease: renewing it takes a few requests to the object store.
const SHORTEST_LEASE: Duration = Duration::from_millis(500);

/// How replicas are kept true.
#[derive(Debug, Clone, Copy)]
pub struct Replication {
    /// Off: something else copies, and managed replicas are taken as external.
    pub enabled: bool,
    /// How often the primary is looked at for commits of other writers.
    pub poll_interval: Duration,
    /// Files copied at once, per replica.
    pub parallel_copies: usize,
    /// Bytes a second that all copies of this process together may write; 0: no
    /// bound.
    pub max_bytes_per_second: u64,
    /// How a copied file is checked before its version is published.
    pub verify: Verify,
    /// What is done with a table whose copy diverged.
    pub on_divergence: OnDivergence,
    /// For how long the indexes of a new version are warmed at most; zero: not
    /// at all.
    pub warm_timeout: Duration,
    /// A replica further behind than this skips to the newest version.
    pub max_versions_behind: u64,
    /// For how long files that a reader may still have open are kept after
    /// their table was dropped or re-created.
    pub delete_grace: Duration,
    /// Whether the processes on one primary agree which of them copies.
    pub lease: bool,
    /// After this long without a sign of the one that copies another takes over.
    pub lease_ttl: Duration,
}

/// Who brings data to a replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaMode {
    /// This server copies.
    #[default]
    Managed,
    /// Something else does.
    External,
    /// Nobody: it is the primary's own location.
    Shared,
}

impl Config {
    /// What each replica is to a server: one that does not copy takes managed
    /// replicas as external ones.
    pub fn replicas_to_serve(&self) -> impl Iterator<Item = Location> + '_ {
        self.replicas.iter().cloned().map(|mut replica| {
            if !self.replication.enabled && replica.mode == ReplicaMode::Managed {
                replica.mode = ReplicaMode::External;
            }
            replica
        })
    }
}

/// How a copied file is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// It has the right length.
    Size,
    /// Read back, it has the bytes that were read from the primary.
    Checksum,
}

/// What is done with a table whose copy is not the primary's any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDivergence {
    /// It is taken out of rotation and reported.
    Stop,
    /// That, and it is replaced by the primary's at once.
    Rebuild,
}

/// Checks `[replication]`.
pub(super) fn replication(raw: &raw::Replication, faults: &mut Faults) -> Replication {
    let lease_ttl = duration(
        faults,
        "replication.lease_ttl",
        &raw.lease_ttl,
        Zero::Refused,
    );
    if !lease_ttl.is_zero() && lease_ttl < SHORTEST_LEASE {
        faults.push("replication.lease_ttl", "must be at least 500ms");
    }
    Replication {
        enabled: raw.enabled,
        poll_interval: duration(
            faults,
            "replication.poll_interval",
            &raw.poll_interval,
            Zero::Refused,
        ),
        parallel_copies: raw.parallel_copies,
        max_bytes_per_second: bytes(
            faults,
            "replication.max_bytes_per_second",
            &raw.max_bytes_per_second,
            Zero::Allowed,
        ) as u64,
        verify: raw.verify,
        on_divergence: raw.on_divergence,
        warm_timeout: duration(
            faults,
            "replication.warm_timeout",
            &raw.warm_timeout,
            Zero::Allowed,
        ),
        max_versions_behind: raw.max_versions_behind,
        delete_grace: duration(
            faults,
            "replication.delete_grace",
            &raw.delete_grace,
            Zero::Allowed,
        ),
        lease: raw.lease,
        lease_ttl,
    }
}

impl Replication {
    pub(super) fn to_raw(self) -> raw::Replication {
        raw::Replication {
            enabled: self.enabled,
            poll_interval: self.poll_interval.into(),
            parallel_copies: self.parallel_copies,
            max_bytes_per_second: self.max_bytes_per_second.into(),
            verify: self.verify,
            on_divergence: self.on_divergence,
            warm_timeout: self.warm_timeout.into(),
            max_versions_behind: self.max_versions_behind,
            delete_grace: self.delete_grace.into(),
            lease: self.lease,
            lease_ttl: self.lease_ttl.into(),
        }
    }
}
