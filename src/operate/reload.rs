//! Reading the configuration again: from the same sources, checked as at the start,
//! and applied whole or not at all.

use std::{path::Path, sync::Arc};

use tokio::sync::Mutex;

use crate::{
    config::{self, Change, Config, ConfigErrors, Current, Effect, Live, Sources, diff},
    domain::{Error, Result, Violation},
    telemetry::{logs::LogFilter, metrics},
};

/// What stands for the name of the configuration file where clients read it.
const FILE: &str = "the configuration file";

/// Where a configuration came from, and what it is applied to besides the readers
/// of [`Live`].
pub struct Origin {
    /// The file, the variables and the flags of the start.
    pub sources: Sources,
    /// The filter of the log, where this process has one.
    pub log: Option<LogFilter>,
}

/// Hands a new configuration on to somebody who does not read [`Live`]. Gets the old
/// one as well, and cannot fail.
pub type Heed = Box<dyn Fn(&Config, &Config) + Send + Sync>;

/// Reads the configuration again when somebody asks for it, one at a time.
pub struct Reloader {
    live: Live,
    /// `None` where the configuration was made by the program itself.
    origin: Option<Arc<Origin>>,
    heeds: Vec<Heed>,
    turn: Arc<Mutex<()>>,
}

/// Why a reload changed nothing.
enum Refusal {
    /// What was read is no configuration.
    Faults(ConfigErrors),
    /// It is one, for the next start.
    NeedsRestart(Vec<String>),
}

impl Reloader {
    /// Reloads what `live` holds from `origin`, and hands it on to `heeds`.
    pub fn new(live: Live, origin: Option<Origin>, heeds: Vec<Heed>) -> Self {
        metrics::config_loaded();
        Self {
            live,
            origin: origin.map(Arc::new),
            heeds,
            turn: Arc::default(),
        }
    }

    /// Reads the configuration again and applies it; with `validate_only` it is only
    /// compared. Answers what is different. `asked_by` is for the log.
    ///
    /// # Errors
    /// CONFIGURATION_INVALID with every fault, or NEEDS_RESTART with every key that
    /// cannot change in a running server. Nothing has changed then.
    pub async fn reload(&self, asked_by: &'static str, validate_only: bool) -> Result<Vec<Change>> {
        let Some(origin) = &self.origin else {
            return Err(Error::Precondition {
                reason: "NOT_RELOADABLE",
                message: "this server was not started from files, variables and flags".into(),
            });
        };
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let from = Arc::clone(origin);
        // Files are read. The turn goes with it: a source that hangs is not read a
        // second time beside the first.
        let read = move || (config::load(from.sources.clone()), turn);
        let (loaded, _turn) = tokio::task::spawn_blocking(read)
            .await
            .map_err(|e| Error::Internal(format!("a reload stopped half-way: {e}")))?;
        let compared = compare(&self.live.load(), loaded);
        let (config, changes) = match compared {
            Ok(both) => both,
            Err(refusal) => {
                let file = origin.sources.file();
                return Err(refused(refusal, asked_by, validate_only, file.as_deref()));
            }
        };
        if validate_only {
            return Ok(changes);
        }
        if changes.is_empty() {
            tracing::info!(asked_by, "configuration read again: nothing changed");
            metrics::config_reloaded("unchanged", true);
            return Ok(changes);
        }
        self.apply(config, &changes, origin)?;
        for change in &changes {
            let (old, new) = (change.old.as_deref(), change.new.as_deref());
            tracing::info!(asked_by, key = %change.key, old, new, "setting changed");
        }
        tracing::info!(
            asked_by,
            changes = changes.len(),
            fingerprint = self.live.load().fingerprint(),
            "configuration applied"
        );
        metrics::config_reloaded("applied", true);
        Ok(changes)
    }

    /// What can fail comes before the swap, and nothing does after it.
    fn apply(&self, config: Config, changes: &[Change], origin: &Origin) -> Result<()> {
        let filter_changed = changes.iter().any(|c| c.key == "logging.filter");
        if let Some(log) = origin.log.as_ref().filter(|_| filter_changed) {
            log.set(&config.logging.filter)
                .map_err(|e| Error::invalid("logging.filter", e.to_string()))?;
        }
        let old = self.live.load();
        self.live.store(config);
        let new = self.live.load();
        for heed in &self.heeds {
            heed(&old, &new);
        }
        Ok(())
    }
}

/// What was read, and what is different, if a running server can take it.
fn compare(
    current: &Current,
    loaded: std::result::Result<Config, ConfigErrors>,
) -> std::result::Result<(Config, Vec<Change>), Refusal> {
    let config = loaded.map_err(Refusal::Faults)?;
    let changes = diff(current, &config);
    let restart = changes.iter().filter(|c| c.effect == Effect::Restart);
    let keys: Vec<String> = restart.map(|c| c.key.clone()).collect();
    match keys.is_empty() {
        true => Ok((config, changes)),
        false => Err(Refusal::NeedsRestart(keys)),
    }
}

/// Logs a refusal, a line for each reason, and puts it into words for the client.
fn refused(
    refusal: Refusal,
    asked_by: &'static str,
    validate_only: bool,
    file: Option<&Path>,
) -> Error {
    let (outcome, reason, message, violations) = match refusal {
        Refusal::Faults(errors) => {
            let faults = errors.faults().iter();
            let violations: Vec<Violation> = faults
                .map(|fault| Violation {
                    field: without_path(&fault.path, file),
                    description: fault.problem.clone(),
                })
                .collect();
            let message = "the configuration has faults: nothing was changed";
            ("invalid", "CONFIGURATION_INVALID", message, violations)
        }
        Refusal::NeedsRestart(keys) => {
            let keys = keys.into_iter();
            let violations = keys.map(|field| Violation {
                field,
                description: "needs a restart".into(),
            });
            let message = "these settings cannot change in a running server: nothing was changed";
            let violations = violations.collect();
            ("needs_restart", "NEEDS_RESTART", message, violations)
        }
    };
    // Who only compares is told, and nobody else need know.
    if !validate_only {
        for Violation { field, description } in &violations {
            tracing::error!(asked_by, key = %field, problem = %description, "configuration refused");
        }
        metrics::config_reloaded(outcome, false);
    }
    Error::Refused {
        reason,
        message: message.into(),
        violations,
    }
}

/// Where a fault is, without the path of the file.
fn without_path(fault: &str, file: Option<&Path>) -> String {
    let path = file.map(|file| file.display().to_string());
    match path.and_then(|path| fault.strip_prefix(&path).map(str::to_owned)) {
        Some(rest) => format!("{FILE}{rest}"),
        None => fault.to_owned(),
    }
}

#[cfg(test)]
mod tests;
