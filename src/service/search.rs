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
    allowed::{allowed, allowed_whole},
    api::{Api, Call, answer, refuse, reply},
    chunks::chunks,
    stack::Room,
};
use crate::{
    config::AccessRole::Reader,
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
        let again = self.choose_again(&message, &metadata);
        let outcome = async {
            let scope = allowed(&extensions, &message.table, Reader)?;
            let asked = message.freshness;
            let options = self.read_options(&message.table, asked, &metadata, &extensions)?;
            let room = Room::of(&extensions);
            let found = self.run_search(&message.table, message.query, &options, &scope, room);
            Ok((found.await?, scope))
        }
        .await;
        if let (Some(again), Ok(((rows, served), scope))) = (again, &outcome) {
            self.run_again(again, scope, rows, served, began.elapsed(), &extensions);
        }
        let outcome = outcome.map(|(found, _)| found);
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
            let scope = allowed(&extensions, &message.table, Reader)?;
            let asked = message.freshness;
            let options = self.read_options(&message.table, asked, &metadata, &extensions)?;
            self.open_stream(&message.table, message.query, &options, &scope)
                .await
        }
        .await;
        count_search(&message.table, opened.as_ref().err(), began.elapsed());
        match opened {
            Ok((batches, served)) => {
                let room = Room::of(&extensions);
                let first = wire::served::served(&message.table, &served);
                let stream: Self::SearchStreamStream = Box::pin(chunks(batches, first, room));
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
            let scope = allowed(&extensions, &table, Reader)?;
            let options = self.read_options(&table, asked, &metadata, &extensions)?;
            self.run_scan(message, &options, &scope, Room::of(&extensions))
                .await
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
            let scope = allowed(&extensions, &table, Reader)?;
            let options = self.read_options(&table, asked, &metadata, &extensions)?;
            self.run_get(message, &options, &scope, Room::of(&extensions))
                .await
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
            let scope = allowed(&extensions, &message.table, Reader)?;
            let asked = message.freshness;
            let options = self.read_options(&message.table, asked, &metadata, &extensions)?;
            let table = TableName::parse(&message.table)?;
            let limits = self.limits();
            let filter = wire::filter::filter(message.filter, "filter", &limits)?;
            let (filter, rules) = (filter.as_ref(), &*self.rules());
            self.read(&table, &options, &scope, |snapshot| async move {
                snapshot.count(filter, rules).await
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
            let scope = allowed_whole(&extensions, &table, Reader)?;
            let options = self.read_options(&table, asked, &metadata, &extensions)?;
            self.run_explain(message, &options, &scope).await
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
        // Nor may it be told which tables there are.
        Some(Error::Denied(_)) => {
            metrics::search_finished("_unknown", "PermissionDenied", elapsed);
        }
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
