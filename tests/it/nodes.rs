//! A router in front of other lancegate nodes: every call goes through it, whatever
//! becomes of one of them.

mod choices;
mod contract;
mod doubt;
mod faults;
pub mod fleet;
mod gone;
mod labels;
mod loops;
mod orders;
mod probes;
mod shadow;
mod wire;

pub use fleet::up;
