//! Single values: what is taken, and what each that is not is told.

use super::*;

/// What the value becomes, as the value that is read back.
fn stored(data_type: &DataType, value: Value) -> Value {
    let decoded = one(data_type, true, value).unwrap();
    let rows = encode_rows(&decoded.schema, &decoded.batches, pb::RowFormat::Typed).unwrap();
    match rows.format {
        Some(Format::Typed(mut typed)) => typed.rows.remove(0).values.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn integers_of_64_bits_survive() {
    assert_eq!(stored(&DataType::Int64, int(i64::MIN)), int(i64::MIN));
    let most = value(Kind::UintValue(u64::MAX));
    assert_eq!(stored(&DataType::UInt64, most.clone()), most);
    // Signed and unsigned stand for one another where the column has room.
    assert_eq!(
        stored(&DataType::UInt8, int(255)),
        value(Kind::UintValue(255))
    );
    let odd = value(Kind::UintValue(7));
    assert_eq!(stored(&DataType::Int64, odd), int(7));
}

#[test]
fn exact_conversions_are_taken() {
    let ns = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Nanosecond, zone.map(Into::into));
    for (data_type, given, want) in [
        (DataType::Float64, int(3), double(3.0)),
        (DataType::Float32, double(0.1), double(0.1f32.into())),
        (DataType::Float32, double(f64::NAN), double(f64::NAN)),
        (DataType::Decimal128(5, 2), int(12), decimal("12.00")),
        (
            DataType::Decimal128(5, 2),
            decimal("-1.5"),
            decimal("-1.50"),
        ),
        (
            DataType::Decimal256(76, 0),
            decimal(&"9".repeat(76)),
            decimal(&"9".repeat(76)),
        ),
        (ns(None), time(-1, 999_999_999), time(-1, 999_999_999)),
        (ns(Some("Europe/Berlin")), int(1), time(0, 1)),
        (
            DataType::Timestamp(TimeUnit::Second, None),
            time(i64::MAX, 0),
            time(i64::MAX, 0),
        ),
        (DataType::LargeUtf8, text("ä"), text("ä")),
        (
            vector(DataType::Float32, 2),
            list(vec![double(1.0), int(2)]),
            floats(vec![1.0, 2.0]),
        ),
        (
            vector(DataType::Float32, 1),
            raw(VectorElement::F64, &1.5f64.to_le_bytes()),
            floats(vec![1.5]),
        ),
        (
            vector(DataType::UInt8, 2),
            floats(vec![1.0, 255.0]),
            raw(VectorElement::U8, &[1, 255]),
        ),
        (
            vector(DataType::Int8, 1),
            raw(VectorElement::I8, &[0x80]),
            raw(VectorElement::I8, &[0x80]),
        ),
        (
            DataType::List(item(DataType::Float32)),
            floats(vec![0.5]),
            list(vec![double(0.5)]),
        ),
        (
            DataType::List(item(DataType::Int16)),
            raw(VectorElement::U8, &[9]),
            list(vec![int(9)]),
        ),
        (
            vector(DataType::Utf8, 1),
            list(vec![text("a")]),
            list(vec![text("a")]),
        ),
    ] {
        let got = stored(&data_type, given.clone());
        // NaN is not equal to itself.
        assert_eq!(
            format!("{got:?}"),
            format!("{want:?}"),
            "{data_type} from {given:?}"
        );
    }
}

#[test]
fn every_value_that_does_not_fit_is_named() {
    let at = |step: &str| format!("rows.typed.rows[0].values[0]{step}");
    let list_of = |t: DataType| DataType::List(item(t));
    let second = DataType::Timestamp(TimeUnit::Second, None);
    let nanosecond = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let pair = DataType::Struct(
        vec![
            Field::new("a", DataType::Int8, false),
            Field::new("b", DataType::Utf8, true),
        ]
        .into(),
    );
    for (data_type, given, step) in [
        (DataType::Int8, int(128), ""),
        (DataType::Int8, int(-129), ""),
        (DataType::UInt8, int(-1), ""),
        (DataType::Int64, value(Kind::UintValue(u64::MAX)), ""),
        (DataType::Int64, double(1.0), ""),
        (DataType::Int64, text("1"), ""),
        (DataType::Boolean, int(1), ""),
        (DataType::Utf8, int(1), ""),
        (DataType::Utf8, value(Kind::BytesValue(vec![65].into())), ""),
        (DataType::Binary, text("a"), ""),
        (DataType::Null, int(1), ""),
        (
            DataType::FixedSizeBinary(2),
            value(Kind::BytesValue(vec![1].into())),
            "",
        ),
        (DataType::Float32, int(16_777_217), ""),
        (DataType::Float64, int(i64::MAX), ""),
        (DataType::Float32, double(1e39), ""),
        (DataType::Float16, double(65_520.0), ""),
        (DataType::Float64, text("1.0"), ""),
        (DataType::Date32, int(i64::from(i32::MAX) + 1), ""),
        (DataType::Time32(TimeUnit::Second), time(1, 0), ""),
        (second.clone(), time(0, 1), ""),
        (second, time(0, 1_000_000_000), ""),
        (nanosecond.clone(), time(i64::MAX, 0), ""),
        (nanosecond, text("2024-01-01"), ""),
        (DataType::Decimal128(3, 1), decimal("100.0"), ""),
        (DataType::Decimal128(3, 1), decimal("1.25"), ""),
        (DataType::Decimal128(3, 1), decimal("1e1"), ""),
        (DataType::Decimal256(3, 1), text("1.0"), ""),
        (vector(DataType::Float32, 2), floats(vec![1.0]), ""),
        (vector(DataType::Float32, 2), list(vec![double(1.0)]), ""),
        (
            vector(DataType::Float32, 1),
            raw(VectorElement::F32, &[1, 2]),
            "",
        ),
        (
            vector(DataType::Float32, 1),
            value(Kind::VectorValue(pb::Vector { data: None })),
            "",
        ),
        (vector(DataType::Float32, 1), int(1), ""),
        (
            vector(DataType::Float32, 2),
            floats(vec![0.0, f32::NAN]),
            ".vector_value.floats.values[1]",
        ),
        (
            vector(DataType::Float64, 1),
            floats(vec![f32::INFINITY]),
            ".vector_value.floats.values[0]",
        ),
        (
            vector(DataType::Float32, 1),
            list(vec![double(f64::NAN)]),
            ".list_value.values[0]",
        ),
        (
            vector(DataType::Float32, 1),
            raw(VectorElement::F16, &half::f16::NAN.to_le_bytes()),
            ".vector_value.bytes.data[0]",
        ),
        (
            vector(DataType::UInt8, 2),
            floats(vec![1.0, 1.5]),
            ".vector_value.floats.values[1]",
        ),
        (
            vector(DataType::UInt8, 1),
            floats(vec![256.0]),
            ".vector_value.floats.values[0]",
        ),
        (
            list_of(DataType::Int8),
            list(vec![int(1), int(1_000)]),
            ".list_value.values[1]",
        ),
        (
            list_of(list_of(DataType::Int8)),
            list(vec![list(vec![]), list(vec![int(1), text("x")])]),
            ".list_value.values[1].list_value.values[1]",
        ),
        (list_of(DataType::Int8), structure(vec![]), ""),
        (pair.clone(), structure(vec![int(1)]), ""),
        (pair.clone(), list(vec![int(1), text("x")]), ""),
        (
            pair.clone(),
            structure(vec![null(), text("x")]),
            ".struct_value.values[0]",
        ),
        (
            list_of(pair),
            list(vec![null(), structure(vec![int(1), int(2)])]),
            ".list_value.values[1].struct_value.values[1]",
        ),
        (
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            int(1),
            "",
        ),
        (
            DataType::Interval(arrow::datatypes::IntervalUnit::DayTime),
            int(1),
            "",
        ),
    ] {
        let got = fields(one(&data_type, true, given.clone()));
        assert_eq!(got, [at(step)], "{data_type} took {given:?}");
    }
    assert_eq!(fields(one(&DataType::Utf8, false, null())), [at("")]);
}

#[test]
fn a_null_parent_hides_its_children() {
    let child = Field::new("a", DataType::Int8, false);
    let data_type = DataType::Struct(vec![child].into());
    assert_eq!(stored(&data_type, null()), value(Kind::NullValue(0)));
    let strict = Arc::new(Field::new("item", DataType::Utf8, false));
    let data_type = DataType::FixedSizeList(strict, 3);
    assert_eq!(stored(&data_type, null()), value(Kind::NullValue(0)));
}
