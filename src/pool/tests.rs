//! Members, picks and walks, on a paused clock.

mod members;
mod picks;
mod walks;
