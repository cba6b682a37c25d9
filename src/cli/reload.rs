//! `reload`: make a server read its configuration again.

use super::{
    client::{self, Server},
    error::CliError,
    print,
};
use crate::proto::v1::{ConfigurationChange, ReloadConfigurationRequest};

/// Make a server read its configuration again, from the file, the variables and the
/// flags that it was started with. What changed is applied whole or, with the
/// reasons, not at all. SIGHUP does the same.
#[derive(Debug, clap::Args)]
pub(super) struct Reload {
    #[command(flatten)]
    server: Server,
    /// Only check and compare it.
    #[arg(long)]
    dry_run: bool,
}

impl Reload {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let mut client = client::cluster(self.server.connect().await?);
        let request = ReloadConfigurationRequest {
            validate_only: self.dry_run,
        };
        let answer = client.reload_configuration(request).await?.into_inner();
        match answer.changes.is_empty() {
            true => print("nothing has changed\n"),
            false => print(&answer.changes.iter().map(line).collect::<String>()),
        }
    }
}

fn line(change: &ConfigurationChange) -> String {
    let shown = |value: &Option<String>| match value {
        Some(value) => format!("\"{value}\""),
        None => "nothing".into(),
    };
    let (old, new) = (shown(&change.old_value), shown(&change.new_value));
    format!("{}: {old} -> {new}\n", change.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_line() {
        let change = ConfigurationChange {
            key: "freshness.tables.docs".into(),
            old_value: None,
            new_value: Some("strong".into()),
        };
        let expected = "freshness.tables.docs: nothing -> \"strong\"\n";
        assert_eq!(line(&change), expected);
    }
}
