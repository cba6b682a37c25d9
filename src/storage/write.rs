//! Writes. Each answers the version that it made; none returns before its
//! commit is durable.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use futures::Stream;
use lancedb::table::AddDataMode;

use super::{
    Handle, Rules, error, filled,
    filter::{Bound, blame, denied},
    incoming::within,
    scope::View,
    vectors::no_nan_vectors,
};
use crate::domain::{
    Error, Filter, Resource, Result,
    table::{Assigned, Assignment, UpsertOptions},
};

/// Rows that LanceDB changes at once.
const BATCH_ROWS: usize = 8_192;

/// Bytes that the values of an update may have in a batch.
const MAX_ASSIGNED_BYTES: usize = 256 << 20;

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

/// Which rows an upsert updates and deletes; all of them where there is none.
pub(super) struct MergeConditions {
    pub(super) update: Option<Bound>,
    pub(super) delete: Option<Bound>,
}

impl Handle {
    /// Appends rows, or replaces all rows and the schema.
    pub async fn insert(&self, batches: Vec<RecordBatch>, overwrite: bool) -> Result<Written> {
        let rows = batches.iter().map(|b| b.num_rows() as u64).sum();
        if rows == 0 && !overwrite {
            return Err(Error::invalid("rows", "has no rows"));
        }
        if let Some(view) = self.new_rows(overwrite).await? {
            for batch in &batches {
                view.check_new_columns(batch.schema_ref())?;
                view.check_new_rows(batch)?;
            }
        }
        if !overwrite {
            filled::check("rows", &self.whole_schema().await?, &batches)?;
        }
        let added = self
            .table
            .add(batches)
            .mode(mode(overwrite))
            .execute()
            .await
            .map_err(|e| in_rows("rows", error::in_table(&self.name, e)))?;
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
        let view = self.new_rows(overwrite).await?;
        if let Some(view) = &view {
            view.check_new_columns(&schema)?;
        }
        let table = match overwrite {
            true => None,
            false => Some(self.whole_schema().await?),
        };
        let (stream, refused) = within(view, table, schema, rows);
        let added = self
            .table
            .add(stream)
            .mode(mode(overwrite))
            .execute()
            .await
            .map_err(|e| refused.or(|| in_rows("arrow_ipc", error::in_table(&self.name, e))))?;
        Ok(added.version)
    }

    /// How new rows are seen. Who may not see all rows does not replace them.
    async fn new_rows(&self, overwrite: bool) -> Result<Option<View>> {
        if overwrite {
            self.must_be_whole()?;
        }
        self.view().await
    }

    /// LanceDB's merge-insert. It finds the rows that it changes by their keys, whosever
    /// they are: it is only for who sees all of them.
    pub async fn upsert(
        &self,
        options: UpsertOptions,
        batches: Vec<RecordBatch>,
        schema: SchemaRef,
        rules: &Rules,
    ) -> Result<UpsertCounts> {
        let conditions = self
            .merge_conditions(&options, &batches, &schema, rules)
            .await?;
        let on: Vec<&str> = options.on.iter().map(String::as_str).collect();
        let mut merge = self.table.merge_insert(&on);
        if options.when_matched_update_all {
            merge.when_matched_update_all(conditions.update.map(|c| c.sql));
        }
        if options.when_not_matched_insert_all {
            merge.when_not_matched_insert_all();
        }
        if options.when_not_matched_by_source_delete {
            merge.when_not_matched_by_source_delete(conditions.delete.map(|c| c.sql));
        }
        merge.use_index(options.use_index);
        let reader = arrow::array::RecordBatchIterator::new(batches.into_iter().map(Ok), schema);
        let merged = merge
            .execute(Box::new(reader))
            .await
            .map_err(|e| in_rows("rows", error::in_table(&self.name, e)))?;
        Ok(UpsertCounts {
            inserted: merged.num_inserted_rows,
            updated: merged.num_updated_rows,
            deleted: merged.num_deleted_rows,
            version: merged.version,
        })
    }

    /// The conditions of an upsert, after everything about it was checked that
    /// LanceDB does not.
    pub(super) async fn merge_conditions(
        &self,
        options: &UpsertOptions,
        batches: &[RecordBatch],
        schema: &SchemaRef,
        rules: &Rules,
    ) -> Result<MergeConditions> {
        self.must_be_whole()?;
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
        no_nan_vectors(batches)?;
        filled::check("rows", &table_schema, batches)?;
        // This condition's columns are `target.x` and `source.x`.
        let both = pair(&table_schema, schema);
        let update = options.when_matched_update_all_condition.as_ref();
        let delete = options.when_not_matched_by_source_delete_condition.as_ref();
        Ok(MergeConditions {
            update: checked(update, &both, rules)?,
            delete: checked(delete, &table_schema, rules)?,
        })
    }

    /// Sets columns of the rows that match.
    pub async fn update(
        &self,
        filter: Option<&Filter>,
        assignments: &[Assignment],
        rules: &Rules,
    ) -> Result<Written> {
        let view = self.view().await?;
        let schema = self.schema().await?;
        let mut update = self.table.update();
        let filter = checked(filter, &schema, rules)?;
        let filter = match &view {
            Some(view) => view.narrow(filter)?,
            None => filter,
        };
        if let Some(filter) = &filter {
            update = update.only_if(filter.sql.as_str());
        }
        let (mut last, mut longest) = (None, 0);
        for (i, assignment) in assignments.iter().enumerate() {
            let Some((_, column)) = schema.column_with_name(&assignment.column) else {
                return Err(Error::not_found(Resource::Column, &assignment.column));
            };
            let field = format!("assignments[{i}]");
            let expression = match &assignment.to {
                Assigned::Value(value) => {
                    longest = longest.max(value.bytes());
                    Bound::value(format!("{field}.value"), value)?
                }
                Assigned::Expression(sql) => {
                    Bound::expression(format!("{field}.expression"), sql, rules)?
                }
            };
            expression.check_value(&schema, Some(column.data_type()))?;
            let expression = match &view {
                Some(view) => {
                    view.check_assignment(&assignment.column, &expression)?;
                    expression.sealed()
                }
                None => expression,
            };
            update = update.column(&assignment.column, expression.sql.as_str());
            last = Some(expression);
        }
        self.must_fit(filter.as_ref(), longest).await?;
        // What is wrong with a value that was computed nobody tells of several.
        let only = last.filter(|_| assignments.len() == 1);
        let updated = update
            .execute()
            .await
            .map_err(|e| error::about("assignments", blame(&self.name, only.as_ref(), e)))?;
        Ok(Written {
            rows: updated.rows_updated,
            version: updated.version,
        })
    }

    /// Refuses a value that is too long for so many rows: it is in memory once for each
    /// row of a batch.
    async fn must_fit(&self, filter: Option<&Bound>, longest: usize) -> Result<()> {
        if longest.saturating_mul(BATCH_ROWS) <= MAX_ASSIGNED_BYTES {
            return Ok(());
        }
        let rows = self.count_bound(filter).await?;
        if longest.saturating_mul(rows.min(BATCH_ROWS)) <= MAX_ASSIGNED_BYTES {
            return Ok(());
        }
        let text = format!(
            "has a value of {longest} bytes for {rows} rows, which is too much at once: update fewer rows, or upsert them"
        );
        Err(Error::invalid("assignments", text))
    }

    /// Deletes the rows that match.
    pub async fn delete(&self, filter: &Filter, rules: &Rules) -> Result<Written> {
        let filter = Bound::filter(filter, rules)?;
        let filter = match self.view().await? {
            Some(view) => view.narrow(Some(filter))?.ok_or_else(denied)?,
            None => filter,
        };
        let deleted = self
            .table
            .delete(filter.sql.as_str())
            .await
            .map_err(|e| blame(&self.name, Some(&filter), e))?;
        Ok(Written {
            rows: deleted.num_deleted_rows,
            version: deleted.version,
        })
    }

    /// The columns at the version that this handle sees, as far as they are there.
    pub async fn schema(&self) -> Result<SchemaRef> {
        match self.view().await? {
            Some(view) => Ok(view.visible),
            None => self.whole_schema().await,
        }
    }

    /// All columns, whoever may see them.
    async fn whole_schema(&self) -> Result<SchemaRef> {
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

/// A filter that these columns can answer.
fn checked(filter: Option<&Filter>, columns: &SchemaRef, rules: &Rules) -> Result<Option<Bound>> {
    let Some(filter) = filter else {
        return Ok(None);
    };
    let bound = Bound::filter(filter, rules)?;
    bound.check_filter(columns)?;
    Ok(Some(bound))
}

/// The columns of a condition on an old and a new row.
fn pair(target: &SchemaRef, source: &SchemaRef) -> SchemaRef {
    let side = |name, schema: &SchemaRef| {
        Field::new(name, DataType::Struct(schema.fields().clone()), true)
    };
    Arc::new(Schema::new(vec![
        side("target", target),
        side("source", source),
    ]))
}

/// Where LanceDB only knows that an input was wrong, here it was the rows, which
/// came in as this field.
pub(super) fn in_rows(field: &str, error: Error) -> Error {
    match error::about(field, error) {
        Error::Invalid(mut violations) => {
            for violation in &mut violations {
                if violation.field == "rows" {
                    violation.field = field.to_owned();
                }
            }
            Error::Invalid(violations)
        }
        Error::NotFound {
            kind: Resource::Column,
            name,
        } => Error::invalid(field, format!("column '{name}' is not one of the table")),
        other => other,
    }
}
