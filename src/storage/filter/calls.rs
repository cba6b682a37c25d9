//! What an expression calls, and the patterns that it matches by: both are known
//! from its tokens, before anything is planned.

use lancedb::datafusion::sql::sqlparser::{keywords::Keyword, tokenizer::Token};

use crate::{
    config::failpoint,
    domain::{Error, Filter, Result, Scalar},
    storage::Rules,
};

/// Words that may stand before a parenthesis and call nothing: operators, parts of
/// expressions, and types.
const NO_CALLS: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "between",
    "bigint",
    "binary",
    "bit",
    "bool",
    "boolean",
    "case",
    "cast",
    "char",
    "character",
    "date",
    "datetime",
    "dec",
    "decimal",
    "distinct",
    "div",
    "double",
    "else",
    "escape",
    "float",
    "for",
    "from",
    "ilike",
    "in",
    "int",
    "integer",
    "interval",
    "is",
    "like",
    "not",
    "numeric",
    "nvarchar",
    "or",
    "precision",
    "real",
    "regexp",
    "rlike",
    "safe_cast",
    "smallint",
    "some",
    "string",
    "text",
    "then",
    "time",
    "timestamp",
    "tinyint",
    "to",
    "try_cast",
    "varbinary",
    "varchar",
    "varying",
    "when",
    "xor",
];

/// An expression as it came, for whoever looks at more than one of its tokens.
pub(super) struct Written<'a> {
    /// Path of the text in the request.
    pub field: &'a str,
    pub tokens: &'a [Token],
    /// What its placeholders stand for, where it may have some.
    pub filter: Option<&'a Filter>,
}

impl Written<'_> {
    /// Refuses calls of what may not be called, and patterns that are too long or
    /// that are computed. The calls are counted.
    pub(super) fn check(&self, rules: &Rules) -> Result<usize> {
        let tokens: Vec<&Token> = self
            .tokens
            .iter()
            .filter(|token| !matches!(token, Token::Whitespace(_)))
            .collect();
        let mut calls = 0;
        for (i, token) in tokens.iter().enumerate() {
            let Token::Word(word) = token else { continue };
            let rest = &tokens[i + 1..];
            if rest.first() == Some(&&Token::LParen) {
                let name = word.value.to_ascii_lowercase();
                if word.quote_style.is_some() || !NO_CALLS.contains(&name.as_str()) {
                    calls += 1;
                    self.check_call(&name, rest, rules)?;
                    continue;
                }
            }
            if word.quote_style.is_none() && matches_by_pattern(word.keyword, &tokens[..i]) {
                self.check_pattern(rest.first(), rules)?;
            }
        }
        Ok(calls)
    }

    /// `rest` begins with the parenthesis of the call.
    fn check_call(&self, name: &str, rest: &[&Token], rules: &Rules) -> Result<()> {
        let invalid = |text: &str| Err(Error::invalid(self.field, text));
        if !rules.functions.allows(name) && !failpoint::breaks("filter:any-function") {
            // What is no name of a function may be anything.
            let known: String = name.chars().take(64).collect();
            return invalid(&format!(
                "may not call {known}: it is not among limits.allowed_functions"
            ));
        }
        match name {
            // Lance's planner panics on it.
            "is_valid" if rest.get(1) == Some(&&Token::RParen) => {
                invalid("calls is_valid of nothing")
            }
            _ if name.starts_with("regexp_") => match pattern_argument(rest) {
                [] => Ok(()),
                [pattern] => self.check_pattern(Some(pattern), rules),
                _ => invalid("has a regular expression that is computed: it must be one text"),
            },
            _ => Ok(()),
        }
    }

    /// The length of a pattern, where it is written down or bound.
    fn check_pattern(&self, token: Option<&&Token>, rules: &Rules) -> Result<()> {
        let (field, length) = match token {
            Some(Token::SingleQuotedString(text)) => (self.field.to_owned(), text.len()),
            Some(Token::Placeholder(name)) => match self.bound(name) {
                Some((position, filter, Scalar::Text(text))) => {
                    (format!("{}.params[{position}]", filter.field), text.len())
                }
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        if length > rules.max_pattern_bytes {
            let text = format!(
                "is a pattern of more than {} bytes",
                rules.max_pattern_bytes
            );
            return Err(Error::invalid(field, text));
        }
        Ok(())
    }

    fn bound(&self, name: &str) -> Option<(usize, &Filter, &Scalar)> {
        let position = name
            .strip_prefix('$')?
            .parse::<usize>()
            .ok()?
            .checked_sub(1)?;
        let filter = self.filter?;
        Some((position, filter, filter.params.get(position)?))
    }
}

/// Whether a word is an operator whose right side is a pattern.
fn matches_by_pattern(keyword: Keyword, before: &[&Token]) -> bool {
    match keyword {
        Keyword::LIKE | Keyword::ILIKE | Keyword::RLIKE | Keyword::REGEXP => true,
        Keyword::TO => {
            matches!(before.last(), Some(Token::Word(word)) if word.keyword == Keyword::SIMILAR)
        }
        _ => false,
    }
}

/// The second argument of a call; empty where there is none.
fn pattern_argument<'a>(rest: &'a [&'a Token]) -> &'a [&'a Token] {
    let (mut depth, mut commas, mut from) = (0usize, 0, None);
    for (i, token) in rest.iter().enumerate() {
        match token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth -= 1,
            Token::Comma if depth == 1 => commas += 1,
            _ => continue,
        }
        match (commas, depth, from) {
            (1, 1, None) => from = Some(i + 1),
            (2, ..) | (_, 0, _) => return from.map_or(&[], |from| &rest[from..i]),
            _ => {}
        }
    }
    from.map_or(&[], |from| &rest[from..])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{config::Functions, storage::filter::read};

    fn checked(sql: &str, params: Vec<Scalar>, rules: &Rules) -> Result<usize> {
        let filter = Filter {
            field: "f".into(),
            sql: sql.into(),
            params,
        };
        Written {
            field: "f.sql",
            tokens: &read("f.sql", sql).unwrap(),
            filter: Some(&filter),
        }
        .check(rules)
    }

    fn refused(sql: &str, params: Vec<Scalar>, rules: &Rules) -> String {
        match checked(sql, params, rules) {
            Err(Error::Invalid(faults)) => faults[0].field.clone(),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn only_what_is_listed_may_be_called() {
        let rules = Rules::default();
        for (sql, calls) in [
            ("a = 1", 0),
            ("lower(a) = 'x' AND (b) IN (1, 2) OR NOT (c)", 1),
            ("CAST(a AS DECIMAL(5, 2)) = 1 OR a::VARCHAR(7) = ''", 0),
            ("abs (round(a)) BETWEEN (1) AND (2)", 2),
            ("CASE WHEN (a) THEN (b) ELSE (c) END LIKE ('x')", 0),
        ] {
            assert_eq!(checked(sql, vec![], &rules), Ok(calls), "{sql}");
        }
        for sql in [
            "repeat(a, 9) = 'x'",
            "REPEAT (a, 9) = 'x'",
            "\"repeat\"(a, 9) = 'x'",
            "`RePeat` (a, 9) = 'x'",
            "lower(lpad(a, 9)) = 'x'",
            "no.repeat(a, 9)",
            "random() < 1",
            "uuid() = 'x'",
            "\"in\"(1, 2)",
            "replace(replace(a, 'x', 'xx'), 'x', 'xx') = ''",
        ] {
            assert_eq!(refused(sql, vec![], &rules), "f.sql", "{sql}");
        }
        let none = Rules {
            functions: Arc::new(Functions::of(&["repeat".to_owned()]).unwrap()),
            ..rules
        };
        assert_eq!(checked("repeat(a, 9) = ''", vec![], &none), Ok(1));
        assert_eq!(refused("lower(a) = ''", vec![], &none), "f.sql");
    }

    #[test]
    fn patterns_are_short_and_written_down() {
        let rules = Rules {
            max_pattern_bytes: 4,
            ..Rules::default()
        };
        for operator in ["LIKE", "NOT ILIKE", "SIMILAR TO", "RLIKE", "REGEXP"] {
            let sql = |pattern: &str| format!("a {operator} {pattern}");
            assert_eq!(checked(&sql("'abcd'"), vec![], &rules), Ok(0));
            assert_eq!(refused(&sql("'abcde'"), vec![], &rules), "f.sql");
            let text = |text: &str| vec![Scalar::Text(text.into())];
            assert_eq!(checked(&sql("$1"), text("abcd"), &rules), Ok(0));
            assert_eq!(refused(&sql("$1"), text("abcde"), &rules), "f.params[0]");
        }
        for call in [
            "regexp_like(a, 'abcd')",
            "regexp_match(concat(a, 'yyyyyyyy'), $1, 'i')",
        ] {
            let calls = checked(call, vec![Scalar::Text("abcd".into())], &rules);
            assert!(calls.is_ok(), "{call}: {calls:?}");
        }
        for call in [
            "regexp_like(a, 'abcde')",
            "regexp_like(a, b || 'c')",
            "regexp_like(a, lower(b))",
            "regexp_count((a), ('ab'))",
        ] {
            assert_eq!(refused(call, vec![], &rules), "f.sql", "{call}");
        }
        // What does not parse later is no reason to panic now.
        for call in [
            "regexp_like(",
            "regexp_like(a,",
            "regexp_like()",
            "a LIKE",
            "b((",
        ] {
            let _ = checked(call, vec![], &rules);
        }
    }
}
