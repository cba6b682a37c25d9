//! Stand-in until the merge.

pub mod status;
