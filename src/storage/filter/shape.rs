//! How a filter looks, token by token, before anything recursive reads it.

use lancedb::datafusion::sql::sqlparser::{
    keywords::Keyword,
    tokenizer::{Token, Whitespace},
};

use crate::domain::{Error, Result};

/// Most operators in one expression. Each costs time to plan and to evaluate.
const MAX_OPERATORS: usize = 1_000;

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
pub(super) fn check(field: &str, tokens: &[Token], max_depth: usize) -> Result<()> {
    let (mut group, mut around) = (Group::default(), Vec::new());
    let (mut operators, mut nots) = (0usize, 0usize);
    let invalid = |text: &str| Error::invalid(field, text);
    let too_deep = || invalid(&format!("nests deeper than {max_depth} levels"));
    for (i, token) in tokens.iter().enumerate() {
        check_call(field, &tokens[i..])?;
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
                    operators += 1;
                    nots = 0;
                    group.next();
                }
                Keyword::NOT | Keyword::CASE => {
                    operators += 1;
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
            Token::Comma => group.next(),
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
                operators += 1;
                group.chain += 1;
            }
            other => {
                return Err(invalid(&unsupported(other)));
            }
        }
        if operators > MAX_OPERATORS {
            let text = format!("has more than {MAX_OPERATORS} operators; IN takes long lists");
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

/// Functions whose argument says how long their answer is: a few bytes of
/// filter would fill the memory.
const LONG_ANSWERS: &[&str] = &[
    "repeat",
    "lpad",
    "rpad",
    "space",
    "range",
    "generate_series",
    "gen_series",
    "array_repeat",
    "list_repeat",
    "array_resize",
    "list_resize",
];

/// Refuses a call or a type, if these tokens begin with one, that is too dear or
/// that Lance's planner panics on.
fn check_call(field: &str, tokens: &[Token]) -> Result<()> {
    let mut tokens = tokens
        .iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)));
    let (Some(Token::Word(word)), Some(Token::LParen)) = (tokens.next(), tokens.next()) else {
        return Ok(());
    };
    let name = word.value.to_ascii_lowercase();
    if LONG_ANSWERS.contains(&name.as_str()) {
        let text = format!("may not call {name}, whose answer can be of any length");
        return Err(Error::invalid(field, text));
    }
    let fault = match name.as_str() {
        "is_valid" if tokens.next() == Some(&Token::RParen) => "calls is_valid of nothing",
        "decimal" | "numeric" | "dec" if tokens.nth(2) == Some(&Token::Minus) => {
            "has a decimal type with a negative scale"
        }
        _ => return Ok(()),
    };
    Err(Error::invalid(field, fault))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::filter::read;

    fn checked(sql: &str) -> Result<()> {
        check("f", &read("f", sql).unwrap(), 64)
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
