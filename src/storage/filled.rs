//! What LanceDB fills in where new rows lack a column of the table, or have one of
//! nulls without a type: a null of the table's type for each row. A null vector is as
//! long as any other, so that a few bytes of rows may become gigabytes.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, Fields, SchemaRef},
};

use super::size::width;
use crate::domain::{Error, Result};

/// Bytes that may be filled in for the rows of one message. LanceDB holds them twice
/// while it does.
const MAX_BYTES: u64 = 256 << 20;

/// Refuses rows for which too much is filled in. `field` is theirs.
///
/// # Errors
/// [`Error::Invalid`], which names the columns.
pub(super) fn check(field: &str, table: &SchemaRef, batches: &[RecordBatch]) -> Result<()> {
    let mut all = Filled::default();
    for batch in batches {
        let (given, columns) = (batch.schema_ref().fields(), batch.columns());
        all.columns(table.fields(), given, columns, batch.num_rows());
    }
    if all.bytes <= MAX_BYTES {
        return Ok(());
    }
    let text = format!(
        "lacks values of column '{}' in so many rows that {} bytes would be filled in, and at most {MAX_BYTES} may be: send fewer rows at once",
        all.column, all.bytes
    );
    Err(Error::invalid(field, text))
}

#[derive(Default)]
struct Filled {
    bytes: u64,
    /// The one with the most bytes so far.
    column: String,
    most: u64,
}

impl Filled {
    fn columns(&mut self, wanted: &Fields, given: &Fields, columns: &[ArrayRef], rows: usize) {
        for field in wanted {
            let found = given.iter().position(|g| g.name() == field.name());
            let bytes = match found {
                Some(at) => bytes(columns[at].as_ref(), field.data_type()),
                None => nulls(rows, field.data_type()),
            };
            self.bytes = self.bytes.saturating_add(bytes);
            if bytes > self.most {
                self.most = bytes;
                self.column = field.name().clone();
            }
        }
    }
}

/// What is filled in where a column becomes one of another type.
fn bytes(column: &dyn Array, to: &DataType) -> u64 {
    match (column.data_type(), to) {
        (DataType::Null, _) => nulls(column.len(), to),
        (DataType::List(_), DataType::List(to) | DataType::LargeList(to)) => {
            bytes(column.as_list::<i32>().values().as_ref(), to.data_type())
        }
        (DataType::LargeList(_), DataType::List(to) | DataType::LargeList(to)) => {
            bytes(column.as_list::<i64>().values().as_ref(), to.data_type())
        }
        (DataType::FixedSizeList(..), DataType::FixedSizeList(to, _)) => bytes(
            column.as_fixed_size_list().values().as_ref(),
            to.data_type(),
        ),
        (DataType::Struct(given), DataType::Struct(wanted)) => {
            let mut within = Filled::default();
            within.columns(wanted, given, column.as_struct().columns(), column.len());
            within.bytes
        }
        _ => 0,
    }
}

/// Nulls of a type: those of texts and lists are an offset each.
fn nulls(rows: usize, to: &DataType) -> u64 {
    let each = width(to).max(8);
    each.saturating_mul(rows as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{BooleanArray, FixedSizeListArray, Float32Array, NullArray, StructArray},
        datatypes::{Field, Schema},
    };

    use super::*;

    fn vector(length: i32) -> DataType {
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        DataType::FixedSizeList(item, length)
    }

    fn table() -> SchemaRef {
        let inner = Field::new("v", vector(1_536), true);
        Arc::new(Schema::new(vec![
            Field::new("flag", DataType::Boolean, true),
            Field::new("vector", vector(1_536), true),
            Field::new("s", DataType::Struct(vec![inner].into()), true),
        ]))
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
            .unwrap()
    }

    fn flags(rows: usize) -> ArrayRef {
        Arc::new(BooleanArray::from(vec![true; rows]))
    }

    #[test]
    fn few_rows_may_lack_anything() {
        let rows = batch(vec![("flag", flags(1_000))]);
        check("rows", &table(), &[rows]).unwrap();
    }

    #[test]
    fn many_rows_have_their_vectors() {
        // 20,000 x 6 KiB and 40,000 of them.
        let rows = 22_000;
        let nulls: ArrayRef = Arc::new(NullArray::new(rows));
        let inner = Arc::new(Field::new("v", DataType::Null, true));
        let nested: ArrayRef = Arc::new(StructArray::from(vec![(inner, Arc::clone(&nulls))]));
        for (what, columns) in [
            ("lacks both", vec![("flag", flags(rows))]),
            (
                "nulls",
                vec![
                    ("flag", flags(rows)),
                    ("vector", Arc::clone(&nulls)),
                    ("s", nested),
                ],
            ),
        ] {
            let error = check("rows", &table(), &[batch(columns)]).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("column 'vector'"), "{what}: {text}");
        }
        // Several batches of one message count together.
        let half = || batch(vec![("flag", flags(rows / 2))]);
        check("rows", &table(), &[half()]).unwrap();
        check("rows", &table(), &[half(), half()]).unwrap_err();
    }

    #[test]
    fn what_is_there_costs_nothing() {
        let rows = 100;
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let values = Arc::new(Float32Array::from(vec![0.0; rows * 1_536]));
        let there = FixedSizeListArray::try_new(item, 1_536, values, None).unwrap();
        assert_eq!(bytes(&there, &vector(1_536)), 0);
    }
}
