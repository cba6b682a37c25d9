//! Tenants in one table, and everything that one of them could try to see the rows of
//! another: in the real process, whose log and metrics are read as well.

use std::{panic::AssertUnwindSafe, sync::Arc};

use arrow::{
    array::{
        ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StringArray,
    },
    datatypes::{DataType, Field, Int64Type, Schema},
};
use futures::FutureExt;
use lancegate::proto::v1::*;
use tempfile::TempDir;
use tonic::{Code, Status};

use super::{
    guarded::{Caller, Files, channel, settled},
    methods::http_get_with,
};
use crate::{
    data::{batch, floats, ipc, read_ipc},
    process::{Server, until_some},
};

/// In every value of a row of another tenant, and in every value of a hidden column.
pub const FOREIGN: &str = "FOREIGNMARK";
pub const HIDDEN: &str = "HIDDENMARK";

/// Rows of each tenant.
pub const EACH: i64 = 40;

/// Rows of a tenant: ids from `first` on. Those of another one are nearer to the origin.
pub fn rows(tenant: &str, first: i64) -> RecordBatch {
    let mark = if tenant == "acme" { "own" } else { FOREIGN };
    let ids = || first..first + EACH;
    let text = |word: &str| {
        StringArray::from_iter_values(ids().map(|i| format!("{word} {mark} words {i}")))
    };
    let near = if tenant == "acme" { 100.0 } else { 0.0 };
    let values = ids().flat_map(|i| (0..4).map(move |d| near + (i * 4 + d) as f32 / 1_000.0));
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let values = Arc::new(Float32Array::from_iter_values(values));
    let vectors = FixedSizeListArray::new(Arc::clone(&item), 4, values, None);
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("tenant", DataType::Utf8, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("secret", DataType::Utf8, true),
        Field::new("score", DataType::Int64, true),
        Field::new("vector", DataType::FixedSizeList(item, 4), true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids())),
        Arc::new(StringArray::from_iter_values(ids().map(|_| tenant))),
        Arc::new(text("common")),
        Arc::new(text(HIDDEN)),
        Arc::new(Int64Array::from_iter_values(ids().map(|i| i % 7))),
        Arc::new(vectors),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// A table of both tenants, with indexes.
pub async fn create(root: &mut Caller, table: &str) {
    let source = Some(create_table_request::Source::Rows(ipc(&rows(
        "globex", 1_000,
    ))));
    let create = CreateTableRequest {
        table: table.into(),
        source,
        exist_ok: false,
    };
    until_some(async || root.table.create_table(create.clone()).await.ok()).await;
    let insert = InsertRequest {
        table: table.into(),
        rows: Some(ipc(&rows("acme", 0))),
        ..Default::default()
    };
    root.write.insert(insert).await.unwrap();
    let fts = || {
        index_spec::Kind::Fts(FtsIndex {
            with_position: Some(true),
            ..Default::default()
        })
    };
    for (column, kind) in [
        ("text", fts()),
        ("secret", fts()),
        ("score", index_spec::Kind::Btree(BTreeIndex {})),
        ("tenant", index_spec::Kind::Bitmap(BitmapIndex {})),
    ] {
        let create = CreateIndexRequest {
            table: table.into(),
            columns: vec![column.into()],
            index: Some(IndexSpec { kind: Some(kind) }),
            ..Default::default()
        };
        root.table.create_index(create).await.unwrap();
    }
    settled(root).await;
}

/// What was answered, as far as a mark could be in it.
#[derive(Debug)]
struct Heard {
    what: String,
    rows: Vec<RecordBatch>,
    bytes: Vec<u8>,
    count: u64,
}

/// Everything that was heard, checked as it comes.
struct Ears {
    acme: Caller,
    tried: usize,
    answered: usize,
}

fn has(bytes: &[u8], mark: &str) -> bool {
    bytes
        .windows(mark.len())
        .any(|part| part == mark.as_bytes())
}

impl Heard {
    fn nothing(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            rows: Vec::new(),
            bytes: Vec::new(),
            count: 0,
        }
    }

    fn refused(mut self, status: &Status) -> Self {
        self.bytes.extend_from_slice(status.message().as_bytes());
        self.bytes.extend_from_slice(status.details());
        self
    }

    fn rows(mut self, rows: Option<Rows>) -> Self {
        if let Some(rows) = rows {
            self.bytes
                .extend_from_slice(&prost::Message::encode_to_vec(&rows));
            self.rows.push(batch(Some(rows)));
        }
        self
    }

    /// Nothing of anybody else, and nothing that is hidden.
    fn check(&self) {
        let Self {
            what,
            rows,
            bytes,
            count,
        } = self;
        for mark in [FOREIGN, HIDDEN, "globex"] {
            // What was asked may be said back, and is no news.
            let told = what
                .to_ascii_lowercase()
                .contains(&mark.to_ascii_lowercase());
            let found = has(bytes, mark) && (!told || !rows.is_empty());
            assert!(
                !found,
                "{what}: {mark} in {}",
                String::from_utf8_lossy(bytes)
            );
        }
        assert!(*count <= EACH as u64, "{what}: {count} rows");
        for batch in rows {
            assert!(
                batch.num_rows() <= EACH as usize,
                "{what}: {} rows",
                batch.num_rows()
            );
            assert!(batch.column_by_name("secret").is_none(), "{what}");
            if let Some(ids) = batch.column_by_name("id") {
                let ids = ids.as_primitive::<Int64Type>();
                assert!(ids.values().iter().all(|id| *id < EACH), "{what}: {ids:?}");
            }
            if let Some(tenants) = batch.column_by_name("tenant") {
                let tenants = tenants.as_string::<i32>();
                assert!(
                    tenants.iter().all(|t| t == Some("acme")),
                    "{what}: {tenants:?}"
                );
            }
        }
    }
}

fn filter(sql: &str) -> Option<Filter> {
    Some(Filter {
        sql: sql.into(),
        params: Vec::new(),
    })
}

fn words(terms: &str) -> FullTextQuery {
    FullTextQuery {
        query: Some(full_text_query::Query::Text(terms.into())),
    }
}

fn matching(terms: &str, column: &str) -> FullTextQuery {
    FullTextQuery {
        query: Some(full_text_query::Query::Match(MatchQuery {
            terms: terms.into(),
            column: column.into(),
            ..Default::default()
        })),
    }
}

/// A search near to the rows of the other tenant.
fn near(sql: Option<&str>) -> Query {
    Query {
        vectors: vec![floats(&[0.0; 4])],
        limit: 200,
        filter: sql.and_then(filter),
        ..Default::default()
    }
}

impl Ears {
    fn note(&mut self, heard: Heard, ok: bool) {
        heard.check();
        self.tried += 1;
        self.answered += usize::from(ok);
    }

    async fn search(
        &mut self,
        what: &str,
        query: Query,
        freshness: Option<Freshness>,
    ) -> Option<RecordBatch> {
        let request = SearchRequest {
            table: "docs".into(),
            query: Some(query.clone()),
            freshness: freshness.clone(),
            ..Default::default()
        };
        let answer = self.acme.search.search(request).await;
        let heard = Heard::nothing(&format!("search {what}"));
        let (heard, found) = match answer {
            Ok(answer) => {
                let heard = heard.rows(answer.into_inner().rows);
                let found = heard.rows.first().cloned();
                (heard, found)
            }
            Err(status) => (heard.refused(&status), None),
        };
        self.note(heard, found.is_some());
        self.stream(what, query, freshness).await;
        found
    }

    async fn stream(&mut self, what: &str, query: Query, freshness: Option<Freshness>) {
        let request = SearchStreamRequest {
            table: "docs".into(),
            query: Some(query),
            freshness,
        };
        let mut heard = Heard::nothing(&format!("stream {what}"));
        let mut bytes = Vec::new();
        let ended = match self.acme.search.search_stream(request).await {
            Err(status) => Err(status),
            Ok(answer) => {
                let mut answer = answer.into_inner();
                loop {
                    match answer.message().await {
                        Ok(Some(message)) => bytes.extend_from_slice(&message.arrow_ipc),
                        Ok(None) => break Ok(()),
                        Err(status) => break Err(status),
                    }
                }
            }
        };
        let ok = ended.is_ok();
        match ended {
            Ok(()) => heard.rows.push(read_ipc(&bytes)),
            Err(status) => heard = heard.refused(&status),
        }
        heard.bytes.extend_from_slice(&bytes);
        self.note(heard, ok);
    }

    async fn scan(
        &mut self,
        what: &str,
        query: ScanQuery,
        token: &str,
        freshness: Option<Freshness>,
    ) -> Option<ScanResponse> {
        let request = ScanRequest {
            table: "docs".into(),
            query: Some(query),
            page_size: 500,
            page_token: token.into(),
            freshness,
            ..Default::default()
        };
        let heard = Heard::nothing(&format!("scan {what}"));
        let answer = self
            .acme
            .search
            .scan(request)
            .await
            .map(tonic::Response::into_inner);
        let (heard, found) = match answer {
            Ok(answer) => (heard.rows(answer.rows.clone()), Some(answer)),
            Err(status) => (heard.refused(&status), None),
        };
        self.note(heard, found.is_some());
        found
    }

    async fn count(&mut self, sql: &str, freshness: Option<Freshness>) -> Result<u64, Status> {
        let request = CountRequest {
            table: "docs".into(),
            filter: filter(sql),
            freshness,
        };
        let answer = self.acme.search.count(request).await;
        let mut heard = Heard::nothing(&format!("count {sql}"));
        let answer = answer.map(|answer| answer.into_inner().count);
        match &answer {
            Ok(count) => heard.count = *count,
            Err(status) => heard = heard.refused(status),
        }
        self.note(heard, answer.is_ok());
        answer
    }

    /// One filter, in every place that takes one.
    async fn trick(&mut self, sql: &str) {
        // What may be refused, never to see more.
        let _ = self.count(sql, None).await;
        let scan = ScanQuery {
            filter: filter(sql),
            ..Default::default()
        };
        self.scan(sql, scan, "", None).await;
        self.search(sql, near(Some(sql)), None).await;
        let mut post = near(Some(sql));
        (post.postfilter, post.bypass_vector_index) = (true, true);
        self.search(&format!("postfilter {sql}"), post, None).await;
        let mut text = near(Some(sql));
        text.vectors.clear();
        text.full_text = Some(matching("words", "text"));
        self.search(&format!("text {sql}"), text.clone(), None)
            .await;
        text.vectors = vec![floats(&[0.0; 4])];
        self.search(&format!("hybrid {sql}"), text, None).await;
    }
}

/// Filters of somebody who wants more.
const TRICKS: [&str; 62] = [
    "true",
    "1 = 1",
    "true OR true",
    "1=1 OR 1=1",
    "tenant = 'globex'",
    "tenant = 'acme' OR tenant = 'globex'",
    "tenant <> 'acme'",
    "tenant != 'acme' OR 1=1",
    "NOT (tenant = 'acme')",
    "NOT tenant = 'acme' OR tenant IS NOT NULL",
    "tenant IN ('globex')",
    "tenant IN ('acme', 'globex')",
    "tenant LIKE '%'",
    "tenant ILIKE 'GLOB%'",
    "tenant > ''",
    "tenant BETWEEN 'a' AND 'z'",
    "tenant IS NOT NULL",
    "tenant IS NULL OR true",
    "true) OR (true",
    "true)) OR ((true",
    "1=1) OR 1=1 OR (1=1",
    "') OR ('1'='1",
    "' OR '1'='1",
    "x' OR 1=1 --",
    "true -- ",
    "true /* */",
    "true OR true --",
    "true /* ) */ OR (1=1",
    "true # comment",
    "true; DROP TABLE docs",
    "true LIMIT 1000",
    "true UNION SELECT * FROM docs",
    "true GROUP BY tenant",
    "(SELECT count(*) FROM docs) > 0",
    "EXISTS (SELECT 1)",
    "id IN (SELECT id FROM docs)",
    "tenant = ANY(ARRAY['globex'])",
    "ｔｅｎａｎｔ = 'globex'",
    "tenant = 'globex\u{0}'",
    "tenant\u{200b} = 'globex' OR true",
    "true\u{ff09} OR \u{ff08}true",
    "\u{2019} OR \u{2019}1\u{2019}=\u{2019}1",
    "\"tenant\" = 'globex'",
    "`tenant` = 'globex' OR true",
    "\"TENANT\" = 'globex' OR true",
    "TENANT = 'globex' OR true",
    "CASE WHEN tenant = 'globex' THEN true ELSE true END",
    "CASE WHEN tenant = 'globex' THEN 1 / 0 ELSE 1 END = 1",
    "CAST(text AS INT) = 1",
    "CAST(tenant AS DATE) IS NOT NULL",
    "arrow_cast(text, 'Int64') = 1",
    "id / (score - 3) > 0",
    "1 / (CASE WHEN tenant = 'globex' THEN 0 ELSE 1 END) = 1",
    "9223372036854775807 + id > 0",
    "regexp_like(text, 'FOREIGN.*')",
    "length(text) / 0 = 1",
    "to_timestamp(text) IS NOT NULL",
    "secret LIKE 'HIDDENMARK%'",
    "SECRET IS NOT NULL",
    "`secret` = '' OR true",
    "_rowid >= 0",
    "$1 = $1",
];

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_out_of_their_rows() {
    battery("none").await;
}

/// A server that is broken on purpose is found out.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_forgets_a_part_of_a_scope_is_found_out() {
    for broken in [
        "access:no-scope",
        "access:no-rows",
        "access:no-totality",
        "access:shadow",
    ] {
        let found = AssertUnwindSafe(battery(broken)).catch_unwind().await;
        assert!(found.is_err(), "{broken} was not seen");
    }
}

async fn battery(broken: &'static str) {
    let folder = TempDir::new().unwrap();
    let files = Files::write(folder.path(), "");
    let config = files.config.display().to_string();
    let env = [
        ("LANCEGATE_CONFIG", config.as_str()),
        ("LANCEGATE_LOGGING__FILTER", "info,lancegate=debug"),
        ("LANCEGATE_SHADOW__CONNECTION", "replica-2"),
        ("LANCEGATE_SHADOW__SHARE", "1.0"),
        ("LANCEGATE_FAILPOINT", broken),
    ];
    let server = Server::start(folder.path(), 2, &env).await;
    let channel = channel(&server.process.address("grpc").to_string());
    let of = |name: &str| Caller::of(&channel, Some(&files.keys[name]));
    let (mut root, mut globex) = (of("root"), of("globex"));
    create(&mut root, "docs").await;
    let mut ears = Ears {
        acme: of("acme"),
        tried: 0,
        answered: 0,
    };

    // Their own rows are there, for both, and all of them.
    assert_eq!(ears.count("true", None).await.unwrap(), EACH as u64);
    let own = ears
        .scan("own", ScanQuery::default(), "", None)
        .await
        .unwrap();
    assert_eq!(own.num_rows, EACH as u32);
    let found = ears.search("own", near(None), None).await.unwrap();
    assert_eq!(found.num_rows(), EACH as usize);
    let foreign = CountRequest {
        table: "docs".into(),
        ..Default::default()
    };
    let counted = globex
        .search
        .count(foreign.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(counted.count, EACH as u64);
    let all = root.search.count(foreign).await.unwrap().into_inner();
    assert_eq!(all.count, 2 * EACH as u64);

    for sql in TRICKS {
        ears.trick(sql).await;
    }
    failures(&mut ears, &mut root).await;
    let params = Filter {
        sql: "tenant = $1 OR true".into(),
        params: vec![Value {
            kind: Some(value::Kind::StringValue("x' OR '1'='1".into())),
        }],
    };
    let mut bound = near(None);
    bound.filter = Some(params);
    ears.search("params", bound, None).await.unwrap();

    hidden_columns(&mut ears).await;
    texts(&mut ears).await;
    paths(&mut ears, &mut root).await;
    keys(&mut ears).await;
    facts(&mut ears, &mut root).await;

    assert!(ears.tried > 600, "{}", ears.tried);
    // Most of it was work that is allowed, not one refusal of everything.
    assert!(ears.answered > 200, "{} of {}", ears.answered, ears.tried);
    println!("{} tries, {} answered", ears.tried, ears.answered);

    let key = format!("x-api-key: {}", files.keys["scraper"]);
    let (code, metrics) = http_get_with(server.process.address("http"), "/metrics", &key).await;
    assert_eq!(code, 200);
    let log = server.process.log();
    assert!(
        log.contains("\"principal\":\"acme\""),
        "the log says who asked"
    );
    for (where_, text) in [("metrics", &metrics), ("log", &log)] {
        for mark in [FOREIGN, HIDDEN, "lgk_"] {
            let at = text.find(mark);
            assert!(
                at.is_none(),
                "{where_}: {mark} in {:?}",
                at.map(|at| &text[at.saturating_sub(300)..(at + 100).min(text.len())])
            );
        }
    }
    let refused = "lancegate_access_refused_total{reason=\"rows\"} ";
    let refused = metrics
        .lines()
        .find_map(|line| line.strip_prefix(refused))
        .unwrap();
    assert!(refused.parse::<u64>().unwrap() >= 4, "{refused}");
    // The same rows for the shadow, or the comparison would find others.
    for line in metrics
        .lines()
        .filter(|l| l.starts_with("lancegate_shadow_reads_total"))
    {
        let differs = ["rows", "order", "distance"]
            .iter()
            .any(|w| line.contains(&format!("outcome=\"{w}\"")));
        assert!(!differs || line.ends_with(" 0"), "{line}");
    }
}

/// A filter that fails on rows of others alone would tell of them. Without indexes, and
/// with all rows in one batch, DataFusion evaluates the caller's part on all of them.
async fn failures(ears: &mut Ears, root: &mut Caller) {
    let (globex, acme) = (rows("globex", 1_000), rows("acme", 0));
    let both = arrow::compute::concat_batches(&acme.schema(), [&globex, &acme]).unwrap();
    let create = CreateTableRequest {
        table: "docs_plain".into(),
        source: Some(create_table_request::Source::Rows(ipc(&both))),
        exist_ok: false,
    };
    root.table.create_table(create).await.unwrap();
    settled(root).await;
    let count = |sql: String| CountRequest {
        table: "docs_plain".into(),
        filter: filter(&sql),
        ..Default::default()
    };
    for (fails, passes) in [
        ("tenant = 'globex'", "tenant = 'nobody'"),
        ("text LIKE '%FOREIGN%'", "text LIKE '%NOTHING%'"),
        ("id > 999", "id > 9999"),
    ] {
        let mut asked = Vec::new();
        for condition in [fails, passes] {
            let request = count(format!("{condition} AND CAST(text AS INT) = 1"));
            let answer = ears.acme.search.count(request).await;
            let answer = answer.map(|answer| answer.into_inner().count);
            asked.push(answer.map_err(|s| (s.code(), s.message().to_owned())));
        }
        assert_eq!(asked[0], asked[1], "{fails}");
        // What cannot fail tells nothing, and is answered.
        let request = count(format!("{fails} AND TRY_CAST(text AS INT) = 1"));
        let answer = ears.acme.search.count(request).await.unwrap();
        assert_eq!(answer.into_inner().count, 0);
    }
}

/// Columns that are not there, as columns that nobody has.
async fn hidden_columns(ears: &mut Ears) {
    let ask = |column: &str| {
        let scan = |edit: fn(&mut ScanQuery, &str)| {
            let mut scan = ScanQuery::default();
            edit(&mut scan, column);
            scan
        };
        [
            scan(|s, c| s.columns = vec![c.into()]),
            scan(|s, c| s.columns = vec!["id".into(), c.into()]),
            scan(|s, c| s.filter = filter(&format!("{c} IS NULL"))),
            scan(|s, c| s.filter = filter(&format!("starts_with({c}, 'H')"))),
            scan(|s, c| s.filter = filter(&format!("`{c}` > ''"))),
            scan(|s, c| {
                s.order_by = vec![Ordering {
                    column: c.into(),
                    ..Default::default()
                }]
            }),
        ]
    };
    for (hidden, missing) in ask("secret").into_iter().zip(ask("secreu")) {
        let asked = async |query: ScanQuery| {
            let request = ScanRequest {
                table: "docs".into(),
                query: Some(query),
                ..Default::default()
            };
            let mut search = ears.acme.search.clone();
            let status = search.scan(request).await.unwrap_err();
            (status.code(), status.message().replace("secret", "secreu"))
        };
        assert_eq!(asked(hidden.clone()).await, asked(missing).await);
        ears.scan("of hidden columns", hidden, "", None).await;
    }
    for column in ["secret", "SECRET", "Secret", "secret.x", "\"secret\""] {
        let mut query = near(None);
        query.columns = vec!["id".into(), column.into()];
        assert!(ears.search(column, query, None).await.is_none());
        let mut query = near(None);
        query.vector_column = column.into();
        assert!(ears.search(column, query, None).await.is_none());
    }
}

/// Words that only rows or columns have that are not there.
async fn texts(ears: &mut Ears) {
    use full_text_query::Query as Q;
    let of = |query: Q| FullTextQuery { query: Some(query) };
    let part = |terms: &str, column: &str| matching(terms, column);
    let all = [
        words("FOREIGNMARK"),
        words("HIDDENMARK"),
        words("words"),
        part("FOREIGNMARK", "text"),
        part("HIDDENMARK", "secret"),
        part("HIDDENMARK", ""),
        of(Q::Phrase(PhraseQuery {
            terms: "FOREIGNMARK words".into(),
            ..Default::default()
        })),
        of(Q::Phrase(PhraseQuery {
            terms: "HIDDENMARK own".into(),
            column: "secret".into(),
            slop: 2,
        })),
        of(Q::MultiMatch(MultiMatchQuery {
            terms: "HIDDENMARK".into(),
            columns: vec!["text".into(), "secret".into()],
            ..Default::default()
        })),
        of(Q::MultiMatch(MultiMatchQuery {
            terms: "HIDDENMARK".into(),
            ..Default::default()
        })),
        of(Q::Boolean(BooleanQuery {
            should: vec![words("HIDDENMARK"), part("FOREIGNMARK", "text")],
            ..Default::default()
        })),
        of(Q::Boolean(BooleanQuery {
            must: vec![words("words")],
            must_not: vec![part("own", "text")],
            ..Default::default()
        })),
        of(Q::Boost(Box::new(BoostQuery {
            positive: Some(Box::new(words("words"))),
            negative: Some(Box::new(part("own", "text"))),
            negative_boost: 0.5,
        }))),
    ];
    for (i, query) in all.into_iter().enumerate() {
        for vectors in [vec![], vec![floats(&[0.0; 4])]] {
            let with_vectors = !vectors.is_empty();
            let query = Query {
                vectors,
                full_text: Some(query.clone()),
                limit: 100,
                ..Default::default()
            };
            let found = ears
                .search(&format!("words {i} foreign"), query, None)
                .await;
            if i < 2 && !with_vectors {
                // Nothing of this caller has them.
                assert!(found.is_none_or(|rows| rows.num_rows() == 0));
            }
        }
    }
}

/// Ways to another place or time.
async fn paths(ears: &mut Ears, root: &mut Caller) {
    let at = |number: u64| Freshness {
        kind: Some(freshness::Kind::Exact(ExactVersion {
            version: Some(exact_version::Version::Number(number)),
        })),
    };
    let tag = CreateTagRequest {
        table: "docs".into(),
        tag: Some(Tag {
            name: "before".into(),
            version: 1,
        }),
    };
    root.table.create_tag(tag).await.unwrap();
    let tagged = Freshness {
        kind: Some(freshness::Kind::Exact(ExactVersion {
            version: Some(exact_version::Version::Tag("before".into())),
        })),
    };
    let strong = Freshness {
        kind: Some(freshness::Kind::Strong(Strong {})),
    };
    // The first version has rows of the other tenant alone.
    for (what, freshness) in [("number", at(1)), ("tag", tagged)] {
        let found = ears.search(what, near(None), Some(freshness.clone())).await;
        assert_eq!(found.unwrap().num_rows(), 0);
        assert_eq!(
            ears.count("true", Some(freshness.clone())).await.unwrap(),
            0
        );
        ears.scan(what, ScanQuery::default(), "", Some(freshness))
            .await
            .unwrap();
    }
    for version in 2..6 {
        ears.search("time", near(None), Some(at(version))).await;
    }
    ears.search("strong", near(None), Some(strong))
        .await
        .unwrap();

    // Somebody else's session and page tokens show what its reader may see.
    let open = OpenSessionRequest {
        table: "docs".into(),
        ..Default::default()
    };
    let session = root.search.open_session(open).await.unwrap().into_inner();
    let within = Freshness {
        kind: Some(freshness::Kind::Session(session.session.clone())),
    };
    ears.search("session", near(None), Some(within.clone()))
        .await
        .unwrap();
    assert_eq!(ears.count("true", Some(within)).await.unwrap(), EACH as u64);
    let ordered = |column: &str| ScanQuery {
        order_by: vec![Ordering {
            column: column.into(),
            descending: true,
            ..Default::default()
        }],
        ..Default::default()
    };
    for column in ["id", "tenant", "text", "score"] {
        let page = ScanRequest {
            table: "docs".into(),
            query: Some(ordered(column)),
            page_size: 10,
            ..Default::default()
        };
        let page = root.search.scan(page).await.unwrap().into_inner();
        assert!(!page.next_page_token.is_empty());
        let token = page.next_page_token;
        ears.scan(column, ordered(column), &token, None)
            .await
            .unwrap();
    }
    // Plans are for who sees everything.
    for analyze in [false, true] {
        for target in [
            explain_request::Target::Query(near(Some("tenant = 'acme'"))),
            explain_request::Target::Scan(ScanQuery::default()),
        ] {
            let explain = ExplainRequest {
                table: "docs".into(),
                target: Some(target),
                analyze,
                verbose: true,
                ..Default::default()
            };
            let refused = ears.acme.search.explain(explain.clone()).await.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied);
            ears.note(Heard::nothing("explain").refused(&refused), false);
            root.search.explain(explain).await.unwrap();
        }
    }
}

/// Rows by their keys, where somebody knows the keys of others.
async fn keys(ears: &mut Ears) {
    let int = |n: i64| Value {
        kind: Some(value::Kind::IntValue(n)),
    };
    let text = |t: &str| Value {
        kind: Some(value::Kind::StringValue(t.into())),
    };
    for (key_columns, keys, expected) in [
        (vec!["id"], vec![vec![int(1)], vec![int(1_001)]], Some(1)),
        (vec!["id"], vec![vec![int(1_001)]], Some(0)),
        (vec!["tenant"], vec![vec![text("globex")]], Some(0)),
        (
            vec!["id", "tenant"],
            vec![vec![int(1_001), text("globex")], vec![int(2), text("acme")]],
            Some(1),
        ),
        (
            vec!["tenant"],
            vec![vec![text("acme")], vec![text("globex")]],
            Some(EACH),
        ),
        (
            vec!["secret"],
            vec![vec![text("HIDDENMARK own words 1")]],
            None,
        ),
    ] {
        let get = GetRequest {
            table: "docs".into(),
            key_columns: key_columns.iter().map(|c| (*c).to_owned()).collect(),
            keys: keys.into_iter().map(|values| Row { values }).collect(),
            with_row_id: true,
            ..Default::default()
        };
        let answer = ears.acme.search.get(get).await;
        let heard = Heard::nothing(&format!("get {key_columns:?}"));
        match (answer, expected) {
            (Ok(answer), Some(expected)) => {
                let answer = answer.into_inner();
                assert_eq!(i64::from(answer.num_rows), expected, "{key_columns:?}");
                ears.note(heard.rows(answer.rows), true);
            }
            (Err(status), None) => ears.note(heard.refused(&status), false),
            (other, _) => panic!("{key_columns:?}: {other:?}"),
        }
    }
}

/// What is said of a table: only of what is there.
async fn facts(ears: &mut Ears, root: &mut Caller) {
    let describe = DescribeTableRequest {
        table: "docs".into(),
    };
    let told = ears
        .acme
        .table
        .describe_table(describe)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            told.num_rows,
            told.num_deleted_rows,
            told.size_bytes,
            told.num_fragments
        ),
        (EACH as u64, 0, 0, 0)
    );
    let names: Vec<String> = told
        .indexes
        .iter()
        .flat_map(|i| i.columns.clone())
        .collect();
    assert!(
        !names.is_empty() && !format!("{told:?}").contains("secret"),
        "{told:?}"
    );
    let list = ListIndexesRequest {
        table: "docs".into(),
    };
    let listed = ears
        .acme
        .table
        .list_indexes(list.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(
        listed.indexes.iter().all(|i| i.num_indexed_rows == 0),
        "{listed:?}"
    );
    assert!(!format!("{listed:?}").contains("secret"));
    let everything = root.table.list_indexes(list).await.unwrap().into_inner();
    let hidden = everything
        .indexes
        .iter()
        .find(|i| i.columns == ["secret"])
        .unwrap();
    let wait = |name: &str| WaitForIndexesRequest {
        table: "docs".into(),
        names: vec![name.into()],
        ..Default::default()
    };
    let mut asked = Vec::new();
    for name in [hidden.name.as_str(), "nothing_idx"] {
        let status = ears
            .acme
            .table
            .wait_for_indexes(wait(name))
            .await
            .unwrap_err();
        asked.push((status.code(), status.message().replace(name, "")));
    }
    assert_eq!(asked[0], asked[1]);
    let versions = ListVersionsRequest {
        table: "docs".into(),
        ..Default::default()
    };
    let listed = ears
        .acme
        .table
        .list_versions(versions)
        .await
        .unwrap()
        .into_inner();
    assert!(listed.versions.iter().all(|v| v.metadata.is_empty()));
}
