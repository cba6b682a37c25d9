//! Clients that mean harm, over real sockets, beside some that do not: whatever they
//! do, the server stays, and no request of the others fails.

mod besieged;
mod bombs;
mod connections;
mod frames;
mod headers;
mod inputs;
mod probes;
mod resets;
mod slow;
mod stalled;
