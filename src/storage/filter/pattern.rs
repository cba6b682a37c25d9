//! Patterns of a bound expression: each is one text, and no larger than it may be.
//!
//! What a pattern is compiled to is outside of the pool that bounds a query, and one that
//! differs from row to row would be compiled for each.

use lancedb::datafusion::sql::sqlparser::ast::{Expr, Value};
use regex::RegexBuilder;

use super::spread::{argument, literal, parts};

/// Bytes that a regular expression may be when it is compiled. The largest of a usual one,
/// with classes of all of Unicode, is a quarter.
const MAX_COMPILED: usize = 1 << 20;

/// Regular expressions that one filter may have: each is compiled here, and where it is
/// evaluated.
const MAX_REGEXES: usize = 16;

/// Refuses what is no such pattern, in words that name no value.
pub(super) fn check(expression: &Expr, max_bytes: usize) -> Result<(), String> {
    let (mut left, mut regexes) = (vec![expression], 0);
    while let Some(part) = left.pop() {
        match part {
            Expr::Like { pattern, .. } | Expr::ILike { pattern, .. } => {
                text(pattern, max_bytes)?;
            }
            Expr::SimilarTo { pattern, .. } | Expr::RLike { pattern, .. } => {
                regexes += 1;
                compiled(text(pattern, max_bytes)?)?;
            }
            Expr::Function(call) if call.name.to_string().to_lowercase().contains("regexp_") => {
                if let Some(pattern) = argument(call, 1) {
                    regexes += 1;
                    compiled(text(pattern, max_bytes)?)?;
                }
            }
            _ => {}
        }
        if regexes > MAX_REGEXES {
            return Err(format!("has more than {MAX_REGEXES} regular expressions"));
        }
        parts(part, &mut left);
    }
    Ok(())
}

/// The text of a pattern; nothing of NULL.
fn text(pattern: &Expr, max_bytes: usize) -> Result<&str, String> {
    match literal(pattern) {
        Some(Value::SingleQuotedString(text)) if text.len() > max_bytes => {
            Err(format!("has a pattern of more than {max_bytes} bytes"))
        }
        Some(Value::SingleQuotedString(text)) => Ok(text),
        Some(Value::Null) => Ok(""),
        _ => Err("has a pattern that is computed: it must be one text".to_owned()),
    }
}

fn compiled(text: &str) -> Result<(), String> {
    match RegexBuilder::new(text).size_limit(MAX_COMPILED).build() {
        Err(regex::Error::CompiledTooBig(_)) => {
            Err("has a regular expression that is too large when it is compiled".to_owned())
        }
        // What is none is found where it is used, and told with its fault.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use lancedb::datafusion::sql::sqlparser::parser::Parser;

    use super::*;
    use crate::storage::filter::FilterDialect;

    fn checked(sql: &str) -> Result<(), String> {
        let dialect = FilterDialect::default();
        let mut parser = Parser::new(&dialect).try_with_sql(sql).unwrap();
        check(&parser.parse_expr().unwrap(), 32)
    }

    #[test]
    fn a_pattern_is_one_short_text() {
        for sql in [
            "a LIKE 'x%' AND b NOT ILIKE ('y')",
            "a LIKE CAST('x' AS VARCHAR)",
            "a LIKE NULL",
            "regexp_like(a, '^[a-z]+$', 'i')",
            "regexp_like(a, '\\w{3}\\p{Greek}+')",
        ] {
            assert_eq!(checked(sql), Ok(()), "{sql}");
        }
        let long = format!("'{}'", "x".repeat(33));
        for sql in [
            format!("a LIKE ({long})"),
            format!("a NOT LIKE (({long}))"),
            format!("a ILIKE CAST({long} AS VARCHAR)"),
            format!("NOT (b = 1 OR CASE WHEN c THEN a LIKE ({long}) END)"),
            "a LIKE 'x' || 'y'".to_owned(),
            "a LIKE b".to_owned(),
            "a ILIKE lower(b)".to_owned(),
            "a SIMILAR TO (b)".to_owned(),
            format!("regexp_count(a, ({long}))"),
        ] {
            assert!(checked(&sql).unwrap_err().contains("pattern"), "{sql}");
        }
    }

    #[test]
    fn there_are_not_many_of_them() {
        let all = |n| vec!["regexp_like(a, 'b')"; n].join(" OR ");
        assert_eq!(checked(&all(MAX_REGEXES)), Ok(()));
        assert!(checked(&all(MAX_REGEXES + 1)).is_err());
    }

    #[test]
    fn a_short_one_that_grows_is_refused() {
        for sql in [
            "regexp_like(a, '((((a{99}){99}){99}))')",
            "regexp_count(lower(a), '(\\w{50}){99}')",
            "a SIMILAR TO '((x{99}){99}){99}'",
        ] {
            let refused = checked(sql).unwrap_err();
            assert!(refused.contains("too large"), "{sql}: {refused}");
        }
    }
}
