//! The built binary against real servers.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends loudly, and drives processes, files and clocks itself"
)]

mod apps;
mod cases;
mod rig;
