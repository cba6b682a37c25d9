//! Sessions as they are written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::DurationText;

/// Sessions: clients that keep one version of a table for a while, to run many
/// queries on it. What a session keeps is not pruned.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Sessions {
    /// For how long, where the client does not say it.
    pub default_ttl: DurationText,
    /// The longest that a client may ask for at a time; it can renew.
    pub max_ttl: DurationText,
    /// Most sessions of one table.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_open: usize,
    /// Most of them that one caller who is known ([access]) has, so that nobody takes
    /// those of all others. Each server counts what was opened through it.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_per_principal: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Sessions {
            default_ttl: Duration::from_secs(5 * 60).into(),
            max_ttl: Duration::from_secs(60 * 60).into(),
            max_open: 1_000,
            max_per_principal: 100,
        }
    }
}
