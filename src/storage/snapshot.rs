//! One version of one table, opened once and shared by every read of it.

use std::{borrow::Cow, pin::Pin, sync::Arc, time::SystemTime};

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use futures::{Stream, TryStreamExt, future::ready};
use lancedb::{Table, arrow::SendableRecordBatchStream};
use tokio::sync::OnceCell;

use super::{
    blobs::Blobs,
    error,
    filter::{Bound, blame},
    index,
    scope::View,
    versions::Commit,
    warm::Warmed,
};
use crate::domain::{
    Error, Incarnation, Position, Result, TableName, index::IndexInfo, table::TableInfo,
};

/// A table pinned to one version: it never changes and does no I/O to find out.
pub struct Snapshot {
    pub(super) name: TableName,
    pub(super) table: Table,
    pub(super) schema: SchemaRef,
    pub(super) warmed: Warmed,
    pub(super) blobs: Arc<Blobs>,
    /// How many there are, as far as the manifest says.
    pub(super) rows: u64,
    pub(super) commit: Commit,
    pub(super) incarnation: Incarnation,
    /// Read once, for all who see the version.
    pub(super) indexes: Arc<OnceCell<Vec<IndexInfo>>>,
    /// Of somebody who may not see all of it.
    pub(super) view: Option<View>,
}

/// Rows as they come, with the schema that they all have.
pub struct Batches {
    pub schema: SchemaRef,
    pub stream: Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>,
}

/// Rows that are all there.
#[derive(Debug)]
pub struct Rows {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

impl Rows {
    /// How many rows there are.
    pub fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Keeps the first `rows` rows.
    pub fn truncate(&mut self, rows: usize) {
        let mut left = rows;
        for batch in &mut self.batches {
            let keep = left.min(batch.num_rows());
            *batch = batch.slice(0, keep);
            left -= keep;
        }
        self.batches.retain(|batch| batch.num_rows() > 0);
    }
}

/// Bytes of a batch's own rows, whatever larger buffers they are part of.
fn size_of(batch: &RecordBatch) -> Result<usize> {
    batch.columns().iter().try_fold(0usize, |sum, column| {
        let size = column
            .to_data()
            .get_slice_memory_size()
            .map_err(|e| Error::Internal(e.to_string()))?;
        Ok(sum.saturating_add(size))
    })
}

impl Batches {
    /// Rows of a query, which may have had a filter.
    pub(super) fn new(
        name: TableName,
        filter: Option<Bound>,
        stream: SendableRecordBatchStream,
    ) -> Self {
        let schema = stream.schema();
        let stream = stream.map_err(move |e| blame(&name, filter.as_ref(), e));
        Self {
            schema,
            stream: Box::pin(stream),
        }
    }

    /// Them without what the table says of itself, if `plain`.
    pub(super) fn plain(self, plain: bool) -> Self {
        if !plain {
            return self;
        }
        let schema = Arc::new(Schema::new(self.schema.fields().clone()));
        let (internal, to) = (
            |e: arrow::error::ArrowError| Error::Internal(e.to_string()),
            SchemaRef::clone(&schema),
        );
        let stream = self.stream.and_then(move |batch| {
            ready(batch.with_schema(SchemaRef::clone(&to)).map_err(internal))
        });
        Self {
            schema,
            stream: Box::pin(stream),
        }
    }

    /// Them without some of their columns.
    pub(super) fn without(self, columns: &[&str]) -> Result<Self> {
        let internal = |e: arrow::error::ArrowError| Error::Internal(e.to_string());
        let fields = self.schema.fields().iter().enumerate();
        let indices: Vec<usize> = fields
            .filter(|(_, field)| !columns.contains(&field.name().as_str()))
            .map(|(i, _)| i)
            .collect();
        let schema = Arc::new(self.schema.project(&indices).map_err(internal)?);
        let stream = self
            .stream
            .and_then(move |batch| ready(batch.project(&indices).map_err(internal)));
        Ok(Self {
            schema,
            stream: Box::pin(stream),
        })
    }

    /// Waits for all of them, or until they are more than `max_bytes`.
    pub async fn collect(self, max_bytes: usize) -> Result<Rows> {
        self.collect_with(max_bytes, |_| Ok(())).await
    }

    /// The same. `count` is told the bytes of each batch, and may refuse.
    pub async fn collect_with(
        mut self,
        max_bytes: usize,
        mut count: impl FnMut(usize) -> Result<()>,
    ) -> Result<Rows> {
        let (mut batches, mut bytes) = (Vec::new(), 0usize);
        while let Some(batch) = self.stream.try_next().await? {
            let size = size_of(&batch)?;
            bytes = bytes.saturating_add(size);
            if bytes > max_bytes {
                return Err(Error::TooLarge(format!(
                    "the answer is larger than {max_bytes} bytes: ask for fewer rows or columns, or use SearchStream"
                )));
            }
            count(size)?;
            batches.push(batch);
        }
        Ok(Rows {
            schema: self.schema,
            batches,
        })
    }
}

impl Snapshot {
    pub(super) async fn of(
        name: TableName,
        table: Table,
        incarnation: Incarnation,
        blobs: Arc<Blobs>,
    ) -> Result<Self> {
        let schema = table
            .schema()
            .await
            .map_err(|e| error::in_table(&name, e))?;
        let dataset = error::dataset(&table).await?;
        let commit = Commit::of(dataset.manifest());
        let rows = dataset.fragments().iter().filter_map(|f| f.num_rows());
        let rows = rows.map(|rows| rows as u64).sum();
        Ok(Self {
            name,
            table,
            schema,
            warmed: Warmed::default(),
            blobs,
            rows,
            commit,
            incarnation,
            indexes: Arc::default(),
            view: None,
        })
    }

    /// The table's name.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// The table's columns at this version.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The version's number.
    pub fn version(&self) -> u64 {
        self.commit.version
    }

    /// Where the table is at this version.
    pub fn position(&self) -> Position {
        Position {
            incarnation: self.incarnation,
            version: self.commit.version,
        }
    }

    /// Which commit this is.
    pub fn commit(&self) -> Commit {
        self.commit
    }

    /// When it was committed.
    pub fn committed_at(&self) -> SystemTime {
        self.commit.time()
    }

    /// The indexes at this version, read once.
    pub async fn indexes(&self) -> Result<Cow<'_, [IndexInfo]>> {
        let indexes = self
            .indexes
            .get_or_try_init(|| index::list(&self.name, &self.table))
            .await?;
        let Some(view) = &self.view else {
            return Ok(Cow::Borrowed(indexes));
        };
        let shown = indexes.iter().filter(|index| view.shows(index)).cloned();
        // How many rows there are in all is not said.
        let counted = |index: IndexInfo| match view.has_rows() {
            true => IndexInfo {
                num_indexed_rows: 0,
                num_unindexed_rows: 0,
                ..index
            },
            false => index,
        };
        Ok(Cow::Owned(shown.map(counted).collect()))
    }

    /// Everything that DescribeTable answers.
    pub async fn describe(&self) -> Result<TableInfo> {
        if self.has_restricted_rows() {
            return self.describe_part().await;
        }
        let stats = self
            .table
            .stats()
            .await
            .map_err(|e| error::in_table(&self.name, e))?;
        Ok(TableInfo {
            schema: Arc::clone(&self.schema),
            num_rows: stats.num_rows as u64,
            num_deleted_rows: stats.num_deleted_rows.unwrap_or(0) as u64,
            size_bytes: stats.total_bytes as u64,
            num_fragments: stats.fragment_stats.num_fragments as u64,
            num_small_fragments: stats.fragment_stats.num_small_fragments as u64,
            version: self.commit.version,
            indexes: self.indexes().await?.into_owned(),
        })
    }

    /// The same for who may not see all rows: only theirs are counted.
    async fn describe_part(&self) -> Result<TableInfo> {
        Ok(TableInfo {
            schema: Arc::clone(&self.schema),
            num_rows: self.count_all().await?,
            num_deleted_rows: 0,
            size_bytes: 0,
            num_fragments: 0,
            num_small_fragments: 0,
            version: self.commit.version,
            indexes: self.indexes().await?.into_owned(),
        })
    }
}
