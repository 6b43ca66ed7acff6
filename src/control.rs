//! What may wake a loop before its time: an operator's wish, a changed directory.
//!
//! Never carries data besides flags: whoever is woken looks at the facts again. What stays true: a
//! note made while no loop waits is not lost.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

/// What a person wants of a manual renewal besides a new certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// A new key, whatever `reuse_key` says.
    pub new_key: bool,
    /// The old certificate is revoked once the new one is published.
    pub revoke_old: bool,
}

impl Wish {
    /// Both at once.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            new_key: self.new_key || other.new_key,
            revoke_old: self.revoke_old || other.revoke_old,
        }
    }
}

/// The inputs of one certificate's loops.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    wake: Notify,
    forced: Mutex<Option<Wish>>,
    disturbed: AtomicBool,
    published: Notify,
}

impl Inputs {
    /// Renew now, although it is not due.
    pub(crate) fn force(&self, wish: Wish) {
        let mut forced = self.forced.lock().unwrap_or_else(PoisonError::into_inner);
        *forced = Some(forced.unwrap_or_default().and(wish));
        drop(forced);
        self.wake.notify_one();
    }

    /// Something in the directory was changed.
    pub(crate) fn disturb(&self) {
        self.disturbed.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Look again, for no reason that has to be remembered.
    pub(crate) fn nudge(&self) {
        self.wake.notify_one();
    }

    /// Another publication than before.
    pub(crate) fn publish(&self) {
        self.published.notify_one();
    }

    /// Returns when another publication was made, at once when it did since the last call.
    pub(crate) async fn published(&self) {
        self.published.notified().await;
    }

    /// Whether a renewal was asked for since the last time this was asked.
    pub(crate) fn take_forced(&self) -> Option<Wish> {
        let mut forced = self.forced.lock().unwrap_or_else(PoisonError::into_inner);
        forced.take()
    }

    /// Whether the directory was changed since the last time this was asked.
    pub(crate) fn take_disturbed(&self) -> bool {
        self.disturbed.swap(false, Ordering::SeqCst)
    }

    /// Returns at the next note, at once when there was one since the last call.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// Asks for renewals although they are not due; may be cloned and used from anywhere.
#[derive(Clone)]
pub struct Force(Arc<[(String, Arc<Inputs>)]>);

impl Force {
    /// Renews every certificate now, as far as the budget goes.
    pub fn all(&self) {
        let plain = Wish::default();
        self.0.iter().for_each(|(_, inputs)| inputs.force(plain));
    }

    /// Names of all certificates, in the order of the configuration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Renews the certificate of that name now; false when there is none.
    #[must_use]
    pub fn one(&self, name: &str, wish: Wish) -> bool {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.inspect(|(_, inputs)| inputs.force(wish)).is_some()
    }
}

impl FromIterator<(String, Arc<Inputs>)> for Force {
    fn from_iter<T: IntoIterator<Item = (String, Arc<Inputs>)>>(inputs: T) -> Self {
        Self(inputs.into_iter().collect())
    }
}
