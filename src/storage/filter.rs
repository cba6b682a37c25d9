//! Filters and expressions: values are bound, and what LanceDB's planner cannot
//! digest is stopped before it.
//!
//! LanceDB has no bind parameters, so values are bound on the level of tokens:
//! a placeholder is one token and becomes literal tokens, which no later step
//! can read as anything else.

mod blame;
mod calls;
mod pattern;
mod shape;
mod spread;
mod total;
mod within;

use std::any::TypeId;

use lancedb::datafusion::sql::sqlparser::{
    dialect::{Dialect, GenericDialect},
    parser::Parser,
    tokenizer::{Token, Tokenizer, Whitespace},
};

use self::calls::Written;
pub(super) use self::{blame::blame, within::denied};
use super::Rules;
use crate::domain::{Error, Filter, MAX_VALUE_BYTES, Result, Scalar};

/// LanceDB's reading of SQL: the generic dialect, where both double quotes and
/// backticks delimit names.
#[derive(Debug, Default)]
struct FilterDialect(GenericDialect);

impl Dialect for FilterDialect {
    fn dialect(&self) -> TypeId {
        self.0.dialect()
    }
    fn is_identifier_start(&self, ch: char) -> bool {
        self.0.is_identifier_start(ch)
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        self.0.is_identifier_part(ch)
    }
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }
}

/// One expression with its values bound, and nothing that Lance would read as
/// more than that. Whether its columns and types are right LanceDB finds out:
/// [`blame`] and [`Bound::check_filter`] tell the client.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    /// Path of the text in the request.
    field: String,
    /// For LanceDB.
    pub(super) sql: String,
    /// Nobody is told what it was evaluated on.
    sealed: bool,
}

impl Bound {
    /// A filter that these rules let through.
    pub(super) fn filter(filter: &Filter, rules: &Rules) -> Result<Self> {
        let field = format!("{}.sql", filter.field);
        let tokens = read(&field, &filter.sql)?;
        let written = Written {
            field: &field,
            tokens: &tokens,
            filter: Some(filter),
        };
        shape::check(&written, rules)?;
        let bound = bind_tokens(filter, &field, tokens, rules.max_list)?;
        Self::of(field, &bound, rules)
    }

    /// An expression without values. `field` is its path.
    pub(super) fn expression(field: String, sql: &str, rules: &Rules) -> Result<Self> {
        let tokens = read(&field, sql)?;
        let written = Written {
            field: &field,
            tokens: &tokens,
            filter: None,
        };
        shape::check(&written, rules)?;
        if let Some(name) = tokens.iter().find(|t| matches!(t, Token::Placeholder(_))) {
            let text = format!("has a placeholder, {name}, and there are no values for it");
            return Err(Error::invalid(field, text));
        }
        Self::of(field, &tokens, rules)
    }

    /// A value as an expression. `field` is its path.
    pub(super) fn value(field: String, value: &Scalar) -> Result<Self> {
        let tokens = literal_tokens(&field, value)?;
        Ok(Self::written(field, &tokens))
    }

    /// For Lance itself, to which only backticks delimit names.
    pub(super) fn for_lance(&self) -> Result<String> {
        let tokens = read(&self.field, &self.sql)?;
        let in_backticks = |token: Token| match token {
            Token::Word(word) if word.quote_style == Some('"') => {
                // As it was written: with its own quotes doubled.
                let name = word.value.replace("\"\"", "\"").replace('`', "``");
                format!("`{name}`")
            }
            other => other.to_string(),
        };
        Ok(tokens.into_iter().map(in_backticks).collect())
    }

    fn of(field: String, tokens: &[Token], rules: &Rules) -> Result<Self> {
        let bound = Self::written(field, tokens);
        bound.one_expression(rules)?;
        Ok(bound)
    }

    fn written(field: String, tokens: &[Token]) -> Self {
        Self {
            field,
            sql: tokens.iter().map(Token::to_string).collect(),
            sealed: false,
        }
    }

    /// Refuses what is more than one expression: Lance would read `true LIMIT 1`
    /// as the end of its own statement. And what takes too much memory for each row, or
    /// for a pattern.
    fn one_expression(&self, rules: &Rules) -> Result<()> {
        let cannot = |e| self.fault(&format!("cannot be parsed: {e}"));
        let dialect = FilterDialect::default();
        let mut parser = Parser::new(&dialect)
            .try_with_sql(&self.sql)
            .map_err(cannot)?;
        let expression = parser.parse_expr().map_err(cannot)?;
        match parser.peek_token().token {
            Token::EOF => spread::check(&expression)
                .and_then(|()| pattern::check(&expression, rules.max_pattern_bytes))
                .map_err(|fault| self.fault(&fault)),
            _ => Err(self.fault("must be one expression")),
        }
    }
}

/// The tokens of an expression, with texts as they were written.
fn read(field: &str, sql: &str) -> Result<Vec<Token>> {
    Tokenizer::new(&FilterDialect::default(), sql)
        .with_unescape(false)
        .tokenize()
        .map_err(|e| Error::invalid(field, format!("cannot be parsed: {e}")))
}

/// How many times as many values as one list may have, all lists of an expression may
/// have together: each use of a placeholder is a list of its own.
const MAX_LISTS: usize = 4;

/// Puts literals in the place of `$1`, `$2`, ... A value that is named again and again
/// is there again and again, so that its uses count, not only its bytes in the request.
fn bind_tokens(
    filter: &Filter,
    field: &str,
    tokens: Vec<Token>,
    max_list: usize,
) -> Result<Vec<Token>> {
    let mut used = vec![false; filter.params.len()];
    let mut bound = Vec::with_capacity(tokens.len());
    let (mut bytes, mut items) = (0, 0);
    for token in tokens {
        let Token::Placeholder(name) = &token else {
            bound.push(token);
            continue;
        };
        let position = name
            .strip_prefix('$')
            .and_then(|digits| digits.parse::<usize>().ok())
            .and_then(|n| n.checked_sub(1))
            .ok_or_else(|| Error::invalid(field, "placeholders are written $1, $2, ..."))?;
        let Some(value) = filter.params.get(position) else {
            let text = format!("names {name}, and params has {}", filter.params.len());
            return Err(Error::invalid(field, text));
        };
        used[position] = true;
        bytes += value.bytes();
        items += value.items();
        if bytes > MAX_VALUE_BYTES || items > max_list.saturating_mul(MAX_LISTS) {
            let text = format!("names {name} so often that its values are too many");
            return Err(Error::invalid(field, text));
        }
        let field = format!("{}.params[{position}]", filter.field);
        bound.extend(literal_tokens(&field, value)?);
    }
    match used.iter().position(|used| !used) {
        None => Ok(bound),
        Some(unused) => Err(Error::invalid(
            format!("{}.params[{unused}]", filter.field),
            format!("is not named by the expression (as ${})", unused + 1),
        )),
    }
}

fn literal_tokens(field: &str, value: &Scalar) -> Result<Vec<Token>> {
    // Parenthesised, so that `a -$1` is never a comment.
    let number = |text: String| {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (Some(Token::Minus), digits.to_owned()),
            None => (None, text),
        };
        let mut tokens = vec![Token::LParen];
        tokens.extend(sign);
        tokens.extend([Token::Number(digits, false), Token::RParen]);
        tokens
    };
    let word = |text: &str| Token::make_word(text, None);
    let cast = |text: String, to: String| {
        vec![
            word("CAST"),
            Token::LParen,
            Token::SingleQuotedString(text),
            Token::Whitespace(Whitespace::Space),
            word("AS"),
            Token::Whitespace(Whitespace::Space),
            word(&to),
            Token::RParen,
        ]
    };
    Ok(match value {
        Scalar::Null => vec![word("NULL")],
        Scalar::Bool(true) => vec![word("TRUE")],
        Scalar::Bool(false) => vec![word("FALSE")],
        // Without its sign it is no i64, and Lance would round it to a float.
        Scalar::Int(i64::MIN) => cast(i64::MIN.to_string(), "BIGINT".into()),
        Scalar::Int(n) => number(n.to_string()),
        Scalar::UInt(n) => number(n.to_string()),
        Scalar::Double(x) => number(format!("{x:?}")),
        // The tokens are written out and read again: a quote is doubled.
        Scalar::Text(text) => vec![Token::SingleQuotedString(text.replace('\'', "''"))],
        Scalar::Bytes(bytes) => {
            let hex: String = bytes.iter().map(|b| format!("{b:02X}")).collect();
            vec![Token::HexStringLiteral(hex)]
        }
        Scalar::Timestamp { seconds, nanos } => {
            let (count, unit) = finest(*seconds, *nanos)
                .ok_or_else(|| Error::invalid(field, "has a timestamp out of range"))?;
            // With its zone, so that it is the same instant in a column of any
            // zone, and in UTC in one of none.
            let to = format!("Timestamp({unit}, \"UTC\")");
            let mut tokens = vec![word("arrow_cast"), Token::LParen];
            tokens.extend(literal_tokens(field, &Scalar::Int(count))?);
            let to = Token::SingleQuotedString(to);
            tokens.extend([Token::Comma, to, Token::RParen]);
            tokens
        }
        Scalar::Decimal(text) => {
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            let scale = text.split_once('.').map_or(0, |(_, after)| after.len());
            let to = format!("DECIMAL({},{scale})", digits.clamp(1, 38));
            cast(text.clone(), to)
        }
        Scalar::List(items) => {
            let mut tokens = vec![Token::LParen];
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    tokens.push(Token::Comma);
                }
                tokens.extend(literal_tokens(field, item)?);
            }
            tokens.push(Token::RParen);
            tokens
        }
    })
}

/// A timestamp as a count of its finest unit that has room for it: LanceDB compares
/// two units in the coarser one, which should be the column's.
fn finest(seconds: i64, nanos: u32) -> Option<(i64, &'static str)> {
    [
        ("ns", 1_000_000_000),
        ("us", 1_000_000),
        ("ms", 1_000),
        ("s", 1),
    ]
    .into_iter()
    .filter(|(_, per_second)| i64::from(nanos) * per_second % 1_000_000_000 == 0)
    .find_map(|(unit, per_second)| {
        let rest = i64::from(nanos) * per_second / 1_000_000_000;
        let count = seconds.checked_mul(per_second)?.checked_add(rest)?;
        Some((count, unit))
    })
}

#[cfg(test)]
mod tests;
