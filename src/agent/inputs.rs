//! What may wake a loop before its time: an operator's wish, a changed directory.
//!
//! Never carries data besides flags: whoever is woken looks at the facts again. What stays true: a
//! note made while nobody waits is not lost.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// The inputs of one certificate's loops.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    wake: Notify,
    forced: AtomicBool,
    disturbed: AtomicBool,
    published: Notify,
}

impl Inputs {
    /// Renew now, although it is not due.
    pub(super) fn force(&self) {
        self.forced.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Somebody changed something in the directory.
    pub(super) fn disturb(&self) {
        self.disturbed.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Look again, for no reason that has to be remembered.
    pub(super) fn nudge(&self) {
        self.wake.notify_one();
    }

    /// The live set is another one than before.
    pub(super) fn publish(&self) {
        self.published.notify_one();
    }

    /// Returns when the live set has changed, at once when it did since the last call.
    pub(super) async fn published(&self) {
        self.published.notified().await;
    }

    /// Whether a renewal was asked for since the last time this was asked.
    pub(super) fn take_forced(&self) -> bool {
        self.forced.swap(false, Ordering::SeqCst)
    }

    /// Whether the directory was changed since the last time this was asked.
    pub(super) fn take_disturbed(&self) -> bool {
        self.disturbed.swap(false, Ordering::SeqCst)
    }

    /// Returns at the next note, at once when there was one since the last call.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}
