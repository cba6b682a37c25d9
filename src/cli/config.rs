//! `check-config` and `config schema`.

use clap::Subcommand;

use super::{error::CliError, print, serve::Settings};
use crate::config;

/// Check a configuration and print the effective one, without its secrets.
///
/// Every fault is reported, and the exit code is 78, if it cannot be used.
#[derive(Debug, clap::Args)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    settings: Settings,
}

impl CheckConfig {
    pub(super) fn run(self) -> Result<(), CliError> {
        print(&self.settings.load()?.render())
    }
}

/// About the configuration file.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    topic: Topic,
}

#[derive(Debug, Subcommand)]
enum Topic {
    /// Print the JSON schema of the configuration file.
    Schema,
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.topic {
            Topic::Schema => print(&format!("{:#}\n", config::schema())),
        }
    }
}
