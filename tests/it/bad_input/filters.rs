//! Filters that do not parse, cost too much, mean something else, or ask for
//! what is not there.

use lancegate::proto::v1::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tonic::{Code, Response, Status};
use value::Kind::{DoubleValue, IntValue, ListValue as List, StringValue, TimestampValue};

use super::{Bad, Clients, SECRET, filter, run, sample};
use crate::data::{floats, ipc};

async fn count(to: &mut Clients, filter: Filter) -> Result<Response<CountResponse>, Status> {
    let table = "t".into();
    let filter = Some(filter);
    to.search
        .count(CountRequest {
            freshness: None,
            table,
            filter,
        })
        .await
}

fn secret() -> value::Kind {
    StringValue(SECRET.into())
}

impl Bad {
    async fn bad_filter(&mut self, what: &str, filter: Filter, field: &str) {
        self.refused(what, Code::InvalidArgument, field, async |mut to| {
            count(&mut to, filter.clone()).await
        })
        .await;
    }

    async fn bad_sql(&mut self, sql: &str) {
        let what: String = sql.chars().take(60).collect();
        self.bad_filter(&what, filter(sql, vec![]), "filter.sql")
            .await;
    }
}

#[test]
fn filters_that_are_none() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        for sql in [
            " ",
            "id =",
            "= 1",
            "((id = 1)",
            "id = 1)",
            "id 1",
            "AND",
            "NOT",
            "text = 'a",
            "text = \"a",
            "`id = 1",
            "id = 1 AND",
            "id IN ()",
            "id IN (1,",
            "CASE WHEN",
            "CASE WHEN id = 1 THEN true",
            "id BETWEEN 1",
            "'",
            "\u{0}",
            "id = \u{1}1",
            "🦀",
            "id = 1 -- only",
            "id = 1 /* two */",
            "id = 1 # three",
            "true; DROP TABLE t",
            "true;",
            ";",
            "1=1 LIMIT 1",
            "true ORDER BY id",
            "true UNION SELECT 1",
            "true WHERE true",
            "true, true",
            "SELECT 1",
            "id IN (SELECT id FROM t)",
            "EXISTS (SELECT 1)",
            "id = (SELECT max(id) FROM t)",
            "DROP TABLE t",
            "nosuch = 1",
            "nosuch.x = 1",
            "place.nosuch = 1",
            "t.id = 1",
            "\"ID\" = 1",
            "nofunc(id)",
            "nofunc(id) = 1",
            "no.func(id) = 1",
            // No boolean.
            "id",
            "1",
            "'x'",
            "text",
            "vector",
            "id + 1",
            "count(*)",
            // Types that do not fit.
            "id = 'hunter2'",
            "text 1",
            "DATE NULL = at",
            "size = 'hunter2'",
            "size > 'hunter2'",
            "at > 'hunter2'",
            "text + 1",
            "text + 1 = 2",
            "text = 1 + 'hunter2'",
            "place = 1",
            "vector = 1",
            "tags = 1",
            "id AND true",
            "NOT id",
            "id = true + 1",
            "id BETWEEN 'hunter2' AND 'b'",
            "id IN ('hunter2')",
            "CAST('hunter2' AS INT) = id",
            "id LIKE 1",
            "CAST(id AS nosuch) = 1",
            "TIMESTAMP 'hunter2' = at",
            "at = DATE 'hunter2'",
            "1 / 0 = 1",
            "id / 0 = 1",
            "id % 0 = 1",
            "regexp_like(text, '(hunter2')",
            "regexp_like(text, '((((a{1,100}){1,100}){1,100}){1,100}){1,100}')",
            "regexp_match(text, 'a{4294967295}')",
            // Answers of any length.
            "repeat(text, 1000000000) = 'a'",
            "REPEAT (text, 1000000000) = 'a'",
            "lpad(text, 2147483647) = 'a'",
            "rpad(text, 2147483647) = 'a'",
            "array_repeat(1, 1000000000) = tags",
            "range(0, 10000000000) = tags",
            "generate_series(0, 10000000000) = tags",
            "array_resize(tags, 10000000000) = tags",
            "is_valid()",
            "CAST(id AS DECIMAL(5, -5)) = 1",
            "id::NUMERIC(5,-5) = 1",
            // Literals of other dialects.
            "N'hunter2' = text",
            "E'hunter2' = text",
            "$$hunter2$$ = text",
            "U&'hunter2' = text",
            "B'hunter2' = text",
            "text -> 'hunter2' = 1",
        ] {
            bad.bad_sql(sql).await;
        }
        bad.finish().await;
    });
}

#[test]
fn placeholders_and_their_values() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        for (sql, params) in [
            ("id = $1", vec![]),
            ("id = $2", vec![secret()]),
            ("text = $1 OR text = $3", vec![secret(), secret()]),
            ("text = $0", vec![secret()]),
            ("text = $01x", vec![secret()]),
            ("text = $-1", vec![secret()]),
            ("text = $99999999999999999999", vec![secret()]),
            ("text = ?", vec![secret()]),
            ("text = :a", vec![secret()]),
            ("text = @a AND text = $1", vec![secret()]),
            ("text = $a", vec![secret()]),
            ("text = '$1", vec![secret()]),
            ("text = $1$1", vec![secret()]),
            ("size = $1", vec![secret()]),
            ("size IN $1", vec![secret()]),
            ("text $1", vec![secret()]),
            ("$1", vec![secret()]),
            ("$1(id)", vec![secret()]),
            ("id.$1 = 1", vec![secret()]),
            ("CAST(id AS $1) = 1", vec![secret()]),
            ("at > $1", vec![secret()]),
            (
                "regexp_like(text, $1)",
                vec![StringValue("(hunter2".into())],
            ),
            ("nosuch = $1", vec![secret()]),
            ("nofunc($1)", vec![secret()]),
            ("text = $1 AND", vec![secret()]),
        ] {
            bad.bad_filter(sql, filter(sql, params), "filter.sql").await;
        }
        let list = |values: Vec<value::Kind>| {
            List(ListValue {
                values: values
                    .into_iter()
                    .map(|kind| Value { kind: Some(kind) })
                    .collect(),
            })
        };
        let nanos = Timestamp {
            seconds: 0,
            nanos: 1_000_000_000,
        };
        let structs = StructValue {
            values: vec![Value::default()],
        };
        let zero = "filter.params[0]";
        for (what, sql, params, field) in [
            ("an unused value", "true", vec![secret()], zero),
            ("a quoted placeholder", "text = '$1'", vec![secret()], zero),
            (
                "a second unused value",
                "text = $1",
                vec![secret(), secret()],
                "filter.params[1]",
            ),
            ("NaN", "id = $1", vec![DoubleValue(f64::NAN)], zero),
            (
                "infinity",
                "id = $1",
                vec![DoubleValue(f64::INFINITY)],
                zero,
            ),
            ("many nanos", "at = $1", vec![TimestampValue(nanos)], zero),
            (
                "no decimal",
                "id = $1",
                vec![value::Kind::DecimalValue("hunter2".into())],
                zero,
            ),
            ("an empty list", "id IN $1", vec![list(vec![])], zero),
            (
                "a list within a list",
                "id IN $1",
                vec![list(vec![list(vec![IntValue(1)])])],
                "filter.params[0].list_value.values[0]",
            ),
            (
                "20,001 items",
                "id IN $1",
                vec![list(vec![IntValue(1); 20_001])],
                zero,
            ),
            (
                "a struct",
                "place = $1",
                vec![value::Kind::StructValue(structs)],
                zero,
            ),
            (
                "a vector",
                "vector = $1",
                vec![value::Kind::VectorValue(floats(&[0.0; 4]))],
                zero,
            ),
            (
                "1,001 values",
                "id = $1",
                vec![IntValue(1); 1_001],
                "filter.params",
            ),
        ] {
            bad.bad_filter(what, filter(sql, params), field).await;
        }
        // What a value is multiplied by: its uses, and the rows of a batch.
        let often = format!("text IN ({})", vec!["$1"; 19_000].join(","));
        let lists = vec!["id IN $1"; 900].join(" OR ");
        let case = "CASE WHEN id >= 0 THEN $1 ELSE '' END = 'a'";
        let wide = format!("concat({}) = 'a'", vec!["text"; 5_000].join(","));
        let long = || StringValue("x".repeat(1 << 20));
        for (what, sql, params) in [
            ("a long value, used again and again", &*often, vec![long()]),
            (
                "a list, used again and again",
                &*lists,
                vec![list((0..10_000).map(IntValue).collect())],
            ),
            ("a long value for each row", case, vec![long()]),
            (
                "a long argument for each row",
                "strpos(text, $1) = 1",
                vec![long()],
            ),
            (
                "a long value joined to each row",
                "text || $1 = 'a'",
                vec![long()],
            ),
            ("thousands of columns joined", &*wide, vec![]),
            (
                "a list as long as the separator makes it",
                "array_to_string(tags, $1) = 'a'",
                vec![long()],
            ),
        ] {
            bad.bad_filter(what, filter(sql, params), "filter.sql")
                .await;
        }
        for (what, sql, kind) in [
            (
                "a year that no calendar has",
                "at = $1",
                TimestampValue(Timestamp {
                    seconds: i64::MAX,
                    nanos: 0,
                }),
            ),
            (
                "a year that the column has not",
                "at = $1",
                TimestampValue(Timestamp {
                    seconds: 1 << 40,
                    nanos: 1,
                }),
            ),
            ("an integer out of range", "size = $1", IntValue(i64::MAX)),
            (
                "an unsigned integer out of range",
                "id = $1",
                value::Kind::UintValue(u64::MAX),
            ),
            ("a huge double", "size = $1", DoubleValue(1e300)),
            ("a tiny double", "size = $1", DoubleValue(-1e-300)),
            (
                "a decimal of 38 digits",
                "size = $1",
                value::Kind::DecimalValue("9".repeat(38)),
            ),
            (
                "a decimal of 76 digits",
                "size = $1",
                value::Kind::DecimalValue("9".repeat(76)),
            ),
            (
                "a decimal of 38 digits after the point",
                "size = $1",
                value::Kind::DecimalValue(format!("0.{}", "9".repeat(38))),
            ),
            (
                "bytes",
                "text = $1",
                value::Kind::BytesValue(vec![0; 9].into()),
            ),
            (
                "10,000 items",
                "id IN $1",
                list((0..10_000).map(IntValue).collect()),
            ),
            (
                "a text of 60 KB",
                "text = $1",
                StringValue("a".repeat(60_000)),
            ),
            ("a text of NULs", "text = $1", StringValue("\0".repeat(9))),
        ] {
            bad.survived(what, async |mut to| {
                count(&mut to, filter(sql, vec![kind.clone()])).await
            })
            .await;
        }
        bad.finish().await;
    });
}

#[test]
fn filters_that_cost_too_much() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        for n in [100usize, 1_000, 10_000, 100_000] {
            let chain = |part: &str, by: &str| vec![part; n].join(by);
            let around = |open: &str, inner: &str, close: &str| {
                format!("{}{inner}{}", open.repeat(n), close.repeat(n))
            };
            let mut refused = vec![
                around("(", "true", ")"),
                around("[", "true", "]"),
                around("abs(", "id", ")") + " > 0",
                around("NOT ", "true", ""),
                around("not(", "true", ")"),
                around("- ", "id", "") + " < 0",
                around("CASE WHEN true THEN ", "true", " END"),
                around("CASE WHEN true AND ", "true", " THEN true END"),
                around("(id = 1 OR ", "true", ")"),
                around("CAST(", "id", " AS BIGINT)") + " = 1",
                around("ARRAY[", "1", "]") + " = tags",
            ];
            if n > 1_000 {
                refused.extend([
                    chain("id = 1", " OR "),
                    chain("id = 1", " AND "),
                    chain("1", " + ") + " = id",
                    chain("text", " || ") + " = text",
                    "id".to_owned() + &" IS NULL".repeat(n),
                    "true".to_owned() + &" IS TRUE".repeat(n),
                    "true".to_owned() + &" IS NOT FALSE".repeat(n),
                    "text".to_owned() + &" LIKE 'a'".repeat(n),
                    "id".to_owned() + &" IN (1)".repeat(n),
                    "id".to_owned() + &" BETWEEN 1 AND 2".repeat(n),
                    "tags".to_owned() + &"[0]".repeat(n) + " = 1",
                    "place".to_owned() + &".x".repeat(n) + " = 1",
                    "id".to_owned() + &"::bigint".repeat(n) + " = 1",
                    "at".to_owned() + &" AT TIME ZONE 'UTC'".repeat(n) + " = at",
                    "text".to_owned() + &" COLLATE x".repeat(n) + " = text",
                ]);
            }
            if n == 100_000 {
                // 600 KB and 100 KB of one token.
                refused.push(format!("id IN ({})", chain("1", ", ")));
                refused.push(format!("text = '{}'", "a".repeat(n)));
                refused.push(format!("{} = 1", "a".repeat(n)));
            }
            for sql in refused {
                bad.bad_sql(&sql).await;
            }
        }
        bad.finish().await;
    });
}

/// What is long and allowed is answered, on every path that plans it.
#[test]
fn filters_that_are_long() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let chain = |part: &str, by: &str, n: usize| vec![part; n].join(by);
        for sql in [
            chain("id = 1", " OR ", 500),
            chain("id = 1", " AND ", 500),
            chain("(id = 1 OR text = 'a')", " AND ", 250),
            chain("1", " + ", 99) + " > id",
            "(".repeat(30) + "id = 1" + &")".repeat(30),
            "NOT ".repeat(30) + "id = 1",
            format!("id IN ({})", chain("1", ", ", 20_000)),
            chain("text = 'a'", " OR ", 500),
            chain("size IS NULL", " OR ", 300),
            "true".to_owned() + &" IS NOT FALSE".repeat(30),
            "id BETWEEN 1 AND 2".to_owned() + &" OR id BETWEEN 3 AND 4".repeat(150),
        ] {
            let what: String = sql.chars().take(60).collect();
            let wanted = || Some(filter(sql.as_str(), vec![]));
            bad.answered(&what, async |mut to| {
                count(&mut to, filter(sql.as_str(), vec![])).await
            })
            .await;
            bad.answered(&format!("{what}, searched"), async |mut to| {
                let query = Query {
                    vectors: vec![floats(&[0.0; 4])],
                    limit: 3,
                    filter: wanted(),
                    ..Default::default()
                };
                let request = SearchRequest {
                    freshness: None,
                    table: "t".into(),
                    query: Some(query),
                    row_format: 0,
                };
                to.search.search(request).await
            })
            .await;
        }
        bad.finish().await;
    });
}

impl Bad {
    async fn answered<T>(
        &mut self,
        what: &str,
        call: impl AsyncFn(Clients) -> Result<Response<T>, Status>,
    ) {
        if let Some(status) = self.ask(what, call).await {
            self.faults
                .push(format!("{what}: {}", super::show(&status)));
        }
    }
}

/// SQL that few filters need: some of it LanceDB has, some it has not.
#[test]
fn strange_filters() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        for sql in [
            "NULL",
            "true",
            "id = NULL",
            "_rowid = 1",
            "_distance < 1",
            "*",
            "t.*",
            "id.* = 1",
            "count(*) > 1",
            "sum(id) > 1",
            "row_number() OVER () = 1",
            "random() < 0.5",
            "now() > at",
            "at < now() - INTERVAL '1 day'",
            "INTERVAL '1' > INTERVAL '2'",
            "EXTRACT(year FROM at) = 2023",
            "SUBSTRING(text FROM 1 FOR 2) = 'ro'",
            "POSITION('a' IN text) = 1",
            "OVERLAY(text PLACING 'a' FROM 1) = 'a'",
            "TRIM(BOTH ' ' FROM text) = 'a'",
            "CEIL(id TO DAY) = 1",
            "TRY_CAST(text AS INT) = 1",
            "SAFE_CAST(text AS INT) = 1",
            "CAST(id AS STRUCT<a INT>) = 1",
            "CAST(id AS DECIMAL(99, 98)) = 1",
            "CAST(id AS TIMESTAMP(99)) = at",
            "CAST(id AS VARCHAR(0)) = ''",
            "id::int = 1",
            "id IS DISTINCT FROM 1",
            "id = ANY(tags)",
            "id = ALL(tags)",
            "tags[0] = 1",
            "tags[-9999999999] = 1",
            "tags[1:2] = tags",
            "tags = [1]",
            "place.x = 1",
            "place['x'] = 1",
            "place['nosuch'] = 1",
            "place[0] = 1",
            "{a: 1} = place",
            "MAP {'a': 1} = place",
            "STRUCT(1) = place",
            "ROW(1, 2) = (1, 2)",
            "(id, size) = (1, 2)",
            "(id, size) IN ((1, 2))",
            "text SIMILAR TO 'x'",
            "text RLIKE 'x'",
            "text REGEXP 'x'",
            "text ~ 'x'",
            "text LIKE 'x' ESCAPE 'ab'",
            "text LIKE '%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%a'",
            "text ILIKE 'X'",
            "text LIKE ANY ('a', 'b')",
            "text COLLATE nosuch = 'a'",
            "at AT TIME ZONE 'Nowhere/No' = at",
            "text -> 'a' = 1",
            "text ->> 'a' = 'b'",
            "text || 1 = 'b'",
            "id & 1 = 1",
            "id << 999 = 1",
            "id ^ 1 = 1",
            "id ! = 1",
            "!true",
            "id DIV 2 = 1",
            "id XOR 2",
            "N'a' = text",
            "E'\\x' = text",
            "U&'\\0041' = text",
            "B'01' = text",
            "X'0' = text",
            "X'zz' = text",
            "0x1F = id",
            "$$a$$ = text",
            "'a' 'b' = text",
            "1e5 > id",
            "1e999 > id",
            "1e-999 < id",
            "99999999999999999999999999999999999999999999 > id",
            "-9223372036854775808 < id",
            "1.7976931348623157e309 > id",
            "0.1234567890123456789012345678901234567890 < id",
            "array_length(vector) = 4",
            "array_has(tags, 1)",
            "array_contains_any(tags, [1])",
            "cardinality(tags) = 1",
            "regexp_replace(text, '(a+)+$', 'b', 'g') = text",
            "regexp_like(text, '(a+)+$')",
            "json_extract(text, '$.a') = 'b'",
            "st_contains(place, place)",
            "uuid() = text",
            "version() = text",
            "current_user = text",
            "chr(0) = text",
            "chr(-1) = text",
            "to_timestamp(text) = at",
            "date_trunc('nosuch', at) = at",
            "date_part('hunter2', at) = 1",
            "arrow_cast(id, 'hunter2') = 1",
            "arrow_cast(id, 'FixedSizeBinary(-1)') = 1",
            "arrow_typeof(id) = 'Int64'",
            "named_struct('a', 1) = place",
            "GROUPING SETS ((id))",
            "LAMBDA x -> x",
            "CASE id WHEN 1 THEN true WHEN 2 THEN 'x' END",
            "CASE WHEN id THEN true END",
            "COALESCE(id, 'hunter2') = 1",
            "NULLIF(id, 'hunter2') = 1",
            "greatest(id, 'hunter2') = 1",
            "id IN (1, 'hunter2')",
            "id IN (1, NULL)",
            "id NOT IN (NULL)",
            "id BETWEEN 2 AND 1",
            "id BETWEEN SYMMETRIC 2 AND 1",
            "text BETWEEN 1 AND 2",
            "true = 1",
            "text = true",
            "vector[1] > 0",
            "vector IS NULL",
            "place IS NULL",
            "tags IS NULL",
        ] {
            bad.survived(sql, async |mut to| {
                count(&mut to, filter(sql, vec![])).await
            })
            .await;
        }
        bad.finish().await;
    });
}

/// Tokens in any order. The seed is printed; a failure shows its filters.
#[test]
fn random_filters() {
    const WORDS: &[&str] = &[
        "id", "text", "size", "at", "tags", "place", "place.x", "vector", "nosuch", "1", "-1",
        "0.5", "'a'", "''", "NULL", "true", "$1", "(", ")", "(", ")", "[", "]", ",", ".", "=",
        "<>", "<", ">=", "+", "-", "*", "/", "%", "||", "AND", "OR", "NOT", "IS", "NULL", "IN",
        "LIKE", "BETWEEN", "CASE", "WHEN", "THEN", "ELSE", "END", "CAST", "AS", "INT", "DATE",
        "INTERVAL", "::", "abs(", "lower(", "x'00'", "DISTINCT", "FROM", "ANY", "ESCAPE",
    ];
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..400 {
            let words: Vec<&str> = (0..rng.random_range(1..12))
                .map(|_| WORDS[rng.random_range(0..WORDS.len())])
                .collect();
            let sql = words.join(" ");
            let params = match sql.contains("$1") {
                true => vec![secret()],
                false => vec![],
            };
            bad.survived(&sql, async |mut to| {
                count(&mut to, filter(sql.as_str(), params.clone())).await
            })
            .await;
        }
        bad.finish().await;
    });
}

/// Every other place where a filter or an expression can be.
#[test]
fn filters_of_every_call() {
    run(async {
        let mut bad = Bad::start(|_| {}).await;
        let (code, table) = (Code::InvalidArgument, || "t".to_owned());
        let long = "true AND ".repeat(20_000) + "true";
        let deep = "(".repeat(1_000) + "true" + &")".repeat(1_000);
        for sql in [
            "id =",
            "nosuch = 'hunter2'",
            "true; DROP TABLE t",
            "id + 1",
            "size = 'hunter2'",
            &long,
            &deep,
        ] {
            let what: String = sql.chars().take(40).collect();
            let wanted = || Some(filter(sql, vec![]));
            let vector = || Query {
                vectors: vec![floats(&[0.0; 4])],
                limit: 1,
                filter: wanted(),
                ..Default::default()
            };
            for postfilter in [false, true] {
                let query = || {
                    Some(Query {
                        postfilter,
                        ..vector()
                    })
                };
                let label = format!("search, {postfilter}: {what}");
                bad.refused(&label, code, "query.filter.sql", async |mut to| {
                    let request = SearchRequest {
                        freshness: None,
                        table: table(),
                        query: query(),
                        row_format: 0,
                    };
                    to.search.search(request).await
                })
                .await;
            }
            let scan = || ScanQuery {
                filter: wanted(),
                ..Default::default()
            };
            bad.refused(
                &format!("scan: {what}"),
                code,
                "query.filter.sql",
                async |mut to| {
                    let request = ScanRequest {
                        table: table(),
                        query: Some(scan()),
                        ..Default::default()
                    };
                    to.search.scan(request).await
                },
            )
            .await;
            bad.refused(
                &format!("explain: {what}"),
                code,
                "scan.filter.sql",
                async |mut to| {
                    let request = ExplainRequest {
                        freshness: None,
                        table: table(),
                        target: Some(explain_request::Target::Scan(scan())),
                        // Some faults show only when the rows are there.
                        analyze: true,
                        verbose: false,
                    };
                    to.search.explain(request).await
                },
            )
            .await;
            bad.refused(
                &format!("delete: {what}"),
                code,
                "filter.sql",
                async |mut to| {
                    let request = DeleteRequest {
                        request_id: String::new(),
                        table: table(),
                        filter: wanted(),
                    };
                    to.write.delete(request).await
                },
            )
            .await;
            bad.refused(
                &format!("update: {what}"),
                code,
                "filter.sql",
                async |mut to| {
                    let request = UpdateRequest {
                        request_id: String::new(),
                        table: table(),
                        filter: wanted(),
                        assignments: vec![Assignment {
                            column: "size".into(),
                            to: Some(assignment::To::Expression("size".into())),
                        }],
                    };
                    to.write.update(request).await
                },
            )
            .await;
            bad.refused(
                &format!("upsert, delete: {what}"),
                code,
                "when_not_matched_by_source_delete_condition.sql",
                async |mut to| {
                    let request = UpsertRequest {
                        request_id: String::new(),
                        table: table(),
                        on: vec!["id".into()],
                        rows: Some(ipc(&sample().slice(0, 1))),
                        when_not_matched_by_source_delete: true,
                        when_not_matched_by_source_delete_condition: wanted(),
                        ..Default::default()
                    };
                    to.write.upsert(request).await
                },
            )
            .await;
        }
        bad_conditions(&mut bad).await;
        bad_expressions(&mut bad).await;
        bad.finish().await;
    });
}

async fn bad_conditions(bad: &mut Bad) {
    let field = "when_matched_update_all_condition.sql";
    for sql in [
        "target.id =",
        "target.nosuch = 'hunter2'",
        "source.nosuch = 1",
        "nosuch = 1",
        "other.id = 1",
        "true; DROP TABLE t",
        "source.id + 1",
        "source.size = 'hunter2'",
        "source.text = 'hunter2' LIMIT 1",
    ] {
        let what = format!("upsert, update: {sql}");
        bad.refused(&what, Code::InvalidArgument, field, async |mut to| {
            let request = UpsertRequest {
                request_id: String::new(),
                table: "t".into(),
                on: vec!["id".into()],
                rows: Some(ipc(&sample().slice(0, 1))),
                when_matched_update_all: true,
                when_matched_update_all_condition: Some(filter(sql, vec![])),
                ..Default::default()
            };
            to.write.upsert(request).await
        })
        .await;
    }
    for (update, field) in [
        (true, "when_matched_update_all_condition"),
        (false, "when_not_matched_by_source_delete_condition"),
    ] {
        bad.refused(
            "a condition without its option",
            Code::InvalidArgument,
            field,
            async |mut to| {
                let condition = |wanted: bool| wanted.then(|| filter("true", vec![]));
                let request = UpsertRequest {
                    request_id: String::new(),
                    table: "t".into(),
                    on: vec!["id".into()],
                    rows: Some(ipc(&sample().slice(0, 1))),
                    when_matched_update_all_condition: condition(update),
                    when_not_matched_by_source_delete_condition: condition(!update),
                    when_not_matched_insert_all: true,
                    ..Default::default()
                };
                to.write.upsert(request).await
            },
        )
        .await;
    }
}

async fn bad_expressions(bad: &mut Bad) {
    let deep = "(".repeat(1_000) + "1" + &")".repeat(1_000);
    let long = "1 + ".repeat(2_000) + "1";
    for sql in [
        "size +",
        "nosuch + 1",
        "'hunter2'",
        "text",
        "vector",
        "size; DROP TABLE t",
        "size LIMIT 1",
        "size + $1",
        "(SELECT 1)",
        "id / 0",
        "9223372036854775807 + id",
        "id * 1000000000000",
        "CAST(text AS INT)",
        "sum(size)",
        &deep,
        &long,
    ] {
        let what: String = sql.chars().take(40).collect();
        let field = "assignments[0].expression";
        bad.refused(
            &format!("set size: {what}"),
            Code::InvalidArgument,
            field,
            async |mut to| {
                let request = UpdateRequest {
                    request_id: String::new(),
                    table: "t".into(),
                    filter: None,
                    assignments: vec![Assignment {
                        column: "size".into(),
                        to: Some(assignment::To::Expression(sql.into())),
                    }],
                };
                to.write.update(request).await
            },
        )
        .await;
    }
    for sql in [
        "size +",
        "nosuch + 1",
        "size; DROP TABLE t",
        "size LIMIT 1",
        "(SELECT 1)",
        "1 / 0",
        "CAST(text AS INT)",
        "sum(size)",
        "*",
        &deep,
        &long,
    ] {
        let what: String = sql.chars().take(40).collect();
        let field = "computed.columns[0].expression";
        bad.refused(
            &format!("add: {what}"),
            Code::InvalidArgument,
            field,
            async |mut to| {
                let source = add_columns_request::Source::Computed(NewColumns {
                    columns: vec![NewColumn {
                        name: "new".into(),
                        expression: sql.into(),
                    }],
                });
                let request = AddColumnsRequest {
                    table: "t".into(),
                    source: Some(source),
                };
                to.table.add_columns(request).await
            },
        )
        .await;
    }
}
