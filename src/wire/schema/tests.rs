use rand::RngExt;

use super::*;
use crate::wire::tests::{fields, random_type, rng};

fn plain(kind: TypeKind) -> pb::DataType {
    pb::DataType {
        kind: kind.into(),
        ..Default::default()
    }
}

fn column(name: &str, data_type: pb::DataType) -> pb::Field {
    pb::Field {
        name: name.into(),
        r#type: Some(data_type),
        nullable: true,
        ..Default::default()
    }
}

fn of(fields: Vec<pb::Field>) -> pb::Schema {
    pb::Schema {
        fields,
        ..Default::default()
    }
}

#[test]
fn random_schemas_survive() {
    let mut rng = rng();
    for i in 0..500 {
        let field = |name: String, rng: &mut _| {
            let metadata = [("a".to_owned(), name.clone())].into();
            let data_type = random_type(rng, 4);
            Field::new(name, data_type, rng.random()).with_metadata(metadata)
        };
        let columns: Vec<_> = (0..5).map(|c| field(format!("c{c}"), &mut rng)).collect();
        let metadata = [("n".to_owned(), i.to_string())].into();
        let schema = Schema::new_with_metadata(columns, metadata);
        assert_eq!(from_pb(to_pb(&schema).unwrap(), "schema"), Ok(schema));
    }
}

#[test]
fn bad_types_are_named() {
    let sized = |kind, size| pb::DataType {
        size,
        ..plain(kind)
    };
    let unit = |kind, unit| pb::DataType {
        unit,
        ..plain(kind)
    };
    let digits = |kind, precision, scale| pb::DataType {
        precision,
        scale,
        ..plain(kind)
    };
    let nested = |kind, children| pb::DataType {
        children,
        size: 3,
        ..plain(kind)
    };
    let byte = || column("item", plain(TypeKind::Int8));
    let second = pb::TimeUnit::Second.into();
    let microsecond = pb::TimeUnit::Microsecond.into();
    for (bad, step) in [
        (plain(TypeKind::Unspecified), ".kind"),
        (
            pb::DataType {
                kind: 99,
                ..Default::default()
            },
            ".kind",
        ),
        (sized(TypeKind::FixedSizeBinary, 0), ".size"),
        (sized(TypeKind::FixedSizeBinary, u32::MAX), ".size"),
        (unit(TypeKind::Time32, microsecond), ".unit"),
        (plain(TypeKind::Time32), ".unit"),
        (unit(TypeKind::Time64, second), ".unit"),
        (unit(TypeKind::Timestamp, 77), ".unit"),
        (digits(TypeKind::Decimal128, 0, 0), ".precision"),
        (digits(TypeKind::Decimal128, 39, 0), ".precision"),
        (digits(TypeKind::Decimal256, 77, 0), ".precision"),
        (digits(TypeKind::Decimal128, 5, 6), ".scale"),
        (digits(TypeKind::Decimal128, 5, 1_000), ".scale"),
        (nested(TypeKind::List, vec![]), ".children"),
        (nested(TypeKind::List, vec![byte(), byte()]), ".children"),
        (nested(TypeKind::Int8, vec![byte()]), ".children"),
        (
            nested(TypeKind::Struct, vec![byte(), byte()]),
            ".children[1].name",
        ),
        (
            nested(TypeKind::Struct, vec![column("", plain(TypeKind::Int8))]),
            ".children[0].name",
        ),
        (
            nested(
                TypeKind::FixedSizeList,
                vec![column("i", plain(TypeKind::Unspecified))],
            ),
            ".children[0].type.kind",
        ),
        (
            nested(
                TypeKind::Dictionary,
                vec![column("v", nested(TypeKind::List, vec![byte()]))],
            ),
            ".children[0].type",
        ),
    ] {
        let schema = of(vec![
            column("a", plain(TypeKind::Int8)),
            column("b", bad.clone()),
        ]);
        let want = format!("schema.fields[1].type{step}");
        assert_eq!(fields(from_pb(schema, "schema")), [want], "{bad:?}");
        assert!(type_from_pb(&bad, "type").is_err());
    }
}

#[test]
fn bad_columns_are_named() {
    assert_eq!(fields(from_pb(of(vec![]), "schema")), ["schema.fields"]);
    let mut untyped = column("c", plain(TypeKind::Int8));
    untyped.r#type = None;
    let int = || plain(TypeKind::Int8);
    let schema = of(vec![
        column("a", int()),
        column("a", int()),
        column("", int()),
        untyped,
    ]);
    assert_eq!(
        fields(from_pb(schema, "schema")),
        [
            "schema.fields[1].name",
            "schema.fields[2].name",
            "schema.fields[3].type"
        ]
    );
    let many = (0..=MAX_FIELDS)
        .map(|i| column(&i.to_string(), int()))
        .collect();
    assert_eq!(fields(from_pb(of(many), "schema")), ["schema.fields"]);
}

#[test]
fn nesting_ends() {
    let deep = |depth: usize| {
        let mut data_type = plain(TypeKind::Int8);
        for _ in 0..depth {
            let children = vec![column("item", data_type)];
            data_type = pb::DataType {
                children,
                ..plain(TypeKind::List)
            };
        }
        from_pb(of(vec![column("a", data_type)]), "schema")
    };
    assert!(deep(MAX_DEPTH).is_ok());
    let path = fields(deep(MAX_DEPTH + 1)).remove(0);
    assert!(
        path.starts_with("schema.fields[0].type.children[0]"),
        "{path}"
    );
}
