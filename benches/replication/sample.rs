//! The sample as a table that grows: its rows over and over, numbered on.

use std::sync::Arc;

use arrow::{
    array::{Int64Array, RecordBatch, UInt64Array},
    compute::{cast, take_record_batch},
    datatypes::{DataType, Field, Schema},
};

use crate::{
    Result,
    dataset::{DIMENSION, column, embeddings, parquet},
};

/// The sample's rows and queries.
pub struct Sample {
    rows: RecordBatch,
    pub queries: Vec<Vec<f32>>,
}

impl Sample {
    pub fn read() -> Result<Self> {
        let rows = parquet("packages.parquet")?;
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let vector = DataType::FixedSizeList(item, DIMENSION as i32);
        let vectors = cast(column(&rows, "vector")?, &vector)?;
        let schema = rows.schema();
        let at = schema.index_of("vector")?;
        let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        fields[at] = Field::new("vector", vector, true);
        let mut columns = rows.columns().to_vec();
        columns[at] = vectors;
        Ok(Self {
            rows: RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?,
            queries: embeddings(&parquet("package_queries.parquet")?)?,
        })
    }

    /// How many rows the sample has.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Rows with the ids from `first` on.
    pub fn rows(&self, first: usize, count: usize) -> Result<RecordBatch> {
        let ids = first..first + count;
        let from = ids.clone().map(|id| (id % self.len()) as u64);
        let rows = take_record_batch(&self.rows, &UInt64Array::from_iter_values(from))?;
        let at = rows.schema().index_of("id")?;
        let mut columns = rows.columns().to_vec();
        columns[at] = Arc::new(Int64Array::from_iter_values(ids.map(|id| id as i64)));
        Ok(RecordBatch::try_new(rows.schema(), columns)?)
    }
}
