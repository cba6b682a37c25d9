//! SIGHUP: read the configuration again.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access, operate::Reloader, service::stack::by_signal, telemetry::audit::AuditLog,
};

/// SIGHUPs, which do not end the process any more once this is there.
pub(super) struct Hangups(Signal);

impl Hangups {
    /// Listens from now on.
    pub(super) fn listen() -> std::io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Reloads at each, until `stop`. Those that come while one is being read are
    /// one more reload together.
    pub(super) async fn reload(
        mut self,
        reloader: Arc<Reloader>,
        access: Option<Arc<Access>>,
        audit: AuditLog,
        stop: CancellationToken,
    ) {
        loop {
            tokio::select! {
                Some(()) = self.0.recv() => {}
                () = stop.cancelled() => return,
                else => return,
            }
            // The files with keys are no part of the configuration.
            if let Some(access) = &access {
                access.look();
            }
            tokio::select! {
                // What is wrong with it is logged there.
                _ = by_signal(&audit, "SIGHUP", reloader.reload("SIGHUP", false)) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}
