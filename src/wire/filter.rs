//! Filters and the values that they bind.

use super::{
    decimal,
    faults::{Faults, text_fault},
};
use crate::{
    config::Limits,
    domain::{Error, Filter, MAX_VALUE_BYTES, Result, Scalar},
    proto::v1::{self as pb, value::Kind},
};

/// Most parameters of one filter.
const MAX_PARAMS: usize = 1_000;

/// A filter; `None` where there is none. `field` is the path of `filter`. Whether
/// the expression parses, and how deep it nests, needs a parser: storage checks it.
pub fn filter(filter: Option<pb::Filter>, field: &str, limits: &Limits) -> Result<Option<Filter>> {
    let Some(pb::Filter { sql, params }) = filter else {
        return Ok(None);
    };
    if sql.is_empty() && params.is_empty() {
        return Ok(None);
    }
    let mut faults = Faults::default();
    if let Some(fault) = text_fault(&sql, limits.max_filter_bytes) {
        faults.add(format!("{field}.sql"), fault);
    }
    if params.len() > MAX_PARAMS {
        faults.add(
            format!("{field}.params"),
            format!("has more than {MAX_PARAMS} values"),
        );
    }
    let scalar = |(i, value)| {
        let field = format!("{field}.params[{i}]");
        faults.keep(scalar(value, &field, Some(limits.max_filter_list)))
    };
    let params: Vec<Scalar> = params
        .into_iter()
        .take(MAX_PARAMS)
        .enumerate()
        .filter_map(scalar)
        .collect();
    if params.iter().map(Scalar::bytes).sum::<usize>() > MAX_VALUE_BYTES {
        faults.add(
            format!("{field}.params"),
            format!("has more than {MAX_VALUE_BYTES} bytes of texts and binary values"),
        );
    }
    faults.finish()?;
    Ok(Some(Filter {
        field: field.to_owned(),
        sql,
        params,
    }))
}

/// A value that a filter or an assignment binds. `field` is the path of `value`.
pub fn decode_scalar(value: pb::Value, field: &str, limits: &Limits) -> Result<Scalar> {
    scalar(value, field, Some(limits.max_filter_list))
}

/// `max_list`: values of a list; `None` within one.
fn scalar(value: pb::Value, field: &str, max_list: Option<usize>) -> Result<Scalar> {
    let refuse = |fault: &str| Err(Error::invalid(field, fault));
    match value.kind {
        None | Some(Kind::NullValue(_)) => Ok(Scalar::Null),
        Some(Kind::BoolValue(value)) => Ok(Scalar::Bool(value)),
        Some(Kind::IntValue(value)) => Ok(Scalar::Int(value)),
        Some(Kind::UintValue(value)) => Ok(Scalar::UInt(value)),
        Some(Kind::DoubleValue(value)) if value.is_finite() => Ok(Scalar::Double(value)),
        Some(Kind::DoubleValue(_)) => refuse("must be a finite number"),
        Some(Kind::StringValue(value)) => Ok(Scalar::Text(value)),
        Some(Kind::BytesValue(value)) => Ok(Scalar::Bytes(value.into())),
        Some(Kind::TimestampValue(pb::Timestamp { seconds, nanos })) => {
            if nanos > 999_999_999 {
                return refuse("has nanos beyond 999999999");
            }
            Ok(Scalar::Timestamp { seconds, nanos })
        }
        Some(Kind::DecimalValue(text)) => match decimal::parse(&text) {
            Ok(_) => Ok(Scalar::Decimal(text)),
            Err(fault) => refuse(fault),
        },
        Some(Kind::ListValue(list)) => {
            let Some(most) = max_list else {
                return refuse("is a list within a list");
            };
            if list.values.is_empty() {
                return refuse("is an empty list");
            }
            if list.values.len() > most {
                return refuse(&format!("has more than {most} items"));
            }
            let item = |(i, value)| scalar(value, &format!("{field}.list_value.values[{i}]"), None);
            list.values
                .into_iter()
                .enumerate()
                .map(item)
                .collect::<Result<_>>()
                .map(Scalar::List)
        }
        Some(Kind::StructValue(_)) => refuse("is a struct, which cannot be bound"),
        Some(Kind::VectorValue(_)) => refuse("is a vector, which cannot be bound"),
    }
}

#[cfg(test)]
mod tests;
