//! WriteService: writes, on the primary.

use std::mem::take;

use tonic::{Request, Response, Status, Streaming};

use super::{
    api::{Api, Call, answer},
    once::repeatable,
};
use crate::{
    connection::Lane,
    domain::{
        Done, Error, Result,
        request::{Counts, WriteKind},
        view::Served,
    },
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
            mut message,
            ..
        } = request.into();
        let name = message.table.clone();
        let outcome = async {
            let id = take(&mut message.request_id);
            let request = repeatable(WriteKind::Insert, &id, &message)?;
            let overwrite = overwrites(message.mode)?;
            let rows = message.rows;
            let Some(request) = request else {
                let write = move |handle: Handle| async move {
                    let rows = decode_for(&handle, rows).await?;
                    let written = handle.insert(rows.batches, overwrite).await?;
                    Ok(done(written.version, [written.rows, 0, 0]))
                };
                return self.write(&name, Lane::Alone, write).await.map(at);
            };
            self.write_once(&name, request, move |store, handle| {
                let rows = rows.clone();
                async move {
                    let rows = decode_for(&handle, rows).await?;
                    store.stage_insert(&handle, rows.batches, overwrite).await
                }
            })
            .await
        };
        answer(&extensions, &name, outcome.await, |done, served| {
            Ok(pb::InsertResponse {
                num_inserted_rows: done.counts.inserted,
                version: done.version,
                served: Some(served),
                repeated: done.repeated,
            })
        })
    }

    async fn upsert(
        &self,
        request: Request<pb::UpsertRequest>,
    ) -> std::result::Result<Response<pb::UpsertResponse>, Status> {
        let Call {
            extensions,
            mut message,
            ..
        } = request.into();
        let name = message.table.clone();
        let outcome = async {
            let id = take(&mut message.request_id);
            let request = repeatable(WriteKind::Upsert, &id, &message)?;
            let (options, rows) = upsert(message, &self.limits())?;
            let depth = self.limits().max_filter_depth;
            let Some(request) = request else {
                let write = move |handle: Handle| async move {
                    let DecodedRows {
                        batches, schema, ..
                    } = decode_for(&handle, rows).await?;
                    let merged = handle.upsert(options, batches, schema, depth).await?;
                    let counts = [merged.inserted, merged.updated, merged.deleted];
                    Ok(done(merged.version, counts))
                };
                return self.write(&name, Lane::Alone, write).await.map(at);
            };
            self.write_once(&name, request, move |_, handle| {
                let (options, rows) = (options.clone(), rows.clone());
                async move {
                    let DecodedRows {
                        batches, schema, ..
                    } = decode_for(&handle, rows).await?;
                    handle.stage_upsert(options, batches, schema, depth).await
                }
            })
            .await
        };
        answer(&extensions, &name, outcome.await, |done, served| {
            Ok(pb::UpsertResponse {
                num_inserted_rows: done.counts.inserted,
                num_updated_rows: done.counts.updated,
                num_deleted_rows: done.counts.deleted,
                version: done.version,
                served: Some(served),
                repeated: done.repeated,
            })
        })
    }

    async fn update(
        &self,
        request: Request<pb::UpdateRequest>,
    ) -> std::result::Result<Response<pb::UpdateResponse>, Status> {
        let Call {
            extensions,
            mut message,
            ..
        } = request.into();
        let name = message.table.clone();
        let outcome = async {
            let id = take(&mut message.request_id);
            let request = repeatable(WriteKind::Update, &id, &message)?;
            let filter = wire::filter::filter(message.filter, "filter", &self.limits())?;
            let assignments = assignments(message.assignments, &self.limits())?;
            let depth = self.limits().max_filter_depth;
            let Some(request) = request else {
                let write = move |handle: Handle| async move {
                    let written = handle.update(filter.as_ref(), &assignments, depth).await?;
                    Ok(done(written.version, [0, written.rows, 0]))
                };
                return self.write(&name, Lane::Alone, write).await.map(at);
            };
            self.write_once(&name, request, move |store, handle| {
                let (filter, assignments) = (filter.clone(), assignments.clone());
                async move {
                    let filter = filter.as_ref();
                    store
                        .stage_update(&handle, filter, &assignments, depth)
                        .await
                }
            })
            .await
        };
        answer(&extensions, &name, outcome.await, |done, served| {
            Ok(pb::UpdateResponse {
                num_updated_rows: done.counts.updated,
                version: done.version,
                served: Some(served),
                repeated: done.repeated,
            })
        })
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteRequest>,
    ) -> std::result::Result<Response<pb::DeleteResponse>, Status> {
        let Call {
            extensions,
            mut message,
            ..
        } = request.into();
        let name = message.table.clone();
        let outcome = async {
            let id = take(&mut message.request_id);
            let request = repeatable(WriteKind::Delete, &id, &message)?;
            let filter = wire::filter::filter(message.filter, "filter", &self.limits())?
                .ok_or_else(|| Error::invalid("filter.sql", "is required; 'true' is every row"))?;
            let depth = self.limits().max_filter_depth;
            let Some(request) = request else {
                let write = move |handle: Handle| async move {
                    let written = handle.delete(&filter, depth).await?;
                    Ok(done(written.version, [0, 0, written.rows]))
                };
                return self.write(&name, Lane::Alone, write).await.map(at);
            };
            self.write_once(&name, request, move |store, handle| {
                let filter = filter.clone();
                async move { store.stage_delete(&handle, &filter, depth).await }
            })
            .await
        };
        answer(&extensions, &name, outcome.await, |done, served| {
            Ok(pb::DeleteResponse {
                num_deleted_rows: done.counts.deleted,
                version: done.version,
                served: Some(served),
                repeated: done.repeated,
            })
        })
    }

    async fn import(
        &self,
        request: Request<Streaming<pb::ImportRequest>>,
    ) -> std::result::Result<Response<pb::ImportResponse>, Status> {
        let Call {
            extensions,
            message: stream,
            ..
        } = request.into();
        let mut name = String::new();
        let outcome = self.import_rows(stream, &mut name).await;
        answer(&extensions, &name, outcome, |done, served| {
            Ok(pb::ImportResponse {
                num_inserted_rows: done.counts.inserted,
                version: done.version,
                served: Some(served),
                repeated: done.repeated,
            })
        })
    }
}

/// A write that was not done before. The counts are of rows inserted, updated and
/// deleted.
pub(super) fn done(version: u64, [inserted, updated, deleted]: [u64; 3]) -> Done {
    Done {
        counts: Counts {
            inserted,
            updated,
            deleted,
        },
        version,
        repeated: false,
    }
}

/// A write is of its own version.
fn at((done, served): (Done, Served)) -> (Done, Served) {
    let version = done.version;
    (done, Served { version, ..served })
}

async fn decode_for(handle: &Handle, rows: Option<pb::Rows>) -> Result<DecodedRows> {
    let schema = handle.schema().await?;
    decode_rows(rows, Some(&schema), "rows")
}
