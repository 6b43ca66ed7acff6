//! What the outside sees of the agent.
//!
//! Never changes what the agent does.

pub mod log;
pub mod notify;
