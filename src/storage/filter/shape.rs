//! How a filter looks, token by token, before anything recursive reads it.

use lancedb::datafusion::sql::sqlparser::{
    keywords::Keyword,
    tokenizer::{Token, Whitespace},
};

use super::calls::Written;
use crate::{
    config::failpoint,
    domain::{Error, Result},
    storage::Rules,
};

/// Most operators that may become one path of the expression's tree. Lance
/// balances chains of AND and of OR; every other chain, as `1 + 1 + 1`, becomes
/// a tree as deep as it is long, which its planner walks recursively: 25 KB of
/// stack a level where nothing is optimised.
const MAX_CHAIN: usize = 100;

/// An expression in parentheses, or the whole one.
#[derive(Default)]
struct Group {
    /// Operators since the last AND, OR or comma: how deep that operand may be.
    chain: usize,
    /// The deepest operand before that.
    deepest: usize,
    /// BETWEENs whose AND is still to come: that one is no operator of logic.
    between: usize,
    /// Commas so far.
    items: usize,
}

impl Group {
    /// Begins another operand.
    fn next(&mut self) {
        self.deepest = self.deepest.max(self.chain);
        self.chain = 0;
    }
}

/// Refuses what would cost too much, and literals of dialects that Lance's
/// planner does not know (it panics on them).
pub(super) fn check(written: &Written<'_>, rules: &Rules) -> Result<()> {
    let (field, tokens) = (written.field, written.tokens);
    if failpoint::breaks("filter:no-shape") {
        return Ok(());
    }
    let (max_depth, max_terms) = (rules.max_depth, rules.max_terms);
    let (mut group, mut around) = (Group::default(), Vec::new());
    let (mut terms, mut nots) = (written.check(rules)?, 0usize);
    let invalid = |text: &str| Error::invalid(field, text);
    let too_deep = || invalid(&format!("nests deeper than {max_depth} levels"));
    for (i, token) in tokens.iter().enumerate() {
        check_type(field, &tokens[i..])?;
        match token {
            Token::LParen | Token::LBracket => {
                // `a[0][0]` is a chain too.
                group.chain += 1;
                around.push(std::mem::take(&mut group));
                if around.len() > max_depth {
                    return Err(too_deep());
                }
            }
            Token::RParen | Token::RBracket => {
                group.next();
                let inner = group.deepest;
                group = around.pop().unwrap_or_default();
                group.chain += inner;
            }
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::AND if group.between > 0 => group.between -= 1,
                Keyword::AND | Keyword::OR => {
                    terms += 1;
                    nots = 0;
                    group.next();
                }
                Keyword::NOT | Keyword::CASE => {
                    terms += 1;
                    group.chain += 1;
                    nots += 1;
                    if nots > max_depth {
                        return Err(too_deep());
                    }
                }
                Keyword::BETWEEN => {
                    group.chain += 1;
                    group.between += 1;
                }
                Keyword::SELECT => return Err(invalid("may not have a subquery")),
                Keyword::NoKeyword => {}
                // IS, LIKE, IN, ...: some of them begin another level.
                _ => group.chain += 1,
            },
            Token::Comma => {
                group.next();
                group.items += 1;
                if group.items >= rules.max_list {
                    let text = format!("has a list of more than {} values", rules.max_list);
                    return Err(invalid(&text));
                }
            }
            Token::Period => group.chain += 1,
            Token::Number(..)
            | Token::Word(_)
            | Token::SingleQuotedString(_)
            | Token::HexStringLiteral(_)
            | Token::Placeholder(_)
            | Token::Whitespace(Whitespace::Space | Whitespace::Newline | Whitespace::Tab) => {}
            Token::Whitespace(_) => return Err(invalid("may not have comments")),
            Token::SemiColon => return Err(invalid("must be one expression")),
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
            | Token::DoubleColon => {
                terms += 1;
                group.chain += 1;
            }
            other => {
                return Err(invalid(&unsupported(other)));
            }
        }
        if terms > max_terms {
            let text =
                format!("has more than {max_terms} operators and calls; IN takes long lists");
            return Err(invalid(&text));
        }
        if group.chain > MAX_CHAIN {
            let text = format!("has more than {MAX_CHAIN} operators without an AND or OR between");
            return Err(invalid(&text));
        }
    }
    Ok(())
}

/// Names a token, unless it is a literal, which may be a secret.
fn unsupported(token: &Token) -> String {
    let text = token.to_string();
    if text.contains(['\'', '"', '$']) {
        "has a kind of literal that is not supported".into()
    } else {
        format!("has a token that is not supported: {text}")
    }
}

/// Refuses a type, if these tokens begin with one, that Lance's planner panics on.
fn check_type(field: &str, tokens: &[Token]) -> Result<()> {
    let mut tokens = tokens
        .iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)));
    let (Some(Token::Word(word)), Some(Token::LParen)) = (tokens.next(), tokens.next()) else {
        return Ok(());
    };
    let name = word.value.to_ascii_lowercase();
    if matches!(name.as_str(), "decimal" | "numeric" | "dec")
        && tokens.nth(2) == Some(&Token::Minus)
    {
        return Err(Error::invalid(
            field,
            "has a decimal type with a negative scale",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::filter::read;

    fn checked(sql: &str) -> Result<()> {
        let written = Written {
            field: "f",
            tokens: &read("f", sql).unwrap(),
            filter: None,
        };
        check(&written, &Rules::default())
    }

    #[test]
    fn only_what_becomes_deep_is_a_chain() {
        for (first, part) in [
            ("1", " + 1"),
            ("a", " IS NULL"),
            ("a", "[0]"),
            ("a", ".x"),
            ("a", "::int"),
            ("a", " BETWEEN 1 AND 2"),
            ("1", " + (1 + 1)"),
        ] {
            let long = first.to_owned() + &part.repeat(MAX_CHAIN + 1);
            assert!(checked(&long).is_err(), "{part}");
            assert!(checked(&format!("{first}{part}")).is_ok(), "{part}");
        }
        for part in [" OR a = 1", " AND a BETWEEN 1 AND 2", " OR (a + 1 > 2)"] {
            let wide = "a = 0".to_owned() + &part.repeat(MAX_CHAIN + 1);
            assert!(checked(&wide).is_ok(), "{part}");
        }
        let list = format!("a IN ({}-1)", "-1, ".repeat(MAX_CHAIN + 1));
        assert!(checked(&list).is_ok());
    }

    #[test]
    fn what_is_refused_is_not_repeated() {
        for sql in ["N'secret'", "$$secret$$", "B'secret'"] {
            let refused = checked(sql).expect_err(sql).to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
