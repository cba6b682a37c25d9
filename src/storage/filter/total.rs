//! Expressions that have a value for every row: evaluated on rows of others as well, they
//! tell nothing of them, since there is no row that they fail on.

use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::{
    DFSchema,
    tree_node::{TreeNode, TreeNodeRecursion},
};
use lancedb::datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Like, Operator};

/// Functions that have a value for every argument, and a short one.
const FUNCTIONS: &[&str] = &[
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_length",
    "bit_length",
    "btrim",
    "cardinality",
    "character_length",
    "coalesce",
    "contains",
    "ends_with",
    "get_field",
    "is_valid",
    "lower",
    "ltrim",
    "nullif",
    "octet_length",
    "rtrim",
    "starts_with",
    "strpos",
    "trim",
    "upper",
];

/// Refuses what may fail, in words that name no value.
pub(super) fn check(expression: &Expr, columns: &SchemaRef) -> Result<(), String> {
    let columns = DFSchema::try_from(columns.as_ref().clone());
    let columns = columns.map_err(|_| "has columns of no known type".to_owned())?;
    let mut fault = None;
    let walked = expression.apply(|part| {
        fault = fault_of(part, &columns);
        Ok(match fault {
            None => TreeNodeRecursion::Continue,
            Some(_) => TreeNodeRecursion::Stop,
        })
    });
    match (walked, fault) {
        (Ok(_), None) => Ok(()),
        (_, Some(fault)) => Err(fault),
        (Err(_), None) => Err("has a part that cannot be read".into()),
    }
}

fn fault_of(part: &Expr, columns: &DFSchema) -> Option<String> {
    match part {
        Expr::Alias(_)
        | Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Not(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Between(_)
        | Expr::InList(_)
        | Expr::Case(_)
        | Expr::TryCast(_) => None,
        Expr::BinaryExpr(BinaryExpr { op, .. }) => match op {
            Operator::And
            | Operator::Or
            | Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom => None,
            op => Some(format!("computes with {op}")),
        },
        // A pattern that is no constant may be none.
        Expr::Like(Like { pattern, .. }) if matches!(**pattern, Expr::Literal(..)) => None,
        Expr::Like(_) => Some("has LIKE without a constant".into()),
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(columns);
            let is_total = from.is_ok_and(|from| is_total(&from, cast.field.data_type()));
            (!is_total).then(|| "has a CAST that may fail (TRY_CAST does not)".into())
        }
        Expr::ScalarFunction(call) if FUNCTIONS.contains(&call.name()) => None,
        Expr::ScalarFunction(call) => Some(format!("calls {}", call.name())),
        _ => Some("has a part that is not supported".into()),
    }
}

/// Whether every value of one type is one of the other.
fn is_total(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Boolean, Dictionary, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, UInt8, UInt16,
        UInt32, UInt64, Utf8, Utf8View,
    };
    let to_text = matches!(to, Utf8 | LargeUtf8 | Utf8View);
    match from {
        _ if from == to => true,
        Dictionary(_, values) => is_total(values, to),
        Utf8 | LargeUtf8 | Utf8View => to_text,
        Boolean => to_text,
        Int8 => to_text || matches!(to, Int16 | Int32 | Int64 | Float32 | Float64),
        Int16 => to_text || matches!(to, Int32 | Int64 | Float32 | Float64),
        Int32 => to_text || matches!(to, Int64 | Float32 | Float64),
        Int64 | UInt64 => to_text || matches!(to, Float32 | Float64),
        UInt8 => {
            to_text
                || matches!(to, UInt16 | UInt32 | UInt64 | Int16 | Int32 | Int64)
                || matches!(to, Float32 | Float64)
        }
        UInt16 => to_text || matches!(to, UInt32 | UInt64 | Int32 | Int64 | Float32 | Float64),
        UInt32 => to_text || matches!(to, UInt64 | Int64 | Float32 | Float64),
        Float32 => to_text || matches!(to, Float64),
        Float64 => to_text,
        _ => false,
    }
}
