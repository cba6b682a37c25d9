//! Full-text queries, in LanceDB's words.

use lancedb::index::scalar::{
    BooleanQuery, BoostQuery, FtsQuery, MatchQuery, MultiMatchQuery, Operator as FtsOperator,
    PhraseQuery,
};

use super::{Snapshot, error, index};
use crate::domain::{
    Error, Resource, Result,
    search::{FullText, Operator},
};

impl Snapshot {
    /// Refuses a query on columns that have no full-text index.
    pub(super) async fn check_full_text(&self, query: &FullText) -> Result<()> {
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

impl Snapshot {
    /// A query that says which columns it is about, where there are some that are not
    /// there: without a name Lance searches all of them.
    pub(super) async fn named(&self, query: &FullText) -> Result<FullText> {
        let mut query = query.clone();
        if !self.has_hidden_columns() {
            return Ok(query);
        }
        let indexes = self.indexes().await?;
        let covered = indexes.iter().filter(|i| i.kind == index::FTS);
        let mut columns = covered.flat_map(|i| i.columns.iter());
        let only = match (columns.next(), columns.next()) {
            (Some(only), None) => Some(only.as_str()),
            _ => None,
        };
        name(&mut query, only)?;
        Ok(query)
    }
}

/// Puts a column where none is named.
fn name(query: &mut FullText, only: Option<&str>) -> Result<()> {
    match query {
        FullText::Match { column, .. } | FullText::Phrase { column, .. } => {
            if column.is_none() {
                let only = only.ok_or_else(|| {
                    Error::invalid("query.full_text", "must name its column here")
                })?;
                *column = Some(only.to_owned());
            }
            Ok(())
        }
        FullText::MultiMatch { columns, .. } if columns.is_empty() => Err(Error::invalid(
            "query.full_text",
            "must name its columns here",
        )),
        FullText::MultiMatch { .. } => Ok(()),
        FullText::Boost {
            positive, negative, ..
        } => {
            name(positive, only)?;
            name(negative, only)
        }
        FullText::Boolean {
            should,
            must,
            must_not,
        } => should
            .iter_mut()
            .chain(must)
            .chain(must_not)
            .try_for_each(|part| name(part, only)),
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

/// A query in LanceDB's words.
pub(super) fn fts(query: FullText) -> Result<FtsQuery> {
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
