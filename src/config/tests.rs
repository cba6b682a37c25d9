//! Whole configurations: what is reported, what wins, what is never shown.

mod access;
mod exposure;
mod files;
mod nodes;

use std::{fs, path::PathBuf};

use super::*;
use secrecy::ExposeSecret;

/// A configuration file in a folder of its own.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lancegate.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn sources(file: Option<PathBuf>, env: &[(&str, &str)]) -> Sources {
    Sources {
        file,
        env: env
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect(),
        ..Sources::default()
    }
}

fn load_with(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let (_folder, path) = file(text);
    load(sources(Some(path), env))
}

fn faults(text: &str, env: &[(&str, &str)]) -> String {
    load_with(text, env).unwrap_err().to_string()
}

#[test]
fn without_any_configuration_there_is_the_embedded_default() {
    let config = load(Sources::default()).unwrap();
    assert_eq!(config.server.grpc_address.to_string(), "127.0.0.1:50051");
    assert_eq!(config.server.http_address.to_string(), "127.0.0.1:9464");
    assert_eq!(config.limits.max_import_bytes, 64 << 30);
    assert_eq!(config.shutdown.drain, Duration::from_secs(30));
    let here = std::env::current_dir().unwrap();
    let uri = |name: &str| {
        let path = here.join("lancegate-data").join(name);
        url::Url::from_file_path(path).unwrap().to_string()
    };
    assert_eq!(config.primary.location().unwrap().name, "primary");
    assert_eq!(config.primary.location().unwrap().uri, uri("primary"));
    let replicas: Vec<_> = config
        .replicas
        .iter()
        .map(|l| (l.name.clone(), l.uri.clone()))
        .collect();
    let expected = ["replica-1", "replica-2"].map(|name| (name.to_string(), uri(name)));
    assert_eq!(replicas, expected);
}

#[test]
fn every_fault_of_every_source_is_reported_at_once() {
    let text = r#"
        colour = "green"
        [server]
        grpc_address = "localhost:50051"
        reflection = "yes"
        [limits]
        max_limit = 0
        max_deadline = "0s"
        max_page_size = 5
        [shutdown]
        grace = 5
        [primary]
        uri = "ftp://host/x"
        [[replicas]]
        name = "Replica One"
        uri = "/data/one"
        [[replicas]]
        storage_options = { allow_http = true }
        [logging]
        format = "xml"
    "#;
    let env = [
        ("LANCEGATE_CACHE__INDEX_BYTES", "much"),
        ("LANCEGATE_LIMITS__MAX_FILTER_DEPTH", "deep"),
        ("LANCEGATE_LIMITS__NO_SUCH", "1"),
        ("LANCEGATE_REPLICAS__7__URI", "/data/seven"),
        ("LANCEGATE_LOGGING_FILTER", "info"),
        ("PATH", "/bin"),
    ];
    let said = faults(text, &env);
    for expected in [
        "has 17 faults",
        "colour: unknown key; known here: server, limits,",
        "server.grpc_address: 'localhost:50051' is no address",
        "server.reflection: must be true or false, not this text",
        "limits.max_limit: must be a whole number from 1 to 4294967295, not 0",
        "limits.max_deadline: must be longer than nothing",
        "limits.max_page_size: must be at least limits.default_page_size (1000)",
        "shutdown.grace: must be something like \"250ms\" or \"5s\" or \"10m\", not 5",
        "primary.uri: must be a path, a file, s3, s3+ddb, gs or az URI, or grpc://host:port",
        "replicas[0].name: must be 1 to 63 of a-z, 0-9 and -",
        "replicas[1].uri: is required",
        "replicas[1].storage_options.allow_http: must be text (in quotes), not true",
        "logging.format: must be one of \"json\", \"pretty\", \"auto\", not this text",
        "cache.index_bytes (LANCEGATE_CACHE__INDEX_BYTES): 'much' is no size",
        "limits.max_filter_depth (LANCEGATE_LIMITS__MAX_FILTER_DEPTH): must be a whole number from 1 to 1000",
        "limits.no_such (LANCEGATE_LIMITS__NO_SUCH): unknown key",
        "LANCEGATE_REPLICAS__7__URI: leaves a gap: the next element is number 2",
        "LANCEGATE_LOGGING_FILTER: unknown: put two underscores",
    ] {
        assert!(said.contains(expected), "missing: {expected}\n{said}");
    }
}

#[test]
fn what_hides_faults_is_checked_too() {
    let text = r#"
        [primary]
        uri = "/data/p"
        [[replicas]]
        uri = "/data/0"
        weight = 0
        zone = "eu west"
        [[replicas]]
        uri = "/data/1"
        weight = 3
        [balance]
        policy = "random"
        zone = "a/b"
        [outlier]
        ejection = "10m"
        interval = "0s"
        latency_factor = 1
        [retries]
        max_attempts = 11
        [hedging]
        delay = "0s"
    "#;
    let said = faults(text, &[]);
    for expected in [
        "replicas[0].weight: must be a whole number from 1 to 1000, not 0",
        "replicas[0].zone: must be at most 63 of A-Z, a-z, 0-9, -, _ and .",
        "balance.policy: must be one of \"round_robin\", \"least_request\", \"p2c_peak_ewma\", not this",
        "balance.zone: must be at most 63",
        "outlier.max_ejection: is shorter than outlier.ejection",
        "outlier.interval: must be longer than nothing",
        "outlier.latency_factor: must be a whole number from 2 to 1000",
        "retries.max_attempts: must be a whole number from 1 to 10",
        "hedging.delay: must be longer than nothing",
    ] {
        assert!(said.contains(expected), "missing: {expected}\n{said}");
    }
    let text = "[primary]\nuri = '/data/p'\n[[replicas]]\nuri = '/data/0'\nweight = 3\nzone = 'b'";
    let config = load_with(text, &[("LANCEGATE_BALANCE__ZONE", "a")]).unwrap();
    assert_eq!(config.replicas[0].weight, 3);
    assert_eq!(config.replicas[0].zone.as_deref(), Some("b"));
    assert_eq!(config.pool.balance.zone.as_deref(), Some("a"));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let (_folder, path) = file(
        "[server]\ngrpc_address = '127.0.0.1:1'\nhttp_address = '127.0.0.1:2'\n[limits]\nmax_limit = 3",
    );
    let mut sources = sources(
        None,
        &[
            ("LANCEGATE_CONFIG", path.to_str().unwrap()),
            ("LANCEGATE_SERVER__GRPC_ADDRESS", "127.0.0.1:11"),
            ("LANCEGATE_SERVER__HTTP_ADDRESS", "127.0.0.1:12"),
            ("LANCEGATE_SERVER__REFLECTION", "false"),
            ("LANCEGATE_CACHE__INDEX_BYTES", "12345"),
            ("LANCEGATE_DATA_DIR", "/elsewhere"),
        ],
    );
    sources.overrides = vec![("server.grpc_address".into(), "127.0.0.1:21".into())];
    let config = load(sources).unwrap();
    assert_eq!(config.server.grpc_address.port(), 21);
    assert_eq!(config.server.http_address.port(), 12);
    assert!(!config.server.reflection);
    assert_eq!(config.limits.max_limit, 3);
    assert_eq!(config.cache.index_bytes, 12345);
    assert_eq!(
        config.primary.location().unwrap().uri,
        "file:///elsewhere/primary"
    );
}

#[test]
fn the_environment_adds_and_completes_replicas() {
    let text = "[primary]\nuri = '/data/p'\n[[replicas]]\nuri = '/data/0'";
    let env = [
        ("LANCEGATE_REPLICAS__0__NAME", "west"),
        ("LANCEGATE_REPLICAS__1__URI", "/data/1"),
        (
            "LANCEGATE_REPLICAS__1__STORAGE_OPTIONS__NEW_TABLE_DATA_STORAGE_VERSION",
            "2.1",
        ),
    ];
    let config = load_with(text, &env).unwrap();
    let names: Vec<_> = config.replicas.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["west", "replica-2"]);
    assert_eq!(config.replicas[1].uri, "file:///data/1");
    let option = &config.replicas[1].storage_options["new_table_data_storage_version"];
    assert_eq!(option.expose_secret(), "2.1");
}

#[test]
fn what_kubernetes_puts_beside_a_service_is_no_setting() {
    let env = [
        ("LANCEGATE_SERVICE_HOST", "10.0.0.1"),
        ("LANCEGATE_SERVICE_PORT", "50051"),
        ("LANCEGATE_SERVICE_PORT_GRPC", "50051"),
        ("LANCEGATE_PORT", "tcp://10.0.0.1:50051"),
        ("LANCEGATE_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
        ("LANCEGATE_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("LANCEGATE_ROUTER_PORT_9464_TCP_PROTO", "tcp"),
    ];
    load(sources(None, &env)).unwrap();
}

#[test]
fn secrets_are_read_from_files_and_shown_nowhere() {
    let secret = "hunter2-hunter2";
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key");
    fs::write(&key_file, format!("{secret}\n")).unwrap();
    let text = format!(
        "[primary]\nuri = '/data/p'\n[primary.storage_options]\naws_secret_access_key_file = '{}'\n\
         aws_web_identity_token_file = '/var/run/token'\nextra = '{secret}'",
        key_file.display(),
    );
    let env = [(
        "LANCEGATE_PRIMARY__STORAGE_OPTIONS__AWS_SESSION_TOKEN",
        secret,
    )];
    let config = load_with(&text, &env).unwrap();
    let options = &config.primary.location().unwrap().storage_options;
    assert_eq!(options["aws_secret_access_key"].expose_secret(), secret);
    assert_eq!(options["aws_session_token"].expose_secret(), secret);
    assert_eq!(
        options["aws_web_identity_token_file"].expose_secret(),
        "/var/run/token"
    );
    let shown = format!("{config:?} {config:#?} {}", config.render());
    assert!(
        shown.contains("aws_secret_access_key = \"[redacted]\""),
        "{shown}"
    );
    assert!(!shown.contains(secret), "{shown}");
}

#[test]
fn faults_quote_no_secret() {
    let secret = "hunter2-hunter2";
    // In a file that is no TOML, in the wrong key, as the wrong type, in a URI.
    let texts = [
        format!("[primary]\nstorage_options = {{ key = '{secret}' \n"),
        format!(
            "[primary]\nuri = '/p'\nstorage_options = {{ aws_secret_access_key_file = '{secret}' }}"
        ),
        format!("[primary]\nuri = '/p'\nstorage_options = '{secret}'"),
        format!("[primary]\nuri = '/p'\nstorage_options = {{ key = ['{secret}'] }}"),
        format!("[primary]\nuri = '/p'\nsecret = '{secret}'"),
        format!("[primary]\nuri = 's3://id:{secret}@bucket/x'"),
        format!("primary = '{secret}'"),
    ];
    for text in texts {
        let errors = load_with(&text, &[]).unwrap_err();
        let shown = format!("{errors} {errors:?}");
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn connections_differ() {
    let text = "
        [primary]
        uri = '/data/p'
        [[replicas]]
        name = 'primary'
        uri = 'file:///data/x/../p/'
        [[replicas]]
        uri = '/data/r'";
    let said = faults(text, &[]);
    assert!(
        said.contains("replicas[0].name: must differ from primary.name"),
        "{said}"
    );
    assert!(
        said.contains("replicas[0].uri: is the same place as primary.uri"),
        "{said}"
    );
    assert!(said.contains("has 2 faults"), "{said}");
}

#[test]
fn listen_addresses_differ() {
    for (grpc, http, fits) in [
        ("127.0.0.1:7", "127.0.0.1:7", false),
        ("127.0.0.1:7", "0.0.0.0:7", false),
        ("127.0.0.1:7", "127.0.0.2:7", true),
        ("127.0.0.1:0", "127.0.0.1:0", true),
    ] {
        let text = format!("[server]\ngrpc_address = '{grpc}'\nhttp_address = '{http}'");
        assert_eq!(load_with(&text, &[]).is_ok(), fits, "{grpc} {http}");
    }
}

#[test]
fn the_embedded_default_never_mixes_with_what_is_configured() {
    let config = load_with("[primary]\nuri = '/data/p'", &[]).unwrap();
    assert!(config.replicas.is_empty());
    let said = faults("[[replicas]]\nuri = '/data/r'", &[]);
    assert!(said.contains("primary.uri: is required"), "{said}");
    let said = faults(
        "[primary]\nuri = '/data/p'",
        &[("LANCEGATE_DATA_DIR", "/data")],
    );
    assert!(said.contains("only for the embedded default"), "{said}");
}

#[test]
fn a_missing_file_is_a_fault() {
    let errors = load(sources(Some("/no/such.toml".into()), &[])).unwrap_err();
    assert_eq!(errors.faults().len(), 1);
    assert!(errors.to_string().contains("/no/such.toml: cannot be read"));
}

#[test]
fn what_is_rendered_loads_as_the_same() {
    let text = "[limits]\nmax_request_bytes = 1000001\n[shutdown]\ngrace = '1500ms'\n[logging]\nformat = 'json'";
    let once = load_with(text, &[]).unwrap().render();
    let twice = load_with(&once, &[]).unwrap().render();
    assert_eq!(once, twice);
    assert!(once.contains("grace = \"1s 500ms\""), "{once}");
}

#[test]
fn only_a_shared_replica_is_where_the_primary_is() {
    let text = |replica: &str, mode: &str| {
        format!(
            "[primary]\nuri = '/data/p'\n[[replicas]]\nuri = '{replica}'\nmode = '{mode}'\n\
             [[replicas]]\nuri = '/data/p'\nmode = 'shared'"
        )
    };
    let config = load_with(&text("/data/p/", "shared"), &[]).unwrap();
    let modes: Vec<_> = config.replicas.iter().map(|r| r.mode).collect();
    assert_eq!(modes, [ReplicaMode::Shared, ReplicaMode::Shared]);
    let said = faults(&text("/data/p", "external"), &[]);
    assert!(
        said.contains("replicas[0].uri: is the same place as primary.uri"),
        "{said}"
    );
    let said = faults(&text("/data/elsewhere", "shared"), &[]);
    assert!(
        said.contains("replicas[0].uri: must be the place of primary.uri"),
        "{said}"
    );
}

#[test]
fn without_replication_something_else_copies() {
    let text =
        "[replication]\nenabled = false\n[primary]\nuri = '/data/p'\n[[replicas]]\nuri = '/data/r'";
    let config = load_with(text, &[]).unwrap();
    assert_eq!(config.replicas[0].mode, ReplicaMode::Managed);
    let served: Vec<_> = config.replicas_to_serve().map(|r| r.mode).collect();
    assert_eq!(served, [ReplicaMode::External]);
    let said = faults("[replication]\nlease_ttl = '10ms'", &[]);
    assert!(
        said.contains("replication.lease_ttl: must be at least"),
        "{said}"
    );
}

#[test]
fn retention_needs_the_lease_and_never_undercuts_the_grace() {
    let on = "[retention]\nenabled = true\ninterval = '0s'\nmin_versions = 0";
    let said = faults(on, &[]);
    for expected in [
        "retention.enabled: needs replication.lease = true",
        "retention.interval: must be longer than nothing",
        "retention.min_versions: must be a whole number from 1 to",
    ] {
        assert!(said.contains(expected), "missing: {expected}\n{said}");
    }
    let text = r#"
        [replication]
        lease = true
        [retention]
        enabled = true
        max_age = "1h"
        [retention.tables.packages]
        max_age = "1s"
        min_versions = 3
        [retention.tables.other]
        min_versions = 5
    "#;
    let config = load_with(text, &[]).unwrap();
    let keep = |seconds, min_versions| Keep {
        max_age: Duration::from_secs(seconds),
        min_versions,
    };
    assert_eq!(config.retention.of("any"), keep(3600, 10));
    assert_eq!(config.retention.of("other"), keep(3600, 5));
    assert_eq!(config.retention.of("packages"), keep(60, 3));
    // What is shown can be loaded, and is the same.
    let shown = config.render();
    assert_eq!(load_with(&shown, &[]).unwrap().render(), shown);
}
