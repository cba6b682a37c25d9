//! `bench`: searches as fast as they are answered, and what that was.

pub mod load;
mod tally;

use std::{fmt::Write, path::PathBuf, time::Duration};

use self::load::{Load, LoadResult, Until};
use super::{
    client::{self, Link, Server, required},
    error::CliError,
    import::{Format, Source},
    print, search, vector,
};
use crate::proto::v1;

/// Query vectors that are taken from the table when none are given.
const DEFAULT_ROWS: u32 = 1_000;

/// Rows of one page while vectors are read from the table.
const PAGE_ROWS: u32 = 1_000;

/// Measure a server: throughput and latency of vector searches.
///
/// A closed loop: every caller waits for its answer before it asks again.
#[derive(Debug, clap::Args)]
pub(super) struct Bench {
    #[command(flatten)]
    server: Server,
    /// Name of the table.
    table: String,
    /// Callers at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,
    /// HTTP/2 connections that they share.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// For how long to measure.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Measure this many requests instead.
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    requests: Option<u64>,
    /// For how long to search before measuring.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// Parquet file with the query vectors, in the column `vector`.
    #[arg(long, value_name = "FILE", conflicts_with = "rows")]
    queries: Option<PathBuf>,
    /// Take the query vectors from this many rows of the table.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ROWS)]
    rows: u32,
    /// Query vectors in one request.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// How many rows to answer, for each query vector.
    #[arg(long, default_value_t = 10)]
    limit: u32,
    /// IVF partitions to look into; 0 leaves it to the server.
    #[arg(long, default_value_t = 0)]
    nprobes: u32,
    /// Candidates to rank by their exact distance, as a multiple of the limit.
    #[arg(long)]
    refine_factor: Option<u32>,
    /// HNSW search width; 0 leaves it to the server.
    #[arg(long, default_value_t = 0)]
    ef: u32,
    /// Columns to answer; all of them by default.
    #[arg(long, value_delimiter = ',')]
    columns: Vec<String>,
    /// The column to search; by default the only one that holds vectors.
    #[arg(long, value_name = "COLUMN")]
    vector_column: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let vectors = match &self.queries {
            Some(file) => vectors_of_file(file.clone()).await?,
            None => self.vectors_of_table(self.server.connect().await?).await?,
        };
        let until = self
            .requests
            .map_or(Until::Elapsed(self.duration), Until::Requests);
        let load = Load {
            address: self.server.address.clone(),
            security: self.server.security.clone(),
            connections: self.connections as usize,
            concurrency: self.concurrency as usize,
            warmup: self.warmup,
            until,
            requests: self.requests(&vectors),
        };
        let result = load::run(&load).await?;
        if self.json {
            let json = serde_json::to_string_pretty(&result);
            let json = json.map_err(|error| CliError::Data(error.to_string()))?;
            return print(&format!("{json}\n"));
        }
        print(&in_words(&result))
    }

    /// One request for each group of `batch` vectors.
    fn requests(&self, vectors: &[Vec<f32>]) -> Vec<v1::SearchRequest> {
        let request = |group: &[Vec<f32>]| v1::SearchRequest {
            freshness: None,
            table: self.table.clone(),
            query: Some(v1::Query {
                vectors: group
                    .iter()
                    .map(|vector| vector::to_proto(vector))
                    .collect(),
                vector_column: self.vector_column.clone().unwrap_or_default(),
                limit: self.limit,
                nprobes: self.nprobes,
                refine_factor: self.refine_factor,
                ef: self.ef,
                columns: self.columns.clone(),
                ..Default::default()
            }),
            row_format: v1::RowFormat::ArrowIpc.into(),
        };
        vectors.chunks(self.batch as usize).map(request).collect()
    }

    /// The vectors of the first rows.
    async fn vectors_of_table(&self, channel: Link) -> Result<Vec<Vec<f32>>, CliError> {
        let describe = v1::DescribeTableRequest {
            table: self.table.clone(),
        };
        let description = client::table(channel.clone())
            .describe_table(describe)
            .await?
            .into_inner();
        let schema = required(description.schema, "schema")?;
        let column = vector::column(self.vector_column.as_deref(), &schema)?;

        let mut client = client::search(channel);
        let mut vectors = Vec::new();
        let mut page_token = String::new();
        loop {
            let scan = v1::ScanRequest {
                freshness: None,
                table: self.table.clone(),
                query: Some(v1::ScanQuery {
                    columns: vec![column.clone()],
                    ..Default::default()
                }),
                page_size: self.rows.min(PAGE_ROWS),
                page_token,
                row_format: v1::RowFormat::ArrowIpc.into(),
            };
            let page = client.scan(scan).await?.into_inner();
            for batch in search::batches(page.rows)? {
                collect(&batch, &column, &mut vectors)?;
            }
            page_token = page.next_page_token;
            if page_token.is_empty() || vectors.len() >= self.rows as usize {
                vectors.truncate(self.rows as usize);
                return Ok(vectors);
            }
        }
    }
}

/// The column `vector` of a Parquet file.
pub(super) async fn vectors_of_file(path: PathBuf) -> Result<Vec<Vec<f32>>, CliError> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut source = Source::open(&path, Format::Parquet, None)?;
        let mut vectors = Vec::new();
        while let Some(batch) = source.next()? {
            collect(&batch, "vector", &mut vectors)
                .map_err(|error| CliError::file(&path, error))?;
        }
        Ok(vectors)
    });
    reading
        .await
        .map_err(|error| CliError::Data(error.to_string()))?
}

fn collect(
    batch: &arrow::array::RecordBatch,
    column: &str,
    vectors: &mut Vec<Vec<f32>>,
) -> Result<(), CliError> {
    let values = batch.column_by_name(column);
    let values = values.ok_or_else(|| CliError::Data(format!("there is no column {column}")))?;
    for row in 0..batch.num_rows() {
        vectors.extend(vector::at(values, row)?);
    }
    Ok(())
}

fn in_words(result: &LoadResult) -> String {
    let failed: u64 = result.errors.values().sum();
    let latency = result.latency;
    let mut text = format!(
        "requests    {} answered, {failed} failed, {:.2} s\n\
         throughput  {:.1} requests/s, {:.1} queries/s, {:.1} rows a query\n\
         latency     mean {:.2} ms, p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}\n",
        result.requests,
        result.seconds,
        result.requests_per_second,
        result.queries_per_second,
        result.rows as f64 / result.queries.max(1) as f64,
        latency.mean_ms,
        latency.p50_ms,
        latency.p90_ms,
        latency.p99_ms,
        latency.p999_ms,
        latency.max_ms,
    );
    for (heading, counts) in [
        ("answered by", &result.connections),
        ("errors", &result.errors),
    ] {
        if !counts.is_empty() {
            let counts: Vec<String> = counts
                .iter()
                .map(|(name, n)| format!("{name} {n}"))
                .collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{heading:<11} {}", counts.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_words_name_every_figure() {
        let counts = |name: &str| BTreeMap::from([(name.to_string(), 7)]);
        let words = in_words(&LoadResult {
            seconds: 2.0,
            requests: 100,
            queries: 200,
            rows: 2000,
            requests_per_second: 50.0,
            queries_per_second: 100.0,
            latency: load::Latency {
                mean_ms: 1.0,
                p50_ms: 2.0,
                p90_ms: 3.0,
                p99_ms: 4.0,
                p999_ms: 5.0,
                max_ms: 6.0,
            },
            errors: counts("ABORTED"),
            connections: counts("replica-1"),
        });
        assert_eq!(
            words,
            "requests    100 answered, 7 failed, 2.00 s\n\
             throughput  50.0 requests/s, 100.0 queries/s, 10.0 rows a query\n\
             latency     mean 1.00 ms, p50 2.00, p90 3.00, p99 4.00, p99.9 5.00, max 6.00\n\
             answered by replica-1 7\n\
             errors      ABORTED 7\n"
        );
    }
}
