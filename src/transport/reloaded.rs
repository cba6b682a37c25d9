//! Something that is made from files, and made anew when they change.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::{
    files::{Contents, Files, TlsError},
    identity,
};
use crate::telemetry::metrics;

type Make<T> = dyn Fn(&Contents) -> Result<T, TlsError> + Send + Sync;

/// What the files of `files` made last. Whoever uses it loads it; what was made
/// before goes on where it is in use.
pub(super) struct Reloaded<T> {
    /// What it is for, as metrics and the log name it.
    name: &'static str,
    files: Files,
    make: Box<Make<T>>,
    current: ArcSwap<T>,
    loaded: Mutex<blake3::Hash>,
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Makes it for the first time.
    pub(super) fn open(
        name: &'static str,
        files: Files,
        make: impl Fn(&Contents) -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let contents = files.read()?;
        let made = make(&contents)?;
        note_expiry(name, &contents);
        Ok(Self {
            name,
            files,
            make: Box::new(make),
            current: ArcSwap::from_pointee(made),
            loaded: Mutex::new(contents.fingerprint()),
        })
    }

    /// The newest.
    pub(super) fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Looks at the files until `stop`. By content, not by time: a link that leads
    /// elsewhere changes no time, and two writes in a second are one.
    pub(super) async fn keep(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        let mut trouble = Trouble::default();
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = stop.cancelled() => return,
            }
            let this = Arc::clone(&self);
            // Reading files, and keys that take a while to check.
            let looked = tokio::task::spawn_blocking(move || this.look()).await;
            match looked {
                Ok(Ok(false)) => trouble = Trouble::default(),
                Ok(Ok(true)) => {
                    trouble = Trouble::default();
                    metrics::certificates_loaded(self.name, true);
                    tracing::info!(of = self.name, "certificates read again");
                }
                Ok(Err(error)) => {
                    if trouble.is_lasting(error.to_string()) {
                        metrics::certificates_loaded(self.name, false);
                        tracing::warn!(of = self.name, %error, "certificates cannot be used: the old ones stay");
                    }
                }
                // The runtime is going away.
                Err(_) => return,
            }
        }
    }

    /// Whether there is something new, which is in its place then.
    fn look(&self) -> Result<bool, TlsError> {
        let contents = self.files.read()?;
        let now = contents.fingerprint();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if *loaded == now {
            return Ok(false);
        }
        self.current.store(Arc::new((self.make)(&contents)?));
        *loaded = now;
        note_expiry(self.name, &contents);
        Ok(true)
    }
}

/// What is wrong with the files. Somebody may be about to write the second of two:
/// it is told when it is the same at the next look, and once.
#[derive(Default)]
struct Trouble {
    text: String,
    times: u32,
}

impl Trouble {
    fn is_lasting(&mut self, text: String) -> bool {
        if self.text != text {
            *self = Self { text, times: 0 };
        }
        self.times = self.times.saturating_add(1);
        self.times == 2
    }
}

/// Until when the certificate is good, for whoever is to renew it.
fn note_expiry(name: &'static str, contents: &Contents) {
    if let Ok(Some((chain, _))) = contents.pair()
        && let Some(until) = chain.first().and_then(identity::not_after)
    {
        metrics::certificate_expiry(name, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_once_and_only_if_it_lasts() {
        let mut trouble = Trouble::default();
        let told: Vec<bool> = ["half", "half", "half", "other", "half", "half"]
            .into_iter()
            .map(|text| trouble.is_lasting(text.to_owned()))
            .collect();
        assert_eq!(told, [false, true, false, false, false, true]);
    }
}
