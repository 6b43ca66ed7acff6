//! Decides and never does: pure functions over facts, times and certificates.
//!
//! Nothing here reads a clock, a file, the environment or the network, and nothing is
//! asynchronous; whoever needs the time passes `now`. The manifest and `clippy.toml` enforce it.
#![forbid(unsafe_code)]

// Numbers from outside end up here, and an overflow ends the process.
#[deny(clippy::arithmetic_side_effects)]
pub mod answer;
pub mod bundle;
pub mod cover;
pub mod decide;
pub mod duration;
pub mod failure;
pub mod fleet;
pub mod foreign;
pub mod health;
pub mod issuance_limit;
pub mod leaf;
pub mod origin;
pub mod pem;
pub mod reload;
pub mod repeats;
pub mod request;
pub mod retry;
pub mod role;
pub mod schedule;
pub mod secret;
pub mod served;
pub mod stagger;
// Numbers from outside end up here, and an overflow ends the process.
#[deny(clippy::arithmetic_side_effects)]
pub mod record;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
// Numbers from outside end up here, and an overflow ends the process.
#[deny(clippy::arithmetic_side_effects)]
pub mod time;
pub mod trust;
pub mod verify;
