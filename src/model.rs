//! Decides and never does: pure functions over facts, times and certificates.
//!
//! Nothing below here reads a clock, a file, the environment or the network, and nothing is
//! asynchronous; whoever needs the time passes `now`. `integration/layering.rs` enforces it.

pub mod failure;
pub mod request;
pub mod secret;
pub mod state;
pub mod time;
