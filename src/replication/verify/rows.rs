//! The rows of one version, read at two places and compared in their order.

use arrow::array::RecordBatch;
use futures::TryStreamExt;

use crate::{
    domain::{Error, Result, search::Scan},
    storage::{Batches, Rules, Snapshot},
};

/// How the rows of two places compare.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// They are the same.
    Same { rows: u64 },
    /// They are not, and how; values are not shown.
    Different(String),
}

/// Which of two places had an error.
#[derive(Debug)]
pub(super) enum Side {
    Primary(Error),
    Replica(Error),
}

/// Reads both and compares every value of every row, row ids included.
pub(super) async fn compare(primary: &Snapshot, replica: &Snapshot) -> Result<Rows, Side> {
    let mut ours = Cursor::open(primary).await.map_err(Side::Primary)?;
    let mut theirs = Cursor::open(replica).await.map_err(Side::Replica)?;
    let mut rows = 0;
    loop {
        let our = ours.look().await.map_err(Side::Primary)?;
        let their = theirs.look().await.map_err(Side::Replica)?;
        let (our, their) = match (our, their) {
            (Some(our), Some(their)) => (our, their),
            (None, None) => return Ok(Rows::Same { rows }),
            (Some(_), None) => return Ok(ends_at("replica", rows)),
            (None, Some(_)) => return Ok(ends_at("primary", rows)),
        };
        let together = our.num_rows().min(their.num_rows());
        let (our, their) = (our.slice(0, together), their.slice(0, together));
        if our != their {
            return Ok(Rows::Different(first_difference(&our, &their, rows)));
        }
        rows += together as u64;
        ours.advance(together);
        theirs.advance(together);
    }
}

fn ends_at(place: &str, rows: u64) -> Rows {
    Rows::Different(format!("the {place}'s rows end after {rows}"))
}

/// Where in two batches the first row is that is not the same, and in which
/// columns.
fn first_difference(our: &RecordBatch, their: &RecordBatch, before: u64) -> String {
    if our.schema() != their.schema() {
        return "the columns are not the same".into();
    }
    let differs = |row: &usize| our.slice(*row, 1) != their.slice(*row, 1);
    let row = (0..our.num_rows()).find(differs).unwrap_or(0);
    let schema = our.schema();
    let columns = schema.fields().iter().enumerate().filter(|(i, _)| {
        our.column(*i).slice(row, 1).to_data() != their.column(*i).slice(row, 1).to_data()
    });
    let names: Vec<&str> = columns.map(|(_, field)| field.name().as_str()).collect();
    format!(
        "row {} (from 0) differs in {}",
        before + row as u64,
        names.join(", ")
    )
}

/// The rows of a version that are still to be compared. At most one batch of
/// them is here.
struct Cursor {
    batches: Batches,
    current: Option<RecordBatch>,
}

impl Cursor {
    async fn open(snapshot: &Snapshot) -> Result<Self> {
        let scan = Scan {
            with_row_id: true,
            ..Scan::default()
        };
        let rows = snapshot.count_all().await?;
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        Ok(Self {
            batches: snapshot.scan(&scan, 0, rows, &Rules::ours()).await?,
            current: None,
        })
    }

    /// Rows that come next; `None` at the end.
    async fn look(&mut self) -> Result<Option<&RecordBatch>> {
        while self.current.as_ref().is_none_or(|b| b.num_rows() == 0) {
            self.current = self.batches.stream.try_next().await?;
            if self.current.is_none() {
                return Ok(None);
            }
        }
        Ok(self.current.as_ref())
    }

    /// Leaves these rows behind.
    fn advance(&mut self, rows: usize) {
        if let Some(batch) = &mut self.current {
            *batch = batch.slice(rows, batch.num_rows() - rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float32Array, Int64Array};

    use super::*;

    #[test]
    fn the_first_row_that_differs_is_named_with_its_columns() {
        let batch = |ids: [i64; 3], floats: [f32; 3]| {
            let columns: [(&str, ArrayRef); 2] = [
                ("id", Arc::new(Int64Array::from_iter_values(ids))),
                ("x", Arc::new(Float32Array::from_iter_values(floats))),
            ];
            RecordBatch::try_from_iter(columns).unwrap()
        };
        let ours = batch([1, 2, 3], [0.5, f32::NAN, 0.0]);
        // Bits are compared: NaN is NaN, and -0 is not 0.
        assert_eq!(ours, batch([1, 2, 3], [0.5, f32::NAN, 0.0]));
        let theirs = batch([1, 2, 3], [0.5, f32::NAN, -0.0]);
        assert_ne!(ours, theirs);
        let text = first_difference(&ours, &theirs, 1000);
        assert_eq!(text, "row 1002 (from 0) differs in x");
        let text = first_difference(&ours, &batch([1, 9, 3], [0.5, 0.1, 0.0]), 0);
        assert_eq!(text, "row 1 (from 0) differs in id, x");
    }
}
