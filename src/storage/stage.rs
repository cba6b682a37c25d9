//! Writes that carry a request id: staged first, with all their files, and
//! committed afterwards together with what they record.
//!
//! Insert, Import, Update and Delete are LanceDB's own, up to the commit: they run
//! on a handle whose commit keeps the transaction. Of a merge-insert only Lance
//! knows the counts before the commit, so that one is Lance's.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchIterator},
    datatypes::SchemaRef,
};
use futures::Stream;
use lance::{
    dataset::{
        CommitBuilder, MergeInsertBuilder, WhenMatched, WhenNotMatched, WhenNotMatchedBySource,
        transaction::{Operation, Transaction},
    },
    index::DatasetIndexExt,
};
use lance_table::{
    format::Fragment, io::commit::CommitHandler, system_index::mem_wal::MEM_WAL_INDEX_NAME,
};

use super::{Handle, Rules, Store, error, recorded::properties, step::Step, write::in_rows};
use crate::{
    config::failpoint,
    domain::{
        Error, Filter, Result, WriteRequest,
        request::{Counts, Recorded},
        table::{Assignment, UpsertOptions},
    },
};

/// A write whose files are there, and that no version has yet.
#[derive(Debug, Clone)]
pub struct Staged {
    transaction: Transaction,
    counts: Counts,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy)]
pub enum Attempt {
    /// It is done.
    Done(Recorded),
    /// An earlier commit, of another process, records the same request id.
    Found(Recorded),
    /// Others changed the same rows: it must be staged again.
    Conflict,
}

fn rows(fragments: &[Fragment]) -> u64 {
    let rows = fragments.iter().map(|f| f.num_rows().unwrap_or(0) as u64);
    rows.sum()
}

/// Rows that these operations add.
fn added(operation: &Operation) -> u64 {
    match operation {
        Operation::Append { fragments } | Operation::Overwrite { fragments, .. } => rows(fragments),
        Operation::Update { new_fragments, .. } => rows(new_fragments),
        _ => 0,
    }
}

/// Rows that a deletion takes from these fragments.
fn deleted(before: &[Fragment], operation: &Operation) -> u64 {
    let Operation::Delete {
        updated_fragments: updated,
        deleted_fragment_ids: gone,
        ..
    } = operation
    else {
        return 0;
    };
    let touched = |f: &&Fragment| gone.contains(&f.id) || updated.iter().any(|u| u.id == f.id);
    let before: Vec<Fragment> = before.iter().filter(touched).cloned().collect();
    rows(&before).saturating_sub(rows(updated))
}

impl Store {
    /// Stages [`Handle::insert`].
    pub async fn stage_insert(
        &self,
        handle: &Handle,
        batches: Vec<RecordBatch>,
        overwrite: bool,
    ) -> Result<Staged> {
        let write = |handle: Handle| async move { handle.insert(batches, overwrite).await };
        self.stage_added(handle, write).await
    }

    /// Stages [`Handle::import`].
    pub async fn stage_import(
        &self,
        handle: &Handle,
        schema: SchemaRef,
        rows: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
        overwrite: bool,
    ) -> Result<Staged> {
        let write = |handle: Handle| async move { handle.import(schema, rows, overwrite).await };
        self.stage_added(handle, write).await
    }

    async fn stage_added<T, Fut: Future<Output = Result<T>>>(
        &self,
        handle: &Handle,
        write: impl FnOnce(Handle) -> Fut,
    ) -> Result<Staged> {
        let (transaction, _) = self.captured(handle, write).await?;
        let counts = Counts {
            inserted: added(&transaction.operation),
            ..Counts::default()
        };
        Ok(Staged {
            transaction,
            counts,
        })
    }

    /// Stages [`Handle::update`].
    pub async fn stage_update(
        &self,
        handle: &Handle,
        filter: Option<&Filter>,
        assignments: &[Assignment],
        rules: &Rules,
    ) -> Result<Staged> {
        let write = |handle: Handle| async move {
            let updated = handle.update(filter, assignments, rules);
            updated.await
        };
        let (transaction, _) = self.captured(handle, write).await?;
        let counts = Counts {
            updated: added(&transaction.operation),
            ..Counts::default()
        };
        Ok(Staged {
            transaction,
            counts,
        })
    }

    /// Stages [`Handle::delete`].
    pub async fn stage_delete(
        &self,
        handle: &Handle,
        filter: &Filter,
        rules: &Rules,
    ) -> Result<Staged> {
        let write = |handle: Handle| async move { handle.delete(filter, rules).await };
        let (transaction, before) = self.captured(handle, write).await?;
        let counts = Counts {
            deleted: deleted(&before, &transaction.operation),
            ..Counts::default()
        };
        Ok(Staged {
            transaction,
            counts,
        })
    }

    /// Runs a write of LanceDB up to its commit. Answers its transaction, and the
    /// fragments that the table had before.
    async fn captured<T, Fut: Future<Output = Result<T>>>(
        &self,
        handle: &Handle,
        write: impl FnOnce(Handle) -> Fut,
    ) -> Result<(Transaction, Arc<Vec<Fragment>>)> {
        let step = Arc::new(Step::capture(Arc::clone(&self.commits)));
        let commit_handler: Arc<dyn CommitHandler> = step.clone();
        let table = self
            .opening(&handle.name, commit_handler)
            .execute()
            .await
            .map_err(|e| error::in_table(&handle.name, e))?;
        let before = Arc::clone(error::dataset(&table).await?.fragments());
        let written = write(handle.with_table(table)).await;
        match (step.captured(), written) {
            (Some(kept), _) => {
                let transaction = Transaction::try_from(kept.inner);
                Ok((transaction.map_err(error::from_lance)?, before))
            }
            (None, Err(e)) => Err(e),
            (None, Ok(_)) => Err(Error::Internal("a staged write has no transaction".into())),
        }
    }
}

impl Handle {
    /// Stages [`Handle::upsert`].
    ///
    /// # Errors
    /// Those of the upsert, and [`Error::Unsupported`] for tables whose rows LanceDB
    /// prepares in a way of its own.
    pub async fn stage_upsert(
        &self,
        options: UpsertOptions,
        batches: Vec<RecordBatch>,
        schema: SchemaRef,
        rules: &Rules,
    ) -> Result<Staged> {
        let conditions = self
            .merge_conditions(&options, &batches, &schema, rules)
            .await?;
        self.must_be_plain().await?;
        let in_table = |e: lance::Error| in_rows("rows", error::in_table(&self.name, e.into()));
        let dataset = error::dataset(&self.table).await?;
        let mut merge =
            MergeInsertBuilder::try_new(Arc::clone(&dataset), options.on).map_err(in_table)?;
        merge.when_matched(match (options.when_matched_update_all, conditions.update) {
            (false, _) => WhenMatched::DoNothing,
            (true, None) => WhenMatched::UpdateAll,
            (true, Some(condition)) => {
                WhenMatched::update_if(&dataset, &condition.for_lance()?).map_err(in_table)?
            }
        });
        merge.when_not_matched(match options.when_not_matched_insert_all {
            true => WhenNotMatched::InsertAll,
            false => WhenNotMatched::DoNothing,
        });
        let deletes = options.when_not_matched_by_source_delete;
        merge.when_not_matched_by_source(match (deletes, conditions.delete) {
            (false, _) => WhenNotMatchedBySource::Keep,
            (true, None) => WhenNotMatchedBySource::Delete,
            (true, Some(condition)) => {
                let condition = condition.for_lance()?;
                WhenNotMatchedBySource::delete_if(&dataset, &condition).map_err(in_table)?
            }
        });
        merge.use_index(options.use_index);
        let job = merge.try_build().map_err(in_table)?;
        let reader = RecordBatchIterator::new(batches.into_iter().map(Ok), schema);
        let merged = Box::pin(job.execute_uncommitted(reader)).await;
        let merged = merged.map_err(in_table)?;
        Ok(Staged {
            counts: Counts {
                inserted: merged.stats.num_inserted_rows,
                updated: merged.stats.num_updated_rows,
                deleted: merged.stats.num_deleted_rows,
            },
            transaction: merged.transaction,
        })
    }

    /// Refuses tables whose merge-insert LanceDB does in another way.
    async fn must_be_plain(&self) -> Result<()> {
        let schema = self.schema().await?;
        let prepared = |metadata: &std::collections::HashMap<String, String>| {
            let extension = metadata.get("ARROW:extension:name").map(String::as_str);
            matches!(
                extension,
                Some("arrow.json" | "lance.json" | "lance.blob.v2")
            ) || metadata.contains_key("lance-encoding:blob")
        };
        let fields = schema.flattened_fields();
        let dataset = error::dataset(&self.table).await?;
        let indexes = dataset.load_indices().await;
        let indexes = indexes.map_err(|e| error::in_table(&self.name, e.into()))?;
        if fields.iter().any(|field| prepared(field.metadata()))
            || indexes.iter().any(|index| index.name == MEM_WAL_INDEX_NAME)
        {
            let text = "a request_id of an upsert where the table has JSON or blob columns";
            return Err(Error::Unsupported(text.into()));
        }
        Ok(())
    }

    /// Commits a staged write and records its request in the same transaction,
    /// unless a version after `seen` records the same id already. This handle sees
    /// the new version afterwards.
    ///
    /// # Errors
    /// What the store answers; [`Error::OutcomeUnknown`] if nobody can tell whether
    /// the version is there.
    pub async fn commit_once(
        &self,
        store: &Store,
        staged: Staged,
        request: &WriteRequest,
        seen: u64,
    ) -> Result<Attempt> {
        let Staged {
            mut transaction,
            counts,
        } = staged;
        if !failpoint::breaks("once:recorded-after") {
            transaction.transaction_properties = Some(Arc::new(properties(request, counts)));
        }
        let dataset = error::dataset(&self.table).await?;
        let commits = Arc::clone(&store.commits);
        let key = request.id.key();
        let step = Arc::new(Step::look_for(commits, Arc::clone(&dataset), key, seen));
        failpoint::reached("write:staged");
        if failpoint::breaks("write:lost") {
            return Err(Error::OutcomeUnknown);
        }
        let committed = CommitBuilder::new(dataset)
            .with_commit_handler(step.clone())
            .execute(transaction)
            .await;
        let error = match committed {
            Ok(dataset) => {
                failpoint::reached("write:committed");
                if failpoint::breaks("write:doubtful") {
                    return Err(Error::OutcomeUnknown);
                }
                let recorded = Recorded {
                    kind: request.kind,
                    digest: request.digest,
                    counts,
                    version: dataset.manifest().version,
                    at: dataset.manifest().timestamp().into(),
                };
                if let Some(head) = self.table.dataset() {
                    head.update(dataset);
                }
                return Ok(Attempt::Done(recorded));
            }
            Err(error) => error,
        };
        match (step.found(), error) {
            (Some(found), _) => Ok(Attempt::Found(found)),
            (None, lance::Error::RetryableCommitConflict { .. }) => Ok(Attempt::Conflict),
            // Given up while it was under way.
            (None, lance::Error::Timeout { .. }) => Err(Error::OutcomeUnknown),
            (None, error) => Err(error::in_table(&self.name, error.into())),
        }
    }
}

#[cfg(test)]
mod tests;
