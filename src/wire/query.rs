//! Searches and scans: everything about them that can be checked without the
//! table's schema. All faults of a request are reported together.

use std::collections::HashSet;

use super::{
    faults::{Faults, check_columns, optional},
    filter::filter,
    full_text::full_text,
    vector::query_vector,
};
use crate::{
    config::Limits,
    domain::{
        Error, Result,
        search::{Distance, Normalize, Ordering, Scan, Search, Vector},
    },
    proto::v1 as pb,
};

/// Largest refine factor: `limit` times this many rows are read and compared.
const MAX_REFINE_FACTOR: u32 = 1_000;

/// A search, from the field `query` of a request. Packed query vectors are moved.
///
/// Options that only tune a vector search (nprobes, ef, refine_factor,
/// distance_type, vector_column, bypass_vector_index, fast_search, hybrid) are let
/// pass where the search has no vector: leaving them unused changes no answer. A
/// distance bound is refused there, because its answer would break it.
pub fn search(query: Option<pb::Query>, limits: &Limits) -> Result<Search> {
    let query = query.ok_or_else(|| Error::invalid("query", "is required"))?;
    let mut faults = Faults::default();
    check_parts(&query, limits, &mut faults);
    check_limit(&query, limits, &mut faults);
    check_probes(&query, limits, &mut faults);
    check_bounds(&query, &mut faults);
    check_columns(&query.columns, "query.columns", &mut faults);

    let vectors = if query.vectors.len() > limits.max_query_vectors {
        Vec::new()
    } else {
        vectors(query.vectors, limits, &mut faults)
    };
    let (rrf_k, normalize) = fusion(query.hybrid.unwrap_or_default(), &mut faults);
    let distance = faults.keep(distance(query.distance_type, "query.distance_type"));
    let full_text = query
        .full_text
        .map(|q| full_text(q, "query.full_text", limits));
    let full_text = full_text.and_then(|result| faults.keep(result));
    let filter = faults.keep(filter(query.filter, "query.filter", limits));
    faults.finish()?;
    Ok(Search {
        vectors,
        vector_column: optional(query.vector_column),
        distance: distance.flatten(),
        limit: query.limit as usize,
        offset: query.offset as usize,
        filter: filter.flatten(),
        postfilter: query.postfilter,
        distance_lower_bound: query.distance_lower_bound,
        distance_upper_bound: query.distance_upper_bound,
        nprobes: positive(query.nprobes),
        minimum_nprobes: positive(query.minimum_nprobes),
        maximum_nprobes: positive(query.maximum_nprobes),
        refine_factor: query.refine_factor,
        ef: positive(query.ef),
        bypass_vector_index: query.bypass_vector_index,
        fast_search: query.fast_search,
        full_text,
        rrf_k,
        normalize,
        columns: columns(query.columns),
        with_row_id: query.with_row_id,
    })
}

/// A scan. `field` is the path of `query`; without a query it is of all rows.
pub fn scan(query: Option<pb::ScanQuery>, field: &str, limits: &Limits) -> Result<Scan> {
    let query = query.unwrap_or_default();
    let mut faults = Faults::default();
    check_columns(&query.columns, &format!("{field}.columns"), &mut faults);
    let mut seen = HashSet::new();
    for (i, ordering) in query.order_by.iter().enumerate() {
        let path = format!("{field}.order_by[{i}].column");
        faults.add_if(ordering.column.is_empty(), &path, "is required");
        faults.add_if(!seen.insert(&ordering.column), &path, "is there twice");
    }
    let filter = faults.keep(filter(query.filter, &format!("{field}.filter"), limits));
    faults.finish()?;
    let ordering = |o: pb::Ordering| Ordering {
        column: o.column,
        descending: o.descending,
        nulls_first: o.nulls_first,
    };
    Ok(Scan {
        filter: filter.flatten(),
        columns: columns(query.columns),
        order_by: query.order_by.into_iter().map(ordering).collect(),
        with_row_id: query.with_row_id,
    })
}

/// What can be said of a Get without the table: its keys are read by
/// [`super::rows::decode_key_batch`] when the types of their columns are known.
pub fn check_get(request: &pb::GetRequest, limits: &Limits) -> Result<()> {
    let mut faults = Faults::default();
    faults.add_if(
        request.key_columns.is_empty(),
        "key_columns",
        "needs a column",
    );
    check_columns(&request.key_columns, "key_columns", &mut faults);
    check_columns(&request.columns, "columns", &mut faults);
    if request.keys.is_empty() || request.keys.len() > limits.max_limit {
        faults.add("keys", format!("must be from 1 to {}", limits.max_limit));
    }
    faults.finish()
}

/// How many rows a page has: the default where the request says 0.
pub fn page_size(asked: u32, limits: &Limits) -> Result<usize> {
    match asked as usize {
        0 => Ok(limits.default_page_size),
        size if size <= limits.max_page_size => Ok(size),
        _ => {
            let fault = format!("must be at most {}", limits.max_page_size);
            Err(Error::invalid("page_size", fault))
        }
    }
}

/// A distance type; `None` is the index's own. `field` is the path of `number`.
pub(super) fn distance(number: i32, field: &str) -> Result<Option<Distance>> {
    match pb::DistanceType::try_from(number) {
        Ok(pb::DistanceType::Unspecified) => Ok(None),
        Ok(pb::DistanceType::L2) => Ok(Some(Distance::L2)),
        Ok(pb::DistanceType::Cosine) => Ok(Some(Distance::Cosine)),
        Ok(pb::DistanceType::Dot) => Ok(Some(Distance::Dot)),
        Ok(pb::DistanceType::Hamming) => Ok(Some(Distance::Hamming)),
        Err(_) => Err(Error::invalid(
            field,
            "is not a distance type of this server",
        )),
    }
}

fn check_parts(query: &pb::Query, limits: &Limits, faults: &mut Faults) {
    let count = query.vectors.len();
    if count == 0 && query.full_text.is_none() {
        faults.add("query", "needs vectors, full_text or both");
    }
    if count > limits.max_query_vectors {
        let fault = format!("are more than {}", limits.max_query_vectors);
        faults.add("query.vectors", fault);
    } else if count > 1 && query.full_text.is_some() {
        faults.add("query.vectors", "must be one in a hybrid search");
    }
}

fn check_limit(query: &pb::Query, limits: &Limits, faults: &mut Faults) {
    let max = limits.max_limit;
    let (limit, offset) = (query.limit as usize, query.offset as usize);
    if limit == 0 || limit > max {
        faults.add("query.limit", format!("must be from 1 to {max}"));
    } else if limit + offset > max {
        let fault = format!("together with limit must be at most {max}");
        faults.add("query.offset", fault);
    }
}

fn check_probes(query: &pb::Query, limits: &Limits, faults: &mut Faults) {
    // nprobes is both bounds where they are not given.
    let or_nprobes = |bound| if bound == 0 { query.nprobes } else { bound };
    let fewest = or_nprobes(query.minimum_nprobes);
    let most = or_nprobes(query.maximum_nprobes);
    if most != 0 && fewest > most {
        let (field, fault) = if query.minimum_nprobes == 0 {
            (
                "query.maximum_nprobes",
                format!("must be at least nprobes, {fewest}"),
            )
        } else {
            ("query.minimum_nprobes", format!("must be at most {most}"))
        };
        faults.add(field, fault);
    }
    if query.ef != 0 {
        // The graph search keeps that many candidates in memory.
        let needed = u64::from(query.limit) + u64::from(query.offset);
        let max = limits
            .max_limit
            .max(usize::try_from(needed).unwrap_or(usize::MAX));
        if u64::from(query.ef) < needed {
            faults.add(
                "query.ef",
                format!("must be at least limit and offset, {needed}"),
            );
        } else if query.ef as usize > max {
            faults.add("query.ef", format!("must be at most {max}"));
        }
    }
    if query
        .refine_factor
        .is_some_and(|factor| !(1..=MAX_REFINE_FACTOR).contains(&factor))
    {
        let fault = format!("must be from 1 to {MAX_REFINE_FACTOR}");
        faults.add("query.refine_factor", fault);
    }
    if query.bypass_vector_index && query.fast_search {
        let fault = "searches only what an index covers, and bypass_vector_index uses none";
        faults.add("query.fast_search", fault);
    }
}

fn check_bounds(query: &pb::Query, faults: &mut Faults) {
    let lower = ("query.distance_lower_bound", query.distance_lower_bound);
    let upper = ("query.distance_upper_bound", query.distance_upper_bound);
    for (field, bound) in [lower, upper] {
        let Some(bound) = bound else { continue };
        faults.add_if(bound.is_nan(), field, "is not a number");
        faults.add_if(query.vectors.is_empty(), field, "needs a query vector");
    }
    if let (Some(low), Some(high)) = (lower.1, upper.1)
        && low >= high
    {
        faults.add(upper.0, "must be above distance_lower_bound");
    }
}

fn vectors(vectors: Vec<pb::Vector>, limits: &Limits, faults: &mut Faults) -> Vec<Vector> {
    let mut found: Vec<Vector> = Vec::with_capacity(vectors.len());
    for (i, vector) in vectors.into_iter().enumerate() {
        let path = format!("query.vectors[{i}]");
        let Some(vector) = faults.keep(query_vector(vector, &path, limits)) else {
            continue;
        };
        if let Some(first) = found.first()
            && first.len() != vector.len()
        {
            let fault = format!("has {} elements, another has {}", vector.len(), first.len());
            faults.add(path, fault);
        }
        found.push(vector.into());
    }
    found
}

fn fusion(hybrid: pb::Hybrid, faults: &mut Faults) -> (Option<f32>, Normalize) {
    let k = hybrid.rrf_k;
    let bad = !k.is_finite() || k < 0.0;
    faults.add_if(
        bad,
        "query.hybrid.rrf_k",
        "must be a finite number of at least 0",
    );
    let normalize = match pb::Normalize::try_from(hybrid.normalize) {
        Ok(pb::Normalize::Unspecified | pb::Normalize::Score) => Normalize::Score,
        Ok(pb::Normalize::Rank) => Normalize::Rank,
        Err(_) => {
            faults.add(
                "query.hybrid.normalize",
                "is not a normalisation of this server",
            );
            Normalize::default()
        }
    };
    ((k != 0.0).then_some(k), normalize)
}

/// Names of columns; `None`, which is all of them, where there are none.
pub fn columns(names: Vec<String>) -> Option<Vec<String>> {
    (!names.is_empty()).then_some(names)
}

fn positive(value: u32) -> Option<usize> {
    (value != 0).then_some(value as usize)
}

#[cfg(test)]
mod tests;
