//! Vectors, limits, page tokens and numbers of enums.

use lancegate::{
    proto::v1::*,
    wire::page::{PageToken, fingerprint},
};
use prost::Message;
use tonic::Code;

use super::{Bad, Clients, ROWS, run, sample};
use crate::data::{floats, ipc};

fn query() -> Query {
    Query {
        vectors: vec![floats(&[0.0; 4])],
        limit: 1,
        ..Default::default()
    }
}

fn bytes(element: i32, data: &[u8]) -> Vector {
    Vector {
        data: Some(vector::Data::Bytes(VectorBytes {
            element,
            data: data.to_vec().into(),
        })),
    }
}

impl Bad {
    /// A query that must be refused about a field by every call that takes one.
    async fn bad_query(&mut self, what: &str, table: &str, query: Query, field: &str) {
        let (code, query) = (Code::InvalidArgument, Some(query));
        let name = || table.to_owned();
        self.refused(what, code, field, async |mut to: Clients| {
            let query = query.clone();
            to.search
                .search(SearchRequest {
                    freshness: None,
                    table: name(),
                    query,
                    row_format: 0,
                })
                .await
        })
        .await;
        let streamed = format!("{what}, streamed");
        self.refused(&streamed, code, field, async |mut to: Clients| {
            let query = query.clone();
            let request = SearchStreamRequest {
                freshness: None,
                table: name(),
                query,
            };
            to.search.search_stream(request).await
        })
        .await;
    }
}

#[test]
fn bad_vectors() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let f32s = VectorElement::F32 as i32;
        let floats_field = "query.vectors[0].floats.values";
        let bytes_field = "query.vectors[0].bytes.data";
        let whole = "query.vectors[0]";
        for (what, vector, field) in [
            ("three elements", floats(&[0.0; 3]), whole),
            ("five elements", floats(&[0.0; 5]), whole),
            ("no elements", floats(&[]), floats_field),
            ("NaN", floats(&[0.0, f32::NAN, 0.0, 0.0]), floats_field),
            ("infinity", floats(&[f32::INFINITY; 4]), floats_field),
            ("-infinity", floats(&[f32::NEG_INFINITY; 4]), floats_field),
            (
                "a million elements",
                floats(&[0.0; 1_000_000]),
                floats_field,
            ),
            ("nothing", Vector { data: None }, whole),
            ("15 bytes", bytes(f32s, &[0; 15]), bytes_field),
            ("no bytes", bytes(f32s, &[]), bytes_field),
            ("12 bytes", bytes(f32s, &[0; 12]), whole),
            ("NaN bytes", bytes(f32s, &[0xff; 16]), bytes_field),
            ("half a half", bytes(2, &[0; 7]), bytes_field),
            ("a huge double", bytes(6, &[0x7f; 32]), bytes_field),
            (
                "unknown elements",
                bytes(99, &[0; 16]),
                "query.vectors[0].bytes.element",
            ),
        ] {
            let query = Query {
                vectors: vec![vector],
                ..query()
            };
            bad.bad_query(what, "t", query, field).await;
        }
        for (what, vectors, field) in [
            ("no vectors", vec![], "query"),
            (
                "vectors of two lengths",
                vec![floats(&[0.0; 4]), floats(&[0.0; 3])],
                "query.vectors[1]",
            ),
            (
                "1,001 vectors",
                vec![floats(&[0.0; 4]); 1_001],
                "query.vectors",
            ),
        ] {
            let query = Query { vectors, ..query() };
            bad.bad_query(what, "t", query, field).await;
        }
        let of = |column: &str| Query {
            vector_column: column.into(),
            ..query()
        };
        let column = "query.vector_column";
        for (table, name) in [("two", ""), ("t", "text"), ("t", "tags"), ("t", "place")] {
            let what = format!("a vector of {table}'s column {name:?}");
            bad.bad_query(&what, table, of(name), column).await;
        }
        bad.bad_query("the other column's", "two", of("other"), whole)
            .await;
        bad.finish().await;
    });
}

#[test]
fn bad_options_of_a_search() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let full_text = |query| Some(FullTextQuery { query: Some(query) });
        let operator = MatchQuery {
            terms: "a".into(),
            operator: 99,
            ..Default::default()
        };
        let nested = |depth: usize| {
            let words = full_text_query::Query::Text("a".into());
            full_text((0..depth).fold(words, |inner, _| {
                full_text_query::Query::Boolean(BooleanQuery {
                    must: vec![FullTextQuery { query: Some(inner) }],
                    ..Default::default()
                })
            }))
        };
        let deep = format!("query.full_text{}", ".boolean.must[0]".repeat(16));
        // The deeper one is beyond what protobuf itself decodes.
        for (depth, field) in [(20, deep.as_str()), (200, "request")] {
            let query = Query {
                full_text: nested(depth),
                vectors: vec![],
                ..query()
            };
            let what = format!("a full-text query {depth} deep");
            bad.bad_query(&what, "t", query, field).await;
        }
        #[rustfmt::skip]
        let cases: Vec<(&str, Query, &str)> = vec![
            ("limit 0", Query { limit: 0, ..query() }, "query.limit"),
            ("limit 10,001", Query { limit: 10_001, ..query() }, "query.limit"),
            ("the largest limit", Query { limit: u32::MAX, ..query() }, "query.limit"),
            ("offset 10,000", Query { offset: 10_000, ..query() }, "query.offset"),
            ("the largest offset", Query { offset: u32::MAX, ..query() }, "query.offset"),
            ("an unknown distance", Query { distance_type: 99, ..query() }, "query.distance_type"),
            ("a negative distance type", Query { distance_type: -1, ..query() }, "query.distance_type"),
            ("a bound of NaN", Query { distance_lower_bound: Some(f32::NAN), ..query() }, "query.distance_lower_bound"),
            ("bounds crossed", Query { distance_lower_bound: Some(2.0), distance_upper_bound: Some(1.0), ..query() }, "query.distance_upper_bound"),
            ("probes crossed", Query { minimum_nprobes: 5, maximum_nprobes: 2, ..query() }, "query.minimum_nprobes"),
            ("refine 0", Query { refine_factor: Some(0), ..query() }, "query.refine_factor"),
            ("refine too far", Query { refine_factor: Some(u32::MAX), ..query() }, "query.refine_factor"),
            ("ef below the limit", Query { ef: 1, limit: 2, ..query() }, "query.ef"),
            ("ef too large", Query { ef: u32::MAX, ..query() }, "query.ef"),
            ("bypass and fast", Query { bypass_vector_index: true, fast_search: true, ..query() }, "query.fast_search"),
            ("an empty column", Query { columns: vec!["".into()], ..query() }, "query.columns[0]"),
            ("a column twice", Query { columns: vec!["id".into(), "id".into()], ..query() }, "query.columns[1]"),
            ("a negative k", Query { hybrid: Some(Hybrid { rrf_k: -1.0, normalize: 0 }), ..query() }, "query.hybrid.rrf_k"),
            ("an unknown normalisation", Query { hybrid: Some(Hybrid { rrf_k: 0.0, normalize: 99 }), ..query() }, "query.hybrid.normalize"),
            ("an empty full-text query", Query { full_text: Some(FullTextQuery { query: None }), ..query() }, "query.full_text"),
            ("no words", Query { full_text: full_text(full_text_query::Query::Text(" ".into())), ..query() }, "query.full_text.text"),
            ("an unknown operator", Query { full_text: full_text(full_text_query::Query::Match(operator)), ..query() }, "query.full_text.match.operator"),
        ];
        for (what, query, field) in cases {
            bad.bad_query(what, "t", query, field).await;
        }
        // Numbers that are large and legal: answered, whatever they cost.
        for (what, query) in [
            (
                "every probe",
                Query {
                    nprobes: u32::MAX,
                    ..query()
                },
            ),
            (
                "Hamming distance of floats",
                Query {
                    distance_type: DistanceType::Hamming as i32,
                    ..query()
                },
            ),
            (
                "far bounds",
                Query {
                    distance_lower_bound: Some(f32::MIN),
                    distance_upper_bound: Some(f32::MAX),
                    ..query()
                },
            ),
            (
                "infinite bounds",
                Query {
                    distance_lower_bound: Some(f32::NEG_INFINITY),
                    distance_upper_bound: Some(f32::INFINITY),
                    ..query()
                },
            ),
            (
                "a column of the search's own",
                Query {
                    columns: vec!["_distance".into()],
                    ..query()
                },
            ),
            (
                "a column of the row's",
                Query {
                    columns: vec!["_rowid".into()],
                    with_row_id: true,
                    ..query()
                },
            ),
            (
                "a child that is not there",
                Query {
                    columns: vec!["place.nosuch".into()],
                    ..query()
                },
            ),
        ] {
            bad.survived(what, async |mut to: Clients| {
                let query = Some(query.clone());
                let table = "t".into();
                let row_format = 0;
                to.search
                    .search(SearchRequest {
                        freshness: None,
                        table,
                        query,
                        row_format,
                    })
                    .await
            })
            .await;
        }
        for (what, query) in [("no query", None), ("an unknown format", Some(query()))] {
            let field = match query {
                None => "query",
                Some(_) => "row_format",
            };
            bad.refused(what, Code::InvalidArgument, field, async |mut to| {
                let query = query.clone();
                let request = SearchRequest {
                    freshness: None,
                    table: "t".into(),
                    query,
                    row_format: 99,
                };
                to.search.search(request).await
            })
            .await;
        }
        bad.finish().await;
    });
}

#[test]
fn bad_scans_and_gets() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let order = |column: &str| Ordering {
            column: column.into(),
            ..Default::default()
        };
        let by = |order_by: Vec<Ordering>| {
            Some(ScanQuery {
                order_by,
                ..Default::default()
            })
        };
        let scan = |query| ScanRequest {
            table: "t".into(),
            query,
            ..Default::default()
        };
        #[rustfmt::skip]
        let cases = [
            ("a page of 10,001", ScanRequest { page_size: 10_001, ..scan(None) }, "page_size"),
            ("an unknown format", ScanRequest { row_format: 99, ..scan(None) }, "row_format"),
            ("no order", scan(by(vec![order("")])), "query.order_by[0].column"),
            ("an order twice", scan(by(vec![order("id"), order("id")])), "query.order_by[1].column"),
            ("order by a list", scan(by(vec![order("id"), order("tags")])), "query.order_by[1].column"),
            ("order by vectors", scan(by(vec![order("vector")])), "query.order_by[0].column"),
        ];
        for (what, request, field) in cases {
            bad.refused(what, Code::InvalidArgument, field, async |mut to| {
                to.search.scan(request.clone()).await
            })
            .await;
        }
        bad.refused(
            "a plan of an order by a list",
            Code::InvalidArgument,
            "scan.order_by[0].column",
            async |mut to| {
                let target = by(vec![order("tags")]).map(explain_request::Target::Scan);
                let table = "t".into();
                let request = ExplainRequest {
                    table,
                    target,
                    ..Default::default()
                };
                to.search.explain(request).await
            },
        )
        .await;
        bad.refused(
            "a plan of nothing",
            Code::InvalidArgument,
            "target",
            async |mut to| {
                let table = "t".into();
                let request = ExplainRequest {
                    table,
                    ..Default::default()
                };
                to.search.explain(request).await
            },
        )
        .await;
        let key = |kinds: Vec<value::Kind>| Row {
            values: kinds
                .into_iter()
                .map(|kind| Value { kind: Some(kind) })
                .collect(),
        };
        let get = |columns: &[&str], keys: Vec<Row>| GetRequest {
            table: "t".into(),
            key_columns: columns.iter().map(|c| (*c).to_owned()).collect(),
            keys,
            ..Default::default()
        };
        use value::Kind::{IntValue, StringValue};
        let one = || key(vec![IntValue(1)]);
        let pair = || key(vec![IntValue(1), StringValue("a".into())]);
        #[rustfmt::skip]
        let cases = [
            ("no key columns", get(&[], vec![one()]), "key_columns"),
            ("an empty key column", get(&[""], vec![one()]), "key_columns[0]"),
            ("a key column twice", get(&["id", "id"], vec![one()]), "key_columns[1]"),
            ("keys of lists", get(&["tags"], vec![one()]), "key_columns"),
            ("keys of vectors", get(&["vector"], vec![one()]), "key_columns"),
            ("no keys", get(&["id"], vec![]), "keys"),
            ("10,001 keys", get(&["id"], vec![one(); 10_001]), "keys"),
            ("501 keys of two columns", get(&["id", "text"], vec![pair(); 501]), "keys"),
            ("a key of two values", get(&["id"], vec![one(), pair()]), "keys[1].values"),
            ("a key of another type", get(&["id"], vec![key(vec![StringValue("x".into())])]), "keys[0].values[0]"),
            ("a null key", get(&["id"], vec![Row { values: vec![Value::default()] }]), "keys[0].values[0]"),
            ("a key out of range", get(&["size"], vec![key(vec![IntValue(1 << 40)])]), "keys[0].values[0]"),
        ];
        for (what, request, field) in cases {
            bad.refused(what, Code::InvalidArgument, field, async |mut to| {
                to.search.get(request.clone()).await
            })
            .await;
        }
        // As many as are allowed are answered.
        bad.survived("500 keys of two columns", async |mut to| {
            to.search.get(get(&["id", "text"], vec![pair(); 500])).await
        })
        .await;
        bad.finish().await;
    });
}

#[test]
fn bad_page_tokens() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let query = || {
            Some(ScanQuery {
                columns: vec!["id".into()],
                ..Default::default()
            })
        };
        let scan = |token: &str| ScanRequest {
            freshness: None,
            table: "t".into(),
            query: query(),
            page_size: 3,
            page_token: token.into(),
            row_format: 0,
        };
        let page = bad.server.search.scan(scan("")).await.unwrap().into_inner();
        let good = page.next_page_token;
        let names = ListTablesRequest {
            page_size: 1,
            page_token: String::new(),
        };
        let names = bad.server.table.list_tables(names).await.unwrap();
        let of_names = names.into_inner().next_page_token;
        assert!(!good.is_empty() && !of_names.is_empty());
        let flipped: String = good.chars().rev().collect();
        let long = "A".repeat(100_000);
        let all = [
            "x",
            "!!",
            "AAAA",
            "\0",
            "ä",
            &flipped,
            &good[1..],
            &of_names,
            &long,
        ];
        for (i, token) in all.into_iter().enumerate() {
            let what = format!("token {i}");
            let invalid = (Code::InvalidArgument, "page_token");
            bad.refused(&what, invalid.0, invalid.1, async |mut to| {
                to.search.scan(scan(token)).await
            })
            .await;
        }
        for token in ["x", &good, &long] {
            bad.refused(
                "a token for names",
                Code::InvalidArgument,
                "page_token",
                async |mut to| {
                    let request = ListTablesRequest {
                        page_size: 1,
                        page_token: token.into(),
                    };
                    to.table.list_tables(request).await
                },
            )
            .await;
        }
        for token in ["x", &good, &of_names, &long] {
            bad.refused(
                "a token for versions",
                Code::InvalidArgument,
                "page_token",
                async |mut to| {
                    let request = ListVersionsRequest {
                        table: "t".into(),
                        page_size: 1,
                        page_token: token.into(),
                    };
                    to.table.list_versions(request).await
                },
            )
            .await;
        }
        let (mut unprojected, mut of_two) = (scan(&good), scan(&good));
        unprojected.query = None;
        of_two.table = "two".into();
        for (what, request) in [("scan", unprojected), ("table", of_two)] {
            bad.refused(
                &format!("a token of another {what}"),
                Code::InvalidArgument,
                "page_token",
                async |mut to| to.search.scan(request.clone()).await,
            )
            .await;
        }
        forged(&mut bad, &good, scan(""), query()).await;
        // A table of the same name is another table.
        bad.server
            .table
            .drop_table(DropTableRequest {
                table: "t".into(),
                ignore_missing: false,
            })
            .await
            .unwrap();
        bad.server.table_of("t", ipc(&sample())).await;
        bad.refused(
            "a token of a dropped table",
            Code::FailedPrecondition,
            "PAGE_TOKEN_EXPIRED",
            async |mut to| to.search.scan(scan(&good)).await,
        )
        .await;
        bad.finish().await;
    });
}

/// Tokens that only this server could have made, of places that are not there.
async fn forged(bad: &mut Bad, good: &str, scan: ScanRequest, query: Option<ScanQuery>) {
    let print = fingerprint([b"t".as_slice(), &query.unwrap().encode_to_vec()]);
    let real = PageToken::decode(good, print).unwrap().unwrap();
    let with = |token: PageToken| ScanRequest {
        page_token: token.encode(),
        ..scan.clone()
    };
    for offset in [ROWS as u64 + 1, i64::MAX as u64, u64::MAX] {
        let what = format!("a forged token of row {offset}");
        let request = with(PageToken { offset, ..real });
        bad.survived(&what, async |mut to| to.search.scan(request.clone()).await)
            .await;
    }
    for (version, commit_nanos) in [
        (real.version, 1),
        (real.version + 1, real.commit_nanos),
        (u64::MAX, real.commit_nanos),
        (0, 0),
    ] {
        let request = with(PageToken {
            version,
            commit_nanos,
            ..real
        });
        bad.refused(
            &format!("a forged token of version {version}"),
            Code::FailedPrecondition,
            "PAGE_TOKEN_EXPIRED",
            async |mut to| to.search.scan(request.clone()).await,
        )
        .await;
    }
}

/// A page token is good as long as its version is there, and no longer.
#[test]
fn page_tokens_outlive_writes_and_not_their_version() {
    run(async {
        // A replica would keep the version for longer.
        let mut bad = Bad::start(|config| config.replicas.clear()).await;
        let scan = |token: &str| ScanRequest {
            table: "two".into(),
            page_size: 5,
            page_token: token.into(),
            ..Default::default()
        };
        let first = bad.server.search.scan(scan("")).await.unwrap().into_inner();
        let token = first.next_page_token;
        let everything = DeleteRequest {
            request_id: String::new(),
            table: "two".into(),
            filter: Some(super::filter("true", vec![])),
        };
        bad.server.write.delete(everything).await.unwrap();
        let second = bad.server.search.scan(scan(&token)).await.unwrap();
        assert_eq!(second.into_inner().num_rows as usize, ROWS - 5);
        let prune = OptimizeTableRequest {
            table: "two".into(),
            prune_older_than: Some(prost_types::Duration::default()),
            ..Default::default()
        };
        let pruned = bad.server.table.optimize_table(prune).await.unwrap();
        assert!(pruned.into_inner().versions_removed > 0);
        bad.refused(
            "a token of a pruned version",
            Code::FailedPrecondition,
            "PAGE_TOKEN_EXPIRED",
            async |mut to| to.search.scan(scan(&token)).await,
        )
        .await;
        bad.finish().await;
    });
}
