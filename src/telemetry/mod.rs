//! What an operator sees: metrics, logs, traces, and the HTTP port that shows
//! the first of them next to the probes. A leaf: nothing here knows the rest.

pub mod audit;
pub mod http;
mod json;
pub mod logs;
pub mod metrics;
pub mod traces;
