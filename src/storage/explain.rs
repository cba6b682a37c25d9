//! Plans, for whoever asks why a query is slow.

use lancedb::query::{ExecutableQuery, QueryBase, VectorQuery, VectorQueryRequest};

use super::{
    Snapshot, error,
    filter::{Bound, blame},
    query::{Prepared, PreparedQuery},
};
use crate::domain::{Error, Result, search::Search};

impl Snapshot {
    /// The plan of a search. A hybrid search has two, one per leg.
    pub async fn explain_search(
        &self,
        search: &Search,
        analyze: bool,
        verbose: bool,
        max_filter_depth: usize,
    ) -> Result<String> {
        let hybrid = search.full_text.is_some() && !search.vectors.is_empty();
        let Prepared { query, filter } = self.prepare(search, max_filter_depth).await?;
        let filter = filter.as_ref();
        match query {
            PreparedQuery::Text(query) => self.plan(&*query, filter, analyze, verbose).await,
            PreparedQuery::Vector(query) if !hybrid => {
                self.plan(&*query, filter, analyze, verbose).await
            }
            PreparedQuery::Vector(query) => {
                let text = query.clone().into_plain();
                let mut request = query.into_request();
                request.base.full_text_search = None;
                let vector = self.vector_leg(request)?;
                Ok(format!(
                    "vector search:\n{}\nfull-text search:\n{}",
                    self.plan(&vector, filter, analyze, verbose).await?,
                    self.plan(&text, filter, analyze, verbose).await?
                ))
            }
        }
    }

    pub(super) async fn plan(
        &self,
        query: &impl ExecutableQuery,
        filter: Option<&Bound>,
        analyze: bool,
        verbose: bool,
    ) -> Result<String> {
        let plan = if analyze {
            query.analyze_plan().await
        } else {
            query.explain_plan(verbose).await
        };
        let plan = plan.map_err(|e| blame(&self.name, filter, e))?;
        Ok(without_paths(&plan, &format!("{}.lance", self.name)))
    }

    /// The vector part of a hybrid search as a query of its own.
    fn vector_leg(&self, request: VectorQueryRequest) -> Result<VectorQuery> {
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
