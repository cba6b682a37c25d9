//! What one caller may do.

use std::{collections::BTreeSet, sync::Arc};

use super::{Need, Refusal};
use crate::{
    config::{AccessRole, Pattern},
    domain::{Filter, TableScope},
};

/// What somebody may do: every binding that is about them, with their claims in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Grants {
    everything: bool,
    bound: Vec<Bound>,
    explain: bool,
    reflection: bool,
}

/// What one binding allows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bound {
    pub role: AccessRole,
    pub tables: Vec<Pattern>,
    pub rows: Rows,
    pub hidden: BTreeSet<String>,
}

/// Which rows are there.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rows {
    All,
    Only(Filter),
    /// It depends on a claim that this caller has not: none, and nobody who is told
    /// otherwise by another binding gets more.
    Unknown,
}

impl Grants {
    /// For where nobody is asked who they are.
    pub fn everything() -> Self {
        Self {
            everything: true,
            bound: Vec::new(),
            explain: true,
            reflection: true,
        }
    }

    pub(super) fn new(bound: Vec<Bound>, explain: bool, reflection: bool) -> Self {
        Self {
            everything: false,
            bound,
            explain,
            reflection,
        }
    }

    /// Whether a method may be called at all. A table that it is about is decided on
    /// later, by [`Grants::table`].
    pub fn may(&self, need: Need) -> bool {
        let has = |role: AccessRole| self.bound.iter().any(|bound| bound.role >= role);
        self.everything
            || match need {
                Need::Nothing => true,
                Need::Role(role) => has(role),
                Need::Operator => self.operates(),
                Need::Reflection => self.reflection && has(AccessRole::Reader),
                Need::Explain => self.explain && has(AccessRole::Reader),
            }
    }

    /// Whether the server itself may be operated: whoever is admin of every table.
    pub fn operates(&self) -> bool {
        let operator = |bound: &Bound| {
            bound.role == AccessRole::Admin && bound.tables.iter().any(Pattern::is_all)
        };
        self.everything || self.bound.iter().any(operator)
    }

    /// Whether the guarded pages of the HTTP port may be seen.
    pub fn measures(&self) -> bool {
        let measures = |bound: &Bound| bound.role == AccessRole::Metrics;
        self.operates() || self.bound.iter().any(measures)
    }

    /// What of a table is there for somebody who wants to do what takes this role.
    /// Whether there is such a table nobody has looked: the answer is the same.
    ///
    /// # Errors
    /// It is not allowed. What changes whole tables is allowed only to who sees them
    /// whole.
    pub fn table(&self, name: &str, role: AccessRole) -> Result<Arc<TableScope>, Refusal> {
        let mut scope = TableScope::default();
        if self.everything {
            return Ok(Arc::new(scope));
        }
        let mut highest = AccessRole::Metrics;
        for bound in self.about(name) {
            highest = highest.max(bound.role);
            match &bound.rows {
                Rows::All => {}
                Rows::Only(filter) if scope.rows.contains(filter) => {}
                Rows::Only(filter) => scope.rows.push(filter.clone()),
                Rows::Unknown => return Err(Refusal::Table),
            }
            scope.hidden.extend(bound.hidden.iter().cloned());
        }
        let is_whole = scope.is_whole();
        match highest >= role && (role < AccessRole::Admin || is_whole) {
            true => Ok(Arc::new(scope)),
            false => Err(Refusal::Table),
        }
    }

    /// Whether a table is named to this caller.
    pub fn sees(&self, name: &str) -> bool {
        self.everything || self.table(name, AccessRole::Reader).is_ok()
    }

    /// Whether nothing was asked.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    fn about<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Bound> {
        let about = move |bound: &&Bound| {
            bound.role > AccessRole::Metrics && bound.tables.iter().any(|t| t.fits(name))
        };
        self.bound.iter().filter(about)
    }
}
