//! The log of who changed what: the meaning of `[audit]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{fault::Faults, raw};

/// Where the audit log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditTo {
    /// There is none.
    Nowhere,
    /// Into a folder.
    File,
    /// On standard output.
    Stdout,
}

/// When a new file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Rotation {
    Never,
    Daily,
    Hourly,
}

/// What is audited, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub to: AuditTo,
    /// Not empty where it goes to a file.
    pub folder: PathBuf,
    pub rotation: Rotation,
    /// 0: all of them.
    pub max_files: usize,
    /// Whether nothing may be done that cannot be audited.
    pub required: bool,
    /// Whether a line is on the disk before it counts as written.
    pub sync: bool,
}

/// Checks `[audit]`.
pub(super) fn audit(raw: &raw::Audit, faults: &mut Faults) -> Audit {
    if raw.to == AuditTo::File && raw.folder.trim().is_empty() {
        faults.push("audit.folder", "is required where audit.to is file");
    }
    if raw.to == AuditTo::Nowhere && raw.required {
        faults.push(
            "audit.required",
            "needs audit.to: nothing can be audited nowhere",
        );
    }
    if raw.to == AuditTo::Stdout && raw.sync {
        faults.push("audit.sync", "needs audit.to = \"file\"");
    }
    Audit {
        to: raw.to,
        folder: PathBuf::from(&raw.folder),
        rotation: raw.rotation,
        max_files: raw.max_files,
        required: raw.required,
        sync: raw.sync,
    }
}

impl Audit {
    /// As it would be written.
    pub(super) fn to_raw(&self) -> raw::Audit {
        raw::Audit {
            to: self.to,
            folder: self.folder.display().to_string(),
            rotation: self.rotation,
            max_files: self.max_files,
            required: self.required,
            sync: self.sync,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_told_at_once() {
        let faults = |text: &str| {
            let mut faults = Faults::default();
            audit(&toml::from_str(text).unwrap(), &mut faults);
            let found = faults.finish::<()>(None, |_| None).unwrap_err();
            let found = found.faults().iter().map(|fault| fault.path.clone());
            found.collect::<Vec<_>>()
        };
        assert_eq!(faults("to = 'file'"), ["audit.folder"]);
        assert_eq!(faults("required = true"), ["audit.required"]);
        assert_eq!(faults("to = 'stdout'\nsync = true"), ["audit.sync"]);
        assert_eq!(faults("to = 'file'\nfolder = 'x'"), ["configuration"]);
    }
}
