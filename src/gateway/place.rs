//! Where a read can be answered, and where it was.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

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
        _spill: Option<OwnedSemaphorePermit>,
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
