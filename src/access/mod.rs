//! Who asks, and what they may do: decided from the head of a request, before anything
//! of its body is read, and from the name of a table, before anything is done for it.
//!
//! Everything here decides about values that it is given; [`files`] alone reads files and
//! fetches keys. What somebody may see of a table is a value too
//! ([`crate::domain::TableScope`]), which storage puts around each read and write.

mod credential;
mod files;
mod grants;
mod jwt;
pub mod keys;
mod method;
mod policy;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use http::HeaderMap;
use tokio::sync::Notify;

use self::{
    credential::{Credential, shown},
    files::Jwks,
    jwt::{Fault, KeySet},
    keys::{ApiKey, Hash},
};
use crate::{
    config,
    domain::{PeerCertificate, Principal, Proof},
};

pub use credential::Refusal;
pub use grants::Grants;
pub use method::{Need, need};
pub use policy::{Identity, Policy};

/// Somebody who is known, with what they may do.
#[derive(Debug, Clone)]
pub struct Caller {
    pub principal: Arc<Principal>,
    pub grants: Arc<Grants>,
}

impl Caller {
    /// Anybody, where nobody is asked who they are.
    pub fn anybody() -> Self {
        Self {
            principal: Arc::new(Principal::anonymous()),
            grants: Arc::new(Grants::everything()),
        }
    }
}

/// What can keep a server from knowing who asks.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file that is named by the configuration.
    #[error("{setting}: {problem}")]
    File {
        setting: &'static str,
        problem: String,
    },
    /// What fetches public keys cannot be made.
    #[error("access.jwt.jwks_url: {0}")]
    Client(String),
}

/// Decides who asks. One for the whole server.
pub struct Access {
    settings: config::Access,
    /// What is decided by now; made anew when the configuration or the keys change.
    state: ArcSwap<State>,
    /// Held while it is made anew, so that no change is lost.
    change: Mutex<()>,
    jwks: Option<Jwks>,
    look: Notify,
}

/// What is decided by.
struct State {
    policy: Policy,
    keys: Vec<ApiKey>,
    /// Keys have whatever their holders may do with them: a request looks it up.
    holders: HashMap<Hash, Holder>,
}

/// Who shows a key.
struct Holder {
    caller: Caller,
    expires: Option<SystemTime>,
}

impl State {
    fn new(policy: Policy, keys: Vec<ApiKey>) -> Self {
        let holder = |key: &ApiKey| {
            let grants = Arc::new(policy.grants(&key.identity));
            let caller = Caller {
                principal: Arc::clone(&key.identity.principal),
                grants,
            };
            let expires = key.expires;
            (key.hash, Holder { caller, expires })
        };
        Self {
            holders: keys.iter().map(holder).collect(),
            policy,
            keys,
        }
    }
}

impl Access {
    /// Decides by these settings. The files are read; public keys of a URL are fetched
    /// later, and no token is taken before.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be.
    pub async fn start(settings: config::Access) -> Result<Arc<Self>, AccessError> {
        let keys = match &settings.api_keys_file {
            Some(path) => files::read_keys(path).await.map(|(keys, _)| keys),
            None => Ok(Vec::new()),
        };
        let keys = keys.map_err(|problem| AccessError::File {
            setting: "access.api_keys_file",
            problem,
        })?;
        let jwks = match &settings.jwt {
            Some(jwt) => Some(Jwks::start(jwt).await?),
            None => None,
        };
        let policy = Policy::of(&settings);
        Ok(Arc::new(Self {
            state: ArcSwap::from_pointee(State::new(policy, keys)),
            change: Mutex::new(()),
            settings,
            jwks,
            look: Notify::new(),
        }))
    }

    /// Who asks, by the head of a request and the certificate of its connection.
    ///
    /// # Errors
    /// They are not known, or nobody can tell.
    pub async fn caller(
        &self,
        headers: &HeaderMap,
        certificate: Option<&PeerCertificate>,
    ) -> Result<Caller, Refusal> {
        match shown(headers, certificate)? {
            Credential::Key(key) => self.holder(key, SystemTime::now()),
            Credential::Jwt(token) => self.bearer(token).await,
            Credential::Certificate(certificate) => {
                if certificate.expires <= SystemTime::now() {
                    return Err(Refusal::Expired);
                }
                let principal = Principal {
                    name: Arc::clone(&certificate.subject),
                    proof: Proof::Certificate,
                };
                Ok(self.known(Identity::named(principal)))
            }
        }
    }

    /// Who holds a key.
    fn holder(&self, key: &str, now: SystemTime) -> Result<Caller, Refusal> {
        let state = self.state.load();
        // A hash is looked for, never a key: how long that takes tells of nothing that
        // somebody without the key could choose.
        let holder = state.holders.get(&keys::hash(key));
        let holder = holder.ok_or(Refusal::UnknownKey)?;
        match holder.expires {
            Some(expires) if expires <= now => Err(Refusal::Expired),
            _ => Ok(holder.caller.clone()),
        }
    }

    /// Whom a signed token is about.
    async fn bearer(&self, token: &str) -> Result<Caller, Refusal> {
        let Some(jwks) = &self.jwks else {
            return Err(Refusal::InvalidToken);
        };
        let identity = match jwks.verifier.verify(&jwks.keys(), token, SystemTime::now()) {
            // The issuer may have a new key.
            Err(Fault::UnknownKey) if jwks.fetch_for_stranger().await => {
                let keys: Arc<KeySet> = jwks.keys();
                jwks.verifier.verify(&keys, token, SystemTime::now())
            }
            other => other,
        };
        identity
            .map(|identity| self.known(identity))
            .map_err(|fault| match fault {
                Fault::UnknownKey => Refusal::InvalidToken,
                Fault::Refused(refusal) => refusal,
            })
    }

    fn known(&self, identity: Identity) -> Caller {
        let grants = Arc::new(self.state.load().policy.grants(&identity));
        Caller {
            principal: identity.principal,
            grants,
        }
    }

    /// Decides by other bindings from now on.
    pub fn heed(&self, settings: &config::Access) {
        self.become_(|old| State::new(Policy::of(settings), old.keys.clone()));
    }

    /// Looks at the files now.
    pub fn look(&self) {
        self.look.notify_one();
    }

    fn become_(&self, make: impl FnOnce(&State) -> State) {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let next = make(&self.state.load());
        self.state.store(Arc::new(next));
    }
}

#[cfg(test)]
mod tests;
