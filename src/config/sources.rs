//! Where settings come from, and the one tree they are merged into.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    Config, ConfigErrors,
    build::build_and_validate,
    fault::Faults,
    raw::schema,
    structure::{Segment, dotted, keep_what_fits, node_at},
};

/// What the environment variables of the configuration begin with.
const PREFIX: &str = "LANCEGATE_";

/// Variables that begin like settings and are none: what the command line and
/// the tests' failpoints read.
const COMMAND_LINE: [&str; 12] = [
    "LANCEGATE_CONFIG",
    "LANCEGATE_DATA_DIR",
    "LANCEGATE_ADDRESS",
    "LANCEGATE_TLS",
    "LANCEGATE_CA_FILE",
    "LANCEGATE_CERT_FILE",
    "LANCEGATE_KEY_FILE",
    "LANCEGATE_SERVER_NAME",
    "LANCEGATE_API_KEY",
    "LANCEGATE_API_KEY_FILE",
    "LANCEGATE_FAILPOINT",
    "LANCEGATE_FAULTS",
];

/// Everything that a configuration is made from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The TOML file; `LANCEGATE_CONFIG` of `env` when `None`; else there is none.
    pub file: Option<PathBuf>,
    /// Environment variables. Those that do not begin with `LANCEGATE_` are
    /// passed over.
    pub env: Vec<(String, String)>,
    /// Folder of the embedded default; `LANCEGATE_DATA_DIR` of `env` when `None`;
    /// else `./lancegate-data`.
    pub data_dir: Option<PathBuf>,
    /// Settings from flags, which win: a key such as `server.grpc_address` and
    /// its value.
    pub overrides: Vec<(String, String)>,
}

impl Sources {
    /// The file that is read, if there is one.
    pub fn file(&self) -> Option<PathBuf> {
        self.file
            .clone()
            .or_else(|| self.variable("LANCEGATE_CONFIG"))
    }

    fn variable(&self, name: &str) -> Option<PathBuf> {
        let found = self.env.iter().find(|(n, v)| n == name && !v.is_empty());
        found.map(|(_, value)| PathBuf::from(value))
    }
}

/// Reads, merges and checks. Only files named by `sources` or by a `_file`
/// option are touched.
///
/// # Errors
/// Every fault of every source.
pub fn load(sources: Sources) -> Result<Config, ConfigErrors> {
    let mut faults = Faults::default();
    let file = sources.file();
    let data_dir = sources
        .data_dir
        .clone()
        .or_else(|| sources.variable("LANCEGATE_DATA_DIR"));

    let mut tree = Tree {
        schema: schema(),
        root: file.map_or_else(empty, |path| read_file(&path, &mut faults)),
        origins: BTreeMap::new(),
    };
    tree.merge_environment(&sources.env, &mut faults);
    for (key, value) in &sources.overrides {
        let path = key.split('.').map(Segment::from).collect();
        tree.set(path, value, None, &mut faults);
    }

    let raw = keep_what_fits(&tree.schema, tree.root, &mut faults);
    let config = build_and_validate(&raw, data_dir.as_deref(), &mut faults);
    faults.finish(config, |path| {
        let variable = tree.origins.get(path)?;
        Some(format!("{path} ({variable})"))
    })
}

fn empty() -> Value {
    Value::Object(Map::new())
}

/// The file as a tree; an empty one if it has a fault.
fn read_file(path: &Path, faults: &mut Faults) -> Value {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            faults.push(
                path.display().to_string(),
                format!("cannot be read: {error}"),
            );
            return empty();
        }
    };
    toml::from_str(&text).unwrap_or_else(|error| {
        // Only the message: the whole error would quote the line, which may
        // hold a secret.
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..at]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        faults.push(format!("{} line {line}", path.display()), error.message());
        empty()
    })
}

/// The merged settings, and which variable each of them came from.
struct Tree {
    schema: Value,
    root: Value,
    origins: BTreeMap<String, String>,
}

impl Tree {
    fn merge_environment(&mut self, env: &[(String, String)], faults: &mut Faults) {
        let mut settings: Vec<(Vec<Segment>, &String, &String)> = Vec::new();
        for (name, value) in env {
            let Some(key) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if COMMAND_LINE.contains(&name.as_str()) || is_service_link(key) {
                continue;
            }
            let path = key
                .to_ascii_lowercase()
                .split("__")
                .map(Segment::from)
                .collect();
            settings.push((path, name, value));
        }
        // In order, so that replica 0 is there before replica 1.
        settings.sort();
        for (path, name, value) in settings {
            if path.len() == 1 {
                faults.push(
                    name.as_str(),
                    "unknown: put two underscores between the parts of a key",
                );
            } else {
                self.set(path, value, Some(name), faults);
            }
        }
    }

    /// Sets one value, creating the tables and the list element around it.
    fn set(
        &mut self,
        path: Vec<Segment>,
        value: &str,
        variable: Option<&String>,
        faults: &mut Faults,
    ) {
        let key = dotted(&path);
        let value = typed(node_at(&self.schema, &path), value);
        let mut place = &mut self.root;
        for segment in &path {
            if place.is_null() {
                *place = match segment {
                    Segment::Index(_) => Value::Array(Vec::new()),
                    Segment::Key(_) => empty(),
                };
            }
            place = match (place, segment) {
                (Value::Object(table), Segment::Key(key)) => {
                    table.entry(key.as_str()).or_insert(Value::Null)
                }
                (Value::Object(table), Segment::Index(index)) => {
                    table.entry(index.to_string()).or_insert(Value::Null)
                }
                (Value::Array(list), Segment::Index(index)) => {
                    if *index > list.len() {
                        let problem =
                            format!("leaves a gap: the next element is number {}", list.len());
                        faults.push(variable.unwrap_or(&key).as_str(), problem);
                        return;
                    }
                    if *index == list.len() {
                        list.push(Value::Null);
                    }
                    &mut list[*index]
                }
                _ => {
                    let problem = "goes below something that is not a table";
                    faults.push(variable.unwrap_or(&key).as_str(), problem);
                    return;
                }
            };
        }
        *place = value;
        if let Some(variable) = variable {
            self.origins.insert(key, variable.clone());
        }
    }
}

/// Text as what the schema wants there, where it can be that; else as text, and
/// the check of the structure will say what is wrong.
fn typed(node: Option<&Value>, text: &str) -> Value {
    let kind = node
        .and_then(|node| node.get("type"))
        .and_then(Value::as_str);
    let parsed = match kind {
        Some("integer") => text.trim().parse::<i64>().ok().map(Value::from),
        // Infinities are no JSON: they stay text, and are refused as such.
        Some("number") => text.trim().parse::<f64>().ok().and_then(|number| {
            let number = serde_json::Number::from_f64(number)?;
            Some(Value::Number(number))
        }),
        Some("boolean") => text.trim().parse::<bool>().ok().map(Value::from),
        _ => None,
    };
    parsed.unwrap_or_else(|| Value::from(text))
}

/// Whether Kubernetes sets such a variable in every pod beside a Service whose
/// name begins with "lancegate" (the "service links": ..._SERVICE_HOST,
/// ..._SERVICE_PORT_GRPC, ..._PORT_50051_TCP_ADDR). They must not stop a start.
fn is_service_link(key: &str) -> bool {
    if key.contains("__") {
        return false;
    }
    let key = format!("_{key}");
    let after_port = key.rsplit_once("_PORT_").map(|(_, rest)| rest);
    key.ends_with("_SERVICE_HOST")
        || key.ends_with("_PORT")
        || key.contains("_SERVICE_PORT_")
        || key.ends_with("_TCP_PORT")
        || after_port.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}
