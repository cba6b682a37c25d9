//! The rows of an answer, as they are compared.

use arrow::{
    array::{Array, AsArray},
    datatypes::{Float32Type, UInt64Type},
};

use crate::{
    domain::{Error, Hit, Result},
    storage::Rows,
};

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
        let distance = |row| match distances.is_null(row) {
            true => f32::NAN,
            false => distances.value(row),
        };
        hits.extend((0..batch.num_rows()).map(|row| Hit {
            key: ids.value(row),
            distance: distance(row),
        }));
    }
    Ok(hits)
}
