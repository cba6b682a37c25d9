//! Shadow reads as they are written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::DurationText;

/// Reads that are also run somewhere else, after their clients were answered, to
/// see whether that would have answered the same: for trying an index, a version
/// of LanceDB, a machine or a node before it is trusted. Nobody is sent such an
/// answer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Shadow {
    /// The name of the connection. Where it stands for several nodes they take turns.
    /// "": there are no shadow reads.
    pub connection: String,
    /// The part of the searches, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
    /// How far apart two distances may be that are the same: a part of the larger
    /// one and of 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub tolerance: f64,
    /// Shadow reads at once. Others are skipped.
    #[schemars(range(min = 1, max = 1_000))]
    pub max_in_flight: usize,
    /// For how long one may run.
    pub timeout: DurationText,
}

impl Default for Shadow {
    fn default() -> Self {
        Shadow {
            connection: String::new(),
            share: 0.01,
            tolerance: 0.00001,
            max_in_flight: 4,
            timeout: Duration::from_secs(10).into(),
        }
    }
}
