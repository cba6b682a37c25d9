//! The rows, the queries and their exact answers: the sample, grown.

use std::{collections::HashSet, fs::File, path::Path, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int64Array, RecordBatch,
        RecordBatchReader, StringArray,
    },
    compute::{cast, concat_batches},
    datatypes::{DataType, Field, Float32Type, Schema},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::Result;

/// Elements of the sample's embeddings.
pub const DIMENSION: usize = 384;

/// How many rows a search answers.
pub const TOP: usize = 10;

/// Every run makes the same table.
pub const SEED: u64 = 20_261_121;

/// Length of the noise that is added to a unit vector, which is then made a
/// unit vector again: the two have a cosine of about 0.93.
pub const NOISE: f32 = 0.4;

pub struct Dataset {
    titles: Vec<String>,
    /// Row after row. The id of a row is its number.
    vectors: Vec<f32>,
    pub queries: Vec<Vec<f32>>,
    /// Ids of the `TOP` nearest rows of each query.
    exact: Vec<HashSet<i64>>,
}

impl Dataset {
    /// The sample's rows, then noisy copies of them until there are `rows`.
    pub fn grow(rows: usize) -> Result<Self> {
        let sample = parquet("packages.parquet")?;
        let titles = cast(column(&sample, "title")?, &DataType::Utf8)?;
        let titles = titles.as_string::<i32>();
        let originals = embeddings(&sample)?;
        let mut random = StdRng::seed_from_u64(SEED);
        let mut vectors = Vec::with_capacity(rows * DIMENSION);
        for row in 0..rows {
            let original = &originals[row % originals.len()];
            if row < originals.len() {
                vectors.extend_from_slice(original);
            } else {
                vectors.extend(with_noise(original, &mut random));
            }
        }
        let queries = embeddings(&parquet("package_queries.parquet")?)?;
        Ok(Self {
            titles: (0..rows)
                .map(|row| titles.value(row % titles.len()).to_owned())
                .collect(),
            exact: queries
                .iter()
                .map(|query| nearest(query, &vectors))
                .collect(),
            vectors,
            queries,
        })
    }

    pub fn num_rows(&self) -> usize {
        self.titles.len()
    }

    /// The rows as they are imported: id, title, vector.
    pub fn batches(&self, rows_each: usize) -> Result<Vec<RecordBatch>> {
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let vector = DataType::FixedSizeList(Arc::clone(&item), DIMENSION as i32);
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("title", DataType::Utf8, false),
            Field::new("vector", vector, false),
        ]));
        let batch = |begin: usize| {
            let rows = begin..self.num_rows().min(begin + rows_each);
            let values = &self.vectors[rows.start * DIMENSION..rows.end * DIMENSION];
            let values = Arc::new(Float32Array::from(values.to_vec()));
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from_iter_values(
                    rows.clone().map(|row| row as i64),
                )),
                Arc::new(StringArray::from_iter_values(&self.titles[rows])),
                Arc::new(FixedSizeListArray::try_new(
                    Arc::clone(&item),
                    DIMENSION as i32,
                    values,
                    None,
                )?),
            ];
            Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
        };
        (0..self.num_rows()).step_by(rows_each).map(batch).collect()
    }

    /// The share of the exact neighbours that are among the answers.
    pub fn recall(&self, answers: &[Vec<i64>]) -> f64 {
        let found = |(answer, exact): (&Vec<i64>, &HashSet<i64>)| {
            answer.iter().filter(|id| exact.contains(id)).count()
        };
        let found: usize = answers.iter().zip(&self.exact).map(found).sum();
        found as f64 / (self.exact.len() * TOP) as f64
    }
}

/// Uniform noise of length `NOISE`, near enough: in so many dimensions its
/// length hardly varies.
fn with_noise(original: &[f32], random: &mut StdRng) -> Vec<f32> {
    let most = NOISE * (3.0 / DIMENSION as f32).sqrt();
    let noisy = original
        .iter()
        .map(|x| x + random.random_range(-most..most));
    let noisy: Vec<f32> = noisy.collect();
    let length = noisy.iter().map(|x| x * x).sum::<f32>().sqrt();
    noisy.iter().map(|x| x / length).collect()
}

/// The rows of the largest dot products, which for unit vectors are those of
/// the smallest cosine distances.
fn nearest(query: &[f32], vectors: &[f32]) -> HashSet<i64> {
    let mut ranked: Vec<(f32, usize)> = vectors
        .chunks_exact(DIMENSION)
        .map(|vector| query.iter().zip(vector).map(|(a, b)| a * b).sum())
        .enumerate()
        .map(|(row, similarity)| (similarity, row))
        .collect();
    ranked.select_nth_unstable_by(TOP - 1, |a, b| b.0.total_cmp(&a.0));
    ranked[..TOP].iter().map(|(_, row)| *row as i64).collect()
}

/// A file of the sample.
pub fn sample_file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("sample")
        .join(name)
}

/// The rows of a file of the sample.
pub fn parquet(name: &str) -> Result<RecordBatch> {
    let file = File::open(sample_file(name))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.build()?;
    let schema = reader.schema();
    let batches = reader.collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}

/// A column by its name.
pub fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    let column = batch.column_by_name(name);
    column.ok_or_else(|| format!("the sample has no column {name}").into())
}

/// The column `vector`.
pub fn embeddings(batch: &RecordBatch) -> Result<Vec<Vec<f32>>> {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let lists = cast(
        column(batch, "vector")?,
        &DataType::FixedSizeList(item, DIMENSION as i32),
    )?;
    let values = lists.as_fixed_size_list().values();
    let values = values.as_primitive::<Float32Type>().values();
    Ok(values
        .chunks_exact(DIMENSION)
        .map(<[f32]>::to_vec)
        .collect())
}
