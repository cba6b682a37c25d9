//! Other lancegate nodes: how they are found, reached and watched. Nothing here
//! knows what is asked of them; [`crate::gateway`] sends them the requests.

mod channels;
mod discovery;
mod found;
mod nodes;
mod probe;
mod remote;

pub use channels::{OnChannel, SendError};
pub use nodes::{Nodes, Within};
pub use remote::{Answer, Client, Node, NodeStatus};

/// Metadata of requests: the processes that a request has passed through, so that
/// it never passes through one twice.
pub const VIA: &str = "x-lancegate-via";

/// Metadata of requests: this one only shows whether it is answered as another one
/// was, and is not run a second time itself.
pub const SHADOW: &str = "x-lancegate-shadow";
