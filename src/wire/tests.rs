//! What the tests of this folder share.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::*,
    buffer::{NullBuffer, OffsetBuffer},
    compute::cast,
    datatypes::*,
};
use half::f16;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    config::Limits,
    domain::{Error, Result},
};

/// Limits with room for every good request of the tests.
pub(super) fn limits() -> Limits {
    Limits {
        max_concurrent_requests: 256,
        max_deadline: Duration::from_secs(60),
        stall_timeout: Duration::from_secs(30),
        max_request_bytes: 16 << 20,
        max_response_bytes: 64 << 20,
        max_limit: 1_000,
        max_query_vectors: 16,
        max_vector_dimension: 4_096,
        default_page_size: 100,
        max_page_size: 1_000,
        max_filter_bytes: 1_024,
        max_filter_depth: 32,
        max_filter_terms: 1_000,
        max_filter_list: 10_000,
        max_pattern_bytes: 1_000,
        max_query_memory: 1 << 30,
        max_import_bytes: 1 << 30,
    }
}

/// The paths of an invalid request's violations.
pub(super) fn fields<T: std::fmt::Debug>(result: Result<T>) -> Vec<String> {
    match result {
        Err(Error::Invalid(violations)) => violations.into_iter().map(|v| v.field).collect(),
        other => panic!("not refused as invalid: {other:?}"),
    }
}

/// Random numbers from a seed that the failure of a test shows. Set
/// `LANCEGATE_TEST_SEED` to run with that one again.
pub(super) fn rng() -> StdRng {
    let given = std::env::var("LANCEGATE_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("LANCEGATE_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// A random type, nested at most `depth` deep.
pub(super) fn random_type(rng: &mut StdRng, depth: usize) -> DataType {
    use DataType as T;
    let unit = [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ][rng.random_range(0..4)];
    let zone = [None, Some("UTC".into()), Some("+02:00".into())][rng.random_range(0..3)].clone();
    let leaves = [
        T::Null,
        T::Boolean,
        T::Int8,
        T::Int16,
        T::Int32,
        T::Int64,
        T::UInt8,
        T::UInt16,
        T::UInt32,
        T::UInt64,
        T::Float16,
        T::Float32,
        T::Float64,
        T::Utf8,
        T::LargeUtf8,
        T::Binary,
        T::LargeBinary,
        T::FixedSizeBinary(rng.random_range(1..9)),
        T::Date32,
        T::Date64,
        T::Time32(TimeUnit::Second),
        T::Time32(TimeUnit::Millisecond),
        T::Time64(TimeUnit::Microsecond),
        T::Time64(TimeUnit::Nanosecond),
        T::Timestamp(unit, zone),
        T::Duration(unit),
        T::Decimal128(38, rng.random_range(-5..20)),
        T::Decimal256(76, rng.random_range(-5..40)),
        T::Dictionary(Box::new(T::Int32), Box::new(T::Utf8)),
        T::Dictionary(Box::new(T::Int32), Box::new(T::Int64)),
    ];
    let kinds = if depth == 0 {
        leaves.len()
    } else {
        leaves.len() + 8
    };
    let kind = rng.random_range(0..kinds);
    if let Some(leaf) = leaves.get(kind) {
        return leaf.clone();
    }
    let mut child = |name: &str| {
        let data_type = random_type(rng, depth - 1);
        let nullable = data_type == T::Null || rng.random_bool(0.7);
        Arc::new(Field::new(name, data_type, nullable))
    };
    match kind - leaves.len() {
        0 | 1 => T::List(child("item")),
        2 | 3 => T::LargeList(child("item")),
        4 => T::FixedSizeList(child("item"), 3),
        5 => {
            let element = [T::Float16, T::Float32, T::Float64, T::Int8, T::UInt8]
                [rng.random_range(0..5)]
            .clone();
            T::FixedSizeList(Arc::new(Field::new("item", element, true)), 4)
        }
        _ => T::Struct(vec![child("a"), child("b"), child("c")].into()),
    }
}

/// A random array of a type, with the extremes of its values among it.
pub(super) fn random_array(rng: &mut StdRng, field: &Field, len: usize) -> ArrayRef {
    macro_rules! numbers {
        ($t:ty, $value:expr) => {{
            let values: Vec<Option<<$t as ArrowPrimitiveType>::Native>> = (0..len)
                .map(|_| (!field.is_nullable() || rng.random_bool(0.8)).then(|| $value))
                .collect();
            let array = PrimitiveArray::<$t>::from_iter(values);
            Arc::new(array.with_data_type(field.data_type().clone())) as ArrayRef
        }};
        ($t:ty) => {
            numbers!($t, extreme(rng).unwrap_or_else(|| rng.random()))
        };
    }
    let nulls = |rng: &mut StdRng| -> Option<NullBuffer> {
        let valid: Vec<bool> = (0..len).map(|_| rng.random_bool(0.8)).collect();
        field.is_nullable().then(|| valid.into())
    };
    let lengths =
        |rng: &mut StdRng| -> Vec<usize> { (0..len).map(|_| rng.random_range(0..4)).collect() };
    let word = |rng: &mut StdRng| -> String {
        let letters = ['a', 'ß', '€', '🦀', '\0', '\n'];
        (0..rng.random_range(0..6))
            .map(|_| letters[rng.random_range(0..6)])
            .collect()
    };
    match field.data_type() {
        DataType::Null => Arc::new(NullArray::new(len)),
        DataType::Boolean => {
            let values = (0..len).map(|_| rng.random()).collect();
            Arc::new(BooleanArray::new(values, nulls(rng)))
        }
        DataType::Int8 => numbers!(Int8Type),
        DataType::Int16 => numbers!(Int16Type),
        DataType::Int32 => numbers!(Int32Type),
        DataType::Int64 => numbers!(Int64Type),
        DataType::UInt8 => numbers!(UInt8Type),
        DataType::UInt16 => numbers!(UInt16Type),
        DataType::UInt32 => numbers!(UInt32Type),
        DataType::UInt64 => numbers!(UInt64Type),
        DataType::Float16 => numbers!(Float16Type, f16::from_f32(rng.random_range(-9.0..9.0))),
        DataType::Float32 => numbers!(Float32Type, rng.random_range(-1e30..1e30)),
        DataType::Float64 => numbers!(Float64Type, rng.random_range(-1e300..1e300)),
        DataType::Date32 => numbers!(Date32Type),
        DataType::Date64 => numbers!(Date64Type),
        DataType::Time32(TimeUnit::Second) => numbers!(Time32SecondType),
        DataType::Time32(_) => numbers!(Time32MillisecondType),
        DataType::Time64(TimeUnit::Microsecond) => numbers!(Time64MicrosecondType),
        DataType::Time64(_) => numbers!(Time64NanosecondType),
        DataType::Timestamp(TimeUnit::Second, _) => numbers!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => numbers!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => numbers!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => numbers!(TimestampNanosecondType),
        DataType::Duration(TimeUnit::Second) => numbers!(DurationSecondType),
        DataType::Duration(TimeUnit::Millisecond) => numbers!(DurationMillisecondType),
        DataType::Duration(TimeUnit::Microsecond) => numbers!(DurationMicrosecondType),
        DataType::Duration(TimeUnit::Nanosecond) => numbers!(DurationNanosecondType),
        DataType::Decimal128(..) => {
            let most = 10i128.pow(38) - 1;
            numbers!(Decimal128Type, rng.random_range(-most..=most))
        }
        DataType::Decimal256(..) => {
            let most = 10i128.pow(38) - 1;
            let part = |rng: &mut StdRng| i256::from_i128(rng.random_range(-most..=most));
            numbers!(Decimal256Type, part(rng) * part(rng))
        }
        DataType::Utf8 => {
            let words: Vec<_> = (0..len).map(|_| word(rng)).collect();
            let words = StringArray::from(words);
            let (offsets, values, _) = words.into_parts();
            Arc::new(StringArray::new(offsets, values, nulls(rng)))
        }
        DataType::LargeUtf8 => {
            let words: Vec<_> = (0..len).map(|_| word(rng)).collect();
            let (offsets, values, _) = LargeStringArray::from(words).into_parts();
            Arc::new(LargeStringArray::new(offsets, values, nulls(rng)))
        }
        DataType::Binary => {
            let offsets = OffsetBuffer::from_lengths(lengths(rng));
            let values: Vec<u8> = (0..offsets[len]).map(|_| rng.random()).collect();
            Arc::new(BinaryArray::new(offsets, values.into(), nulls(rng)))
        }
        DataType::LargeBinary => {
            let offsets = OffsetBuffer::from_lengths(lengths(rng));
            let values: Vec<u8> = (0..offsets[len]).map(|_| rng.random()).collect();
            Arc::new(LargeBinaryArray::new(offsets, values.into(), nulls(rng)))
        }
        DataType::FixedSizeBinary(size) => {
            let values: Vec<u8> = (0..len * *size as usize).map(|_| rng.random()).collect();
            Arc::new(FixedSizeBinaryArray::new(*size, values.into(), nulls(rng)))
        }
        DataType::Dictionary(_, values) => {
            let plain = Field::new("v", (**values).clone(), field.is_nullable());
            cast(&random_array(rng, &plain, len), field.data_type()).unwrap()
        }
        DataType::List(child) => {
            let offsets = OffsetBuffer::from_lengths(lengths(rng));
            let items = random_array(rng, child, offsets[len] as usize);
            Arc::new(ListArray::new(child.clone(), offsets, items, nulls(rng)))
        }
        DataType::LargeList(child) => {
            let offsets = OffsetBuffer::from_lengths(lengths(rng));
            let items = random_array(rng, child, offsets[len] as usize);
            Arc::new(LargeListArray::new(
                child.clone(),
                offsets,
                items,
                nulls(rng),
            ))
        }
        DataType::FixedSizeList(child, size) => {
            let items = random_array(rng, child, len * *size as usize);
            Arc::new(FixedSizeListArray::new(
                child.clone(),
                *size,
                items,
                nulls(rng),
            ))
        }
        DataType::Struct(children) => {
            let arrays = children
                .iter()
                .map(|child| random_array(rng, child, len))
                .collect();
            Arc::new(StructArray::new(children.clone(), arrays, nulls(rng)))
        }
        other => unreachable!("{other} is not made here"),
    }
}

fn extreme<T: ArrowNativeTypeOp>(rng: &mut StdRng) -> Option<T> {
    match rng.random_range(0..4) {
        0 => Some(T::MIN_TOTAL_ORDER),
        1 => Some(T::MAX_TOTAL_ORDER),
        _ => None,
    }
}

/// A random batch of `rows` rows: a slice of a larger one, as readers give them.
pub(super) fn random_batch(rng: &mut StdRng, rows: usize) -> RecordBatch {
    let fields: Vec<Field> = (0..rng.random_range(1..6))
        .map(|i| {
            let data_type = random_type(rng, 3);
            let nullable = data_type == DataType::Null || rng.random_bool(0.7);
            let metadata = [("key".to_owned(), format!("value {i}"))].into();
            Field::new(format!("c{i}"), data_type, nullable).with_metadata(metadata)
        })
        .collect();
    let arrays = fields
        .iter()
        .map(|field| random_array(rng, field, rows + 7))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema, arrays).unwrap().slice(3, rows)
}
