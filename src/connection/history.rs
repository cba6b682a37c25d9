//! What is remembered of a table of the primary: when its last versions were
//! committed, and until when it is known to have no newer one.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use crate::storage::Commit;

/// Commits remembered of each table, for the age of a lag.
const REMEMBERED: usize = 1024;

/// The commits of one incarnation of a table, oldest first.
#[derive(Debug)]
pub(super) struct History {
    commits: VecDeque<(u64, SystemTime)>,
    /// When the last look began that found no newer version than the last of
    /// `commits`.
    checked: SystemTime,
}

impl Default for History {
    fn default() -> Self {
        Self {
            commits: VecDeque::new(),
            checked: SystemTime::UNIX_EPOCH,
        }
    }
}

impl History {
    /// A commit was seen. One older than the last is known already.
    pub(super) fn add(&mut self, commit: Commit) {
        if self.commits.back().is_none_or(|(v, _)| *v < commit.version) {
            self.commits.push_back((commit.version, commit.time()));
            if self.commits.len() > REMEMBERED {
                self.commits.pop_front();
            }
        }
    }

    /// A look that began at `time` found nothing newer than what is known now.
    pub(super) fn checked(&mut self, time: SystemTime) {
        self.checked = self.checked.max(time);
    }

    /// When the last such look began.
    pub(super) fn checked_at(&self) -> SystemTime {
        self.checked
    }

    /// For how long there has been a newer version than this one, as far as is
    /// remembered.
    pub(super) fn behind_for(&self, version: u64, now: SystemTime) -> Option<Duration> {
        // The list is ascending.
        let next = self.commits.partition_point(|(v, _)| *v <= version);
        let (_, since) = self.commits.get(next)?;
        Some(now.duration_since(*since).unwrap_or_default())
    }

    /// Until when everything that was committed is surely in this version: until
    /// the next one was committed or, for the newest, until the last look. The
    /// time of a commit is by the clock of who made it.
    pub(super) fn complete_until(&self, version: u64) -> SystemTime {
        let next = self.commits.partition_point(|(v, _)| *v <= version);
        let own = match next.checked_sub(1).and_then(|i| self.commits.get(i)) {
            Some((v, at)) if *v == version => *at,
            // Committed before anything that is remembered.
            _ => SystemTime::UNIX_EPOCH,
        };
        match self.commits.get(next) {
            None => own.max(self.checked),
            Some((v, at)) if version.checked_add(1) == Some(*v) => *at,
            // The one that followed was not seen, or is forgotten.
            Some(_) => own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn commit(version: u64, seconds: u64) -> Commit {
        Commit {
            version,
            timestamp_nanos: u128::from(seconds) * 1_000_000_000,
        }
    }

    #[test]
    fn a_version_is_complete_until_the_next_one() {
        let mut history = History::default();
        assert_eq!(history.complete_until(3), at(0));
        for (version, seconds) in [(3, 30), (5, 50), (4, 40)] {
            history.add(commit(version, seconds));
        }
        history.checked(at(60));
        history.checked(at(55));
        assert_eq!(history.complete_until(1), at(0), "version 2 was not seen");
        assert_eq!(history.complete_until(2), at(30));
        assert_eq!(history.complete_until(3), at(30), "version 4 came too late");
        assert_eq!(history.complete_until(5), at(60));
        assert_eq!(history.complete_until(6), at(60));
        history.add(commit(6, 70));
        assert_eq!(history.complete_until(5), at(70));
        assert_eq!(history.complete_until(6), at(70));
        assert_eq!(history.behind_for(3, at(52)), Some(Duration::from_secs(2)));
        assert_eq!(history.behind_for(6, at(52)), None);
    }

    #[test]
    fn old_commits_are_forgotten() {
        let mut history = History::default();
        for version in 1..=2 * REMEMBERED as u64 {
            history.add(commit(version, version));
        }
        assert_eq!(history.commits.len(), REMEMBERED);
        assert_eq!(history.complete_until(1), at(0));
        assert_eq!(
            history.complete_until(REMEMBERED as u64),
            at(REMEMBERED as u64 + 1)
        );
    }
}
