//! New rows that come batch by batch, for a table of which not all may be there to who
//! sends them.

use std::sync::{Arc, OnceLock};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::{Stream, StreamExt};
use lancedb::arrow::{SendableRecordBatchStream, SimpleRecordBatchStream};

use super::{filled, scope::View};
use crate::domain::{Error, Result};

/// Why rows were refused. LanceDB hands an error of its input back as one of its own.
#[derive(Default, Clone)]
pub(super) struct Refused(Arc<OnceLock<Error>>);

impl Refused {
    /// What it was, or what LanceDB says.
    pub(super) fn or(&self, other: impl FnOnce() -> Error) -> Error {
        self.0.get().cloned().unwrap_or_else(other)
    }
}

/// The rows as LanceDB takes them, for a table with this schema if they are added to
/// one; they end with the first one that is not allowed.
pub(super) fn within(
    view: Option<View>,
    table: Option<SchemaRef>,
    schema: SchemaRef,
    rows: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> (SendableRecordBatchStream, Refused) {
    let refused = Refused::default();
    let kept = refused.clone();
    let stream = rows.map(move |batch| {
        let allowed = |batch: &RecordBatch| {
            if let Some(view) = &view {
                view.check_new_rows(batch)?;
            }
            match &table {
                Some(table) => filled::check("arrow_ipc", table, std::slice::from_ref(batch)),
                None => Ok(()),
            }
        };
        let checked = batch.and_then(|batch| match allowed(&batch) {
            Ok(()) => Ok(batch),
            Err(error) => {
                // The first one counts.
                let _ = kept.0.set(error.clone());
                Err(error)
            }
        });
        checked.map_err(|e| lancedb::Error::External {
            source: Box::new(e),
        })
    });
    (
        Box::pin(SimpleRecordBatchStream { schema, stream }),
        refused,
    )
}
