use std::sync::Arc;

use arrow::{
    array::{Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use super::*;
use crate::{
    domain::{Filter, Scalar},
    storage::Rules,
};

fn full() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("tenant", DataType::Utf8, true),
        Field::new("Secret", DataType::Utf8, true),
        Field::new("secret", DataType::Utf8, true),
    ]))
}

fn visible() -> SchemaRef {
    let full = full();
    let there = full
        .fields()
        .iter()
        .filter(|f| f.name() != "secret")
        .cloned();
    Arc::new(Schema::new(there.collect::<Vec<_>>()))
}

fn bound(sql: &str, params: Vec<Scalar>) -> Result<Bound> {
    let filter = Filter {
        field: "filter".into(),
        sql: sql.into(),
        params,
    };
    Bound::filter(&filter, &Rules::of_scopes())
}

#[test]
fn a_conjunction_is_one_whatever_its_parts() {
    let mandatory = bound("tenant = $1", vec![Scalar::Text("a' OR '1'='1".into())]).unwrap();
    for sql in [
        "true",
        "id = 1 OR id = 2",
        "id = 1 AND id = 2 OR id = 3",
        "(id = 1) OR (id = 2)",
        "NOT id = 1 OR true",
        "tenant = 'b' OR tenant IS NULL",
        "id BETWEEN 1 AND 2 OR true",
    ] {
        let both = mandatory.and(&bound(sql, vec![]).unwrap(), &full());
        let both = both.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let rows = RecordBatch::try_new(
            full(),
            vec![
                Arc::new(Int64Array::from(vec![1, 1])),
                Arc::new(StringArray::from(vec![Some("1"), None])),
                Arc::new(StringArray::from(vec!["x", "x"])),
                Arc::new(StringArray::from(vec!["x", "x"])),
            ],
        )
        .unwrap();
        // It is true for no row that the first one is not true for.
        for row in 0..2 {
            assert!(!both.holds_for(&rows.slice(row, 1)).unwrap(), "{sql}");
        }
    }
}

#[test]
fn values_of_claims_are_values() {
    for value in [
        "acme",
        "a'b",
        "' OR '1'='1",
        "\\' OR 1=1 --",
        "\\",
        "''",
        "x\u{0}y",
        "ａｃｍｅ",
        "a\nb",
        "$1",
        "{tenant}",
        "",
        "/* */",
    ] {
        let mandatory = bound("tenant = $1", vec![Scalar::Text(value.into())]).unwrap();
        let rows = |tenant: &str| {
            let one = StringArray::from(vec![tenant]);
            let columns: Vec<arrow::array::ArrayRef> = vec![
                Arc::new(Int64Array::from(vec![1])),
                Arc::new(one.clone()),
                Arc::new(one.clone()),
                Arc::new(one),
            ];
            RecordBatch::try_new(full(), columns).unwrap()
        };
        assert!(mandatory.holds_for(&rows(value)).unwrap(), "{value:?}");
        assert!(!mandatory.holds_for(&rows("other")).unwrap(), "{value:?}");
    }
}

#[test]
fn a_name_means_a_column_that_is_there_or_none() {
    let check = |sql: &str| {
        bound(sql, vec![])
            .unwrap()
            .check_within(&visible(), &full(), false)
    };
    check("Secret = 'x'").unwrap();
    check("id = 1").unwrap();
    check("ID = 1").unwrap();
    // Among all columns this is the hidden one.
    check("secret = 'x'").unwrap_err();
    check("missing = 'x'").unwrap_err();
}

#[test]
fn what_could_fail_on_rows_of_others_is_refused() {
    let check = |sql: &str| bound(sql, vec![]).and_then(|b| b.check_within(&full(), &full(), true));
    let mut refused = Vec::new();
    for good in [
        "id = 1 AND tenant <> 'x'",
        "id IN (1, 2, 3) OR tenant IS NULL",
        "tenant LIKE 'a%' OR tenant ILIKE '%B'",
        "lower(tenant) = 'x' AND character_length(tenant) > 2",
        "id BETWEEN 1 AND 5",
        "TRY_CAST(tenant AS BIGINT) = 1",
        "CAST(id AS DOUBLE) > 0.5",
        "CAST('5' AS BIGINT) = id",
        "id > 1 + 1",
        "coalesce(tenant, '') = ''",
    ] {
        refused.extend(check(good).err().map(|e| format!("{good}: {e}")));
    }
    assert!(refused.is_empty(), "{refused:#?}");
    for bad in [
        "CAST(tenant AS BIGINT) = 1",
        "CAST(tenant AS DATE) IS NULL",
        "1 / id = 1",
        "id + 9223372036854775807 > 0",
        "id * id > 0",
        "id % 2 = 0",
        "tenant LIKE Secret",
        "CASE WHEN tenant = 'x' THEN 1 / 0 ELSE 1 END = id",
        "arrow_cast(tenant, 'Int64') = 1",
        "regexp_like(tenant, Secret)",
        "to_timestamp(tenant) IS NULL",
        "abs(id) = 1",
        "chr(id) = 'x'",
    ] {
        let refused = check(bad).expect_err(bad).to_string();
        assert!(refused.contains("filter"), "{refused}");
    }
}
