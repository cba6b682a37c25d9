//! What an operator may order of a running server. Each order is carried out here
//! and is the same whether it came by rpc or by a signal.

mod members;
mod probe;
mod reload;
mod watchers;

pub use members::{drain, eject, heed, member, set_weight, undrain};
pub use probe::{Probe, probe};
pub use reload::{Heed, Origin, Reloader};
pub use watchers::{Watcher, Watchers};
