//! How the process stops, watches its connections, and says what happens, as it is
//! written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{LogFormat, units::DurationText};

/// How the server stops on SIGTERM.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Shutdown {
    /// From NOT_SERVING to GOAWAY: time for load balancers to look elsewhere.
    pub grace: DurationText,
    /// From GOAWAY to the end of whatever still runs.
    pub drain: DurationText,
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown {
            grace: Duration::from_secs(5).into(),
            drain: Duration::from_secs(30).into(),
        }
    }
}

/// How connections are watched.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Health {
    /// Time between two probes of a connection.
    pub probe_interval: DurationText,
    /// For how long a probe may run before it counts as failed.
    pub probe_timeout: DurationText,
    /// Failures in a row that take a connection out.
    #[schemars(range(min = 1, max = 1_000))]
    pub failure_threshold: u32,
}

impl Default for Health {
    fn default() -> Self {
        Health {
            probe_interval: Duration::from_secs(5).into(),
            probe_timeout: Duration::from_secs(2).into(),
            failure_threshold: 2,
        }
    }
}

/// What the log on stderr looks like.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Logging {
    /// auto: pretty on a terminal, JSON elsewhere.
    pub format: LogFormat,
    /// What is logged: a level, and levels of parts, such as "info,lancegate=debug".
    pub filter: String,
}

impl Default for Logging {
    fn default() -> Self {
        Logging {
            format: LogFormat::Auto,
            filter: "info,lance=warn,lancedb=warn,datafusion=warn".into(),
        }
    }
}

/// What is measured.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Metrics {
    /// Tables with a label of their own. The others share the label `_other`.
    #[schemars(range(max = 100_000))]
    pub max_table_labels: usize,
    /// A file with a text that /metrics and /health/deep ask for, as `authorization:
    /// Bearer TEXT`. "": they ask for nothing; where [access] is enabled they ask for
    /// an API key with the role metrics.
    pub bearer_token_file: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            max_table_labels: 100,
            bearer_token_file: String::new(),
        }
    }
}
