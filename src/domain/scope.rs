//! What of a table somebody may see and change.

use std::collections::BTreeSet;

use super::Filter;

/// The part of a table that is there for somebody. No request can say anything that
/// makes it larger: storage puts it around every read and write.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableScope {
    /// Only rows that all of these hold for are there. Their values are bound.
    pub rows: Vec<Filter>,
    /// Columns that are not there, as somebody has written them: see [`TableScope::hides`].
    pub hidden: BTreeSet<String>,
}

impl TableScope {
    /// Whether that is the whole table.
    pub fn is_whole(&self) -> bool {
        self.rows.is_empty() && self.hidden.is_empty()
    }

    /// Whether a column, or the path of something within one, is not there. Who hides
    /// something within a column hides the column, and names that differ in case alone are
    /// the same: what may be meant is not shown.
    pub fn hides(&self, path: &str) -> bool {
        let path = column_of(path);
        let hidden = |column: &String| column_of(column).eq_ignore_ascii_case(path);
        self.hidden.iter().any(hidden)
    }
}

/// The column that a path leads into, without the quotes of SQL.
fn column_of(path: &str) -> &str {
    let first = match path.strip_prefix('`') {
        Some(quoted) => quoted.split('`').next(),
        None => path.split('.').next(),
    };
    first.unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_a_hidden_column_is_hidden() {
        let hiding = |column: &str| TableScope {
            rows: Vec::new(),
            hidden: BTreeSet::from([column.to_owned()]),
        };
        // However it was written: what may be meant is hidden.
        for written in ["pay", "Pay", "pay.net", "`pay`", "`Pay`.`net`"] {
            let scope = hiding(written);
            assert!(!scope.is_whole());
            for hidden in ["pay", "pay.net", "pay.gross", "PAY", "`pay`.net"] {
                assert!(scope.hides(hidden), "{written}: {hidden}");
            }
            for seen in ["payload", "pa", "x.pay", "net"] {
                assert!(!scope.hides(seen), "{written}: {seen}");
            }
        }
        assert!(TableScope::default().is_whole());
    }
}
