use super::*;
use crate::wire::tests::{fields, limits};

#[test]
fn bad_filters_are_named() {
    let filter_of = |sql: &str, kinds: Vec<Option<Kind>>| {
        let params = kinds.into_iter().map(|kind| pb::Value { kind }).collect();
        filter(
            Some(pb::Filter {
                sql: sql.into(),
                params,
            }),
            "filter",
            &limits(),
        )
    };
    let list = |kinds: Vec<Kind>| {
        let values = kinds
            .into_iter()
            .map(|kind| pb::Value { kind: Some(kind) })
            .collect();
        Kind::ListValue(pb::ListValue { values })
    };
    let long = "x".repeat(1_025);
    for sql in ["  ", "\n", &long, "a = '\0'", "a\u{7f}", "\u{85}"] {
        assert_eq!(fields(filter_of(sql, vec![])), ["filter.sql"], "{sql:?}");
    }
    assert_eq!(fields(filter_of("", vec![None])), ["filter.sql"]);
    assert_eq!(fields(filter_of("a", vec![None; 1_001])), ["filter.params"]);
    let inner = list(vec![Kind::IntValue(1)]);
    for (kind, step) in [
        (Kind::DoubleValue(f64::NAN), ""),
        (Kind::DoubleValue(f64::INFINITY), ""),
        (Kind::DecimalValue("1e5".into()), ""),
        (
            Kind::TimestampValue(pb::Timestamp {
                seconds: 0,
                nanos: 1_000_000_000,
            }),
            "",
        ),
        (list(vec![]), ""),
        (
            list(vec![Kind::IntValue(1), inner]),
            ".list_value.values[1]",
        ),
        (list(vec![Kind::IntValue(1); 10_001]), ""),
        (Kind::StructValue(Default::default()), ""),
        (Kind::VectorValue(Default::default()), ""),
    ] {
        let want = format!("filter.params[1]{step}");
        assert_eq!(
            fields(filter_of("a", vec![None, Some(kind.clone())])),
            [want],
            "{kind:?}"
        );
    }
    assert_eq!(filter(None, "filter", &limits()), Ok(None));
    assert_eq!(filter_of("", vec![]), Ok(None));
    assert!(filter_of("a\n\t= 'ä'", vec![None]).is_ok());
}
