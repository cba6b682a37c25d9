//! How old an answer may be: what is asked, and what it means for one read.

use std::time::SystemTime;

use super::{Position, table::VersionRef};

/// How fresh the answer of a read must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// Not older than all of these bounds; with none, whatever is there.
    Bounded(Bounds),
    /// The newest committed version: the primary answers, after a look at its
    /// location.
    Strong,
    /// Exactly this version: time travel.
    Exact(VersionRef),
    /// Exactly the version of a session that has not ended.
    Session(Position),
}

impl Freshness {
    /// Whatever the next replica in turn has.
    pub const EVENTUAL: Freshness = Freshness::Bounded(Bounds::NONE);
}

/// Lower bounds of the version to answer from. All that are set must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// At least what a token stands for.
    pub position: Option<Position>,
    /// At least this version of the table's present incarnation.
    pub version: Option<u64>,
    /// At most this many versions behind the newest known one.
    pub versions_behind: Option<u64>,
    /// With everything that was committed until then.
    pub as_of: Option<SystemTime>,
}

impl Bounds {
    /// No bound.
    pub const NONE: Bounds = Bounds {
        position: None,
        version: None,
        versions_behind: None,
        as_of: None,
    };
}

/// What a connection must have to answer one read: the bounds, resolved against
/// what is known of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Need {
    /// At least here.
    pub position: Option<Position>,
    /// With everything that was committed until then.
    pub as_of: Option<SystemTime>,
}

impl Need {
    /// Anything will do.
    pub const NOTHING: Need = Need {
        position: None,
        as_of: None,
    };

    /// Whether a connection at `position`, known to have everything until
    /// `as_of`, can answer.
    pub fn is_met_by(&self, position: &Position, as_of: Option<SystemTime>) -> bool {
        self.position.is_none_or(|needed| position.reaches(&needed))
            && self
                .as_of
                .is_none_or(|needed| as_of.is_some_and(|has| has >= needed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::Incarnation;

    #[test]
    fn all_that_is_needed_must_be_there() {
        let incarnation = Incarnation::fresh();
        let at = |version| Position {
            incarnation,
            version,
        };
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(43_200);
        let need = Need {
            position: Some(at(5)),
            as_of: Some(noon),
        };
        assert!(need.is_met_by(&at(5), Some(noon)));
        assert!(!need.is_met_by(&at(4), Some(noon)));
        assert!(!need.is_met_by(&at(5), Some(noon - Duration::from_nanos(1))));
        assert!(!need.is_met_by(&at(5), None));
        assert!(Need::NOTHING.is_met_by(&at(0), None));
    }
}
