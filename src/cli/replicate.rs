//! `replicate`: the replicator as a process of its own.

use super::{error::CliError, serve::Origin};
use crate::{app, config};

/// Copy the primary to the replicas, without serving it.
///
/// For installations where servers only read: set replication.enabled = false for
/// those. This command does not look at that setting; it copies to every replica
/// whose mode is "managed". It takes the configuration
/// of `serve`, and its HTTP port has /metrics, /livez and /readyz (ready: the
/// primary and all replicas are up). It runs until SIGTERM or SIGINT.
#[derive(Debug, clap::Args)]
pub(super) struct Replicate {
    #[command(flatten)]
    origin: Origin,
    /// Where HTTP (metrics and health) listens.
    #[arg(long, value_name = "IP:PORT")]
    http_address: Option<String>,
    /// Bring all replicas up to date and end, without an HTTP port: 0 if
    /// everything was copied, else 1 with the reasons. Where the files of dropped
    /// tables are to be deleted, replication.delete_grace is waited for.
    #[arg(long, conflicts_with = "http_address")]
    once: bool,
}

impl Replicate {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let flags = [("server.http_address", self.http_address)];
        let sources = self.origin.sources(flags);
        let config = config::load(sources.clone())?;
        match self.once {
            true => app::replicate_once(config).await?,
            false => app::replicate(config, sources).await?,
        }
        Ok(())
    }
}
