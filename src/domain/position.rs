//! Where a table is: which creation of its name, and which version of that.

use std::fmt;

use uuid::Uuid;

/// Which creation of a table's name a version belongs to. Dropping a table and
/// creating it again begins a new one, whose versions start again at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(Uuid);

impl Incarnation {
    /// Of tables at a location that takes no writes and where nobody has written
    /// one: all of them have this one, so that only the number tells versions
    /// apart.
    pub const UNKNOWN: Incarnation = Incarnation(Uuid::nil());

    /// A new one.
    pub fn fresh() -> Self {
        Self(Uuid::new_v4())
    }

    /// From its 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// From the text that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A version of one incarnation: the only identity of what a read saw. The
/// number alone is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    pub incarnation: Incarnation,
    pub version: u64,
}

impl Position {
    /// Whether this is the same table and at least as new. Positions of two
    /// incarnations have no order.
    pub fn reaches(&self, other: &Position) -> bool {
        self.incarnation == other.incarnation && self.version >= other.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_have_no_order() {
        let (a, b) = (Incarnation::fresh(), Incarnation::fresh());
        let at = |incarnation, version| Position {
            incarnation,
            version,
        };
        assert!(at(a, 2).reaches(&at(a, 2)));
        assert!(at(a, 3).reaches(&at(a, 2)));
        assert!(!at(a, 1).reaches(&at(a, 2)));
        assert!(!at(b, 9).reaches(&at(a, 2)));
        assert_eq!(Incarnation::parse(&a.to_string()), Some(a));
        assert_eq!(Incarnation::parse("no"), None);
    }
}
