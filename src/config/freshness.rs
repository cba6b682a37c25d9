//! How fresh reads are that do not say it themselves.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{fault::Faults, raw, units::DurationText};

/// How old an answer may be, and what happens when no replica is fresh enough.
#[derive(Debug, Clone)]
pub struct Freshness {
    /// For reads that do not say it, of tables that are not in `tables`.
    pub default: DefaultFreshness,
    /// The same, by table.
    pub tables: BTreeMap<String, DefaultFreshness>,
    /// The longest that a read waits for a replica.
    pub wait: Duration,
    /// Whether the primary answers after that.
    pub spill_to_primary: bool,
    /// How many such reads it answers at once.
    pub max_spilled_reads: usize,
}

impl Freshness {
    /// The default of a table.
    pub fn of(&self, table: &str) -> DefaultFreshness {
        self.tables.get(table).copied().unwrap_or(self.default)
    }
}

/// The freshness of reads that do not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultFreshness {
    /// Whatever the next replica in turn has.
    Eventual,
    /// The primary's newest version.
    Strong,
    /// With everything that was committed until this long ago.
    MaxAge(Duration),
    /// At most this many versions behind.
    MaxVersions(u64),
}

impl DefaultFreshness {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match (text, text.split_once('=')) {
            ("eventual", _) => Ok(Self::Eventual),
            ("strong", _) => Ok(Self::Strong),
            (_, Some(("max_age", age))) => {
                DurationText::from(age.to_owned()).parse().map(Self::MaxAge)
            }
            (_, Some(("max_versions", number))) => number
                .trim()
                .parse()
                .map(Self::MaxVersions)
                .map_err(|_| format!("'{number}' is no number of versions")),
            _ => Err(format!(
                "'{text}' is no freshness: write \"eventual\", \"strong\", \"max_age=5s\" or \"max_versions=3\""
            )),
        }
    }
}

impl fmt::Display for DefaultFreshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eventual => f.write_str("eventual"),
            Self::Strong => f.write_str("strong"),
            Self::MaxAge(age) => write!(f, "max_age={}", humantime::format_duration(*age)),
            Self::MaxVersions(number) => write!(f, "max_versions={number}"),
        }
    }
}

/// Checks what is written; the default stands in for what is wrong.
pub(super) fn freshness(raw: &raw::Freshness, faults: &mut Faults) -> Freshness {
    let mut read = |path: &str, text: &str| {
        faults
            .ok(path, DefaultFreshness::parse(text))
            .unwrap_or(DefaultFreshness::Eventual)
    };
    let default = read("freshness.default", &raw.default);
    let tables = raw
        .tables
        .iter()
        .map(|(table, text)| {
            let value = read(&format!("freshness.tables.{table}"), text);
            (table.clone(), value)
        })
        .collect();
    Freshness {
        default,
        tables,
        wait: faults
            .ok("freshness.wait", raw.wait.parse())
            .unwrap_or_default(),
        spill_to_primary: raw.spill_to_primary,
        max_spilled_reads: raw.max_spilled_reads,
    }
}

/// As it would be written.
pub(super) fn raw_freshness(freshness: &Freshness) -> raw::Freshness {
    raw::Freshness {
        default: freshness.default.to_string(),
        tables: freshness
            .tables
            .iter()
            .map(|(table, value)| (table.clone(), value.to_string()))
            .collect(),
        wait: freshness.wait.into(),
        spill_to_primary: freshness.spill_to_primary,
        max_spilled_reads: freshness.max_spilled_reads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["eventual", "strong", "max_age=1m 30s", "max_versions=3"] {
            assert_eq!(
                DefaultFreshness::parse(text).unwrap().to_string(),
                text,
                "{text}"
            );
        }
        for bad in ["", "fresh", "max_age", "max_age=soon", "max_versions=-1"] {
            assert!(DefaultFreshness::parse(bad).is_err(), "{bad}");
        }
    }
}
