//! Reading and fetching keys, at the start and whenever they change. What is broken is
//! logged, and what was there before stays.

use std::{path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Access, AccessError, State,
    jwt::{KeySet, Verifier},
    keys::{self, ApiKey},
};
use crate::config::{self, JwksSource};

/// Largest set of public keys, and largest file of API keys.
const MAX_JWKS: usize = 256 << 10;
const MAX_FILE: u64 = 16 << 20;

/// For how long fetching may take.
const FETCH: Duration = Duration::from_secs(5);

/// For how long a file must have been the same before it is taken: one that is being
/// written may look like a whole one that has less.
const SETTLED: Duration = Duration::from_millis(100);

/// The shortest time between two fetches, whoever shows whatever unknown keys.
const PAUSE: Duration = Duration::from_secs(10);

/// The public keys of an issuer, where they are from, and who checks with them.
pub(super) struct Jwks {
    pub(super) verifier: Verifier,
    keys: ArcSwap<KeySet>,
    source: JwksSource,
    refresh: Duration,
    client: Option<reqwest::Client>,
    /// When it was last asked for the keys. Locked by the one that asks.
    last: Mutex<Option<Instant>>,
}

impl Jwks {
    pub(super) async fn start(jwt: &config::Jwt) -> Result<Self, AccessError> {
        let (keys, client) = match &jwt.keys {
            JwksSource::File(path) => {
                let keys = read_jwks(path).await.map(|(keys, _)| keys);
                let setting = "access.jwt.jwks_file";
                let keys = keys.map_err(|problem| AccessError::File { setting, problem })?;
                (keys, None)
            }
            JwksSource::Url(_) => {
                // A redirection could lead anywhere, also to where there is no TLS.
                let client = reqwest::Client::builder()
                    .timeout(FETCH)
                    .redirect(reqwest::redirect::Policy::none())
                    .build();
                let client = client.map_err(|e| AccessError::Client(e.to_string()))?;
                (KeySet::default(), Some(client))
            }
        };
        Ok(Self {
            verifier: Verifier::new(jwt),
            keys: ArcSwap::from_pointee(keys),
            source: jwt.keys.clone(),
            refresh: jwt.refresh_interval,
            client,
            last: Mutex::new(None),
        })
    }

    pub(super) fn keys(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// Fetches the keys because somebody showed an unknown one. Answers whether there
    /// may be others now: those who come while they are fetched wait for the same ones,
    /// and soon after that nobody asks again.
    pub(super) async fn fetch_for_stranger(&self) -> bool {
        let came = Instant::now();
        let mut last = self.last.lock().await;
        match *last {
            Some(asked) if asked >= came => true,
            Some(asked) if asked.elapsed() < PAUSE => false,
            _ => {
                let fetched = self.fetch().await;
                *last = Some(Instant::now());
                fetched
            }
        }
    }

    async fn fetch_in_turn(&self) {
        let mut last = self.last.lock().await;
        self.fetch().await;
        *last = Some(Instant::now());
    }

    async fn fetch(&self) -> bool {
        let (JwksSource::Url(url), Some(client)) = (&self.source, &self.client) else {
            return false;
        };
        match get(client, url).await {
            Ok(keys) => {
                self.keys.store(Arc::new(keys));
                true
            }
            Err(problem) => {
                tracing::error!(%problem, "the public keys of the tokens' issuer cannot be fetched");
                false
            }
        }
    }
}

async fn get(client: &reqwest::Client, url: &Url) -> Result<KeySet, String> {
    let in_words = |error: reqwest::Error| error.without_url().to_string();
    let answer = client.get(url.clone()).send().await;
    let mut answer = answer
        .and_then(reqwest::Response::error_for_status)
        .map_err(in_words)?;
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(in_words)? {
        if text.len() + chunk.len() > MAX_JWKS {
            return Err(format!("has more than {MAX_JWKS} bytes"));
        }
        text.extend_from_slice(&chunk);
    }
    KeySet::parse(&text)
}

/// What a file had when it was last taken, as a hash.
pub(super) type Seen = blake3::Hash;

/// The API keys of a file.
pub(super) async fn read_keys(path: &Path) -> Result<(Vec<ApiKey>, Seen), String> {
    let (text, seen) = read(path).await?;
    let text = String::from_utf8(text).map_err(|_| "is no UTF-8 text".to_owned())?;
    // More likely one that is being written than the end of all keys.
    if text.trim().is_empty() {
        let problem = "is empty: write keys = [] where no key is to be taken";
        return Err(format!("{} {problem}", path.display()));
    }
    Ok((keys::parse(&text)?, seen))
}

async fn read_jwks(path: &Path) -> Result<(KeySet, Seen), String> {
    let (text, seen) = read(path).await?;
    Ok((KeySet::parse(&text)?, seen))
}

async fn read(path: &Path) -> Result<(Vec<u8>, Seen), String> {
    let cannot = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let size = tokio::fs::metadata(path).await.map_err(cannot)?.len();
    if size > MAX_FILE {
        return Err(format!("{} has more than {MAX_FILE} bytes", path.display()));
    }
    let text = tokio::fs::read(path).await.map_err(cannot)?;
    let seen = blake3::hash(&text);
    Ok((text, seen))
}

/// A file that is looked at again and again: what it had, or what was wrong with it.
struct Watched(Result<Option<Seen>, String>);

impl Watched {
    /// What is new in the file. What is wrong is logged once.
    async fn new_in<T, Fut>(&mut self, what: &str, read: impl Fn() -> Fut) -> Option<T>
    where
        Fut: Future<Output = Result<(T, Seen), String>>,
    {
        let hash = |read: &Result<(T, Seen), String>| read.as_ref().ok().map(|(_, seen)| *seen);
        let first = hash(&read().await);
        if first.is_some() && self.0.as_ref().ok() == Some(&first) {
            return None;
        }
        tokio::time::sleep(SETTLED).await;
        let again = read().await;
        if hash(&again) != first {
            // It is looked at again soon.
            return None;
        }
        match again {
            Ok((_, seen)) if self.0 == Ok(Some(seen)) => None,
            Ok((new, seen)) => {
                self.0 = Ok(Some(seen));
                Some(new)
            }
            Err(problem) => {
                if self.0.as_ref() != Err(&problem) {
                    tracing::error!(what, %problem, "a file of keys is broken: what it had before stays");
                    self.0 = Err(problem);
                }
                None
            }
        }
    }
}

impl Access {
    /// Looks at the files, and fetches, until `stop`.
    pub async fn keep_current(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(self.keep_files(&stop), self.keep_fetched(&stop));
    }

    async fn keep_fetched(&self, stop: &CancellationToken) {
        let Some(jwks) = self.jwks.as_ref().filter(|jwks| jwks.client.is_some()) else {
            return;
        };
        loop {
            let pause = async {
                jwks.fetch_in_turn().await;
                // Until there are some it is tried more often.
                let none_yet = jwks.keys().knows_nothing();
                tokio::time::sleep(if none_yet {
                    PAUSE.min(jwks.refresh)
                } else {
                    jwks.refresh
                })
                .await;
            };
            tokio::select! {
                () = pause => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn keep_files(&self, stop: &CancellationToken) {
        let (mut keys, mut jwks) = (Watched(Ok(None)), Watched(Ok(None)));
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.settings.reload_interval) => {}
                () = self.look.notified() => {}
                () = stop.cancelled() => return,
            }
            if let Some(path) = &self.settings.api_keys_file
                && let Some(new) = keys
                    .new_in("access.api_keys_file", || read_keys(path))
                    .await
            {
                tracing::info!(keys = new.len(), "API keys read");
                self.become_(|old| State::new(old.policy.clone(), new));
            }
            if let Some(known) = &self.jwks
                && let JwksSource::File(path) = &known.source
                && let Some(new) = jwks
                    .new_in("access.jwt.jwks_file", || read_jwks(path))
                    .await
            {
                tracing::info!("public keys of the tokens' issuer read");
                known.keys.store(Arc::new(new));
            }
        }
    }
}
