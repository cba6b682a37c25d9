//! Distance types, in LanceDB's words and ours.

use lancedb::DistanceType;

use crate::domain::search::Distance;

/// LanceDB's word.
pub(super) fn to_lancedb(distance: Distance) -> DistanceType {
    match distance {
        Distance::L2 => DistanceType::L2,
        Distance::Cosine => DistanceType::Cosine,
        Distance::Dot => DistanceType::Dot,
        Distance::Hamming => DistanceType::Hamming,
    }
}

/// Our word; `None` for one that a later LanceDB may add.
pub(super) fn from_lancedb(distance: DistanceType) -> Option<Distance> {
    match distance {
        DistanceType::L2 => Some(Distance::L2),
        DistanceType::Cosine => Some(Distance::Cosine),
        DistanceType::Dot => Some(Distance::Dot),
        DistanceType::Hamming => Some(Distance::Hamming),
        _ => None,
    }
}
