//! Two answers of rows, compared by what their clients see: the rows' values, and
//! their distances apart.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float32Type, Int64Type},
    row::{RowConverter, SortField},
};

use crate::{
    domain::{Difference, Error, Hit, Result, Verdict, answers::judge},
    storage::Rows,
};

/// Columns that say how near a row is; the first of them that is there counts.
const DISTANCES: [&str; 3] = ["_distance", "_relevance_score", "_score"];

/// Which of several queries a row answers.
const QUERY: &str = "query_index";

/// The hits of each query.
type Hits = BTreeMap<i64, Vec<Hit>>;

/// Compares an answer with the one that the client was sent. `limit` is that of
/// each query. `None` where there are values that cannot be compared.
pub(super) fn compare(
    expected: &Rows,
    found: &Rows,
    limit: usize,
    tolerance: f64,
) -> Result<Option<Verdict>> {
    let (Some(ours), Some(theirs)) = (hits(expected)?, hits(found)?) else {
        return Ok(None);
    };
    let none = Vec::new();
    let mut worst = Verdict::Same;
    let queries: Vec<i64> = ours.keys().chain(theirs.keys()).copied().collect();
    for query in queries {
        let (ours, theirs) = (ours.get(&query), theirs.get(&query));
        let (ours, theirs) = (ours.unwrap_or(&none), theirs.unwrap_or(&none));
        let verdict = judge(ours, theirs, limit, tolerance);
        if severity(&verdict) > severity(&worst) {
            worst = verdict;
        }
    }
    Ok(Some(worst))
}

fn severity(verdict: &Verdict) -> u8 {
    use crate::domain::DifferenceKind as Kind;
    match verdict {
        Verdict::Same => 0,
        Verdict::Ties => 1,
        Verdict::Different(Difference { kind, .. }) => match kind {
            Kind::Order => 2,
            Kind::Distance => 3,
            Kind::Rows => 4,
        },
    }
}

/// The rows of an answer by the query that they answer; `None` where there are
/// values that cannot be compared.
fn hits(rows: &Rows) -> Result<Option<Hits>> {
    let mut hits = Hits::new();
    let mut place = 0u16;
    for batch in &rows.batches {
        let Some(keys) = keys(batch)? else {
            return Ok(None);
        };
        let distances = distances(batch)?;
        let queries = batch
            .column_by_name(QUERY)
            .map(|c| cast(c, &DataType::Int64));
        let queries = queries.transpose().map_err(internal)?;
        for (row, key) in keys.into_iter().enumerate() {
            let query = queries
                .as_ref()
                .map_or(0, |queries| queries.as_primitive::<Int64Type>().value(row));
            // Where nothing says how near a row is, its place does.
            let distance = match &distances {
                Some(values) if values.is_null(row) => f32::NAN,
                Some(values) => values.as_primitive::<Float32Type>().value(row),
                None => f32::from(place),
            };
            place = place.saturating_add(1);
            hits.entry(query).or_default().push(Hit { key, distance });
        }
    }
    Ok(Some(hits))
}

fn distances(batch: &RecordBatch) -> Result<Option<ArrayRef>> {
    let column = DISTANCES.iter().find_map(|name| batch.column_by_name(name));
    let column = column.map(|column| cast(column, &DataType::Float32));
    column.transpose().map_err(internal)
}

/// A hash of each row's values but its distances.
fn keys(batch: &RecordBatch) -> Result<Option<Vec<u64>>> {
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(batch.columns());
    let kept = fields.filter(|(field, _)| !DISTANCES.contains(&field.name().as_str()));
    let columns: Vec<ArrayRef> = kept.map(|(_, column)| column.clone()).collect();
    if columns.is_empty() {
        return Ok(Some(vec![0; batch.num_rows()]));
    }
    let sorts: Vec<SortField> = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()))
        .collect();
    if !RowConverter::supports_fields(&sorts) {
        return Ok(None);
    }
    let converter = RowConverter::new(sorts).map_err(internal)?;
    let rows = converter.convert_columns(&columns).map_err(internal)?;
    let hash = |row: arrow::row::Row<'_>| {
        let mut hasher = DefaultHasher::new();
        row.as_ref().hash(&mut hasher);
        hasher.finish()
    };
    Ok(Some(rows.iter().map(hash).collect()))
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::Internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float32Array, Int32Array, StringArray};

    use super::*;
    use crate::domain::DifferenceKind;

    /// Rows of (query, title, distance).
    fn rows(all: &[(i32, &str, f32)]) -> Rows {
        let queries = Int32Array::from_iter_values(all.iter().map(|row| row.0));
        let titles = StringArray::from_iter_values(all.iter().map(|row| row.1));
        let distances = Float32Array::from_iter_values(all.iter().map(|row| row.2));
        let batch = RecordBatch::try_from_iter([
            (QUERY, Arc::new(queries) as ArrayRef),
            ("title", Arc::new(titles)),
            ("_distance", Arc::new(distances)),
        ])
        .unwrap();
        Rows {
            schema: batch.schema(),
            // In two batches, and the other answer in one.
            batches: vec![batch.slice(0, 1), batch.slice(1, all.len() - 1)],
        }
    }

    fn kind(ours: &Rows, theirs: &Rows) -> Option<DifferenceKind> {
        match compare(ours, theirs, 2, 0.001).unwrap().unwrap() {
            Verdict::Same | Verdict::Ties => None,
            Verdict::Different(difference) => Some(difference.kind),
        }
    }

    #[test]
    fn deliberately_wrong_answers_are_told_apart() {
        let ours = rows(&[(0, "a", 0.1), (0, "b", 0.2), (1, "c", 0.3), (1, "d", 0.4)]);
        for (theirs, expected) in [
            (
                [(0, "a", 0.1), (0, "b", 0.2), (1, "c", 0.3), (1, "d", 0.4)],
                None,
            ),
            (
                [
                    (0, "a", 0.1),
                    (0, "b", 0.2004),
                    (1, "c", 0.3),
                    (1, "d", 0.4),
                ],
                None,
            ),
            // The queries' answers may come one before the other.
            (
                [(1, "c", 0.3), (1, "d", 0.4), (0, "a", 0.1), (0, "b", 0.2)],
                None,
            ),
            (
                [(0, "a", 0.1), (0, "b", 0.2), (1, "d", 0.4), (1, "c", 0.3)],
                Some(DifferenceKind::Order),
            ),
            (
                [(0, "a", 0.1), (0, "b", 0.2), (1, "c", 0.31), (1, "d", 0.4)],
                Some(DifferenceKind::Distance),
            ),
            (
                [(0, "x", 0.1), (0, "b", 0.2), (1, "c", 0.31), (1, "d", 0.4)],
                Some(DifferenceKind::Rows),
            ),
            (
                [(0, "a", 0.1), (1, "b", 0.2), (1, "c", 0.3), (1, "d", 0.4)],
                Some(DifferenceKind::Rows),
            ),
        ] {
            assert_eq!(kind(&ours, &rows(&theirs)), expected, "{theirs:?}");
        }
    }

    #[test]
    fn without_distances_the_order_counts() {
        let of = |titles: &[&str]| {
            let titles = StringArray::from(titles.to_vec());
            let batch =
                RecordBatch::try_from_iter([("title", Arc::new(titles) as ArrayRef)]).unwrap();
            Rows {
                schema: batch.schema(),
                batches: vec![batch],
            }
        };
        let ours = of(&["a", "b"]);
        assert_eq!(kind(&ours, &of(&["a", "b"])), None);
        assert!(kind(&ours, &of(&["b", "a"])).is_some());
        assert_eq!(kind(&ours, &of(&["a"])), Some(DifferenceKind::Rows));
        assert_eq!(kind(&of(&[]), &of(&[])), None);
    }
}
