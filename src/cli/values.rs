//! Values as people type them.

use crate::proto::v1::{self, value::Kind};

/// The value of a parameter: null, true, false, a whole number, a number, or
/// else text. Text in double quotes is text whatever it looks like.
pub(super) fn parse(text: &str) -> v1::Value {
    let quoted = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let kind = match text {
        _ if quoted.is_some() => Kind::StringValue(quoted.unwrap_or_default().into()),
        "null" => Kind::NullValue(v1::NullValue::Unspecified.into()),
        "true" => Kind::BoolValue(true),
        "false" => Kind::BoolValue(false),
        _ => number(text).unwrap_or_else(|| Kind::StringValue(text.into())),
    };
    v1::Value { kind: Some(kind) }
}

fn number(text: &str) -> Option<Kind> {
    // "nan", "inf" and "infinity" are numbers to Rust and words to people.
    if !text.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let int = text.parse().ok().map(Kind::IntValue);
    let uint = || text.parse().ok().map(Kind::UintValue);
    let double = || {
        text.parse()
            .ok()
            .filter(|n: &f64| n.is_finite())
            .map(Kind::DoubleValue)
    };
    int.or_else(uint).or_else(double)
}

/// A key of a column: text where the column is text, a whole number where it
/// holds those, else as [`parse`] reads it.
///
/// # Errors
/// What is wrong, when the column holds whole numbers and the text is none.
pub(super) fn key(text: &str, column: &v1::Field) -> Result<v1::Value, String> {
    use v1::TypeKind as K;
    let kind = column.r#type.as_ref().map(v1::DataType::kind);
    let value = parse(text);
    match (kind, &value.kind) {
        (Some(K::Utf8 | K::LargeUtf8), _) => Ok(v1::Value {
            kind: Some(Kind::StringValue(text.into())),
        }),
        (_, Some(Kind::IntValue(_) | Kind::UintValue(_))) => Ok(value),
        (
            Some(
                K::Int8
                | K::Int16
                | K::Int32
                | K::Int64
                | K::Uint8
                | K::Uint16
                | K::Uint32
                | K::Uint64,
            ),
            _,
        ) => Err(format!(
            "'{text}' is no whole number, which column {} holds",
            column.name
        )),
        _ => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_type_that_they_look_like() {
        for (text, expected) in [
            ("null", Kind::NullValue(0)),
            ("true", Kind::BoolValue(true)),
            ("-7", Kind::IntValue(-7)),
            ("18446744073709551615", Kind::UintValue(u64::MAX)),
            ("2.5e3", Kind::DoubleValue(2500.0)),
            ("\"7\"", Kind::StringValue("7".into())),
            ("nan", Kind::StringValue("nan".into())),
            ("1e999", Kind::StringValue("1e999".into())),
            ("1.2.3", Kind::StringValue("1.2.3".into())),
            ("\"", Kind::StringValue("\"".into())),
            ("", Kind::StringValue(String::new())),
        ] {
            assert_eq!(parse(text).kind, Some(expected), "{text}");
        }
    }

    #[test]
    fn keys_have_the_type_of_their_column() {
        let column = |kind: v1::TypeKind| v1::Field {
            name: "id".into(),
            r#type: Some(v1::DataType {
                kind: kind.into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let text = key("7", &column(v1::TypeKind::Utf8)).unwrap();
        assert_eq!(text.kind, Some(Kind::StringValue("7".into())));
        let number = key("7", &column(v1::TypeKind::Int64)).unwrap();
        assert_eq!(number.kind, Some(Kind::IntValue(7)));
        let problem = key("seven", &column(v1::TypeKind::Uint8)).unwrap_err();
        assert!(problem.contains("'seven'"), "{problem}");
    }
}
