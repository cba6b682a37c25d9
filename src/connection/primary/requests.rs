//! The request ids of one table, in memory.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{
    config::Writes,
    domain::{Incarnation, RequestId, request::Recorded},
    storage::Entry,
};

/// What is known of one table: what its lane protects.
#[derive(Default)]
pub(super) struct Requests {
    incarnation: Option<Incarnation>,
    /// Every version up to this one was looked at.
    seen: u64,
    by_key: HashMap<u128, Recorded>,
    /// Versions and keys, the oldest first.
    order: VecDeque<(u64, u128)>,
    /// Whether one had to be forgotten before its time.
    overflowed: bool,
}

impl Requests {
    /// Forgets everything if this is about another creation of the table, or about
    /// one that was put back to an earlier state from outside.
    pub(super) fn begin(&mut self, incarnation: Incarnation, newest: u64) {
        if self.incarnation != Some(incarnation) || newest < self.seen {
            *self = Self {
                incarnation: Some(incarnation),
                ..Self::default()
            };
        }
    }

    /// The newest version up to which all were looked at.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Every version up to this one was looked at.
    pub(super) fn saw(&mut self, version: u64) {
        self.seen = self.seen.max(version);
    }

    /// What is recorded under an id.
    pub(super) fn get(&self, id: &RequestId) -> Option<Recorded> {
        self.by_key.get(&id.key()).copied()
    }

    /// Adds what a version records, and forgets what is older than it must be.
    pub(super) fn add(&mut self, (key, recorded): Entry, bounds: Writes) {
        if recorded.version == self.seen + 1 {
            self.seen = recorded.version;
        }
        // Where the same version is seen again it is there already.
        if self.by_key.insert(key, recorded) != Some(recorded) {
            self.order.push_back((recorded.version, key));
        }
        while let Some(&(version, oldest)) = self.order.front() {
            let known = self.by_key.get(&oldest).filter(|r| r.version == version);
            let age = known.map_or(Duration::MAX, |known| {
                recorded.at.duration_since(known.at).unwrap_or_default()
            });
            let expired = age > bounds.request_id_ttl;
            if !expired && self.order.len() <= bounds.max_request_ids {
                break;
            }
            if !expired && !self.overflowed {
                self.overflowed = true;
                tracing::warn!(
                    kept = bounds.max_request_ids,
                    "request ids are forgotten before writes.request_id_ttl: more are used than \
                     writes.max_request_ids"
                );
            }
            if known.is_some() {
                self.by_key.remove(&oldest);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::domain::request::{Counts, Digest, WriteKind};

    const BOUNDS: Writes = Writes {
        request_id_ttl: Duration::from_secs(60),
        max_request_ids: 3,
    };

    fn id(n: u64) -> RequestId {
        RequestId::parse(&format!("id-{n}")).unwrap().unwrap()
    }

    fn entry(n: u64, version: u64, seconds: u64) -> Entry {
        let recorded = Recorded {
            kind: WriteKind::Insert,
            digest: Digest::of(&blake3::Hasher::new()),
            counts: Counts::default(),
            version,
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        };
        (id(n).key(), recorded)
    }

    fn known(requests: &Requests) -> Vec<u64> {
        (0..10)
            .filter(|n| requests.get(&id(*n)).is_some())
            .collect()
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut requests = Requests::default();
        for n in 0..5 {
            requests.add(entry(n, n + 1, 10 * n), BOUNDS);
        }
        assert_eq!(known(&requests), [2, 3, 4], "the newest three");
        assert_eq!(requests.seen(), 5);
        // Later than the time to live of all but itself.
        requests.add(entry(7, 9, 500), BOUNDS);
        assert_eq!(known(&requests), [7]);
        assert_eq!(requests.seen(), 5, "versions between were not looked at");
        assert_eq!(requests.order.len(), 1);
    }

    #[test]
    fn an_id_that_is_used_again_later_stays() {
        let mut requests = Requests::default();
        requests.add(entry(1, 1, 0), BOUNDS);
        requests.add(entry(1, 1, 0), BOUNDS);
        assert_eq!(requests.order.len(), 1, "seen twice");
        requests.add(entry(1, 2, 1), BOUNDS);
        requests.add(entry(2, 3, 100), BOUNDS);
        requests.add(entry(1, 4, 100), BOUNDS);
        assert_eq!(known(&requests), [1, 2]);
        assert_eq!(requests.get(&id(1)).unwrap().version, 4);
    }

    #[test]
    fn another_table_of_that_name_begins_anew() {
        let mut requests = Requests::default();
        let first = Incarnation::fresh();
        requests.begin(first, 3);
        requests.add(entry(1, 1, 0), BOUNDS);
        requests.saw(3);
        requests.begin(first, 4);
        assert_eq!((known(&requests), requests.seen()), (vec![1], 3));
        requests.begin(first, 2);
        assert_eq!((known(&requests), requests.seen()), (vec![], 0), "put back");
        requests.add(entry(1, 1, 0), BOUNDS);
        requests.begin(Incarnation::fresh(), 1);
        assert_eq!((known(&requests), requests.seen()), (vec![], 0));
    }
}
