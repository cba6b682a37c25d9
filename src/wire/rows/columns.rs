//! Typed values to Arrow arrays, a column at a time.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, StructArray},
    buffer::NullBuffer,
    compute::cast,
    datatypes::{DataType, Field, Fields},
    error::ArrowError,
};

use super::{
    leaf,
    lists::{fixed_size_list, floats, list},
};
use crate::proto::v1::{self as pb, value::Kind};

/// One place of a column.
#[derive(Clone, Copy)]
pub(super) enum Slot<'a> {
    Value(&'a Kind),
    /// An element of a vector.
    Element(f64),
    Null,
    /// A child of a null: it has no value, and nobody may ask for one.
    Masked,
}

impl<'a> Slot<'a> {
    pub(super) fn of(value: &'a pb::Value) -> Self {
        match &value.kind {
            None | Some(Kind::NullValue(_)) => Slot::Null,
            Some(kind) => Slot::Value(kind),
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Slot::Null | Slot::Masked)
    }
}

/// What is wrong with one slot of a column.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) slot: usize,
    /// Path below the slot, as `.list_value.values[2]`.
    pub(super) path: String,
    /// In words for the client, without the value.
    pub(super) text: String,
}

impl Fault {
    pub(super) fn new(slot: usize, text: impl Into<String>) -> Self {
        Fault {
            slot,
            path: String::new(),
            text: text.into(),
        }
    }

    /// The same fault, seen from the column around it.
    pub(super) fn within(self, slot: usize, step: String) -> Self {
        Fault {
            slot,
            path: step + &self.path,
            text: self.text,
        }
    }
}

/// Why a request's rows are refused when the budget is spent.
pub(super) const TOO_LARGE: &str =
    "would take more than 512 MiB as columns: send fewer rows at once, or use arrow_ipc";

/// Bytes of memory that one request's typed rows may become. A null is a few bytes
/// on the wire, and in a column of long vectors it takes the room of one.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new() -> Self {
        Budget(512 << 20)
    }

    /// Takes the cost of `slots` slots off.
    pub(super) fn spend(&mut self, slots: usize, bytes: usize) -> Result<(), &'static str> {
        let cost = slots.saturating_mul(bytes);
        self.0 = self.0.checked_sub(cost).ok_or(TOO_LARGE)?;
        Ok(())
    }
}

/// Bytes that a slot takes even where it is null: the slot itself while its column
/// is built, and its place in the array.
pub(super) fn slot_bytes(data_type: &DataType) -> usize {
    const LEAF: usize = size_of::<Slot<'_>>() + size_of::<u64>();
    match data_type {
        DataType::FixedSizeBinary(size) => LEAF + size.unsigned_abs() as usize,
        DataType::FixedSizeList(child, size) => {
            slot_bytes(child.data_type()).saturating_mul(size.unsigned_abs() as usize)
        }
        DataType::Struct(children) => children.iter().fold(LEAF, |sum, child| {
            slot_bytes(child.data_type()).saturating_add(sum)
        }),
        _ => LEAF,
    }
}

/// One column of typed rows.
pub(super) fn column<'a>(
    values: impl Iterator<Item = Option<&'a pb::Value>>,
    field: &Field,
    budget: &mut Budget,
) -> Result<ArrayRef, Fault> {
    let slots: Vec<_> = values
        .map(|value| value.map_or(Slot::Null, Slot::of))
        .collect();
    array(&slots, field, false, budget)
}

/// An array of `slots`. With `finite`, its floats are elements of vectors.
pub(super) fn array(
    slots: &[Slot<'_>],
    field: &Field,
    finite: bool,
    budget: &mut Budget,
) -> Result<ArrayRef, Fault> {
    if !field.is_nullable()
        && let Some(i) = slots.iter().position(|slot| matches!(slot, Slot::Null))
    {
        return Err(Fault::new(i, "may not be null"));
    }
    match field.data_type() {
        DataType::List(child) => list::<i32>(slots, child, budget),
        DataType::LargeList(child) => list::<i64>(slots, child, budget),
        DataType::FixedSizeList(child, size) => {
            let size = size.unsigned_abs() as usize;
            match floats(slots, child, size)? {
                Some(vectors) => Ok(vectors),
                None => fixed_size_list(slots, child, size, budget),
            }
        }
        DataType::Struct(children) => structs(slots, children, budget),
        DataType::Dictionary(_, values) => {
            let plain = Field::new(field.name(), (**values).clone(), true);
            let plain = array(slots, &plain, false, budget)?;
            cast(&plain, field.data_type()).map_err(unexpected)
        }
        plain => leaf::array(slots, plain, finite),
    }
}

/// A fault that the checks above should have found in words of their own.
pub(super) fn unexpected(error: ArrowError) -> Fault {
    Fault::new(0, format!("cannot be stored: {error}"))
}

pub(super) fn nulls(slots: &[Slot<'_>]) -> Option<NullBuffer> {
    let valid: NullBuffer = slots.iter().map(|slot| !slot.is_null()).collect();
    (valid.null_count() > 0).then_some(valid)
}

fn structs(slots: &[Slot<'_>], children: &Fields, budget: &mut Budget) -> Result<ArrayRef, Fault> {
    let mut parents = Vec::with_capacity(slots.len());
    for (i, slot) in slots.iter().enumerate() {
        parents.push(match slot {
            Slot::Null | Slot::Masked => None,
            Slot::Value(Kind::StructValue(v)) if v.values.len() == children.len() => {
                Some(&v.values)
            }
            Slot::Value(Kind::StructValue(v)) => {
                let text = format!(
                    "has {} values for {} fields",
                    v.values.len(),
                    children.len()
                );
                return Err(Fault::new(i, text));
            }
            _ => return Err(Fault::new(i, "needs a struct_value")),
        });
    }
    let mut arrays = Vec::with_capacity(children.len());
    for (k, child) in children.iter().enumerate() {
        let values = parents
            .iter()
            .map(|parent| parent.and_then(|values| values.get(k)));
        let slots: Vec<_> = values
            .map(|value| value.map_or(Slot::Masked, Slot::of))
            .collect();
        let array = array(&slots, child, false, budget).map_err(|fault| {
            let slot = fault.slot;
            fault.within(slot, format!(".struct_value.values[{k}]"))
        })?;
        arrays.push(array);
    }
    StructArray::try_new_with_length(children.clone(), arrays, nulls(slots), slots.len())
        .map(|structs| Arc::new(structs) as ArrayRef)
        .map_err(unexpected)
}
