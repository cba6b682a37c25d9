//! WriteService: writes, on the primary.

use std::{mem::take, sync::Arc};

use tonic::{Extensions, Request, Response, Status, Streaming};

use super::{
    allowed::{allowed, allowed_whole},
    api::{Api, Call, answer},
    once::repeatable,
    stack::{Allowed, RequestFacts},
};
use crate::{
    config::AccessRole::{Admin, Writer},
    connection::Lane,
    domain::{
        Done, Error, Filter, Result,
        request::{Counts, WriteKind},
        view::Served,
    },
    proto::v1 as pb,
    storage::{Handle, Rules},
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
            let scope = allowed(&extensions, &name, Writer)?;
            let id = take(&mut message.request_id);
            let request = repeatable(WriteKind::Insert, &id, &message, &extensions)?;
            self.before(&extensions, &name);
            let bounds = Allowed::of(&extensions);
            let overwrite = overwrites(message.mode)?;
            if overwrite {
                allowed(&extensions, &name, Admin)?;
            }
            let rows = message.rows;
            let Some(request) = request else {
                let write = move |handle: Handle| async move {
                    let rows = decode_for(&handle, rows, bounds).await?;
                    let written = handle.insert(rows.batches, overwrite).await?;
                    Ok(done(written.version, [written.rows, 0, 0]))
                };
                return self.write(&name, &scope, Lane::Alone, write).await.map(at);
            };
            self.write_once(&name, &scope, request, move |store, handle| {
                let rows = rows.clone();
                async move {
                    let rows = decode_for(&handle, rows, bounds).await?;
                    store.stage_insert(&handle, rows.batches, overwrite).await
                }
            })
            .await
        };
        answer_write(&extensions, &name, outcome.await, |done, served| {
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
            let scope = allowed_whole(&extensions, &name, Writer)?;
            let id = take(&mut message.request_id);
            let request = repeatable(WriteKind::Upsert, &id, &message, &extensions)?;
            self.before(&extensions, &name);
            let bounds = Allowed::of(&extensions);
            let (options, rows) = upsert(message, &self.limits())?;
            let rules = self.rules();
            let Some(request) = request else {
                let write = move |handle: Handle| async move {
                    let DecodedRows {
                        batches, schema, ..
                    } = decode_for(&handle, rows, bounds).await?;
                    let merged = handle.upsert(options, batches, schema, &rules).await?;
                    let counts = [merged.inserted, merged.updated, merged.deleted];
                    Ok(done(merged.version, counts))
                };
                return self.write(&name, &scope, Lane::Alone, write).await.map(at);
            };
            self.write_once(&name, &scope, request, move |_, handle| {
                let (options, rows, rules) = (options.clone(), rows.clone(), Arc::clone(&rules));
                async move {
                    let DecodedRows {
                        batches, schema, ..
                    } = decode_for(&handle, rows, bounds).await?;
                    handle.stage_upsert(options, batches, schema, &rules).await
                }
            })
            .await
        };
        answer_write(&extensions, &name, outcome.await, |done, served| {
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
            let scope = allowed(&extensions, &name, Writer)?;
            let id = take(&mut message.request_id);
            let request = repeatable(WriteKind::Update, &id, &message, &extensions)?;
            self.before(&extensions, &name);
            let filter = wire::filter::filter(message.filter, "filter", &self.limits())?;
            let assignments = assignments(message.assignments, &self.limits())?;
            let rules = self.rules();
            let bounds = Allowed::of(&extensions);
            let Some(request) = request else {
                let write = move |handle: Handle| async move {
                    may_change(&handle, filter.as_ref(), &rules, bounds).await?;
                    let written = handle.update(filter.as_ref(), &assignments, &rules).await?;
                    Ok(done(written.version, [0, written.rows, 0]))
                };
                return self.write(&name, &scope, Lane::Alone, write).await.map(at);
            };
            self.write_once(&name, &scope, request, move |store, handle| {
                let (filter, assignments) = (filter.clone(), assignments.clone());
                let rules = Arc::clone(&rules);
                async move {
                    let filter = filter.as_ref();
                    may_change(&handle, filter, &rules, bounds).await?;
                    store
                        .stage_update(&handle, filter, &assignments, &rules)
                        .await
                }
            })
            .await
        };
        answer_write(&extensions, &name, outcome.await, |done, served| {
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
            let scope = allowed(&extensions, &name, Writer)?;
            let id = take(&mut message.request_id);
            let request = repeatable(WriteKind::Delete, &id, &message, &extensions)?;
            self.before(&extensions, &name);
            let filter = wire::filter::filter(message.filter, "filter", &self.limits())?
                .ok_or_else(|| Error::invalid("filter.sql", "is required; 'true' is every row"))?;
            let rules = self.rules();
            let bounds = Allowed::of(&extensions);
            let Some(request) = request else {
                let write = move |handle: Handle| async move {
                    may_change(&handle, Some(&filter), &rules, bounds).await?;
                    let written = handle.delete(&filter, &rules).await?;
                    Ok(done(written.version, [0, 0, written.rows]))
                };
                return self.write(&name, &scope, Lane::Alone, write).await.map(at);
            };
            self.write_once(&name, &scope, request, move |store, handle| {
                let (filter, rules) = (filter.clone(), Arc::clone(&rules));
                async move {
                    may_change(&handle, Some(&filter), &rules, bounds).await?;
                    store.stage_delete(&handle, &filter, &rules).await
                }
            })
            .await
        };
        answer_write(&extensions, &name, outcome.await, |done, served| {
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
        let outcome = self.import_rows(stream, &extensions, &mut name).await;
        answer_write(&extensions, &name, outcome, |done, served| {
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

/// Answers a write, and notes for the audit log what it made.
fn answer_write<M: prost::Message>(
    extensions: &Extensions,
    table: &str,
    outcome: Result<(Done, Served)>,
    build: impl FnOnce(Done, pb::Served) -> Result<M>,
) -> std::result::Result<Response<M>, Status> {
    if let (Ok((done, _)), Some(facts)) = (&outcome, extensions.get::<RequestFacts>()) {
        facts.done(done);
    }
    answer(extensions, table, outcome, build)
}

/// Whether so many rows may be changed or deleted: counted before, where they are.
async fn may_change(
    handle: &Handle,
    filter: Option<&Filter>,
    rules: &Rules,
    allowed: Allowed,
) -> Result<()> {
    match allowed.bounds_writes() {
        true => allowed.written(handle.count(filter, rules).await?),
        false => Ok(()),
    }
}

async fn decode_for(
    handle: &Handle,
    rows: Option<pb::Rows>,
    allowed: Allowed,
) -> Result<DecodedRows> {
    let schema = handle.schema().await?;
    let rows = decode_rows(rows, Some(&schema), "rows")?;
    allowed.written(rows.num_rows as u64)?;
    Ok(rows)
}
