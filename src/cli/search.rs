//! `search`: one search, its rows as a table, and who answered.

use std::{path::PathBuf, time::Instant};

use clap::ValueEnum;

use super::{
    client::{self, Link, Server, required},
    error::CliError,
    print, table, values, vector,
};
use crate::proto::v1;

/// Search a table: by vector, by text, or by both.
///
/// The vector is that of a stored row (--row-id) or comes from a file
/// (--vector-file). With --text too the search is a hybrid one.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["row_id", "vector_file", "text"])))]
pub(super) struct Search {
    #[command(flatten)]
    server: Server,
    /// Name of the table.
    table: String,
    /// Search with the vector of the row that has this in --id-column.
    #[arg(
        long,
        value_name = "KEY",
        conflicts_with = "vector_file",
        allow_hyphen_values = true
    )]
    row_id: Option<String>,
    /// The column that --row-id is looked up in.
    #[arg(long, value_name = "COLUMN", default_value = "id")]
    id_column: String,
    /// Search with the vector in this file: .json (an array of numbers), .npy
    /// (float32) or .bin (raw little-endian float32).
    #[arg(long, value_name = "FILE")]
    vector_file: Option<PathBuf>,
    /// Words to search for in the columns with a full-text index.
    #[arg(long)]
    text: Option<String>,
    /// How many rows to answer.
    #[arg(long, default_value_t = 10)]
    limit: u32,
    /// SQL condition that rows must meet, such as "size < $1".
    #[arg(long, value_name = "SQL")]
    filter: Option<String>,
    /// Value of $1, of $2, ... of the filter: null, true, false, a number, or
    /// text ("7" in double quotes is text).
    #[arg(
        long,
        value_name = "VALUE",
        requires = "filter",
        allow_hyphen_values = true
    )]
    param: Vec<String>,
    /// Columns to answer; all of them by default.
    #[arg(long, value_delimiter = ',')]
    columns: Vec<String>,
    /// The column to search; by default the only one that holds vectors.
    #[arg(long, value_name = "COLUMN")]
    vector_column: Option<String>,
    /// How distance is measured; the index's own by default.
    #[arg(long, value_enum)]
    distance_type: Option<Distance>,
}

/// How distance is measured.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Distance {
    L2,
    Cosine,
    Dot,
    Hamming,
}

impl From<Distance> for v1::DistanceType {
    fn from(distance: Distance) -> Self {
        match distance {
            Distance::L2 => v1::DistanceType::L2,
            Distance::Cosine => v1::DistanceType::Cosine,
            Distance::Dot => v1::DistanceType::Dot,
            Distance::Hamming => v1::DistanceType::Hamming,
        }
    }
}

impl Search {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let channel = self.server.connect().await?;
        let vector = match (&self.row_id, &self.vector_file) {
            (Some(key), _) => {
                let (vector, connection) = self.stored_vector(channel.clone(), key).await?;
                print(&format!(
                    "vector of the row with {} {key}, read from {connection}\n",
                    self.id_column
                ))?;
                Some(vector)
            }
            (None, Some(file)) => Some(vector::read(file)?),
            (None, None) => None,
        };
        let request = self.request(vector.as_deref());

        let started = Instant::now();
        let answer = client::search(channel).search(request).await?.into_inner();
        let took = started.elapsed();

        let served = answer.served.unwrap_or_default();
        let batches = batches(answer.rows)?;
        let mut text = String::new();
        if answer.num_rows > 0 {
            text = format!("{}\n", table::render(&batches)?);
        }
        print(&format!(
            "{text}{} rows from {} at version {}, {}, {:.1} ms\n",
            answer.num_rows,
            served.connection,
            served.version,
            served.route,
            took.as_secs_f64() * 1e3,
        ))
    }

    fn request(&self, vector: Option<&[f32]>) -> v1::SearchRequest {
        let full_text = self.text.as_ref().map(|text| v1::FullTextQuery {
            query: Some(v1::full_text_query::Query::Text(text.clone())),
        });
        let filter = self.filter.as_ref().map(|sql| v1::Filter {
            sql: sql.clone(),
            params: self.param.iter().map(|text| values::parse(text)).collect(),
        });
        v1::SearchRequest {
            freshness: None,
            table: self.table.clone(),
            query: Some(v1::Query {
                vectors: vector.map(vector::to_proto).into_iter().collect(),
                vector_column: self.vector_column.clone().unwrap_or_default(),
                distance_type: self
                    .distance_type
                    .map_or(0, |d| v1::DistanceType::from(d).into()),
                limit: self.limit,
                filter,
                full_text,
                columns: self.columns.clone(),
                ..Default::default()
            }),
            row_format: v1::RowFormat::ArrowIpc.into(),
        }
    }

    /// The vector of the row with that key, and the connection that had it.
    async fn stored_vector(
        &self,
        channel: Link,
        key: &str,
    ) -> Result<(Vec<f32>, String), CliError> {
        let describe = v1::DescribeTableRequest {
            table: self.table.clone(),
        };
        let description = client::table(channel.clone())
            .describe_table(describe)
            .await?
            .into_inner();
        let schema = required(description.schema, "schema")?;
        let column = vector::column(self.vector_column.as_deref(), &schema)?;
        let id = schema
            .fields
            .iter()
            .find(|f| f.name == self.id_column)
            .ok_or_else(|| {
                CliError::Usage(format!(
                    "--id-column: the table has no column {}",
                    self.id_column
                ))
            })?;
        let get = v1::GetRequest {
            table: self.table.clone(),
            key_columns: vec![self.id_column.clone()],
            keys: vec![v1::Row {
                values: vec![
                    values::key(key, id)
                        .map_err(|problem| CliError::Usage(format!("--row-id: {problem}")))?,
                ],
            }],
            columns: vec![column.clone()],
            row_format: v1::RowFormat::ArrowIpc.into(),
            ..Default::default()
        };
        let answer = client::search(channel).get(get).await?.into_inner();
        let batches = batches(answer.rows)?;
        let row = batches.iter().find(|batch| batch.num_rows() > 0);
        let row =
            row.ok_or_else(|| CliError::Data(format!("no row has {} {key}", self.id_column)))?;
        let vectors = row.column_by_name(&column);
        let vector = vector::at(required(vectors, "vector column")?, 0)?;
        let vector = vector.ok_or_else(|| CliError::Data(format!("the row's {column} is null")))?;
        Ok((vector, answer.served.unwrap_or_default().connection))
    }
}

/// Rows that were asked for as Arrow IPC.
pub(super) fn batches(rows: Option<v1::Rows>) -> Result<Vec<arrow::array::RecordBatch>, CliError> {
    match required(rows, "rows")?.format {
        Some(v1::rows::Format::ArrowIpc(ipc)) => table::decode(ipc),
        _ => Err(CliError::Data("the server's rows are no Arrow IPC".into())),
    }
}
