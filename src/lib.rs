//! certagent keeps one TLS certificate set per allocation fresh.
//!
//! ```text
//! Config -> Token -> Bundle -> Verified -> Published -> Reloaded -> Status
//! ```
//!
//! Each stage takes the type that the stage before made; nothing looks to its right. `model`
//! decides and never does, the adapters (`vault`, `auth`, `issue`, `publish`, `watch`) do and never
//! decide, `agent` joins them.

pub mod clock;
pub mod config;
pub mod exit;
pub mod issuer;
pub mod model;
