use super::*;
use crate::{
    domain::search::{FullText, Operator},
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

fn full_text_of(query: Fts) -> Result<Search> {
    let full_text = Some(pb::FullTextQuery { query: Some(query) });
    search(
        Some(pb::Query {
            full_text,
            limit: 1,
            ..Default::default()
        }),
        &limits(),
    )
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
        vectors: vec![vec![1.0, 2.0]],
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
fn bad_filters_are_named() {
    let filter_of = |sql: &str, kinds: Vec<Option<Kind>>| {
        let params = kinds.into_iter().map(|kind| pb::Value { kind }).collect();
        filter(
            Some(pb::Filter {
                sql: sql.into(),
                params,
            }),
            "filter",
            &limits(),
        )
    };
    let list = |kinds: Vec<Kind>| {
        let values = kinds
            .into_iter()
            .map(|kind| pb::Value { kind: Some(kind) })
            .collect();
        Kind::ListValue(pb::ListValue { values })
    };
    let long = "x".repeat(1_025);
    for sql in ["  ", "\n", &long, "a = '\0'", "a\u{7f}", "\u{85}"] {
        assert_eq!(fields(filter_of(sql, vec![])), ["filter.sql"], "{sql:?}");
    }
    assert_eq!(fields(filter_of("", vec![None])), ["filter.sql"]);
    assert_eq!(fields(filter_of("a", vec![None; 1_001])), ["filter.params"]);
    let inner = list(vec![Kind::IntValue(1)]);
    for (kind, step) in [
        (Kind::DoubleValue(f64::NAN), ""),
        (Kind::DoubleValue(f64::INFINITY), ""),
        (Kind::DecimalValue("1e5".into()), ""),
        (
            Kind::TimestampValue(pb::Timestamp {
                seconds: 0,
                nanos: 1_000_000_000,
            }),
            "",
        ),
        (list(vec![]), ""),
        (
            list(vec![Kind::IntValue(1), inner]),
            ".list_value.values[1]",
        ),
        (list(vec![Kind::IntValue(1); 10_001]), ""),
        (Kind::StructValue(Default::default()), ""),
        (Kind::VectorValue(Default::default()), ""),
    ] {
        let want = format!("filter.params[1]{step}");
        assert_eq!(
            fields(filter_of("a", vec![None, Some(kind.clone())])),
            [want],
            "{kind:?}"
        );
    }
    assert_eq!(filter(None, "filter", &limits()), Ok(None));
    assert_eq!(filter_of("", vec![]), Ok(None));
    assert!(filter_of("a\n\t= 'ä'", vec![None]).is_ok());
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
        fields(scan(Some(query), &limits())),
        [
            "query.columns[0]",
            "query.order_by[1].column",
            "query.order_by[2].column"
        ]
    );
    assert_eq!(scan(None, &limits()), Ok(Scan::default()));
    assert_eq!(page_size(0, &limits()), Ok(100));
    assert_eq!(page_size(1_000, &limits()), Ok(1_000));
    assert_eq!(fields(page_size(1_001, &limits())), ["page_size"]);
}

#[test]
fn full_text_queries_are_read() {
    let simple = full_text_of(Fts::Text("a b".into())).unwrap();
    let long = full_text_of(Fts::Match(pb::MatchQuery {
        terms: "a b".into(),
        ..Default::default()
    }));
    assert_eq!(simple.full_text, long.unwrap().full_text);
    let query = pb::MultiMatchQuery {
        terms: "x".into(),
        columns: vec!["a".into(), "b".into()],
        boosts: vec![1.0, 2.0],
        operator: pb::Operator::And.into(),
    };
    let want = FullText::MultiMatch {
        terms: "x".into(),
        columns: vec!["a".into(), "b".into()],
        boosts: vec![1.0, 2.0],
        operator: Operator::And,
    };
    assert_eq!(
        full_text_of(Fts::MultiMatch(query)).unwrap().full_text,
        Some(want)
    );
}

#[test]
fn bad_full_text_queries_are_named() {
    let at = |step: &str| format!("query.full_text{step}");
    let matching = |change: fn(&mut pb::MatchQuery)| {
        let mut query = pb::MatchQuery {
            terms: "x".into(),
            ..Default::default()
        };
        change(&mut query);
        Fts::Match(query)
    };
    let multi = |change: fn(&mut pb::MultiMatchQuery)| {
        let columns = vec!["a".into(), "b".into()];
        let mut query = pb::MultiMatchQuery {
            terms: "x".into(),
            columns,
            ..Default::default()
        };
        change(&mut query);
        Fts::MultiMatch(query)
    };
    let boosting = |negative_boost: f32, negative: bool| {
        Fts::Boost(Box::new(pb::BoostQuery {
            positive: Some(Box::new(words("x"))),
            negative: negative.then(|| Box::new(words("y"))),
            negative_boost,
        }))
    };
    let boolean = |must: Vec<pb::FullTextQuery>, must_not: Vec<pb::FullTextQuery>| {
        Fts::Boolean(pb::BooleanQuery {
            must,
            must_not,
            ..Default::default()
        })
    };
    for (query, step) in [
        (Fts::Text(" ".into()), ".text"),
        (Fts::Text("x".repeat(1_025)), ".text"),
        (matching(|q| q.terms.clear()), ".match.terms"),
        (matching(|q| q.operator = 9), ".match.operator"),
        (matching(|q| q.boost = -1.0), ".match.boost"),
        (matching(|q| q.boost = f32::NAN), ".match.boost"),
        (Fts::Phrase(Default::default()), ".phrase.terms"),
        (boosting(f32::NAN, true), ".boost.negative_boost"),
        (boosting(1.5, true), ".boost.negative_boost"),
        (boosting(0.5, false), ".boost.negative"),
        (multi(|q| q.columns.clear()), ".multi_match.columns"),
        (
            multi(|q| q.columns[1] = "a".into()),
            ".multi_match.columns[1]",
        ),
        (multi(|q| q.boosts = vec![1.0]), ".multi_match.boosts"),
        (
            multi(|q| q.boosts = vec![1.0, -1.0]),
            ".multi_match.boosts[1]",
        ),
        (boolean(vec![], vec![words("x")]), ".boolean"),
        (
            boolean(vec![words("x"), words("")], vec![]),
            ".boolean.must[1].text",
        ),
        (
            boolean(vec![words("x")], vec![Default::default()]),
            ".boolean.must_not[0]",
        ),
        (
            boolean(vec![words("x"); 1_024], vec![]),
            ".boolean.must[1023]",
        ),
    ] {
        assert_eq!(fields(full_text_of(query.clone())), [at(step)], "{query:?}");
    }
    let mut deep = words("x");
    for _ in 0..16 {
        let must = vec![deep];
        deep = pb::FullTextQuery {
            query: Some(Fts::Boolean(pb::BooleanQuery {
                must,
                ..Default::default()
            })),
        };
    }
    let path = fields(full_text(deep, "q", &limits())).remove(0);
    assert_eq!(path, format!("q{}", ".boolean.must[0]".repeat(16)));
}
