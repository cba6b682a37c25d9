//! Rows to test with: the sample, and small tables.

use std::{fs::File, path::Path, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int64Array, RecordBatch,
        StringArray,
    },
    compute::concat_batches,
    datatypes::{DataType, Field, Float32Type, Int64Type, Schema},
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use lancegate::proto::v1::{PackedFloats, Rows, Vector, rows, vector};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn parquet(name: &str) -> RecordBatch {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("sample")
        .join(name);
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap())
        .unwrap()
        .build()
        .unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// The sample, its vector column as a fixed-size list of 384 float32.
pub fn packages() -> RecordBatch {
    fixed_vectors(&parquet("packages.parquet"))
}

/// A held-out query with its exact ten nearest rows.
pub struct SampleQuery {
    pub vector: Vec<f32>,
    pub neighbors: Vec<i64>,
}

/// The sample's queries.
pub fn queries() -> Vec<SampleQuery> {
    let batch = fixed_vectors(&parquet("package_queries.parquet"));
    let vectors = batch
        .column_by_name("vector")
        .unwrap()
        .as_fixed_size_list()
        .clone();
    let neighbors = batch.column_by_name("neighbors").unwrap();
    (0..batch.num_rows())
        .map(|row| SampleQuery {
            vector: vectors
                .value(row)
                .as_primitive::<Float32Type>()
                .values()
                .to_vec(),
            neighbors: list_values(neighbors, row),
        })
        .collect()
}

fn list_values(column: &ArrayRef, row: usize) -> Vec<i64> {
    let values = match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().value(row),
        DataType::FixedSizeList(..) => column.as_fixed_size_list().value(row),
        other => panic!("neighbors are {other}"),
    };
    let values = arrow::compute::cast(&values, &DataType::Int64).unwrap();
    values.as_primitive::<Int64Type>().values().to_vec()
}

fn fixed_vectors(batch: &RecordBatch) -> RecordBatch {
    let index = batch.schema().index_of("vector").unwrap();
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let target = DataType::FixedSizeList(item, 384);
    let vectors = arrow::compute::cast(batch.column(index), &target).unwrap();
    let mut fields: Vec<Field> = batch
        .schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    fields[index] = Field::new("vector", target, true);
    let mut columns = batch.columns().to_vec();
    columns[index] = vectors;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// A folder as LanceDB takes it.
pub fn url(folder: &Path) -> String {
    super::place::uri(folder)
}

/// Rows `first..first + count` of a small table: id, text, and a vector of 4.
pub fn small(first: i64, count: i64) -> RecordBatch {
    let ids = Int64Array::from_iter_values(first..first + count);
    let text = StringArray::from_iter_values((first..first + count).map(|i| format!("row {i}")));
    let values = Float32Array::from_iter_values(
        (first..first + count).flat_map(|i| (0..4).map(move |d| (i * 4 + d) as f32)),
    );
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let vectors = FixedSizeListArray::new(Arc::clone(&item), 4, Arc::new(values), None);
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("text", DataType::Utf8, true),
        Field::new("vector", DataType::FixedSizeList(item, 4), true),
    ]);
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(text), Arc::new(vectors)];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// A batch as a request carries it.
pub fn ipc(batch: &RecordBatch) -> Rows {
    Rows {
        format: Some(rows::Format::ArrowIpc(ipc_bytes(batch).into())),
    }
}

/// A batch as an Arrow IPC stream.
pub fn ipc_bytes(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

/// Answered Arrow IPC rows as one batch.
pub fn batch(rows: Option<Rows>) -> RecordBatch {
    match rows.expect("rows").format {
        Some(rows::Format::ArrowIpc(bytes)) => read_ipc(&bytes),
        other => panic!("not Arrow IPC: {other:?}"),
    }
}

/// An Arrow IPC stream as one batch.
pub fn read_ipc(bytes: &[u8]) -> RecordBatch {
    let reader = StreamReader::try_new(bytes, None).unwrap();
    let schema = reader.schema();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// A query vector as floats.
pub fn floats(values: &[f32]) -> Vector {
    Vector {
        data: Some(vector::Data::Floats(PackedFloats {
            values: values.to_vec(),
        })),
    }
}

/// The int64 column of a batch.
pub fn ids(batch: &RecordBatch) -> Vec<i64> {
    let column = batch.column_by_name("id").unwrap();
    assert_eq!(column.null_count(), 0);
    column.as_primitive::<Int64Type>().values().to_vec()
}
