//! Rows both ways. The values of single columns are in `values`.

mod values;

use arrow::datatypes::{DataType, TimeUnit};
use rand::RngExt;

use super::*;
use crate::{
    proto::v1::{Row, TypedRows, Value, VectorElement, value::Kind, vector::Data},
    wire::tests::{fields, random_batch, rng},
};

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn int(v: i64) -> Value {
    value(Kind::IntValue(v))
}

fn double(v: f64) -> Value {
    value(Kind::DoubleValue(v))
}

fn text(v: &str) -> Value {
    value(Kind::StringValue(v.into()))
}

fn decimal(v: &str) -> Value {
    value(Kind::DecimalValue(v.into()))
}

fn time(seconds: i64, nanos: u32) -> Value {
    value(Kind::TimestampValue(pb::Timestamp { seconds, nanos }))
}

fn list(values: Vec<Value>) -> Value {
    value(Kind::ListValue(pb::ListValue { values }))
}

fn floats(values: Vec<f32>) -> Value {
    let data = Some(Data::Floats(pb::PackedFloats { values }));
    value(Kind::VectorValue(pb::Vector { data }))
}

fn raw(element: VectorElement, data: &[u8]) -> Value {
    let data = Some(Data::Bytes(pb::VectorBytes {
        element: element.into(),
        data: data.to_vec().into(),
    }));
    value(Kind::VectorValue(pb::Vector { data }))
}

fn structure(values: Vec<Value>) -> Value {
    value(Kind::StructValue(pb::StructValue { values }))
}

fn null() -> Value {
    Value { kind: None }
}

fn typed(schema: Option<pb::Schema>, rows: Vec<Vec<Value>>) -> Option<pb::Rows> {
    let rows = rows.into_iter().map(|values| Row { values }).collect();
    Some(pb::Rows {
        format: Some(Format::Typed(TypedRows { schema, rows })),
    })
}

fn item(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", data_type, true))
}

fn vector(data_type: DataType, size: i32) -> DataType {
    DataType::FixedSizeList(item(data_type), size)
}

/// One column `c` of the table, one value.
fn one(data_type: &DataType, nullable: bool, value: Value) -> Result<DecodedRows> {
    let table = Arc::new(Schema::new(vec![Field::new(
        "c",
        data_type.clone(),
        nullable,
    )]));
    decode_rows(typed(None, vec![vec![value]]), Some(&table), "rows")
}

#[test]
fn random_batches_survive_both_formats() {
    let mut rng = rng();
    for _ in 0..300 {
        let rows = rng.random_range(0..12);
        let batches = [random_batch(&mut rng, rows)];
        let batches = [batches[0].clone(), batches[0].slice(0, rows / 2)];
        let schema = batches[0].schema();
        let want = arrow::compute::concat_batches(&schema, &batches).unwrap();
        for format in [pb::RowFormat::ArrowIpc, pb::RowFormat::Typed] {
            let rows = encode_rows(&schema, &batches, format).unwrap();
            let got = decode_rows(Some(rows), None, "rows").unwrap();
            assert_eq!(got.schema, schema);
            assert_eq!(got.num_rows, want.num_rows());
            let got = arrow::compute::concat_batches(&schema, &got.batches).unwrap();
            assert_eq!(got, want, "{format:?} {schema}");
        }
    }
}

#[test]
fn faults_of_all_columns_are_reported_with_their_rows() {
    let table: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int8, false),
        Field::new("b", DataType::Utf8, true),
    ]));
    let decode = |rows| fields(decode_rows(typed(None, rows), Some(&table), "rows"));
    let good = || vec![int(1), text("x")];
    let bad = decode(vec![
        good(),
        vec![int(1), int(2)],
        good(),
        vec![int(300), text("")],
    ]);
    assert_eq!(
        bad,
        [
            "rows.typed.rows[3].values[0]",
            "rows.typed.rows[1].values[1]"
        ]
    );
    assert_eq!(
        decode(vec![good(), vec![int(1)]]),
        ["rows.typed.rows[1].values"]
    );
    let keys = decode_key_batch(
        &[
            Row {
                values: vec![int(1)],
            },
            Row {
                values: vec![text("x")],
            },
        ],
        vec![Field::new("id", DataType::Int64, false)],
    );
    assert_eq!(fields(keys), ["keys[1].values[0]"]);
}

fn named(name: &str, kind: Option<pb::TypeKind>) -> pb::Field {
    pb::Field {
        name: name.into(),
        r#type: kind.map(|kind| pb::DataType {
            kind: kind.into(),
            ..Default::default()
        }),
        nullable: true,
        ..Default::default()
    }
}

fn schema_of(fields: Vec<pb::Field>) -> Option<pb::Schema> {
    Some(pb::Schema {
        fields,
        ..Default::default()
    })
}

#[test]
fn types_may_come_from_the_table() {
    let table: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int8, false),
        Field::new("b", DataType::Utf8, true),
    ]));
    let rows = || vec![vec![text("x"), int(1)]];
    let decode = |schema| decode_rows(typed(schema, rows()), Some(&table), "rows");

    let by_name = decode(schema_of(vec![named("b", None), named("a", None)])).unwrap();
    assert_eq!(by_name.schema.field(1), table.field(0));
    let own = decode(schema_of(vec![
        named("b", None),
        named("n", Some(pb::TypeKind::Int64)),
    ]));
    assert_eq!(*own.unwrap().schema.field(1).data_type(), DataType::Int64);

    let unknown = decode(schema_of(vec![named("b", None), named("z", None)]));
    assert_eq!(fields(unknown), ["rows.typed.schema.fields[1].name"]);
    let twice = decode(schema_of(vec![named("b", None), named("b", None)]));
    assert_eq!(fields(twice), ["rows.typed.schema.fields[1].name"]);
    // In the order of the table, which these rows do not have.
    let bad = fields(decode(None));
    assert_eq!(
        bad,
        [
            "rows.typed.rows[0].values[0]",
            "rows.typed.rows[0].values[1]"
        ]
    );

    let alone = |schema| fields(decode_rows(typed(schema, rows()), None, "rows"));
    assert_eq!(alone(None), ["rows.typed.schema"]);
    let names_only = schema_of(vec![named("b", None)]);
    assert_eq!(alone(names_only), ["rows.typed.schema.fields[0].type"]);
}

#[test]
fn missing_rows_are_refused_and_no_rows_are_taken() {
    assert_eq!(fields(decode_rows(None, None, "rows")), ["rows"]);
    let empty = Some(pb::Rows { format: None });
    assert_eq!(fields(decode_rows(empty, None, "rows")), ["rows"]);
    let schema = schema_of(vec![named("a", Some(pb::TypeKind::Utf8))]);
    let none = decode_rows(typed(schema, vec![]), None, "rows").unwrap();
    assert_eq!((none.num_rows, none.batches.len()), (0, 0));
}

#[test]
fn nulls_of_wide_columns_do_not_fill_the_memory() {
    let wide = vector(DataType::Float32, 1 << 20);
    let table = Arc::new(Schema::new(vec![Field::new("v", wide, true)]));
    let rows = vec![vec![null()]; 10_000];
    let refused = decode_rows(typed(None, rows), Some(&table), "rows");
    assert_eq!(fields(refused), ["rows.typed.rows"]);

    let inner = DataType::List(item(vector(DataType::UInt8, 1 << 20)));
    let many = list(vec![null(); 10_000]);
    assert_eq!(
        fields(one(&inner, true, many)),
        ["rows.typed.rows[0].values[0]"]
    );
}
