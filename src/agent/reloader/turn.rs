//! The lock that lets one allocation at a time be between reload and proof.
//!
//! Never needed: whoever can't get it acts without it in time. What stays true: it is given back
//! after the alert, or after the proof once the application's peers had time to find it again.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::Reloader;
use crate::{
    clock::Clock,
    model::{
        reload::{self, ReloadPolicy, ReloadRecord},
        time::Timestamp,
    },
    reload::nomad::{Lock, Taken},
};

/// How often to ask for a lock that another allocation holds.
const LOCK_RETRY: Duration = Duration::from_secs(10);

/// What we have of the lock.
#[derive(Debug, Default)]
pub(super) struct LockLease {
    held: Option<Lock>,
    renewed_at: Option<Timestamp>,
    /// The proof came: it is given back then.
    until: Option<Timestamp>,
    waiting: bool,
    without: bool,
}

impl<I, C: Clock> Reloader<I, C> {
    /// May the action leave: there is no lock, it is ours, or it can't be waited for any longer?
    /// Otherwise it has waited for a while.
    pub(super) async fn take(&mut self, record: &ReloadRecord, policy: &ReloadPolicy) -> bool {
        let reload = self.config.reload.as_ref();
        let Some(path) = reload.and_then(|reload| reload.lock.clone()) else {
            return true;
        };
        if self.lease.held.is_some() {
            self.lease.until = None;
            return true;
        }
        let ttl = policy.verify_timeout.saturating_mul(2);
        let answer = self.context.application.acquire(&path, ttl).await;
        let why = match answer {
            Ok(Taken::Mine(lock)) => {
                self.lease = LockLease {
                    held: Some(lock),
                    renewed_at: Some(self.now()),
                    ..LockLease::default()
                };
                return true;
            }
            Ok(Taken::Held) => "another allocation holds it".to_owned(),
            Err(failure) if failure.lasting => {
                if !self.lease.without {
                    warn!("acting without the lock {path}: {failure}");
                }
                self.lease.without = true;
                return true;
            }
            Err(failure) => failure.to_string(),
        };
        if !reload::may_wait(record, policy, self.now()) {
            warn!("acting without the lock {path}, because time is running out: {why}");
            return true;
        }
        if !self.lease.waiting {
            self.lease.waiting = true;
            info!("waiting for the lock {path}: {why}");
        }
        self.pause(LOCK_RETRY).await;
        false
    }

    /// The proof came: the lock is given back after the time to settle. True while it is kept.
    pub(super) async fn hold_lock(&mut self) -> bool {
        let span = self
            .config
            .reload
            .as_ref()
            .map_or(Duration::ZERO, |reload| reload.min_healthy_time);
        let until = self.now().plus(span);
        self.lease.until.get_or_insert(until);
        self.settling().await
    }

    /// True while the lock is kept; gives it back when the time has passed.
    async fn settling(&mut self) -> bool {
        let now = self.now();
        if self.lease.until.is_some_and(|until| until <= now) {
            self.give_back().await;
        }
        self.lease.held.is_some()
    }

    /// Renews the lock when it is time, or gives it back; the moment until which may be waited.
    pub(super) async fn keep_lease(&mut self, at: Option<Timestamp>) -> Option<Timestamp> {
        if !self.settling().await {
            return at;
        }
        let earliest = |moment: Option<Timestamp>| at.into_iter().chain(moment).min();
        let (Some(lock), Some(renewed)) = (&self.lease.held, self.lease.renewed_at) else {
            return earliest(self.lease.until);
        };
        let now = self.now();
        let third = lock.ttl / 3;
        let mut due = renewed.plus(third);
        if due <= now {
            match self.context.application.renew(lock).await {
                Ok(true) => {}
                Ok(false) => {
                    // another allocation may have it now: the next action asks for it anew
                    debug!("the lock has lapsed");
                    self.lease.held = None;
                    return earliest(self.lease.until);
                }
                Err(failure) => debug!("the lock was not renewed: {failure}"),
            }
            self.lease.renewed_at = Some(now);
            due = now.plus(third);
        }
        earliest(self.lease.until.into_iter().chain([due]).min())
    }

    /// Lets the others continue.
    pub(super) async fn give_back(&mut self) {
        let lease = std::mem::take(&mut self.lease);
        self.lease.without = lease.without;
        if let Some(lock) = lease.held
            && let Err(failure) = self.context.application.release(lock).await
        {
            debug!("the lock was not released, it expires: {failure}");
        }
    }
}
