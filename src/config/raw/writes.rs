//! Writes as they are written in the file.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::DurationText;

/// Writes that carry a request_id are done once, however often they are sent.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Writes {
    /// For how long a request_id is remembered at least. Versions that record one
    /// are not pruned before that, whatever retention says.
    pub request_id_ttl: DurationText,
    /// Most request ids of one table that are kept in memory, about 150 bytes each.
    /// Where more are used within request_id_ttl the oldest are forgotten.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_request_ids: usize,
}

impl Default for Writes {
    fn default() -> Self {
        Writes {
            request_id_ttl: Duration::from_secs(24 * 60 * 60).into(),
            max_request_ids: 200_000,
        }
    }
}
