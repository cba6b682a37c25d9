//! The newest version of a table, as the primary follows it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Fields, Schema};
use lancedb::Table;

use super::{Snapshot, blobs::Blobs, error};
use crate::domain::{Error, Incarnation, Resource, Result, TableName, TableScope};

/// A handle that writes, and that sees its own writes. Other writers' commits
/// are seen after [`Handle::refresh`]. Clones share what they see.
#[derive(Clone)]
pub struct Handle {
    pub(super) name: TableName,
    pub(super) table: Table,
    incarnation: Incarnation,
    pub(super) blobs: Arc<Blobs>,
    /// Of somebody who may not see all of it.
    pub(super) scope: Option<Arc<TableScope>>,
}

impl Handle {
    pub(super) fn new(
        name: TableName,
        table: Table,
        incarnation: Incarnation,
        blobs: Arc<Blobs>,
    ) -> Self {
        Self {
            name,
            table,
            incarnation,
            blobs,
            scope: None,
        }
    }

    /// The same table, opened in another way.
    pub(super) fn with_table(&self, table: Table) -> Self {
        Self {
            table,
            ..self.clone()
        }
    }

    /// Which creation of the name this is a handle on.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Looks for commits of other writers.
    pub async fn refresh(&self) -> Result<()> {
        self.table
            .checkout_latest()
            .await
            .map_err(|e| error::in_table(&self.name, e))
    }

    /// The version that this handle sees, pinned. No I/O.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let pinned = self
            .table
            .checkout_current()
            .await
            .map_err(|e| error::in_table(&self.name, e))?;
        let blobs = Arc::clone(&self.blobs);
        Snapshot::of(self.name.clone(), pinned, self.incarnation, blobs).await
    }

    /// The number of the version that this handle sees.
    pub async fn version(&self) -> Result<u64> {
        self.table
            .version()
            .await
            .map_err(|e| error::in_table(&self.name, e))
    }

    /// Whether the location holds another newest version than this handle sees,
    /// or another table of the same name.
    pub async fn is_behind(&self) -> Result<bool> {
        let dataset = error::dataset(&self.table).await?;
        let (newest, _) = dataset
            .latest_manifest()
            .await
            .map_err(|e| error::in_table(&self.name, e.into()))?;
        let seen = dataset.manifest();
        Ok(newest.version != seen.version || newest.timestamp_nanos != seen.timestamp_nanos)
    }
}

/// Refuses the name of a column that is not there; `a.b` is the child b of a.
pub(super) fn must_have(schema: &Schema, column: &str) -> Result<()> {
    fn has(fields: &Fields, path: &str) -> bool {
        // A name may have a dot in it.
        fields.iter().any(|field| {
            let Some(rest) = path.strip_prefix(field.name().as_str()) else {
                return false;
            };
            match (rest.strip_prefix('.'), field.data_type()) {
                (None, _) => rest.is_empty(),
                (Some(rest), DataType::Struct(children)) => has(children, rest),
                (Some(rest), DataType::List(item) | DataType::LargeList(item)) => {
                    has(&Fields::from(vec![item.clone()]), rest)
                }
                _ => false,
            }
        })
    }
    match has(schema.fields(), column) {
        true => Ok(()),
        false => Err(Error::not_found(Resource::Column, column)),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn columns_are_found_by_their_paths() {
        let text = |name| Field::new(name, DataType::Utf8, true);
        let inner = Field::new("b", DataType::Struct(vec![text("c")].into()), true);
        let schema = Schema::new(vec![
            text("x"),
            text("x.y"),
            Field::new("a", DataType::Struct(vec![inner].into()), true),
            Field::new_list("l", text("item"), true),
        ]);
        for good in ["x", "x.y", "a", "a.b", "a.b.c", "l.item"] {
            assert!(must_have(&schema, good).is_ok(), "{good}");
        }
        for bad in ["", "y", "x.", "xx", "x.z", "a.c", "a.b.c.d", "l.other"] {
            assert!(must_have(&schema, bad).is_err(), "{bad}");
        }
    }
}
