//! Stand-in: the composition root is written elsewhere.

use crate::config::Config;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// There is no server yet.
    #[error("no server in this build")]
    Missing,
}

/// Runs the server until it is told to stop.
pub async fn run(_config: Config) -> Result<(), AppError> {
    Err(AppError::Missing)
}
