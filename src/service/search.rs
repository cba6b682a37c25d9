//! SearchService: reads.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::Stream;
use prost::Message;
use tonic::{Request, Response, Status};

use super::{
    api::{Api, Call, answer, refuse, reply},
    chunks::chunks,
};
use crate::{
    domain::{Error, Resource, Result, TableName, search::Scan, view::Served},
    proto::v1 as pb,
    router::ReadOptions,
    storage::{Rows, Snapshot},
    telemetry::metrics,
    wire::{
        self,
        page::{PageToken, fingerprint},
        query::page_size,
        rows::{encode_rows, row_format},
    },
};

/// A stream of answers.
pub type Chunks<T> = Pin<Box<dyn Stream<Item = std::result::Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl pb::search_service_server::SearchService for Api {
    async fn search(
        &self,
        request: Request<pb::SearchRequest>,
    ) -> std::result::Result<Response<pb::SearchResponse>, Status> {
        let Call {
            extensions,
            metadata,
            message,
        } = request.into();
        let began = Instant::now();
        let outcome = async {
            let asked = message.freshness;
            let options = self.read_options(&message.table, asked, &metadata, &extensions)?;
            self.run_search(&message.table, message.query, &options)
                .await
        }
        .await;
        count_search(&message.table, outcome.as_ref().err(), began.elapsed());
        answer(&extensions, &message.table, outcome, |rows, served| {
            Ok(pb::SearchResponse {
                num_rows: count(rows.num_rows()),
                rows: Some(encode(&rows, message.row_format)?),
                served: Some(served),
            })
        })
    }

    type SearchStreamStream = Chunks<pb::SearchStreamResponse>;

    async fn search_stream(
        &self,
        request: Request<pb::SearchStreamRequest>,
    ) -> std::result::Result<Response<Self::SearchStreamStream>, Status> {
        let Call {
            extensions,
            metadata,
            message,
        } = request.into();
        let began = Instant::now();
        let opened = async {
            let asked = message.freshness;
            let options = self.read_options(&message.table, asked, &metadata, &extensions)?;
            self.open_stream(&message.table, message.query, &options)
                .await
        }
        .await;
        count_search(&message.table, opened.as_ref().err(), began.elapsed());
        match opened {
            Ok((batches, served)) => {
                let first = wire::served::served(&message.table, &served);
                let stream: Self::SearchStreamStream = Box::pin(chunks(batches, first));
                Ok(reply(&extensions, &message.table, &served, stream))
            }
            Err(error) => Err(refuse(&extensions, &message.table, &error)),
        }
    }

    async fn scan(
        &self,
        request: Request<pb::ScanRequest>,
    ) -> std::result::Result<Response<pb::ScanResponse>, Status> {
        let Call {
            extensions,
            metadata,
            message,
        } = request.into();
        let (table, format) = (message.table.clone(), message.row_format);
        let asked = message.freshness.clone();
        let outcome = async {
            let options = self.read_options(&table, asked, &metadata, &extensions)?;
            self.run_scan(message, &options).await
        }
        .await;
        answer(&extensions, &table, outcome, |(rows, next), served| {
            Ok(pb::ScanResponse {
                num_rows: count(rows.num_rows()),
                rows: Some(encode(&rows, format)?),
                next_page_token: next,
                served: Some(served),
            })
        })
    }

    async fn get(
        &self,
        request: Request<pb::GetRequest>,
    ) -> std::result::Result<Response<pb::GetResponse>, Status> {
        let Call {
            extensions,
            metadata,
            message,
        } = request.into();
        let (table, format) = (message.table.clone(), message.row_format);
        let asked = message.freshness.clone();
        let outcome = async {
            let options = self.read_options(&table, asked, &metadata, &extensions)?;
            self.run_get(message, &options).await
        }
        .await;
        answer(&extensions, &table, outcome, |rows, served| {
            Ok(pb::GetResponse {
                num_rows: count(rows.num_rows()),
                rows: Some(encode(&rows, format)?),
                served: Some(served),
            })
        })
    }

    async fn count(
        &self,
        request: Request<pb::CountRequest>,
    ) -> std::result::Result<Response<pb::CountResponse>, Status> {
        let Call {
            extensions,
            metadata,
            message,
        } = request.into();
        let outcome = async {
            let asked = message.freshness;
            let options = self.read_options(&message.table, asked, &metadata, &extensions)?;
            let table = TableName::parse(&message.table)?;
            let filter = wire::filter::filter(message.filter, "filter", &self.limits)?;
            let depth = self.limits.max_filter_depth;
            self.router
                .read(&table, &options, |snapshot| async move {
                    snapshot.count(filter.as_ref(), depth).await
                })
                .await
        };
        answer(
            &extensions,
            &message.table,
            outcome.await,
            |count, served| {
                Ok(pb::CountResponse {
                    count,
                    served: Some(served),
                })
            },
        )
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> std::result::Result<Response<pb::ExplainResponse>, Status> {
        let Call {
            extensions,
            metadata,
            message,
        } = request.into();
        let table = message.table.clone();
        let asked = message.freshness.clone();
        let outcome = async {
            let options = self.read_options(&table, asked, &metadata, &extensions)?;
            self.run_explain(message, &options).await
        }
        .await;
        answer(&extensions, &table, outcome, |plan, served| {
            Ok(pb::ExplainResponse {
                plan,
                served: Some(served),
            })
        })
    }
}

impl Api {
    async fn run_search(
        &self,
        table: &str,
        query: Option<pb::Query>,
        options: &ReadOptions,
    ) -> Result<(Rows, Served)> {
        let table = TableName::parse(table)?;
        let search = wire::query::search(query, &self.limits)?;
        let (depth, most) = (self.limits.max_filter_depth, self.limits.max_response_bytes);
        self.router
            .read(&table, options, |snapshot| async move {
                snapshot.search(search, depth).await?.collect(most).await
            })
            .await
    }

    async fn open_stream(
        &self,
        table: &str,
        query: Option<pb::Query>,
        options: &ReadOptions,
    ) -> Result<(crate::storage::Batches, Served)> {
        let table = TableName::parse(table)?;
        let search = wire::query::search(query, &self.limits)?;
        let depth = self.limits.max_filter_depth;
        self.router
            .read(&table, options, |snapshot| async move {
                snapshot.search(search, depth).await
            })
            .await
    }

    async fn run_scan(
        &self,
        request: pb::ScanRequest,
        options: &ReadOptions,
    ) -> Result<((Rows, String), Served)> {
        let table = TableName::parse(&request.table)?;
        let size = page_size(request.page_size, &self.limits)?;
        let asked = request.query.as_ref().map(Message::encode_to_vec);
        let asked = asked.unwrap_or_default();
        let print = fingerprint([table.as_str().as_bytes(), asked.as_slice()]);
        let token = PageToken::decode(&request.page_token, print)?;
        let scan = wire::query::scan(request.query, "query", &self.limits)?;
        let (depth, most) = (self.limits.max_filter_depth, self.limits.max_response_bytes);
        let page = |snapshot: Arc<Snapshot>, offset| async move {
            scan_page(&snapshot, &scan, offset, size, print, depth, most).await
        };
        let Some(token) = token else {
            return self
                .router
                .read(&table, options, |snapshot| page(snapshot, 0))
                .await;
        };
        let outcome = self
            .router
            .read_at(&table, token.version, |snapshot| async move {
                if commit_nanos(&snapshot) != token.commit_nanos {
                    // An earlier table of this name: its versions are gone.
                    return Err(Error::not_found(Resource::Version, "of the page token"));
                }
                page(snapshot, token.offset).await
            })
            .await;
        match outcome {
            Err(
                Error::NotFound {
                    kind: Resource::Version,
                    ..
                }
                | Error::Precondition {
                    reason: Error::PRUNED,
                    ..
                },
            ) => Err(Error::Precondition {
                reason: "PAGE_TOKEN_EXPIRED",
                message: "the version that page_token belongs to was removed; scan again".into(),
            }),
            other => other,
        }
    }

    async fn run_get(
        &self,
        request: pb::GetRequest,
        options: &ReadOptions,
    ) -> Result<(Rows, Served)> {
        let table = TableName::parse(&request.table)?;
        wire::query::check_get(&request, &self.limits)?;
        let columns = wire::query::columns(request.columns);
        let (keys, key_columns) = (request.keys, request.key_columns);
        // Several columns make one chain of OR per key, which is planned
        // recursively.
        if key_columns.len() > 1 && keys.len() > MAX_COMPOSITE_KEYS {
            let text = format!("may have {MAX_COMPOSITE_KEYS} keys of several columns");
            return Err(Error::invalid("keys", text));
        }
        let row_id = request.with_row_id;
        let most = self.limits.max_response_bytes;
        self.router
            .read(&table, options, |snapshot| async move {
                let fields = snapshot.key_fields(&key_columns)?;
                let keys = wire::rows::decode_key_batch(keys, fields)?;
                snapshot.get(&keys, columns.as_deref(), row_id, most).await
            })
            .await
    }

    async fn run_explain(
        &self,
        request: pb::ExplainRequest,
        options: &ReadOptions,
    ) -> Result<(String, Served)> {
        use pb::explain_request::Target;
        let table = TableName::parse(&request.table)?;
        let depth = self.limits.max_filter_depth;
        let (analyze, verbose) = (request.analyze, request.verbose);
        match request.target {
            Some(Target::Query(query)) => {
                let search = wire::query::search(Some(query), &self.limits)?;
                self.router
                    .read(&table, options, |snapshot| async move {
                        snapshot
                            .explain_search(search, analyze, verbose, depth)
                            .await
                    })
                    .await
            }
            Some(Target::Scan(scan)) => {
                let scan = wire::query::scan(Some(scan), "scan", &self.limits)?;
                self.router
                    .read(&table, options, |snapshot| async move {
                        snapshot.explain_scan(&scan, analyze, verbose, depth).await
                    })
                    .await
            }
            None => Err(Error::invalid("target", "is required: query or scan")),
        }
    }
}

/// Most keys of several columns in one Get.
const MAX_COMPOSITE_KEYS: usize = 500;

/// One page of a scan, and the token of the next one.
async fn scan_page(
    snapshot: &Snapshot,
    scan: &Scan,
    offset: u64,
    size: usize,
    print: u64,
    depth: usize,
    most: usize,
) -> Result<(Rows, String)> {
    // One row more than the page tells whether there is another page.
    let mut rows = snapshot
        .scan(scan, offset, size + 1, depth)
        .await?
        .collect(most)
        .await?;
    if rows.num_rows() <= size {
        return Ok((rows, String::new()));
    }
    rows.truncate(size);
    let next = PageToken {
        version: snapshot.version(),
        offset: offset.saturating_add(size as u64),
        commit_nanos: commit_nanos(snapshot),
        fingerprint: print,
    };
    Ok((rows, next.encode()))
}

/// When a snapshot was committed; the low 64 bits reach to the year 2554.
fn commit_nanos(snapshot: &Snapshot) -> u64 {
    snapshot.commit().timestamp_nanos as u64
}

fn encode(rows: &Rows, format: i32) -> Result<pb::Rows> {
    encode_rows(&rows.schema, &rows.batches, row_format(format)?)
}

fn count(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

fn count_search(table: &str, error: Option<&Error>, elapsed: Duration) {
    match error {
        None => metrics::search_finished(table, "ok", elapsed),
        // A name that is not a table's must not become a label.
        Some(Error::NotFound {
            kind: Resource::Table,
            ..
        }) => metrics::search_finished("_unknown", "NotFound", elapsed),
        Some(error) if TableName::parse(table).is_err() => {
            metrics::search_finished(
                "_unknown",
                metrics::code_name(wire::status::code(error)),
                elapsed,
            );
        }
        Some(error) => metrics::search_finished(
            table,
            metrics::code_name(wire::status::code(error)),
            elapsed,
        ),
    }
}
