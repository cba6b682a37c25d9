//! Filters, numbers, names and tokens that are made to hurt, again and again, by somebody
//! who may read: each is refused, and nobody else has to wait for it.

use lancegate::proto::v1::*;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::besieged::Besieged;
use crate::access::Caller;

/// How often each of them comes, one after the other, from each of several callers.
const ROUNDS: usize = 3;
const CALLERS: u8 = 4;

fn filter(sql: impl Into<String>) -> Option<Filter> {
    Some(Filter {
        sql: sql.into(),
        params: Vec::new(),
    })
}

/// Filters that are never planned.
fn refused() -> Vec<String> {
    vec![
        format!("text LIKE ('{}')", "%a".repeat(20_000)),
        "text LIKE text || '%'".into(),
        "regexp_like(text, '((((a{90}){90}){90}){90})')".into(),
        vec!["regexp_like(text, 'a')"; 100].join(" OR "),
        "repeat(text, 1000000000) = 'x'".into(),
        "id IN (SELECT id FROM t)".into(),
        "1 = 1) OR (1 = 1".into(),
    ]
}

/// Filters, from what a person would write to what would take days.
fn filters() -> Vec<String> {
    let mut all = vec![
        "regexp_like(text, '(a*)*(a*)*(a*)*b')".into(),
        "text = 'x' -- '".into(),
        "text = '\u{2019} OR 1=1'".into(),
    ];
    for n in [100, 1_000, 10_000, 100_000] {
        all.push(format!("{}id = 1", "id = 1 OR ".repeat(n)));
        all.push(format!("{}true", "NOT ".repeat(n)));
        all.push(format!("{}id = 1{}", "(".repeat(n), ")".repeat(n)));
        all.push(format!("id IN ({}1)", "1, ".repeat(n)));
        all.push(format!("{}id{} = 1", "abs(".repeat(n), ")".repeat(n)));
    }
    all
}

const NAMES: [&str; 8] = [
    "../../../../etc/passwd",
    "..\\..\\t",
    "t.lance/_versions",
    "%2e%2e%2ft",
    "t\0",
    "/etc",
    "s3://elsewhere/t",
    "",
];

/// What is shown in the place of a key.
const TOKENS: [&str; 4] = [
    "lgk_0000000000000000000000000000000000000000000",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.",
    "a.b.c",
    "..",
];

async fn channel(host: u8, besieged: &Besieged) -> Channel {
    Endpoint::from_shared(format!("http://{}", besieged.grpc))
        .unwrap()
        .local_address(Some([127, 0, 0, host].into()))
        .connect()
        .await
        .unwrap()
}

/// How a call ended, which never is a fault of the server's.
fn code<T>(what: &str, answer: Result<T, Status>) -> Code {
    let code = answer.map_or_else(|status| status.code(), |_| Code::Ok);
    let what: String = what.chars().take(60).collect();
    assert!(
        matches!(
            code,
            Code::Ok
                | Code::InvalidArgument
                | Code::NotFound
                | Code::ResourceExhausted
                | Code::OutOfRange
                | Code::Unimplemented
                | Code::PermissionDenied
                | Code::Unauthenticated
        ),
        "{what}: {code:?}"
    );
    code
}

async fn attack(channel: &Channel, key: &str) {
    let mut caller = Caller::of(channel, Some(key));
    let refused = refused();
    for sql in refused.iter().chain(&filters()) {
        let count = CountRequest {
            table: "t".into(),
            filter: filter(sql),
            ..Default::default()
        };
        let counted = code(sql, caller.search.count(count).await);
        if refused.contains(sql) || sql.len() > 64 << 10 {
            assert_eq!(counted, Code::InvalidArgument, "{sql:.80}");
        }
    }
    for limit in [1 << 31, u32::MAX] {
        let search = SearchRequest {
            table: "t".into(),
            query: Some(Query {
                limit,
                offset: limit,
                ..Default::default()
            }),
            ..Default::default()
        };
        let searched = code("k", caller.search.search(search).await);
        assert_eq!(searched, Code::InvalidArgument);
    }
    for name in NAMES
        .map(str::to_owned)
        .into_iter()
        .chain(["t".repeat(1 << 20)])
    {
        let count = CountRequest {
            table: name.clone(),
            ..Default::default()
        };
        let counted = code(&name, caller.search.count(count).await);
        assert_ne!(counted, Code::Ok, "{name}");
    }
    for token in TOKENS {
        let mut nobody = Caller::of(channel, Some(token));
        let count = CountRequest {
            table: "t".into(),
            ..Default::default()
        };
        let counted = code(token, nobody.search.count(count).await);
        assert_eq!(counted, Code::Unauthenticated, "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_to_hurt_hurts_nobody_else() {
    let besieged = Besieged::guarded().await;
    let memory = besieged.peak_memory();
    let mut attackers = Vec::new();
    for host in 2..2 + CALLERS {
        let channel = channel(host, &besieged).await;
        let key = besieged.key("reader");
        attackers.push(tokio::spawn(async move {
            for _ in 0..ROUNDS {
                attack(&channel, &key).await;
            }
        }));
    }
    for attacker in attackers {
        attacker.await.unwrap();
    }
    let grown = besieged.peak_memory().saturating_sub(memory);
    println!("{grown} bytes more");
    assert!(grown < 256 << 20, "{grown} bytes more");
    besieged
        .relieved("filters, numbers, names and tokens")
        .await;
}
