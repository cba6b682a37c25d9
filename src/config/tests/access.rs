//! Who may do what, as it is written.

use super::*;

const GOOD: &str = r#"
    [access]
    enabled = true
    api_keys_file = "/etc/lancegate/keys.toml"
    reload_interval = "5s"
    [access.jwt]
    jwks_url = "https://issuer.example/jwks.json"
    issuer = "https://issuer.example"
    audience = "lancegate"
    row_claims = ["tenant"]
    [[access.bindings]]
    principals = ["key:ops"]
    role = "admin"
    tables = ["*"]
    [[access.bindings]]
    principals = ["role:tenants", "cert:CN=svc-*,O=Example"]
    role = "writer"
    tables = ["docs_*"]
    rows = "tenant = {tenant}"
    hidden_columns = ["salary"]
"#;

#[test]
fn what_is_written_is_read_back_and_off_is_off() {
    assert!(load(Sources::default()).unwrap().access.is_none());
    let off = GOOD.replace("enabled = true", "enabled = false");
    assert!(load_with(&off, &[]).unwrap().access.is_none());
    let config = load_with(GOOD, &[]).unwrap();
    let access = config.access.as_ref().unwrap();
    assert_eq!(access.bindings.len(), 2);
    assert_eq!(access.bindings[1].rows.as_ref().unwrap().sql, "tenant = $1");
    assert_eq!(access.jwt.as_ref().unwrap().leeway, Duration::from_secs(60));
    let again = load_with(&config.render(), &[]).unwrap();
    assert_eq!(again.access, config.access);
    // By variables alone.
    let env = [
        ("LANCEGATE_ACCESS__ENABLED", "true"),
        ("LANCEGATE_ACCESS__API_KEYS_FILE", "/k"),
        ("LANCEGATE_ACCESS__BINDINGS__0__PRINCIPALS__0", "key:*"),
        ("LANCEGATE_ACCESS__BINDINGS__0__ROLE", "reader"),
        ("LANCEGATE_ACCESS__BINDINGS__0__TABLES__0", "*"),
    ];
    let config = load_with("", &env).unwrap();
    assert_eq!(config.access.unwrap().bindings.len(), 1);
}

#[test]
fn bindings_are_live_and_who_is_trusted_is_not() {
    let changed = |from: &str, to: &str| {
        let (old, new) = (
            load_with(GOOD, &[]),
            load_with(&GOOD.replace(from, to), &[]),
        );
        let changes = diff(&old.unwrap(), &new.unwrap());
        changes.into_iter().map(|c| c.effect).collect::<Vec<_>>()
    };
    assert_eq!(changed("\"writer\"", "\"reader\""), [Effect::Live]);
    assert_eq!(changed("{tenant}", "{principal}"), [Effect::Live]);
    assert_eq!(changed("\"lancegate\"", "\"other\""), [Effect::Restart]);
    assert_eq!(changed("keys.toml", "others.toml"), [Effect::Restart]);
}

#[test]
fn every_fault_says_what_would_be_right() {
    for (from, to, part) in [
        (
            "\"key:ops\"",
            "\"ops\"",
            "access.bindings[0].principals[0]: must begin with key:",
        ),
        ("\"key:ops\"", "\"key:**\"", "more than one *"),
        (
            "\"admin\"",
            "\"owner\"",
            "access.bindings[0].role: must be reader",
        ),
        (
            "\"writer\"",
            "\"admin\"",
            "access.bindings[1].role: is admin",
        ),
        ("[\"docs_*\"]", "[]", "access.bindings[1].tables: is empty"),
        (
            "[\"key:ops\"]",
            "[]",
            "access.bindings[0].principals: is empty",
        ),
        (
            "{tenant}",
            "'{tenant}'",
            "access.bindings[1].rows: has a claim within quotes",
        ),
        (
            "https://issuer.example/jwks.json",
            "http://issuer.example/jwks.json",
            "must be https",
        ),
        (
            "https://issuer.example/jwks.json",
            "ftp://127.0.0.1/x",
            "must be https",
        ),
        (
            "issuer = \"https://issuer.example\"",
            "",
            "access.jwt.issuer: is required",
        ),
        (
            "audience = \"lancegate\"",
            "",
            "access.jwt.audience: is required",
        ),
        (
            "row_claims = [\"tenant\"]",
            "algorithms = [\"HS256\"]",
            "access.jwt.algorithms[0]: must be one of RS256",
        ),
        (
            "row_claims = [\"tenant\"]",
            "algorithms = [\"none\"]",
            "access.jwt.algorithms[0]",
        ),
        (
            "row_claims = [\"tenant\"]",
            "algorithms = []",
            "access.jwt.algorithms: is empty",
        ),
        (
            "jwks_url = \"https://issuer.example/jwks.json\"",
            "",
            "access.jwt.jwks_file: is required",
        ),
        (
            "row_claims = [\"tenant\"]",
            "jwks_file = \"x\"",
            "beside jwks_file",
        ),
        (
            "https://issuer.example",
            "https://user:password@issuer.example",
            "access.jwt.jwks_url: has a user or a password",
        ),
        ("[\"salary\"]", "[\"\"]", "hidden_columns[0]: is empty"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let text = faults(&GOOD.replacen(from, to, 1), &[]);
        assert!(text.contains(part), "{to}: {text}");
    }
    for loopback in [
        "http://127.0.0.1:8000/jwks",
        "http://[::1]/x",
        "http://localhost/x",
    ] {
        load_with(
            &GOOD.replace("https://issuer.example/jwks.json", loopback),
            &[],
        )
        .unwrap();
    }
    let nobody = "[access]\nenabled = true";
    let text = faults(nobody, &[]);
    assert!(text.contains("nobody could say who they are"), "{text}");
    assert!(text.contains("nobody may do anything"), "{text}");
}

#[test]
fn a_secret_in_a_file_is_read_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let with = |text: &str| {
        fs::write(&path, text).unwrap();
        let key = path.display().to_string();
        let env = [("LANCEGATE_METRICS__BEARER_TOKEN_FILE", key.as_str())];
        load_with("", &env)
    };
    let config = with("planted-secret\n").unwrap();
    let token = config.metrics.bearer_token.as_ref().unwrap();
    assert_eq!(token.secret.expose_secret(), "planted-secret");
    assert!(!format!("{config:?}{}", config.render()).contains("planted-secret"));
    let other = with("another-secret").unwrap();
    let changes = diff(&config, &other);
    assert_eq!(changes.len(), 1, "what the file has is a change too");
    assert!(changes.iter().all(|c| c.effect == Effect::Live));
    assert!(!format!("{changes:?}").contains("secret\""));
    for bad in ["", " \n", "two words", "tschüss"] {
        let text = with(bad).unwrap_err().to_string();
        assert!(text.contains("metrics.bearer_token_file"), "{text}");
        assert!(
            !text.contains("words") || text.contains("one word"),
            "{text}"
        );
    }
}
