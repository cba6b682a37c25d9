//! `access`.

use super::{error::CliError, print};
use crate::access::keys;

/// Make credentials for a server that asks who comes.
#[derive(Debug, clap::Args)]
pub(super) struct Access {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Key(Key),
}

/// Make an API key. It is printed once, with the entry for access.api_keys_file, which
/// has only its hash.
#[derive(Debug, clap::Args)]
struct Key {
    /// The name of its holder.
    name: String,
    /// A role of the holder, for bindings of role: principals; may be repeated.
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
}

impl Access {
    pub(super) fn run(self) -> Result<(), CliError> {
        let Command::Key(key) = self.command;
        if key.name.is_empty() || key.name.chars().any(char::is_control) {
            return Err(CliError::Usage("NAME must be a text of one line".into()));
        }
        let secret = keys::generate();
        let entry = keys::entry(&key.name, &key.role, &secret);
        print(&format!(
            "# The key, for its holder. It is shown nowhere again.\n{secret}\n\n\
             # The entry for access.api_keys_file.\n{entry}"
        ))
    }
}
