//! The loop under a paused clock with a fake issuer.

mod alert;
mod availability;
mod basics;
mod clocks;
mod disk;
mod holder;
mod issuance_limit;
mod lines;
mod origin;
mod outages;
pub(super) mod reload;
mod returns;
mod revocation;
pub(super) mod rig;
mod turns;
