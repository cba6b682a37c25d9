//! Typed lists and vectors to Arrow list arrays.

use std::{iter::repeat_n, sync::Arc};

use arrow::{
    array::{ArrayRef, FixedSizeListArray, Float32Array, GenericListArray, OffsetSizeTrait},
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, FieldRef},
};

use super::{
    columns::{Budget, Fault, Slot, array, nulls, slot_bytes, unexpected},
    leaf,
};
use crate::{
    proto::v1::{self as pb, VectorElement, value::Kind, vector::Data},
    wire::vector::{count, element, widen},
};

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

pub(super) fn list<O: OffsetSizeTrait>(
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

pub(super) fn fixed_size_list(
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
pub(super) fn floats(
    slots: &[Slot<'_>],
    child: &FieldRef,
    size: usize,
) -> Result<Option<ArrayRef>, Fault> {
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
