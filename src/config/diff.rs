//! What is different between two configurations, key by key, and whether that
//! can take effect while the server runs.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::ExposeSecret;
use serde_json::Value;

use super::{
    Config, Location, NodeKey,
    effect::{Effect, effect},
    raw::schema,
};

/// What stands for a value that is shown to nobody.
const REDACTED: &str = "[redacted]";

/// One key that two configurations have different values for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key, such as `replicas[0].weight`.
    pub key: String,
    /// Its value before, as it would be written; `None` if it had none. Secrets
    /// and places are redacted.
    pub old: Option<String>,
    /// Its value after.
    pub new: Option<String>,
    /// When it can take effect.
    pub effect: Effect,
}

/// The changes from one configuration to another, by key. Defaults count as if
/// they were written.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let (before, after) = (leaves(old), leaves(new));
    let secrets = changed_secrets(old, new);
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = |key: &&&String| before.get(**key) != after.get(**key) || secrets.contains(**key);
    keys.iter()
        .filter(differs)
        .map(|key| {
            let (old, new) = (before.get(*key), after.get(*key));
            // One of the two has it.
            let pattern = old.or(new).map_or("", |leaf| leaf.pattern.as_str());
            let show = |leaf: &Leaf| match is_hidden(pattern) {
                true => REDACTED.to_owned(),
                false => leaf.text.clone(),
            };
            Change {
                key: (*key).clone(),
                old: old.map(show),
                new: new.map(show),
                effect: effect(pattern),
            }
        })
        .collect()
}

/// Whether the values of a key are shown to nobody: what is in storage options
/// may be a secret, and where data and keys are kept is told to no client.
fn is_hidden(pattern: &str) -> bool {
    pattern.ends_with(".uri")
        || pattern.ends_with("_file")
        || pattern == "nodes.api_key"
        || pattern.contains(".storage_options.")
        || pattern == "audit.folder"
        || pattern == "cache.disk_folder"
}

/// A value that has no keys below it.
#[derive(PartialEq)]
struct Leaf {
    /// The key as the schema has it: `replicas[].weight`.
    pattern: String,
    text: String,
}

/// Every value, by key. Values of storage options are all the same here.
fn leaves(config: &Config) -> BTreeMap<String, Leaf> {
    let mut found = BTreeMap::new();
    // Maps of strings to values that are something: JSON has them all.
    let tree = serde_json::to_value(config.to_raw()).unwrap_or_default();
    collect(&schema(), &tree, String::new(), String::new(), &mut found);
    found
}

fn collect(
    node: &Value,
    tree: &Value,
    key: String,
    pattern: String,
    found: &mut BTreeMap<String, Leaf>,
) {
    let dot = if key.is_empty() { "" } else { "." };
    match tree {
        Value::Object(table) => {
            for (name, child) in table {
                let property = node.get("properties").and_then(|p| p.get(name));
                let (node, step) = match (property, node.get("additionalProperties")) {
                    (Some(property), _) => (property, name.as_str()),
                    (None, Some(any)) => (any, "*"),
                    (None, None) => (&Value::Null, name.as_str()),
                };
                let (key, pattern) = (format!("{key}{dot}{name}"), format!("{pattern}{dot}{step}"));
                collect(node, child, key, pattern, found);
            }
        }
        Value::Array(list) => {
            let items = node.get("items").unwrap_or(&Value::Null);
            for (i, child) in list.iter().enumerate() {
                let (key, pattern) = (format!("{key}[{i}]"), format!("{pattern}[]"));
                collect(items, child, key, pattern, found);
            }
        }
        value => {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            found.insert(key, Leaf { pattern, text });
        }
    }
}

/// The keys of secrets that have another value. They read the same once
/// they are written.
fn changed_secrets(old: &Config, new: &Config) -> BTreeSet<String> {
    let mut changed = match (old.primary.location(), new.primary.location()) {
        (Some(old), Some(new)) => compare("primary", old, new),
        // A node has none.
        _ => BTreeSet::new(),
    };
    for (i, (old, new)) in old.replicas.iter().zip(&new.replicas).enumerate() {
        changed.extend(compare(&format!("replicas[{i}]"), old, new));
    }
    if let (Some(NodeKey::Text(old)), Some(NodeKey::Text(new))) =
        (&old.nodes.api_key, &new.nodes.api_key)
        && old.expose_secret() != new.expose_secret()
    {
        changed.insert("nodes.api_key".to_owned());
    }
    if let (Some(old), Some(new)) = (&old.metrics.bearer_token, &new.metrics.bearer_token)
        && old.secret.expose_secret() != new.secret.expose_secret()
    {
        changed.insert("metrics.bearer_token_file".to_owned());
    }
    changed
}

fn compare(path: &str, old: &Location, new: &Location) -> BTreeSet<String> {
    // Read again by itself: a rotated secret is no reason to restart.
    let is_reread = |key: &String| {
        let file = new.option_files.get(key);
        file.is_some() && file == old.option_files.get(key)
    };
    let differs = |(key, value): &(&String, &secrecy::SecretString)| {
        if is_reread(key) {
            return false;
        }
        let other = old.storage_options.get(*key);
        other.is_some_and(|other| other.expose_secret() != value.expose_secret())
    };
    let options = new.storage_options.iter().filter(differs);
    options
        .map(|(key, _)| format!("{path}.storage_options.{key}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn config(env: &[(&str, &str)]) -> Config {
        let env = env.iter();
        let env = env.map(|(k, v)| (format!("LANCEGATE_{k}"), (*v).to_owned()));
        load(Sources {
            env: env.collect(),
            ..Sources::default()
        })
        .unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// The changes in words: `key: old -> new (effect)`.
    fn words(old: &[(&str, &str)], new: &[(&str, &str)]) -> Vec<String> {
        let none = || "nothing".to_owned();
        diff(&config(old), &config(new))
            .into_iter()
            .map(|c| {
                format!(
                    "{}: {} -> {} ({:?})",
                    c.key,
                    c.old.unwrap_or_else(none),
                    c.new.unwrap_or_else(none),
                    c.effect
                )
            })
            .collect()
    }

    #[test]
    fn nothing_changed_between_two_readings_of_the_same() {
        assert_eq!(words(&[], &[]), Vec::<String>::new());
        // The default written out is the default.
        assert_eq!(
            words(&[], &[("LIMITS__MAX_LIMIT", "10000")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn changes_have_their_key_both_values_and_their_effect() {
        let old = [
            ("PRIMARY__URI", "/data/p"),
            ("REPLICAS__0__URI", "/data/r"),
            ("FRESHNESS__TABLES__GONE", "strong"),
        ];
        let new = [
            ("PRIMARY__URI", "/data/p"),
            ("REPLICAS__0__URI", "/data/other"),
            ("LIMITS__MAX_DEADLINE", "5s"),
            ("FRESHNESS__TABLES__NEW", "max_age=5s"),
        ];
        assert_eq!(
            words(&old, &new),
            [
                "freshness.tables.gone: strong -> nothing (Live)",
                "freshness.tables.new: nothing -> max_age=5s (Live)",
                "limits.max_deadline: 10m -> 5s (Live)",
                "replicas[0].uri: [redacted] -> [redacted] (Restart)",
            ]
        );
    }

    #[test]
    fn a_changed_secret_is_seen_and_not_shown() {
        let with = |value| {
            [
                ("PRIMARY__URI", "/data/p"),
                ("PRIMARY__STORAGE_OPTIONS__PASSWORD", value),
            ]
        };
        assert_eq!(
            words(&with("hunter2"), &with("correct horse")),
            ["primary.storage_options.password: [redacted] -> [redacted] (Restart)"]
        );
        assert_eq!(words(&with("same"), &with("same")), Vec::<String>::new());
        let without = [("PRIMARY__URI", "/data/p")];
        assert_eq!(
            words(&with("hunter2"), &without),
            ["primary.storage_options.password: [redacted] -> nothing (Restart)"]
        );
    }

    #[test]
    fn one_replica_more_is_all_of_its_keys() {
        let one = [("PRIMARY__URI", "/data/p"), ("REPLICAS__0__URI", "/data/r")];
        let two = [one[0], one[1], ("REPLICAS__1__URI", "/data/s")];
        let changes = words(&one, &two);
        for key in ["name", "uri", "mode"] {
            let begin = format!("replicas[1].{key}: nothing -> ");
            assert!(
                changes.iter().any(|c| c.starts_with(&begin)),
                "{key}: {changes:?}"
            );
        }
    }
}
