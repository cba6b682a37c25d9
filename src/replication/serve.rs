//! Letting reads see what is on a replica without copying: after a start, and
//! while another process is the one that copies.

use std::{sync::Arc, time::Duration};

use super::{
    ReplicationError, marker,
    replica::Replica,
    withheld::{Reason, withheld},
};
use crate::{
    connection::{Whole, follow},
    domain::Error,
    storage::Store,
};

impl Replica {
    /// Serves what was published: it is whole, also while the primary is down.
    pub(super) async fn serve_what_is_there(
        &mut self,
        target: &Store,
        warm: Duration,
    ) -> Result<(), ReplicationError> {
        let withheld = withheld(target.objects()).await?;
        let found = Whole {
            connection: Arc::clone(&self.connection),
            warm,
            withheld: withheld.keys().cloned().collect(),
        };
        for (table, error) in follow(&found).await? {
            tracing::warn!(connection = %self.connection.name(), %table, %error, "table not opened");
        }
        for memory in self.memory.values_mut() {
            memory.withheld = None;
        }
        for (table, reason) in withheld {
            self.memory.entry(table).or_default().withheld = Some(reason);
        }
        Ok(())
    }

    /// A round while another process copies: what it published is served.
    pub(super) async fn follow_round(&mut self) -> Result<(), ReplicationError> {
        let target = self.connection.store()?;
        if !marker::is_copy_of(self.primary.connection(), &target).await? {
            self.serve_nothing();
            return Ok(());
        }
        self.serve_what_is_there(&target, self.options.warm_timeout)
            .await?;
        self.connection.keep_table_errors(|_| false);
        for (table, memory) in &self.memory {
            let text = match memory.withheld {
                Some(Reason::Diverged) => "its copy diverged, and is served no more",
                Some(Reason::Rebuilding) => "its copy is being replaced",
                None => continue,
            };
            self.connection.set_table_error(table, Some(text.into()));
        }
        self.count_diverged();
        for waiter in self.connection.orders().take().into_values().flatten() {
            let error = Error::Precondition {
                reason: "ANOTHER_PROCESS_COPIES",
                message: "another process has the lease and copies: ask that one".into(),
            };
            // Nobody may be waiting any more.
            let _ = waiter.send(Err(error));
        }
        Ok(())
    }
}
