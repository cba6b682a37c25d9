//! What an expression may take for each row that it is evaluated on.
//!
//! Rows come in batches of thousands, and what is not a comparison with a constant is
//! worked out for all of them at once: a literal that is an argument, a result of CASE
//! or a part of `||` is in memory once a row, outside of the pool that bounds a query.

use lancedb::datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Subscript, Value,
};

/// Bytes of all literals together that a row may have one of each of. With 8,192 rows
/// in a batch that is 64 MiB.
const MAX_BYTES: usize = 8 << 10;

/// Bytes of a format: each two of them may become two dozen.
const MAX_FORMAT_BYTES: usize = 256;

/// Values that may be joined to longer ones.
const MAX_JOINED: usize = 32;

/// Functions whose value is as long as all their arguments together.
const JOINING: [&str; 11] = [
    "array_union",
    "concat",
    "concat_ws",
    "list_union",
    "make_array",
    "make_list",
    "map",
    "named_struct",
    "overlay",
    "row",
    "struct",
];

/// Functions that are told by a text how to write something.
const FORMATTING: [&str; 2] = ["date_format", "to_char"];

/// Refuses what takes too much, in words that name no value.
pub(super) fn check(expression: &Expr) -> Result<(), String> {
    let mut spread = Spread::default();
    // Not by recursion: a chain of AND is as deep as it is long.
    let mut left = vec![expression];
    while let Some(part) = left.pop() {
        spread.add(part)?;
        parts(part, &mut left);
    }
    if spread.all - spread.compared > MAX_BYTES {
        return Err(format!(
            "has more than {MAX_BYTES} bytes of literals that are neither compared with nor in a list of IN"
        ));
    }
    if spread.joined > MAX_JOINED {
        return Err(format!(
            "joins more than {MAX_JOINED} values to longer ones"
        ));
    }
    Ok(())
}

#[derive(Default)]
struct Spread {
    /// Bytes of all literals.
    all: usize,
    /// Of those that rows are only compared with.
    compared: usize,
    joined: usize,
}

impl Spread {
    fn add(&mut self, part: &Expr) -> Result<(), String> {
        match part {
            Expr::Value(value) => self.all += bytes(&value.value),
            Expr::BinaryOp { left, op, right } => match op {
                BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq => self.compared += constant(left) + constant(right),
                BinaryOperator::StringConcat => self.joined += 1,
                _ => {}
            },
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.compared += constant(left) + constant(right);
            }
            Expr::InList { list, .. } => self.compared += list.iter().map(constant).sum::<usize>(),
            Expr::Between { low, high, .. } => self.compared += constant(low) + constant(high),
            Expr::Like { pattern, .. }
            | Expr::ILike { pattern, .. }
            | Expr::SimilarTo { pattern, .. } => self.compared += constant(pattern),
            Expr::Array(array) => self.joined += array.elem.iter().filter(varies).count(),
            Expr::Function(function) => return self.call(function),
            _ => {}
        }
        Ok(())
    }

    fn call(&mut self, function: &Function) -> Result<(), String> {
        let name = function.name.to_string().to_ascii_lowercase();
        let name = name.trim_matches(['"', '`']);
        if JOINING.contains(&name) {
            self.joined += arguments(function).filter(varies).count();
        }
        let is_long = |argument| constant(argument) > MAX_FORMAT_BYTES;
        if FORMATTING.contains(&name) && arguments(function).any(is_long) {
            return Err(format!(
                "has a format of more than {MAX_FORMAT_BYTES} bytes"
            ));
        }
        Ok(())
    }
}

/// What an expression is made of. Kinds that are not here Lance's planner does not know.
pub(super) fn parts<'a>(expression: &'a Expr, into: &mut Vec<&'a Expr>) {
    match expression {
        Expr::BinaryOp { left, right, .. }
        | Expr::IsDistinctFrom(left, right)
        | Expr::IsNotDistinctFrom(left, right) => into.extend([&**left, right]),
        Expr::UnaryOp { expr, .. }
        | Expr::Nested(expr)
        | Expr::Cast { expr, .. }
        | Expr::IsFalse(expr)
        | Expr::IsNotFalse(expr)
        | Expr::IsTrue(expr)
        | Expr::IsNotTrue(expr)
        | Expr::IsNull(expr)
        | Expr::IsNotNull(expr) => into.push(expr),
        Expr::InList { expr, list, .. } => {
            into.push(expr);
            into.extend(list);
        }
        Expr::Between {
            expr, low, high, ..
        } => into.extend([&**expr, low, high]),
        Expr::Like { expr, pattern, .. }
        | Expr::ILike { expr, pattern, .. }
        | Expr::SimilarTo { expr, pattern, .. } => into.extend([&**expr, pattern]),
        Expr::Case {
            operand,
            conditions,
            else_result,
            ..
        } => {
            into.extend(operand.iter().chain(else_result).map(|part| &**part));
            for when in conditions {
                into.extend([&when.condition, &when.result]);
            }
        }
        Expr::Array(array) => into.extend(&array.elem),
        Expr::Function(function) => into.extend(arguments(function)),
        Expr::CompoundFieldAccess { root, access_chain } => {
            into.push(root);
            for access in access_chain {
                match access {
                    AccessExpr::Dot(part)
                    | AccessExpr::Subscript(Subscript::Index { index: part }) => into.push(part),
                    AccessExpr::Subscript(Subscript::Slice { .. }) => {}
                }
            }
        }
        _ => {}
    }
}

fn arguments(function: &Function) -> impl Iterator<Item = &Expr> {
    let list = match &function.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        FunctionArguments::None | FunctionArguments::Subquery(_) => &[],
    };
    list.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression))
        | FunctionArg::Named {
            arg: FunctionArgExpr::Expr(expression),
            ..
        }
        | FunctionArg::ExprNamed {
            arg: FunctionArgExpr::Expr(expression),
            ..
        } => Some(expression),
        _ => None,
    })
}

/// An argument of a call, by its number.
pub(super) fn argument(function: &Function, number: usize) -> Option<&Expr> {
    arguments(function).nth(number)
}

/// Whether an argument is more than a literal.
fn varies(expression: &&Expr) -> bool {
    literal(expression).is_none()
}

/// The bytes of a literal; 0 of what is none.
fn constant(expression: &Expr) -> usize {
    literal(expression).map_or(0, bytes)
}

/// The literal that an expression is, whatever is around it.
pub(super) fn literal(expression: &Expr) -> Option<&Value> {
    match expression {
        Expr::Value(value) => Some(&value.value),
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => literal(inner),
        _ => None,
    }
}

fn bytes(value: &Value) -> usize {
    match value {
        Value::SingleQuotedString(text) => text.len(),
        // Two digits are a byte.
        Value::HexStringLiteral(digits) => digits.len() / 2,
        _ => 0,
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
        check(&parser.parse_expr().unwrap())
    }

    #[test]
    fn what_is_compared_with_may_be_long() {
        let long = format!("'{}'", "x".repeat(1 << 20));
        for sql in [
            format!("a = {long}"),
            format!("({long}) <> a"),
            format!("a IN ('b', {long})"),
            format!("a BETWEEN {long} AND ({long})"),
            format!(
                "lower(a) = CAST({long} AS VARCHAR) OR a = X'{}'",
                "00".repeat(9_000)
            ),
            format!("a IS DISTINCT FROM {long}"),
            "array_has_any(tags, ['a', 'b', 'c'])".into(),
            "a || b || 'c' = 'd'".into(),
        ] {
            assert_eq!(checked(&sql), Ok(()), "{}", &sql[..20]);
        }
    }

    #[test]
    fn what_is_there_for_each_row_may_not() {
        let long = format!("'{}'", "x".repeat(MAX_BYTES + 1));
        let half = format!("'{}'", "x".repeat(MAX_BYTES / 2 + 1));
        for sql in [
            format!("CASE WHEN a THEN {long} ELSE '' END = 'b'"),
            format!("CASE WHEN a = {half} THEN {half} ELSE {half} END = 'b'"),
            format!("octet_length({long}) > 1"),
            format!("coalesce(a, {half}) = coalesce(b, {half})"),
            format!("a || {long} = 'b'"),
            format!("a = (b || {long})"),
            format!("strpos(a, X'{}') = 1", "00".repeat(MAX_BYTES + 1)),
            format!("a IN (CASE WHEN a THEN {long} END)"),
        ] {
            let fault = checked(&sql).unwrap_err();
            assert!(fault.contains("bytes of literals"), "{fault}");
            assert!(!fault.contains("xxx"));
        }
    }

    #[test]
    fn values_are_joined_so_often_and_no_more() {
        let columns = |n: usize| vec!["a"; n].join(", ");
        let joined = |n: usize| vec!["a"; n].join(" || ");
        for (sql, fits) in [
            (format!("concat({}) = 'b'", columns(MAX_JOINED)), true),
            (format!("concat({}) = 'b'", columns(MAX_JOINED + 1)), false),
            (format!("CONCAT_WS(',', {}) = 'b'", columns(40)), false),
            (format!("\"concat\"({}) = 'b'", columns(40)), false),
            (format!("[{}] = b", columns(40)), false),
            (format!("{} = 'b'", joined(20)), true),
            (format!("{} = 'b'", joined(40)), false),
            (
                format!("concat({}) = 'b' OR {} = 'b'", columns(20), joined(20)),
                false,
            ),
        ] {
            let found = checked(&sql);
            assert_eq!(found.is_ok(), fits, "{sql}: {found:?}");
        }
    }

    #[test]
    fn formats_are_short() {
        let format = |n: usize| format!("to_char(a, '{}') = 'b'", "%c".repeat(n));
        assert_eq!(checked(&format(20)), Ok(()));
        assert!(checked(&format(200)).unwrap_err().contains("format"));
    }
}
