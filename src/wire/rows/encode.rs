//! Arrow arrays to typed values.

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeListArray, OffsetSizeTrait,
        PrimitiveArray, RecordBatch,
    },
    compute::cast,
    datatypes::{
        DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
        DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float16Type,
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType,
        Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType, ToByteSlice, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use bytes::Bytes;

use super::leaf::per_second;
use crate::{
    domain::{Error, Result},
    proto::v1::{self as pb, NullValue, VectorElement, value::Kind, vector::Data},
    wire::{decimal, ipc::internal},
};

/// The rows of all batches, in order.
pub(super) fn rows(batches: &[RecordBatch]) -> Result<Vec<pb::Row>> {
    let mut rows = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for batch in batches {
        let width = batch.num_columns();
        let start = rows.len();
        rows.resize_with(start + batch.num_rows(), || pb::Row {
            values: Vec::with_capacity(width),
        });
        for column in batch.columns() {
            for (row, value) in rows[start..].iter_mut().zip(values(column)?) {
                row.values.push(value);
            }
        }
    }
    Ok(rows)
}

/// One value per slot of the array.
fn values(array: &ArrayRef) -> Result<Vec<pb::Value>> {
    let a = array.as_ref();
    let int = |v: i64| Kind::IntValue(v);
    Ok(match a.data_type() {
        DataType::Null => vec![value(Kind::NullValue(NullValue::Unspecified.into())); a.len()],
        DataType::Boolean => each(a, |i| Kind::BoolValue(a.as_boolean().value(i))),
        DataType::Int8 => primitive::<Int8Type>(a, |v| int(v.into())),
        DataType::Int16 => primitive::<Int16Type>(a, |v| int(v.into())),
        DataType::Int32 => primitive::<Int32Type>(a, |v| int(v.into())),
        DataType::Int64 => primitive::<Int64Type>(a, int),
        DataType::UInt8 => primitive::<UInt8Type>(a, |v| Kind::UintValue(v.into())),
        DataType::UInt16 => primitive::<UInt16Type>(a, |v| Kind::UintValue(v.into())),
        DataType::UInt32 => primitive::<UInt32Type>(a, |v| Kind::UintValue(v.into())),
        DataType::UInt64 => primitive::<UInt64Type>(a, Kind::UintValue),
        DataType::Float16 => primitive::<Float16Type>(a, |v| Kind::DoubleValue(v.into())),
        DataType::Float32 => primitive::<Float32Type>(a, |v| Kind::DoubleValue(v.into())),
        DataType::Float64 => primitive::<Float64Type>(a, Kind::DoubleValue),
        DataType::Utf8 => each(a, |i| text(a.as_string::<i32>().value(i))),
        DataType::LargeUtf8 => each(a, |i| text(a.as_string::<i64>().value(i))),
        DataType::Utf8View => each(a, |i| text(a.as_string_view().value(i))),
        DataType::Binary => each(a, |i| bytes(a.as_binary::<i32>().value(i))),
        DataType::LargeBinary => each(a, |i| bytes(a.as_binary::<i64>().value(i))),
        DataType::BinaryView => each(a, |i| bytes(a.as_binary_view().value(i))),
        DataType::FixedSizeBinary(_) => each(a, |i| bytes(a.as_fixed_size_binary().value(i))),
        DataType::Date32 => primitive::<Date32Type>(a, |v| int(v.into())),
        DataType::Date64 => primitive::<Date64Type>(a, int),
        DataType::Time32(TimeUnit::Second) => primitive::<Time32SecondType>(a, |v| int(v.into())),
        DataType::Time32(_) => primitive::<Time32MillisecondType>(a, |v| int(v.into())),
        DataType::Time64(TimeUnit::Microsecond) => primitive::<Time64MicrosecondType>(a, int),
        DataType::Time64(_) => primitive::<Time64NanosecondType>(a, int),
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => primitive::<DurationSecondType>(a, int),
            TimeUnit::Millisecond => primitive::<DurationMillisecondType>(a, int),
            TimeUnit::Microsecond => primitive::<DurationMicrosecondType>(a, int),
            TimeUnit::Nanosecond => primitive::<DurationNanosecondType>(a, int),
        },
        DataType::Timestamp(unit, _) => {
            let time = |v: i64| timestamp(v, *unit);
            match unit {
                TimeUnit::Second => primitive::<TimestampSecondType>(a, time),
                TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(a, time),
                TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(a, time),
                TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(a, time),
            }
        }
        DataType::Decimal128(_, scale) => primitive::<Decimal128Type>(a, |v| {
            Kind::DecimalValue(decimal::format(&v.to_string(), *scale))
        }),
        DataType::Decimal256(_, scale) => primitive::<Decimal256Type>(a, |v| {
            Kind::DecimalValue(decimal::format(&v.to_string(), *scale))
        }),
        DataType::List(_) => list(a, a.as_list::<i32>().values(), a.as_list::<i32>().offsets())?,
        DataType::LargeList(_) => {
            list(a, a.as_list::<i64>().values(), a.as_list::<i64>().offsets())?
        }
        DataType::Map(..) => {
            let entries: ArrayRef = std::sync::Arc::new(a.as_map().entries().clone());
            list(a, &entries, a.as_map().offsets())?
        }
        DataType::FixedSizeList(..) => fixed_size_list(a.as_fixed_size_list())?,
        DataType::Struct(_) => structs(a)?,
        DataType::Dictionary(_, plain) => values(&cast(a, plain).map_err(internal)?)?,
        other => return Err(Error::Unsupported(format!("typed rows of type {other}"))),
    })
}

fn value(kind: Kind) -> pb::Value {
    pb::Value { kind: Some(kind) }
}

fn each(array: &dyn Array, kind: impl Fn(usize) -> Kind) -> Vec<pb::Value> {
    let one = |i| {
        value(if array.is_null(i) {
            Kind::NullValue(NullValue::Unspecified.into())
        } else {
            kind(i)
        })
    };
    (0..array.len()).map(one).collect()
}

fn primitive<T: ArrowPrimitiveType>(
    array: &dyn Array,
    kind: impl Fn(T::Native) -> Kind,
) -> Vec<pb::Value> {
    let values: &PrimitiveArray<T> = array.as_primitive();
    each(array, |i| kind(values.value(i)))
}

fn text(value: &str) -> Kind {
    Kind::StringValue(value.to_owned())
}

fn bytes(value: &[u8]) -> Kind {
    Kind::BytesValue(Bytes::copy_from_slice(value))
}

fn timestamp(count: i64, unit: TimeUnit) -> Kind {
    let (per_second, nanos_per_unit) = per_second(unit);
    // Below a second's worth, so it fits.
    let rest = count.rem_euclid(per_second) as u32;
    Kind::TimestampValue(pb::Timestamp {
        seconds: count.div_euclid(per_second),
        nanos: rest * nanos_per_unit,
    })
}

fn list<O: OffsetSizeTrait>(
    array: &dyn Array,
    items: &ArrayRef,
    offsets: &[O],
) -> Result<Vec<pb::Value>> {
    // A slice of a list keeps all the items: convert only those of the slice.
    let (first, last) = match offsets {
        [first, .., last] => (first.as_usize(), last.as_usize()),
        _ => (0, 0),
    };
    let mut items = values(&items.slice(first, last - first))?.into_iter();
    let lengths = offsets
        .windows(2)
        .map(|w| w[1].as_usize() - w[0].as_usize());
    let lists: Vec<Vec<pb::Value>> = lengths.map(|n| items.by_ref().take(n).collect()).collect();
    Ok(lists_of(array, lists))
}

/// A list per slot, the items of nulls dropped.
fn lists_of(array: &dyn Array, lists: Vec<Vec<pb::Value>>) -> Vec<pb::Value> {
    let one = |(i, values)| {
        value(if array.is_null(i) {
            Kind::NullValue(NullValue::Unspecified.into())
        } else {
            Kind::ListValue(pb::ListValue { values })
        })
    };
    lists.into_iter().enumerate().map(one).collect()
}

fn fixed_size_list(array: &FixedSizeListArray) -> Result<Vec<pb::Value>> {
    let one = |i| {
        if array.is_null(i) {
            return Ok(value(Kind::NullValue(NullValue::Unspecified.into())));
        }
        let items = array.value(i);
        Ok(value(match vector(&items) {
            Some(data) => Kind::VectorValue(pb::Vector { data: Some(data) }),
            None => Kind::ListValue(pb::ListValue {
                values: values(&items)?,
            }),
        }))
    };
    (0..array.len()).map(one).collect()
}

/// The items of a fixed-size list as a vector, if they are elements of one. It has
/// no room for nulls.
fn vector(items: &dyn Array) -> Option<Data> {
    if items.null_count() > 0 {
        return None;
    }
    match items.data_type() {
        DataType::Float32 => {
            let values = items.as_primitive::<Float32Type>().values().to_vec();
            Some(Data::Floats(pb::PackedFloats { values }))
        }
        DataType::Float16 => Some(raw::<Float16Type>(items, VectorElement::F16)),
        DataType::Float64 => Some(raw::<Float64Type>(items, VectorElement::F64)),
        DataType::Int8 => Some(raw::<Int8Type>(items, VectorElement::I8)),
        DataType::UInt8 => Some(raw::<UInt8Type>(items, VectorElement::U8)),
        _ => None,
    }
}

/// Elements as they are in memory: little-endian, on every machine that LanceDB
/// runs on.
fn raw<T: ArrowPrimitiveType>(items: &dyn Array, element: VectorElement) -> Data {
    let values: &[T::Native] = items.as_primitive::<T>().values();
    Data::Bytes(pb::VectorBytes {
        element: element.into(),
        data: Bytes::copy_from_slice(values.to_byte_slice()),
    })
}

fn structs(array: &dyn Array) -> Result<Vec<pb::Value>> {
    let columns = array.as_struct().columns();
    let mut children: Vec<Vec<pb::Value>> = Vec::new();
    children.resize_with(array.len(), || Vec::with_capacity(columns.len()));
    for column in columns {
        for (child, value) in children.iter_mut().zip(values(column)?) {
            child.push(value);
        }
    }
    let one = |(i, values)| {
        value(if array.is_null(i) {
            Kind::NullValue(NullValue::Unspecified.into())
        } else {
            Kind::StructValue(pb::StructValue { values })
        })
    };
    Ok(children.into_iter().enumerate().map(one).collect())
}
