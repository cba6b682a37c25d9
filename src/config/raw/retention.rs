//! Retention as it is written.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::DurationText;

/// How long old versions of tables are kept. A version is deleted, on the primary
/// and then on the managed replicas, once another one has been the newest for
/// longer than max_age and at least min_versions newer ones are there. One that a
/// managed replica has not passed, that a pin or a tag holds, or that a branch
/// needs stays.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Retention {
    /// Whether old versions are deleted, by the process that copies. Needs
    /// replication.lease: only one process may delete.
    pub enabled: bool,
    /// For how long what was once the newest version can still be read. Not less
    /// than replication.delete_grace; longer than the longest import takes.
    pub max_age: DurationText,
    /// How many of the newest versions are kept however old they are.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_versions: u64,
    /// Time between two looks for what may go.
    pub interval: DurationText,
    /// Other values for single tables, by name.
    pub tables: BTreeMap<String, TableRetention>,
}

/// What is different for one table.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct TableRetention {
    /// As retention.max_age, which it is when left out.
    #[schemars(with = "DurationText")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<DurationText>,
    /// As retention.min_versions, which it is when left out.
    #[schemars(with = "u64", range(min = 1, max = 1_000_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_versions: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            enabled: false,
            max_age: Duration::from_secs(7 * 24 * 60 * 60).into(),
            min_versions: 10,
            interval: Duration::from_secs(10 * 60).into(),
            tables: BTreeMap::new(),
        }
    }
}
