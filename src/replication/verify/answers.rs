//! Whether two answers to one query are the same.

use std::collections::BTreeSet;

use arrow::{
    array::{Array, AsArray},
    datatypes::{Float32Type, UInt64Type},
};

use crate::{
    domain::{Error, Result},
    storage::Rows,
};

/// A row of an answer: its id, and the bits of its distance.
pub(super) type Hit = (u64, u32);

/// How an answer compares with the expected one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    /// Rows of one and the same distance are in another order, or others of them
    /// fell off the end: a search does not say which of them comes first.
    Ties,
    Different(String),
}

/// The hits of an answer, best first.
pub(super) fn hits(rows: &Rows) -> Result<Vec<Hit>> {
    let mut hits = Vec::with_capacity(rows.num_rows());
    for batch in &rows.batches {
        let column = |name: &str| {
            batch
                .column_by_name(name)
                .ok_or_else(|| Error::Internal(format!("an answer without {name}")))
        };
        let ids = column("_rowid")?.as_primitive_opt::<UInt64Type>();
        let distances = column("_distance")?.as_primitive_opt::<Float32Type>();
        let (Some(ids), Some(distances)) = (ids, distances) else {
            return Err(Error::Internal("an answer of other types".into()));
        };
        let bits = |row| match distances.is_null(row) {
            true => f32::NAN.to_bits(),
            false => distances.value(row).to_bits(),
        };
        hits.extend((0..batch.num_rows()).map(|row| (ids.value(row), bits(row))));
    }
    Ok(hits)
}

/// Compares an answer with the primary's, to the bit. `limit` is what was asked
/// for.
pub(super) fn judge(expected: &[Hit], found: &[Hit], limit: usize) -> Verdict {
    if expected == found {
        return Verdict::Same;
    }
    if expected.len() != found.len() {
        let (found, expected) = (found.len(), expected.len());
        let text = format!("{found} rows where the primary answers {expected}");
        return Verdict::Different(text);
    }
    let mut at = 0;
    for group in expected.chunk_by(|a, b| a.1 == b.1) {
        let end = at + group.len();
        let other = found.get(at..end).unwrap_or_default();
        for (i, (our, their)) in group.iter().zip(other).enumerate() {
            if our.1 != their.1 {
                return Verdict::Different(differing(at + i, *our, *their));
            }
        }
        let ids = |hits: &[Hit]| hits.iter().map(|hit| hit.0).collect::<BTreeSet<u64>>();
        // Of the last distance there may be more rows than were asked for.
        let is_cut_off = end == expected.len() && end == limit;
        if !is_cut_off && ids(group) != ids(other) {
            let mut pairs = group.iter().zip(other).enumerate();
            if let Some((i, (our, their))) = pairs.find(|(_, (a, b))| a != b) {
                return Verdict::Different(differing(at + i, *our, *their));
            }
        }
        at = end;
    }
    Verdict::Ties
}

fn differing(place: usize, expected: Hit, found: Hit) -> String {
    let words = |hit: Hit| format!("row id {} at distance {}", hit.0, f32::from_bits(hit.1));
    format!(
        "place {place} (from 0) has {} where the primary has {}",
        words(found),
        words(expected)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(hits: &[(u64, f32)]) -> Vec<Hit> {
        hits.iter().map(|(id, d)| (*id, d.to_bits())).collect()
    }

    #[test]
    fn equal_distances_may_come_in_any_order() {
        let ours = answer(&[(1, 0.1), (2, 0.2), (3, 0.2), (4, 0.4)]);
        let swapped = answer(&[(1, 0.1), (3, 0.2), (2, 0.2), (4, 0.4)]);
        assert_eq!(judge(&ours, &ours, 4), Verdict::Same);
        assert_eq!(judge(&ours, &swapped, 4), Verdict::Ties);
        // The limit cut off one of several at the last distance.
        let cut = answer(&[(1, 0.1), (2, 0.2), (3, 0.2), (9, 0.4)]);
        assert_eq!(judge(&ours, &cut, 4), Verdict::Ties);
        // There were no more rows than these: nothing was cut off.
        assert!(matches!(judge(&ours, &cut, 10), Verdict::Different(_)));
    }

    #[test]
    fn any_other_difference_is_named() {
        let ours = answer(&[(1, 0.1), (2, 0.2), (3, 0.3)]);
        let nearly = f32::from_bits(0.2f32.to_bits() + 1);
        for (theirs, words) in [
            (answer(&[(1, 0.1), (2, 0.2)]), "2 rows where"),
            (answer(&[(1, 0.1), (7, 0.2), (3, 0.3)]), "place 1 (from 0)"),
            (answer(&[(2, 0.1), (1, 0.2), (3, 0.3)]), "place 0 (from 0)"),
            (
                answer(&[(1, 0.1), (2, nearly), (3, 0.3)]),
                "place 1 (from 0)",
            ),
        ] {
            let Verdict::Different(text) = judge(&ours, &theirs, 3) else {
                panic!("{theirs:?} was taken");
            };
            assert!(text.contains(words), "{text}");
        }
    }
}
