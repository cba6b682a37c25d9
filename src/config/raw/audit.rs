//! The audit log as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::audit::{AuditTo, Rotation};

/// A log of who changed what: a line of JSON for each write, change of a table, order
/// of an operator, failed authentication and denied access. It names no values of
/// rows, no vectors and no literals of filters.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Audit {
    /// nowhere: there is none. file: into audit.folder. stdout: on standard output,
    /// where nothing else is written.
    pub to: AuditTo,
    /// Where the files are; made if it is not there.
    pub folder: String,
    /// When a new file begins (in UTC): audit.jsonl is all there is with never, else
    /// audit.2026-01-31.jsonl or audit.2026-01-31-13.jsonl is the newest.
    pub rotation: Rotation,
    /// Files that are kept when a new one begins. 0: all of them.
    #[schemars(range(max = 1_000_000))]
    pub max_files: usize,
    /// Whether nothing may be done that cannot be audited: a line is written before
    /// each write and order begins, and one after it. Where the first cannot be
    /// written, the request is UNAVAILABLE.
    pub required: bool,
    /// Whether lines are on the disk, and not only with the operating system, before
    /// they count as written.
    pub sync: bool,
}

impl Default for Audit {
    fn default() -> Self {
        Audit {
            to: AuditTo::Nowhere,
            folder: String::new(),
            rotation: Rotation::Daily,
            max_files: 0,
            required: false,
            sync: false,
        }
    }
}
