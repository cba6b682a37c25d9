//! Scans, counts and look-ups by key on one snapshot.

use std::{borrow::Cow, collections::HashMap};

use arrow::{
    array::{ArrayRef, RecordBatch, UInt64Array},
    compute::{concat_batches, take_record_batch},
    datatypes::{Field, Schema},
    row::{OwnedRow, RowConverter, SortField},
};
use lancedb::{
    expr::{DfExpr, col, is_in},
    query::{ColumnOrdering, Query, QueryBase, Select},
};

use super::{
    Batches, Rules, Snapshot,
    explain::Shown,
    filter::{Bound, blame},
    run::run,
    snapshot::Rows,
};
use crate::domain::{Error, Filter, Resource, Result, search::Scan};

impl Snapshot {
    /// Rows `offset..offset + limit` of a scan.
    pub async fn scan(
        &self,
        scan: &Scan,
        offset: u64,
        limit: usize,
        rules: &Rules,
    ) -> Result<Batches> {
        let offset = usize::try_from(offset)
            .map_err(|_| Error::invalid("page_token", "is beyond the end of the table"))?;
        let scan = &*self.with_columns(scan);
        let (query, filter) = self.scan_query(scan, "query", rules)?;
        let batches = self
            .run(&query.limit(limit).offset(offset), filter, rules)
            .await?;
        match unselected(scan) {
            extra if extra.is_empty() => Ok(batches),
            extra => batches.without(&extra),
        }
    }

    /// The plan of a scan.
    pub async fn explain_scan(
        &self,
        scan: &Scan,
        analyze: bool,
        verbose: bool,
        rules: &Rules,
    ) -> Result<String> {
        self.must_be_whole()?;
        let (query, filter) = self.scan_query(scan, "scan", rules)?;
        let shown = Shown::of(analyze, verbose, rules);
        self.plan(&query, filter.as_ref(), shown).await
    }

    /// How many rows match.
    pub async fn count(&self, filter: Option<&Filter>, rules: &Rules) -> Result<u64> {
        let filter = self.filter(filter, rules)?;
        self.count_of(filter).await
    }

    /// How many rows there are.
    pub async fn count_all(&self) -> Result<u64> {
        let all = self.filter(None, &Rules::ours())?;
        self.count_of(all).await
    }

    async fn count_of(&self, filter: Option<Bound>) -> Result<u64> {
        let rows = self
            .table
            .count_rows(filter.as_ref().map(|f| f.sql.clone()))
            .await
            .map_err(|e| blame(&self.name, filter.as_ref(), e))?;
        Ok(rows as u64)
    }

    /// The columns that keys are made of, in the order asked for.
    pub fn key_fields(&self, columns: &[String]) -> Result<Vec<Field>> {
        columns
            .iter()
            .map(|name| match self.schema.column_with_name(name) {
                Some((_, field)) if field.data_type().is_nested() => Err(Error::invalid(
                    "key_columns",
                    format!("column '{name}' is nested and cannot be a key"),
                )),
                Some((_, field)) => Ok(field.clone()),
                None => Err(Error::not_found(Resource::Column, name)),
            })
            .collect()
    }

    /// The rows whose values of the key columns are among `keys`, in the order
    /// of the keys. `count` is told the bytes of each batch, and may refuse.
    pub async fn get(
        &self,
        keys: &RecordBatch,
        columns: Option<&[String]>,
        with_row_id: bool,
        max_bytes: usize,
        rules: &Rules,
        count: impl FnMut(usize) -> Result<()>,
    ) -> Result<Rows> {
        self.check_columns(columns)?;
        let columns = self.columns(columns);
        let columns = columns.as_deref();
        let schema = keys.schema();
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let wanted = matches_any(keys)?;
        let mandatory = match &self.view {
            Some(view) => view.mandatory_expression()?,
            None => None,
        };
        let wanted = match mandatory {
            Some(mandatory) => mandatory.and(wanted),
            None => wanted,
        };
        let mut query = self.table.query().only_if_expr(wanted);
        if let Some(columns) = columns {
            let missing = names.iter().filter(|n| !columns.iter().any(|c| c == *n));
            let all = columns
                .iter()
                .cloned()
                .chain(missing.map(ToString::to_string));
            query = query.select(Select::Columns(all.collect()));
        }
        if with_row_id {
            query = query.with_row_id();
        }
        let found = self
            .run(&query, None, rules)
            .await?
            .collect_with(max_bytes, count)
            .await?;
        let rows = in_key_order(&found, keys, &names)?;
        let Some(columns) = columns else {
            return Ok(rows);
        };
        let keep: Vec<&str> = columns
            .iter()
            .map(String::as_str)
            .chain(with_row_id.then_some("_rowid"))
            .collect();
        project(rows, &keep)
    }

    /// The query of a scan that came in as this field.
    fn scan_query(
        &self,
        scan: &Scan,
        field: &str,
        rules: &Rules,
    ) -> Result<(Query, Option<Bound>)> {
        self.check_columns(scan.columns.as_deref())?;
        let mut query = self.table.query();
        let filter = self.filter(scan.filter.as_ref(), rules)?;
        if let Some(filter) = &filter {
            query = query.only_if(filter.sql.as_str());
        }
        if let Some(columns) = &scan.columns {
            // Lance cannot sort by a column that it does not answer.
            let all = columns.iter().map(String::as_str).chain(unselected(scan));
            query = query.select(Select::Columns(all.map(str::to_owned).collect()));
        }
        if scan.with_row_id {
            query = query.with_row_id();
        }
        if scan.order_by.is_empty() {
            return Ok((query, filter));
        }
        let mut order = Vec::with_capacity(scan.order_by.len());
        for (i, by) in scan.order_by.iter().enumerate() {
            match self.schema.column_with_name(&by.column) {
                Some((_, column)) if column.data_type().is_nested() => {
                    let field = format!("{field}.order_by[{i}].column");
                    return Err(Error::invalid(field, "is nested and has no order"));
                }
                Some(_) => {}
                None => return Err(Error::not_found(Resource::Column, &by.column)),
            }
            order.push(ColumnOrdering {
                ascending: !by.descending,
                nulls_first: by.nulls_first,
                column_name: by.column.clone(),
            });
        }
        Ok((query.order_by(Some(order)), filter))
    }

    async fn run(&self, query: &Query, filter: Option<Bound>, rules: &Rules) -> Result<Batches> {
        let stream = run(query, rules.max_memory)
            .await
            .map_err(|e| blame(&self.name, filter.as_ref(), e))?;
        let batches = Batches::new(self.name.clone(), filter, stream);
        Ok(batches.plain(self.has_hidden_columns()))
    }

    /// A scan that says which columns it wants, where there are some that are not there.
    fn with_columns<'a>(&self, scan: &'a Scan) -> Cow<'a, Scan> {
        match self.columns(scan.columns.as_deref()) {
            Some(Cow::Owned(columns)) => Cow::Owned(Scan {
                columns: Some(columns),
                ..scan.clone()
            }),
            _ => Cow::Borrowed(scan),
        }
    }
}

/// The columns that a scan is sorted by and does not ask for, each once.
fn unselected(scan: &Scan) -> Vec<&str> {
    let Some(columns) = &scan.columns else {
        return Vec::new();
    };
    let mut missing: Vec<&str> = Vec::new();
    for by in &scan.order_by {
        let name = by.column.as_str();
        if !columns.iter().any(|c| c == name) && !missing.contains(&name) {
            missing.push(name);
        }
    }
    missing
}

/// `a IN (...)`, or for several columns `(a = 1 AND b = 2) OR ...`.
fn matches_any(keys: &RecordBatch) -> Result<DfExpr> {
    let internal = |e: datafusion_common::DataFusionError| Error::Internal(e.to_string());
    let literal = |column: &ArrayRef, row: usize| {
        datafusion_common::ScalarValue::try_from_array(column, row)
            .map(|value| DfExpr::Literal(value, None))
            .map_err(internal)
    };
    let schema = keys.schema();
    if let [column] = keys.columns() {
        let values: Result<Vec<_>> = (0..keys.num_rows())
            .map(|row| literal(column, row))
            .collect();
        return Ok(is_in(col(schema.field(0).name()), values?));
    }
    let mut any: Option<DfExpr> = None;
    for row in 0..keys.num_rows() {
        let mut all: Option<DfExpr> = None;
        for (field, column) in schema.fields().iter().zip(keys.columns()) {
            let equal = col(field.name()).eq(literal(column, row)?);
            all = Some(match all {
                Some(others) => others.and(equal),
                None => equal,
            });
        }
        any = match (any, all) {
            (Some(others), Some(all)) => Some(others.or(all)),
            (others, all) => others.or(all),
        };
    }
    any.ok_or_else(|| Error::invalid("keys", "is required"))
}

/// LanceDB answers in the order of its files; callers want that of their keys.
fn in_key_order(found: &Rows, keys: &RecordBatch, names: &[&str]) -> Result<Rows> {
    let internal = |e: arrow::error::ArrowError| Error::Internal(e.to_string());
    let all = concat_batches(&found.schema, &found.batches).map_err(internal)?;
    let columns: Vec<ArrayRef> = names
        .iter()
        .map(|name| {
            all.column_by_name(name)
                .cloned()
                .ok_or_else(|| Error::Internal(format!("answer without key column {name}")))
        })
        .collect::<Result<_>>()?;
    let fields = columns
        .iter()
        .map(|c| SortField::new(c.data_type().clone()))
        .collect();
    let converter = RowConverter::new(fields).map_err(internal)?;
    let wanted = converter
        .convert_columns(keys.columns())
        .map_err(internal)?;
    let mut position: HashMap<OwnedRow, u64> = HashMap::with_capacity(keys.num_rows());
    for (i, key) in wanted.iter().enumerate() {
        position.entry(key.owned()).or_insert(i as u64);
    }
    let have = converter.convert_columns(&columns).map_err(internal)?;
    let mut order: Vec<(u64, u64)> = have
        .iter()
        .enumerate()
        .map(|(row, key)| {
            (
                position.get(&key.owned()).copied().unwrap_or(u64::MAX),
                row as u64,
            )
        })
        .collect();
    order.sort_unstable();
    let rows: UInt64Array = order.into_iter().map(|(_, row)| row).collect();
    let batch = take_record_batch(&all, &rows).map_err(internal)?;
    Ok(Rows {
        schema: found.schema.clone(),
        batches: vec![batch],
    })
}

fn project(rows: Rows, keep: &[&str]) -> Result<Rows> {
    let internal = |e: arrow::error::ArrowError| Error::Internal(e.to_string());
    let indices: Vec<usize> = keep
        .iter()
        .map(|name| rows.schema.index_of(name).map_err(internal))
        .collect::<Result<_>>()?;
    let schema: Schema = rows.schema.project(&indices).map_err(internal)?;
    let batches: Result<Vec<_>> = rows
        .batches
        .iter()
        .map(|batch| batch.project(&indices).map_err(internal))
        .collect();
    Ok(Rows {
        schema: schema.into(),
        batches: batches?,
    })
}
