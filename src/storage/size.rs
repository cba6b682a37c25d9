//! How large an answer is at least, before it is read.

use arrow::datatypes::DataType;

use super::Snapshot;
use crate::domain::{
    Error, Result,
    search::{Scan, Search},
};

impl Snapshot {
    /// Refuses a search that surely finds more bytes than `most`: without a filter and
    /// by comparing with every row it finds as many rows as it asks for.
    ///
    /// # Errors
    /// It does, or the table's indexes cannot be read.
    pub async fn search_fits(&self, search: &Search, most: usize) -> Result<()> {
        // Nor may it be told how many rows there are that are not there for somebody.
        let may_find_fewer = search.filter.is_some()
            || self.has_restricted_rows()
            || search.full_text.is_some()
            || search.distance_lower_bound.is_some()
            || search.distance_upper_bound.is_some();
        let after = self.rows.saturating_sub(search.offset as u64);
        let rows = (search.limit as u64).min(after) * search.vectors.len() as u64;
        if may_find_fewer
            || self
                .fits("query.limit", search.columns.as_deref(), rows, most)
                .is_ok()
        {
            return Ok(());
        }
        // An index may find fewer as well.
        if !search.bypass_vector_index && !self.indexes().await?.is_empty() {
            return Ok(());
        }
        self.fits("query.limit", search.columns.as_deref(), rows, most)
    }

    /// Refuses a page of a scan that surely has more bytes than `most`.
    ///
    /// # Errors
    /// It has.
    pub fn page_fits(&self, scan: &Scan, offset: u64, size: usize, most: usize) -> Result<()> {
        if scan.filter.is_some() || self.has_restricted_rows() {
            return Ok(());
        }
        let rows = (size as u64).min(self.rows.saturating_sub(offset));
        self.fits("page_size", scan.columns.as_deref(), rows, most)
    }

    fn fits(&self, field: &str, columns: Option<&[String]>, rows: u64, most: usize) -> Result<()> {
        let fields = self.schema.fields().iter().filter(|field| match columns {
            Some(columns) => columns.contains(field.name()),
            None => true,
        });
        let width: u64 = fields.map(|field| width(field.data_type())).sum();
        let bytes = width.saturating_mul(rows);
        match bytes > most as u64 {
            true => Err(Error::TooLarge(format!(
                "{field}: so many rows have at least {bytes} bytes, an answer may have {most}: \
                 ask for fewer rows or columns, or use SearchStream"
            ))),
            false => Ok(()),
        }
    }
}

/// Bytes that each value of a type has; 0 where they differ.
pub(super) fn width(data_type: &DataType) -> u64 {
    match data_type {
        DataType::FixedSizeList(item, size) => {
            width(item.data_type()).saturating_mul(u64::try_from(*size).unwrap_or(0))
        }
        DataType::FixedSizeBinary(size) => u64::try_from(*size).unwrap_or(0),
        DataType::Struct(fields) => fields.iter().map(|field| width(field.data_type())).sum(),
        other => other.primitive_width().unwrap_or(0) as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn only_what_every_value_has_counts() {
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let vector = DataType::FixedSizeList(Arc::clone(&item), 768);
        let both = [
            Field::new("v", vector.clone(), true),
            Field::new("n", DataType::Int64, true),
        ];
        for (data_type, bytes) in [
            (DataType::Utf8, 0),
            (DataType::List(item), 0),
            (DataType::Int16, 2),
            (vector, 3_072),
            (DataType::FixedSizeBinary(16), 16),
            (DataType::Struct(both.to_vec().into()), 3_080),
        ] {
            assert_eq!(width(&data_type), bytes, "{data_type}");
        }
    }
}
