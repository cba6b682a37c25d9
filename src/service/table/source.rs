//! What a new table begins with.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};

use crate::{
    domain::{Error, Result},
    proto::v1::create_table_request,
    wire::{ipc, rows::decode_rows, schema},
};

/// Columns and first rows of a new table.
pub(super) struct Source {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

/// Reads the source of a CreateTable request.
pub(super) fn source(source: Option<create_table_request::Source>) -> Result<Source> {
    use create_table_request::Source as S;
    let source = match source {
        Some(S::Schema(columns)) => Source {
            schema: Arc::new(schema::from_pb(columns, "schema")?),
            batches: Vec::new(),
        },
        Some(S::ArrowIpcSchema(bytes)) => Source {
            schema: ipc::decode_schema(&bytes, "arrow_ipc_schema")?,
            batches: Vec::new(),
        },
        Some(S::Rows(rows)) => {
            let rows = decode_rows(Some(rows), None, "rows")?;
            Source {
                schema: rows.schema,
                batches: rows.batches,
            }
        }
        None => {
            let text = "is required: schema, arrow_ipc_schema or rows";
            return Err(Error::invalid("source", text));
        }
    };
    if source.schema.fields().is_empty() {
        return Err(Error::invalid("source", "has no columns"));
    }
    Ok(source)
}
