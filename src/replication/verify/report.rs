//! What a comparison found.

use std::fmt;

use serde::Serialize;

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A version whose manifest has other bytes than the primary's.
    Manifest,
    /// A file of a version is not there.
    Missing,
    /// A file has another size.
    Size,
    /// A file has the same size and other bytes.
    Content,
    /// A file in the folder of an index that the primary's does not have.
    Extra,
    /// A version that is newer than the primary's newest.
    Ahead,
    /// Rows that are not the same, or cannot be read.
    Rows,
    /// Answers to the same queries that are not the same.
    Answers,
    /// Versions newer than the replica's newest.
    Behind,
    /// Versions older than the replica's newest that it does not have.
    Skipped,
    /// The replica does not have the table.
    NoTable,
    /// The primary does not have the table (any more).
    Dropped,
    /// The replica has an earlier table of that name.
    Recreated,
    /// A tag that is not the primary's, or not yet.
    Tag,
    /// Versions that the primary does not have any more.
    Pruned,
    /// Something that was replaced while it was compared.
    Changed,
    /// A table that cannot be replicated.
    NotReplicated,
    /// There is no version that all connections have.
    NoCommonVersion,
}

/// What follows from a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The copy is not true.
    Difference,
    /// The copy is merely behind.
    Lag,
    /// There is nothing to compare with.
    NotComparable,
}

impl Kind {
    /// What follows from it.
    pub fn class(self) -> Class {
        use Kind as K;
        match self {
            K::Manifest
            | K::Missing
            | K::Size
            | K::Content
            | K::Extra
            | K::Ahead
            | K::Rows
            | K::Answers => Class::Difference,
            K::Behind | K::Skipped | K::NoTable | K::Dropped | K::Recreated | K::Tag => Class::Lag,
            K::Pruned | K::Changed | K::NotReplicated | K::NoCommonVersion => Class::NotComparable,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Manifest => "manifest",
            Kind::Missing => "missing",
            Kind::Size => "size",
            Kind::Content => "content",
            Kind::Extra => "extra",
            Kind::Ahead => "ahead",
            Kind::Rows => "rows",
            Kind::Answers => "answers",
            Kind::Behind => "behind",
            Kind::Skipped => "skipped",
            Kind::NoTable => "no_table",
            Kind::Dropped => "dropped",
            Kind::Recreated => "recreated",
            Kind::Tag => "tag",
            Kind::Pruned => "pruned",
            Kind::Changed => "changed",
            Kind::NotReplicated => "not_replicated",
            Kind::NoCommonVersion => "no_common_version",
        }
    }
}

/// Version numbers, ascending. They print as ranges: `1-3, 7`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Versions(pub Vec<u64>);

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for number in self.0.iter().copied() {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        for (i, (first, last)) in ranges.iter().enumerate() {
            f.write_str(if i > 0 { ", " } else { "" })?;
            match first == last {
                true => write!(f, "{first}")?,
                false => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for Versions {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    pub kind: Kind,
    /// The connection that it was found on.
    pub connection: String,
    pub table: String,
    /// The versions concerned; none where it is the table or the location.
    pub versions: Versions,
    /// The file, relative to the table's folder; empty where it is none.
    pub file: String,
    /// More, in words.
    pub detail: String,
}

/// What could not be compared, because a location did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub connection: String,
    /// Empty where it is the whole location.
    pub table: String,
    pub error: String,
}

/// What was compared of one table of one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    pub connection: String,
    pub table: String,
    /// Versions that both have.
    pub versions: u64,
    /// Files of those versions, manifests included; each counts once, however
    /// many versions it is part of.
    pub files: u64,
    /// Bytes of those files at the primary.
    pub bytes: u64,
    /// Of those, the bytes whose checksums were compared.
    pub checked_bytes: u64,
    /// Rows that were read and compared.
    pub rows: u64,
    /// Queries whose answers were compared.
    pub queries: u64,
    /// Of those, queries where rows of one and the same distance came in another
    /// order, or others of them were cut off by the limit. No difference.
    pub ties: u64,
}

/// Everything that a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub failures: Vec<Failure>,
    pub compared: Vec<Compared>,
}

impl Report {
    /// The findings of a class.
    pub fn of(&self, class: Class) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |f| f.kind.class() == class)
    }

    /// Whether something is not the same; with `strict`, also whether a replica
    /// is behind.
    pub fn differs(&self, strict: bool) -> bool {
        self.of(Class::Difference).next().is_some()
            || (strict && self.of(Class::Lag).next().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_one_another_are_a_range() {
        let text = |numbers: &[u64]| Versions(numbers.to_vec()).to_string();
        assert_eq!(text(&[1, 2, 3, 7, 9, 10]), "1-3, 7, 9-10");
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[u64::MAX]), u64::MAX.to_string());
    }

    #[test]
    fn lag_is_a_difference_only_to_the_strict() {
        let finding = |kind| Finding {
            kind,
            connection: "replica-1".into(),
            table: "t".into(),
            versions: Versions::default(),
            file: String::new(),
            detail: String::new(),
        };
        let report = |kind| Report {
            findings: vec![finding(kind)],
            ..Report::default()
        };
        assert!(report(Kind::Content).differs(false));
        assert!(!report(Kind::Behind).differs(false));
        assert!(report(Kind::Behind).differs(true));
        assert!(!report(Kind::Pruned).differs(true));
    }
}
