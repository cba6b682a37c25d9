//! Files of the repository that must agree with the code.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::*;

fn repository_file(name: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_committed_schema_is_the_schema() {
    let committed: Value = serde_json::from_str(&repository_file("config.schema.json")).unwrap();
    let drift = committed != schema();
    assert!(
        !drift,
        "run: cargo run -- config schema > config.schema.json"
    );
}

#[test]
fn the_example_file_explains_every_key_and_holds_the_defaults() {
    let example = repository_file("lancegate.example.toml");
    load_with(&example, &[]).unwrap();

    // A setting that is commented out begins with "#" and no space.
    let lines = example.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting,
        _ => line,
    });
    let uncommented = lines.collect::<Vec<_>>().join("\n");
    let defaults = load(Sources::default()).unwrap().render();
    assert_eq!(load_with(&uncommented, &[]).unwrap().render(), defaults);

    let mut keys = Vec::new();
    leaves(&schema(), String::new(), &mut keys);
    assert!(keys.len() > 30, "{keys:?}");
    let tree: Value = toml::from_str(&uncommented).unwrap();
    for key in keys {
        assert!(
            tree.pointer(&key).is_some(),
            "lancegate.example.toml lacks {key}"
        );
    }
}

/// JSON pointers to every key of the schema that has no keys below it.
fn leaves(node: &Value, pointer: String, found: &mut Vec<String>) {
    if let Some(items) = node.get("items") {
        return leaves(items, format!("{pointer}/0"), found);
    }
    match node.get("properties").and_then(Value::as_object) {
        Some(properties) => {
            for (key, child) in properties {
                leaves(child, format!("{pointer}/{key}"), found);
            }
        }
        None => found.push(pointer),
    }
}

/// The ConfigMap of the manifest holds a configuration that loads, and the pod
/// is given the time that it says it needs.
#[cfg(feature = "aws")]
#[test]
fn the_kubernetes_manifest_fits_the_server() {
    let manifest = repository_file("deploy/kubernetes.yaml");
    let (_, rest) = manifest.split_once("  lancegate.toml: |\n").unwrap();
    let (block, _) = rest.split_once("\n---").unwrap();
    let config = load_with(block, &[]).unwrap();
    assert_eq!(config.replicas.len(), 2);
    let (_, rest) = manifest
        .split_once("terminationGracePeriodSeconds: ")
        .unwrap();
    let (seconds, _) = rest.split_once('\n').unwrap();
    let given = Duration::from_secs(seconds.parse().unwrap());
    assert!(given > config.shutdown.grace + config.shutdown.drain);
}
