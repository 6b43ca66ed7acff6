//! The loop that joins the stages: look at the facts, decide, do, record.
//!
//! Never decides by itself: `model/decide.rs` does. What stays true: a failure never removes what works.

mod status;
mod wall;

pub use status::{Budget, Counts, Live, Status};
