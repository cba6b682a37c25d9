//! Arrow's schemas as the contract's.

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};

use crate::{
    domain::{Error, Result},
    proto::v1::{self as pb, TypeKind},
};

/// The contract's schema. A type that the contract has no kind for is
/// [`Error::Unsupported`].
pub fn to_pb(schema: &Schema) -> Result<pb::Schema> {
    Ok(pb::Schema {
        fields: fields_to_pb(schema.fields())?,
        metadata: schema.metadata().clone(),
    })
}

fn fields_to_pb(fields: &Fields) -> Result<Vec<pb::Field>> {
    fields.iter().map(|field| field_to_pb(field)).collect()
}

fn field_to_pb(field: &Field) -> Result<pb::Field> {
    Ok(pb::Field {
        name: field.name().clone(),
        r#type: Some(type_to_pb(field.data_type())?),
        nullable: field.is_nullable(),
        metadata: field.metadata().clone(),
    })
}

/// The contract's name of a type. Views are the text or bytes that they show, and
/// a map is the list of entries that it is laid out as.
fn type_to_pb(t: &DataType) -> Result<pb::DataType> {
    let mut out = pb::DataType::default();
    let kind = match t {
        DataType::Null => TypeKind::Null,
        DataType::Boolean => TypeKind::Bool,
        DataType::Int8 => TypeKind::Int8,
        DataType::Int16 => TypeKind::Int16,
        DataType::Int32 => TypeKind::Int32,
        DataType::Int64 => TypeKind::Int64,
        DataType::UInt8 => TypeKind::Uint8,
        DataType::UInt16 => TypeKind::Uint16,
        DataType::UInt32 => TypeKind::Uint32,
        DataType::UInt64 => TypeKind::Uint64,
        DataType::Float16 => TypeKind::Float16,
        DataType::Float32 => TypeKind::Float32,
        DataType::Float64 => TypeKind::Float64,
        DataType::Utf8 | DataType::Utf8View => TypeKind::Utf8,
        DataType::LargeUtf8 => TypeKind::LargeUtf8,
        DataType::Binary | DataType::BinaryView => TypeKind::Binary,
        DataType::LargeBinary => TypeKind::LargeBinary,
        DataType::FixedSizeBinary(size) => {
            out.size = size.unsigned_abs();
            TypeKind::FixedSizeBinary
        }
        DataType::Date32 => TypeKind::Date32,
        DataType::Date64 => TypeKind::Date64,
        DataType::Time32(unit) => {
            out.unit = unit_to_pb(*unit);
            TypeKind::Time32
        }
        DataType::Time64(unit) => {
            out.unit = unit_to_pb(*unit);
            TypeKind::Time64
        }
        DataType::Timestamp(unit, zone) => {
            out.unit = unit_to_pb(*unit);
            out.timezone = zone.as_deref().unwrap_or_default().to_owned();
            TypeKind::Timestamp
        }
        DataType::Duration(unit) => {
            out.unit = unit_to_pb(*unit);
            TypeKind::Duration
        }
        DataType::Decimal128(precision, scale) => {
            (out.precision, out.scale) = ((*precision).into(), (*scale).into());
            TypeKind::Decimal128
        }
        DataType::Decimal256(precision, scale) => {
            (out.precision, out.scale) = ((*precision).into(), (*scale).into());
            TypeKind::Decimal256
        }
        DataType::List(child) | DataType::Map(child, _) => {
            out.children = vec![field_to_pb(child)?];
            TypeKind::List
        }
        DataType::LargeList(child) => {
            out.children = vec![field_to_pb(child)?];
            TypeKind::LargeList
        }
        DataType::FixedSizeList(child, size) => {
            out.size = size.unsigned_abs();
            out.children = vec![field_to_pb(child)?];
            TypeKind::FixedSizeList
        }
        DataType::Struct(fields) => {
            out.children = fields_to_pb(fields)?;
            TypeKind::Struct
        }
        DataType::Dictionary(_, values) => {
            out.children = vec![field_to_pb(&Field::new("value", (**values).clone(), true))?];
            TypeKind::Dictionary
        }
        other => return Err(Error::Unsupported(format!("columns of type {other}"))),
    };
    out.kind = kind.into();
    Ok(out)
}

fn unit_to_pb(unit: TimeUnit) -> i32 {
    match unit {
        TimeUnit::Second => pb::TimeUnit::Second,
        TimeUnit::Millisecond => pb::TimeUnit::Millisecond,
        TimeUnit::Microsecond => pb::TimeUnit::Microsecond,
        TimeUnit::Nanosecond => pb::TimeUnit::Nanosecond,
    }
    .into()
}
