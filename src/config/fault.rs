//! Faults of a configuration, gathered so that all of them are seen at once.

use std::fmt;

/// One thing that is wrong. Neither part ever holds a configured value of
/// `storage_options`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where: a key such as `replicas[0].uri`, an environment variable, or a file.
    pub path: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Everything that is wrong with a configuration. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Fault>);

impl ConfigErrors {
    /// The faults: first those of form, then those of meaning.
    pub fn faults(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "the configuration has a fault:")?,
            n => writeln!(f, "the configuration has {n} faults:")?,
        }
        for fault in &self.0 {
            writeln!(f, "  {}: {}", fault.path, fault.problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects faults while the checks go on.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    /// Notes a fault, unless the very same one was noted before.
    pub(super) fn push(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        let fault = Fault {
            path: path.into(),
            problem: problem.into(),
        };
        if !self.0.contains(&fault) {
            self.0.push(fault);
        }
    }

    /// Notes the problem of a failed check.
    pub(super) fn ok<T>(&mut self, path: &str, checked: Result<T, String>) -> Option<T> {
        checked.map_err(|problem| self.push(path, problem)).ok()
    }

    /// The value, if nothing was wrong with it. `rename` may put another name
    /// to a path, such as the environment variable that it was set by.
    pub(super) fn finish<T>(
        mut self,
        value: Option<T>,
        rename: impl Fn(&str) -> Option<String>,
    ) -> Result<T, ConfigErrors> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => {
                if self.0.is_empty() {
                    self.push("configuration", "is not complete");
                }
                for fault in &mut self.0 {
                    if let Some(name) = rename(&fault.path) {
                        fault.path = name;
                    }
                }
                Err(ConfigErrors(self.0))
            }
        }
    }
}
