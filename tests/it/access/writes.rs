//! Writes of somebody who may not see all rows: they end where their sight does.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, new_null_array},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use lancegate::proto::v1::*;
use tonic::Code;

use super::{
    guarded::{Caller, Guarded},
    tenants::{EACH, FOREIGN, HIDDEN, create, rows},
};
use crate::data::{batch, ipc, ipc_bytes};

fn filter(sql: &str) -> Option<Filter> {
    Some(Filter {
        sql: sql.into(),
        params: Vec::new(),
    })
}

/// All rows, as (id, tenant, text, score), in order.
async fn all(root: &mut Caller) -> Vec<(i64, Option<String>, String, i64)> {
    let scan = ScanRequest {
        table: "docs".into(),
        query: Some(ScanQuery {
            order_by: vec![Ordering {
                column: "id".into(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        page_size: 1_000,
        freshness: Some(Freshness {
            kind: Some(freshness::Kind::Strong(Strong {})),
        }),
        ..Default::default()
    };
    let answer = root.search.scan(scan).await.unwrap().into_inner();
    let found = batch(answer.rows);
    let number = |name: &str| {
        found
            .column_by_name(name)
            .unwrap()
            .as_primitive::<Int64Type>()
            .clone()
    };
    let text = |name: &str| {
        found
            .column_by_name(name)
            .unwrap()
            .as_string::<i32>()
            .clone()
    };
    let (ids, tenants, texts, scores) =
        (number("id"), text("tenant"), text("text"), number("score"));
    (0..found.num_rows())
        .map(|i| {
            let tenant = (!tenants.is_null(i)).then(|| tenants.value(i).to_owned());
            (
                ids.value(i),
                tenant,
                texts.value(i).to_owned(),
                scores.value(i),
            )
        })
        .collect()
}

/// Own columns of one row, without the hidden one.
fn one(id: i64, tenant: ArrayRef) -> RecordBatch {
    let whole = rows("acme", id).slice(0, 1);
    let names = ["id", "tenant", "text", "score", "vector"];
    let columns = names.map(|name| match name {
        "tenant" => Arc::clone(&tenant),
        other => Arc::clone(whole.column_by_name(other).unwrap()),
    });
    let fields: Vec<Field> = names
        .iter()
        .zip(&columns)
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), *name != "id"))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.to_vec()).unwrap()
}

fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

fn insert(rows: &RecordBatch) -> InsertRequest {
    InsertRequest {
        table: "docs".into(),
        rows: Some(ipc(rows)),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_rows_are_ones_own_or_none() {
    let server = Guarded::start(0, "").await;
    let (mut root, mut acme) = (server.caller("root"), server.caller("acme"));
    create(&mut root, "docs").await;
    let before = all(&mut root).await;
    let own = one(100, text("acme"));
    let mixed =
        arrow::compute::concat_batches(&own.schema(), [&own, &one(101, text("globex"))]).unwrap();
    let without = own.project(&[0, 2, 3, 4]).unwrap();
    let twice = {
        let mut fields: Vec<Field> = own
            .schema()
            .fields()
            .iter()
            .map(|f| f.as_ref().clone())
            .collect();
        fields.push(Field::new("TENANT", DataType::Utf8, true));
        let mut columns = own.columns().to_vec();
        columns.push(text("globex"));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    };
    let bytes: ArrayRef = Arc::new(arrow::array::BinaryArray::from_vec(vec![b"acme"]));
    for (what, rows, code) in [
        (
            "of another",
            one(101, text("globex")),
            Code::PermissionDenied,
        ),
        (
            "of nobody",
            one(101, new_null_array(&DataType::Utf8, 1)),
            Code::PermissionDenied,
        ),
        (
            "nearly ones own",
            one(101, text("acme ")),
            Code::PermissionDenied,
        ),
        (
            "another case",
            one(101, text("ACME")),
            Code::PermissionDenied,
        ),
        ("half of them", mixed.clone(), Code::PermissionDenied),
        ("without the column", without, Code::PermissionDenied),
        ("the column twice", twice, Code::InvalidArgument),
        ("another type", one(101, bytes), Code::InvalidArgument),
        ("a hidden column", rows("acme", 200), Code::InvalidArgument),
    ] {
        for mode in [InsertMode::Append, InsertMode::Overwrite] {
            let request = InsertRequest {
                mode: mode.into(),
                ..insert(&rows)
            };
            let refused = acme.write.insert(request).await.expect_err(what);
            // To replace all rows is not for who sees some.
            let expected = match mode {
                InsertMode::Overwrite => Code::PermissionDenied,
                _ => code,
            };
            assert_eq!(refused.code(), expected, "{what}: {refused}");
            let said = format!("{refused:?}");
            assert!(
                !said.contains(FOREIGN) && !said.contains(HIDDEN) && !said.contains("globex"),
                "{said}"
            );
        }
        let import = ImportRequest {
            table: "docs".into(),
            arrow_ipc: ipc_bytes(&rows).into(),
            ..Default::default()
        };
        let refused = acme.write.import(tokio_stream::iter([import])).await;
        assert!(refused.is_err(), "{what}");
    }
    // A second message, after a good one: nothing of both.
    let import = |rows: &RecordBatch| ImportRequest {
        table: "docs".into(),
        arrow_ipc: ipc_bytes(rows).into(),
        ..Default::default()
    };
    let messages = [import(&own), import(&one(102, text("globex")))];
    let refused = acme
        .write
        .import(tokio_stream::iter(messages))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert_eq!(all(&mut root).await, before, "nothing was written");

    acme.write.insert(insert(&own)).await.unwrap();
    let messages = [
        import(&one(103, text("acme"))),
        import(&one(104, text("acme"))),
    ];
    acme.write
        .import(tokio_stream::iter(messages))
        .await
        .unwrap();
    // Repeats are known by who asks, too.
    for (caller, tenant) in [("acme", "acme"), ("globex", "globex")] {
        let mut caller = server.caller(caller);
        let mut request = insert(&one(105, text(tenant)));
        request.request_id = "the same".into();
        for repeated in [false, true] {
            let done = caller
                .write
                .insert(request.clone())
                .await
                .unwrap()
                .into_inner();
            assert_eq!(done.repeated, repeated, "{tenant}");
        }
    }
    let after = all(&mut root).await;
    assert_eq!(after.len(), before.len() + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_deletes_end_at_ones_own_rows() {
    let server = Guarded::start(0, "").await;
    let (mut root, mut acme) = (server.caller("root"), server.caller("acme"));
    create(&mut root, "docs").await;
    let foreign = |all: &[(i64, Option<String>, String, i64)]| {
        let rows = all.iter().filter(|row| row.1.as_deref() == Some("globex"));
        rows.cloned().collect::<Vec<_>>()
    };
    let before = foreign(&all(&mut root).await);
    assert_eq!(before.len(), EACH as usize);
    let update = |sql: &str, column: &str, to: assignment::To| UpdateRequest {
        table: "docs".into(),
        filter: filter(sql),
        assignments: vec![Assignment {
            column: column.into(),
            to: Some(to),
        }],
        ..Default::default()
    };
    let expression = |sql: &str| assignment::To::Expression(sql.into());
    for (what, request) in [
        (
            "giving away",
            update("true", "tenant", expression("'globex'")),
        ),
        ("staying", update("true", "tenant", expression("tenant"))),
        ("hidden", update("true", "secret", expression("'x'"))),
        ("showing", update("true", "text", expression("secret"))),
        (
            "showing, capitals",
            update("true", "text", expression("SECRET")),
        ),
        (
            "showing, quoted",
            update("true", "text", expression("`secret`")),
        ),
        (
            "failing",
            update("CAST(text AS INT) = 1", "score", expression("1")),
        ),
        ("two", update("true) OR (true", "score", expression("1"))),
        ("comment", update("true --", "score", expression("1"))),
    ] {
        let mut with_id = request.clone();
        with_id.request_id = what.into();
        for request in [request, with_id] {
            let refused = acme.write.update(request).await.expect_err(what);
            let said = format!("{refused:?}");
            assert!(
                !said.contains(FOREIGN) && !said.contains(HIDDEN),
                "{what}: {said}"
            );
        }
    }
    for (i, sql) in [
        "true",
        "1=1 OR 1=1",
        "tenant = 'globex' OR true",
        "NOT (tenant = 'acme') OR id >= 0",
        "",
    ]
    .iter()
    .enumerate()
    {
        for id in ["", "repeat"] {
            let mut request = update(sql, "score", expression("score + 1000"));
            request.request_id = if id.is_empty() {
                String::new()
            } else {
                format!("{id} {i}")
            };
            let done = acme.write.update(request).await.unwrap().into_inner();
            assert_eq!(done.num_updated_rows, EACH as u64, "{sql}");
        }
    }
    assert_eq!(
        foreign(&all(&mut root).await),
        before,
        "rows of others were changed"
    );

    let upsert = UpsertRequest {
        table: "docs".into(),
        on: vec!["id".into()],
        rows: Some(ipc(&one(1_001, text("acme")))),
        when_matched_update_all: true,
        when_not_matched_insert_all: true,
        when_not_matched_by_source_delete: true,
        ..Default::default()
    };
    let refused = acme.write.upsert(upsert).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    let delete = |sql: &str, id: &str| DeleteRequest {
        table: "docs".into(),
        filter: filter(sql),
        request_id: id.into(),
    };
    for bad in [
        "true) OR (true",
        "secret IS NOT NULL",
        "CAST(text AS INT) = 1",
        "true; true",
        "_rowid >= 0",
    ] {
        acme.write.delete(delete(bad, "")).await.expect_err(bad);
    }
    let done = acme
        .write
        .delete(delete("tenant = 'globex'", ""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(done.num_deleted_rows, 0);
    let done = acme
        .write
        .delete(delete("id < 10 OR tenant = 'globex'", "a"))
        .await
        .unwrap();
    assert_eq!(done.into_inner().num_deleted_rows, 10);
    let done = acme
        .write
        .delete(delete("true OR tenant = 'globex'", ""))
        .await
        .unwrap();
    assert_eq!(done.into_inner().num_deleted_rows, EACH as u64 - 10);
    let after = all(&mut root).await;
    assert_eq!(after, before, "all rows of others are there, and no other");
}
