//! One store for the two loops of a certificate: the one that keeps it, the one that tells of it.
//!
//! Never held across a wait. What stays true: whoever has it sees memory and record agree.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Holdings;

/// The store of one certificate.
#[derive(Clone, Default)]
pub(in crate::agent) struct Shared(Arc<Mutex<Holdings>>);

/// A store that the loops may have dropped: whoever has it keeps no directory locked.
pub(in crate::agent) struct Distant(Weak<Mutex<Holdings>>);

impl Distant {
    /// The store, while there is one.
    pub(in crate::agent) fn reach(&self) -> Option<Shared> {
        self.0.upgrade().map(Shared)
    }
}

impl Shared {
    /// For others than the loops.
    pub(in crate::agent) fn distant(&self) -> Distant {
        Distant(Arc::downgrade(&self.0))
    }

    /// For a moment; the other loop waits meanwhile.
    pub(in crate::agent) fn lock(&self) -> MutexGuard<'_, Holdings> {
        // a loop that broke ends the process; until then its store is as good as it was
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
