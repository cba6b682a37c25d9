//! A router in front of other lancegate nodes: every call goes through it, whatever
//! becomes of one of them.

mod contract;
mod doubt;
mod faults;
mod fleet;
mod loops;
