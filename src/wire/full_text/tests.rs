use super::*;
use crate::wire::tests::{fields, limits};

fn words(text: &str) -> pb::FullTextQuery {
    pb::FullTextQuery {
        query: Some(Query::Text(text.into())),
    }
}

fn read(query: Query) -> Result<FullText> {
    let query = pb::FullTextQuery { query: Some(query) };
    full_text(query, "query.full_text", &limits())
}

#[test]
fn full_text_queries_are_read() {
    let simple = read(Query::Text("a b".into())).unwrap();
    let long = read(Query::Match(pb::MatchQuery {
        terms: "a b".into(),
        ..Default::default()
    }));
    assert_eq!(simple, long.unwrap());
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
    assert_eq!(read(Query::MultiMatch(query)).unwrap(), want);
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
        Query::Match(query)
    };
    let multi = |change: fn(&mut pb::MultiMatchQuery)| {
        let columns = vec!["a".into(), "b".into()];
        let mut query = pb::MultiMatchQuery {
            terms: "x".into(),
            columns,
            ..Default::default()
        };
        change(&mut query);
        Query::MultiMatch(query)
    };
    let boosting = |negative_boost: f32, negative: bool| {
        Query::Boost(Box::new(pb::BoostQuery {
            positive: Some(Box::new(words("x"))),
            negative: negative.then(|| Box::new(words("y"))),
            negative_boost,
        }))
    };
    let boolean = |must: Vec<pb::FullTextQuery>, must_not: Vec<pb::FullTextQuery>| {
        Query::Boolean(pb::BooleanQuery {
            must,
            must_not,
            ..Default::default()
        })
    };
    for (query, step) in [
        (Query::Text(" ".into()), ".text"),
        (Query::Text("x".repeat(1_025)), ".text"),
        (matching(|q| q.terms.clear()), ".match.terms"),
        (matching(|q| q.operator = 9), ".match.operator"),
        (matching(|q| q.boost = -1.0), ".match.boost"),
        (matching(|q| q.boost = f32::NAN), ".match.boost"),
        (Query::Phrase(Default::default()), ".phrase.terms"),
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
        assert_eq!(fields(read(query.clone())), [at(step)], "{query:?}");
    }
    let mut deep = words("x");
    for _ in 0..16 {
        let must = vec![deep];
        deep = pb::FullTextQuery {
            query: Some(Query::Boolean(pb::BooleanQuery {
                must,
                ..Default::default()
            })),
        };
    }
    let path = fields(full_text(deep, "q", &limits())).remove(0);
    assert_eq!(path, format!("q{}", ".boolean.must[0]".repeat(16)));
}
