//! The whole agent on a paused clock, with everything around it simulated and faults drawn from a seed.
//!
//! The loops, the model and the record are the real ones, on a real directory. Vault, the
//! application, the other agents and whoever damages files are simulated (`world.rs`). Never reads a
//! clock or a source of chance besides the seed. What stays true: the same schedule gives the same
//! trace; what a run is judged by is in `rules.rs` and nowhere else.

mod application;
mod disk;
mod driver;
mod faults;
mod rules;
mod schedule;
mod setup;
mod shrink;
mod tests;
mod vault;
mod world;
