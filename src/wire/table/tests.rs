use super::*;
use crate::{
    proto::v1::{TypeKind, value::Kind},
    wire::tests::{fields, limits},
};

fn by_id() -> pb::UpsertRequest {
    pb::UpsertRequest {
        request_id: String::new(),
        on: vec!["id".into()],
        ..Default::default()
    }
}

fn sql(text: &str) -> Option<pb::Filter> {
    Some(pb::Filter {
        sql: text.into(),
        params: vec![],
    })
}

#[test]
fn upserts_do_what_is_asked() {
    let (plain, _) = upsert(by_id(), &limits()).unwrap();
    assert!(plain.when_matched_update_all && plain.when_not_matched_insert_all && plain.use_index);
    assert!(!plain.when_not_matched_by_source_delete);

    let request = pb::UpsertRequest {
        request_id: String::new(),
        when_not_matched_insert_all: true,
        use_index: Some(false),
        ..by_id()
    };
    let (inserts, _) = upsert(request, &limits()).unwrap();
    assert!(!inserts.when_matched_update_all && inserts.when_not_matched_insert_all);
    assert!(!inserts.use_index);

    let request = pb::UpsertRequest {
        request_id: String::new(),
        when_not_matched_by_source_delete: true,
        when_not_matched_by_source_delete_condition: sql("a"),
        ..by_id()
    };
    let (deletes, _) = upsert(request, &limits()).unwrap();
    assert!(!deletes.when_matched_update_all && !deletes.when_not_matched_insert_all);
    let condition = deletes.when_not_matched_by_source_delete_condition.unwrap();
    assert_eq!(
        condition.field,
        "when_not_matched_by_source_delete_condition"
    );
}

#[test]
fn bad_upserts_are_named() {
    let none = pb::UpsertRequest::default();
    assert_eq!(fields(upsert(none, &limits())), ["on"]);
    let request = pb::UpsertRequest {
        request_id: String::new(),
        on: vec!["a".into(), "a".into()],
        when_matched_update_all_condition: sql("a"),
        when_not_matched_by_source_delete_condition: sql("\0"),
        ..Default::default()
    };
    assert_eq!(
        fields(upsert(request, &limits())),
        [
            "on[1]",
            "when_matched_update_all_condition",
            "when_not_matched_by_source_delete_condition.sql"
        ]
    );
}

#[test]
fn assignments_are_checked() {
    let assign = |column: &str, to: Option<To>| pb::Assignment {
        column: column.into(),
        to,
    };
    let set = |kind| Some(To::Value(pb::Value { kind: Some(kind) }));
    let expression = |text: &str| Some(To::Expression(text.into()));
    let list = Kind::ListValue(pb::ListValue {
        values: vec![Default::default()],
    });
    let bad = vec![
        assign("a", expression("a + 1")),
        assign("a", expression("")),
        assign("", set(Kind::IntValue(1))),
        assign("c", None),
        assign("d", set(list)),
        assign("e", set(Kind::DoubleValue(f64::NAN))),
    ];
    assert_eq!(
        fields(assignments(bad, &limits())),
        [
            "assignments[1].column",
            "assignments[1].expression",
            "assignments[2].column",
            "assignments[3]",
            "assignments[4].value",
            "assignments[5].value",
        ]
    );
    assert_eq!(fields(assignments(vec![], &limits())), ["assignments"]);
    let good = vec![
        assign("a", expression("a + 1")),
        assign("b", set(Kind::BoolValue(true))),
    ];
    let good = assignments(good, &limits()).unwrap();
    assert_eq!(good[0].to, Assigned::Expression("a + 1".into()));
    assert_eq!(good[1].to, Assigned::Value(Scalar::Bool(true)));
}

#[test]
fn column_changes_are_checked() {
    let change = |path: &str| pb::ColumnAlteration {
        path: path.into(),
        ..Default::default()
    };
    let bad = vec![
        change("a"),
        pb::ColumnAlteration {
            rename: Some("".into()),
            ..change("b")
        },
        pb::ColumnAlteration {
            r#type: Some(Default::default()),
            ..change("c")
        },
        pb::ColumnAlteration {
            nullable: Some(true),
            ..change("")
        },
        pb::ColumnAlteration {
            nullable: Some(true),
            ..change("b")
        },
    ];
    assert_eq!(
        fields(alterations(bad)),
        [
            "alterations[0]",
            "alterations[1].rename",
            "alterations[2].type.kind",
            "alterations[3].path",
            "alterations[4].path",
        ]
    );
    assert_eq!(fields(alterations(vec![])), ["alterations"]);
    assert_eq!(fields(dropped_columns(vec![])), ["columns"]);
    assert_eq!(
        fields(dropped_columns(vec!["a".into(), "a".into()])),
        ["columns[1]"]
    );
}

#[test]
fn new_columns_are_checked() {
    let computed = |pairs: &[(&str, &str)]| {
        let column = |(name, expression): &(&str, &str)| pb::NewColumn {
            name: (*name).into(),
            expression: (*expression).into(),
        };
        let columns = pairs.iter().map(column).collect();
        new_columns(
            Some(Source::Computed(pb::NewColumns { columns })),
            &limits(),
        )
    };
    assert_eq!(fields(new_columns(None, &limits())), ["source"]);
    assert_eq!(fields(computed(&[])), ["computed.columns"]);
    assert_eq!(
        fields(computed(&[("a", "1"), ("a", "2"), ("", "3"), ("d", " ")])),
        [
            "computed.columns[1].name",
            "computed.columns[2].name",
            "computed.columns[3].expression"
        ]
    );
    let want = NewColumns::Computed(vec![("a".into(), "b + 1".into())]);
    assert_eq!(computed(&[("a", "b + 1")]), Ok(want));
    let strict = pb::Field {
        name: "a".into(),
        r#type: Some(pb::DataType {
            kind: TypeKind::Int8.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let nulls = pb::Schema {
        fields: vec![strict],
        ..Default::default()
    };
    let refused = new_columns(Some(Source::Nulls(nulls)), &limits());
    assert_eq!(fields(refused), ["nulls.fields[0].nullable"]);
}

#[test]
fn names_versions_and_times_are_checked() {
    for bad in [
        "",
        "a/b",
        ".a",
        "a.",
        "a..b",
        "a.lock",
        "ä",
        &"a".repeat(201),
    ] {
        assert_eq!(
            fields(tag_name(bad.into(), "tag.name")),
            ["tag.name"],
            "{bad}"
        );
    }
    assert_eq!(fields(tag(None)), ["tag"]);
    assert_eq!(
        fields(tag(Some(pb::Tag::default()))),
        ["tag.name", "tag.version"]
    );
    assert_eq!(fields(version_ref(None)), ["target"]);
    assert_eq!(fields(version_ref(Some(Target::Version(0)))), ["version"]);
    assert_eq!(
        version_ref(Some(Target::Tag("v1.0".into()))),
        Ok(VersionRef::Tag("v1.0".into()))
    );

    let plain = optimize_options(&pb::OptimizeTableRequest::default()).unwrap();
    assert!(plain.compact && plain.indexes && plain.prune_older_than.is_none());
    let older = |seconds| pb::OptimizeTableRequest {
        prune_older_than: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    let prunes = optimize_options(&older(60)).unwrap();
    assert!(!prunes.compact && !prunes.indexes);
    assert_eq!(prunes.prune_older_than, Some(Duration::from_secs(60)));
    assert_eq!(fields(optimize_options(&older(-1))), ["prune_older_than"]);
    assert_eq!(fields(overwrites(9)), ["mode"]);
}
