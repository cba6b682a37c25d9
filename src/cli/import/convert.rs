//! List columns that are to be vectors become fixed-size lists of float32.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListBuilder, PrimitiveBuilder, RecordBatch},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Float32Type, Schema, SchemaRef},
    error::ArrowError,
};

/// What makes the rows of the files the rows of the table.
pub(super) struct Converter {
    schema: SchemaRef,
    /// By position, those that change.
    vectors: Vec<(usize, DataType)>,
}

impl Converter {
    /// Takes the dimension of each vector column from the first rows.
    ///
    /// # Errors
    /// What is wrong with a named column.
    pub(super) fn new(first: &RecordBatch, columns: &[String]) -> Result<Self, String> {
        let schema = first.schema();
        let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        let mut vectors = Vec::new();
        for name in columns {
            let index = schema
                .index_of(name)
                .map_err(|_| format!("--vector: there is no column {name}"))?;
            if matches!(schema.field(index).data_type(), DataType::FixedSizeList(..)) {
                continue;
            }
            let lists = as_list(first.column(index))
                .map_err(|error| format!("--vector {name}: {error}"))?;
            let lists = lists.as_list::<i32>();
            let sizes = lists.iter().flatten().map(|list| list.len());
            let size = sizes.max().unwrap_or(0);
            let size = i32::try_from(size).ok().filter(|size| *size > 0);
            let size =
                size.ok_or_else(|| format!("--vector {name}: the first rows hold no numbers"))?;
            let item = Field::new("item", DataType::Float32, true);
            let vector = DataType::FixedSizeList(Arc::new(item), size);
            fields[index] = Field::new(name, vector.clone(), schema.field(index).is_nullable());
            vectors.push((index, vector));
        }
        Ok(Converter {
            schema: Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())),
            vectors,
        })
    }

    /// The columns of the table.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) fn convert(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mut columns = batch.columns().to_vec();
        for (index, vector) in &self.vectors {
            columns[*index] = cast_strictly(&as_list(&columns[*index])?, vector)?;
        }
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

/// A column as lists of float32. CSV has its lists as text: "[1, 2.5]".
fn as_list(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if matches!(column.data_type(), DataType::Utf8) {
        let mut lists = ListBuilder::new(PrimitiveBuilder::<Float32Type>::new());
        for text in column.as_string::<i32>() {
            let Some(text) = text.filter(|text| !text.is_empty()) else {
                lists.append_null();
                continue;
            };
            let numbers: Vec<f32> = serde_json::from_str(text)
                .map_err(|_| ArrowError::CastError("the text is no list of numbers".into()))?;
            lists.append_value(numbers.into_iter().map(Some));
        }
        return Ok(Arc::new(lists.finish()));
    }
    if !matches!(
        column.data_type(),
        DataType::List(_) | DataType::LargeList(_)
    ) {
        let problem = format!("{} is no list of numbers", column.data_type());
        return Err(ArrowError::CastError(problem));
    }
    let item = Field::new("item", DataType::Float32, true);
    cast_strictly(column, &DataType::List(Arc::new(item)))
}

/// A cast that fails where it would make a null of a value.
fn cast_strictly(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, to, &options)
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{ListArray, StringArray},
        datatypes::{Float64Type, Int64Type},
    };

    use super::*;

    fn batch(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([("v", column, true)]).unwrap()
    }

    fn convert(column: ArrayRef) -> Result<Vec<Option<Vec<f32>>>, String> {
        let batch = batch(column);
        let converter = Converter::new(&batch, &["v".into()])?;
        let converted = converter
            .convert(batch)
            .map_err(|error| error.to_string())?;
        let vectors = converted.column(0).as_fixed_size_list();
        let numbers = |list: ArrayRef| list.as_primitive::<Float32Type>().values().to_vec();
        Ok(vectors.iter().map(|list| list.map(numbers)).collect())
    }

    #[test]
    fn lists_of_any_number_become_vectors() {
        let expected = vec![Some(vec![1.0, 2.0]), None, Some(vec![3.0, 4.0])];
        let doubles = [
            Some(vec![Some(1.0), Some(2.0)]),
            None,
            Some(vec![Some(3.0), Some(4.0)]),
        ];
        let doubles = ListArray::from_iter_primitive::<Float64Type, _, _>(doubles);
        assert_eq!(convert(Arc::new(doubles)), Ok(expected.clone()));
        let ints = [
            Some(vec![Some(1), Some(2)]),
            None,
            Some(vec![Some(3), Some(4)]),
        ];
        let ints = ListArray::from_iter_primitive::<Int64Type, _, _>(ints);
        assert_eq!(convert(Arc::new(ints)), Ok(expected.clone()));
        let text = StringArray::from(vec![Some("[1, 2]"), None, Some("[3.0,4]")]);
        assert_eq!(convert(Arc::new(text)), Ok(expected));
    }

    #[test]
    fn what_is_no_vector_says_so() {
        let ragged = [Some(vec![Some(1.0)]), Some(vec![Some(1.0), Some(2.0)])];
        let ragged = ListArray::from_iter_primitive::<Float64Type, _, _>(ragged);
        assert!(convert(Arc::new(ragged)).is_err());
        let words = convert(Arc::new(StringArray::from(vec!["red"]))).unwrap_err();
        assert!(
            words.contains("--vector v") && words.contains("no list of numbers"),
            "{words}"
        );
        let nothing = convert(Arc::new(StringArray::from(vec![None::<&str>]))).unwrap_err();
        assert!(nothing.contains("hold no numbers"), "{nothing}");
        let missing = Converter::new(
            &batch(Arc::new(StringArray::from(vec!["x"]))),
            &["w".into()],
        );
        assert!(missing.is_err_and(|problem| problem.contains("no column w")));
    }
}
