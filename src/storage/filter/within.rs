//! Filters of somebody who may not see a whole table, put together with the one that
//! they may not leave.
//!
//! Texts are joined, because to some of its calls LanceDB takes nothing else, and what
//! Lance reads of the joined text is compared with what it reads of the parts: it must be
//! the conjunction of their expressions, over the whole table's columns as over those
//! that are there. So there is nothing to escape from, whatever a text does.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::SchemaRef,
};
use lance_datafusion::planner::Planner;
use lancedb::datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::{Bound, total};
use crate::{
    config::failpoint,
    domain::{Error, Result},
};

/// Said of whatever goes wrong with a filter within another one: of which row nobody is
/// told.
pub(super) const SEALED: &str = "cannot be evaluated";

impl Bound {
    /// The same, whose errors say nothing of what it was evaluated on.
    pub(in crate::storage) fn sealed(mut self) -> Self {
        self.sealed = true;
        self
    }

    /// Whether its errors say nothing.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Checks a filter of somebody to whom only these columns of the table are there.
    /// With `narrow`, also that it cannot fail: it will be evaluated on rows that are not
    /// there to them, and that it failed would tell of them.
    pub(in crate::storage) fn check_within(
        &self,
        visible: &SchemaRef,
        full: &SchemaRef,
        narrow: bool,
    ) -> Result<()> {
        self.check_filter(visible)?;
        let expression = self.parsed(visible)?;
        // A name may mean another column where there are more of them.
        if expression != self.parsed(full)? {
            return Err(self.fault("names a column that is not there"));
        }
        if narrow && !failpoint::breaks("access:no-totality") {
            let planner = Planner::new(SchemaRef::clone(visible));
            let optimized = planner.optimize_expr(expression);
            let optimized = optimized.map_err(|_| self.fault(SEALED))?;
            total::check(&optimized, visible).map_err(|what| {
                let text = format!("{what}, which is not allowed where rows are restricted");
                self.fault(&text)
            })?;
        }
        Ok(())
    }

    /// Checks an expression over the columns that are there, as
    /// [`Bound::check_within`] does a filter.
    pub(in crate::storage) fn check_value_within(
        &self,
        visible: &SchemaRef,
        full: &SchemaRef,
    ) -> Result<()> {
        let parsed = |columns: &SchemaRef| {
            let planner = Planner::new(SchemaRef::clone(columns));
            let parsed = planner.parse_expr(&self.canonical()?);
            parsed.map_err(|_| self.fault(SEALED))
        };
        match parsed(visible)? == parsed(full)? {
            true => Ok(()),
            false => Err(self.fault("names a column that is not there")),
        }
    }

    /// Both of them. This one is evaluated first.
    ///
    /// # Errors
    /// Lance would read something else.
    pub(in crate::storage) fn and(&self, other: &Bound, columns: &SchemaRef) -> Result<Bound> {
        let both = Bound {
            field: other.field.clone(),
            sql: format!("({}) AND ({})", self.sql, other.sql),
            sealed: true,
        };
        let mut expected = Vec::new();
        conjuncts(&self.parsed(columns)?, &mut expected);
        conjuncts(&other.parsed(columns)?, &mut expected);
        let mut found = Vec::new();
        conjuncts(&both.parsed(columns)?, &mut found);
        match found == expected {
            true => Ok(both),
            false => Err(other.fault("is not one condition")),
        }
    }

    /// As Lance reads it.
    pub(in crate::storage) fn parsed(&self, columns: &SchemaRef) -> Result<Expr> {
        let planner = Planner::new(SchemaRef::clone(columns));
        let parsed = planner.parse_filter(&self.canonical()?);
        parsed.map_err(|_| self.fault(SEALED))
    }

    /// As Lance evaluates it: types agree, and what is constant is computed.
    pub(in crate::storage) fn evaluated(&self, columns: &SchemaRef) -> Result<Expr> {
        let planner = Planner::new(SchemaRef::clone(columns));
        let optimized = planner.optimize_expr(self.parsed(columns)?);
        optimized.map_err(|_| self.fault(SEALED))
    }

    /// The columns that it is about.
    pub(in crate::storage) fn columns(&self, columns: &SchemaRef) -> Result<BTreeSet<String>> {
        let names = Planner::column_names_in_expr(&self.parsed(columns)?);
        // A path leads into a column, whose own name may have a dot in it.
        let of = |path: &String| {
            let fields = columns.fields().iter().map(|field| field.name());
            fields
                .filter(|name| {
                    let rest = path.strip_prefix(name.as_str());
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                })
                .cloned()
                .collect::<Vec<_>>()
        };
        Ok(names.iter().flat_map(of).collect())
    }

    /// Whether it is true for every one of these rows.
    pub(in crate::storage) fn holds_for(&self, rows: &RecordBatch) -> Result<bool> {
        let columns = rows.schema();
        let planner = Planner::new(Arc::clone(&columns));
        let cannot = |_| self.fault(SEALED);
        let physical = planner
            .create_physical_expr(&self.evaluated(&columns)?)
            .map_err(cannot)?;
        let value = physical.evaluate(rows);
        let value = value.and_then(|value| value.into_array(rows.num_rows()));
        let value = value.map_err(|_| self.fault(SEALED))?;
        let value = value.as_boolean_opt().ok_or_else(|| self.fault(SEALED))?;
        Ok(value.null_count() == 0 && value.true_count() == rows.num_rows())
    }
}

/// The parts of a conjunction, in order, however they are put in pairs.
fn conjuncts(expression: &Expr, found: &mut Vec<Expr>) {
    match expression {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And,
            right,
        }) => {
            conjuncts(left, found);
            conjuncts(right, found);
        }
        other => found.push(other.clone()),
    }
}

/// What somebody is told who asks beyond what they may.
pub(in crate::storage) fn denied() -> Error {
    Error::Denied("this is not allowed on these rows".into())
}

#[cfg(test)]
mod tests;
