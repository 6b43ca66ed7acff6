//! The built binary against real servers.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends loudly, and drives processes, files and clocks itself"
)]

mod agent;
mod apps;
mod attest;
mod cli;
mod configs;
mod conformance;
mod dev;
mod doctor;
mod exec;
mod hostile;
mod layering;
mod observe;
mod openbao;
mod probe;
mod programs;
mod publish;
mod returns;
mod rig;
mod secrets;
mod systemd;
mod tell;
