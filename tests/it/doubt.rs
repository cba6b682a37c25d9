//! Writes that survive doubt: done once however often they are sent, found again
//! after anything that may come between.

mod cut;
mod killed;
mod many;
mod repeats;

use std::ops::Range;

use lancegate::proto::v1::{
    freshness::Kind, search_service_client::SearchServiceClient,
    table_service_client::TableServiceClient, write_service_client::WriteServiceClient, *,
};
use tonic::{Status, transport::Channel};

use super::data::{ids, ipc, ipc_bytes, small};

/// How often the long tests do what they do: `DOUBT_RUNS`, or so often.
fn runs(otherwise: usize) -> usize {
    let set = std::env::var("DOUBT_RUNS").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

fn seed() -> u64 {
    let set = std::env::var("DOUBT_SEED").ok();
    let seed = set.and_then(|n| n.parse().ok()).unwrap_or(20_261_128);
    println!("DOUBT_SEED={seed}");
    seed
}

/// A write of any kind, with a request id.
#[derive(Debug, Clone)]
enum Write {
    Insert(InsertRequest),
    Upsert(UpsertRequest),
    Update(UpdateRequest),
    Delete(DeleteRequest),
    Import(Vec<ImportRequest>),
}

/// Its answer: rows inserted, updated and deleted, version, token, repeated.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    counts: [u64; 3],
    version: u64,
    token: String,
    repeated: bool,
}

impl Answer {
    fn of(counts: [u64; 3], version: u64, served: Option<Served>, repeated: bool) -> Self {
        let served = served.expect("who served it");
        assert_eq!(served.version, version);
        let token = served.token;
        Self {
            counts,
            version,
            token,
            repeated,
        }
    }
}

fn sql(sql: &str) -> Option<Filter> {
    Some(Filter {
        sql: sql.into(),
        params: Vec::new(),
    })
}

impl Write {
    fn insert(table: &str, rows: Range<i64>) -> Self {
        Self::Insert(InsertRequest {
            table: table.into(),
            rows: Some(ipc(&small(rows.start, rows.end - rows.start))),
            ..Default::default()
        })
    }

    fn upsert(table: &str, rows: Range<i64>) -> Self {
        Self::Upsert(UpsertRequest {
            table: table.into(),
            on: vec!["id".into()],
            rows: Some(ipc(&small(rows.start, rows.end - rows.start))),
            ..Default::default()
        })
    }

    /// Adds to the ids of the rows that match.
    fn add_to_ids(table: &str, filter: &str, add: i64) -> Self {
        let assignment = Assignment {
            column: "id".into(),
            to: Some(assignment::To::Expression(format!("id + {add}"))),
        };
        Self::Update(UpdateRequest {
            table: table.into(),
            filter: sql(filter),
            assignments: vec![assignment],
            ..Default::default()
        })
    }

    fn delete(table: &str, filter: &str) -> Self {
        Self::Delete(DeleteRequest {
            table: table.into(),
            filter: sql(filter),
            ..Default::default()
        })
    }

    /// One row a message.
    fn import(table: &str, rows: Range<i64>) -> Self {
        let messages = rows.map(|row| ImportRequest {
            table: table.into(),
            arrow_ipc: ipc_bytes(&small(row, 1)).into(),
            ..Default::default()
        });
        Self::Import(messages.collect())
    }

    fn with_id(mut self, id: &str) -> Self {
        *match &mut self {
            Self::Insert(request) => &mut request.request_id,
            Self::Upsert(request) => &mut request.request_id,
            Self::Update(request) => &mut request.request_id,
            Self::Delete(request) => &mut request.request_id,
            Self::Import(messages) => &mut messages[0].request_id,
        } = id.to_owned();
        self
    }

    async fn send(&self, channel: &Channel) -> Result<Answer, Status> {
        let mut write = WriteServiceClient::new(channel.clone());
        Ok(match self.clone() {
            Self::Insert(request) => {
                let a = write.insert(request).await?.into_inner();
                Answer::of([a.num_inserted_rows, 0, 0], a.version, a.served, a.repeated)
            }
            Self::Upsert(request) => {
                let a = write.upsert(request).await?.into_inner();
                let counts = [a.num_inserted_rows, a.num_updated_rows, a.num_deleted_rows];
                Answer::of(counts, a.version, a.served, a.repeated)
            }
            Self::Update(request) => {
                let a = write.update(request).await?.into_inner();
                Answer::of([0, a.num_updated_rows, 0], a.version, a.served, a.repeated)
            }
            Self::Delete(request) => {
                let a = write.delete(request).await?.into_inner();
                Answer::of([0, 0, a.num_deleted_rows], a.version, a.served, a.repeated)
            }
            Self::Import(messages) => {
                let a = write
                    .import(tokio_stream::iter(messages))
                    .await?
                    .into_inner();
                Answer::of([a.num_inserted_rows, 0, 0], a.version, a.served, a.repeated)
            }
        })
    }
}

async fn try_create(channel: &Channel, table: &str, rows: Range<i64>) -> Option<()> {
    let mut client = TableServiceClient::new(channel.clone());
    let source = match rows.is_empty() {
        true => create_table_request::Source::ArrowIpcSchema(ipc_bytes(&small(0, 0)).into()),
        false => {
            let rows = small(rows.start, rows.end - rows.start);
            create_table_request::Source::Rows(ipc(&rows))
        }
    };
    let create = CreateTableRequest {
        table: table.into(),
        source: Some(source),
        exist_ok: true,
    };
    client.create_table(create).await.ok().map(|_| ())
}

async fn create(channel: &Channel, table: &str, rows: Range<i64>) {
    try_create(channel, table, rows).await.expect("a new table");
}

/// The ids of the rows of the newest version that match, in order.
async fn found(channel: &Channel, table: &str, filter: &str) -> Option<Vec<i64>> {
    let mut search = SearchServiceClient::new(channel.clone());
    let mut scan = ScanRequest {
        table: table.into(),
        query: Some(ScanQuery {
            columns: vec!["id".into()],
            filter: sql(filter),
            ..Default::default()
        }),
        page_size: 10_000,
        freshness: Some(Freshness {
            kind: Some(Kind::Strong(Strong {})),
        }),
        ..Default::default()
    };
    let mut all = Vec::new();
    loop {
        let answer = search.scan(scan.clone()).await.ok()?.into_inner();
        if answer.rows.is_some() {
            all.extend(ids(&super::data::batch(answer.rows)));
        }
        if answer.next_page_token.is_empty() {
            break;
        }
        scan.page_token = answer.next_page_token;
    }
    all.sort_unstable();
    Some(all)
}

async fn all_ids(channel: &Channel, table: &str) -> Vec<i64> {
    found(channel, table, "true").await.expect("the rows")
}
