//! What a copier remembers of one table of one replica between rounds. All of it
//! can be found out again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tokio::time::Instant;

use super::{copy::Present, withheld::Reason};

/// What is remembered of one table.
#[derive(Default)]
pub(super) struct Memory {
    /// The files that the replica has.
    pub present: Present,
    /// Why reads see nothing of the table, if so.
    pub withheld: Option<Reason>,
    /// The tags that were written last, by path in the table's folder.
    pub tags: Option<BTreeMap<String, Bytes>>,
    /// When tags were looked at, and how much had been announced of the table.
    pub tags_seen: Option<(u64, Instant)>,
    /// Versions that the primary has deleted.
    pub doomed: Doomed,
}

/// What is remembered of the versions of a replica that are to go.
#[derive(Default)]
pub(super) struct Doomed {
    pub looked: Option<Instant>,
    /// What the last look found, and when.
    pub found: Option<(BTreeSet<u64>, Instant)>,
    /// Whether files that belong to no version were looked for.
    pub swept: bool,
}

impl Memory {
    /// Forgets what is on the replica: it is looked at again the next time.
    pub(super) fn doubt(&mut self) {
        self.present = Present::default();
        self.tags = None;
        self.tags_seen = None;
    }
}
