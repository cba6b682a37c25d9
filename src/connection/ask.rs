//! Real questions to what a connection serves: a cheap one for the probes, a
//! thorough one for whoever wants to know.

use std::{sync::Arc, time::Duration};

use arrow::datatypes::{DataType, Schema};
use tokio::time::Instant;

use super::Connection;
use crate::{
    domain::{
        Error, Result, TableName,
        search::{Scan, Search},
    },
    storage::{Rules, Snapshot},
};

/// The shortest time between two reads of the probes.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Which table the probes of a connection read next, and when they did last.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    next: usize,
    last: Option<Instant>,
}

impl Connection {
    /// Reads one row of the snapshot that is served of one table, another table each
    /// time. Not more than once a second, however often it is probed.
    ///
    /// # Errors
    /// The place does not answer. What is wrong with one table alone is not the
    /// place's fault, and is left to the reads of that table.
    pub(super) async fn read_something(&self, rotation: &mut Rotation) -> Result<()> {
        let pause_is_over = rotation.last.is_none_or(|at| at.elapsed() >= LEAST_PAUSE);
        let tables = self.catalog().all();
        if !pause_is_over || tables.is_empty() {
            return Ok(());
        }
        let mut names: Vec<&TableName> = tables.keys().collect();
        names.sort_unstable();
        let name = names[rotation.next % names.len()];
        rotation.next = rotation.next.wrapping_add(1);
        rotation.last = Some(Instant::now());
        match first_row(&tables[name].snapshot).await {
            Err(error @ Error::Unavailable { .. }) => Err(error),
            Err(error) => {
                tracing::debug!(connection = %self.name(), table = %name, %error, "a probe could not read a table");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Searches the first table by name: by vector if it has a vector column, else
    /// its first row is read. Answers what was searched, for people.
    ///
    /// # Errors
    /// Those of the search, or of a probe where there is no table.
    pub async fn search_something(&self) -> Result<String> {
        let tables = self.catalog().all();
        let first = tables.iter().min_by_key(|(name, _)| *name);
        let Some((name, entry)) = first else {
            self.probe().await?;
            return Ok("no tables".into());
        };
        let snapshot = &entry.snapshot;
        match vector_column(snapshot.schema()) {
            Some((column, dimension)) => search_vector(snapshot, column, dimension).await?,
            None => first_row(snapshot).await?,
        }
        Ok(format!("searched {name} at version {}", snapshot.version()))
    }
}

/// Reads one row of one column.
async fn first_row(snapshot: &Arc<Snapshot>) -> Result<()> {
    let fields = snapshot.schema().fields();
    let column = fields.first().map(|field| field.name().clone());
    let scan = Scan {
        columns: column.map(|column| vec![column]),
        ..Scan::default()
    };
    let rows = snapshot.scan(&scan, 0, 1, &Rules::ours()).await?;
    rows.collect(usize::MAX).await.map(drop)
}

fn vector_column(schema: &Schema) -> Option<(String, usize)> {
    schema
        .fields()
        .iter()
        .find_map(|field| match field.data_type() {
            DataType::FixedSizeList(item, size) if item.data_type() == &DataType::Float32 => {
                Some((field.name().clone(), usize::try_from(*size).ok()?))
            }
            _ => None,
        })
}

async fn search_vector(snapshot: &Snapshot, column: String, dimension: usize) -> Result<()> {
    // Any direction but zero, which has no cosine.
    let mut vector = vec![0.0; dimension];
    if let Some(first) = vector.first_mut() {
        *first = 1.0;
    }
    let search = Search {
        vectors: vec![vector.into()],
        vector_column: Some(column.clone()),
        limit: 1,
        columns: Some(vec![column]),
        ..Search::default()
    };
    let found = snapshot.search(&search, &Rules::ours()).await?;
    found.collect(usize::MAX).await.map(drop)
}
