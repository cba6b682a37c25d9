//! How long old versions are kept: the meaning of `[retention]`.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Replication,
    checks::{Zero, duration},
    fault::Faults,
    raw,
};

/// How long old versions are kept.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Whether any are deleted.
    pub enabled: bool,
    /// For tables that are not in `tables`.
    pub default: Keep,
    /// The same, by table.
    pub tables: BTreeMap<String, Keep>,
    /// Time between two looks for what may go.
    pub interval: Duration,
}

/// What is kept of one table: a version goes when neither of the two holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Every version that was the newest at some time within this.
    pub max_age: Duration,
    /// So many of the newest versions; at least 1.
    pub min_versions: u64,
}

impl Retention {
    /// Nothing is deleted.
    pub fn disabled() -> Self {
        let everything = Keep {
            max_age: Duration::MAX,
            min_versions: u64::MAX,
        };
        Self {
            enabled: false,
            default: everything,
            tables: BTreeMap::new(),
            interval: Duration::MAX,
        }
    }

    /// What is kept of a table.
    pub fn of(&self, table: &str) -> Keep {
        self.tables.get(table).copied().unwrap_or(self.default)
    }
}

/// Checks `[retention]`.
pub(super) fn retention(
    raw: &raw::Retention,
    replication: &Replication,
    faults: &mut Faults,
) -> Retention {
    if raw.enabled && !replication.lease {
        faults.push(
            "retention.enabled",
            "needs replication.lease = true: only one process may delete",
        );
    }
    // Whoever read a version while it was the newest is given the time to finish.
    let mut age = |path: &str, text| {
        let age = duration(faults, path, text, Zero::Allowed);
        age.max(replication.delete_grace)
    };
    let default = Keep {
        max_age: age("retention.max_age", &raw.max_age),
        min_versions: raw.min_versions,
    };
    let mut tables = BTreeMap::new();
    for (table, written) in &raw.tables {
        let path = format!("retention.tables.{table}.max_age");
        let keep = Keep {
            max_age: match &written.max_age {
                Some(text) => age(&path, text),
                None => default.max_age,
            },
            min_versions: written.min_versions.unwrap_or(default.min_versions),
        };
        tables.insert(table.clone(), keep);
    }
    Retention {
        enabled: raw.enabled,
        default,
        tables,
        interval: duration(faults, "retention.interval", &raw.interval, Zero::Refused),
    }
}

impl Retention {
    /// As it would be written.
    pub(super) fn to_raw(&self) -> raw::Retention {
        raw::Retention {
            enabled: self.enabled,
            max_age: self.default.max_age.into(),
            min_versions: self.default.min_versions,
            interval: self.interval.into(),
            tables: self
                .tables
                .iter()
                .map(|(table, keep)| {
                    let written = raw::TableRetention {
                        max_age: Some(keep.max_age.into()),
                        min_versions: Some(keep.min_versions),
                    };
                    (table.clone(), written)
                })
                .collect(),
        }
    }
}
