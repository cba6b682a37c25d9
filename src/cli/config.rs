//! `check-config` and `config schema`.

use clap::Subcommand;

use super::{error::CliError, print, serve::Settings};
use crate::{
    app::{
        self,
        check::{self, Checked, Outcome},
    },
    config,
};

/// Check a configuration and print the effective one, without its secrets.
///
/// Every fault is reported, and the exit code is 78, if it cannot be used. The
/// files of certificates and keys are read too. With --probe the exit code is 1 if a
/// location cannot do what is needed of it.
#[derive(Debug, clap::Args)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    settings: Settings,
    /// Ask each location for what the server will need: list, write, read, write
    /// only where nothing is, delete. Objects are written below
    /// _lancegate/probe-<random> and deleted again. The configuration is not printed.
    #[arg(long)]
    probe: bool,
}

impl CheckConfig {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let config = self.settings.load()?;
        app::check_certificates(&config)?;
        if !self.probe {
            return print(&config.render());
        }
        let checked = check::check(&config).await;
        print(&text(&checked))?;
        match checked.iter().filter(|checked| !checked.is_fit()).count() {
            0 => Ok(()),
            1 => Err(CliError::Data("1 location cannot be used as it is".into())),
            n => Err(CliError::Data(format!(
                "{n} locations cannot be used as they are"
            ))),
        }
    }
}

/// A paragraph for each location.
fn text(checked: &[Checked]) -> String {
    let mut text = String::new();
    for Checked {
        connection,
        uri,
        outcome,
    } in checked
    {
        text.push_str(&format!("{connection} ({uri})\n"));
        match outcome {
            Outcome::NotThereYet => text.push_str("  not there yet: the server creates it\n"),
            Outcome::Unusable(problem) => {
                text.push_str(&format!("  cannot be opened: {problem}\n"))
            }
            Outcome::Probed(findings) => {
                for finding in findings {
                    let ability = finding.ability.as_str();
                    match &finding.problem {
                        None => text.push_str(&format!("  can {ability}\n")),
                        Some(problem) => {
                            text.push_str(&format!("  cannot {ability}: {problem}\n"));
                        }
                    }
                }
            }
        }
    }
    text
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
