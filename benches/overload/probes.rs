//! What an orchestrator sees meanwhile: the server's health and its memory.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, interval};
use tokio_util::task::AbortOnDropHandle;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{Result, machine, server::Server};

/// Between two health checks.
const CHECK: Duration = Duration::from_millis(100);

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_secs(1);

/// A check that takes longer has failed: what Kubernetes allows by default.
const PATIENCE: Duration = Duration::from_secs(1);

/// What was seen in a while.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub answered: usize,
    pub failed: usize,
    pub slowest: Duration,
    /// Resident bytes, one look after the other.
    pub memory: Vec<u64>,
}

/// Looks until it is dropped.
pub struct Probes {
    seen: Arc<Mutex<Seen>>,
    _health: AbortOnDropHandle<()>,
    _memory: AbortOnDropHandle<()>,
}

impl Probes {
    pub async fn start(server: &Server) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut client = HealthClient::new(server.channel().await?);
        let (checked, looked) = (Arc::clone(&seen), Arc::clone(&seen));
        let health = tokio::spawn(async move {
            let mut tick = interval(CHECK);
            loop {
                tick.tick().await;
                let began = Instant::now();
                let check = client.check(HealthCheckRequest::default());
                let answer = tokio::time::timeout(PATIENCE, check).await;
                let serving = matches!(
                    answer,
                    Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving
                );
                let mut seen = lock(&checked);
                seen.slowest = seen.slowest.max(began.elapsed());
                match serving {
                    true => seen.answered += 1,
                    false => seen.failed += 1,
                }
            }
        });
        let process = server.process();
        let memory = tokio::spawn(async move {
            let mut tick = interval(LOOK);
            loop {
                tick.tick().await;
                // It may be stopping.
                if let Ok(memory) = machine::memory(process) {
                    lock(&looked).memory.push(memory.resident);
                }
            }
        });
        Ok(Self {
            seen,
            _health: AbortOnDropHandle::new(health),
            _memory: AbortOnDropHandle::new(memory),
        })
    }

    /// What was seen since the last time.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut lock(&self.seen))
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
