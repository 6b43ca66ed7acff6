//! certagent keeps one TLS certificate set per allocation fresh.
//!
//! ```text
//! Config -> Token -> Bundle -> Verified -> Published -> Reloaded -> Status
//! ```
//!
//! Each stage takes the type that the stage before made; nothing looks to its right. `model`
//! decides and never does, the adapters (`vault`, `auth`, `issue`, `publish`, `watch`) do and never
//! decide, `agent` joins them.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests make files as they need them; the build without tests is held to the list"
    )
)]

pub mod agent;
pub mod auth;
pub mod child;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod control;
pub mod disk;
pub mod doctor;
pub mod exit;
pub mod hardening;
mod http_client;
mod issuance;
pub mod issue;
pub mod issuer;
pub mod loki;
pub mod nomad;
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
