//! Collects every fault of one request, so that a client sees them all at once.

use crate::domain::{Error, Result, Violation};

/// The faults found so far.
#[derive(Default)]
pub(super) struct Faults {
    violations: Vec<Violation>,
    /// An error that is not about a field. It wins over the violations.
    other: Option<Error>,
}

impl Faults {
    /// Notes a fault of one field.
    pub(super) fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.violations.push(Violation {
            field: field.into(),
            description: description.into(),
        });
    }

    /// Notes a fault of one field if `bad`.
    pub(super) fn add_if(&mut self, bad: bool, field: &str, description: &str) {
        if bad {
            self.add(field, description);
        }
    }

    /// The value, or `None` after noting what is wrong with it.
    pub(super) fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Error::Invalid(violations)) => {
                self.violations.extend(violations);
                None
            }
            Err(other) => {
                self.other.get_or_insert(other);
                None
            }
        }
    }

    /// An error if anything was noted.
    pub(super) fn finish(self) -> Result<()> {
        match self.other {
            Some(error) => Err(error),
            None if self.violations.is_empty() => Ok(()),
            None => Err(Error::Invalid(self.violations)),
        }
    }
}

/// Notes empty and repeated names of a list of columns.
pub(super) fn check_columns(names: &[String], field: &str, faults: &mut Faults) {
    let mut seen = std::collections::HashSet::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() {
            faults.add(format!("{field}[{i}]"), "is empty");
        } else if !seen.insert(name.as_str()) {
            faults.add(format!("{field}[{i}]"), "is there twice");
        }
    }
}

/// An empty name means that none was given.
pub(super) fn optional(name: String) -> Option<String> {
    (!name.is_empty()).then_some(name)
}

/// What is wrong with a name or an expression that must be there: `None` if
/// nothing is.
pub(super) fn text_fault(text: &str, max_bytes: usize) -> Option<String> {
    if text.trim().is_empty() {
        return Some("is blank".into());
    }
    if text.len() > max_bytes {
        return Some(format!("is longer than {max_bytes} bytes"));
    }
    let control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    text.contains(control)
        .then(|| "has a control character".into())
}
