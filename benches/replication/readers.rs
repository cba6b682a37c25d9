//! Those who read the copy, and what they make of the answers.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
    ipc::reader::StreamReader,
};
use futures::TryStreamExt;
use lancedb::query::{ExecutableQuery, QueryBase, Select};
use lancegate::proto::v1::{
    PackedFloats, Query, Rows, ScanQuery, ScanRequest, SearchRequest, Vector, rows::Format,
    search_service_client::SearchServiceClient, vector::Data,
};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::{Result, dataset::TOP, server::Server, tables::TABLE};

/// Between two reads.
const PAUSE: Duration = Duration::from_millis(10);

/// A read that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most rows that are read; the server's own bound.
const MOST_ROWS: usize = 10_000;

/// Somebody who reads a table: all its ids, and then a search.
#[derive(Clone)]
pub enum Reader {
    /// A program that opens the copy for each read, to see what is new.
    Plain(lancedb::Connection),
    /// A client of a server.
    Client(SearchServiceClient<Channel>),
}

impl Reader {
    pub async fn plain(folder: &Path) -> Result<Self> {
        let uri = folder.to_str().ok_or("the folder's name is not UTF-8")?;
        Ok(Self::Plain(lancedb::connect(uri).execute().await?))
    }

    pub async fn client(server: &Server) -> Result<Self> {
        Ok(Self::Client(SearchServiceClient::new(
            server.channel().await?,
        )))
    }

    /// The ids, then whether the search gave as many rows as it should.
    async fn read(self, query: &[f32]) -> Result<Vec<i64>> {
        let (ids, found) = match self {
            Self::Plain(connection) => plain(&connection, query).await?,
            Self::Client(client) => client_reads(client, query).await?,
        };
        match found {
            TOP => Ok(ids),
            found => Err(format!("the search answered {found} rows").into()),
        }
    }
}

async fn plain(connection: &lancedb::Connection, query: &[f32]) -> Result<(Vec<i64>, usize)> {
    let table = connection.open_table(TABLE).execute().await?;
    let rows = table
        .query()
        .select(Select::columns(&["id"]))
        .limit(MOST_ROWS)
        .execute()
        .await?;
    let rows: Vec<RecordBatch> = rows.try_collect().await?;
    let found = table
        .query()
        .limit(TOP)
        .select(Select::columns(&["id", "_distance"]))
        .nearest_to(query)?
        .column("vector")
        .execute()
        .await?;
    let found: Vec<RecordBatch> = found.try_collect().await?;
    Ok((ids(&rows)?, found.iter().map(RecordBatch::num_rows).sum()))
}

async fn client_reads(
    mut client: SearchServiceClient<Channel>,
    query: &[f32],
) -> Result<(Vec<i64>, usize)> {
    let scan = ScanRequest {
        table: TABLE.into(),
        query: Some(ScanQuery {
            columns: vec!["id".into()],
            ..Default::default()
        }),
        page_size: MOST_ROWS as u32,
        ..Default::default()
    };
    let page = client.scan(scan).await?.into_inner();
    let served = page.served.ok_or("the answer does not say who served it")?;
    if served.connection == "primary" {
        return Err("the primary answered".into());
    }
    let Some(Rows {
        format: Some(Format::ArrowIpc(bytes)),
    }) = page.rows
    else {
        return Err("the answer is not Arrow IPC".into());
    };
    let rows =
        StreamReader::try_new(&bytes[..], None)?.collect::<std::result::Result<Vec<_>, _>>()?;
    let vector = Vector {
        data: Some(Data::Floats(PackedFloats {
            values: query.to_vec(),
        })),
    };
    let search = SearchRequest {
        table: TABLE.into(),
        query: Some(Query {
            vectors: vec![vector],
            limit: TOP as u32,
            columns: vec!["id".into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let found = client.search(search).await?.into_inner();
    Ok((ids(&rows)?, found.num_rows as usize))
}

fn ids(batches: &[RecordBatch]) -> Result<Vec<i64>> {
    let mut ids = Vec::new();
    for batch in batches {
        let column = batch.column_by_name("id").ok_or("no column id")?;
        ids.extend(column.as_primitive::<Int64Type>().values());
    }
    Ok(ids)
}

/// A read that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub began: Instant,
    pub ended: Instant,
    pub rows: usize,
}

/// What the reads of one round gave.
#[derive(Default)]
pub struct Readings {
    pub answers: Vec<Answer>,
    /// Answers that are of no version: rows missing from among the others, or
    /// twice.
    pub torn: usize,
    /// Answers with fewer rows than an earlier one had: nothing is deleted.
    pub went_back: usize,
    /// Reads that failed, by what was said.
    pub failed: BTreeMap<String, usize>,
}

/// Reads until it is told to stop.
pub struct Reading {
    stop: Arc<AtomicBool>,
    /// The most rows that an answer had.
    most: Arc<AtomicUsize>,
    task: JoinHandle<Readings>,
}

impl Reading {
    pub fn start(reader: Reader, queries: Vec<Vec<f32>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let most = Arc::new(AtomicUsize::new(0));
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&most));
        let task = tokio::spawn(async move {
            let mut readings = Readings::default();
            for query in queries.into_iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let rows = readings.add(&reader, query).await;
                if rows < seen.fetch_max(rows, Ordering::Relaxed) && rows > 0 {
                    readings.went_back += 1;
                }
                tokio::time::sleep(PAUSE).await;
            }
            readings
        });
        Self { stop, most, task }
    }

    /// Waits until an answer has so many rows, or the time is over.
    pub async fn until(&self, rows: usize, patience: Duration) {
        let began = Instant::now();
        while self.most.load(Ordering::Relaxed) < rows && began.elapsed() < patience {
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub async fn finish(self) -> Result<Readings> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.task.await?)
    }
}

impl Readings {
    /// Reads once. Answers how many rows there were; none if it failed.
    async fn add(&mut self, reader: &Reader, query: Vec<f32>) -> usize {
        let began = Instant::now();
        let reader = reader.clone();
        // A task of its own: half a file may make the reader panic.
        let read = tokio::spawn(async move { reader.read(&query).await });
        let problem = match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(Ok(mut ids))) => {
                ids.sort_unstable();
                let rows = ids.len();
                if ids.into_iter().ne(0..rows as i64) {
                    self.torn += 1;
                }
                self.answers.push(Answer {
                    began,
                    ended: Instant::now(),
                    rows,
                });
                return rows;
            }
            Ok(Ok(Err(error))) => kind(&error.to_string()),
            Ok(Err(_)) => "the reader panicked".to_owned(),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        *self.failed.entry(problem).or_default() += 1;
        0
    }
}

/// An error's text without what differs each time: paths, numbers, places in code.
fn kind(text: &str) -> String {
    let words = text.split_whitespace();
    let plain = words.filter(|word| !word.contains('/') && !word.contains(char::is_numeric));
    plain.take(12).collect::<Vec<_>>().join(" ")
}
