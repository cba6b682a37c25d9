//! A table as it is for somebody who may not see all of it. A snapshot or a handle that is
//! seen so reads and writes nothing else, whatever it is asked.

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::RecordBatch,
    compute::cast,
    datatypes::{DataType, Schema, SchemaRef},
};
use lancedb::expr::DfExpr as Expr;

use super::{
    Handle, Rules, Snapshot, error,
    filter::{Bound, denied},
    warm::Warmed,
};
use crate::{
    config::failpoint,
    domain::{Error, Filter, Result, TableName, TableScope, index::IndexInfo},
};

/// A scope, as it applies to the columns of one version.
#[derive(Debug)]
pub(super) struct View {
    scope: Arc<TableScope>,
    full: SchemaRef,
    /// The columns that are there.
    pub(super) visible: SchemaRef,
    /// What every row that is there fulfils.
    mandatory: Option<Bound>,
}

impl View {
    /// # Errors
    /// [`Error::Denied`] where the scope cannot be applied, as to an old version without
    /// its columns: what is not certain is not allowed.
    pub(super) fn new(
        table: &TableName,
        scope: &Arc<TableScope>,
        full: &SchemaRef,
    ) -> Result<Self> {
        let rows: &[Filter] = match failpoint::breaks("access:no-rows") {
            true => &[],
            false => &scope.rows,
        };
        let mandatory = mandatory(rows, full).map_err(|error| {
            tracing::warn!(%table, %error, "a row restriction does not fit this table");
            denied()
        })?;
        Ok(Self {
            visible: visible(scope, full),
            full: SchemaRef::clone(full),
            scope: Arc::clone(scope),
            mandatory,
        })
    }

    /// Whether there are rows that are not there.
    pub(super) fn has_rows(&self) -> bool {
        self.mandatory.is_some()
    }

    /// Whether there are columns that are not there.
    pub(super) fn hides_columns(&self) -> bool {
        !self.scope.hidden.is_empty()
    }

    /// Whether an index is named.
    pub(super) fn shows(&self, index: &IndexInfo) -> bool {
        !index.columns.iter().any(|column| self.scope.hides(column))
    }

    /// The same, for where LanceDB takes an expression.
    pub(super) fn mandatory_expression(&self) -> Result<Option<Expr>> {
        let mandatory = self.mandatory.as_ref();
        mandatory.map(|m| m.evaluated(&self.full)).transpose()
    }

    /// A filter within the scope.
    pub(super) fn narrow(&self, filter: Option<Bound>) -> Result<Option<Bound>> {
        if let Some(filter) = &filter {
            filter.check_within(&self.visible, &self.full, self.has_rows())?;
        }
        Ok(match (&self.mandatory, filter) {
            (None, filter) => filter.map(Bound::sealed),
            (Some(mandatory), None) => Some(mandatory.clone()),
            (Some(mandatory), Some(filter)) => Some(mandatory.and(&filter, &self.full)?),
        })
    }

    /// The columns to answer where none are asked for; `None` for all.
    pub(super) fn all_columns(&self) -> Option<Vec<String>> {
        let names = self.visible.fields().iter().map(|f| f.name().clone());
        self.hides_columns().then(|| names.collect())
    }

    /// Checks an expression for a column's new value.
    pub(super) fn check_assignment(&self, column: &str, value: &Bound) -> Result<()> {
        value.check_value_within(&self.visible, &self.full)?;
        // Who could change these could give a row away, or take one.
        match &self.mandatory {
            Some(mandatory) if mandatory.columns(&self.full)?.contains(column) => Err(denied()),
            _ => Ok(()),
        }
    }

    /// Refuses columns of new rows that are not there, or there twice.
    ///
    /// # Errors
    /// As for columns that no table has.
    pub(super) fn check_new_columns(&self, columns: &Schema) -> Result<()> {
        for (i, field) in columns.fields().iter().enumerate() {
            let name = field.name();
            let Some((_, known)) = self.visible.column_with_name(name) else {
                let text = format!("column '{name}' is not one of the table");
                return Err(Error::invalid("rows", text));
            };
            let twice =
                (columns.fields().iter().take(i)).any(|f| f.name().eq_ignore_ascii_case(name));
            if twice {
                let text = format!("column '{name}' is there twice");
                return Err(Error::invalid("rows", text));
            }
            let needed = self.mandatory.is_some() && !is_same(field.data_type(), known.data_type());
            if needed && self.is_mandatory(name)? {
                let text = format!("column '{name}' must be {}", known.data_type());
                return Err(Error::invalid("rows", text));
            }
        }
        // LanceDB would name it.
        let missing = self
            .full
            .fields()
            .iter()
            .any(|field| self.scope.hides(field.name()) && !field.is_nullable());
        match missing {
            true => Err(denied()),
            false => Ok(()),
        }
    }

    fn is_mandatory(&self, column: &str) -> Result<bool> {
        match &self.mandatory {
            Some(mandatory) => Ok(mandatory.columns(&self.full)?.contains(column)),
            None => Ok(false),
        }
    }

    /// Refuses new rows that would not be there.
    pub(super) fn check_new_rows(&self, rows: &RecordBatch) -> Result<()> {
        let Some(mandatory) = &self.mandatory else {
            return Ok(());
        };
        let rows = self.as_stored(rows).ok_or_else(denied)?;
        match mandatory.holds_for(&rows) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(denied()),
        }
    }

    /// What the restriction is about, in the table's own types. Columns that are left out
    /// are nulls in the table.
    fn as_stored(&self, rows: &RecordBatch) -> Option<RecordBatch> {
        let names = self.mandatory.as_ref()?.columns(&self.full).ok()?;
        let mut columns = Vec::with_capacity(names.len());
        for field in self
            .full
            .fields()
            .iter()
            .filter(|f| names.contains(f.name()))
        {
            let column = match rows.column_by_name(field.name()) {
                Some(column) => cast(column, field.data_type()).ok()?,
                None => arrow::array::new_null_array(field.data_type(), rows.num_rows()),
            };
            let field = field.as_ref().clone().with_nullable(true);
            columns.push((Arc::new(field), column));
        }
        let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let schema = Arc::new(Schema::new(fields));
        RecordBatch::try_new_with_options(schema, columns, &options).ok()
    }
}

/// The columns that are there. What a table says of itself may name the others.
fn visible(scope: &TableScope, full: &SchemaRef) -> SchemaRef {
    if scope.hidden.is_empty() {
        return SchemaRef::clone(full);
    }
    let fields = full.fields().iter();
    let there = fields.filter(|field| !scope.hides(field.name()));
    Arc::new(Schema::new(there.cloned().collect::<Vec<_>>()))
}

/// One filter that is all of them.
fn mandatory(rows: &[Filter], columns: &SchemaRef) -> Result<Option<Bound>> {
    let rules = Rules::of_scopes();
    let mut all: Option<Bound> = None;
    for filter in rows {
        let bound = Bound::filter(filter, &rules)?.sealed();
        bound.check_filter(columns)?;
        all = Some(match all {
            None => bound,
            Some(others) => others.and(&bound, columns)?,
        });
    }
    Ok(all)
}

/// Whether the values of one type are those of another, without a change.
fn is_same(from: &DataType, to: &DataType) -> bool {
    use DataType::{Dictionary, LargeUtf8, Utf8, Utf8View};
    let is_text = |of: &DataType| matches!(of, Utf8 | LargeUtf8 | Utf8View);
    match (from, to) {
        _ if from == to => true,
        (Dictionary(_, values), _) => is_same(values, to),
        _ => is_text(from) && is_text(to),
    }
}

impl Snapshot {
    /// This version as it is for somebody. All of its reads stay within the scope.
    ///
    /// # Errors
    /// [`Error::Denied`] where the scope cannot be applied to this version.
    pub fn seen_by(self: &Arc<Self>, scope: &Arc<TableScope>) -> Result<Arc<Self>> {
        if scope.is_whole() || failpoint::breaks("access:no-scope") {
            return Ok(Arc::clone(self));
        }
        let view = View::new(&self.name, scope, &self.schema)?;
        Ok(Arc::new(self.with(view)))
    }

    fn with(&self, view: View) -> Self {
        Self {
            name: self.name.clone(),
            table: self.table.clone(),
            schema: SchemaRef::clone(&view.visible),
            warmed: Warmed::default(),
            blobs: Arc::clone(&self.blobs),
            rows: self.rows,
            commit: self.commit,
            incarnation: self.incarnation,
            indexes: Arc::clone(&self.indexes),
            view: Some(view),
        }
    }

    /// A filter of a request, within what is there.
    pub(super) fn filter(&self, filter: Option<&Filter>, rules: &Rules) -> Result<Option<Bound>> {
        let bound = filter.map(|f| Bound::filter(f, rules)).transpose()?;
        match &self.view {
            None => Ok(bound),
            Some(view) => view.narrow(bound),
        }
    }

    /// The columns of a request, or all that are there; `None` for all of the table.
    pub(super) fn columns<'a>(&self, asked: Option<&'a [String]>) -> Option<Cow<'a, [String]>> {
        let all = || {
            self.view
                .as_ref()
                .and_then(View::all_columns)
                .map(Cow::Owned)
        };
        asked.map(Cow::Borrowed).or_else(all)
    }

    /// Whether there are rows that are not there to who sees this.
    pub(super) fn has_restricted_rows(&self) -> bool {
        self.view.as_ref().is_some_and(View::has_rows)
    }

    /// Whether there are columns that are not there to who sees this.
    pub(super) fn has_hidden_columns(&self) -> bool {
        self.view.as_ref().is_some_and(View::hides_columns)
    }
}

impl Handle {
    /// The same handle for somebody. Its reads and writes of rows stay within the scope,
    /// and what changes whole tables is not for it.
    pub fn seen_by(mut self, scope: &Arc<TableScope>) -> Self {
        self.scope = (!scope.is_whole()).then(|| Arc::clone(scope));
        self
    }

    /// How the newest version is seen; `None` for all of it.
    pub(super) async fn view(&self) -> Result<Option<View>> {
        let Some(scope) = &self.scope else {
            return Ok(None);
        };
        let schema = self.table.schema().await;
        let schema = schema.map_err(|e| error::in_table(&self.name, e))?;
        View::new(&self.name, scope, &schema).map(Some)
    }

    /// Refuses what is only for who sees the whole table.
    pub(super) fn must_be_whole(&self) -> Result<()> {
        match self.scope {
            None => Ok(()),
            Some(_) => Err(denied()),
        }
    }
}
