//! What to copy: a pure function of what the primary and the replica have.

use crate::storage::Commit;

/// What brings a replica's table up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// It is.
    UpToDate,
    /// Copy these versions, oldest first.
    Advance(Vec<u64>),
    /// The replica's versions are of another table (re-created on the primary):
    /// replace them by this version.
    Rebuild(u64),
}

/// What is known when a plan is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// Whether the replica's folder is of the same creation of the table as the
    /// primary's.
    pub same_incarnation: bool,
    /// The commit that the primary serves.
    pub primary: Commit,
    /// The versions that are there on the primary, ascending.
    pub primary_versions: &'a [u64],
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
    if replica == known.primary {
        return Plan::UpToDate;
    }
    let same_table = match known.primary_at_replica {
        Some(commit) => commit == replica,
        // Pruned on the primary. A table that was re-created has commits that
        // are all newer than the replica's, but few of them.
        None => replica.version < newest && replica.timestamp_nanos < known.primary.timestamp_nanos,
    };
    if !same_table || replica.version > newest {
        return Plan::Rebuild(newest);
    }
    let missing: Vec<u64> = known
        .primary_versions
        .iter()
        .copied()
        .filter(|v| *v > replica.version && *v <= newest)
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

    fn known<'a>(primary: Commit, versions: &'a [u64], replica: Option<Commit>) -> Known<'a> {
        Known {
            same_incarnation: true,
            primary,
            primary_versions: versions,
            replica,
            primary_at_replica: replica,
            max_versions_behind: 3,
        }
    }

    #[test]
    fn a_new_replica_begins_at_the_newest_version() {
        let known = known(commit(7, 70), &[5, 6, 7], None);
        assert_eq!(plan(known), Plan::Advance(vec![7]));
    }

    #[test]
    fn versions_are_copied_in_order_up_to_what_is_served() {
        let at = Some(commit(4, 40));
        let known = known(commit(6, 60), &[3, 4, 5, 6, 7], at);
        assert_eq!(plan(known), Plan::Advance(vec![5, 6]));
    }

    #[test]
    fn a_replica_far_behind_skips_to_the_newest_version() {
        let at = Some(commit(1, 10));
        let known = known(commit(5, 50), &[1, 2, 3, 4, 5], at);
        assert_eq!(plan(known), Plan::Advance(vec![5]));
    }

    #[test]
    fn the_same_number_of_another_table_is_rebuilt() {
        let mut recreated = known(commit(2, 99), &[1, 2], Some(commit(2, 20)));
        recreated.primary_at_replica = Some(commit(2, 99));
        assert_eq!(plan(recreated), Plan::Rebuild(2));
        let mut shorter = known(commit(1, 99), &[1], Some(commit(2, 20)));
        shorter.primary_at_replica = None;
        assert_eq!(plan(shorter), Plan::Rebuild(1));
    }

    #[test]
    fn another_creation_of_the_table_is_rebuilt_whatever_its_versions_are() {
        let mut recreated = known(commit(9, 99), &[8, 9], Some(commit(8, 80)));
        recreated.same_incarnation = false;
        assert_eq!(plan(recreated), Plan::Rebuild(9));
    }

    #[test]
    fn nothing_is_planned_when_both_have_the_same_commit() {
        let same = known(commit(3, 30), &[3], Some(commit(3, 30)));
        assert_eq!(plan(same), Plan::UpToDate);
    }
}
