//! Running plans, each with a memory of its own.
//!
//! LanceDB runs every query in one session whose memory has no bound: the plans that
//! it makes are taken from it here, and run where what sorts, aggregates and joins
//! has to ask for its memory. There are no temporary files: what does not fit fails,
//! and fills no disk.

use std::sync::{Arc, OnceLock};

use futures::TryStreamExt;
use lance::dataset::scanner::DatasetRecordBatchStream;
use lance_datafusion::exec::{LanceExecutionOptions, format_plan, get_session_context};
use lancedb::{
    arrow::SendableRecordBatchStream,
    datafusion::{
        error::DataFusionError,
        execution::{
            TaskContext,
            disk_manager::{DiskManager, DiskManagerBuilder, DiskManagerMode},
            memory_pool::GreedyMemoryPool,
            runtime_env::RuntimeEnv,
        },
        physical_plan::{
            ExecutionPlan, ExecutionPlanProperties, coalesce_partitions::CoalescePartitionsExec,
            sorts::sort_preserving_merge::SortPreservingMergeExec,
        },
    },
    query::{ExecutableQuery, QueryExecutionOptions},
};

use crate::config::failpoint;

/// Runs a query that may keep `memory` bytes.
pub(super) async fn run(
    query: &impl ExecutableQuery,
    memory: usize,
) -> Result<SendableRecordBatchStream, lancedb::Error> {
    let plan = query.create_plan(QueryExecutionOptions::default()).await?;
    let stream = one_partition(plan).execute(0, context(memory)?)?;
    Ok(DatasetRecordBatchStream::new(stream).into())
}

/// Runs a query in the same way, for what there is to tell of it. Lance's own way to do
/// this shows what was measured up to an error, and not the error.
pub(super) async fn analyze(
    query: &impl ExecutableQuery,
    memory: usize,
) -> Result<String, lancedb::Error> {
    let plan = query.create_plan(QueryExecutionOptions::default()).await?;
    let plan = one_partition(plan);
    let stream = Arc::clone(&plan).execute(0, context(memory)?)?;
    let mut rows = SendableRecordBatchStream::from(DatasetRecordBatchStream::new(stream));
    while rows.try_next().await?.is_some() {}
    Ok(format_plan(plan))
}

/// Everything as one stream, in the plan's order if it has one.
fn one_partition(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    if plan.output_partitioning().partition_count() == 1 {
        return plan;
    }
    match plan.output_ordering().cloned() {
        Some(order) => Arc::new(SortPreservingMergeExec::new(order, plan)),
        None => Arc::new(CoalescePartitionsExec::new(plan)),
    }
}

/// LanceDB's session with another memory. Lance takes one context for one execution,
/// so each has its own.
fn context(memory: usize) -> Result<Arc<TaskContext>, DataFusionError> {
    let session = get_session_context(&LanceExecutionOptions::default());
    let context = TaskContext::from(&session);
    let memory = match failpoint::breaks("memory:no-pool") {
        true => usize::MAX,
        false => memory,
    };
    let runtime = RuntimeEnv {
        memory_pool: Arc::new(GreedyMemoryPool::new(memory)),
        disk_manager: no_files()?,
        ..context.runtime_env().as_ref().clone()
    };
    Ok(Arc::new(context.with_runtime(Arc::new(runtime))))
}

/// A disk manager that makes no files, the same for all.
fn no_files() -> Result<Arc<DiskManager>, DataFusionError> {
    static NONE: OnceLock<Arc<DiskManager>> = OnceLock::new();
    if let Some(none) = NONE.get() {
        return Ok(Arc::clone(none));
    }
    let none = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let none = Arc::new(none.build()?);
    Ok(Arc::clone(NONE.get_or_init(|| none)))
}
