//! Stopping, so that nobody who was let in is turned away.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{App, AppError};

/// The signals that ask a server to stop.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one; answers its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

impl App {
    /// Serves until a signal comes, then stops; a second signal stops at once.
    pub async fn run_until(mut self, mut signals: Signals) -> Result<(), AppError> {
        let name = tokio::select! {
            name = signals.next() => name,
            ended = &mut self.grpc => {
                ended?;
                return Ok(());
            }
        };
        tracing::info!(signal = name, "stopping");
        tokio::select! {
            stopped = self.stop() => stopped,
            name = signals.next() => {
                tracing::warn!(signal = name, "stopping at once");
                Ok(())
            }
        }
    }

    /// Stops in order: not ready, a grace in which load balancers notice, GOAWAY
    /// and drain, then the end for what is still running.
    pub async fn stop(self) -> Result<(), AppError> {
        self.health.stop();
        let shutdown = self.live.load().shutdown;
        tokio::time::sleep(shutdown.grace).await;
        // Watch streams never end by themselves: they would hold up the drain.
        self.health.close();
        self.watchers.close();
        self.go_away.cancel();
        let drained = tokio::time::timeout(shutdown.drain, self.grpc).await;
        self.tasks.finish().await;
        self.audit.flush().await;
        match drained {
            Ok(ended) => {
                ended?;
                tracing::info!("stopped");
                Ok(())
            }
            Err(_) => Err(AppError::NotDrained(shutdown.drain)),
        }
    }
}
