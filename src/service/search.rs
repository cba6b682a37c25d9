//! SearchService: reads.

mod again;
mod run;
mod sessions;

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use futures::Stream;
use tonic::{Request, Response, Status};

use super::{
    api::{Api, Call, answer, refuse, reply},
    chunks::chunks,
    stack::AnswerHold,
};
use crate::{
    domain::{Error, Resource, Result, TableName},
    proto::v1 as pb,
    storage::Rows,
    telemetry::metrics,
    wire::{
        self,
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
        let again = self.choose_again(&message);
        let outcome = async {
            let asked = message.freshness;
            let options = self.read_options(&message.table, asked, &metadata, &extensions)?;
            let hold = AnswerHold::of(&extensions);
            self.run_search(&message.table, message.query, &options, hold)
                .await
        }
        .await;
        if let (Some(again), Ok((rows, served))) = (again, &outcome) {
            self.run_again(again, rows, served, began.elapsed(), &extensions);
        }
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
                let hold = AnswerHold::of(&extensions);
                let first = wire::served::served(&message.table, &served);
                let stream: Self::SearchStreamStream = Box::pin(chunks(batches, first, hold));
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
            let hold = AnswerHold::of(&extensions);
            self.run_scan(message, &options, hold).await
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
            let hold = AnswerHold::of(&extensions);
            self.run_get(message, &options, hold).await
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
            let limits = self.limits();
            let filter = wire::filter::filter(message.filter, "filter", &limits)?;
            let depth = limits.max_filter_depth;
            let filter = filter.as_ref();
            self.router
                .read(&table, &options, |snapshot| async move {
                    snapshot.count(filter, depth).await
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

    async fn open_session(
        &self,
        request: Request<pb::OpenSessionRequest>,
    ) -> std::result::Result<Response<pb::OpenSessionResponse>, Status> {
        let call: Call<_> = request.into();
        let table = call.message.table.clone();
        let outcome = self.run_open_session(&call).await;
        answer(&call.extensions, &table, outcome, |opened, served| {
            Ok(pb::OpenSessionResponse {
                session: opened.text,
                version: served.version,
                expire_time: Some(opened.expires.into()),
                served: Some(served),
            })
        })
    }

    async fn renew_session(
        &self,
        request: Request<pb::RenewSessionRequest>,
    ) -> std::result::Result<Response<pb::RenewSessionResponse>, Status> {
        let call: Call<_> = request.into();
        let table = call.message.table.clone();
        let outcome = self.run_renew_session(&call).await;
        answer(&call.extensions, &table, outcome, |renewed, served| {
            Ok(pb::RenewSessionResponse {
                session: renewed.text,
                expire_time: Some(renewed.expires.into()),
                served: Some(served),
            })
        })
    }

    async fn close_session(
        &self,
        request: Request<pb::CloseSessionRequest>,
    ) -> std::result::Result<Response<pb::CloseSessionResponse>, Status> {
        let call: Call<_> = request.into();
        let table = call.message.table.clone();
        let outcome = self.run_close_session(&call).await;
        answer(
            &call.extensions,
            &table,
            outcome.map(|s| ((), s)),
            |(), served| {
                Ok(pb::CloseSessionResponse {
                    served: Some(served),
                })
            },
        )
    }
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
