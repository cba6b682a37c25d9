//! Where a read can be answered, and where it was.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{domain::view::Policy, node::Node, pool::Member};

/// Where a read can be answered.
pub(super) enum Place {
    /// A node that answers reads.
    Node {
        node: Arc<Node>,
        policy: Policy,
        other_zone: bool,
    },
    /// The node that is the primary.
    Primary {
        node: Arc<Node>,
        policy: Policy,
        /// Held while it answers for those that should.
        _spill: Option<Spill>,
    },
    /// The services of this process.
    Local(Option<Arc<Member>>),
}

impl Place {
    /// Whether it is a node that is no primary.
    pub(super) fn is_replica_node(&self) -> bool {
        matches!(self, Place::Node { .. })
    }

    /// The member behind it, where it is judged.
    pub(super) fn member(&self) -> Option<&Arc<Member>> {
        match self {
            Place::Node { node, .. } => Some(node.member()),
            Place::Local(member) => member.as_ref(),
            Place::Primary { .. } => None,
        }
    }
}

/// Counts the reads that the primary answers for others. The bound may change while
/// they run.
#[derive(Default)]
pub(super) struct Spills(Arc<AtomicUsize>);

/// One of them, until it is dropped.
pub(super) struct Spill(Arc<AtomicUsize>);

impl Spills {
    /// One more, if that is at most `most`.
    pub(super) fn take(&self, most: usize) -> Option<Spill> {
        let one_more = |running| (running < most).then_some(running + 1);
        let taken = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Spill(Arc::clone(&self.0)))
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Where a read was.
pub(super) struct Tried<'a> {
    pub before: &'a [Place],
    pub last: &'a Place,
}

impl Tried<'_> {
    /// Every place.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.before.iter().chain([self.last])
    }

    /// Whether this member was asked.
    pub(super) fn has(&self, member: &Arc<Member>) -> bool {
        let mut members = self.places().filter_map(Place::member);
        members.any(|m| Arc::ptr_eq(m, member))
    }
}

/// Whether this member was asked, where anybody was.
pub(super) fn is_tried(tried: Option<&Tried<'_>>, member: &Arc<Member>) -> bool {
    tried.is_some_and(|tried| tried.has(member))
}
