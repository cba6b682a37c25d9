//! Full-text queries.

use super::faults::{Faults, check_columns, optional, text_fault};
use crate::{
    config::Limits,
    domain::{
        Error, Result,
        search::{FullText, Operator},
    },
    proto::v1::{self as pb, full_text_query::Query},
};

/// How deep queries may nest.
const MAX_DEPTH: usize = 16;

/// Most queries in one, nested ones included: Lucene's default for boolean clauses
/// (IndexSearcher.getMaxClauseCount).
const MAX_CLAUSES: usize = 1024;

/// A full-text query. `field` is the path of `query`; every fault is reported.
pub fn full_text(query: pb::FullTextQuery, field: &str, limits: &Limits) -> Result<FullText> {
    let mut reader = Reader {
        faults: Faults::default(),
        max_terms: limits.max_filter_bytes,
        seen: 0,
    };
    let found = reader.query(query, field, 0);
    reader.faults.finish()?;
    found.ok_or_else(|| Error::invalid(field, "is not a query"))
}

struct Reader {
    faults: Faults,
    max_terms: usize,
    seen: usize,
}

impl Reader {
    fn query(&mut self, query: pb::FullTextQuery, path: &str, depth: usize) -> Option<FullText> {
        self.seen += 1;
        if depth >= MAX_DEPTH {
            return self.refuse(path, format!("nests deeper than {MAX_DEPTH}"));
        }
        if self.seen > MAX_CLAUSES {
            // Once is enough.
            if self.seen == MAX_CLAUSES + 1 {
                self.faults
                    .add(path, format!("is more than {MAX_CLAUSES} queries in one"));
            }
            return None;
        }
        match query.query {
            None => self.refuse(path, "needs a query"),
            Some(Query::Text(terms)) => {
                self.terms(&terms, &format!("{path}.text"));
                Some(FullText::Match {
                    terms,
                    column: None,
                    operator: Operator::Or,
                    fuzziness: Some(0),
                    max_expansions: None,
                    prefix_length: 0,
                    boost: 1.0,
                })
            }
            Some(Query::Match(q)) => self.matches(q, &format!("{path}.match")),
            Some(Query::Phrase(q)) => {
                self.terms(&q.terms, &format!("{path}.phrase.terms"));
                Some(FullText::Phrase {
                    terms: q.terms,
                    column: optional(q.column),
                    slop: q.slop,
                })
            }
            Some(Query::Boost(q)) => self.boost(*q, &format!("{path}.boost"), depth),
            Some(Query::MultiMatch(q)) => self.multi_match(q, &format!("{path}.multi_match")),
            Some(Query::Boolean(q)) => self.boolean(q, &format!("{path}.boolean"), depth),
        }
    }

    fn matches(&mut self, q: pb::MatchQuery, path: &str) -> Option<FullText> {
        self.terms(&q.terms, &format!("{path}.terms"));
        self.weight(q.boost, &format!("{path}.boost"));
        Some(FullText::Match {
            operator: self.operator(q.operator, path)?,
            terms: q.terms,
            column: optional(q.column),
            // LanceDB takes none for "by the length of the word".
            fuzziness: Some(q.fuzziness.unwrap_or(0)),
            max_expansions: (q.max_expansions > 0).then_some(q.max_expansions as usize),
            prefix_length: q.prefix_length,
            boost: if q.boost == 0.0 { 1.0 } else { q.boost },
        })
    }

    fn boost(&mut self, q: pb::BoostQuery, path: &str, depth: usize) -> Option<FullText> {
        let negative_boost = q.negative_boost;
        if !(0.0..=1.0).contains(&negative_boost) {
            self.faults
                .add(format!("{path}.negative_boost"), "must be from 0 to 1");
        }
        let positive = self.required(q.positive, format!("{path}.positive"), depth);
        let negative = self.required(q.negative, format!("{path}.negative"), depth);
        Some(FullText::Boost {
            positive: Box::new(positive?),
            negative: Box::new(negative?),
            negative_boost: (negative_boost != 0.0).then_some(negative_boost),
        })
    }

    fn required(
        &mut self,
        query: Option<Box<pb::FullTextQuery>>,
        path: String,
        depth: usize,
    ) -> Option<FullText> {
        match query {
            Some(query) => self.query(*query, &path, depth + 1),
            None => self.refuse(&path, "is required"),
        }
    }

    fn multi_match(&mut self, q: pb::MultiMatchQuery, path: &str) -> Option<FullText> {
        self.terms(&q.terms, &format!("{path}.terms"));
        if q.columns.is_empty() {
            self.faults.add(format!("{path}.columns"), "needs a column");
        }
        check_columns(&q.columns, &format!("{path}.columns"), &mut self.faults);
        if !q.boosts.is_empty() && q.boosts.len() != q.columns.len() {
            let fault = format!("has {} for {} columns", q.boosts.len(), q.columns.len());
            self.faults.add(format!("{path}.boosts"), fault);
        }
        for (i, boost) in q.boosts.iter().enumerate() {
            self.weight(*boost, &format!("{path}.boosts[{i}]"));
        }
        Some(FullText::MultiMatch {
            operator: self.operator(q.operator, path)?,
            terms: q.terms,
            columns: q.columns,
            boosts: q.boosts,
        })
    }

    fn boolean(&mut self, q: pb::BooleanQuery, path: &str, depth: usize) -> Option<FullText> {
        if q.should.is_empty() && q.must.is_empty() {
            self.faults
                .add(path, "needs a query that must or should match");
        }
        let mut all = |queries: Vec<pb::FullTextQuery>, name: &str| -> Vec<FullText> {
            let one = |(i, query)| self.query(query, &format!("{path}.{name}[{i}]"), depth + 1);
            queries.into_iter().enumerate().filter_map(one).collect()
        };
        Some(FullText::Boolean {
            should: all(q.should, "should"),
            must: all(q.must, "must"),
            must_not: all(q.must_not, "must_not"),
        })
    }

    fn terms(&mut self, terms: &str, path: &str) {
        if let Some(fault) = text_fault(terms, self.max_terms) {
            self.faults.add(path, fault);
        }
    }

    fn weight(&mut self, weight: f32, path: &str) {
        let good = weight.is_finite() && weight >= 0.0;
        self.faults
            .add_if(!good, path, "must be a finite number of at least 0");
    }

    fn operator(&mut self, number: i32, path: &str) -> Option<Operator> {
        match pb::Operator::try_from(number) {
            Ok(pb::Operator::Unspecified | pb::Operator::Or) => Some(Operator::Or),
            Ok(pb::Operator::And) => Some(Operator::And),
            Err(_) => self.refuse(
                &format!("{path}.operator"),
                "is not an operator of this server",
            ),
        }
    }

    fn refuse<T>(&mut self, path: &str, fault: impl Into<String>) -> Option<T> {
        self.faults.add(path, fault);
        None
    }
}

#[cfg(test)]
mod tests;
