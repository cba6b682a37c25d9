//! `completions`.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Cli, error::CliError, print};

/// Print the completion script of a shell.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// Which shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "lancegate", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}
