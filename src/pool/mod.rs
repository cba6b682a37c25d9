//! Members that answer reads: how each one is, which one is next, and the walk from
//! one to another when an attempt fails.
//!
//! A member is a name with numbers: nothing here knows what it stands for. The
//! router has its replicas as members, other users have theirs. There is no I/O, and
//! the time is passed in. Attempts report how they ended; [`Pool::judge`] compares
//! the members and ejects those that are worse than the others.

mod attempt;
mod budget;
mod clock;
mod course;
mod facts;
mod health;
mod latency;
mod member;
mod members;
mod outlier;
mod pick;
mod running;
mod standing;
#[cfg(test)]
pub(crate) mod tests;
mod walk;

pub use attempt::Attempt;
pub use budget::{Budget, Budgets};
pub use course::{Course, Verdict};
pub use member::Member;
pub use members::{Pick, Pool};
pub use pick::{Ask, Picked, fail_safe, pick};
pub use standing::{MemberFacts, Outcome, Rank, Seat, Standing, Why};
pub use walk::{Walked, walk};
