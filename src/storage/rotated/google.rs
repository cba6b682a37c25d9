//! Keys of Google's service accounts, read again while the server runs.
//!
//! object_store reads such a key when it opens a store, and never again. So a store
//! that nothing is asked of is opened here whenever the key is another, and Lance is
//! given the tokens that it signs: those it asks for again and again.

use std::{collections::BTreeMap, collections::HashMap, env, fs, io};

use object_store::gcp::{
    GcpCredentialProvider, GoogleCloudStorageBuilder,
    GoogleConfigKey::{
        self, ApplicationCredentials, BearerToken, ServiceAccount as File, ServiceAccountKey,
    },
};
use tokio::sync::Mutex;

/// Lance's option for a token.
pub(super) const TOKEN: &str = "google_storage_token";

/// Where a key is: an option, or a variable of the environment, and its value.
type Source = (GoogleConfigKey, String);

/// The key of a service account, and who signs with it.
#[derive(Default)]
pub(super) struct ServiceAccount(Mutex<Option<Signer>>);

struct Signer {
    /// Of the key.
    digest: blake3::Hash,
    credentials: GcpCredentialProvider,
}

/// Whether these options, or the environment, have stores opened with the key of a
/// service account. Other kinds of accounts are read again by who uses them, or ask
/// others for each token.
pub(super) fn names_a_key(options: &HashMap<String, String>) -> bool {
    source(options, environment()).is_some_and(|source| key(&source).is_ok())
}

/// What is in the environment, as Lance reads it: by names in any case.
fn environment() -> BTreeMap<String, String> {
    let variables = env::vars_os();
    let texts = variables.filter_map(|(name, value)| {
        let name = name.into_string().ok()?.to_ascii_lowercase();
        Some((name, value.into_string().ok()?))
    });
    texts.collect()
}

/// The one that object_store would use. None where there is a token already, and where
/// it would refuse what there is.
fn source(
    options: &HashMap<String, String>,
    environment: BTreeMap<String, String>,
) -> Option<Source> {
    let lower = |(name, value): (&String, &String)| (name.to_ascii_lowercase(), value.clone());
    let given: BTreeMap<_, _> = options.iter().map(lower).collect();
    let mut found = HashMap::new();
    for (name, value) in given.into_iter().chain(environment) {
        let key = name.parse();
        if name == TOKEN || matches!(key, Ok(BearerToken)) {
            return None;
        }
        if let Ok(key @ (File | ServiceAccountKey | ApplicationCredentials)) = key {
            found.entry(key).or_insert(value);
        }
    }
    match (found.remove(&File), found.remove(&ServiceAccountKey)) {
        (Some(_), Some(_)) => None,
        (Some(file), None) => Some((File, file)),
        (None, Some(key)) => Some((ServiceAccountKey, key)),
        (None, None) => Some((
            ApplicationCredentials,
            found.remove(&ApplicationCredentials)?,
        )),
    }
}

/// The key that counts now, as Google writes them.
fn key((kind, value): &Source) -> io::Result<String> {
    let text = match kind {
        ServiceAccountKey => value.clone(),
        _ => fs::read_to_string(value)?,
    };
    let json = serde_json::from_str::<serde_json::Value>(&text);
    let kind = json.as_ref().map(|json| &json["type"]);
    match kind {
        Ok(kind) if kind == "service_account" => Ok(text),
        // Its words may be out of the key.
        _ => Err(io::Error::other("it is no key of a service account")),
    }
}

fn open((kind, value): &Source) -> object_store::Result<GcpCredentialProvider> {
    // Of any name: it is not asked for, and a key signs without asking anybody.
    let builder = GoogleCloudStorageBuilder::new().with_bucket_name("none");
    let store = builder.with_config(*kind, value).build()?;
    Ok(store.credentials().clone())
}

impl ServiceAccount {
    /// A token signed with the key that counts now. A key that cannot be read or used,
    /// because it is being written, leaves the one before it. None where there is no key.
    pub async fn token(&self, options: &HashMap<String, String>) -> Option<String> {
        let source = source(options, environment())?;
        let mut signer = self.0.lock().await;
        match key(&source).map(|key| blake3::hash(key.as_bytes())) {
            Ok(digest) if signer.as_ref().is_some_and(|s| s.digest == digest) => {}
            Ok(digest) => match open(&source) {
                Ok(credentials) => {
                    *signer = Some(Signer {
                        digest,
                        credentials,
                    })
                }
                // Its words may be out of the key.
                Err(_) => tracing::warn!("the key of a service account cannot be used"),
            },
            Err(problem) => {
                tracing::warn!(%problem, "the key of a service account was not read again");
            }
        }
        let credentials = signer.as_ref()?.credentials.get_credential().await;
        match credentials {
            Ok(credentials) => Some(credentials.bearer.clone()),
            Err(error) => {
                tracing::warn!(%error, "a service account has no token");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    /// A key as Google writes it, of this name.
    fn written(id: &str) -> String {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        serde_json::json!({
            "type": "service_account", "private_key_id": id, "client_email": "a@b.c",
            "private_key": pair.serialize_pem(),
        })
        .to_string()
    }

    /// The key that a token was signed with.
    fn signed_with(token: &str) -> String {
        let head = token.split('.').next().unwrap();
        let head = URL_SAFE_NO_PAD.decode(head).unwrap();
        let head: serde_json::Value = serde_json::from_slice(&head).unwrap();
        head["kid"].as_str().unwrap().to_owned()
    }

    fn options(name: &str, value: &str) -> HashMap<String, String> {
        HashMap::from([(name.to_owned(), value.to_owned())])
    }

    #[tokio::test]
    async fn a_replaced_key_signs_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.json");
        for name in ["google_service_account", "google_application_credentials"] {
            let options = options(name, file.to_str().unwrap());
            std::fs::write(&file, written("one")).unwrap();
            assert!(names_a_key(&options));
            let account = ServiceAccount::default();
            let token = async || account.token(&options).await.unwrap();
            let first = token().await;
            assert_eq!(signed_with(&first), "one");
            assert_eq!(token().await, first, "nothing is signed for nothing");
            std::fs::write(&file, written("two")).unwrap();
            assert_eq!(signed_with(&token().await), "two");
            std::fs::write(&file, "{").unwrap();
            assert_eq!(signed_with(&token().await), "two");
            std::fs::remove_file(&file).unwrap();
            assert_eq!(signed_with(&token().await), "two");
            std::fs::write(&file, written("three")).unwrap();
            assert_eq!(signed_with(&token().await), "three");
        }
    }

    #[tokio::test]
    async fn a_key_in_the_options_signs_too() {
        let account = ServiceAccount::default();
        for id in ["one", "two"] {
            let options = options("google_service_account_key", &written(id));
            assert_eq!(signed_with(&account.token(&options).await.unwrap()), id);
        }
    }

    #[test]
    fn what_has_a_token_or_is_no_service_account_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("account.json");
        let named = options("google_application_credentials", file.to_str().unwrap());
        for text in [
            r#"{"type": "external_account"}"#,
            r#"{"type": "authorized_user"}"#,
            "{",
            "",
        ] {
            std::fs::write(&file, text).unwrap();
            assert!(!names_a_key(&named), "{text}");
        }
        std::fs::write(&file, written("one")).unwrap();
        assert!(names_a_key(&named));
        let mut token = named;
        token.insert(TOKEN.into(), "t".into());
        assert!(!names_a_key(&token));
    }

    #[test]
    fn the_key_is_the_one_that_the_store_would_use() {
        let none = BTreeMap::new();
        let variable = |name: &str| BTreeMap::from([(name.to_owned(), "/e".to_owned())]);
        let of = |given: &[(&str, &str)], environment| {
            let given = given
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            source(&given.collect(), environment)
        };
        let file = |path: &str| Some((File, path.to_owned()));
        let given = [
            ("Google_Service_Account", "/b"),
            ("google_application_credentials", "/a"),
        ];
        assert_eq!(of(&given, none.clone()), file("/b"));
        assert_eq!(of(&given, variable("service_account")), file("/b"));
        assert_eq!(of(&[], variable("google_service_account_path")), file("/e"));
        let found = of(&[], variable("google_application_credentials"));
        assert_eq!(found, Some((ApplicationCredentials, "/e".to_owned())));
        assert_eq!(of(&[], variable("home")), None);
        assert_eq!(of(&given, variable("google_bearer_token")), None);
        assert_eq!(of(&given, variable("google_service_account_key")), None);
    }
}
