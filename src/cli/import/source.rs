//! Files as record batches.

use std::{
    fs::File,
    io::{BufReader, Read, Seek},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{RecordBatch, RecordBatchReader},
    csv,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::reader::{FileReader, StreamReader},
    json,
};
use clap::ValueEnum;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::cli::error::CliError;

/// Rows of CSV and JSON that their types are inferred from.
const INFERENCE_ROWS: usize = 10_000;

/// Rows that are read at once.
const BATCH_ROWS: usize = 1_024;

/// First bytes of an Arrow IPC file, as opposed to a stream.
const ARROW_FILE_MAGIC: &[u8] = b"ARROW1";

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    Parquet,
    /// An Arrow IPC file or stream.
    Arrow,
    /// With a header line.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

impl Format {
    /// By the ending of the name.
    pub(super) fn of(path: &Path) -> Result<Self, CliError> {
        let ending = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "parquet" | "pq" => Ok(Format::Parquet),
            "arrow" | "arrows" | "ipc" | "feather" => Ok(Format::Arrow),
            "csv" => Ok(Format::Csv),
            "jsonl" | "ndjson" => Ok(Format::Jsonl),
            _ => Err(CliError::Usage(format!(
                "{}: the name does not tell the format: give it with --format",
                path.display()
            ))),
        }
    }
}

/// Batches of one file.
pub(in crate::cli) struct Source {
    pub(super) path: PathBuf,
    pub(super) schema: SchemaRef,
    /// Where the file says so.
    pub(super) rows: Option<u64>,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
}

impl Source {
    /// Opens a file. CSV and JSON are read as `schema`, or as what their first
    /// rows look like; the other formats know their schema.
    pub(in crate::cli) fn open(
        path: &Path,
        format: Format,
        schema: Option<&SchemaRef>,
    ) -> Result<Self, CliError> {
        let fault = |error: ArrowError| CliError::file(path, error);
        let file = File::open(path).map_err(|error| CliError::file(path, error))?;
        let mut rows = None;
        let (schema, batches): (SchemaRef, Box<dyn Iterator<Item = _> + Send>) = match format {
            Format::Parquet => {
                let builder = ParquetRecordBatchReaderBuilder::try_new(file);
                let builder = builder
                    .map_err(|error| CliError::file(path, error))?
                    .with_batch_size(BATCH_ROWS);
                rows = u64::try_from(builder.metadata().file_metadata().num_rows()).ok();
                let reader = builder
                    .build()
                    .map_err(|error| CliError::file(path, error))?;
                (reader.schema(), Box::new(reader))
            }
            Format::Arrow if is_arrow_file(&file).map_err(fault)? => {
                let reader = FileReader::try_new_buffered(file, None).map_err(fault)?;
                (reader.schema(), Box::new(reader))
            }
            Format::Arrow => {
                let reader = StreamReader::try_new_buffered(file, None).map_err(fault)?;
                (reader.schema(), Box::new(reader))
            }
            Format::Csv => {
                let schema = read_as(schema, || infer_csv(&file)).map_err(fault)?;
                let reader = csv::ReaderBuilder::new(schema.clone())
                    .with_header(true)
                    .with_batch_size(BATCH_ROWS);
                (schema, Box::new(reader.build(file).map_err(fault)?))
            }
            Format::Jsonl => {
                let schema = read_as(schema, || infer_json(&file)).map_err(fault)?;
                let reader = json::ReaderBuilder::new(schema.clone()).with_batch_size(BATCH_ROWS);
                (
                    schema,
                    Box::new(reader.build(BufReader::new(file)).map_err(fault)?),
                )
            }
        };
        Ok(Source {
            path: path.to_path_buf(),
            schema,
            rows,
            batches,
        })
    }

    /// The next batch that has rows.
    pub(in crate::cli) fn next(&mut self) -> Result<Option<RecordBatch>, CliError> {
        for batch in &mut self.batches {
            let batch = batch.map_err(|error| CliError::file(&self.path, error))?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

fn read_as(
    schema: Option<&SchemaRef>,
    infer: impl FnOnce() -> Result<SchemaRef, ArrowError>,
) -> Result<SchemaRef, ArrowError> {
    schema.cloned().map_or_else(infer, Ok)
}

fn is_arrow_file(mut file: &File) -> Result<bool, ArrowError> {
    let mut start = Vec::new();
    file.take(ARROW_FILE_MAGIC.len() as u64)
        .read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start == ARROW_FILE_MAGIC)
}

fn infer_csv(mut file: &File) -> Result<SchemaRef, ArrowError> {
    let format = csv::reader::Format::default().with_header(true);
    let (schema, _) = format.infer_schema(BufReader::new(file), Some(INFERENCE_ROWS))?;
    file.rewind()?;
    Ok(Arc::new(schema))
}

fn infer_json(mut file: &File) -> Result<SchemaRef, ArrowError> {
    let (schema, _) = json::reader::infer_json_schema(BufReader::new(file), Some(INFERENCE_ROWS))?;
    file.rewind()?;
    Ok(Arc::new(schema))
}
