//! What unit tests share: an in-memory CA, a fake issuer and a fake application with faults, a clock that tokio can pause.
//!
//! Never compiled into the binary.

pub(crate) mod application;
pub(crate) mod clock;
pub(crate) mod fake_http;
pub(crate) mod issuer;
pub(crate) mod lock;
pub(crate) mod log;
pub(crate) mod planted;

pub(crate) use certagent_model::testing::ca;
