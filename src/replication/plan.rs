//! What to copy: a pure function of what the primary and the replica have.

use crate::storage::Commit;

/// What brings a replica's table up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// It is: it has this version, which the primary has too.
    UpToDate(u64),
    /// Copy these versions, oldest first.
    Advance(Vec<u64>),
    /// The replica's versions are of another table (re-created on the primary):
    /// replace them by this version.
    Rebuild(u64),
    /// This version of the replica was never the primary's.
    Diverged(u64),
}

/// What is known when a plan is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// Whether the replica's folder is of the same creation of the table as the
    /// primary's.
    pub same_incarnation: bool,
    /// The commit that the primary serves.
    pub primary: Commit,
    /// The versions that are there on the primary, ascending, listed after the
    /// replica was looked at.
    pub primary_versions: &'a [u64],
    /// The commit of the first of them.
    pub primary_oldest: Commit,
    /// The commit that the replica has; `None` if it has no such table.
    pub replica: Option<Commit>,
    /// The commit that the primary has at the replica's version, if that is
    /// still there.
    pub primary_at_replica: Option<Commit>,
    /// A replica further behind goes straight to the newest version.
    pub max_versions_behind: u64,
}

/// Plans.
pub(super) fn plan(known: Known<'_>) -> Plan {
    let newest = known.primary.version;
    let Some(replica) = known.replica else {
        return Plan::Advance(vec![newest]);
    };
    if !known.same_incarnation {
        return Plan::Rebuild(newest);
    }
    if known.primary_at_replica == Some(replica) {
        return advance(known, replica.version);
    }
    // Versions and times of a table grow together: this is how its commits are
    // told from those of a table that had the name before.
    let oldest = known.primary_oldest;
    let pruned = replica.version < oldest.version;
    let older = replica.timestamp_nanos < oldest.timestamp_nanos;
    match (pruned, older) {
        (true, true) => advance(known, replica.version),
        (false, true) => Plan::Rebuild(newest),
        // Pruned from among others: a tag may hold the ones before it.
        (false, false)
            if known.primary_at_replica.is_none()
                && replica.version < newest
                && replica.timestamp_nanos < known.primary.timestamp_nanos =>
        {
            advance(known, replica.version)
        }
        (true, false) | (false, false) => Plan::Diverged(replica.version),
    }
}

fn advance(known: Known<'_>, from: u64) -> Plan {
    let newest = known.primary.version;
    if from >= newest {
        return Plan::UpToDate(from);
    }
    let missing: Vec<u64> = known
        .primary_versions
        .iter()
        .copied()
        .filter(|v| *v > from && *v <= newest)
        .collect();
    if missing.is_empty() || missing.len() as u64 > known.max_versions_behind {
        Plan::Advance(vec![newest])
    } else {
        Plan::Advance(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(version: u64, nanos: u128) -> Commit {
        Commit {
            version,
            timestamp_nanos: nanos,
        }
    }

    /// The primary has `versions`, each at ten times its number.
    fn known<'a>(versions: &'a [u64], replica: Option<Commit>) -> Known<'a> {
        let at = |version: u64| commit(version, u128::from(version) * 10);
        let there = replica.filter(|r| versions.contains(&r.version));
        Known {
            same_incarnation: true,
            primary: at(*versions.last().unwrap()),
            primary_versions: versions,
            primary_oldest: at(versions[0]),
            replica,
            primary_at_replica: there.map(|r| at(r.version)),
            max_versions_behind: 3,
        }
    }

    #[test]
    fn a_new_replica_begins_at_the_newest_version() {
        assert_eq!(plan(known(&[5, 6, 7], None)), Plan::Advance(vec![7]));
    }

    #[test]
    fn versions_are_copied_in_order_up_to_what_is_served() {
        let mut known = known(&[3, 4, 5, 6, 7], Some(commit(4, 40)));
        known.primary = commit(6, 60);
        assert_eq!(plan(known), Plan::Advance(vec![5, 6]));
    }

    #[test]
    fn a_replica_far_behind_skips_to_the_newest_version() {
        let known = known(&[1, 2, 3, 4, 5], Some(commit(1, 10)));
        assert_eq!(plan(known), Plan::Advance(vec![5]));
    }

    #[test]
    fn a_replica_whose_version_was_pruned_goes_on() {
        let all_before = known(&[5, 6, 7], Some(commit(3, 30)));
        assert_eq!(plan(all_before), Plan::Advance(vec![5, 6, 7]));
        let between = known(&[1, 6, 7], Some(commit(3, 30)));
        assert_eq!(plan(between), Plan::Advance(vec![6, 7]));
    }

    #[test]
    fn the_versions_of_an_earlier_table_are_replaced() {
        let same_number = known(&[1, 2], Some(commit(2, 5)));
        assert_eq!(plan(same_number), Plan::Rebuild(2));
        let shorter = known(&[1], Some(commit(2, 5)));
        assert_eq!(plan(shorter), Plan::Rebuild(1));
    }

    #[test]
    fn another_creation_of_the_table_is_rebuilt_whatever_its_versions_are() {
        let mut recreated = known(&[8, 9], Some(commit(8, 80)));
        recreated.same_incarnation = false;
        assert_eq!(plan(recreated), Plan::Rebuild(9));
    }

    #[test]
    fn what_was_never_the_primarys_has_diverged() {
        let other_commit = known(&[1, 2, 3], Some(commit(2, 21)));
        assert_eq!(plan(other_commit), Plan::Diverged(2));
        let ahead = known(&[1, 2, 3], Some(commit(4, 35)));
        assert_eq!(plan(ahead), Plan::Diverged(4));
        let before_what_was_pruned = known(&[5, 6], Some(commit(4, 55)));
        assert_eq!(plan(before_what_was_pruned), Plan::Diverged(4));
    }

    #[test]
    fn nothing_is_planned_when_both_have_the_same_commit() {
        let same = known(&[3], Some(commit(3, 30)));
        assert_eq!(plan(same), Plan::UpToDate(3));
        // Another process copied what this one has not seen on the primary yet.
        let mut ahead = known(&[3, 4], Some(commit(4, 40)));
        ahead.primary = commit(3, 30);
        assert_eq!(plan(ahead), Plan::UpToDate(4));
    }
}
