//! Plans, for whoever asks why a query is slow.

use lancedb::query::{ExecutableQuery, QueryBase, VectorQuery, VectorQueryRequest};

use super::{
    Rules, Snapshot, error,
    filter::{Bound, blame, denied},
    query::{Prepared, PreparedQuery},
    run::analyze,
};
use crate::domain::{Error, Result, search::Search};

/// What is to be told of a query.
#[derive(Clone, Copy)]
pub(super) enum Shown {
    /// How it would run.
    Plan { verbose: bool },
    /// How it ran, within so many bytes.
    Run { memory: usize },
}

impl Shown {
    pub(super) fn of(analyze: bool, verbose: bool, rules: &Rules) -> Self {
        match analyze {
            true => Shown::Run {
                memory: rules.max_memory,
            },
            false => Shown::Plan { verbose },
        }
    }
}

impl Snapshot {
    /// The plan of a search. A hybrid search has two, one per leg.
    pub async fn explain_search(
        &self,
        search: &Search,
        analyze: bool,
        verbose: bool,
        rules: &Rules,
    ) -> Result<String> {
        self.must_be_whole()?;
        let hybrid = search.full_text.is_some() && !search.vectors.is_empty();
        let Prepared { query, filter } = self.prepare(search, rules).await?;
        let filter = filter.as_ref();
        let shown = Shown::of(analyze, verbose, rules);
        match query {
            PreparedQuery::Text(query) => self.plan(&*query, filter, shown).await,
            PreparedQuery::Vector(query) if !hybrid => self.plan(&*query, filter, shown).await,
            PreparedQuery::Vector(query) => {
                let text = query.clone().into_plain();
                let mut request = query.into_request();
                request.base.full_text_search = None;
                let vector = self.vector_leg(request)?;
                Ok(format!(
                    "vector search:\n{}\nfull-text search:\n{}",
                    self.plan(&vector, filter, shown).await?,
                    self.plan(&text, filter, shown).await?
                ))
            }
        }
    }

    /// A plan tells of everything.
    pub(super) fn must_be_whole(&self) -> Result<()> {
        match self.view {
            None => Ok(()),
            Some(_) => Err(denied()),
        }
    }

    pub(super) async fn plan(
        &self,
        query: &impl ExecutableQuery,
        filter: Option<&Bound>,
        shown: Shown,
    ) -> Result<String> {
        let plan = match shown {
            Shown::Run { memory } => analyze(query, memory).await,
            Shown::Plan { verbose } => query.explain_plan(verbose).await,
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
