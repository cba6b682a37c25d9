//! What of a table somebody may see and change.

use std::collections::BTreeSet;

use super::Filter;

/// The part of a table that is there for somebody. No request can say anything that
/// makes it larger: storage puts it around every read and write.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableScope {
    /// Only rows that all of these hold for are there. Their values are bound.
    pub rows: Vec<Filter>,
    /// Columns that are not there, by their names at the top of the schema. What is
    /// within one is not there either.
    pub hidden: BTreeSet<String>,
}

impl TableScope {
    /// Whether that is the whole table.
    pub fn is_whole(&self) -> bool {
        self.rows.is_empty() && self.hidden.is_empty()
    }

    /// Whether a column, or the path of something within one, is not there.
    pub fn hides(&self, path: &str) -> bool {
        self.hidden.iter().any(|column| {
            let rest = path.strip_prefix(column.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_a_hidden_column_is_hidden() {
        let scope = TableScope {
            rows: Vec::new(),
            hidden: BTreeSet::from(["pay".to_owned()]),
        };
        assert!(!scope.is_whole());
        for hidden in ["pay", "pay.net"] {
            assert!(scope.hides(hidden), "{hidden}");
        }
        for seen in ["payload", "pa", "x.pay", "Pay"] {
            assert!(!scope.hides(seen), "{seen}");
        }
        assert!(TableScope::default().is_whole());
    }
}
