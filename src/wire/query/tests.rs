use super::*;
use crate::{
    domain::search::FullText,
    proto::v1::{full_text_query::Query as Fts, value::Kind, vector::Data},
    wire::tests::{fields, limits},
};

fn vector(values: Vec<f32>) -> pb::Vector {
    pb::Vector {
        data: Some(Data::Floats(pb::PackedFloats { values })),
    }
}

fn good() -> pb::Query {
    pb::Query {
        vectors: vec![vector(vec![1.0, 2.0])],
        limit: 10,
        ..Default::default()
    }
}

fn words(text: &str) -> pb::FullTextQuery {
    pb::FullTextQuery {
        query: Some(Fts::Text(text.into())),
    }
}

#[test]
fn a_whole_query_is_read() {
    let query = pb::Query {
        vectors: vec![vector(vec![1.0, 2.0])],
        vector_column: "v".into(),
        distance_type: pb::DistanceType::Cosine.into(),
        limit: 10,
        offset: 5,
        filter: Some(pb::Filter {
            sql: "a = $1".into(),
            params: vec![pb::Value {
                kind: Some(Kind::IntValue(1)),
            }],
        }),
        postfilter: true,
        distance_lower_bound: Some(0.0),
        distance_upper_bound: Some(1.0),
        nprobes: 20,
        minimum_nprobes: 10,
        maximum_nprobes: 30,
        refine_factor: Some(2),
        ef: 100,
        fast_search: true,
        full_text: Some(words("a word")),
        hybrid: Some(pb::Hybrid {
            rrf_k: 7.0,
            normalize: pb::Normalize::Rank.into(),
        }),
        columns: vec!["a".into(), "b".into()],
        with_row_id: true,
        ..Default::default()
    };
    let found = search(Some(query), &limits()).unwrap();
    assert_eq!(found.vectors, [[1.0, 2.0]]);
    assert_eq!(found.vector_column.as_deref(), Some("v"));
    assert_eq!(found.distance, Some(Distance::Cosine));
    assert_eq!((found.limit, found.offset), (10, 5));
    let filter = found.filter.unwrap();
    assert_eq!(
        (filter.field.as_str(), filter.sql.as_str()),
        ("query.filter", "a = $1")
    );
    assert_eq!(filter.params, [crate::domain::Scalar::Int(1)]);
    assert!(found.postfilter && found.fast_search && found.with_row_id);
    assert_eq!(
        (found.distance_lower_bound, found.distance_upper_bound),
        (Some(0.0), Some(1.0))
    );
    let probes = (found.nprobes, found.minimum_nprobes, found.maximum_nprobes);
    assert_eq!(probes, (Some(20), Some(10), Some(30)));
    assert_eq!((found.refine_factor, found.ef), (Some(2), Some(100)));
    assert_eq!((found.rrf_k, found.normalize), (Some(7.0), Normalize::Rank));
    assert_eq!(found.columns, Some(vec!["a".into(), "b".into()]));
    assert!(matches!(found.full_text, Some(FullText::Match { .. })));
}

#[test]
fn unset_is_the_default() {
    let found = search(Some(good()), &limits()).unwrap();
    let want = Search {
        vectors: vec![vec![1.0, 2.0].into()],
        limit: 10,
        ..Default::default()
    };
    assert_eq!(found, want);
}

/// The violations of the good query after a change.
fn faults(change: impl FnOnce(&mut pb::Query)) -> Vec<String> {
    let mut query = good();
    change(&mut query);
    fields(search(Some(query), &limits()))
}

#[test]
fn each_fault_is_named() {
    assert_eq!(fields(search(None, &limits())), ["query"]);
    assert_eq!(faults(|q| q.vectors.clear()), ["query"]);
    assert_eq!(faults(|q| q.limit = 0), ["query.limit"]);
    assert_eq!(faults(|q| q.limit = 1_001), ["query.limit"]);
    assert_eq!(faults(|q| q.limit = u32::MAX), ["query.limit"]);
    assert_eq!(faults(|q| q.offset = 991), ["query.offset"]);
    assert_eq!(faults(|q| q.offset = u32::MAX), ["query.offset"]);
    assert_eq!(
        faults(|q| q.vectors = vec![vector(vec![1.0]); 17]),
        ["query.vectors"]
    );
    assert_eq!(
        faults(|q| q.vectors.push(vector(vec![1.0]))),
        ["query.vectors[1]"]
    );
    assert_eq!(
        faults(|q| q.vectors[0] = vector(vec![f32::NAN])),
        ["query.vectors[0].floats.values"]
    );
    assert_eq!(
        faults(|q| {
            q.vectors.push(vector(vec![1.0, 2.0]));
            q.full_text = Some(words("x"));
        }),
        ["query.vectors"]
    );
    assert_eq!(faults(|q| q.distance_type = 99), ["query.distance_type"]);
    assert_eq!(
        faults(|q| (q.minimum_nprobes, q.maximum_nprobes) = (3, 2)),
        ["query.minimum_nprobes"]
    );
    assert_eq!(
        faults(|q| (q.nprobes, q.maximum_nprobes) = (3, 2)),
        ["query.maximum_nprobes"]
    );
    assert_eq!(
        faults(|q| (q.nprobes, q.minimum_nprobes) = (2, 3)),
        ["query.minimum_nprobes"]
    );
    assert_eq!(faults(|q| q.ef = 9), ["query.ef"]);
    assert_eq!(faults(|q| q.ef = u32::MAX), ["query.ef"]);
    assert_eq!(
        faults(|q| q.refine_factor = Some(0)),
        ["query.refine_factor"]
    );
    assert_eq!(
        faults(|q| q.refine_factor = Some(u32::MAX)),
        ["query.refine_factor"]
    );
    assert_eq!(
        faults(|q| (q.fast_search, q.bypass_vector_index) = (true, true)),
        ["query.fast_search"]
    );
    assert_eq!(
        faults(|q| q.distance_lower_bound = Some(f32::NAN)),
        ["query.distance_lower_bound"]
    );
    assert_eq!(
        faults(|q| (q.distance_lower_bound, q.distance_upper_bound) = (Some(2.0), Some(1.0))),
        ["query.distance_upper_bound"]
    );
    assert_eq!(
        faults(|q| {
            (q.vectors, q.full_text) = (vec![], Some(words("x")));
            q.distance_upper_bound = Some(1.0);
        }),
        ["query.distance_upper_bound"]
    );
    for k in [-1.0, f32::NAN, f32::INFINITY] {
        let hybrid = Some(pb::Hybrid {
            rrf_k: k,
            normalize: 9,
        });
        assert_eq!(
            faults(|q| q.hybrid = hybrid),
            ["query.hybrid.rrf_k", "query.hybrid.normalize"]
        );
    }
    assert_eq!(
        faults(|q| q.columns = vec!["a".into(), "".into(), "a".into()]),
        ["query.columns[1]", "query.columns[2]"]
    );
}

#[test]
fn all_faults_are_reported_together() {
    let found = faults(|q| {
        q.limit = 0;
        q.distance_type = 99;
        q.vectors[0] = vector(vec![]);
        q.filter = Some(pb::Filter {
            sql: " ".into(),
            params: vec![],
        });
        q.full_text = Some(words(""));
    });
    assert_eq!(
        found,
        [
            "query.limit",
            "query.vectors[0].floats.values",
            "query.distance_type",
            "query.full_text.text",
            "query.filter.sql",
        ]
    );
}

#[test]
fn scans_are_checked() {
    let order = |column: &str| pb::Ordering {
        column: column.into(),
        ..Default::default()
    };
    let query = pb::ScanQuery {
        columns: vec!["".into()],
        order_by: vec![order("a"), order(""), order("a")],
        ..Default::default()
    };
    assert_eq!(
        fields(scan(Some(query), "query", &limits())),
        [
            "query.columns[0]",
            "query.order_by[1].column",
            "query.order_by[2].column"
        ]
    );
    assert_eq!(scan(None, "query", &limits()), Ok(Scan::default()));
    assert_eq!(page_size(0, &limits()), Ok(100));
    assert_eq!(page_size(1_000, &limits()), Ok(1_000));
    assert_eq!(fields(page_size(1_001, &limits())), ["page_size"]);
}

#[test]
fn gets_are_checked() {
    let good = pb::GetRequest {
        key_columns: vec!["id".into()],
        keys: vec![pb::Row::default()],
        ..Default::default()
    };
    assert_eq!(check_get(&good, &limits()), Ok(()));
    let none = pb::GetRequest::default();
    assert_eq!(fields(check_get(&none, &limits())), ["key_columns", "keys"]);
    let bad = pb::GetRequest {
        key_columns: vec!["id".into(), "id".into()],
        columns: vec!["".into()],
        keys: vec![pb::Row::default(); 1_001],
        ..Default::default()
    };
    assert_eq!(
        fields(check_get(&bad, &limits())),
        ["key_columns[1]", "columns[0]", "keys"]
    );
}
