//! Searches on one snapshot.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Float32Array},
    datatypes::{DataType, Field},
};
use lancedb::{
    index::scalar::FullTextSearchQuery,
    query::{ExecutableQuery, Query, QueryBase, QueryExecutionOptions, Select, VectorQuery},
    rerankers::{NormalizeMethod, rrf::RRFReranker},
};

use super::{
    Batches, Rules, Snapshot, distance, error,
    filter::{Bound, blame},
    full_text,
    handle::must_have,
    run::run,
    snapshot::Rows,
};
use crate::{
    config::failpoint,
    domain::{
        Error, Resource, Result,
        search::{Normalize, Search, Vector},
    },
};

/// A search, ready to run.
pub(super) struct Prepared {
    pub(super) query: PreparedQuery,
    pub(super) filter: Option<Bound>,
}

/// A search in LanceDB's words.
pub(super) enum PreparedQuery {
    Vector(Box<VectorQuery>),
    Text(Box<Query>),
}

impl Snapshot {
    /// Runs a search; the rows come best first.
    pub async fn search(&self, search: &Search, rules: &Rules) -> Result<Batches> {
        let hybrid = search.full_text.is_some() && !search.vectors.is_empty();
        let (limit, offset) = (search.limit, search.offset);
        let Prepared { query, filter } = self.prepare(search, rules).await?;
        let options = QueryExecutionOptions::default();
        let stream = match &query {
            // LanceDB fuses the two parts itself, of at most as many rows as may be
            // asked for.
            PreparedQuery::Vector(query) if hybrid => query.execute_with_options(options).await,
            PreparedQuery::Vector(query) => run(&**query, rules.max_memory).await,
            PreparedQuery::Text(query) => run(&**query, rules.max_memory).await,
        }
        .map_err(|e| blame(&self.name, filter.as_ref(), e))?;
        let batches = Batches::new(self.name.clone(), filter, stream);
        let batches = batches.plain(self.has_hidden_columns());
        if hybrid && offset > 0 {
            // A fused list is in memory already, and at most limit + offset rows.
            return page_of(batches.collect(usize::MAX).await?, offset, limit);
        }
        Ok(batches)
    }

    /// Checks a search against the schema and says it in LanceDB's words.
    pub(super) async fn prepare(&self, search: &Search, rules: &Rules) -> Result<Prepared> {
        self.check_columns(search.columns.as_deref())?;
        if let Some(full_text) = &search.full_text {
            self.check_full_text(full_text).await?;
        }
        let hybrid = search.full_text.is_some() && !search.vectors.is_empty();
        let mut base = self.table.query();
        if hybrid {
            // LanceDB would leave out `offset` rows of each list before fusing
            // them; what a pager wants is the fused list from `offset` on.
            base = base.limit(search.limit + search.offset);
        } else {
            base = base.limit(search.limit).offset(search.offset);
        }
        let filter = self.filter(search.filter.as_ref(), rules)?;
        if let Some(filter) = &filter {
            base = base.only_if(filter.sql.as_str());
        }
        // How many of the nearest rows are those of others nobody is to find out.
        let may = !self.has_restricted_rows() || failpoint::breaks("access:postfilter");
        if search.postfilter && may {
            base = base.postfilter();
        }
        if search.fast_search {
            base = base.fast_search();
        }
        if search.with_row_id {
            base = base.with_row_id();
        }
        if let Some(columns) = self.columns(search.columns.as_deref()) {
            let mut columns = columns.into_owned();
            // Lance adds it anyway, and warns of that in the log of every search.
            // In a hybrid search each part has another one.
            if !hybrid {
                columns.push(match search.vectors.is_empty() {
                    true => "_score".to_owned(),
                    false => "_distance".to_owned(),
                });
            }
            base = base.select(Select::Columns(columns));
        }
        if let Some(full_text) = &search.full_text {
            let full_text = self.named(full_text).await?;
            base =
                base.full_text_search(FullTextSearchQuery::new_query(full_text::fts(full_text)?));
        }
        if search.vectors.is_empty() {
            let query = PreparedQuery::Text(Box::new(base));
            return Ok(Prepared { query, filter });
        }
        if hybrid {
            base = base
                .norm(match search.normalize {
                    Normalize::Score => NormalizeMethod::Score,
                    Normalize::Rank => NormalizeMethod::Rank,
                })
                .rerank(Arc::new(match search.rrf_k {
                    Some(k) => RRFReranker::new(k),
                    None => RRFReranker::default(),
                }));
        }
        let column = self.vector_column(search.vector_column.as_deref(), &search.vectors)?;
        let mut vectors = search.vectors.iter().map(array);
        let invalid = |e| error::in_table(&self.name, e);
        let Some(first) = vectors.next() else {
            return Err(Error::Internal("a vector search without a vector".into()));
        };
        let mut query = base.nearest_to(first).map_err(invalid)?.column(column);
        for vector in vectors {
            query = query.add_query_vector(vector).map_err(invalid)?;
        }
        if let Some(kind) = search.distance {
            query = query.distance_type(distance::to_lancedb(kind));
        }
        query = query.distance_range(search.distance_lower_bound, search.distance_upper_bound);
        if let Some(nprobes) = search.nprobes {
            query = query.nprobes(nprobes).map_err(invalid)?;
        }
        if let Some(minimum) = search.minimum_nprobes {
            query = query.minimum_nprobes(minimum).map_err(invalid)?;
        }
        if let Some(maximum) = search.maximum_nprobes {
            query = query.maximum_nprobes(Some(maximum)).map_err(invalid)?;
        }
        if let Some(factor) = search.refine_factor {
            query = query.refine_factor(factor);
        }
        if let Some(ef) = search.ef {
            query = query.ef(ef);
        }
        if search.bypass_vector_index {
            query = query.bypass_vector_index();
        }
        let query = PreparedQuery::Vector(Box::new(query));
        Ok(Prepared { query, filter })
    }

    /// The vector column to search: the named one, or the only one.
    fn vector_column(&self, named: Option<&str>, vectors: &[Vector]) -> Result<&str> {
        const FIELD: &str = "query.vector_column";
        let field = match named {
            Some(name) => self
                .schema
                .fields()
                .iter()
                .find(|f| f.name() == name)
                .ok_or_else(|| Error::not_found(Resource::Column, name))?,
            None => {
                let mut columns = self.schema.fields().iter().filter(|f| is_vector(f));
                match (columns.next(), columns.next()) {
                    (Some(only), None) => only,
                    (None, _) => {
                        return Err(Error::invalid(FIELD, "the table has no vector column"));
                    }
                    (Some(_), Some(_)) => {
                        let text = "is required: the table has several vector columns";
                        return Err(Error::invalid(FIELD, text));
                    }
                }
            }
        };
        let Some(dimension) = dimension(field) else {
            let text = format!("column '{}' is not a vector column", field.name());
            return Err(Error::invalid(FIELD, text));
        };
        for (i, vector) in vectors.iter().enumerate() {
            if vector.len() != dimension {
                let text = format!(
                    "has {} elements where column '{}' has {dimension}",
                    vector.len(),
                    field.name()
                );
                return Err(Error::invalid(format!("query.vectors[{i}]"), text));
            }
        }
        Ok(field.name())
    }

    /// LanceDB panics on some unknown column names, so each is looked up first.
    pub(super) fn check_columns(&self, columns: Option<&[String]>) -> Result<()> {
        columns
            .unwrap_or_default()
            .iter()
            .try_for_each(|name| must_have(&self.schema, name))
    }
}

/// A query vector as LanceDB takes it, without a copy of its elements.
fn array(vector: &Vector) -> ArrayRef {
    Arc::new(Float32Array::new(vector.clone(), None))
}

/// Rows `offset..offset + limit`.
fn page_of(rows: Rows, offset: usize, limit: usize) -> Result<Batches> {
    let schema = Arc::clone(&rows.schema);
    let all = arrow::compute::concat_batches(&schema, &rows.batches)
        .map_err(|e| Error::Internal(e.to_string()))?;
    let from = offset.min(all.num_rows());
    let page = all.slice(from, limit.min(all.num_rows() - from));
    Ok(Batches {
        schema,
        stream: Box::pin(futures::stream::iter([Ok(page)])),
    })
}

/// Whether a column holds one vector a row.
fn is_vector(field: &Field) -> bool {
    dimension(field).is_some()
}

/// Elements of a vector column, `None` for another column. A list of vectors
/// (multivector) has the dimension of its items.
fn dimension(field: &Field) -> Option<usize> {
    match field.data_type() {
        DataType::FixedSizeList(item, size) => match item.data_type() {
            DataType::Float16
            | DataType::Float32
            | DataType::Float64
            | DataType::UInt8
            | DataType::Int8 => usize::try_from(*size).ok(),
            _ => None,
        },
        DataType::List(item) | DataType::LargeList(item) => match item.data_type() {
            DataType::FixedSizeList(..) => dimension(item),
            _ => None,
        },
        _ => None,
    }
}
