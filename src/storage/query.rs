//! Searches on one snapshot.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use lancedb::{
    DistanceType,
    index::scalar::{
        BooleanQuery, BoostQuery, FtsQuery, FullTextSearchQuery, MatchQuery, MultiMatchQuery,
        Operator as FtsOperator, PhraseQuery,
    },
    query::{ExecutableQuery, Query, QueryBase, QueryExecutionOptions, Select, VectorQuery},
    rerankers::{NormalizeMethod, rrf::RRFReranker},
};

use super::{Batches, Snapshot, error, filter, index, snapshot::Rows};
use crate::domain::{
    Error, Resource, Result,
    search::{Distance, FullText, Normalize, Operator, Search},
};

/// A search, ready to run.
enum Prepared {
    Vector(Box<VectorQuery>),
    Text(Query),
}

impl Snapshot {
    /// Runs a search; the rows come best first.
    pub async fn search(&self, search: Search, max_filter_depth: usize) -> Result<Batches> {
        let hybrid = search.full_text.is_some() && !search.vectors.is_empty();
        let (limit, offset) = (search.limit, search.offset);
        let prepared = self.prepare(search, max_filter_depth).await?;
        let options = QueryExecutionOptions::default();
        let stream = match &prepared {
            Prepared::Vector(query) => query.execute_with_options(options).await,
            Prepared::Text(query) => query.execute_with_options(options).await,
        }
        .map_err(|e| error::in_table(&self.name, e))?;
        let batches = Batches::new(self.name.clone(), stream);
        if hybrid && offset > 0 {
            // A fused list is in memory already, and at most limit + offset rows.
            return page_of(batches.collect(usize::MAX).await?, offset, limit);
        }
        Ok(batches)
    }

    /// The plan of a search. A hybrid search has two, one per leg.
    pub async fn explain_search(
        &self,
        search: Search,
        analyze: bool,
        verbose: bool,
        max_filter_depth: usize,
    ) -> Result<String> {
        let hybrid = search.full_text.is_some() && !search.vectors.is_empty();
        match self.prepare(search, max_filter_depth).await? {
            Prepared::Text(query) => self.plan(&query, analyze, verbose).await,
            Prepared::Vector(query) if !hybrid => self.plan(&*query, analyze, verbose).await,
            Prepared::Vector(query) => {
                let text = query.clone().into_plain();
                let mut request = query.into_request();
                request.base.full_text_search = None;
                let vector = self.vector_leg(request)?;
                Ok(format!(
                    "vector search:\n{}\nfull-text search:\n{}",
                    self.plan(&vector, analyze, verbose).await?,
                    self.plan(&text, analyze, verbose).await?
                ))
            }
        }
    }

    pub(super) async fn plan(
        &self,
        query: &impl ExecutableQuery,
        analyze: bool,
        verbose: bool,
    ) -> Result<String> {
        let plan = if analyze {
            query.analyze_plan().await
        } else {
            query.explain_plan(verbose).await
        };
        let plan = plan.map_err(|e| error::in_table(&self.name, e))?;
        Ok(without_paths(&plan, &format!("{}.lance", self.name)))
    }

    /// The vector part of a hybrid search as a query of its own.
    fn vector_leg(&self, request: lancedb::query::VectorQueryRequest) -> Result<VectorQuery> {
        let invalid = |e| error::in_table(&self.name, e);
        let mut vectors = request.query_vector.into_iter();
        let Some(first) = vectors.next() else {
            return Err(Error::Internal("a vector search without a vector".into()));
        };
        let mut leg = self.table.query().nearest_to(first).map_err(invalid)?;
        if let Some(column) = &request.column {
            leg = leg.column(column);
        }
        leg = leg
            .select(request.base.select)
            .limit(request.base.limit.unwrap_or(10))
            .distance_range(request.lower_bound, request.upper_bound);
        if let Some(nprobes) = request.nprobes {
            leg = leg.nprobes(nprobes).map_err(invalid)?;
        }
        Ok(leg)
    }

    /// Checks a search against the schema and says it in LanceDB's words.
    async fn prepare(&self, search: Search, max_filter_depth: usize) -> Result<Prepared> {
        self.check_columns(search.columns.as_deref(), "query.columns")?;
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
        if let Some(filter) = &search.filter {
            base = base.only_if(filter::bind(filter, &self.schema, max_filter_depth)?);
        }
        if search.postfilter {
            base = base.postfilter();
        }
        if search.fast_search {
            base = base.fast_search();
        }
        if search.with_row_id {
            base = base.with_row_id();
        }
        if let Some(columns) = &search.columns {
            base = base.select(Select::Columns(columns.clone()));
        }
        if let Some(full_text) = search.full_text {
            base = base.full_text_search(FullTextSearchQuery::new_query(fts(full_text)?));
        }
        if search.vectors.is_empty() {
            return Ok(Prepared::Text(base));
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
        let mut vectors = search.vectors.into_iter();
        let invalid = |e| error::in_table(&self.name, e);
        let Some(first) = vectors.next() else {
            return Err(Error::Internal("a vector search without a vector".into()));
        };
        let mut query = base.nearest_to(first).map_err(invalid)?.column(column);
        for vector in vectors {
            query = query.add_query_vector(vector).map_err(invalid)?;
        }
        if let Some(distance) = search.distance {
            query = query.distance_type(distance_type(distance));
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
        Ok(Prepared::Vector(Box::new(query)))
    }

    /// The vector column to search: the named one, or the only one.
    fn vector_column(&self, named: Option<&str>, vectors: &[Vec<f32>]) -> Result<&str> {
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
    pub(super) fn check_columns(&self, columns: Option<&[String]>, field: &str) -> Result<()> {
        for name in columns.unwrap_or_default() {
            let path = name.split('.').next().unwrap_or(name);
            let known = self.schema.column_with_name(name).is_some()
                || self.schema.column_with_name(path).is_some();
            if !known {
                tracing::debug!(field, "unknown column");
                return Err(Error::not_found(Resource::Column, name));
            }
        }
        Ok(())
    }

    async fn check_full_text(&self, query: &FullText) -> Result<()> {
        let indexes = self.indexes().await?;
        let mut covered = indexes
            .iter()
            .filter(|i| i.kind == index::FTS)
            .flat_map(|i| i.columns.iter());
        let mut columns = Vec::new();
        columns_of(query, &mut columns);
        if columns.is_empty() {
            return match covered.next() {
                Some(_) => Ok(()),
                None => Err(Error::not_found(Resource::Index, "full-text index")),
            };
        }
        for column in columns {
            if self.schema.column_with_name(column).is_none() && !column.contains('.') {
                return Err(Error::not_found(Resource::Column, column));
            }
            if !covered.clone().any(|c| c == column) {
                let name = format!("full-text index of column {column}");
                return Err(Error::not_found(Resource::Index, name));
            }
        }
        Ok(())
    }
}

/// A plan that names the table's folder and not where it is.
fn without_paths(plan: &str, folder: &str) -> String {
    const URI: &str = "uri=";
    let mut clean = String::with_capacity(plan.len());
    let mut rest = plan;
    while let Some(at) = rest.find(URI) {
        let (before, path) = rest.split_at(at + URI.len());
        clean.push_str(before);
        let end = path.find([',', '\n']).unwrap_or(path.len());
        let from = path[..end].find(folder).unwrap_or(0);
        clean.push_str(&path[from..end]);
        rest = &path[end..];
    }
    clean.push_str(rest);
    clean
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

pub(super) fn distance_type(distance: Distance) -> DistanceType {
    match distance {
        Distance::L2 => DistanceType::L2,
        Distance::Cosine => DistanceType::Cosine,
        Distance::Dot => DistanceType::Dot,
        Distance::Hamming => DistanceType::Hamming,
    }
}

fn columns_of<'a>(query: &'a FullText, columns: &mut Vec<&'a str>) {
    match query {
        FullText::Match { column, .. } | FullText::Phrase { column, .. } => {
            columns.extend(column.as_deref());
        }
        FullText::MultiMatch { columns: named, .. } => {
            columns.extend(named.iter().map(String::as_str));
        }
        FullText::Boost {
            positive, negative, ..
        } => {
            columns_of(positive, columns);
            columns_of(negative, columns);
        }
        FullText::Boolean {
            should,
            must,
            must_not,
        } => {
            for part in should.iter().chain(must).chain(must_not) {
                columns_of(part, columns);
            }
        }
    }
}

fn fts_operator(operator: Operator) -> FtsOperator {
    match operator {
        Operator::Or => FtsOperator::Or,
        Operator::And => FtsOperator::And,
    }
}

fn fts(query: FullText) -> Result<FtsQuery> {
    Ok(match query {
        FullText::Match {
            terms,
            column,
            operator,
            fuzziness,
            max_expansions,
            prefix_length,
            boost,
        } => {
            let mut query = MatchQuery::new(terms)
                .with_column(column)
                .with_operator(fts_operator(operator))
                // LanceDB reads `None` as "choose by the length of the word".
                .with_fuzziness(Some(fuzziness.unwrap_or(0)))
                .with_prefix_length(prefix_length)
                .with_boost(boost);
            if let Some(most) = max_expansions {
                query = query.with_max_expansions(most);
            }
            FtsQuery::Match(query)
        }
        FullText::Phrase {
            terms,
            column,
            slop,
        } => FtsQuery::Phrase(PhraseQuery::new(terms).with_column(column).with_slop(slop)),
        FullText::Boost {
            positive,
            negative,
            negative_boost,
        } => FtsQuery::Boost(BoostQuery::new(
            fts(*positive)?,
            fts(*negative)?,
            negative_boost,
        )),
        FullText::MultiMatch {
            terms,
            columns,
            boosts,
            operator,
        } => {
            let invalid = |e: lance::Error| error::from_lance(e);
            let mut query = MultiMatchQuery::try_new(terms, columns).map_err(invalid)?;
            if !boosts.is_empty() {
                query = query.try_with_boosts(boosts).map_err(invalid)?;
            }
            FtsQuery::MultiMatch(query.with_operator(fts_operator(operator)))
        }
        FullText::Boolean {
            should,
            must,
            must_not,
        } => {
            let mut query = BooleanQuery::new([]);
            for part in should {
                query = query.with_should(fts(part)?);
            }
            for part in must {
                query = query.with_must(fts(part)?);
            }
            for part in must_not {
                query = query.with_must_not(fts(part)?);
            }
            FtsQuery::Boolean(query)
        }
    })
}
