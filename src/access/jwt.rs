//! Signed tokens: whether one is true, for us and for now, and whom it is about.
//!
//! The signature's algorithm is the token's to choose only among those that are
//! configured, and only as the key allows: a public key never checks an HMAC.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header,
    jwk::{Jwk, PublicKeyUse},
};
use serde_json::{Map, Value};

use super::{Identity, Refusal};
use crate::{
    config,
    domain::{Principal, Proof, Scalar},
};

/// Most keys of one issuer.
const MAX_KEYS: usize = 64;

/// Longest name, and longest text of a claim.
const MAX_TEXT: usize = 256;

/// Most roles, and most items of a claim.
const MAX_ITEMS: usize = 256;

/// Why a token is not taken.
#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    /// It names a key that is not known; the issuer may have a new one.
    UnknownKey,
    Refused(Refusal),
}

const INVALID: Fault = Fault::Refused(Refusal::InvalidToken);

/// The public keys of an issuer.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, where it says so.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a JSON Web Key Set. What it has besides public keys for signatures is
    /// passed over.
    ///
    /// # Errors
    /// It is none, or has no such key.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let whole: Value = serde_json::from_slice(text).map_err(|_| "is no JSON".to_owned())?;
        let keys = whole.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or("is no JSON Web Key Set: it has no \"keys\"")?;
        if keys.len() > MAX_KEYS {
            return Err(format!("has more than {MAX_KEYS} keys"));
        }
        let keys: Vec<Key> = keys.iter().filter_map(key).collect();
        match keys.is_empty() {
            true => Err("has no public key that signatures are checked with".into()),
            false => Ok(Self(keys)),
        }
    }

    /// The keys that a token may be signed with.
    fn of(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| {
            let named = id.is_none_or(|id| key.id.as_deref() == Some(id));
            let meant = key.algorithm.is_none_or(|of_key| of_key == algorithm);
            named && meant && key.key.family() == algorithm.family()
        })
    }

    /// Whether there is no key at all.
    pub(super) fn knows_nothing(&self) -> bool {
        self.0.is_empty()
    }

    fn knows(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| self.0.iter().any(|key| key.id.as_deref() == Some(id)))
    }
}

fn key(value: &Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let is_for_signatures = jwk
        .common
        .public_key_use
        .as_ref()
        .is_none_or(|usage| *usage == PublicKeyUse::Signature);
    let algorithm = match jwk.common.key_algorithm {
        // One for something else.
        Some(named) => Some(named.to_string().parse().ok()?),
        None => None,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let is_public = key.family() != AlgorithmFamily::Hmac;
    (is_for_signatures && is_public).then_some(Key {
        id: jwk.common.key_id,
        algorithm,
        key,
    })
}

/// Checks tokens of one issuer.
#[derive(Debug)]
pub(super) struct Verifier {
    settings: config::Jwt,
    algorithms: Vec<Algorithm>,
}

impl Verifier {
    pub(super) fn new(settings: &config::Jwt) -> Self {
        // They were checked to be words for algorithms of key pairs.
        let known = settings
            .algorithms
            .iter()
            .filter_map(|word| word.parse().ok());
        let of_pairs = |algorithm: &Algorithm| algorithm.family() != AlgorithmFamily::Hmac;
        Self {
            algorithms: known.filter(of_pairs).collect(),
            settings: settings.clone(),
        }
    }

    /// Whom a token is about.
    pub(super) fn verify(
        &self,
        keys: &KeySet,
        token: &str,
        now: SystemTime,
    ) -> Result<Identity, Fault> {
        if is_critical(token) {
            return Err(INVALID);
        }
        // Also of what has no algorithm, or none that there is.
        let header = decode_header(token).map_err(|_| INVALID)?;
        if !self.algorithms.contains(&header.alg) {
            return Err(INVALID);
        }
        let id = header.kid.as_deref();
        if !keys.knows(id) {
            return Err(Fault::UnknownKey);
        }
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[&self.settings.audience]);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // Times are looked at below, by the clock that this function is given.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let claims = keys
            .of(id, header.alg)
            .find_map(|key| decode::<Map<String, Value>>(token, &key.key, &validation).ok())
            .ok_or(INVALID)?
            .claims;
        self.in_time(&claims, now)?;
        self.identity(claims).ok_or(INVALID)
    }

    fn in_time(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<(), Fault> {
        let now = now.duration_since(UNIX_EPOCH).map_err(|_| INVALID)?;
        let seconds = |claim: &Value| {
            let number = claim.as_f64().filter(|n| n.is_finite() && *n >= 0.0);
            number.map(|n| Duration::try_from_secs_f64(n).unwrap_or(Duration::MAX))
        };
        let expires = claims.get("exp").and_then(seconds).ok_or(INVALID)?;
        if expires.saturating_add(self.settings.leeway) <= now {
            return Err(Fault::Refused(Refusal::Expired));
        }
        match claims.get("nbf").map(seconds) {
            Some(Some(begins)) if begins > now.saturating_add(self.settings.leeway) => Err(INVALID),
            Some(None) => Err(INVALID),
            _ => Ok(()),
        }
    }

    fn identity(&self, mut claims: Map<String, Value>) -> Option<Identity> {
        let rows = self.settings.row_claims.iter();
        let rows: BTreeMap<String, Scalar> = rows
            .filter_map(|name| Some((name.clone(), scalar(claims.get(name)?)?)))
            .collect();
        let roles = match claims.get(&self.settings.roles_claim) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
            Some(_) => return None,
        };
        let name = match claims.remove(&self.settings.name_claim)? {
            Value::String(name) => name,
            _ => return None,
        };
        let is_name = (1..=MAX_TEXT).contains(&name.len()) && !name.chars().any(char::is_control);
        (is_name && roles.len() <= MAX_ITEMS).then(|| Identity {
            principal: Arc::new(Principal {
                name: name.into(),
                proof: Proof::Jwt,
            }),
            roles,
            claims: rows,
        })
    }
}

/// Whether a token asks for something that must be understood (RFC 7515, 4.1.11). None
/// of that is.
fn is_critical(token: &str) -> bool {
    let head = token.split('.').next().unwrap_or_default();
    let head = BASE64_URL_SAFE_NO_PAD.decode(head).unwrap_or_default();
    let head: Option<Value> = serde_json::from_slice(&head).ok();
    head.is_none_or(|head| head.get("crit").is_some())
}

/// What a claim binds; `None` for what no expression can compare with.
fn scalar(claim: &Value) -> Option<Scalar> {
    match claim {
        Value::String(text) if text.len() <= MAX_TEXT => Some(Scalar::Text(text.clone())),
        Value::Number(number) => number.as_i64().map(Scalar::Int),
        Value::Bool(value) => Some(Scalar::Bool(*value)),
        Value::Array(items) if (1..=MAX_ITEMS).contains(&items.len()) => {
            let flat = |item: &Value| match item {
                Value::Array(_) => None,
                other => scalar(other),
            };
            let items: Option<_> = items.iter().map(flat).collect();
            items.map(Scalar::List)
        }
        _ => None,
    }
}
