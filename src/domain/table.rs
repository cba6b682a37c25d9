//! Tables: what is said of them, and what is asked to change.

use std::{collections::BTreeMap, time::SystemTime};

use arrow::datatypes::{DataType, SchemaRef};

use super::{Filter, Scalar, index::IndexInfo};

/// A table, as it is at one version.
#[derive(Debug, Clone)]
pub struct TableInfo {
    pub schema: SchemaRef,
    pub num_rows: u64,
    pub num_deleted_rows: u64,
    /// Data and index files.
    pub size_bytes: u64,
    pub num_fragments: u64,
    pub num_small_fragments: u64,
    pub version: u64,
    pub indexes: Vec<IndexInfo>,
}

/// One version of a table.
#[derive(Debug, Clone)]
pub struct VersionInfo {
    pub version: u64,
    pub committed_at: SystemTime,
    pub metadata: BTreeMap<String, String>,
}

/// What an upsert does; the names are LanceDB's merge-insert options.
#[derive(Debug, Clone, PartialEq)]
pub struct UpsertOptions {
    /// Key columns, at least one.
    pub on: Vec<String>,
    pub when_matched_update_all: bool,
    pub when_matched_update_all_condition: Option<Filter>,
    pub when_not_matched_insert_all: bool,
    pub when_not_matched_by_source_delete: bool,
    pub when_not_matched_by_source_delete_condition: Option<Filter>,
    pub use_index: bool,
}

/// What a column is set to.
#[derive(Debug, Clone, PartialEq)]
pub enum Assigned {
    /// A SQL expression over the old row.
    Expression(String),
    /// A value.
    Value(Scalar),
}

/// One column to set.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    pub column: String,
    pub to: Assigned,
}

/// A change of one column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnAlteration {
    pub path: String,
    pub rename: Option<String>,
    pub nullable: Option<bool>,
    pub data_type: Option<DataType>,
}

/// Columns to add.
#[derive(Debug, Clone, PartialEq)]
pub enum NewColumns {
    /// Name and SQL expression of each.
    Computed(Vec<(String, String)>),
    /// Columns of nulls.
    Nulls(SchemaRef),
}

/// What `optimize` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OptimizeOptions {
    pub compact: bool,
    pub indexes: bool,
    pub prune_older_than: Option<std::time::Duration>,
}

/// What `optimize` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OptimizeStats {
    pub fragments_removed: u64,
    pub fragments_added: u64,
    pub versions_removed: u64,
    pub bytes_removed: u64,
}

/// Which version to restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionRef {
    Number(u64),
    Tag(String),
}
