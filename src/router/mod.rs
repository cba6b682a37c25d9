//! Routing: which connection answers, and the walk from the decision to the
//! connection. The decision is a pure function of the request and a view.

mod choose;
mod exact;
mod execute;
mod fresh;
mod keep;
mod leases;
mod missing;
mod reading;
mod session;
mod spills;
#[cfg(test)]
mod tests;
mod view;

pub use choose::{ConnectionView, Decision, ReadRequest, choose, primary_only};
pub use execute::{ReadOptions, Router};
