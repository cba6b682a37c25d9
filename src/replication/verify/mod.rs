//! Comparing replicas with their primary: manifests, files, sizes, checksums,
//! and on request rows and the answers to queries.
//!
//! [`inventory`] lists what each place holds, [`contents`] reads it, [`compare`]
//! says, purely, what is not the same. Nothing is written anywhere. The primary
//! may be written to meanwhile: a difference is reported when two looks find it.

mod answers;
mod compare;
mod contents;
mod inventory;
mod queries;
mod reads;
mod report;
mod rows;
mod table;

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub use queries::{Queries, QueryVectors};
pub use report::{Class, Compared, Failure, Finding, Kind, Report, Versions};

use crate::{
    domain::{Error, TableName},
    storage::Store,
};

/// A location that is compared.
pub struct Place {
    /// The connection's name.
    pub name: String,
    pub store: Store,
}

/// What to compare, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// All of the primary's and the replicas' tables if there are none here.
    pub tables: Vec<TableName>,
    /// Whether files are read, rather than only their sizes compared.
    pub checksums: bool,
    /// Whether the rows of the newest version that both have are compared.
    pub rows: bool,
    pub queries: Option<Queries>,
    /// Files, and queries, at once.
    pub parallel: usize,
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The tables of the primary cannot be listed.
    #[error("connection '{connection}': {error}")]
    Primary { connection: String, error: Error },
    /// A table that nobody has was asked for.
    #[error("no connection has a table '{0}'")]
    NoTable(TableName),
    /// There are queries that fit no column of any table.
    #[error("no table has a vector column that the queries fit")]
    NoVectors,
}

/// How far a comparison is; read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU64,
    done: AtomicU64,
    doing: Mutex<String>,
}

impl Progress {
    /// Bytes that are known to be read, and those read so far. The first grows
    /// with each table.
    pub fn bytes(&self) -> (u64, u64) {
        (
            self.total.load(Ordering::Relaxed),
            self.done.load(Ordering::Relaxed),
        )
    }

    /// What is being compared now: a table, and what of it.
    pub fn doing(&self) -> String {
        self.doing_now().clone()
    }

    fn begin(&self, table: &TableName, part: &str) {
        *self.doing_now() = format!("{table}: {part}");
    }

    fn doing_now(&self) -> MutexGuard<'_, String> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_total(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    fn add_done(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Compares. What cannot be compared because a place does not answer is in the
/// report, beside what was found on the others.
///
/// # Errors
/// The primary's tables cannot be listed, a table is unknown, or no column fits
/// the queries.
pub async fn verify(
    primary: &Place,
    replicas: &[Place],
    options: &Options,
    progress: &Progress,
) -> Result<Report, VerifyError> {
    let mut report = Report::default();
    let tables = tables(primary, replicas, options, &mut report).await?;
    if let Some(queries) = &options.queries {
        // Found out before hours are spent on reading files.
        fits_something(queries, primary, &tables).await?;
    }
    for table in &tables {
        let check = table::Check {
            primary,
            replicas,
            table,
            options,
            progress,
        };
        check.run(&mut report).await;
    }
    report.findings.sort();
    Ok(report)
}

/// The tables to compare: those asked for, else those that anybody has.
async fn tables(
    primary: &Place,
    replicas: &[Place],
    options: &Options,
    report: &mut Report,
) -> Result<BTreeSet<TableName>, VerifyError> {
    let names = primary.store.table_names().await;
    let mut all: BTreeSet<TableName> = names
        .map_err(|error| VerifyError::Primary {
            connection: primary.name.clone(),
            error,
        })?
        .into_iter()
        .collect();
    for replica in replicas {
        match replica.store.table_names().await {
            Ok(names) => all.extend(names),
            Err(error) => report.failures.push(Failure {
                connection: replica.name.clone(),
                table: String::new(),
                error: error.to_string(),
            }),
        }
    }
    if options.tables.is_empty() {
        return Ok(all);
    }
    match options.tables.iter().find(|table| !all.contains(*table)) {
        Some(unknown) => Err(VerifyError::NoTable(unknown.clone())),
        None => Ok(options.tables.iter().cloned().collect()),
    }
}

/// Refuses queries that fit no column of any table that the primary has.
async fn fits_something(
    queries: &Queries,
    primary: &Place,
    tables: &BTreeSet<TableName>,
) -> Result<(), VerifyError> {
    let mut refused = false;
    for table in tables {
        // What cannot be opened is reported when it is compared.
        let Ok(handle) = primary.store.open(table).await else {
            continue;
        };
        let Ok(snapshot) = handle.snapshot().await else {
            continue;
        };
        if !queries.columns(snapshot.schema()).is_empty() {
            return Ok(());
        }
        refused = true;
    }
    match refused {
        true => Err(VerifyError::NoVectors),
        false => Ok(()),
    }
}
