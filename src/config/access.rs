//! Who may do what: the meaning of `[access]`.

mod jwks;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use url::Url;

use super::{
    before_nodes,
    checks::{Zero, duration},
    fault::Faults,
    raw,
};
use crate::config::pattern::{Pattern, Who};

/// Who may do what. Where there is none everybody may do everything.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    pub api_keys_file: Option<PathBuf>,
    pub reload_interval: Duration,
    pub allow_reflection: bool,
    pub allow_explain: bool,
    pub jwt: Option<Jwt>,
    pub bindings: Vec<Binding>,
}

/// Whose signed tokens are taken, and what is read of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Jwt {
    pub keys: JwksSource,
    pub issuer: String,
    pub audience: String,
    /// Words of JOSE, none of them of a shared secret.
    pub algorithms: Vec<String>,
    pub leeway: Duration,
    pub name_claim: String,
    pub roles_claim: String,
    pub row_claims: BTreeSet<String>,
    pub refresh_interval: Duration,
}

/// Where the public keys of a token's issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    File(PathBuf),
    Url(Url),
}

/// What some principals may do to some tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    pub principals: Vec<Who>,
    pub role: AccessRole,
    pub tables: Vec<Pattern>,
    pub rows: Option<RowRule>,
    pub hidden_columns: BTreeSet<String>,
}

/// What somebody may do; each but the first includes the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessRole {
    /// Nothing but the guarded pages of the HTTP port.
    Metrics,
    Reader,
    Writer,
    Admin,
}

impl AccessRole {
    const ALL: [Self; 4] = [Self::Metrics, Self::Reader, Self::Writer, Self::Admin];

    /// The word that is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
        }
    }
}

/// A mandatory filter: an expression, and the claims that its `$1`, `$2`, ... are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRule {
    /// As it was written, with `{claim}`.
    pub written: String,
    /// With `$n` in their places.
    pub sql: String,
    /// What each of them is.
    pub claims: Vec<String>,
}

/// The claim that everybody has: the principal's name.
pub const PRINCIPAL: &str = "principal";

impl RowRule {
    /// Finds the claims in an expression. Whether the rest of it is one, and of columns
    /// that there are, is known only where the tables are: what is not lets nobody in.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut sql, mut claims) = (String::new(), Vec::<String>::new());
        let mut quote: Option<char> = None;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match (c, quote) {
                ('{' | '}' | '$', Some(_)) => {
                    return Err("has a claim within quotes: it is bound as a value, so write tenant = {tenant}".into());
                }
                (c, Some(open)) => {
                    if c == open {
                        quote = None;
                    }
                    sql.push(c);
                }
                ('\'' | '"' | '`', None) => {
                    quote = Some(c);
                    sql.push(c);
                }
                ('$' | '}', None) => {
                    return Err("has a $ or } of its own: values are written {claim}".into());
                }
                ('{', None) => {
                    let name: String = chars.by_ref().take_while(|c| *c != '}').collect();
                    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
                    if name.is_empty() || !name.chars().all(fits) {
                        return Err("has { that is not the begin of {claim}".into());
                    }
                    let known = claims.iter().position(|claim| *claim == name);
                    let place = known.unwrap_or_else(|| {
                        claims.push(name);
                        claims.len() - 1
                    });
                    sql.push_str(&format!("${}", place + 1));
                }
                (c, None) => sql.push(c),
            }
        }
        if quote.is_some() {
            return Err("has a quote that is not closed".into());
        }
        Ok(Self {
            written: text.to_owned(),
            sql,
            claims,
        })
    }
}

/// Algorithms of signatures that only the issuer can make.
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

/// Checks `[access]`; `None` where nobody is asked who they are.
pub(super) fn access(
    raw: &raw::Access,
    nodes: before_nodes::OfNodes,
    faults: &mut Faults,
) -> Option<Access> {
    let interval = "access.reload_interval";
    let reload_interval = duration(faults, interval, &raw.reload_interval, Zero::Refused);
    let jwt = jwt(&raw.jwt, faults);
    let bindings: Vec<Binding> = (raw.bindings.iter().enumerate())
        .map(|(i, raw)| binding(raw, &format!("access.bindings[{i}]"), faults))
        .collect();
    if !raw.enabled {
        return None;
    }
    let who = || bindings.iter().flat_map(|binding| &binding.principals);
    let certificates = who().any(|who| matches!(who, Who::Certificate(_)));
    if raw.api_keys_file.is_empty() && jwt.is_none() && !certificates {
        let problem = "needs api_keys_file, jwt or bindings of cert: principals: nobody could say who they are";
        faults.push("access.enabled", problem);
    }
    if bindings.is_empty() {
        faults.push("access.bindings", "is empty: nobody may do anything");
    }
    before_nodes::check(&bindings, nodes, faults);
    Some(Access {
        api_keys_file: path(&raw.api_keys_file),
        reload_interval,
        allow_reflection: raw.allow_reflection,
        allow_explain: raw.allow_explain,
        jwt,
        bindings,
    })
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

fn jwt(raw: &raw::Jwt, faults: &mut Faults) -> Option<Jwt> {
    let leeway = duration(faults, "access.jwt.leeway", &raw.leeway, Zero::Allowed);
    let interval = "access.jwt.refresh_interval";
    let refresh_interval = duration(faults, interval, &raw.refresh_interval, Zero::Refused);
    let keys = match (raw.jwks_file.as_str(), raw.jwks_url.as_str()) {
        ("", "") => {
            if !raw.issuer.is_empty() || !raw.audience.is_empty() {
                faults.push("access.jwt.jwks_file", "is required, or jwks_url");
            }
            return None;
        }
        (file, "") => JwksSource::File(file.into()),
        ("", url) => JwksSource::Url(faults.ok("access.jwt.jwks_url", jwks::url(url))?),
        _ => {
            faults.push("access.jwt.jwks_url", "is there beside jwks_file");
            return None;
        }
    };
    for (key, value) in [("issuer", &raw.issuer), ("audience", &raw.audience)] {
        if value.is_empty() {
            let problem =
                "is required: a token of somebody else, or for somebody else, must not be taken";
            faults.push(format!("access.jwt.{key}"), problem);
        }
    }
    for (i, word) in raw.algorithms.iter().enumerate() {
        if !ALGORITHMS.contains(&word.as_str()) {
            let problem = format!("must be one of {}", ALGORITHMS.join(", "));
            faults.push(format!("access.jwt.algorithms[{i}]"), problem);
        }
    }
    if raw.algorithms.is_empty() {
        faults.push("access.jwt.algorithms", "is empty: no token could be taken");
    }
    if raw.name_claim.is_empty() {
        faults.push("access.jwt.name_claim", "is empty");
    }
    Some(Jwt {
        keys,
        issuer: raw.issuer.clone(),
        audience: raw.audience.clone(),
        algorithms: raw.algorithms.clone(),
        leeway,
        name_claim: raw.name_claim.clone(),
        roles_claim: raw.roles_claim.clone(),
        row_claims: raw.row_claims.iter().cloned().collect(),
        refresh_interval,
    })
}

fn binding(raw: &raw::Binding, at: &str, faults: &mut Faults) -> Binding {
    let (mut principals, mut tables) = (Vec::new(), Vec::new());
    for (i, text) in raw.principals.iter().enumerate() {
        principals.extend(faults.ok(&format!("{at}.principals[{i}]"), Who::parse(text)));
    }
    for (i, text) in raw.tables.iter().enumerate() {
        tables.extend(faults.ok(&format!("{at}.tables[{i}]"), Pattern::parse(text)));
    }
    let role = AccessRole::ALL
        .into_iter()
        .find(|role| role.as_str() == raw.role);
    if role.is_none() {
        let problem = "must be reader, writer, admin or metrics";
        faults.push(format!("{at}.role"), problem);
    }
    let role = role.unwrap_or(AccessRole::Metrics);
    if raw.principals.is_empty() {
        faults.push(format!("{at}.principals"), "is empty: it is about nobody");
    }
    if raw.tables.is_empty() && role != AccessRole::Metrics {
        faults.push(format!("{at}.tables"), "is empty: [\"*\"] is every table");
    }
    let rows = match raw.rows.trim() {
        "" => None,
        text => faults.ok(&format!("{at}.rows"), RowRule::parse(text)),
    };
    for (i, column) in raw.hidden_columns.iter().enumerate() {
        if column.is_empty() {
            faults.push(format!("{at}.hidden_columns[{i}]"), "is empty");
        }
    }
    if role == AccessRole::Admin && (rows.is_some() || !raw.hidden_columns.is_empty()) {
        let problem =
            "is admin: who changes whole tables sees them whole, without rows and hidden_columns";
        faults.push(format!("{at}.role"), problem);
    }
    Binding {
        principals,
        role,
        tables,
        rows,
        hidden_columns: raw.hidden_columns.iter().cloned().collect(),
    }
}

/// As it would be written.
pub(super) fn raw_access(access: Option<&Access>) -> raw::Access {
    let Some(access) = access else {
        return raw::Access::default();
    };
    let file = |path: &PathBuf| path.display().to_string();
    raw::Access {
        enabled: true,
        api_keys_file: access.api_keys_file.as_ref().map(file).unwrap_or_default(),
        reload_interval: access.reload_interval.into(),
        allow_reflection: access.allow_reflection,
        allow_explain: access.allow_explain,
        jwt: access.jwt.as_ref().map(raw_jwt).unwrap_or_default(),
        bindings: access.bindings.iter().map(raw_binding).collect(),
    }
}

fn raw_jwt(jwt: &Jwt) -> raw::Jwt {
    let (jwks_file, jwks_url) = match &jwt.keys {
        JwksSource::File(path) => (path.display().to_string(), String::new()),
        JwksSource::Url(url) => (String::new(), url.to_string()),
    };
    raw::Jwt {
        jwks_file,
        jwks_url,
        issuer: jwt.issuer.clone(),
        audience: jwt.audience.clone(),
        algorithms: jwt.algorithms.clone(),
        leeway: jwt.leeway.into(),
        name_claim: jwt.name_claim.clone(),
        roles_claim: jwt.roles_claim.clone(),
        row_claims: jwt.row_claims.iter().cloned().collect(),
        refresh_interval: jwt.refresh_interval.into(),
    }
}

fn raw_binding(binding: &Binding) -> raw::Binding {
    raw::Binding {
        principals: binding.principals.iter().map(Who::to_string).collect(),
        role: binding.role.as_str().to_owned(),
        tables: binding.tables.iter().map(Pattern::to_string).collect(),
        rows: (binding.rows.as_ref()).map_or_else(String::new, |rule| rule.written.clone()),
        hidden_columns: binding.hidden_columns.iter().cloned().collect(),
    }
}
