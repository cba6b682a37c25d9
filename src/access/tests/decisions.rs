use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};

use crate::{
    access::{Access, Grants, Identity, Need, Policy, Refusal, keys, need},
    config::{self, AccessRole, AccessRole::*, Binding, Pattern, RowRule, Who},
    domain::{PeerCertificate, Principal, Proof, Scalar, TableScope},
};

fn identity(proof: Proof, name: &str, roles: &[&str], tenant: Option<Scalar>) -> Identity {
    let claims: BTreeMap<_, _> = tenant
        .map(|t| ("tenant".to_owned(), t))
        .into_iter()
        .collect();
    Identity {
        principal: std::sync::Arc::new(Principal {
            name: name.into(),
            proof,
        }),
        roles: roles.iter().map(|r| (*r).to_owned()).collect(),
        claims,
    }
}

fn binding(principals: &[&str], role: AccessRole, tables: &[&str], rows: &str) -> Binding {
    Binding {
        principals: principals.iter().map(|w| Who::parse(w).unwrap()).collect(),
        role,
        tables: tables.iter().map(|t| Pattern::parse(t).unwrap()).collect(),
        rows: (!rows.is_empty()).then(|| RowRule::parse(rows).unwrap()),
        hidden_columns: Default::default(),
    }
}

fn settings(bindings: Vec<Binding>) -> config::Access {
    config::Access {
        api_keys_file: None,
        reload_interval: std::time::Duration::from_secs(1),
        allow_reflection: false,
        allow_explain: true,
        jwt: None,
        bindings,
    }
}

fn grants(bindings: Vec<Binding>, identity: &Identity) -> Grants {
    Policy::of(&settings(bindings)).grants(identity)
}

fn key(name: &str) -> Identity {
    identity(Proof::ApiKey, name, &[], None)
}

#[test]
fn without_a_binding_nothing_is_allowed() {
    for bindings in [
        vec![],
        vec![binding(&["key:other"], Admin, &["*"], "")],
        // Names of one kind are not those of another.
        vec![binding(&["jwt:a", "cert:a", "role:a"], Admin, &["*"], "")],
        vec![binding(&["key:a"], Metrics, &["*"], "")],
    ] {
        let grants = grants(bindings, &key("a"));
        for role in [Reader, Writer, Admin] {
            assert!(!grants.may(Need::Role(role)));
            assert_eq!(grants.table("t", role), Err(Refusal::Table));
        }
        assert!(!grants.may(Need::Operator) && !grants.may(Need::Explain));
        assert!(!grants.sees("t") && !grants.operates());
    }
}

#[test]
fn a_role_includes_those_before_it_and_ends_at_its_tables() {
    for (bound, may) in [
        (Metrics, vec![]),
        (Reader, vec![Reader]),
        (Writer, vec![Reader, Writer]),
        (Admin, vec![Reader, Writer, Admin]),
    ] {
        let grants = grants(vec![binding(&["key:a"], bound, &["docs_*"], "")], &key("a"));
        for role in [Reader, Writer, Admin] {
            let here = grants.table("docs_1", role).is_ok();
            assert_eq!(here, may.contains(&role), "{bound:?} {role:?}");
            assert_eq!(grants.may(Need::Role(role)), here);
            assert_eq!(grants.table("docs", role), Err(Refusal::Table));
        }
        // Whoever is admin of some tables does not operate the server.
        assert!(!grants.may(Need::Operator));
    }
    let all = grants(vec![binding(&["key:a"], Admin, &["x", "*"], "")], &key("a"));
    assert!(all.may(Need::Operator) && all.measures());
}

#[test]
fn restrictions_add_up_whatever_else_is_bound() {
    let a = identity(
        Proof::Jwt,
        "a",
        &["wide"],
        Some(Scalar::Text("acme".into())),
    );
    let mut hiding = binding(&["jwt:a"], Reader, &["t"], "");
    hiding.hidden_columns.insert("pay".into());
    let bindings = vec![
        binding(&["jwt:*"], Writer, &["t"], "tenant = {tenant}"),
        binding(&["role:wide"], Admin, &["*"], ""),
        hiding,
    ];
    let grants = grants(bindings.clone(), &a);
    let TableScope { rows, hidden } = (*grants.table("t", Writer).unwrap()).clone();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].sql.as_str(), rows[0].params.as_slice()),
        ("tenant = $1", &[Scalar::Text("acme".into())][..])
    );
    assert!(hidden.contains("pay"));
    // Who changes whole tables must see them whole.
    assert_eq!(grants.table("t", Admin), Err(Refusal::Table));
    assert!(grants.table("u", Admin).unwrap().is_whole());
    // A claim that is missing is no claim to everything.
    let none = identity(Proof::Jwt, "b", &["wide"], None);
    let without = Policy::of(&settings(bindings)).grants(&none);
    assert_eq!(without.table("t", Reader), Err(Refusal::Table));
    assert!(without.table("u", Reader).is_ok());
}

#[test]
fn the_name_is_a_claim_that_nobody_can_have() {
    let mut a = key("a' OR '1'='1");
    a.claims
        .insert("principal".into(), Scalar::Text("b".into()));
    let grants = grants(
        vec![binding(&["key:*"], Reader, &["*"], "owner = {principal}")],
        &a,
    );
    let scope = grants.table("t", Reader).unwrap();
    assert_eq!(scope.rows[0].params, [Scalar::Text("a' OR '1'='1".into())]);
    assert_eq!(scope.rows[0].sql, "owner = $1");
}

#[test]
fn rows_name_claims_and_never_quote_them() {
    let parse = |text: &str| RowRule::parse(text).map(|rule| (rule.sql, rule.claims));
    let is = |sql: &str, claims: &[&str]| {
        Ok((
            sql.to_owned(),
            claims.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>(),
        ))
    };
    assert_eq!(parse("tenant = {tenant}"), is("tenant = $1", &["tenant"]));
    assert_eq!(
        parse("a = {x} OR b IN {y} OR c = {x}"),
        is("a = $1 OR b IN $2 OR c = $1", &["x", "y"])
    );
    assert_eq!(
        parse("kind = 'it''s' AND `a b` = 1"),
        is("kind = 'it''s' AND `a b` = 1", &[])
    );
    for bad in [
        "tenant = '{tenant}'",
        "tenant = \"{tenant}\"",
        "tenant = {",
        "tenant = {}",
        "tenant = {a b}",
        "tenant = }",
        "tenant = $1",
        "tenant = 'x",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

/// A generator of names and patterns that is the same in every run (Knuth's LCG).
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

#[test]
fn more_bindings_never_take_a_restriction_away() {
    let mut dice = Dice(7);
    let tables = ["a", "ab", "b", "ba"];
    let patterns = ["a", "a*", "*b", "*", "b"];
    let roles = [Metrics, Reader, Writer, Admin];
    for round in 0..2_000 {
        let who = identity(
            Proof::ApiKey,
            "k",
            &["r"],
            (dice.next(2) == 0).then_some(Scalar::Int(1)),
        );
        let some = |dice: &mut Dice| {
            let role = roles[dice.next(4)];
            let rows =
                ["", "tenant = {tenant}", "x = 1"][if role == Admin { 0 } else { dice.next(3) }];
            binding(
                &[["key:k", "role:r", "jwt:k"][dice.next(3)]],
                role,
                &[patterns[dice.next(5)]],
                rows,
            )
        };
        let few: Vec<Binding> = (0..dice.next(4)).map(|_| some(&mut dice)).collect();
        let mut more = few.clone();
        more.push(some(&mut dice));
        let (few, more) = (grants(few, &who), grants(more, &who));
        for table in tables {
            if let (Ok(before), Ok(after)) = (few.table(table, Reader), more.table(table, Reader)) {
                assert!(
                    before.rows.iter().all(|f| after.rows.contains(f)),
                    "round {round}"
                );
                assert!(before.hidden.is_subset(&after.hidden));
            }
            // What changes whole tables is never restricted.
            if let Ok(scope) = more.table(table, Admin) {
                assert!(scope.is_whole(), "round {round}");
            }
            let writes = more.table(table, Writer).is_ok();
            assert!(!writes || more.table(table, Reader).is_ok());
            assert!(!writes || more.may(Need::Role(Writer)));
        }
    }
}

#[test]
fn everything_is_allowed_where_nobody_asks() {
    let all = Grants::everything();
    assert!(all.may(Need::Operator) && all.may(Need::Reflection) && all.is_everything());
    assert!(all.table("x", Admin).unwrap().is_whole());
}

#[test]
fn every_method_of_the_contract_needs_something() {
    use prost::Message;
    let files = prost_types::FileDescriptorSet::decode(crate::proto::DESCRIPTORS).unwrap();
    let mut methods = 0;
    for file in files.file.iter().filter(|f| f.package() == "lancegate.v1") {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let need = need(&path);
                assert!(
                    need.is_some(),
                    "{path} must be listed in src/access/method.rs"
                );
                assert_ne!(need, Some(Need::Nothing), "{path}");
                methods += 1;
            }
        }
    }
    assert!(methods > 30, "{methods}");
}

fn shows(key: &str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("x-api-key"),
        HeaderValue::from_str(key).unwrap(),
    )])
}

#[tokio::test]
async fn keys_are_known_by_their_hash_until_they_expire() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    let (old, new, late) = (keys::generate(), keys::generate(), keys::generate());
    let entries = format!(
        "{}{}{}expires = 2020-01-01T00:00:00Z\n",
        keys::entry("a", &[], &old),
        keys::entry("a", &[], &new),
        keys::entry("a", &[], &late)
    );
    std::fs::write(&file, entries).unwrap();
    let mut settings = settings(vec![binding(&["key:a", "cert:CN=a,*"], Reader, &["t"], "")]);
    settings.api_keys_file = Some(file);
    let access = Access::start(settings.clone()).await.unwrap();
    // Two keys of one name are both taken: that is how one takes the place of the other.
    for key in [&old, &new] {
        let caller = access.caller(&shows(key), None).await.unwrap();
        assert_eq!(&*caller.principal.name, "a");
        assert!(caller.grants.sees("t"));
    }
    let refusal = async |headers: HeaderMap| access.caller(&headers, None).await.unwrap_err();
    assert_eq!(refusal(shows(&late)).await, Refusal::Expired);
    assert_eq!(refusal(shows(&keys::generate())).await, Refusal::UnknownKey);
    assert_eq!(
        refusal(shows(&old[..old.len() - 1])).await,
        Refusal::UnknownKey
    );
    // The hash itself is no key.
    let hash: String = keys::hash(&old)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(refusal(shows(&hash)).await, Refusal::UnknownKey);
    assert_eq!(refusal(HeaderMap::new()).await, Refusal::Missing);
    // A token where none are configured.
    let bearer = HeaderMap::from_iter([(
        http::header::AUTHORIZATION,
        HeaderValue::from_static("Bearer a.b.c"),
    )]);
    assert_eq!(refusal(bearer).await, Refusal::InvalidToken);
    let now = std::time::SystemTime::now();
    let minute = std::time::Duration::from_secs(60);
    let certificate = |expires| PeerCertificate {
        subject: "CN=a,O=x".into(),
        expires,
    };
    // The connection lives on.
    let shown = async |expires| {
        let certificate = certificate(expires);
        access.caller(&HeaderMap::new(), Some(&certificate)).await
    };
    assert_eq!(shown(now - minute).await.unwrap_err(), Refusal::Expired);
    let caller = shown(now + minute).await.unwrap();
    assert!(caller.grants.sees("t") && caller.principal.proof == Proof::Certificate);
    // Other bindings, from now on.
    settings.bindings.clear();
    access.heed(&settings);
    let caller = access.caller(&shows(&old), None).await.unwrap();
    assert!(!caller.grants.sees("t"));
}
