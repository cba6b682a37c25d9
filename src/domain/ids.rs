//! Names that were checked once, where they came in.

use std::{fmt, sync::Arc};

use super::{Error, Result};

/// Longest table name, in bytes: the longest file name of common file systems
/// (255) less room for `.lance` and temporary suffixes.
pub const MAX_TABLE_NAME: usize = 200;

/// The name of a table: 1 to 200 ASCII letters, digits, `_`, `-` and `.`, not
/// beginning with `.` and without `..`. Nothing that a path could be made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName(Arc<str>);

impl TableName {
    /// Checks a name that came in as request field `table`.
    pub fn parse(name: &str) -> Result<Self> {
        let fault = if name.is_empty() {
            "is required"
        } else if name.len() > MAX_TABLE_NAME {
            "is longer than 200 bytes"
        } else if !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        {
            "may only have letters, digits, '_', '-' and '.'"
        } else if name.starts_with('.') || name.contains("..") {
            "may not begin with '.' or contain '..'"
        } else {
            return Ok(Self(name.into()));
        };
        Err(Error::invalid("table", fault))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes every write.
    Primary,
    /// Answers reads.
    Replica,
    /// Is a replica, and answers no client: only shadow reads.
    Shadow,
}

impl Role {
    /// The word used in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Shadow => "shadow",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_refused() {
        let long = "a".repeat(10_000);
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "/etc",
            "a\\b",
            ".hidden",
            "a..b",
            "a\0b",
            "a\nb",
            "a b",
            "ä",
            "%2e%2e",
            long.as_str(),
        ] {
            assert!(TableName::parse(bad).is_err(), "{bad:?} was taken");
        }
        for good in ["packages", "a.b", "A-1_2", &"a".repeat(200)] {
            assert_eq!(
                TableName::parse(good).map(|n| n.to_string()).as_deref(),
                Ok(good)
            );
        }
    }
}
