//! Wall time, as a trait with two working implementations: the system's, and one that follows
//! tokio's pausable clock.
//!
//! The only module that reads the system's wall clock. It never sleeps. What stays true: code that
//! takes a `&dyn Clock` can be run under a paused tokio clock without knowing it.

use std::time::SystemTime;

use crate::model::time::Timestamp;

/// Where the agent's loop gets the time of day from.
pub trait Clock: Send + Sync {
    /// The wall time at this moment.
    fn now(&self) -> Timestamp;

    /// True when it is the system's, so that the kernel can wake us by it.
    fn is_system(&self) -> bool {
        false
    }
}

/// The real wall clock: read anew on every call, so that steps and suspends are seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one reader of wall time")]
    fn now(&self) -> Timestamp {
        Timestamp::from(SystemTime::now())
    }

    fn is_system(&self) -> bool {
        true
    }
}
