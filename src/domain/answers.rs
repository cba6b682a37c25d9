//! Whether two answers to one query are the same.

use std::{cmp::Ordering, fmt};

/// A row of an answer: what tells it from others, and its distance.
#[derive(Debug, Clone, Copy)]
pub struct Hit {
    /// A row id, or a hash of the row's values.
    pub key: u64,
    pub distance: f32,
}

/// How an answer compares with the expected one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// Rows of one and the same distance are in another order, or others of them
    /// fell off the end: a search does not say which of them comes first.
    Ties,
    Different(Difference),
}

/// Where two answers differ first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub kind: DifferenceKind,
    /// From 0; the number of rows that both have, where one has more.
    pub place: usize,
}

/// In what two answers differ, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// One has rows that the other has not.
    Rows,
    /// The same rows have other distances.
    Distance,
    /// The same rows come in another order, which their distances do not explain.
    Order,
}

impl DifferenceKind {
    /// The word used in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Distance => "distance",
            Self::Order => "order",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            DifferenceKind::Rows => "other rows",
            DifferenceKind::Distance => "another distance",
            DifferenceKind::Order => "another order",
        };
        write!(f, "{what}, first at place {} (from 0)", self.place)
    }
}

/// Whether two distances are the same: to the bit, or within `tolerance` of the
/// larger of them and 1.
fn alike(a: f32, b: f32, tolerance: f64) -> bool {
    let (x, y) = (f64::from(a), f64::from(b));
    a.to_bits() == b.to_bits() || (x - y).abs() <= tolerance * x.abs().max(y.abs()).max(1.0)
}

/// Compares an answer, best first, with the expected one. `limit` is what was
/// asked for; distances within `tolerance` are the same, and with 0 only those
/// that are so to the bit.
pub fn judge(expected: &[Hit], found: &[Hit], limit: usize, tolerance: f64) -> Verdict {
    let alike = |a: &Hit, b: &Hit| alike(a.distance, b.distance, tolerance);
    let different = |kind, place| Verdict::Different(Difference { kind, place });
    let pairs = || expected.iter().zip(found);
    if expected.len() != found.len() {
        return different(DifferenceKind::Rows, expected.len().min(found.len()));
    }
    let Some(first) = pairs().position(|(a, b)| a.key != b.key || !alike(a, b)) else {
        return Verdict::Same;
    };
    // Of the last distance there may be more rows than were asked for.
    let last = expected.last().filter(|_| expected.len() >= limit);
    let cut_off = |hit: &Hit| last.is_some_and(|last| alike(hit, last));
    let (ours, theirs) = (Sorted::of(expected), Sorted::of(found));
    for (mine, other, hits) in [(&ours, &theirs, expected), (&theirs, &ours, found)] {
        let foreign = |hit: &Hit| mine.count(hit.key) > other.count(hit.key) && !cut_off(hit);
        if let Some(place) = hits.iter().position(foreign) {
            return different(DifferenceKind::Rows, place.max(first));
        }
    }
    if let Some(place) = expected.iter().position(|hit| {
        theirs
            .first(hit.key)
            .is_some_and(|their| !alike(hit, their))
    }) {
        return different(DifferenceKind::Distance, place);
    }
    match pairs().position(|(a, b)| !alike(a, b)) {
        Some(place) => different(DifferenceKind::Order, place),
        None => Verdict::Ties,
    }
}

/// Hits by their keys.
struct Sorted<'a>(Vec<&'a Hit>);

impl<'a> Sorted<'a> {
    fn of(hits: &'a [Hit]) -> Self {
        let mut sorted: Vec<_> = hits.iter().collect();
        sorted.sort_by(|a, b| {
            let by_distance = || a.distance.total_cmp(&b.distance);
            a.key.cmp(&b.key).then_with(by_distance)
        });
        Self(sorted)
    }

    fn range(&self, key: u64) -> &[&'a Hit] {
        let from = self
            .0
            .partition_point(|hit| hit.key.cmp(&key) == Ordering::Less);
        let to = self
            .0
            .partition_point(|hit| hit.key.cmp(&key) != Ordering::Greater);
        self.0.get(from..to).unwrap_or_default()
    }

    fn count(&self, key: u64) -> usize {
        self.range(key).len()
    }

    fn first(&self, key: u64) -> Option<&'a Hit> {
        match self.range(key) {
            // Of rows that are the same in everything any may be any.
            [one] => Some(one),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(hits: &[(u64, f32)]) -> Vec<Hit> {
        let hit = |(key, distance): &(u64, f32)| Hit {
            key: *key,
            distance: *distance,
        };
        hits.iter().map(hit).collect()
    }

    fn kind(verdict: Verdict) -> (DifferenceKind, usize) {
        match verdict {
            Verdict::Different(difference) => (difference.kind, difference.place),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn equal_distances_may_come_in_any_order() {
        let ours = answer(&[(1, 0.1), (2, 0.2), (3, 0.2), (4, 0.4)]);
        let swapped = answer(&[(1, 0.1), (3, 0.2), (2, 0.2), (4, 0.4)]);
        assert_eq!(judge(&ours, &ours, 4, 0.0), Verdict::Same);
        assert_eq!(judge(&ours, &swapped, 4, 0.0), Verdict::Ties);
        // The limit cut off one of several at the last distance.
        let cut = answer(&[(1, 0.1), (2, 0.2), (3, 0.2), (9, 0.4)]);
        assert_eq!(judge(&ours, &cut, 4, 0.0), Verdict::Ties);
        // There were no more rows than these: nothing was cut off.
        let verdict = judge(&ours, &cut, 10, 0.0);
        assert_eq!(kind(verdict), (DifferenceKind::Rows, 3));
    }

    #[test]
    fn any_other_difference_is_named() {
        let ours = answer(&[(1, 0.1), (2, 0.2), (3, 0.3)]);
        let nearly = f32::from_bits(0.2f32.to_bits() + 1);
        for (theirs, expected) in [
            (answer(&[(1, 0.1), (2, 0.2)]), (DifferenceKind::Rows, 2)),
            (
                answer(&[(1, 0.1), (7, 0.2), (3, 0.3)]),
                (DifferenceKind::Rows, 1),
            ),
            (
                answer(&[(2, 0.1), (1, 0.2), (3, 0.3)]),
                (DifferenceKind::Distance, 0),
            ),
            (
                answer(&[(1, 0.1), (3, 0.3), (2, 0.2)]),
                (DifferenceKind::Order, 1),
            ),
            (
                answer(&[(1, 0.1), (2, nearly), (3, 0.3)]),
                (DifferenceKind::Distance, 1),
            ),
            (
                answer(&[(1, 0.1), (2, f32::NAN), (3, 0.3)]),
                (DifferenceKind::Distance, 1),
            ),
            (
                answer(&[(1, 0.1), (2, 0.2), (2, 0.2)]),
                (DifferenceKind::Rows, 2),
            ),
        ] {
            assert_eq!(kind(judge(&ours, &theirs, 9, 0.0)), expected, "{theirs:?}");
        }
    }

    #[test]
    fn within_the_tolerance_distances_are_the_same() {
        let ours = answer(&[(1, 0.1), (2, 0.2), (3, 1_000.0)]);
        let theirs = answer(&[(2, 0.1999), (1, 0.1001), (3, 1_000.5)]);
        assert!(matches!(
            judge(&ours, &theirs, 9, 0.001),
            Verdict::Different(_)
        ));
        assert_eq!(judge(&ours, &theirs, 9, 0.11), Verdict::Ties);
        let same = answer(&[(1, 0.1005), (2, 0.2), (3, 1_000.9)]);
        assert_eq!(judge(&ours, &same, 9, 0.001), Verdict::Same);
        let empty = answer(&[]);
        assert_eq!(judge(&empty, &empty, 9, 0.001), Verdict::Same);
    }
}
