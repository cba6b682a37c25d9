//! Schemas: the contract's to Arrow's and back.

mod encode;

use std::{collections::HashSet, sync::Arc};

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef, Schema, TimeUnit,
};

use super::faults::Faults;
use crate::{
    domain::{Error, Result},
    proto::v1::{self as pb, TypeKind},
};

pub use encode::to_pb;

/// How deep lists and structs may nest.
pub const MAX_DEPTH: usize = 32;

/// Most columns of a schema, the children of nested ones included.
pub const MAX_FIELDS: usize = 10_000;

/// An Arrow schema. `field` is the path of `schema`; every fault is reported.
pub fn from_pb(schema: pb::Schema, field: &str) -> Result<Schema> {
    let mut reader = Reader::default();
    if schema.fields.is_empty() {
        reader
            .faults
            .add(format!("{field}.fields"), "needs a column");
    }
    let fields = reader.fields(&schema.fields, &format!("{field}.fields"), 0);
    reader.faults.finish()?;
    Ok(Schema::new_with_metadata(fields, schema.metadata))
}

/// The type of one column. `field` is the path of `data_type`.
pub fn type_from_pb(data_type: &pb::DataType, field: &str) -> Result<DataType> {
    let mut reader = Reader::default();
    let found = reader.data_type(data_type, field, 0);
    reader.faults.finish()?;
    found.ok_or_else(|| Error::invalid(field, "is not a type"))
}

/// One column, as [`from_pb`] reads it. `field` is the path of `column`.
pub(super) fn field_from_pb(column: &pb::Field, field: &str) -> Result<Field> {
    let mut reader = Reader::default();
    let found = reader.field(column, field, 0);
    reader.faults.finish()?;
    found.ok_or_else(|| Error::invalid(field, "is not a column"))
}

#[derive(Default)]
struct Reader {
    faults: Faults,
    seen: usize,
}

impl Reader {
    fn fields(&mut self, fields: &[pb::Field], path: &str, depth: usize) -> Vec<Field> {
        self.seen += fields.len();
        if self.seen > MAX_FIELDS {
            self.faults
                .add(path, format!("has more than {MAX_FIELDS} columns"));
            return Vec::new();
        }
        let mut names = HashSet::with_capacity(fields.len());
        let mut found = Vec::with_capacity(fields.len());
        for (i, field) in fields.iter().enumerate() {
            let path = format!("{path}[{i}]");
            if !field.name.is_empty() && !names.insert(field.name.as_str()) {
                self.faults.add(format!("{path}.name"), "is there twice");
            }
            found.extend(self.field(field, &path, depth));
        }
        found
    }

    fn field(&mut self, field: &pb::Field, path: &str, depth: usize) -> Option<Field> {
        self.faults
            .add_if(field.name.is_empty(), &format!("{path}.name"), "is empty");
        let path = format!("{path}.type");
        let Some(data_type) = &field.r#type else {
            self.faults.add(path, "is required");
            return None;
        };
        let data_type = self.data_type(data_type, &path, depth)?;
        Some(
            Field::new(&field.name, data_type, field.nullable)
                .with_metadata(field.metadata.clone()),
        )
    }

    fn data_type(&mut self, t: &pb::DataType, path: &str, depth: usize) -> Option<DataType> {
        if depth > MAX_DEPTH {
            self.faults
                .add(path, format!("nests deeper than {MAX_DEPTH}"));
            return None;
        }
        let Ok(kind) = TypeKind::try_from(t.kind) else {
            self.faults
                .add(format!("{path}.kind"), "is not a kind of this server");
            return None;
        };
        let nested = matches!(
            kind,
            TypeKind::List
                | TypeKind::LargeList
                | TypeKind::FixedSizeList
                | TypeKind::Struct
                | TypeKind::Dictionary
        );
        if !nested && !t.children.is_empty() {
            self.faults
                .add(format!("{path}.children"), "must be empty for this kind");
        }
        Some(match kind {
            TypeKind::Unspecified => {
                self.faults.add(format!("{path}.kind"), "is required");
                return None;
            }
            TypeKind::Null => DataType::Null,
            TypeKind::Bool => DataType::Boolean,
            TypeKind::Int8 => DataType::Int8,
            TypeKind::Int16 => DataType::Int16,
            TypeKind::Int32 => DataType::Int32,
            TypeKind::Int64 => DataType::Int64,
            TypeKind::Uint8 => DataType::UInt8,
            TypeKind::Uint16 => DataType::UInt16,
            TypeKind::Uint32 => DataType::UInt32,
            TypeKind::Uint64 => DataType::UInt64,
            TypeKind::Float16 => DataType::Float16,
            TypeKind::Float32 => DataType::Float32,
            TypeKind::Float64 => DataType::Float64,
            TypeKind::Utf8 => DataType::Utf8,
            TypeKind::LargeUtf8 => DataType::LargeUtf8,
            TypeKind::Binary => DataType::Binary,
            TypeKind::LargeBinary => DataType::LargeBinary,
            TypeKind::FixedSizeBinary => DataType::FixedSizeBinary(self.size(t, path)?),
            TypeKind::Date32 => DataType::Date32,
            TypeKind::Date64 => DataType::Date64,
            TypeKind::Time32 => match self.unit(t, path)? {
                unit @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(unit),
                _ => return self.refuse(format!("{path}.unit"), "must be s or ms for time32"),
            },
            TypeKind::Time64 => match self.unit(t, path)? {
                unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond) => DataType::Time64(unit),
                _ => return self.refuse(format!("{path}.unit"), "must be us or ns for time64"),
            },
            TypeKind::Timestamp => {
                let zone = (!t.timezone.is_empty()).then(|| t.timezone.as_str().into());
                DataType::Timestamp(self.unit(t, path)?, zone)
            }
            TypeKind::Duration => DataType::Duration(self.unit(t, path)?),
            TypeKind::Decimal128 => {
                let (precision, scale) = self.digits(t, path, DECIMAL128_MAX_PRECISION)?;
                DataType::Decimal128(precision, scale)
            }
            TypeKind::Decimal256 => {
                let (precision, scale) = self.digits(t, path, DECIMAL256_MAX_PRECISION)?;
                DataType::Decimal256(precision, scale)
            }
            TypeKind::List => DataType::List(self.child(t, path, depth)?),
            TypeKind::LargeList => DataType::LargeList(self.child(t, path, depth)?),
            TypeKind::FixedSizeList => {
                let size = self.size(t, path);
                DataType::FixedSizeList(self.child(t, path, depth)?, size?)
            }
            TypeKind::Struct => {
                let path = format!("{path}.children");
                DataType::Struct(self.fields(&t.children, &path, depth + 1).into())
            }
            TypeKind::Dictionary => {
                let child = self.child(t, path, depth)?;
                if !is_dictionary_value(child.data_type()) {
                    let path = format!("{path}.children[0].type");
                    return self.refuse(path, "must be a number, text or bytes in a dictionary");
                }
                DataType::Dictionary(
                    Box::new(DataType::Int32),
                    Box::new(child.data_type().clone()),
                )
            }
        })
    }

    fn child(&mut self, t: &pb::DataType, path: &str, depth: usize) -> Option<FieldRef> {
        let path = format!("{path}.children");
        if t.children.len() != 1 {
            return self.refuse(path, "must be one child");
        }
        self.fields(&t.children, &path, depth + 1)
            .pop()
            .map(Arc::new)
    }

    fn size(&mut self, t: &pb::DataType, path: &str) -> Option<i32> {
        match i32::try_from(t.size) {
            Ok(size) if size > 0 => Some(size),
            _ => self.refuse(format!("{path}.size"), "must be from 1 to 2147483647"),
        }
    }

    fn unit(&mut self, t: &pb::DataType, path: &str) -> Option<TimeUnit> {
        match pb::TimeUnit::try_from(t.unit) {
            Ok(pb::TimeUnit::Second) => Some(TimeUnit::Second),
            Ok(pb::TimeUnit::Millisecond) => Some(TimeUnit::Millisecond),
            Ok(pb::TimeUnit::Unspecified | pb::TimeUnit::Microsecond) => {
                Some(TimeUnit::Microsecond)
            }
            Ok(pb::TimeUnit::Nanosecond) => Some(TimeUnit::Nanosecond),
            Err(_) => self.refuse(format!("{path}.unit"), "is not a unit of this server"),
        }
    }

    fn digits(&mut self, t: &pb::DataType, path: &str, max: u8) -> Option<(u8, i8)> {
        let precision = u8::try_from(t.precision)
            .ok()
            .filter(|p| (1..=max).contains(p));
        let Some(precision) = precision else {
            return self.refuse(
                format!("{path}.precision"),
                format!("must be from 1 to {max}"),
            );
        };
        // Arrow refuses a positive scale above the precision.
        match i8::try_from(t.scale) {
            Ok(scale) if i32::from(scale).abs() <= precision.into() => Some((precision, scale)),
            _ => self.refuse(
                format!("{path}.scale"),
                format!("must be from -{precision} to {precision}, the precision"),
            ),
        }
    }

    fn refuse<T>(&mut self, path: String, fault: impl Into<String>) -> Option<T> {
        self.faults.add(path, fault);
        None
    }
}

/// What Arrow's cast to a dictionary takes, without what Lance cannot name as the
/// value of one (decimals, times).
fn is_dictionary_value(t: &DataType) -> bool {
    t.is_integer()
        || t.is_floating()
        || matches!(
            t,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary
        )
}

#[cfg(test)]
mod tests;
