//! Who asks.

use std::{fmt, sync::Arc};

/// Who asks, as far as it has been proven. It is in the extensions of each request
/// (as `Arc<Principal>`) before anything of its body is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The name that the configuration, or whoever signed the token, gives it. It
    /// is written to the access log and the audit log, and is no secret.
    pub name: Arc<str>,
    /// How it was proven.
    pub proof: Proof,
}

/// How somebody proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// Not at all.
    Nothing,
    /// A key that the configuration has the hash of.
    ApiKey,
    /// A signed token.
    Jwt,
    /// The certificate of the connection.
    Certificate,
}

impl Principal {
    /// Somebody who showed nothing.
    pub fn anonymous() -> Self {
        Self {
            name: "anonymous".into(),
            proof: Proof::Nothing,
        }
    }

    /// What tells it from every other one, however those were proven.
    pub fn identity(&self) -> String {
        format!("{}:{}", self.proof, self.name)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proof::Nothing => "none",
            Proof::ApiKey => "api_key",
            Proof::Jwt => "jwt",
            Proof::Certificate => "certificate",
        })
    }
}
