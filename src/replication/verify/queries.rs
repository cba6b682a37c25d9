//! The same queries on every connection, at one version.

use arrow::{
    array::{Array, AsArray},
    compute::cast,
    datatypes::{DataType, Field, Float32Type, Schema},
};
use futures::{StreamExt, TryStreamExt, stream};

use super::answers::hits;
use crate::{
    domain::{
        Error, Hit, Result, Verdict,
        answers::judge,
        search::{Scan, Search},
    },
    storage::{Rows, Rules, Snapshot},
};

/// Places in a table that sampled rows are taken from: spread over it, and few
/// enough that a large table is not read for them.
const SAMPLED_PLACES: usize = 16;

/// Which queries to ask.
#[derive(Debug, Clone)]
pub struct Queries {
    pub vectors: QueryVectors,
    /// The column to search; every column that holds vectors of the queries'
    /// length when `None`.
    pub column: Option<String>,
    /// Rows to answer, for each query.
    pub limit: usize,
}

/// Where the query vectors come from.
#[derive(Debug, Clone)]
pub enum QueryVectors {
    /// These.
    Given(Vec<Vec<f32>>),
    /// This many rows of each table, spread over it.
    Sampled(usize),
}

/// What came of the queries on one replica.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub queries: u64,
    pub ties: u64,
    pub different: u64,
    /// Which query was the first that was answered otherwise, and how.
    pub first: Option<String>,
    /// What kept it from being asked.
    pub failure: Option<Error>,
}

/// Whether an error is of the moment rather than of what is stored.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable { .. } | Error::Overloaded(_) | Error::Shed { .. } | Error::Deadline(_)
    )
}

impl Queries {
    /// The columns of a table that these queries can be asked of.
    pub(super) fn columns(&self, schema: &Schema) -> Vec<String> {
        let length = match &self.vectors {
            QueryVectors::Given(vectors) => vectors.first().map(Vec::len),
            QueryVectors::Sampled(_) => None,
        };
        let fits = |field: &Field| {
            let named = self.column.as_ref().is_none_or(|name| name == field.name());
            match dimension(field) {
                Some(dimension) => named && length.is_none_or(|length| length == dimension),
                None => false,
            }
        };
        let fields = schema.fields().iter();
        fields
            .filter(|field| fits(field))
            .map(|field| field.name().clone())
            .collect()
    }

    /// The query vectors for one column.
    pub(super) async fn vectors(&self, snapshot: &Snapshot, column: &str) -> Result<Vec<Vec<f32>>> {
        let wanted = match &self.vectors {
            QueryVectors::Given(vectors) => return Ok(vectors.clone()),
            QueryVectors::Sampled(wanted) => *wanted,
        };
        let rows = snapshot.count_all().await?;
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let scan = Scan {
            columns: Some(vec![column.to_owned()]),
            ..Scan::default()
        };
        let mut vectors = Vec::new();
        let rules = Rules::ours();
        for (offset, limit) in places(rows, wanted) {
            let page = snapshot.scan(&scan, offset as u64, limit, &rules).await?;
            collect(&page.collect(usize::MAX).await?, column, &mut vectors)?;
        }
        Ok(vectors)
    }
}

/// Offsets and numbers of the rows to take, of a table of `rows`.
fn places(rows: usize, wanted: usize) -> Vec<(usize, usize)> {
    if wanted >= rows {
        return match rows {
            0 => Vec::new(),
            rows => vec![(0, rows)],
        };
    }
    let places = SAMPLED_PLACES.min(wanted);
    let place = |i: usize| {
        let more = usize::from(i < wanted % places);
        // In two steps, so that no table is too long.
        let offset = i * (rows / places) + i * (rows % places) / places;
        (offset, wanted / places + more)
    };
    (0..places).map(place).collect()
}

/// Elements of a column of float vectors, `None` for another column.
fn dimension(field: &Field) -> Option<usize> {
    match field.data_type() {
        DataType::FixedSizeList(item, size) if item.data_type().is_floating() => {
            usize::try_from(*size).ok()
        }
        _ => None,
    }
}

/// The vectors of rows that have one, and one that can be searched for.
fn collect(rows: &Rows, column: &str, vectors: &mut Vec<Vec<f32>>) -> Result<()> {
    for batch in &rows.batches {
        let values = batch
            .column_by_name(column)
            .and_then(|values| values.as_fixed_size_list_opt())
            .ok_or_else(|| Error::Internal(format!("column {column} holds no vectors")))?;
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            let items = cast(&values.value(row), &DataType::Float32)
                .map_err(|e| Error::Internal(e.to_string()))?;
            let items = items.as_primitive::<Float32Type>();
            if items.null_count() == 0 && items.values().iter().all(|x| x.is_finite()) {
                vectors.push(items.values().to_vec());
            }
        }
    }
    Ok(())
}

/// Asks every query of the primary and of each replica, `parallel` at once.
///
/// # Errors
/// Those of the primary; a replica's are in its outcome.
pub(super) async fn ask(
    primary: &Snapshot,
    replicas: &[&Snapshot],
    search: &Search,
    vectors: Vec<Vec<f32>>,
    parallel: usize,
) -> Result<Vec<Outcome>> {
    let mut outcomes: Vec<Outcome> = replicas.iter().map(|_| Outcome::default()).collect();
    let mut answers = stream::iter(vectors.into_iter().enumerate())
        .map(|(number, vector)| async move {
            let expected = answer(primary, search, vector.clone()).await?;
            let mut verdicts = Vec::with_capacity(replicas.len());
            for replica in replicas {
                let found = answer(replica, search, vector.clone()).await;
                verdicts.push(found.map(|found| judge(&expected, &found, search.limit, 0.0)));
            }
            Ok::<_, Error>((number, verdicts))
        })
        .buffered(parallel);
    while let Some((number, verdicts)) = answers.try_next().await? {
        for (outcome, verdict) in outcomes.iter_mut().zip(verdicts) {
            outcome.note(number, verdict);
        }
    }
    Ok(outcomes)
}

impl Outcome {
    fn note(&mut self, number: usize, verdict: Result<Verdict>) {
        let difference = match verdict {
            Ok(Verdict::Same) => None,
            Ok(Verdict::Ties) => {
                self.ties += 1;
                None
            }
            Ok(Verdict::Different(how)) => Some(how.to_string()),
            Err(error) if is_passing(&error) => {
                self.failure.get_or_insert(error);
                return;
            }
            Err(error) => Some(error.to_string()),
        };
        self.queries += 1;
        if let Some(how) = difference {
            self.different += 1;
            self.first
                .get_or_insert_with(|| format!("query {number} (from 0): {how}"));
        }
    }
}

async fn answer(snapshot: &Snapshot, search: &Search, vector: Vec<f32>) -> Result<Vec<Hit>> {
    let search = Search {
        vectors: vec![vector.into()],
        ..search.clone()
    };
    let rows = snapshot.search(&search, &Rules::ours()).await?;
    hits(&rows.collect(usize::MAX).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampled_rows_are_spread_over_the_table() {
        for (rows, wanted) in [(1_000, 100), (1_000, 5), (17, 16), (usize::MAX, 40), (3, 1)] {
            let places = places(rows, wanted);
            let taken: usize = places.iter().map(|(_, n)| n).sum();
            assert_eq!(taken, wanted, "{wanted} of {rows}: {places:?}");
            for pair in places.windows(2) {
                assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{places:?}");
            }
            let (offset, count) = places[places.len() - 1];
            assert!(offset + count <= rows);
            assert!(offset >= rows / 20 * (places.len() - 1));
        }
        assert_eq!(places(10, 10), [(0, 10)]);
        assert_eq!(places(0, 10), []);
    }
}
