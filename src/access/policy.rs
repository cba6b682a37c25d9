//! From who somebody is to what they may do.

use std::{collections::BTreeMap, sync::Arc};

use super::grants::{Bound, Grants, Rows};
use crate::{
    config::{self, Binding, PRINCIPAL, RowRule, Who},
    domain::{Filter, Principal, Proof, Scalar},
};

/// What the errors of a mandatory filter would be about; clients never see them.
const FIELD: &str = "access.rows";

/// Somebody who is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    pub principal: Arc<Principal>,
    /// Of the key, or of the token's claim.
    pub roles: Vec<String>,
    /// What rows of bindings may name.
    pub claims: BTreeMap<String, Scalar>,
}

impl Identity {
    /// Somebody of whom only the name is known.
    pub fn named(principal: Principal) -> Self {
        Self {
            principal: Arc::new(principal),
            roles: Vec::new(),
            claims: BTreeMap::new(),
        }
    }

    /// The value of a claim. Nobody can have one that is called as the name is.
    fn claim(&self, name: &str) -> Option<Scalar> {
        if name == PRINCIPAL {
            return Some(Scalar::Text(self.principal.name.to_string()));
        }
        self.claims.get(name).cloned()
    }

    fn is(&self, who: &Who) -> bool {
        let Principal { name, proof } = &*self.principal;
        match who {
            Who::Key(pattern) => *proof == Proof::ApiKey && pattern.fits(name),
            Who::Jwt(pattern) => *proof == Proof::Jwt && pattern.fits(name),
            Who::Certificate(pattern) => *proof == Proof::Certificate && pattern.fits(name),
            Who::Role(pattern) => self.roles.iter().any(|role| pattern.fits(role)),
        }
    }
}

/// The bindings of a configuration.
#[derive(Debug, Clone)]
pub struct Policy {
    bindings: Vec<Binding>,
    explain: bool,
    reflection: bool,
}

impl Policy {
    /// That of a configuration.
    pub fn of(settings: &config::Access) -> Self {
        Self {
            bindings: settings.bindings.clone(),
            explain: settings.allow_explain,
            reflection: settings.allow_reflection,
        }
    }

    /// What somebody may do. Without a binding: nothing.
    pub fn grants(&self, identity: &Identity) -> Grants {
        let about = |binding: &&Binding| binding.principals.iter().any(|who| identity.is(who));
        let bound = self.bindings.iter().filter(about).map(|binding| Bound {
            role: binding.role,
            tables: binding.tables.clone(),
            rows: match &binding.rows {
                None => Rows::All,
                Some(rule) => rows(rule, identity).map_or(Rows::Unknown, Rows::Only),
            },
            hidden: binding.hidden_columns.clone(),
        });
        Grants::new(bound.collect(), self.explain, self.reflection)
    }
}

/// A mandatory filter with the claims of somebody; `None` where one is missing. They are
/// values, and no part of the expression's text.
fn rows(rule: &RowRule, identity: &Identity) -> Option<Filter> {
    let params = rule.claims.iter().map(|claim| identity.claim(claim));
    Some(Filter {
        field: FIELD.to_owned(),
        sql: rule.sql.clone(),
        params: params.collect::<Option<_>>()?,
    })
}
