//! The form of the tree, against the schema. What does not fit is noted and cut
//! out, so that the meaning of the rest can be checked in the same run.

use jsonschema::{ValidationError, error::ValidationErrorKind, paths::LocationSegment};
use serde_json::Value;

use super::{fault::Faults, raw::Raw};

/// One step from a table or a list to what is in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

impl From<&str> for Segment {
    fn from(text: &str) -> Self {
        match text.parse() {
            Ok(index) => Segment::Index(index),
            Err(_) => Segment::Key(text.into()),
        }
    }
}

/// A path as people write it: `replicas[0].uri`.
pub(super) fn dotted(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Key(key) if text.is_empty() => text.push_str(key),
            Segment::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// The part of the schema that a path leads to.
pub(super) fn node_at<'a>(schema: &'a Value, path: &[Segment]) -> Option<&'a Value> {
    path.iter().try_fold(schema, |node, segment| match segment {
        Segment::Index(_) => node.get("items"),
        Segment::Key(key) => {
            let property = node.get("properties").and_then(|p| p.get(key));
            property.or_else(|| node.get("additionalProperties").filter(|n| n.is_object()))
        }
    })
}

/// Notes every fault of form and reads what is left.
pub(super) fn keep_what_fits(schema: &Value, mut tree: Value, faults: &mut Faults) -> Raw {
    let mut unfit = Vec::new();
    match jsonschema::validator_for(schema) {
        Ok(validator) => {
            for error in validator.iter_errors(&tree) {
                note(schema, &error, faults, &mut unfit);
            }
        }
        Err(error) => faults.push("configuration", format!("the schema is faulty: {error}")),
    }
    for path in &unfit {
        cut(&mut tree, path);
    }
    serde_json::from_value(tree).unwrap_or_else(|error| {
        faults.push("configuration", error.to_string());
        Raw::default()
    })
}

/// Notes one fault in words, and the paths that cannot stay. The words never
/// quote a value: it may be a secret in the wrong place.
fn note(
    schema: &Value,
    error: &ValidationError<'_>,
    faults: &mut Faults,
    unfit: &mut Vec<Vec<Segment>>,
) {
    let path: Vec<Segment> = error
        .instance_path()
        .into_iter()
        .map(|segment| match segment {
            LocationSegment::Property(key) => Segment::Key(key.into_owned()),
            LocationSegment::Index(index) => Segment::Index(index),
        })
        .collect();
    let node = node_at(schema, &path);
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = node
                .and_then(|n| n.get("properties"))
                .and_then(Value::as_object);
            let known = known.map(|map| {
                map.keys()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            });
            for key in unexpected {
                let mut path = path.clone();
                path.push(Segment::Key(key.clone()));
                let problem = format!(
                    "unknown key; known here: {}",
                    known.as_deref().unwrap_or("none")
                );
                faults.push(dotted(&path), problem);
                unfit.push(path);
            }
        }
        ValidationErrorKind::Required { property } => {
            let mut path = path;
            path.push(Segment::Key(property.as_str().unwrap_or_default().into()));
            faults.push(dotted(&path), "is required");
        }
        _ => {
            let expected = node.map_or_else(|| "something else".into(), expected);
            let problem = format!("must be {expected}, not {}", kind_of(error.instance()));
            faults.push(dotted(&path), problem);
            unfit.push(path);
        }
    }
}

fn cut(tree: &mut Value, path: &[Segment]) {
    let Some((last, parents)) = path.split_last() else {
        *tree = Value::Object(serde_json::Map::new());
        return;
    };
    let mut place = tree;
    for segment in parents {
        let next = match segment {
            Segment::Key(key) => place.get_mut(key),
            Segment::Index(index) => place.get_mut(index),
        };
        match next {
            Some(next) => place = next,
            None => return,
        }
    }
    match (place, last) {
        (Value::Object(table), Segment::Key(key)) => {
            table.remove(key);
        }
        // An empty table, so that the elements after it keep their numbers.
        (Value::Array(list), Segment::Index(index)) if *index < list.len() => {
            list[*index] = Value::Object(serde_json::Map::new());
        }
        _ => {}
    }
}

/// What a part of the schema asks for, in words.
fn expected(node: &Value) -> String {
    let examples = node.get("examples").and_then(Value::as_array);
    if let Some(examples) = examples {
        let examples: Vec<String> = examples.iter().map(Value::to_string).collect();
        return format!("something like {}", examples.join(" or "));
    }
    if let Some(choices) = node
        .get("oneOf")
        .or_else(|| node.get("anyOf"))
        .and_then(Value::as_array)
    {
        let names: Vec<String> = choices.iter().flat_map(names_of).collect();
        return format!("one of {}", names.join(", "));
    }
    match node.get("type").and_then(Value::as_str) {
        Some("integer") => match (node.get("minimum"), node.get("maximum")) {
            (Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
            (Some(least), None) => format!("a whole number of at least {least}"),
            _ => "a whole number".into(),
        },
        Some("number") => match (node.get("minimum"), node.get("maximum")) {
            (Some(least), Some(most)) => format!("a number from {least} to {most}"),
            _ => "a number".into(),
        },
        Some("boolean") => "true or false".into(),
        Some("string") => "text (in quotes)".into(),
        Some("array") => match node.pointer("/items/type").and_then(Value::as_str) {
            Some("string") => "a list of texts".into(),
            _ => "a list of tables".into(),
        },
        _ => "a table".into(),
    }
}

/// The names that one branch of a choice stands for.
fn names_of(choice: &Value) -> Vec<String> {
    let one = choice.get("const").map(Value::to_string);
    let many = choice.get("enum").and_then(Value::as_array);
    one.into_iter()
        .chain(many.into_iter().flatten().map(Value::to_string))
        .collect()
}

/// What a value is, in words. Numbers and switches are quoted, text never is.
fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(_) => "this text".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a table".into(),
    }
}
