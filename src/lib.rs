//! certagent keeps one TLS certificate set per allocation fresh.
//!
//! ```text
//! Config -> IssuanceRequest -> Reply -> Bundle -> Verified -> (staged) -> Published
//!   -> ReloadRecord -> Served -> Status
//! ```
//!
//! Each stage takes the type that the stage before made. `model` decides and never does, the
//! adapters (`vault`, `csr`, `publish`, `reload`, `probe`, `watch`) do and never decide, `agent`
//! joins them. A module uses only what stands lower in the one list of
//! `integration/cases/repo/rooms.rs`.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests make files as they need them; the build without tests is held to the list"
    )
)]

pub mod agent;
pub mod child;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod control;
pub mod csr;
pub mod disk;
pub mod doctor;
pub mod exit;
pub mod fleet;
pub mod hardening;
mod http_client;
mod issuance;
pub mod issuer;
pub mod observe;
pub mod probe;
pub mod publish;
pub mod reload;
pub mod status;
pub mod terminal;
pub mod vault;
pub mod watch;

pub use certagent_model as model;

#[cfg(test)]
mod testing;
