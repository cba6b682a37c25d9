//! `rebuild`: replace a replica's copies by the primary's.

use super::{
    client::{self, Server},
    error::CliError,
    print,
};
use crate::proto::v1::RebuildReplicaRequest;

/// Replace a replica's copy of one table, or of all, by the primary's: for a copy
/// that diverged. Waits until it is done.
#[derive(Debug, clap::Args)]
pub(super) struct Rebuild {
    #[command(flatten)]
    server: Server,
    /// Name of the replica, as `lancegate status` shows it.
    #[arg(long, value_name = "NAME")]
    replica: String,
    /// Name of the table. Without it: all tables.
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
}

impl Rebuild {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let mut client = client::cluster(self.server.connect().await?);
        let request = RebuildReplicaRequest {
            replica: self.replica,
            table: self.table.unwrap_or_default(),
        };
        let answer = client.rebuild_replica(request).await?.into_inner();
        let lines = answer.tables.iter();
        let lines = lines.map(|t| format!("{} rebuilt at version {}\n", t.table, t.version));
        print(&lines.collect::<String>())
    }
}
