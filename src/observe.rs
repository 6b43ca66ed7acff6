//! What the outside sees of the agent.
//!
//! Never changes what the agent does, except that an operator may ask for a renewal. What stays
//! true: nothing listens unless it is configured or Nomad says where; all servers read one value.

pub mod http;
pub(crate) mod limited;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod page;
pub mod readiness;
pub mod report;
pub mod socket;
pub mod view;
