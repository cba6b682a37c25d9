//! Why a server does not start, or stops.

use std::net::SocketAddr;

use crate::{
    disk_cache::OpenError,
    telemetry::{audit::AuditError, logs, metrics},
    transport::TlsError,
};

/// What can keep a server from starting or running.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// An address cannot be listened on.
    #[error("{setting} = {address}: cannot listen there: {source}")]
    Listen {
        setting: &'static str,
        address: SocketAddr,
        source: std::io::Error,
    },
    /// The log.
    #[error("logging: {0}")]
    Logs(#[from] logs::LogError),
    /// The metrics recorder.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics::MetricsError),
    /// Who may do what.
    #[error("{0}")]
    Access(#[from] crate::access::AccessError),
    /// The reflection service.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Certificates and keys.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// A signal handler.
    #[error("signals: {0}")]
    Signals(std::io::Error),
    /// A task of the server ended that should not have.
    #[error("a part of the server stopped: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// Requests were still running when the time to drain was over.
    #[error("stopped with requests still running after {0:?}")]
    NotDrained(std::time::Duration),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The cache on the local disk.
    #[error("cache.disk_folder: {0}")]
    DiskCache(#[from] OpenError),
    /// There is nothing to copy to, or to compare with.
    #[error("the configuration has no replicas for this")]
    NoReplicas,
    /// A replica that is not configured was named.
    #[error("there is no replica '{0}' in the configuration")]
    UnknownReplica(String),
    /// The primary is another node: whoever has its location copies and compares.
    #[error("the primary is another node: run this where its location is configured")]
    RemotePrimary,
    /// The contract that was compiled in cannot be read.
    #[error("the contract: {0}")]
    Contract(#[from] prost::DecodeError),
    /// What could not be copied, a line each.
    #[error("{0}")]
    NotReplicated(String),
    /// The primary cannot be opened.
    #[error("{0}")]
    Location(#[from] crate::domain::Error),
    /// Nothing could be compared.
    #[error("{0}")]
    Verify(#[from] crate::replication::verify::VerifyError),
}
