//! Typed values to Arrow arrays of plain types. Conversions lose nothing, except
//! that a double may be rounded to a narrower float.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryBuilder, LargeBinaryArray,
        LargeStringArray, NullArray, PrimitiveArray, StringArray,
    },
    datatypes::{
        ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type,
        DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
        DurationSecondType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
        Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
        Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
        TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type, i256,
    },
};
use half::f16;

use super::columns::{Fault, Slot};
use crate::{
    proto::v1::{self as pb, value::Kind},
    wire::decimal,
};

pub(super) const NOT_FINITE: &str = "an element of a vector must be finite";

/// Why one value cannot be stored.
type Reason = String;

/// An array of a type without children.
pub(super) fn array(
    slots: &[Slot<'_>],
    data_type: &DataType,
    finite: bool,
) -> Result<ArrayRef, Fault> {
    match data_type {
        DataType::Null => {
            each(slots, |_| Err::<(), _>("must be null".into()))?;
            Ok(Arc::new(NullArray::new(slots.len())))
        }
        DataType::Boolean => Ok(Arc::new(BooleanArray::from(each(slots, boolean)?))),
        DataType::Int8 => ints::<Int8Type>(slots, "int8"),
        DataType::Int16 => ints::<Int16Type>(slots, "int16"),
        DataType::Int32 => ints::<Int32Type>(slots, "int32"),
        DataType::Int64 => ints::<Int64Type>(slots, "int64"),
        DataType::UInt8 => ints::<UInt8Type>(slots, "uint8"),
        DataType::UInt16 => ints::<UInt16Type>(slots, "uint16"),
        DataType::UInt32 => ints::<UInt32Type>(slots, "uint32"),
        DataType::UInt64 => ints::<UInt64Type>(slots, "uint64"),
        DataType::Float16 => primitive::<Float16Type>(slots, data_type, |slot| {
            let (value, exact) = float(slot, finite)?;
            let narrow = f16::from_f64(value);
            check_float(value, narrow.to_f64(), exact)?;
            Ok(narrow)
        }),
        DataType::Float32 => primitive::<Float32Type>(slots, data_type, |slot| {
            let (value, exact) = float(slot, finite)?;
            let narrow = value as f32;
            check_float(value, narrow.into(), exact)?;
            Ok(narrow)
        }),
        DataType::Float64 => primitive::<Float64Type>(slots, data_type, |slot| {
            float(slot, finite).map(|(value, _)| value)
        }),
        DataType::Utf8 => Ok(Arc::new(StringArray::from(each(slots, text)?))),
        DataType::LargeUtf8 => Ok(Arc::new(LargeStringArray::from(each(slots, text)?))),
        DataType::Binary => Ok(Arc::new(BinaryArray::from(each(slots, bytes)?))),
        DataType::LargeBinary => Ok(Arc::new(LargeBinaryArray::from(each(slots, bytes)?))),
        DataType::FixedSizeBinary(size) => fixed_size_binary(slots, *size),
        DataType::Date32 => ints::<Date32Type>(slots, "date32"),
        DataType::Date64 => ints::<Date64Type>(slots, "date64"),
        DataType::Time32(TimeUnit::Second) => ints::<Time32SecondType>(slots, "time32"),
        DataType::Time32(_) => ints::<Time32MillisecondType>(slots, "time32"),
        DataType::Time64(TimeUnit::Microsecond) => ints::<Time64MicrosecondType>(slots, "time64"),
        DataType::Time64(_) => ints::<Time64NanosecondType>(slots, "time64"),
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => ints::<DurationSecondType>(slots, "duration"),
            TimeUnit::Millisecond => ints::<DurationMillisecondType>(slots, "duration"),
            TimeUnit::Microsecond => ints::<DurationMicrosecondType>(slots, "duration"),
            TimeUnit::Nanosecond => ints::<DurationNanosecondType>(slots, "duration"),
        },
        DataType::Timestamp(unit, _) => {
            let time = |slot: &Slot<'_>| timestamp(slot, *unit);
            match unit {
                TimeUnit::Second => primitive::<TimestampSecondType>(slots, data_type, time),
                TimeUnit::Millisecond => {
                    primitive::<TimestampMillisecondType>(slots, data_type, time)
                }
                TimeUnit::Microsecond => {
                    primitive::<TimestampMicrosecondType>(slots, data_type, time)
                }
                TimeUnit::Nanosecond => {
                    primitive::<TimestampNanosecondType>(slots, data_type, time)
                }
            }
        }
        DataType::Decimal128(precision, scale) => {
            primitive::<Decimal128Type>(slots, data_type, |slot| {
                let digits = digits(slot, *precision, *scale)?;
                digits.parse().map_err(|_| "is out of range".into())
            })
        }
        DataType::Decimal256(precision, scale) => {
            primitive::<Decimal256Type>(slots, data_type, |slot| {
                let digits = digits(slot, *precision, *scale)?;
                i256::from_string(&digits).ok_or_else(|| "is out of range".into())
            })
        }
        other => {
            let text = format!("columns of type {other} are taken as arrow_ipc only");
            Err(Fault::new(0, text))
        }
    }
}

/// Converts each slot that is not null.
fn each<'a, T>(
    slots: &[Slot<'a>],
    convert: impl Fn(&Slot<'a>) -> Result<T, Reason>,
) -> Result<Vec<Option<T>>, Fault> {
    let one = |(i, slot): (usize, &Slot<'a>)| {
        if slot.is_null() {
            return Ok(None);
        }
        convert(slot).map(Some).map_err(|text| Fault::new(i, text))
    };
    slots.iter().enumerate().map(one).collect()
}

fn primitive<T: ArrowPrimitiveType>(
    slots: &[Slot<'_>],
    data_type: &DataType,
    convert: impl Fn(&Slot<'_>) -> Result<T::Native, Reason>,
) -> Result<ArrayRef, Fault> {
    let array = PrimitiveArray::<T>::from_iter(each(slots, convert)?);
    // Time zone, precision and scale are not in T.
    Ok(Arc::new(array.with_data_type(data_type.clone())))
}

fn ints<T: ArrowPrimitiveType<Native: TryFrom<i128>>>(
    slots: &[Slot<'_>],
    name: &str,
) -> Result<ArrayRef, Fault> {
    primitive::<T>(slots, &T::DATA_TYPE, |slot| {
        T::Native::try_from(integer(slot)?).map_err(|_| format!("is out of range for {name}"))
    })
}

fn integer(slot: &Slot<'_>) -> Result<i128, Reason> {
    match slot {
        Slot::Value(Kind::IntValue(value)) => Ok((*value).into()),
        Slot::Value(Kind::UintValue(value)) => Ok((*value).into()),
        // Beyond 2^63 no float is one element of an integer vector.
        Slot::Element(value) if value.fract() == 0.0 && value.abs() < 9.3e18 => Ok(*value as i128),
        Slot::Element(_) => Err("is not an integer".into()),
        _ => Err("needs an int_value or a uint_value".into()),
    }
}

/// A float, and whether it has to be stored without rounding.
fn float(slot: &Slot<'_>, finite: bool) -> Result<(f64, bool), Reason> {
    let (value, exact) = match slot {
        Slot::Value(Kind::DoubleValue(value)) | Slot::Element(value) => (*value, false),
        _ => {
            let int = integer(slot).map_err(|_| "needs a double_value or an integer")?;
            if int as f64 as i128 != int {
                return Err("is an integer that no float64 is equal to".into());
            }
            (int as f64, true)
        }
    };
    if finite && !value.is_finite() {
        return Err(NOT_FINITE.into());
    }
    Ok((value, exact))
}

fn check_float(value: f64, stored: f64, exact: bool) -> Result<(), Reason> {
    if value.is_finite() && !stored.is_finite() {
        Err("is out of range for the float of the column".into())
    } else if exact && stored != value {
        Err("is an integer that the float of the column cannot hold exactly".into())
    } else {
        Ok(())
    }
}

fn boolean(slot: &Slot<'_>) -> Result<bool, Reason> {
    match slot {
        Slot::Value(Kind::BoolValue(value)) => Ok(*value),
        _ => Err("needs a bool_value".into()),
    }
}

fn text<'a>(slot: &Slot<'a>) -> Result<&'a str, Reason> {
    match slot {
        Slot::Value(Kind::StringValue(value)) => Ok(value),
        _ => Err("needs a string_value".into()),
    }
}

fn bytes<'a>(slot: &Slot<'a>) -> Result<&'a [u8], Reason> {
    match slot {
        Slot::Value(Kind::BytesValue(value)) => Ok(value),
        _ => Err("needs a bytes_value".into()),
    }
}

fn fixed_size_binary(slots: &[Slot<'_>], size: i32) -> Result<ArrayRef, Fault> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(slots.len(), size);
    for (i, value) in each(slots, bytes)?.into_iter().enumerate() {
        match value {
            None => builder.append_null(),
            Some(value) => builder.append_value(value).map_err(|_| {
                Fault::new(
                    i,
                    format!("has {} bytes, the column has {size}", value.len()),
                )
            })?,
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// A point in time in the unit of its column. An integer is in that unit already.
fn timestamp(slot: &Slot<'_>, unit: TimeUnit) -> Result<i64, Reason> {
    let Slot::Value(Kind::TimestampValue(pb::Timestamp { seconds, nanos })) = slot else {
        let count = integer(slot).map_err(|_| "needs a timestamp_value")?;
        return i64::try_from(count).map_err(|_| "is out of range for a timestamp".into());
    };
    if *nanos > 999_999_999 {
        return Err("has nanos beyond 999999999".into());
    }
    let (per_second, nanos_per_unit) = per_second(unit);
    if nanos % nanos_per_unit != 0 {
        return Err("is finer than the unit of the column".into());
    }
    let count = i128::from(*seconds) * i128::from(per_second) + i128::from(nanos / nanos_per_unit);
    i64::try_from(count).map_err(|_| "is out of range for a timestamp in this unit".into())
}

/// How many of a unit are in a second, and how many nanoseconds in one of it.
pub(super) fn per_second(unit: TimeUnit) -> (i64, u32) {
    match unit {
        TimeUnit::Second => (1, 1_000_000_000),
        TimeUnit::Millisecond => (1_000, 1_000_000),
        TimeUnit::Microsecond => (1_000_000, 1_000),
        TimeUnit::Nanosecond => (1_000_000_000, 1),
    }
}

/// The digits of a decimal as its column stores them.
fn digits(slot: &Slot<'_>, precision: u8, scale: i8) -> Result<String, Reason> {
    let text = match slot {
        Slot::Value(Kind::DecimalValue(text)) => text,
        _ => &integer(slot)
            .map_err(|_| "needs a decimal_value or an integer")?
            .to_string(),
    };
    decimal::parse(text)?.unscaled(precision, scale)
}
