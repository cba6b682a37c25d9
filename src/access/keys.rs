//! API keys: 256 random bits that are shown whole. A server keeps only their SHA-256.
//! Passwords need a slow hash because they can be guessed; these cannot, whatever a
//! guess costs, and a fast hash keeps a flood of wrong keys cheap.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
    sync::Arc,
    time::SystemTime,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::DateTime;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Identity;
use crate::domain::{Principal, Proof, Scalar};

/// What every key begins with, so that it is told from a token, and found where it
/// should not be.
pub const PREFIX: &str = "lgk_";

/// What is kept of a key.
pub type Hash = [u8; 32];

/// Longest name of a key's holder.
const MAX_NAME: usize = 256;

/// A key that is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKey {
    pub identity: Identity,
    pub hash: Hash,
    /// From when on it is not.
    pub expires: Option<SystemTime>,
}

/// The SHA-256 of a key.
pub fn hash(key: &str) -> Hash {
    Sha256::digest(key.as_bytes()).into()
}

/// A key that nobody has yet.
pub fn generate() -> String {
    let bits: [u8; 32] = rand::random();
    format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bits))
}

/// The entry of a key for the file.
pub fn entry(name: &str, roles: &[String], key: &str) -> String {
    let mut text = String::from("[[keys]]\n");
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    // Writing to a text does not fail.
    let _ = writeln!(text, "name = {}", quoted(name));
    let _ = writeln!(text, "sha256 = \"{}\"", hex(&hash(key)));
    if !roles.is_empty() {
        let roles: Vec<String> = roles.iter().map(|role| quoted(role)).collect();
        let _ = writeln!(text, "roles = [{}]", roles.join(", "));
    }
    text
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    claims: BTreeMap<String, toml::Value>,
    expires: Option<toml::Value>,
}

/// Reads the file of the keys. Several of one name are all taken: that is how one
/// takes the place of another.
///
/// # Errors
/// What is wrong, without what the file has.
pub fn parse(text: &str) -> Result<Vec<ApiKey>, String> {
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.as_bytes().iter().take(at);
        let line = before.filter(|b| **b == b'\n').count() + 1;
        format!("line {line}: {}", error.message())
    })?;
    let mut seen = HashSet::new();
    let keys = file.keys.into_iter().enumerate();
    keys.map(|(i, entry)| {
        let key = api_key(entry).map_err(|problem| format!("keys[{i}]: {problem}"))?;
        match seen.insert(key.hash) {
            true => Ok(key),
            false => Err(format!("keys[{i}]: the same sha256 is there already")),
        }
    })
    .collect()
}

fn api_key(entry: Entry) -> Result<ApiKey, String> {
    let is_name =
        |text: &str| (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control);
    if !is_name(&entry.name) {
        return Err("name must be 1 to 256 bytes without control characters".into());
    }
    let hash = unhex(&entry.sha256)
        .ok_or("sha256 must be the 64 hexadecimal digits of a key's SHA-256")?;
    let expires = entry.expires.map(expiry).transpose()?;
    let claims = entry.claims.into_iter().map(|(name, value)| {
        let scalar = scalar(value).ok_or_else(|| {
            format!("claims.{name} must be a text, a whole number, true, false, or a list of these")
        })?;
        Ok((name, scalar))
    });
    Ok(ApiKey {
        identity: Identity {
            principal: Arc::new(Principal {
                name: entry.name.into(),
                proof: Proof::ApiKey,
            }),
            roles: entry.roles,
            claims: claims.collect::<Result<_, String>>()?,
        },
        hash,
        expires,
    })
}

fn expiry(value: toml::Value) -> Result<SystemTime, String> {
    let text = match value {
        toml::Value::Datetime(time) => time.to_string(),
        toml::Value::String(text) => text,
        _ => String::new(),
    };
    let time = DateTime::parse_from_rfc3339(&text);
    time.map(SystemTime::from)
        .map_err(|_| "expires must be a time such as 2027-01-31T00:00:00Z".into())
}

fn scalar(value: toml::Value) -> Option<Scalar> {
    Some(match value {
        toml::Value::String(text) => Scalar::Text(text),
        toml::Value::Integer(number) => Scalar::Int(number),
        toml::Value::Boolean(value) => Scalar::Bool(value),
        toml::Value::Array(items) if !items.is_empty() => {
            let flat = |item| match item {
                toml::Value::Array(_) => None,
                other => scalar(other),
            };
            Scalar::List(items.into_iter().map(flat).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = Hash::default();
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_found_by_its_entry() {
        let key = generate();
        assert!(
            key.starts_with(PREFIX) && key.len() == PREFIX.len() + 43,
            "{key}"
        );
        assert_ne!(key, generate());
        let text = entry("a \"b\"\\", &["x".into(), "y\"".into()], &key);
        assert!(!text.contains(&key));
        let keys = parse(&text).unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].hash, hash(&key));
        assert_eq!(&*keys[0].identity.principal.name, "a \"b\"\\");
        assert_eq!(keys[0].identity.roles, ["x", "y\""]);
        // FIPS 180-2's own example.
        assert!(hex(&hash("abc")).starts_with("ba7816bf8f01cfea"));
    }

    #[test]
    fn a_file_is_taken_whole_or_not_at_all() {
        let digits = "ab".repeat(32);
        let good = format!(
            "[[keys]]\nname = \"a\"\nsha256 = \"{digits}\"\nexpires = 2027-01-31T00:00:00Z\n\
             claims = {{ tenant = \"t\", level = 3, all = [\"x\", \"y\"] }}\n"
        );
        let keys = parse(&good).unwrap();
        let claims = &keys[0].identity.claims;
        assert_eq!(claims["tenant"], Scalar::Text("t".into()));
        assert_eq!(claims["level"], Scalar::Int(3));
        assert!(matches!(&claims["all"], Scalar::List(items) if items.len() == 2));
        assert!(keys[0].expires.is_some());
        assert!(parse("").unwrap().is_empty());
        for (more, part) in [
            (good.as_str(), "keys[1]: the same sha256"),
            ("[[keys]]\nname = \"\"\nsha256 = \"x\"", "keys[1]: name"),
            ("[[keys]]\nname = \"a\"\nsha256 = \"x\"", "64 hexadecimal"),
            (
                "[[keys]]\nname = \"a\"\nkey = \"lgk_secret\"",
                "unknown field",
            ),
            ("[[keys]]\nname = 1", "line"),
            ("}", "line"),
        ] {
            let problem = parse(&format!("{good}{more}")).unwrap_err();
            assert!(problem.contains(part), "{problem}");
            assert!(!problem.contains("secret") && !problem.contains(&digits));
        }
        for bad in [
            "expires = \"soon\"",
            "expires = 5",
            "claims = { a = 1.5 }",
            "claims = { a = [] }",
        ] {
            let text = format!("[[keys]]\nname = \"a\"\nsha256 = \"{digits}\"\n{bad}");
            assert!(parse(&text).is_err(), "{bad}");
        }
    }
}
