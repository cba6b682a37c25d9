//! A reload is applied whole or changes nothing.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;
use crate::config::Fault;

const GOOD: &str = r#"
[primary]
uri = "/data/primary"
storage_options = { secret_key = "hunter2" }
[[replicas]]
uri = "/data/replica"
[limits]
max_limit = 500
"#;

/// A reloader over a file, and the file.
struct Running {
    live: Live,
    reloader: Arc<Reloader>,
    path: PathBuf,
    _folder: TempDir,
}

fn running(text: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lancegate.toml");
    fs::write(&path, text).unwrap();
    let sources = Sources {
        file: Some(path.clone()),
        env: vec![("LANCEGATE_LIMITS__MAX_FILTER_DEPTH".into(), "9".into())],
        overrides: vec![("server.grpc_address".into(), "127.0.0.1:0".into())],
        ..Sources::default()
    };
    let live = Live::new(config::load(sources.clone()).unwrap());
    let origin = Origin { sources, log: None };
    Running {
        reloader: Arc::new(Reloader::new(live.clone(), Some(origin), Vec::new())),
        live,
        path,
        _folder: folder,
    }
}

impl Running {
    fn write(&self, text: &str) {
        fs::write(&self.path, text).unwrap();
    }

    fn effective(&self) -> (String, String) {
        let now = self.live.load();
        (now.render(), now.fingerprint().to_owned())
    }

    async fn reload(&self) -> Result<Vec<Change>> {
        self.reloader.reload("a test", false).await
    }
}

/// The reason of a refusal, and the settings that it names.
fn told(refusal: Error) -> (&'static str, Vec<String>) {
    match refusal {
        Error::Refused {
            reason, violations, ..
        } => (reason, violations.into_iter().map(|v| v.field).collect()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_changed_is_applied_and_answered() {
    let server = running(GOOD);
    assert_eq!(server.reload().await, Ok(Vec::new()), "nothing has changed");
    server.write(&GOOD.replace("500", "700"));
    let changes = server.reload().await.unwrap();
    let change = Change {
        key: "limits.max_limit".into(),
        old: Some("500".into()),
        new: Some("700".into()),
        effect: Effect::Live,
    };
    assert_eq!(changes, [change]);
    let now = server.live.load();
    assert_eq!(now.limits.max_limit, 700);
    // The other sources still count.
    assert_eq!(now.limits.max_filter_depth, 9);
    assert_eq!(now.server.grpc_address.port(), 0);
}

#[tokio::test]
async fn comparing_changes_nothing() {
    let server = running(GOOD);
    server.write(&GOOD.replace("500", "700"));
    let before = server.effective();
    let compared = server.reloader.reload("a test", true).await.unwrap();
    assert_eq!(compared.len(), 1);
    assert_eq!(server.effective(), before);
    assert_eq!(server.reload().await, Ok(compared));
}

/// Each of these also has a change that could be applied, and is refused with it.
#[tokio::test]
async fn a_reload_that_is_wrong_in_any_way_changes_nothing() {
    let better = GOOD.replace("500", "700");
    let with = |more: &str| format!("{better}\n{more}");
    let invalid = "CONFIGURATION_INVALID";
    let restart = "NEEDS_RESTART";
    let cases = [
        (
            "no TOML",
            with("[limits"),
            invalid,
            vec!["the configuration file line 10"],
        ),
        (
            "an unknown key",
            with("[health]\nprobes = 3"),
            invalid,
            vec!["health.probes"],
        ),
        (
            "another type",
            with("[sessions]\nmax_open = \"many\""),
            invalid,
            vec!["sessions.max_open"],
        ),
        (
            "faults of meaning, all of them",
            with("[shutdown]\ngrace = \"soon\"\n[logging]\nfilter = \"a=b=c\""),
            invalid,
            vec!["shutdown.grace", "logging.filter"],
        ),
        (
            "values that contradict one another",
            with("[sessions]\ndefault_ttl = \"2h\""),
            invalid,
            vec!["sessions.default_ttl"],
        ),
        (
            "another address",
            with("[server]\nhttp_address = \"127.0.0.1:1\""),
            restart,
            vec!["server.http_address"],
        ),
        (
            "another place",
            better.replace("/data/replica", "/data/elsewhere"),
            restart,
            vec!["replicas[0].uri"],
        ),
        (
            "another secret",
            better.replace("hunter2", "hunter3"),
            restart,
            vec!["primary.storage_options.secret_key"],
        ),
        (
            "one replica more, and other caches",
            with("[cache]\nindex_bytes = 1\n[[replicas]]\nuri = \"/data/more\""),
            restart,
            vec![
                "cache.index_bytes",
                "replicas[1].in_rotation",
                "replicas[1].mode",
                "replicas[1].name",
                "replicas[1].uri",
            ],
        ),
        ("nothing at all", String::new(), restart, Vec::new()),
    ];
    for (what, text, reason, settings) in cases {
        let server = running(GOOD);
        let before = server.effective();
        server.write(&text);
        let (said, named) = told(server.reload().await.unwrap_err());
        assert_eq!(said, reason, "{what}: {named:?}");
        if !settings.is_empty() {
            assert_eq!(named, settings, "{what}");
        }
        assert_eq!(server.effective(), before, "{what}");
        // And the next good one is taken.
        server.write(&better);
        assert_eq!(server.reload().await.unwrap().len(), 1, "{what}");
    }
    let server = running(GOOD);
    let before = server.effective();
    fs::remove_file(&server.path).unwrap();
    let (said, named) = told(server.reload().await.unwrap_err());
    assert_eq!((said, named[0].as_str()), (invalid, FILE));
    assert_eq!(server.effective(), before, "without the file");
}

#[tokio::test]
async fn no_refusal_shows_a_path_or_a_secret() {
    let server = running(GOOD);
    let folder = server.path.parent().unwrap().display().to_string();
    for text in ["[limits", "[primary]\nuri = \"/secret/place\"\n[x]"] {
        server.write(text);
        let refusal = format!("{:?}", server.reload().await.unwrap_err());
        for hidden in [folder.as_str(), "/secret", "/data", "hunter2"] {
            assert!(!refusal.contains(hidden), "{refusal}");
        }
    }
}

#[tokio::test]
async fn what_was_not_loaded_cannot_be_loaded_again() {
    let live = Live::new(config::load(Sources::default()).unwrap());
    let refused = Reloader::new(live, None, Vec::new())
        .reload("a test", false)
        .await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Precondition {
                reason: "NOT_RELOADABLE",
                ..
            }
        ),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_come_one_after_the_other() {
    let server = running(GOOD);
    // Each answer must be the difference to what was there just before it: the
    // numbers make a chain.
    let mut tasks = Vec::new();
    for i in 0..40 {
        server.write(&GOOD.replace("500", &(1_000 + i).to_string()));
        let reloader = Arc::clone(&server.reloader);
        tasks.push(tokio::spawn(async move {
            reloader.reload("a test", false).await
        }));
    }
    let mut steps = Vec::new();
    for task in tasks {
        // A file that is being written is no configuration.
        if let Ok(changes) = task.await.unwrap() {
            steps.extend(
                changes
                    .into_iter()
                    .map(|c| (c.old.unwrap(), c.new.unwrap())),
            );
        }
    }
    let mut at = "500".to_owned();
    while let Some(next) = steps.iter().position(|(old, _)| *old == at) {
        at = steps.swap_remove(next).1;
    }
    assert!(
        steps.is_empty(),
        "not one after the other: {steps:?} after {at}"
    );
    assert_eq!(server.live.load().limits.max_limit.to_string(), at);
}

#[test]
fn the_file_is_named_without_its_path() {
    let file = Path::new("/etc/lancegate.toml");
    let at = |fault| without_path(fault, Some(file));
    assert_eq!(
        at("/etc/lancegate.toml line 3"),
        "the configuration file line 3"
    );
    assert_eq!(at("limits.max_limit"), "limits.max_limit");
    let fault = Fault {
        path: "limits.max_limit (LANCEGATE_LIMITS__MAX_LIMIT)".into(),
        problem: String::new(),
    };
    assert_eq!(without_path(&fault.path, None), fault.path);
}
