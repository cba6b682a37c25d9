use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as B64};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData};
use serde_json::{Value, json};

use crate::{
    access::{
        Refusal,
        jwt::{Fault, KeySet, Verifier},
    },
    config::{JwksSource, Jwt},
    domain::{Proof, Scalar},
};

const NOW: u64 = 1_800_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

struct Issuer {
    pair: KeyPair,
    algorithm: Algorithm,
}

impl Issuer {
    fn ec() -> Self {
        Self {
            pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
            algorithm: Algorithm::ES256,
        }
    }

    fn ed() -> Self {
        Self {
            pair: KeyPair::generate_for(&PKCS_ED25519).unwrap(),
            algorithm: Algorithm::EdDSA,
        }
    }

    fn jwk(&self, id: &str) -> Value {
        let raw = self.pair.public_key_raw();
        match self.algorithm {
            Algorithm::EdDSA => json!({
                "kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "x": B64.encode(raw)
            }),
            _ => json!({
                "kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256",
                "x": B64.encode(&raw[1..33]), "y": B64.encode(&raw[33..65])
            }),
        }
    }

    fn signing_key(&self) -> EncodingKey {
        let der = self.pair.serialized_der();
        match self.algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_der(der),
            _ => EncodingKey::from_ec_der(der),
        }
    }

    fn sign(&self, id: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = id.map(str::to_owned);
        encode(&header, claims, &self.signing_key()).unwrap()
    }
}

fn settings() -> Jwt {
    Jwt {
        keys: JwksSource::File("unused".into()),
        issuer: "https://issuer.example".into(),
        audience: "lancegate".into(),
        algorithms: vec!["ES256".into(), "EdDSA".into(), "RS256".into()],
        leeway: Duration::from_secs(60),
        name_claim: "sub".into(),
        roles_claim: "roles".into(),
        row_claims: ["tenant".to_owned(), "teams".to_owned()].into(),
        refresh_interval: Duration::from_secs(60),
    }
}

fn claims(edit: impl FnOnce(&mut Value)) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.example", "aud": "lancegate", "sub": "alice",
        "exp": NOW + 300, "nbf": NOW - 5, "roles": ["readers"], "tenant": "acme"
    });
    edit(&mut claims);
    claims
}

fn keys(all: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": all }).to_string().as_bytes()).unwrap()
}

#[test]
fn a_true_token_says_whom_it_is_about() {
    for issuer in [Issuer::ec(), Issuer::ed()] {
        let keys = keys(&[issuer.jwk("k1"), Issuer::ec().jwk("k2")]);
        let verifier = Verifier::new(&settings());
        for id in [Some("k1"), None] {
            let token = issuer.sign(id, &claims(|_| ()));
            let found = verifier.verify(&keys, &token, now()).unwrap();
            assert_eq!(&*found.principal.name, "alice");
            assert_eq!(found.principal.proof, Proof::Jwt);
            assert_eq!(found.roles, ["readers"]);
            assert_eq!(found.claims["tenant"], Scalar::Text("acme".into()));
        }
        let several = issuer.sign(
            Some("k1"),
            &claims(|c| {
                c["aud"] = json!(["other", "lancegate"]);
                c["roles"] = json!("readers writers");
                c["teams"] = json!(["x", "y"]);
                c["tenant"] = json!({ "no": "scalar" });
            }),
        );
        let found = verifier.verify(&keys, &several, now()).unwrap();
        assert_eq!(found.roles, ["readers", "writers"]);
        assert!(matches!(&found.claims["teams"], Scalar::List(items) if items.len() == 2));
        assert!(!found.claims.contains_key("tenant"));
    }
}

#[test]
fn whatever_is_not_meant_for_us_and_now_is_refused() {
    let issuer = Issuer::ec();
    let keys = keys(&[issuer.jwk("k1")]);
    let verifier = Verifier::new(&settings());
    type Edit = fn(&mut Value);
    let invalid: &[(&str, Edit)] = &[
        ("another issuer", |c| {
            c["iss"] = json!("https://evil.example")
        }),
        ("no issuer", |c| {
            c.as_object_mut().unwrap().remove("iss");
        }),
        ("another audience", |c| c["aud"] = json!("other")),
        ("no audience", |c| {
            c.as_object_mut().unwrap().remove("aud");
        }),
        ("no audience of several", |c| c["aud"] = json!(["a", "b"])),
        ("no end", |c| {
            c.as_object_mut().unwrap().remove("exp");
        }),
        ("an end that is no time", |c| c["exp"] = json!("never")),
        ("an end before time", |c| c["exp"] = json!(-1)),
        ("not yet", |c| c["nbf"] = json!(NOW + 61)),
        ("a begin that is no time", |c| c["nbf"] = json!("now")),
        ("no name", |c| {
            c.as_object_mut().unwrap().remove("sub");
        }),
        ("an empty name", |c| c["sub"] = json!("")),
        ("a name that is a number", |c| c["sub"] = json!(7)),
        ("a name of two lines", |c| c["sub"] = json!("a\nb")),
        ("roles that are numbers", |c| c["roles"] = json!([1])),
        ("roles that are a map", |c| {
            c["roles"] = json!({ "admin": true })
        }),
    ];
    for (what, edit) in invalid {
        let token = issuer.sign(Some("k1"), &claims(edit));
        let refused = verifier.verify(&keys, &token, now());
        assert_eq!(
            refused,
            Err(Fault::Refused(Refusal::InvalidToken)),
            "{what}"
        );
    }
    let until = |exp: u64| issuer.sign(Some("k1"), &claims(|c| c["exp"] = json!(exp)));
    assert!(verifier.verify(&keys, &until(NOW - 59), now()).is_ok());
    let late = verifier.verify(&keys, &until(NOW - 60), now());
    assert_eq!(late, Err(Fault::Refused(Refusal::Expired)));
    let early = issuer.sign(Some("k1"), &claims(|c| c["nbf"] = json!(NOW + 59)));
    assert!(verifier.verify(&keys, &early, now()).is_ok());
}

/// A token with this head, signed by `sign`.
fn forged(head: Value, body: &Value, sign: impl FnOnce(&str) -> Vec<u8>) -> String {
    let part = |value: &Value| B64.encode(value.to_string());
    let message = format!("{}.{}", part(&head), part(body));
    let signature = B64.encode(sign(&message));
    format!("{message}.{signature}")
}

#[test]
fn forged_tokens_are_refused() {
    let issuer = Issuer::ec();
    let jwk = issuer.jwk("k1");
    let keys = keys(&[
        jwk.clone(),
        json!({ "kty": "oct", "kid": "shared", "k": "c2VjcmV0" }),
    ]);
    let verifier = Verifier::new(&settings());
    let body = claims(|c| c["roles"] = json!(["admin"]));
    let hmac = |key: &[u8], message: &str| {
        let key = EncodingKey::from_secret(key).unwrap();
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
        B64.decode(signature.unwrap()).unwrap()
    };
    let public_pem = issuer.pair.public_key_pem();
    let public_der = issuer.pair.subject_public_key_info();
    let good = issuer.sign(Some("k1"), &body);
    let parts: Vec<&str> = good.split('.').collect();
    let other = Issuer::ec();
    let mut forgeries = vec![
        (
            "no algorithm",
            forged(json!({ "alg": "none" }), &body, |_| Vec::new()),
        ),
        (
            "no algorithm, capitals",
            forged(json!({ "alg": "NONE", "kid": "k1" }), &body, |_| Vec::new()),
        ),
        (
            "no algorithm, a name",
            forged(json!({ "alg": "none", "kid": "k1" }), &body, |_| Vec::new()),
        ),
        (
            "HMAC with the public key's PEM",
            forged(json!({ "alg": "HS256", "kid": "k1" }), &body, |m| {
                hmac(public_pem.as_bytes(), m)
            }),
        ),
        (
            "HMAC with the public key's DER",
            forged(json!({ "alg": "HS256", "kid": "k1" }), &body, |m| {
                hmac(&public_der, m)
            }),
        ),
        (
            "HMAC with the key set's x",
            forged(json!({ "alg": "HS256" }), &body, |m| {
                hmac(jwk["x"].as_str().unwrap().as_bytes(), m)
            }),
        ),
        (
            "HMAC with a key of the set",
            forged(json!({ "alg": "HS256", "kid": "shared" }), &body, |m| {
                hmac(b"secret", m)
            }),
        ),
        (
            "another key of the same name",
            other.sign(Some("k1"), &body),
        ),
        ("another key without a name", other.sign(None, &body)),
        ("another kind of key", Issuer::ed().sign(Some("k1"), &body)),
        ("a key of its own", {
            let mut header = Header::new(Algorithm::ES256);
            header.jwk = serde_json::from_value(other.jwk("k1")).ok();
            header.kid = Some("k1".into());
            encode(&header, &body, &other.signing_key()).unwrap()
        }),
        (
            "what must be understood",
            forged(
                json!({ "alg": "ES256", "kid": "k1", "crit": ["b64"], "b64": false }),
                &body,
                |m| {
                    B64.decode(
                        jsonwebtoken::crypto::sign(
                            m.as_bytes(),
                            &issuer.signing_key(),
                            Algorithm::ES256,
                        )
                        .unwrap(),
                    )
                    .unwrap()
                },
            ),
        ),
        (
            "another body",
            format!(
                "{}.{}.{}",
                parts[0],
                B64.encode(claims(|c| c["sub"] = json!("root")).to_string()),
                parts[2]
            ),
        ),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("a cut signature", good[..good.len() - 4].to_owned()),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{good}.{}", parts[2])),
        ("nothing", String::new()),
        ("dots", "..".into()),
        ("a long one", "a".repeat(10_000)),
    ];
    // A signature of nothing but zeros (CVE-2022-21449).
    forgeries.push((
        "zeros",
        format!("{}.{}.{}", parts[0], parts[1], B64.encode([0u8; 64])),
    ));
    for (what, token) in &forgeries {
        let refused = verifier.verify(&keys, token, now());
        assert!(
            matches!(
                refused,
                Err(Fault::Refused(Refusal::InvalidToken) | Fault::UnknownKey)
            ),
            "{what}: {refused:?}"
        );
    }
    assert!(verifier.verify(&keys, &good, now()).is_ok(), "the true one");
    // An algorithm that is not configured, however true.
    let mut only_ed = settings();
    only_ed.algorithms = vec!["EdDSA".into(), "HS256".into()];
    let narrow = Verifier::new(&only_ed);
    assert!(narrow.verify(&keys, &good, now()).is_err());
    assert_eq!(
        verifier.verify(&keys, &issuer.sign(Some("k9"), &body), now()),
        Err(Fault::UnknownKey)
    );
}

#[test]
fn a_key_set_has_public_keys_for_signatures() {
    let issuer = Issuer::ec();
    let mut for_secrets = issuer.jwk("enc");
    for_secrets["use"] = json!("enc");
    let mut of_another = issuer.jwk("other");
    of_another["alg"] = json!("RSA-OAEP");
    let bad = [
        json!([]),
        json!({}),
        json!({ "keys": [] }),
        json!({ "keys": "k" }),
        json!({ "keys": [{ "kty": "oct", "kid": "s", "k": "c2VjcmV0" }, for_secrets, of_another, 7] }),
        json!({ "keys": vec![issuer.jwk("k"); 65] }),
    ];
    for set in bad {
        assert!(KeySet::parse(set.to_string().as_bytes()).is_err(), "{set}");
    }
    assert!(KeySet::parse(b"{").is_err());
}
