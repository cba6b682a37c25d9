//! Filters and expressions: values are bound, and what LanceDB's planner cannot
//! digest is stopped before it.
//!
//! LanceDB has no bind parameters, so values are bound on the level of tokens:
//! a placeholder is one token and becomes literal tokens, which no later step
//! can read as anything else. That also keeps them out of error texts.

use std::any::TypeId;

use arrow::datatypes::SchemaRef;
use lance_datafusion::planner::Planner;
use lancedb::datafusion::sql::sqlparser::{
    dialect::{Dialect, GenericDialect},
    parser::Parser,
    tokenizer::{Token, Tokenizer, Whitespace},
};

use crate::domain::{Error, Filter, Result, Scalar};

/// Most operators in one expression: a chain of them becomes a tree of that
/// depth, which the planner walks recursively.
const MAX_OPERATORS: usize = 1_000;

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

/// The SQL of a filter with its values bound, checked against the columns of
/// `schema`, nested at most `max_depth` deep.
pub(super) fn bind(filter: &Filter, schema: &SchemaRef, max_depth: usize) -> Result<String> {
    let sql = bind_unchecked(filter, max_depth)?;
    // Lance parses a filter as the end of a statement; what it would pass over
    // or panic on has been stopped above.
    Planner::new(SchemaRef::clone(schema))
        .parse_filter(&canonical(&sql, filter)?)
        .map_err(|e| invalid(filter, &describe(e)))?;
    Ok(sql)
}

/// The same for an expression whose columns are not those of one table.
pub(super) fn bind_unchecked(filter: &Filter, max_depth: usize) -> Result<String> {
    let tokens = Tokenizer::new(&FilterDialect::default(), &filter.sql)
        .with_unescape(false)
        .tokenize()
        .map_err(|e| invalid(filter, &format!("cannot be parsed: {e}")))?;
    check_shape(filter, &tokens, max_depth)?;
    let tokens = bind_tokens(filter, tokens)?;
    let sql: String = tokens.iter().map(Token::to_string).collect();
    one_expression(filter, &sql)?;
    Ok(sql)
}

/// SQL text for a value.
pub(super) fn literal(value: &Scalar, field: &str) -> Result<String> {
    let filter = Filter {
        field: field.to_owned(),
        sql: String::new(),
        params: Vec::new(),
    };
    Ok(match value {
        Scalar::List(items) => {
            let items: Result<Vec<_>> = items.iter().map(|item| literal(item, field)).collect();
            format!("[{}]", items?.join(", "))
        }
        one => literal_tokens(&filter, one)?
            .iter()
            .map(Token::to_string)
            .collect(),
    })
}

fn invalid(filter: &Filter, description: &str) -> Error {
    Error::invalid(format!("{}.sql", filter.field), description)
}

/// Refuses what would cost too much, and literals of dialects that Lance's
/// planner does not know (it panics on them).
fn check_shape(filter: &Filter, tokens: &[Token], max_depth: usize) -> Result<()> {
    let (mut depth, mut operators, mut nots) = (0usize, 0usize, 0usize);
    for token in tokens {
        match token {
            Token::LParen | Token::LBracket => {
                depth += 1;
                if depth > max_depth {
                    let text = format!("nests deeper than {max_depth} levels");
                    return Err(invalid(filter, &text));
                }
            }
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            Token::Word(word) if word.quote_style.is_none() => {
                match word.value.to_ascii_uppercase().as_str() {
                    "AND" | "OR" => {
                        operators += 1;
                        nots = 0;
                    }
                    "NOT" | "CASE" => {
                        operators += 1;
                        nots += 1;
                        if nots > max_depth {
                            let text = format!("nests deeper than {max_depth} levels");
                            return Err(invalid(filter, &text));
                        }
                    }
                    "SELECT" => return Err(invalid(filter, "may not have a subquery")),
                    _ => {}
                }
            }
            Token::Number(..)
            | Token::Word(_)
            | Token::SingleQuotedString(_)
            | Token::HexStringLiteral(_)
            | Token::Placeholder(_)
            | Token::Comma
            | Token::Period
            | Token::Whitespace(Whitespace::Space | Whitespace::Newline | Whitespace::Tab) => {}
            Token::Whitespace(_) => return Err(invalid(filter, "may not have comments")),
            Token::SemiColon => return Err(invalid(filter, "must be one expression")),
            Token::Eq
            | Token::DoubleEq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat
            | Token::Ampersand
            | Token::Pipe
            | Token::Caret
            | Token::ShiftLeft
            | Token::ShiftRight
            | Token::DoubleColon => operators += 1,
            other => {
                let text = format!("has a token that is not supported: {other}");
                return Err(invalid(filter, &text));
            }
        }
        if operators > MAX_OPERATORS {
            let text = format!("has more than {MAX_OPERATORS} operators; IN takes long lists");
            return Err(invalid(filter, &text));
        }
    }
    Ok(())
}

/// Puts literals in the place of `$1`, `$2`, ...
fn bind_tokens(filter: &Filter, tokens: Vec<Token>) -> Result<Vec<Token>> {
    let mut used = vec![false; filter.params.len()];
    let mut bound = Vec::with_capacity(tokens.len());
    for token in tokens {
        let Token::Placeholder(name) = &token else {
            bound.push(token);
            continue;
        };
        let position = name
            .strip_prefix('$')
            .and_then(|digits| digits.parse::<usize>().ok())
            .and_then(|n| n.checked_sub(1))
            .ok_or_else(|| invalid(filter, "placeholders are written $1, $2, ..."))?;
        let Some(value) = filter.params.get(position) else {
            let text = format!("names {name}, and params has {}", filter.params.len());
            return Err(invalid(filter, &text));
        };
        used[position] = true;
        bound.extend(literal_tokens(filter, value)?);
    }
    match used.iter().position(|used| !used) {
        None => Ok(bound),
        Some(unused) => Err(Error::invalid(
            format!("{}.params[{unused}]", filter.field),
            format!("is not named by the expression (as ${})", unused + 1),
        )),
    }
}

fn literal_tokens(filter: &Filter, value: &Scalar) -> Result<Vec<Token>> {
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
        // Its digits without the sign are no i64: the planner would make a float.
        Scalar::Int(i64::MIN) => cast(i64::MIN.to_string(), "BIGINT".to_owned()),
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
            let time = chrono::DateTime::from_timestamp(*seconds, *nanos)
                .ok_or_else(|| invalid(filter, "has a timestamp out of range"))?;
            let (digits, text) = match nanos {
                0 => (0, time.format("%Y-%m-%dT%H:%M:%S")),
                n if n % 1_000_000 == 0 => (3, time.format("%Y-%m-%dT%H:%M:%S%.3f")),
                n if n % 1_000 == 0 => (6, time.format("%Y-%m-%dT%H:%M:%S%.6f")),
                _ => (9, time.format("%Y-%m-%dT%H:%M:%S%.9f")),
            };
            cast(text.to_string(), format!("TIMESTAMP({digits})"))
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
                tokens.extend(literal_tokens(filter, item)?);
            }
            tokens.push(Token::RParen);
            tokens
        }
    })
}

/// Refuses what is more than one expression: Lance would read `true LIMIT 1`
/// as the end of its own statement.
fn one_expression(filter: &Filter, sql: &str) -> Result<()> {
    let cannot = |e: &dyn std::fmt::Display| invalid(filter, &format!("cannot be parsed: {e}"));
    let dialect = FilterDialect::default();
    let mut parser = Parser::new(&dialect)
        .try_with_sql(sql)
        .map_err(|e| cannot(&e))?;
    parser.parse_expr().map_err(|e| cannot(&e))?;
    match parser.peek_token().token {
        Token::EOF => Ok(()),
        _ => Err(invalid(filter, "must be one expression")),
    }
}

/// What LanceDB makes of a filter before Lance sees it: names in double quotes
/// become names in backticks.
fn canonical(sql: &str, filter: &Filter) -> Result<String> {
    let tokens = Tokenizer::new(&FilterDialect::default(), sql)
        .with_unescape(false)
        .tokenize()
        .map_err(|e| invalid(filter, &format!("cannot be parsed: {e}")))?;
    Ok(tokens
        .into_iter()
        .map(|token| match token {
            Token::Word(word) if word.quote_style == Some('"') => {
                let name = word.value.replace("\"\"", "\"").replace('`', "``");
                format!("`{name}`")
            }
            other => other.to_string(),
        })
        .collect())
}

/// The planner's complaint without the filter itself, which it likes to quote:
/// its literals may be secrets.
fn describe(error: lance::Error) -> String {
    match super::error::from_lance(error) {
        Error::Invalid(violations) => violations
            .into_iter()
            .map(|v| match v.description.rsplit_once("filter expression ") {
                Some((_, rest)) => match rest.split_once(": ") {
                    Some((_, reason)) => reason.to_owned(),
                    None => "cannot be resolved".to_owned(),
                },
                None => v.description,
            })
            .collect::<Vec<_>>()
            .join("; "),
        other => other.to_string(),
    }
}
