//! `import`: files into a table, in one version.

mod chunks;
mod convert;
mod index;
mod progress;
mod source;
#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use arrow::{array::RecordBatch, datatypes::Schema};
use clap::ValueEnum;
use futures::{Stream, stream};
use indicatif::ProgressBar;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status};

pub(super) use self::source::{Format, Source};
use self::{chunks::Event, convert::Converter, index::Index, progress::progress};
use super::{
    client::{self, Link, Server},
    error::CliError,
    print,
};
use crate::proto::v1;

/// How often an import is sent again that may or may not have been committed.
const REPEATS: u32 = 4;

/// Pause before the first repeat; it doubles each time.
const PAUSE: Duration = Duration::from_millis(500);

/// Load files into a table: Parquet, Arrow IPC, CSV or JSON lines.
///
/// All rows of all files become one new version of the table, or none does. Where
/// the server goes away before it answers, they are sent again, a few times; they
/// are not imported twice.
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    #[command(flatten)]
    server: Server,
    /// Name of the table.
    table: String,
    /// Files, all of one shape.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Format of the files; by their ending when left out.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Create the table if it does not exist.
    #[arg(long)]
    create: bool,
    /// Create the table, but load nothing if there are rows in it already.
    /// Indexes are built where they are missing, so that an import that was cut
    /// off can be repeated.
    #[arg(long)]
    if_missing: bool,
    /// What becomes of the rows that are there.
    #[arg(long, value_enum, default_value_t = Mode::Append)]
    mode: Mode,
    /// List column that holds vectors: becomes a fixed-size list of float32.
    #[arg(long, value_name = "COLUMN")]
    vector: Vec<String>,
    /// Index to build afterwards, such as title:fts, vector:ivf_pq or id:btree.
    #[arg(long, value_name = "COLUMN:KIND")]
    index: Vec<Index>,
    /// Size of one message.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = crate::config::parse_bytes)]
    batch_bytes: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Append,
    Overwrite,
}

impl Import {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let channel = self.server.connect().await?;
        let there = match self.if_missing || !self.index.is_empty() {
            true => self.describe(channel.clone()).await?,
            false => None,
        };
        if let Some(table) = &there
            && self.if_missing
            && table.num_rows > 0
        {
            print(&format!(
                "{}: exists with {} rows, nothing loaded\n",
                self.table, table.num_rows
            ))?;
            let missing = self.index.iter().filter(|index| {
                let name = index.name(&self.index);
                table.indexes.iter().all(|there| there.name != name)
            });
            return self.build_indexes(channel, missing).await;
        }
        self.load(channel.clone(), there.as_ref()).await?;
        self.build_indexes(channel, self.index.iter()).await
    }

    /// The table, if it exists.
    async fn describe(&self, channel: Link) -> Result<Option<v1::DescribeTableResponse>, CliError> {
        let request = v1::DescribeTableRequest {
            table: self.table.clone(),
        };
        match client::table(channel).describe_table(request).await {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    async fn load(
        &self,
        channel: Link,
        there: Option<&v1::DescribeTableResponse>,
    ) -> Result<(), CliError> {
        let mut rows = self.read()?;
        let converter = &rows.converter;
        self.check_indexes(converter.schema(), there)?;
        if self.create || self.if_missing {
            let schema = chunks::schema_ipc(converter.schema())?;
            let request = v1::CreateTableRequest {
                table: self.table.clone(),
                source: Some(v1::create_table_request::Source::ArrowIpcSchema(schema)),
                exist_ok: true,
            };
            client::table(channel.clone()).create_table(request).await?;
        }

        let started = Instant::now();
        // The same for every attempt: the server does one of them.
        let request_id = uuid::Uuid::new_v4().to_string();
        let mut pause = PAUSE;
        let mut repeats = 0;
        let answer = loop {
            match self.send(channel.clone(), rows, &request_id).await {
                Err(CliError::Rpc(status)) if repeats < REPEATS && in_doubt(&status) => {}
                outcome => break outcome?,
            }
            tokio::time::sleep(pause).await;
            (repeats, pause) = (repeats + 1, pause * 2);
            rows = self.read()?;
        };

        let seconds = started.elapsed().as_secs_f64();
        let rows = answer.num_inserted_rows;
        print(&format!(
            "{}: {rows} rows, version {}, {seconds:.2} s, {:.0} rows/s\n",
            self.table,
            answer.version,
            rows as f64 / seconds.max(1e-9),
        ))
    }

    /// The files from their beginning.
    fn read(&self) -> Result<Rows, CliError> {
        let mut sources = self.open()?;
        let Some(first) = sources.first_mut().map(Source::next).transpose()?.flatten() else {
            return Err(CliError::Usage("the first file has no rows".into()));
        };
        let converter = Converter::new(&first, &self.vector).map_err(CliError::Usage)?;
        Ok(Rows {
            sources,
            first,
            converter,
        })
    }

    async fn send(
        &self,
        channel: Link,
        rows: Rows,
        request_id: &str,
    ) -> Result<v1::ImportResponse, CliError> {
        let bar = progress(&rows.sources);
        let chunk_bytes = usize::try_from(self.batch_bytes).unwrap_or(usize::MAX);
        let events = chunks::read(rows.sources, rows.first, rows.converter, chunk_bytes);
        let (failed, failure) = oneshot::channel();
        let requests = self.requests(events, request_id, failed, bar.clone());
        let mut client = client::write(channel);
        let imported = tokio::select! {
            answer = client.import(requests) => answer.map_err(CliError::from),
            // Dropping the call resets it, and the server keeps nothing of it.
            Ok(error) = failure => Err(error),
        };
        bar.finish_and_clear();
        Ok(imported?.into_inner())
    }

    /// Refuses an index on a column that neither the files nor the table have,
    /// while there is nothing to undo yet.
    fn check_indexes(
        &self,
        files: &Schema,
        there: Option<&v1::DescribeTableResponse>,
    ) -> Result<(), CliError> {
        let table = there.and_then(|table| table.schema.as_ref());
        for index in &self.index {
            let column = index.column.split('.').next().unwrap_or_default();
            let known = files.column_with_name(column).is_some()
                || table.is_some_and(|s| s.fields.iter().any(|field| field.name == column));
            if !known {
                let problem = format!("--index {}: there is no column {column}", index.column);
                return Err(CliError::Usage(problem));
            }
        }
        Ok(())
    }

    /// Opens all files, so that a name with a fault is found before anything is
    /// sent. CSV and JSON are read as the first file was.
    fn open(&self) -> Result<Vec<Source>, CliError> {
        let mut sources: Vec<Source> = Vec::new();
        for path in &self.files {
            let format = self.format.map_or_else(|| Format::of(path), Ok)?;
            let schema = sources.first().map(|first| first.schema.clone());
            let source = Source::open(path, format, schema.as_ref())?;
            if schema.is_some_and(|first| first.fields() != source.schema.fields()) {
                let problem = "has other columns than the first file";
                return Err(CliError::file(path, problem));
            }
            sources.push(source);
        }
        Ok(sources)
    }

    /// The messages of the call. On a fault `failed` is told and the stream
    /// never ends: an end would make the server commit what it has.
    fn requests(
        &self,
        events: mpsc::Receiver<Event>,
        request_id: &str,
        failed: oneshot::Sender<CliError>,
        bar: ProgressBar,
    ) -> impl Stream<Item = v1::ImportRequest> + Send + 'static {
        let mode = match self.mode {
            Mode::Append => v1::InsertMode::Append,
            Mode::Overwrite => v1::InsertMode::Overwrite,
        };
        let head = v1::ImportRequest {
            table: self.table.clone(),
            mode: mode.into(),
            request_id: request_id.to_owned(),
            ..Default::default()
        };
        let state = (events, failed, bar, Some(head));
        stream::unfold(state, |(mut events, failed, bar, mut head)| async move {
            let error = match events.recv().await {
                Some(Event::Chunk(chunk)) => {
                    bar.inc(chunk.rows);
                    let mut request = head.take().unwrap_or_default();
                    request.arrow_ipc = chunk.ipc;
                    return Some((request, (events, failed, bar, head)));
                }
                Some(Event::End) => return None,
                Some(Event::Failed(error)) => error,
                None => CliError::Data("reading the files ended unexpectedly".into()),
            };
            // Nobody listens when the call is over already.
            let _ = failed.send(error);
            futures::future::pending().await
        })
    }

    async fn build_indexes(
        &self,
        channel: Link,
        indexes: impl Iterator<Item = &Index>,
    ) -> Result<(), CliError> {
        let mut client = client::table(channel);
        let mut names = Vec::new();
        for index in indexes {
            let started = Instant::now();
            let name = index.name(&self.index);
            let request = v1::CreateIndexRequest {
                table: self.table.clone(),
                columns: vec![index.column.clone()],
                index: Some(index.spec()),
                name: name.clone(),
                replace: None,
            };
            let answer = client.create_index(request).await?.into_inner();
            let seconds = started.elapsed().as_secs_f64();
            print(&format!(
                "index {name} ({}): version {}, {seconds:.2} s\n",
                index.kind, answer.version
            ))?;
            names.push(name);
        }
        if !names.is_empty() {
            let request = v1::WaitForIndexesRequest {
                table: self.table.clone(),
                names,
                timeout: None,
            };
            client.wait_for_indexes(request).await?;
        }
        Ok(())
    }
}

/// The rows of all files.
struct Rows {
    sources: Vec<Source>,
    first: RecordBatch,
    converter: Converter,
}

/// Whether a write may have happened although this came instead of its answer.
fn in_doubt(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled
    )
}
