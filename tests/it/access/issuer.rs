//! An issuer of tokens.

use std::sync::{Arc, atomic::AtomicUsize};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

/// Somebody who signs tokens, and shows the keys.
pub struct Issuer {
    pub keys: std::sync::Mutex<Vec<(String, KeyPair)>>,
    /// How often the keys were asked for.
    pub fetched: AtomicUsize,
}

impl Issuer {
    pub fn with(id: &str) -> Arc<Self> {
        let issuer = Self {
            keys: Default::default(),
            fetched: AtomicUsize::new(0),
        };
        issuer.add(id);
        Arc::new(issuer)
    }

    pub fn add(&self, id: &str) {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        self.keys.lock().unwrap().push((id.to_owned(), pair));
    }

    pub fn jwks(&self) -> String {
        let keys = self.keys.lock().unwrap();
        let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let jwk = |(id, pair): &(String, KeyPair)| {
            let raw = pair.public_key_raw();
            json!({ "kty": "EC", "crv": "P-256", "kid": id, "use": "sig",
                    "x": part(&raw[1..33]), "y": part(&raw[33..65]) })
        };
        json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() }).to_string()
    }

    pub fn token(&self, id: &str, edit: impl FnOnce(&mut Value)) -> String {
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({ "iss": "https://issuer.example", "aud": "lancegate",
            "sub": "alice", "exp": now + 3600, "groups": ["readers"], "tenant": "acme" });
        edit(&mut claims);
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(id.to_owned());
        let keys = self.keys.lock().unwrap();
        let (_, pair) = keys.iter().find(|(known, _)| known == id).unwrap();
        encode(
            &header,
            &claims,
            &EncodingKey::from_ec_der(pair.serialized_der()),
        )
        .unwrap()
    }
}

/// Settings by which its tokens are taken; `source` says where its keys are.
pub fn jwt(source: &str) -> String {
    format!(
        "[access.jwt]\n{source}\nissuer = \"https://issuer.example\"\naudience = \"lancegate\"\n\
         roles_claim = \"groups\"\nrow_claims = [\"tenant\"]\nleeway = \"1s\"\n\
         [[access.bindings]]\nprincipals = [\"role:readers\"]\nrole = \"reader\"\ntables = [\"*\"]\n"
    )
}
