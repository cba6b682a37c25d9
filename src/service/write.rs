//! WriteService: writes, on the primary.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tonic::{Request, Response, Status, Streaming};

use super::{
    api::{Api, Call, answer},
    import::{Upload, first_message},
};
use crate::{
    connection::Lane,
    domain::{Error, Result, TableName, view::Served},
    proto::v1 as pb,
    storage::Handle,
    wire::{
        self,
        rows::{DecodedRows, decode_rows},
        table::{assignments, overwrites, upsert},
    },
};

#[tonic::async_trait]
impl pb::write_service_server::WriteService for Api {
    async fn insert(
        &self,
        request: Request<pb::InsertRequest>,
    ) -> std::result::Result<Response<pb::InsertResponse>, Status> {
        let Call {
            extensions,
            message,
            ..
        } = request.into();
        let name = message.table.clone();
        let outcome = async {
            let overwrite = overwrites(message.mode)?;
            self.write(&message.table, Lane::Alone, move |handle| async move {
                let rows = decode_for(&handle, message.rows).await?;
                handle.insert(rows.batches, overwrite).await
            })
            .await
            .map(|(written, served)| (written, at(served, written.version)))
        };
        answer(&extensions, &name, outcome.await, |written, served| {
            Ok(pb::InsertResponse {
                num_inserted_rows: written.rows,
                version: written.version,
                served: Some(served),
            })
        })
    }

    async fn upsert(
        &self,
        request: Request<pb::UpsertRequest>,
    ) -> std::result::Result<Response<pb::UpsertResponse>, Status> {
        let Call {
            extensions,
            message,
            ..
        } = request.into();
        let name = message.table.clone();
        let outcome = async {
            let limits = self.limits();
            let (options, rows) = upsert(message, &limits)?;
            let depth = limits.max_filter_depth;
            self.write(&name, Lane::Alone, move |handle| async move {
                let rows = decode_for(&handle, rows).await?;
                handle
                    .upsert(options, rows.batches, rows.schema, depth)
                    .await
            })
            .await
            .map(|(counts, served)| (counts, at(served, counts.version)))
        };
        answer(&extensions, &name, outcome.await, |counts, served| {
            Ok(pb::UpsertResponse {
                num_inserted_rows: counts.inserted,
                num_updated_rows: counts.updated,
                num_deleted_rows: counts.deleted,
                version: counts.version,
                served: Some(served),
            })
        })
    }

    async fn update(
        &self,
        request: Request<pb::UpdateRequest>,
    ) -> std::result::Result<Response<pb::UpdateResponse>, Status> {
        let Call {
            extensions,
            message,
            ..
        } = request.into();
        let name = message.table.clone();
        let outcome = async {
            let limits = self.limits();
            let filter = wire::filter::filter(message.filter, "filter", &limits)?;
            let assignments = assignments(message.assignments, &limits)?;
            let depth = limits.max_filter_depth;
            self.write(&name, Lane::Alone, move |handle| async move {
                handle.update(filter.as_ref(), &assignments, depth).await
            })
            .await
            .map(|(written, served)| (written, at(served, written.version)))
        };
        answer(&extensions, &name, outcome.await, |written, served| {
            Ok(pb::UpdateResponse {
                num_updated_rows: written.rows,
                version: written.version,
                served: Some(served),
            })
        })
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteRequest>,
    ) -> std::result::Result<Response<pb::DeleteResponse>, Status> {
        let Call {
            extensions,
            message,
            ..
        } = request.into();
        let name = message.table.clone();
        let outcome = async {
            let limits = self.limits();
            let filter = wire::filter::filter(message.filter, "filter", &limits)?
                .ok_or_else(|| Error::invalid("filter.sql", "is required; 'true' is every row"))?;
            let depth = limits.max_filter_depth;
            self.write(&name, Lane::Alone, move |handle| async move {
                handle.delete(&filter, depth).await
            })
            .await
            .map(|(written, served)| (written, at(served, written.version)))
        };
        answer(&extensions, &name, outcome.await, |written, served| {
            Ok(pb::DeleteResponse {
                num_deleted_rows: written.rows,
                version: written.version,
                served: Some(served),
            })
        })
    }

    async fn import(
        &self,
        request: Request<Streaming<pb::ImportRequest>>,
    ) -> std::result::Result<Response<pb::ImportResponse>, Status> {
        let Call {
            extensions,
            message: mut stream,
            ..
        } = request.into();
        let mut name = String::new();
        let outcome = async {
            let first = first_message(&mut stream).await?;
            name = first.table;
            let table = TableName::parse(&name)?;
            let overwrite = overwrites(first.mode)?;
            let route = self.router.write_route()?;
            let upload = Upload::new(&first.arrow_ipc, self.limits().max_import_bytes)?;
            let (schema, rows) = (upload.schema(), Arc::new(AtomicU64::new(0)));
            let counted = Arc::clone(&rows);
            let (feed, batches) = upload.start(counted);
            // Outside the table's lane: the client sets the pace, and appends
            // conflict with no other write.
            let commit =
                self.router
                    .primary()
                    .write(&table, Lane::Beside, move |handle| async move {
                        handle.import(schema, batches, overwrite).await
                    });
            let (fed, version) = tokio::join!(feed.run(stream), commit);
            // The cause is what the client should hear, not that it was cut off.
            fed?;
            let version = version?;
            let served = self.router.served(route, &table, version);
            Ok(((rows.load(Ordering::Relaxed), version), served))
        }
        .await;
        answer(&extensions, &name, outcome, |(rows, version), served| {
            Ok(pb::ImportResponse {
                num_inserted_rows: rows,
                version,
                served: Some(served),
            })
        })
    }
}

/// A write is of its own version.
fn at(served: Served, version: u64) -> Served {
    Served { version, ..served }
}

async fn decode_for(handle: &Handle, rows: Option<pb::Rows>) -> Result<DecodedRows> {
    let schema = handle.schema().await?;
    decode_rows(rows, Some(&schema), "rows")
}
