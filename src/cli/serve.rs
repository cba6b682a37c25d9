//! `serve`, and the settings that it shares with `check-config`.

use std::path::PathBuf;

use super::error::CliError;
use crate::{
    app,
    config::{self, Config, ConfigErrors, Sources},
};

/// Run the server.
///
/// Without a configuration it keeps a primary and two replicas below
/// ./lancegate-data and listens on loopback ports.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let sources = self.settings.sources();
        let config = config::load(sources.clone())?;
        Ok(app::run(config, sources).await?)
    }
}

/// Flags win over LANCEGATE_* variables, and those over the file.
#[derive(Debug, clap::Args)]
pub(super) struct Settings {
    #[command(flatten)]
    origin: Origin,
    /// Where gRPC listens.
    #[arg(long, value_name = "IP:PORT")]
    grpc_address: Option<String>,
    /// Where HTTP (metrics and health) listens.
    #[arg(long, value_name = "IP:PORT")]
    http_address: Option<String>,
}

impl Settings {
    pub(super) fn load(self) -> Result<Config, ConfigErrors> {
        config::load(self.sources())
    }

    fn sources(self) -> Sources {
        self.origin.sources([
            ("server.grpc_address", self.grpc_address),
            ("server.http_address", self.http_address),
        ])
    }
}

/// Where the configuration comes from, for every command that opens its
/// locations.
#[derive(Debug, clap::Args)]
pub(super) struct Origin {
    /// TOML file; else the one that LANCEGATE_CONFIG names.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of primary, replica-1 and replica-2, where no locations are
    /// configured; else LANCEGATE_DATA_DIR; else ./lancegate-data.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

impl Origin {
    /// The configuration, with flags of settings over it.
    pub(super) fn load<const N: usize>(
        self,
        flags: [(&str, Option<String>); N],
    ) -> Result<Config, ConfigErrors> {
        config::load(self.sources(flags))
    }

    /// What the configuration is made from, now and at each reload.
    pub(super) fn sources<const N: usize>(self, flags: [(&str, Option<String>); N]) -> Sources {
        let given = flags
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_string(), value?)));
        Sources {
            file: self.config,
            env: environment(),
            data_dir: self.data_dir,
            overrides: given.collect(),
        }
    }
}

/// The variables of the process. What is not UTF-8 keeps its place with marks
/// that no setting accepts.
fn environment() -> Vec<(String, String)> {
    let text = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}
