//! The router as a whole, without any storage.

mod simulation;
