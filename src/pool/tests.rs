//! Members, picks and walks, on a clock that jumps.

pub mod clock;
mod members;
mod picks;
mod walks;
