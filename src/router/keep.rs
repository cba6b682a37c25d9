//! The task that looks after the members of the pool: it compares them also while
//! no read ends, and lets in those whose probe was answered.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Router, view::follow_state};
use crate::telemetry::metrics;

/// How often. A member that hangs is to be found within two seconds.
const EVERY: Duration = Duration::from_millis(250);

impl Router {
    /// Looks after the members until `stop`.
    pub async fn keep_judging(self: Arc<Self>, stop: CancellationToken) {
        let mut probes = HashMap::new();
        loop {
            self.judge(&mut probes);
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn judge(&self, probes: &mut HashMap<Arc<str>, u64>) {
        let now = Instant::now();
        for (replica, member) in self.replicas().iter().zip(self.members()) {
            follow_state(member, replica.state(), now);
            let answered = replica.probes_answered();
            let before = probes.insert(Arc::clone(replica.name()), answered);
            if before != Some(answered) && answered > 0 {
                member.probed(now);
            }
        }
        self.pool().judge(now);
        for facts in self.pool().facts(now) {
            metrics::connection_share(&facts.name, facts.standing.percent());
        }
    }
}
