//! What LanceDB finds wrong with an expression, for the client: told of the field
//! of the request, and without the expression's literals, which may be secrets.

use std::{error::Error as StdError, sync::Arc};

use arrow::datatypes::{DataType, Schema, SchemaRef};
use lance_datafusion::planner::Planner;
use lancedb::datafusion::{
    logical_expr::{Cast, Expr},
    sql::sqlparser::tokenizer::Token,
};

use super::{Bound, read, within::SEALED};
use crate::{
    domain::{Error, Result, TableName},
    storage::error::{clean, from_lancedb, in_table},
};

/// Said of an expression that is SQL, and not LanceDB's.
const UNREADABLE: &str = "has a part that is not supported here";

/// What LanceDB says before it comes to the point.
const PREFIXES: &[&str] = &[
    "Invalid user input: ",
    "Query Execution error: ",
    "Execution error: ",
    "Error applying filter expression to batch: ",
    "Error resolving filter expression …: ",
    "Error optimizing sql filter: … (",
    "LanceError(Arrow): ",
    "Schema error: ",
    "Error during planning: ",
    "Error parsing function: ",
    "Arrow error: ",
];

/// An error of LanceDB in work that had this expression from the client: what
/// is wrong with the work is wrong with the expression.
pub(in crate::storage) fn blame(
    table: &TableName,
    expression: Option<&Bound>,
    error: lancedb::Error,
) -> Error {
    let Some(expression) = expression else {
        return in_table(table, error);
    };
    if let Some(text) = evaluation(&error) {
        return expression.fault(if expression.is_sealed() {
            SEALED
        } else {
            &text
        });
    }
    match expression.explain(in_table(table, error)) {
        // Whatever the text says, it may be of a row that is not there.
        Error::Invalid(_) | Error::NotFound { .. } | Error::Unsupported(_)
            if expression.is_sealed() =>
        {
            expression.fault(SEALED)
        }
        other => other,
    }
}

/// The text of an error that came up while an expression was evaluated.
fn evaluation(error: &lancedb::Error) -> Option<String> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(lance::Error::Execution { message, .. }) = current.downcast_ref()
            && !message.contains("panic")
        {
            return Some(clean(message));
        }
        cause = current.source();
    }
    None
}

impl Bound {
    /// A fault of this expression.
    pub(super) fn fault(&self, text: &str) -> Error {
        Error::invalid(&self.field, self.described(text))
    }

    /// Says of what LanceDB does not like where it is.
    fn explain(&self, error: Error) -> Error {
        match error {
            Error::Invalid(mut violations) => {
                for violation in &mut violations {
                    if violation.field == "request" {
                        violation.field.clone_from(&self.field);
                    }
                    violation.description = self.described(&violation.description);
                }
                Error::Invalid(violations)
            }
            Error::Unsupported(text) => Error::Unsupported(self.described(&text)),
            Error::Internal(_) if self.is_not_readable() => self.fault(UNREADABLE),
            other => other,
        }
    }

    /// Whether Lance cannot even read it. Of some expressions it says so as of a
    /// fault of its own.
    fn is_not_readable(&self) -> bool {
        let planner = Planner::new(Arc::new(Schema::empty()));
        let read = self.canonical().map(|sql| planner.parse_filter(&sql));
        !matches!(read, Ok(Ok(_)))
    }

    /// Plans a filter over these columns to the end.
    pub(in crate::storage) fn check_filter(&self, columns: &SchemaRef) -> Result<()> {
        let planner = Planner::new(SchemaRef::clone(columns));
        let expression = planner.parse_filter(&self.canonical()?);
        let expression = expression.map_err(|e| self.refused(e))?;
        match self.planned(&planner, expression, columns)? {
            DataType::Boolean | DataType::Null => Ok(()),
            other => Err(self.fault(&format!("is {other} and not true or false"))),
        }
    }

    /// Plans an expression over these columns to the end; with `to`, as the new
    /// value of a column of that type.
    pub(in crate::storage) fn check_value(
        &self,
        columns: &SchemaRef,
        to: Option<&DataType>,
    ) -> Result<()> {
        let planner = Planner::new(SchemaRef::clone(columns));
        let expression = planner.parse_expr(&self.canonical()?);
        let mut expression = expression.map_err(|e| self.refused(e))?;
        let found = self.planned(&planner, expression.clone(), columns)?;
        let Some(to) = to else {
            return Ok(());
        };
        if !arrow::compute::can_cast_types(&found, to) {
            return Err(self.fault(&format!("is {found}, the column is {to}")));
        }
        // What is constant is computed here.
        expression = Expr::Cast(Cast::new(Box::new(expression), to.clone()));
        self.planned(&planner, expression, columns).map(|_| ())
    }

    fn planned(&self, planner: &Planner, expression: Expr, columns: &Schema) -> Result<DataType> {
        let expression = planner.optimize_expr(expression);
        let expression = expression.map_err(|e| self.refused(e))?;
        let physical = planner.create_physical_expr(&expression);
        let physical = physical.map_err(|e| self.refused(e))?;
        let found = physical.data_type(columns);
        found.map_err(|e| self.refused(e.into()))
    }

    /// The planner does nothing else: whatever it cannot do is the expression's
    /// fault.
    fn refused(&self, error: lance::Error) -> Error {
        let error: lancedb::Error = error.into();
        if let Some(text) = evaluation(&error) {
            return self.fault(&text);
        }
        match self.explain(from_lancedb(error)) {
            Error::Unsupported(_) | Error::Internal(_) => self.fault(UNREADABLE),
            Error::NotFound { kind, name } => self.fault(&Error::not_found(kind, name).to_string()),
            other => other,
        }
    }

    /// What LanceDB makes of an expression before Lance sees it: names in double
    /// quotes become names in backticks.
    pub(super) fn canonical(&self) -> Result<String> {
        let tokens = read(&self.field, &self.sql)?.into_iter();
        Ok(tokens
            .map(|token| match token {
                Token::Word(word) if word.quote_style == Some('"') => {
                    let name = word.value.replace("\"\"", "\"").replace('`', "``");
                    format!("`{name}`")
                }
                other => other.to_string(),
            })
            .collect())
    }

    /// A text of LanceDB without the expression and its literals, which it likes
    /// to quote.
    fn described(&self, text: &str) -> String {
        let mut secrets = vec![self.sql.clone()];
        secrets.extend(self.canonical());
        for token in read(&self.field, &self.sql).unwrap_or_default() {
            let literal = match token {
                Token::SingleQuotedString(text) => text.replace("''", "'"),
                Token::Number(digits, _) | Token::HexStringLiteral(digits) => digits,
                _ => continue,
            };
            // As it is, and as it is printed for programmers.
            let printed = format!("{literal:?}");
            secrets.push(printed.trim_matches('"').to_owned());
            secrets.push(literal);
        }
        // What has another one in it goes first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        let mut text = text.to_owned();
        for secret in &secrets {
            text = without(&text, secret);
        }
        let mut point = text.as_str();
        while let Some(rest) = PREFIXES.iter().find_map(|p| point.strip_prefix(p)) {
            point = rest;
        }
        point.to_owned()
    }
}

/// A text without another one, where that is not part of a longer word.
fn without(text: &str, secret: &str) -> String {
    let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (first, last) = (secret.chars().next(), secret.chars().next_back());
    let mut clean = String::with_capacity(text.len());
    let mut copied = 0;
    for (at, _) in text.match_indices(secret) {
        let end = at + secret.len();
        let (before, after) = (text[..at].chars().next_back(), text[end..].chars().next());
        let joined = in_word(first) && in_word(before) || in_word(last) && in_word(after);
        if secret.is_empty() || joined || at < copied {
            continue;
        }
        clean.push_str(&text[copied..at]);
        clean.push('…');
        copied = end;
    }
    clean.push_str(&text[copied..]);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_words_stay() {
        assert_eq!(without("a 'b' and bb", "b"), "a '…' and bb");
        assert_eq!(without("it's '' here", ""), "it's '' here");
        assert_eq!(without("-5 and 55 (5)", "5"), "-… and 55 (…)");
        assert_eq!(without("x'(y)'", "(y)"), "x'…'");
    }

    #[test]
    fn errors_tell_the_field_and_no_literal() {
        let bound = Bound {
            field: "filter.sql".into(),
            sql: "size = 'it''s me' AND \"a\" < 77".into(),
            sealed: false,
        };
        let text = "Invalid user input: size = 'it''s me' AND `a` < 77: no Utf8(\"it's me\"), 77";
        assert_eq!(bound.described(text), "…: no Utf8(\"…\"), …");
    }
}
