//! Replicas and replication as they are written.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StorageOption;
use crate::config::{
    OnDivergence, ReplicaMode, Verify,
    units::{ByteSize, DurationText},
};

/// What answers reads: a LanceDB location, or other lancegate nodes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Replica {
    /// 1 to 63 of a-z, 0-9 and -. "replica-1", "replica-2", ... in order, when
    /// left out.
    #[schemars(with = "String")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A path (relative to the working directory), or a file, s3, s3+ddb, gs or
    /// az URI. Or other lancegate nodes: grpc://host:port is one,
    /// grpc+dns://name:port is one at each address of the name, and
    /// grpc+file:///path one on each line of a file that is watched.
    #[schemars(required, with = "String")]
    pub uri: Option<String>,
    /// Who brings data there. managed: this server. external: something else, and
    /// a version is served once all its files are there. shared: it is the
    /// primary's own location.
    #[serde(default)]
    pub mode: ReplicaMode,
    /// Whether clients' reads go there. One that is out of rotation is kept true, or
    /// probed, all the same, and can be a target of shadow reads.
    #[serde(default = "yes")]
    pub in_rotation: bool,
    /// Its share of the reads, against the weights of the others.
    #[schemars(range(min = 1, max = 1_000))]
    #[serde(default = "one")]
    pub weight: u32,
    /// Where it is; empty: in the zone of this server. See balance.zone.
    #[serde(default)]
    pub zone: String,
    /// Options of the object store, by the names that LanceDB knows. The values
    /// are treated as secrets. With "_file" after its name an option is read
    /// from that file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub storage_options: BTreeMap<String, StorageOption>,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

/// How replicas are kept true to the primary.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Replication {
    /// Whether this server copies. If not, something else must: managed replicas
    /// are then taken as external ones.
    pub enabled: bool,
    /// How often the primary is looked at for commits of other writers.
    pub poll_interval: DurationText,
    /// Files copied at once, for each replica.
    #[schemars(range(min = 1, max = 1_024))]
    pub parallel_copies: usize,
    /// Bytes a second that all copies of this process together may write. 0: as
    /// many as there can be.
    pub max_bytes_per_second: ByteSize,
    /// How a copied file is checked before the version that needs it is
    /// published. size: it has the right length. checksum: it is read back, and
    /// has the bytes that were read from the primary.
    pub verify: Verify,
    /// What is done with a table whose copy is not the primary's any more; no
    /// reads go there in either case. stop: it is reported, and `lancegate
    /// rebuild` replaces it. rebuild: it is replaced at once.
    pub on_divergence: OnDivergence,
    /// For how long the indexes of a new version may be read into the cache
    /// before it is served all the same. 0: they are not.
    pub warm_timeout: DurationText,
    /// A replica that is further behind than this skips to the newest version.
    pub max_versions_behind: u64,
    /// For how long files are kept on a replica after their table was dropped or
    /// created anew: a read may still be using them.
    pub delete_grace: DurationText,
    /// Whether the processes on one primary agree, by objects in its location,
    /// which of them copies. Without it each copies, which costs more and harms
    /// nothing.
    pub lease: bool,
    /// After this long without a sign of the process that copies, another one
    /// takes over.
    pub lease_ttl: DurationText,
}

impl Default for Replication {
    fn default() -> Self {
        Replication {
            enabled: true,
            poll_interval: Duration::from_secs(1).into(),
            parallel_copies: 4,
            max_bytes_per_second: 0.into(),
            verify: Verify::Checksum,
            on_divergence: OnDivergence::Stop,
            warm_timeout: Duration::from_secs(30).into(),
            max_versions_behind: 16,
            delete_grace: Duration::from_secs(60).into(),
            lease: false,
            lease_ttl: Duration::from_secs(10).into(),
        }
    }
}
