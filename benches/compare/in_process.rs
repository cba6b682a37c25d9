//! LanceDB called in this process: what a search costs without a server.

use std::{path::Path, sync::Arc, time::Duration};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};
use futures::TryStreamExt;
use lancedb::{
    ObjectStoreRegistry, Session, Table,
    query::{ExecutableQuery, QueryBase, Select},
};
use tokio::runtime::Runtime;

use crate::{
    Result,
    closed_loop::{self, Caller, Sample},
    dataset::TOP,
    rounds::{Knobs, System},
};

/// The server's own defaults, so that caches decide nothing.
const INDEX_CACHE_BYTES: usize = 1 << 30;
const METADATA_CACHE_BYTES: usize = 256 << 20;

/// As src/main.rs has it.
const STACK_BYTES: usize = 8 << 20;

/// A pinned table and a runtime such as the server's.
pub struct InProcess {
    runtime: Runtime,
    caller: InProcessCaller,
}

#[derive(Clone)]
struct InProcessCaller {
    table: Table,
    queries: Arc<[Vec<f32>]>,
    knobs: Knobs,
}

impl InProcess {
    /// Opens one version of a table.
    pub fn open(
        folder: &Path,
        table: &str,
        version: u64,
        queries: &[Vec<f32>],
        knobs: Knobs,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        let uri = folder.to_str().ok_or("the folder's name is not UTF-8")?;
        let session = Arc::new(Session::new(
            INDEX_CACHE_BYTES,
            METADATA_CACHE_BYTES,
            Arc::new(ObjectStoreRegistry::default()),
        ));
        let table = runtime.block_on(async {
            let connection = lancedb::connect(uri).session(session).execute().await?;
            connection
                .open_table(table)
                .version(version)
                .execute()
                .await
        })?;
        Ok(Self {
            runtime,
            caller: InProcessCaller {
                table,
                queries: queries.into(),
                knobs,
            },
        })
    }

    /// The same table, searched with other knobs.
    pub fn set_knobs(&mut self, knobs: Knobs) {
        self.caller.knobs = knobs;
    }
}

impl System for InProcess {
    fn name(&self) -> &str {
        "LanceDB in process"
    }

    fn load(&self, concurrency: usize, duration: Duration) -> Result<Sample> {
        let callers = vec![self.caller.clone(); concurrency];
        let queries = self.caller.queries.len();
        // Spawned, so that its callers run where the server's handlers would.
        let load = self
            .runtime
            .spawn(closed_loop::run(callers, queries, duration));
        self.runtime.block_on(load)?
    }

    fn process(&self) -> Option<u32> {
        None
    }

    fn answers(&self) -> Result<Vec<Vec<i64>>> {
        let search = async |query| ids(&self.caller.search(query).await?);
        self.runtime.block_on(async {
            let mut answers = Vec::new();
            for query in 0..self.caller.queries.len() {
                answers.push(search(query).await?);
            }
            Ok(answers)
        })
    }
}

impl InProcessCaller {
    async fn search(&self, query: usize) -> Result<Vec<RecordBatch>> {
        let stream = self
            .table
            .query()
            .limit(TOP)
            .select(Select::columns(&["id", "title", "_distance"]))
            .nearest_to(self.queries[query].as_slice())?
            .column("vector")
            .nprobes(self.knobs.nprobes as usize)?
            .refine_factor(self.knobs.refine_factor)
            .execute()
            .await?;
        Ok(stream.try_collect().await?)
    }
}

impl Caller for InProcessCaller {
    async fn call(&mut self, query: usize) -> Result<()> {
        let rows: usize = self
            .search(query)
            .await?
            .iter()
            .map(RecordBatch::num_rows)
            .sum();
        match rows {
            TOP => Ok(()),
            rows => Err(format!("{rows} rows instead of {TOP}").into()),
        }
    }
}

/// The column `id`.
pub fn ids(batches: &[RecordBatch]) -> Result<Vec<i64>> {
    let mut ids = Vec::new();
    for batch in batches {
        let column = batch.column_by_name("id").ok_or("no column id")?;
        ids.extend(column.as_primitive::<Int64Type>().values());
    }
    Ok(ids)
}
