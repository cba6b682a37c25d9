//! Who may do what, as it is written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::DurationText;

/// Who may do what. Without it everybody may do everything; with it nobody may do
/// anything that no binding allows.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Access {
    /// Whether anybody is asked who they are. Nothing else here counts without it.
    pub enabled: bool,
    /// A TOML file of [[keys]] with name, sha256, roles, claims and expires, read
    /// again when it changes. "": there are no API keys. `lancegate access key NAME`
    /// makes one.
    pub api_keys_file: String,
    /// How often the files named here are looked at.
    pub reload_interval: DurationText,
    /// Whether somebody who may read something may use the reflection services
    /// (server.reflection turns them off for all).
    pub allow_reflection: bool,
    /// Whether somebody who sees a whole table may use Explain on it. Nobody else
    /// ever may: a plan tells of rows and columns.
    pub allow_explain: bool,
    pub jwt: Jwt,
    /// What somebody may do. Several that are about the same principal and table add
    /// up: the highest role, and the restrictions of all of them.
    pub bindings: Vec<Binding>,
}

impl Default for Access {
    fn default() -> Self {
        Access {
            enabled: false,
            api_keys_file: String::new(),
            reload_interval: Duration::from_secs(2).into(),
            allow_reflection: false,
            allow_explain: true,
            jwt: Jwt::default(),
            bindings: Vec::new(),
        }
    }
}

/// Signed tokens (JWT) of somebody who knows the users. Needs jwks_file or jwks_url,
/// issuer and audience.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Jwt {
    /// A file with the public keys (a JSON Web Key Set).
    pub jwks_file: String,
    /// Where the public keys are fetched: https, or http on this machine.
    pub jwks_url: String,
    /// What `iss` must be.
    pub issuer: String,
    /// What must be in `aud`.
    pub audience: String,
    /// Which signatures are taken: RS256, RS384, RS512, PS256, PS384, PS512, ES256,
    /// ES384, EdDSA. Never one with a shared secret, and never none.
    pub algorithms: Vec<String>,
    /// How far the clocks of the issuer and of this server may be apart.
    pub leeway: DurationText,
    /// The claim that is the principal's name.
    pub name_claim: String,
    /// The claim with its roles or groups: a text, texts, or texts with spaces.
    pub roles_claim: String,
    /// The claims that rows of bindings may name.
    pub row_claims: Vec<String>,
    /// How often jwks_url is fetched, also when nobody shows an unknown key.
    pub refresh_interval: DurationText,
}

impl Default for Jwt {
    fn default() -> Self {
        Jwt {
            jwks_file: String::new(),
            jwks_url: String::new(),
            issuer: String::new(),
            audience: String::new(),
            algorithms: vec!["RS256".into(), "ES256".into(), "EdDSA".into()],
            leeway: Duration::from_secs(60).into(),
            name_claim: "sub".into(),
            roles_claim: "roles".into(),
            row_claims: Vec::new(),
            refresh_interval: Duration::from_secs(600).into(),
        }
    }
}

/// What some principals may do to some tables.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Binding {
    /// Who: "key:NAME" of an API key, "jwt:NAME" of a token, "cert:SUBJECT" of a
    /// client certificate, "role:NAME" of a key's roles or a token's roles claim.
    /// One * stands for any text.
    pub principals: Vec<String>,
    /// reader: reads. writer: also changes rows. admin: also changes tables and,
    /// with tables = ["*"], operates the server. metrics: only /metrics and
    /// /health/deep of the HTTP port, with an API key.
    pub role: String,
    /// Names of tables. One * stands for any text.
    pub tables: Vec<String>,
    /// A SQL expression: no row that it is not true for is there. {principal} is the
    /// principal's name, {tenant} its claim of that name, bound as a value: write
    /// tenant = {tenant}, without quotes. "": all rows.
    pub rows: String,
    /// Columns that are not there, by their names at the top of the schema. The path of
    /// something within a column hides the column; upper and lower case are the same.
    pub hidden_columns: Vec<String>,
}
