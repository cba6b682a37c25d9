//! Typed values to Arrow arrays, a column at a time.

use std::{iter::repeat_n, sync::Arc};

use arrow::{
    array::{
        ArrayRef, FixedSizeListArray, Float32Array, GenericListArray, OffsetSizeTrait, StructArray,
    },
    buffer::{NullBuffer, OffsetBuffer},
    compute::cast,
    datatypes::{DataType, Field, FieldRef, Fields},
    error::ArrowError,
};

use super::leaf;
use crate::{
    proto::v1::{self as pb, VectorElement, value::Kind, vector::Data},
    wire::vector::{count, element, widen},
};

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
    fn of(value: &'a pb::Value) -> Self {
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
    fn within(self, slot: usize, step: String) -> Self {
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
fn array(
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
fn unexpected(error: ArrowError) -> Fault {
    Fault::new(0, format!("cannot be stored: {error}"))
}

fn nulls(slots: &[Slot<'_>]) -> Option<NullBuffer> {
    let valid: NullBuffer = slots.iter().map(|slot| !slot.is_null()).collect();
    (valid.null_count() > 0).then_some(valid)
}

/// The items of one list, and the step of the path that leads to them.
fn items<'a>(i: usize, slot: Slot<'a>) -> Result<(Vec<Slot<'a>>, &'static str), Fault> {
    match slot {
        Slot::Value(Kind::ListValue(list)) => Ok((
            list.values.iter().map(Slot::of).collect(),
            ".list_value.values",
        )),
        Slot::Value(Kind::VectorValue(vector)) => match &vector.data {
            Some(Data::Floats(floats)) => {
                let slots = floats
                    .values
                    .iter()
                    .map(|v| Slot::Element((*v).into()))
                    .collect();
                Ok((slots, ".vector_value.floats.values"))
            }
            Some(Data::Bytes(bytes)) => {
                let element = decodable(bytes).map_err(|text| Fault::new(i, text))?;
                let slots = widen(element, &bytes.data, Slot::Element);
                Ok((slots, ".vector_value.bytes.data"))
            }
            None => Err(Fault::new(i, "the vector needs floats or bytes")),
        },
        _ => Err(Fault::new(i, "needs a list_value or a vector_value")),
    }
}

fn decodable(bytes: &pb::VectorBytes) -> Result<VectorElement, String> {
    let element = element(bytes.element)?;
    count(element, &bytes.data)?;
    Ok(element)
}

fn list<O: OffsetSizeTrait>(
    slots: &[Slot<'_>],
    child: &FieldRef,
    budget: &mut Budget,
) -> Result<ArrayRef, Fault> {
    let cost = slot_bytes(child.data_type());
    let mut lengths = Vec::with_capacity(slots.len());
    let mut steps = Vec::with_capacity(slots.len());
    let mut all = Vec::new();
    for (i, slot) in slots.iter().enumerate() {
        let (items, step) = if slot.is_null() {
            (vec![], "")
        } else {
            items(i, *slot)?
        };
        budget
            .spend(items.len(), cost)
            .map_err(|text| Fault::new(i, text))?;
        lengths.push(items.len());
        steps.push(step);
        all.extend(items);
    }
    // The budget is below what 32-bit offsets can count.
    let offsets = OffsetBuffer::<O>::from_lengths(lengths.iter().copied());
    let values = array(&all, child, false, budget).map_err(|fault| {
        let at = O::usize_as(fault.slot);
        let i = offsets
            .partition_point(|offset| *offset <= at)
            .saturating_sub(1);
        let step = steps.get(i).copied().unwrap_or_default();
        let start = offsets.get(i).map_or(0, |offset| offset.as_usize());
        let item = fault.slot - start;
        fault.within(i, format!("{step}[{item}]"))
    })?;
    GenericListArray::<O>::try_new(child.clone(), offsets, values, nulls(slots))
        .map(|list| Arc::new(list) as ArrayRef)
        .map_err(unexpected)
}

fn fixed_size_list(
    slots: &[Slot<'_>],
    child: &FieldRef,
    size: usize,
    budget: &mut Budget,
) -> Result<ArrayRef, Fault> {
    let mut steps = Vec::with_capacity(slots.len());
    let mut all = Vec::with_capacity(slots.len().saturating_mul(size));
    for (i, slot) in slots.iter().enumerate() {
        let step = if slot.is_null() {
            all.extend(repeat_n(Slot::Masked, size));
            ""
        } else {
            let (items, step) = items(i, *slot)?;
            check_size(i, items.len(), size)?;
            all.extend(items);
            step
        };
        steps.push(step);
    }
    // Elements of float vectors must be finite: NaN has no distance to anything.
    let values = array(&all, child, true, budget).map_err(|fault| {
        let (i, item) = (fault.slot / size.max(1), fault.slot % size.max(1));
        let step = steps.get(i).copied().unwrap_or_default();
        fault.within(i, format!("{step}[{item}]"))
    })?;
    fixed(child, size, values, nulls(slots))
}

fn check_size(slot: usize, found: usize, size: usize) -> Result<(), Fault> {
    if found == size {
        return Ok(());
    }
    Err(Fault::new(
        slot,
        format!("has {found} elements, the column has {size}"),
    ))
}

fn fixed(
    child: &FieldRef,
    size: usize,
    values: ArrayRef,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, Fault> {
    // The size came from an i32.
    let size = i32::try_from(size).unwrap_or(i32::MAX);
    FixedSizeListArray::try_new(child.clone(), size, values, nulls)
        .map(|list| Arc::new(list) as ArrayRef)
        .map_err(unexpected)
}

/// The usual vector column, without a detour over slots: float32 elements, sent as
/// packed floats. `None` if it is something else.
fn floats(slots: &[Slot<'_>], child: &FieldRef, size: usize) -> Result<Option<ArrayRef>, Fault> {
    if *child.data_type() != DataType::Float32 {
        return Ok(None);
    }
    let mut values = Vec::with_capacity(slots.len().saturating_mul(size));
    for (i, slot) in slots.iter().enumerate() {
        let vector = match slot {
            Slot::Null | Slot::Masked => {
                values.extend(repeat_n(0.0, size));
                continue;
            }
            Slot::Value(Kind::VectorValue(vector)) => match &vector.data {
                Some(Data::Floats(floats)) => &floats.values,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        check_size(i, vector.len(), size)?;
        if let Some(item) = vector.iter().position(|value| !value.is_finite()) {
            let fault = Fault::new(i, leaf::NOT_FINITE);
            return Err(fault.within(i, format!(".vector_value.floats.values[{item}]")));
        }
        values.extend_from_slice(vector);
    }
    let values = Arc::new(Float32Array::from(values));
    fixed(child, size, values, nulls(slots)).map(Some)
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
