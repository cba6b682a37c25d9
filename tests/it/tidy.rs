//! The house rules that a machine can hold: which folder may use which, how
//! long a file may be, and what does not belong in the code of a server.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A folder of `src/` and the folders that it may use; ARCHITECTURE.md says why.
const EDGES: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("config", &["domain"]),
    ("proto", &[]),
    ("access", &["domain", "config"]),
    ("admission", &["domain", "config"]),
    ("telemetry", &["domain", "config", "proto"]),
    ("transport", &["admission", "domain", "config", "telemetry"]),
    ("wire", &["domain", "config", "proto"]),
    ("disk_cache", &["telemetry"]),
    ("storage", &["disk_cache", "domain", "config"]),
    ("connection", &["storage", "domain", "config"]),
    ("pool", &["domain", "config", "telemetry"]),
    (
        "replication",
        &["connection", "storage", "domain", "config", "telemetry"],
    ),
    (
        "router",
        &[
            "pool",
            "connection",
            "storage",
            "domain",
            "config",
            "telemetry",
        ],
    ),
    (
        "operate",
        &[
            "pool",
            "router",
            "connection",
            "domain",
            "config",
            "telemetry",
        ],
    ),
    (
        "service",
        &[
            "operate",
            "access",
            "admission",
            "router",
            "pool",
            "connection",
            "storage",
            "wire",
            "domain",
            "config",
            "proto",
            "telemetry",
            "node",
        ],
    ),
    (
        "node",
        &[
            "pool",
            "transport",
            "domain",
            "config",
            "proto",
            "telemetry",
        ],
    ),
    (
        "gateway",
        &[
            "service",
            "node",
            "pool",
            "wire",
            "domain",
            "config",
            "proto",
            "telemetry",
        ],
    ),
    (
        "app",
        &[
            "disk_cache",
            "admission",
            "gateway",
            "access",
            "node",
            "service",
            "operate",
            "router",
            "pool",
            "replication",
            "connection",
            "storage",
            "transport",
            "domain",
            "config",
            "proto",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "access",
            "wire",
            "transport",
            "config",
            "domain",
            "proto",
            "telemetry",
        ],
    ),
];

/// The longest file that is still one idea.
const MAX_LINES: usize = 350;

fn sources() -> BTreeMap<PathBuf, String> {
    fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.insert(path.clone(), std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    found.retain(|path, _| !is_tests(&relative(path)));
    assert!(found.len() > 50, "only {} sources", found.len());
    found
}

fn relative(path: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    path.strip_prefix(root).unwrap().display().to_string()
}

/// The code of a file that is not unit tests: without comments, which may name
/// anything.
fn shipped(text: &str) -> String {
    let text = text
        .split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    text.lines()
        .map(|line| match line.find("//") {
            // "//" in a text literal, as in a URL, is no comment.
            Some(at) if line[..at].matches('"').count() % 2 == 0 => &line[..at],
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether a file is nothing but unit tests.
fn is_tests(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The folders of this crate that a text names: `crate::a::b` and the names in
/// `use crate::{a::b, c::d}`.
fn used_folders(text: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        // `super_crate::` and the like are other names.
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let (mut depth, mut name, mut fresh) = (0usize, String::new(), true);
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => fresh = true,
                    c if depth == 0 && fresh && (c.is_alphanumeric() || c == '_') => name.push(c),
                    _ if depth == 0 && fresh && !name.is_empty() => {
                        used.push(std::mem::take(&mut name));
                        fresh = false;
                    }
                    _ => {}
                }
            }
            if !name.is_empty() {
                used.push(name);
            }
        } else {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            used.push(rest[..end.unwrap_or(rest.len())].to_owned());
        }
    }
    used
}

fn edge_faults(path: &str, text: &str) -> Vec<String> {
    let folder = path.split(['/', '.']).next().unwrap();
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == folder) else {
        return match folder {
            "lib" | "main" => Vec::new(),
            _ => vec![format!(
                "{path}: folder {folder} has no edges in tests/it/tidy.rs"
            )],
        };
    };
    used_folders(text)
        .into_iter()
        .filter(|used| used != folder && !allowed.contains(&used.as_str()))
        .map(|used| format!("{path}: {folder} may not use {used}"))
        .collect()
}

#[test]
fn folders_use_only_what_they_may() {
    let faults: Vec<String> = sources()
        .iter()
        .flat_map(|(path, text)| edge_faults(&relative(path), &shipped(text)))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_edge_check_finds_what_is_wrong() {
    let text = "use crate::{config::X, storage::{self, Y}, domain::Z};\ncrate::app::run();";
    assert_eq!(used_folders(text), ["config", "storage", "domain", "app"]);
    assert_eq!(edge_faults("wire/x.rs", text).len(), 2);
    assert!(edge_faults("nowhere/x.rs", "").len() == 1);
}

#[test]
fn only_storage_names_lancedb() {
    for (path, text) in sources() {
        let path = relative(&path);
        if path.starts_with("storage/") {
            continue;
        }
        for line in shipped(&text).lines() {
            // In a text literal they are targets of the log.
            let code = line.split('"').next().unwrap_or(line);
            for name in [
                "lancedb::",
                "lance::",
                "lance_io::",
                "lance_index::",
                "lance_table::",
            ] {
                assert!(!code.contains(name), "{path} names {name}");
            }
        }
    }
}

#[test]
fn files_are_one_idea_long() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines", relative(&path));
    }
}

#[test]
fn nothing_that_panics_is_shipped() {
    for (path, text) in sources() {
        let path = relative(&path);
        for (number, line) in shipped(&text).lines().enumerate() {
            for bad in [
                ".unwrap()",
                ".expect(",
                "todo!(",
                "unimplemented!(",
                "panic!(",
            ] {
                assert!(!line.contains(bad), "{path}:{}: {line}", number + 1);
            }
        }
    }
}

/// Whoever reads a table for a client does so within what is there for them: the few
/// functions that see to that are the only ones that ask the router for a snapshot.
#[test]
fn no_handler_reads_past_the_scope_of_its_caller() {
    for (path, text) in sources() {
        let path = relative(&path);
        let code: String = shipped(&text).split_whitespace().collect();
        let is_handler = path.starts_with("service/") || path.starts_with("gateway/");
        for (bad, only) in [
            ("router.read(", "service/api.rs"),
            ("router.read_at(", "service/api.rs"),
            ("primary().write(", "service/api.rs"),
            ("primary().write_once(", "service/once.rs"),
            (".snapshot_at(", "service/shadow/target.rs"),
        ] {
            let found = code.contains(bad) && is_handler && path != only;
            assert!(!found, "{path} has {bad}: use what {only} offers");
        }
    }
}
