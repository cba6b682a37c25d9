//! Rows of a request or an answer: Arrow IPC bytes or typed values, to and from
//! record batches.

mod columns;
mod encode;
mod leaf;
mod lists;

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Field, FieldRef, Schema, SchemaRef},
};

use super::{faults::Faults, ipc, schema};
use crate::{
    domain::{Error, Result},
    proto::v1::{self as pb, rows::Format},
};
use columns::{Budget, Fault};

/// Rows that came in with a request.
#[derive(Debug, Clone)]
pub struct DecodedRows {
    pub schema: SchemaRef,
    /// All of `schema`. None where there are no rows.
    pub batches: Vec<RecordBatch>,
    pub num_rows: usize,
}

/// Reads the rows of a request. `table_schema` is the schema of the table that they
/// are for, if it exists: typed rows may leave their types to it. `field` is the
/// path of `rows`. Every typed value is checked against its column, and the first
/// fault of each column is reported. Whether the columns are those of the table is
/// not checked here.
pub fn decode_rows(
    rows: Option<pb::Rows>,
    table_schema: Option<&SchemaRef>,
    field: &str,
) -> Result<DecodedRows> {
    match rows.and_then(|rows| rows.format) {
        None => Err(Error::invalid(field, "is required")),
        Some(Format::ArrowIpc(stream)) => {
            let (schema, batches) = ipc::decode_stream(stream, &format!("{field}.arrow_ipc"))?;
            Ok(DecodedRows {
                schema,
                num_rows: batches.iter().map(RecordBatch::num_rows).sum(),
                batches,
            })
        }
        Some(Format::Typed(typed)) => {
            let path = format!("{field}.typed");
            let schema = typed_schema(typed.schema, table_schema, &format!("{path}.schema"))?;
            let batch = batch(&typed.rows, schema.clone(), &format!("{path}.rows"))?;
            Ok(DecodedRows {
                schema,
                num_rows: batch.num_rows(),
                batches: if batch.num_rows() == 0 {
                    vec![]
                } else {
                    vec![batch]
                },
            })
        }
    }
}

/// Reads the keys of a Get: typed rows with one value for each of `columns`. Paths
/// begin with `keys`.
pub fn decode_key_batch(keys: &[pb::Row], columns: Vec<Field>) -> Result<RecordBatch> {
    batch(keys, Arc::new(Schema::new(columns)), "keys")
}

/// Writes the rows of an answer. Every batch has this schema.
pub fn encode_rows(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    format: pb::RowFormat,
) -> Result<pb::Rows> {
    let format = match format {
        pb::RowFormat::Unspecified | pb::RowFormat::ArrowIpc => {
            Format::ArrowIpc(ipc::encode_stream(schema, batches)?)
        }
        pb::RowFormat::Typed => Format::Typed(pb::TypedRows {
            schema: Some(schema::to_pb(schema)?),
            rows: encode::rows(batches)?,
        }),
    };
    Ok(pb::Rows {
        format: Some(format),
    })
}

/// The format that a request asks for. `number` is its field `row_format`.
pub fn row_format(number: i32) -> Result<pb::RowFormat> {
    pb::RowFormat::try_from(number)
        .map_err(|_| Error::invalid("row_format", "is not a format of this server"))
}

/// The columns of typed rows: each with its own type or, where it has none, the
/// type of the table's column of that name; without any, the table's, in order.
fn typed_schema(
    schema: Option<pb::Schema>,
    table: Option<&SchemaRef>,
    path: &str,
) -> Result<SchemaRef> {
    let schema = match schema {
        Some(schema) if !schema.fields.is_empty() => schema,
        _ => {
            return table
                .cloned()
                .ok_or_else(|| Error::invalid(path, "is required"));
        }
    };
    let typed = |field: &pb::Field| field.r#type.is_some();
    let Some(table) = table.filter(|_| !schema.fields.iter().all(typed)) else {
        return schema::from_pb(schema, path).map(Arc::new);
    };
    if schema.fields.len() > schema::MAX_FIELDS {
        let fault = format!("has more than {} columns", schema::MAX_FIELDS);
        return Err(Error::invalid(format!("{path}.fields"), fault));
    }
    let mut faults = Faults::default();
    let mut fields: Vec<FieldRef> = Vec::with_capacity(schema.fields.len());
    let mut names = std::collections::HashSet::new();
    for (i, field) in schema.fields.iter().enumerate() {
        let path = format!("{path}.fields[{i}]");
        if !names.insert(field.name.as_str()) {
            faults.add(format!("{path}.name"), "is there twice");
        } else if typed(field) {
            let field = faults.keep(schema::field_from_pb(field, &path));
            fields.extend(field.map(Arc::new));
        } else {
            match table.fields().find(&field.name) {
                Some((_, field)) => fields.push(field.clone()),
                None => faults.add(format!("{path}.name"), "is not a column of the table"),
            }
        }
    }
    faults.finish()?;
    Ok(Arc::new(Schema::new_with_metadata(fields, schema.metadata)))
}

/// Typed rows as a batch. `path` is that of `rows`.
fn batch(rows: &[pb::Row], schema: SchemaRef, path: &str) -> Result<RecordBatch> {
    let width = schema.fields().len();
    if let Some((i, row)) = rows
        .iter()
        .enumerate()
        .find(|(_, row)| row.values.len() != width)
    {
        return Err(Error::invalid(
            format!("{path}[{i}].values"),
            format!("has {} values for {width} columns", row.values.len()),
        ));
    }
    let mut budget = Budget::new();
    for field in schema.fields() {
        let cost = columns::slot_bytes(field.data_type());
        budget
            .spend(rows.len(), cost)
            .map_err(|fault| Error::invalid(path, fault))?;
    }
    let mut faults = Faults::default();
    let mut arrays = Vec::with_capacity(width);
    for (j, field) in schema.fields().iter().enumerate() {
        let values = rows.iter().map(|row| row.values.get(j));
        match columns::column(values, field, &mut budget) {
            Ok(array) => arrays.push(array),
            Err(Fault {
                slot,
                path: inner,
                text,
            }) => {
                faults.add(
                    format!("{path}[{slot}].values[{j}]{inner}"),
                    describe(field, &text),
                );
            }
        }
    }
    faults.finish()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema, arrays, &options).map_err(ipc::internal)
}

fn describe(field: &Field, text: &str) -> String {
    format!("column '{}': {text}", field.name())
}

#[cfg(test)]
mod tests;
