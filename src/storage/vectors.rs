//! Vectors that no row may have.

use arrow::{
    array::{Array, ArrowPrimitiveType, AsArray, RecordBatch},
    datatypes::{DataType, Float16Type, Float32Type, Float64Type},
};

use crate::domain::{Error, Result};

/// LanceDB refuses NaN in the vectors of an insert, and not in those of a merge.
pub(super) fn no_nan_vectors(batches: &[RecordBatch]) -> Result<()> {
    fn has_nan<T: ArrowPrimitiveType>(items: &dyn Array, nan: fn(T::Native) -> bool) -> bool {
        items.as_primitive::<T>().iter().flatten().any(nan)
    }
    for batch in batches {
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let Some(list) = column.as_fixed_size_list_opt() else {
                continue;
            };
            let items = list.values();
            let nan = match items.data_type() {
                DataType::Float16 => has_nan::<Float16Type>(items, |x| x.is_nan()),
                DataType::Float32 => has_nan::<Float32Type>(items, f32::is_nan),
                DataType::Float64 => has_nan::<Float64Type>(items, f64::is_nan),
                _ => false,
            };
            if nan {
                let text = format!("column '{}' has a vector with NaN", field.name());
                return Err(Error::invalid("rows", text));
            }
        }
    }
    Ok(())
}
