//! Writes. Each answers the version that it made; none returns before its
//! commit is durable.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::{Stream, StreamExt};
use lancedb::{arrow::SimpleRecordBatchStream, table::AddDataMode};

use super::{Handle, error, filter};
use crate::domain::{
    Error, Filter, Resource, Result,
    table::{Assigned, Assignment, UpsertOptions},
};

/// What a write made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Rows written, changed or deleted.
    pub rows: u64,
    /// Version of the table with them.
    pub version: u64,
}

/// What an upsert made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpsertCounts {
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
    pub version: u64,
}

impl Handle {
    /// Appends rows, or replaces all rows and the schema.
    pub async fn insert(&self, batches: Vec<RecordBatch>, overwrite: bool) -> Result<Written> {
        let rows = batches.iter().map(|b| b.num_rows() as u64).sum();
        if rows == 0 && !overwrite {
            return Err(Error::invalid("rows", "has no rows"));
        }
        let added = self
            .table
            .add(batches)
            .mode(mode(overwrite))
            .execute()
            .await
            .map_err(|e| in_rows(error::in_table(&self.name, e)))?;
        Ok(Written {
            rows,
            version: added.version,
        })
    }

    /// The same for rows that are still coming: one version, all or nothing. An
    /// error of the stream undoes it.
    pub async fn import(
        &self,
        schema: SchemaRef,
        rows: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
        overwrite: bool,
    ) -> Result<u64> {
        let stream = rows.map(|batch| {
            batch.map_err(|e| lancedb::Error::External {
                source: Box::new(e),
            })
        });
        let stream: lancedb::arrow::SendableRecordBatchStream =
            Box::pin(SimpleRecordBatchStream { schema, stream });
        let added = self
            .table
            .add(stream)
            .mode(mode(overwrite))
            .execute()
            .await
            .map_err(|e| in_rows(error::in_table(&self.name, e)))?;
        Ok(added.version)
    }

    /// LanceDB's merge-insert.
    pub async fn upsert(
        &self,
        options: UpsertOptions,
        batches: Vec<RecordBatch>,
        schema: SchemaRef,
        max_filter_depth: usize,
    ) -> Result<UpsertCounts> {
        let table_schema = self.schema().await?;
        for (i, column) in options.on.iter().enumerate() {
            if table_schema.column_with_name(column).is_none() {
                return Err(Error::not_found(Resource::Column, column));
            }
            if schema.column_with_name(column).is_none() {
                let field = format!("on[{i}]");
                return Err(Error::invalid(field, "is not a column of the rows"));
            }
        }
        let on: Vec<&str> = options.on.iter().map(String::as_str).collect();
        let mut merge = self.table.merge_insert(&on);
        if options.when_matched_update_all {
            // The condition's columns are `target.x` and `source.x`: it is
            // checked by LanceDB when it plans the join.
            let condition = options
                .when_matched_update_all_condition
                .map(|f| filter::bind_unchecked(&f, max_filter_depth))
                .transpose()?;
            merge.when_matched_update_all(condition);
        }
        if options.when_not_matched_insert_all {
            merge.when_not_matched_insert_all();
        }
        if options.when_not_matched_by_source_delete {
            let condition = options
                .when_not_matched_by_source_delete_condition
                .map(|f| filter::bind(&f, &table_schema, max_filter_depth))
                .transpose()?;
            merge.when_not_matched_by_source_delete(condition);
        }
        merge.use_index(options.use_index);
        let reader = arrow::array::RecordBatchIterator::new(batches.into_iter().map(Ok), schema);
        let merged = merge
            .execute(Box::new(reader))
            .await
            .map_err(|e| in_rows(error::in_table(&self.name, e)))?;
        Ok(UpsertCounts {
            inserted: merged.num_inserted_rows,
            updated: merged.num_updated_rows,
            deleted: merged.num_deleted_rows,
            version: merged.version,
        })
    }

    /// Sets columns of the rows that match.
    pub async fn update(
        &self,
        filter: Option<&Filter>,
        assignments: &[Assignment],
        max_filter_depth: usize,
    ) -> Result<Written> {
        let schema = self.schema().await?;
        let mut update = self.table.update();
        if let Some(filter) = filter {
            update = update.only_if(filter::bind(filter, &schema, max_filter_depth)?);
        }
        for (i, assignment) in assignments.iter().enumerate() {
            if schema.column_with_name(&assignment.column).is_none() {
                return Err(Error::not_found(Resource::Column, &assignment.column));
            }
            let field = format!("assignments[{i}]");
            let expression = match &assignment.to {
                Assigned::Value(value) => filter::literal(value, &format!("{field}.value"))?,
                Assigned::Expression(sql) => filter::bind_unchecked(
                    &Filter {
                        field: format!("{field}.expression"),
                        sql: sql.clone(),
                        params: Vec::new(),
                    },
                    max_filter_depth,
                )?,
            };
            update = update.column(&assignment.column, expression);
        }
        let updated = update
            .execute()
            .await
            .map_err(|e| error::in_table(&self.name, e))?;
        Ok(Written {
            rows: updated.rows_updated,
            version: updated.version,
        })
    }

    /// Deletes the rows that match.
    pub async fn delete(&self, filter: &Filter, max_filter_depth: usize) -> Result<Written> {
        let sql = filter::bind(filter, &self.schema().await?, max_filter_depth)?;
        let deleted = self
            .table
            .delete(sql.as_str())
            .await
            .map_err(|e| error::in_table(&self.name, e))?;
        Ok(Written {
            rows: deleted.num_deleted_rows,
            version: deleted.version,
        })
    }

    /// The columns at the version that this handle sees.
    pub async fn schema(&self) -> Result<SchemaRef> {
        self.table
            .schema()
            .await
            .map_err(|e| error::in_table(&self.name, e))
    }
}

fn mode(overwrite: bool) -> AddDataMode {
    if overwrite {
        AddDataMode::Overwrite
    } else {
        AddDataMode::Append
    }
}

/// Where LanceDB only knows that an input was wrong, here it was the rows.
fn in_rows(error: Error) -> Error {
    match error {
        Error::Invalid(mut violations) => {
            for violation in &mut violations {
                if violation.field == "request" {
                    violation.field = "rows".into();
                }
            }
            Error::Invalid(violations)
        }
        Error::NotFound {
            kind: Resource::Column,
            name,
        } => Error::invalid("rows", format!("column '{name}' is not one of the table")),
        other => other,
    }
}
