//! What goes in comes out: every type, both formats, all the way to the replicas
//! and back.

use std::sync::Arc;

use arrow::{
    array::*,
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field, Fields, Schema, TimeUnit},
};
use lancegate::proto::v1::{self as pb, *};

use super::{
    data::{batch, floats, ids, ipc, small},
    server::TestServer,
};

/// Three rows of everything: extremes, ordinary values, and nulls.
fn everything() -> RecordBatch {
    let nested = {
        let item = Arc::new(Field::new("item", DataType::Int64, true));
        let inner = ListArray::new(
            Arc::clone(&item),
            OffsetBuffer::from_lengths([2, 0, 1, 1]),
            Arc::new(Int64Array::from(vec![
                Some(1),
                None,
                Some(i64::MAX),
                Some(-1),
            ])),
            None,
        );
        let item = Arc::new(Field::new("item", inner.data_type().clone(), true));
        let nulls = Some(NullBuffer::from(vec![true, true, false]));
        ListArray::new(
            item,
            OffsetBuffer::from_lengths([3, 1, 0]),
            Arc::new(inner),
            nulls,
        )
    };
    let vectors = {
        let values = Float32Array::from(vec![1.5, -2.5, f32::MAX, f32::MIN, 0.0, 0.0]);
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let nulls = Some(NullBuffer::from(vec![true, true, false]));
        FixedSizeListArray::new(item, 2, Arc::new(values), nulls)
    };
    let structs = StructArray::new(
        Fields::from(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("b", DataType::Utf8, true),
        ]),
        vec![
            Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(7)])),
            Arc::new(StringArray::from(vec![Some(""), Some("ü\u{1F600}"), None])),
        ],
        None,
    );
    let decimal = Decimal128Array::from(vec![Some(-1250), Some(99_999_999_999), None])
        .with_precision_and_scale(20, 2)
        .unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "id",
            Arc::new(Int64Array::from(vec![i64::MIN, 0, i64::MAX])),
        ),
        (
            "u64",
            Arc::new(UInt64Array::from(vec![Some(u64::MAX), Some(0), None])),
        ),
        (
            "i8",
            Arc::new(Int8Array::from(vec![Some(i8::MIN), Some(i8::MAX), None])),
        ),
        (
            "f64",
            Arc::new(Float64Array::from(vec![Some(f64::MIN), Some(1e-300), None])),
        ),
        (
            "f32",
            Arc::new(Float32Array::from(vec![Some(0.1), Some(-0.0), None])),
        ),
        (
            "flag",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        ),
        (
            "text",
            Arc::new(StringArray::from(vec![Some("it's"), Some(""), None])),
        ),
        (
            "bytes",
            Arc::new(BinaryArray::from(vec![
                Some(&b"\0\xff"[..]),
                Some(b""),
                None,
            ])),
        ),
        (
            "s",
            Arc::new(TimestampSecondArray::from(vec![
                Some(-1),
                Some(1 << 40),
                None,
            ])),
        ),
        (
            "ns",
            Arc::new(TimestampNanosecondArray::from(vec![
                Some(-1),
                Some(1_234_567_891),
                None,
            ])),
        ),
        (
            "us",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1), Some(-7), None]).with_timezone("UTC"),
            ),
        ),
        (
            "date",
            Arc::new(Date32Array::from(vec![Some(-1), Some(20_000), None])),
        ),
        ("decimal", Arc::new(decimal)),
        ("struct", Arc::new(structs)),
        ("nested", Arc::new(nested)),
        ("vector", Arc::new(vectors)),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), *name != "id"))
        .collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

async fn scan(server: &mut TestServer, table: &str, format: RowFormat) -> Option<Rows> {
    let answer = server
        .search
        .scan(ScanRequest {
            table: table.into(),
            row_format: format as i32,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let served = answer.served.unwrap();
    assert_eq!(served.role, Role::Replica as i32);
    answer.rows
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_survives_both_formats() {
    let mut server = TestServer::start(1).await;
    let rows = everything();
    server.table_of("arrow", ipc(&rows)).await;
    assert_eq!(
        batch(scan(&mut server, "arrow", RowFormat::ArrowIpc).await),
        rows
    );
    // What comes out as typed values goes in again and is the same.
    let typed = scan(&mut server, "arrow", RowFormat::Typed).await.unwrap();
    server.table_of("typed", typed.clone()).await;
    assert_eq!(
        batch(scan(&mut server, "typed", RowFormat::ArrowIpc).await),
        rows
    );
    let again = scan(&mut server, "typed", RowFormat::Typed).await.unwrap();
    assert_eq!(again, typed);
    // Types may be left to the table, and so may names.
    let Some(rows::Format::Typed(mut values)) = typed.format else {
        panic!("not typed");
    };
    values.schema = None;
    let insert = InsertRequest {
        request_id: String::new(),
        table: "typed".into(),
        rows: Some(Rows {
            format: Some(rows::Format::Typed(values)),
        }),
        mode: 0,
    };
    server.write.insert(insert).await.unwrap();
    server.settled().await;
    let doubled = batch(scan(&mut server, "typed", RowFormat::ArrowIpc).await);
    assert_eq!(doubled.slice(3, 3), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_values_of_every_kind_find_their_rows() {
    use value::Kind as K;
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&everything())).await;
    let text = |t: &str| K::StringValue(t.into());
    let at = |seconds, nanos| K::TimestampValue(pb::Timestamp { seconds, nanos });
    let list = |kinds: Vec<K>| {
        let values = kinds.into_iter().map(|k| Value { kind: Some(k) }).collect();
        K::ListValue(ListValue { values })
    };
    for (sql, kinds, first) in [
        ("id = $1", vec![K::IntValue(i64::MIN)], i64::MIN),
        ("id - $1 = $2", vec![K::IntValue(-5), K::IntValue(5)], 0),
        ("u64 = $1", vec![K::UintValue(u64::MAX)], i64::MIN),
        (
            "id < $1 AND id > $2",
            vec![K::IntValue(5), K::IntValue(-5)],
            0,
        ),
        ("f64 = $1", vec![K::DoubleValue(1e-300)], 0),
        ("flag = $1", vec![K::BoolValue(true)], i64::MIN),
        ("text = $1", vec![text("it's")], i64::MIN),
        (
            "text = $2 OR text = $1",
            vec![text("' OR 1=1 --"), text("it's")],
            i64::MIN,
        ),
        (
            "id IN $1",
            vec![list(vec![K::IntValue(0), K::IntValue(9)])],
            0,
        ),
        (
            "text IN $1",
            vec![list(vec![text("it's"), text("x")])],
            i64::MIN,
        ),
        (
            "bytes = $1",
            vec![K::BytesValue(vec![0, 255].into())],
            i64::MIN,
        ),
        ("s = $1", vec![at(-1, 0)], i64::MIN),
        ("ns = $1", vec![at(1, 234_567_891)], 0),
        ("us > $1", vec![at(0, 0)], i64::MIN),
        (
            "decimal < $1",
            vec![K::DecimalValue("-12.49".into())],
            i64::MIN,
        ),
    ] {
        let answer = server
            .search
            .scan(ScanRequest {
                table: "t".into(),
                query: Some(ScanQuery {
                    filter: Some(Filter {
                        sql: sql.into(),
                        params: kinds.into_iter().map(|k| Value { kind: Some(k) }).collect(),
                    }),
                    columns: vec!["id".into()],
                    ..Default::default()
                }),
                ..Default::default()
            })
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e:?}"))
            .into_inner();
        assert_eq!(ids(&batch(answer.rows)), [first], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn query_vectors_in_any_element_type_find_the_same() {
    let mut server = TestServer::start(1).await;
    server.table_of("t", ipc(&small(0, 50))).await;
    // Exact in every element type.
    let query = [40.0f32, 41.0, 42.0, 43.0];
    let bytes = |element, data: Vec<u8>| Vector {
        data: Some(vector::Data::Bytes(VectorBytes {
            element: element as i32,
            data: data.into(),
        })),
    };
    let f16 = |x: f32| half::f16::from_f32(x).to_le_bytes();
    let bf16 = |x: f32| half::bf16::from_f32(x).to_le_bytes();
    let vectors = [
        floats(&query),
        bytes(
            VectorElement::F32,
            query.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ),
        bytes(
            VectorElement::F64,
            query
                .iter()
                .flat_map(|x| f64::from(*x).to_le_bytes())
                .collect(),
        ),
        bytes(
            VectorElement::F16,
            query.iter().flat_map(|x| f16(*x)).collect(),
        ),
        bytes(
            VectorElement::Bf16,
            query.iter().flat_map(|x| bf16(*x)).collect(),
        ),
        bytes(VectorElement::I8, query.iter().map(|x| *x as u8).collect()),
        bytes(VectorElement::U8, query.iter().map(|x| *x as u8).collect()),
    ];
    for vector in vectors {
        let answer = server
            .search
            .search(SearchRequest {
                freshness: None,
                table: "t".into(),
                query: Some(Query {
                    vectors: vec![vector],
                    limit: 3,
                    ..Default::default()
                }),
                row_format: 0,
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(ids(&batch(answer.rows))[0], 10);
    }
}

#[test]
fn the_sample_of_types_has_every_unit() {
    let schema = everything().schema();
    for unit in [
        TimeUnit::Second,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ] {
        let has = |f: &Arc<Field>| matches!(f.data_type(), DataType::Timestamp(u, _) if *u == unit);
        assert!(schema.fields().iter().any(has), "{unit:?}");
    }
}
