//! The lock that lets one allocation at a time be between told and attested.
//!
//! Never needed: whoever can't get it acts without it in time. What stays true: it is given back
//! after the alarm, or after the proof once the application's peers had time to find it again.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::Reloader;
use crate::{
    clock::Clock,
    model::{
        reload::{self, ReloadPolicy, ReloadRecord},
        time::Timestamp,
    },
    nomad::{Lock, Taken},
};

/// How often to ask for a lock that somebody holds.
const ASK: Duration = Duration::from_secs(10);

/// What we have of the lock.
#[derive(Debug, Default)]
pub(super) struct Turn {
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
    pub(super) async fn take(&mut self, row: &ReloadRecord, policy: &ReloadPolicy) -> bool {
        let tell = self.config.tell.as_ref();
        let Some(path) = tell.and_then(|tell| tell.lock.clone()) else {
            return true;
        };
        if self.turn.held.is_some() {
            self.turn.until = None;
            return true;
        }
        let ttl = policy.attest_within.saturating_mul(2);
        let answer = self.context.application.acquire(&path, ttl).await;
        let why = match answer {
            Ok(Taken::Mine(lock)) => {
                self.turn = Turn {
                    held: Some(lock),
                    renewed_at: Some(self.now()),
                    ..Turn::default()
                };
                return true;
            }
            Ok(Taken::Held) => "another allocation holds it".to_owned(),
            Err(failure) if failure.lasting => {
                if !self.turn.without {
                    warn!("acting without the lock {path}: {failure}");
                }
                self.turn.without = true;
                return true;
            }
            Err(failure) => failure.to_string(),
        };
        if !reload::may_wait(row, policy, self.now()) {
            warn!("acting without the lock {path}, because time is running out: {why}");
            return true;
        }
        if !self.turn.waiting {
            self.turn.waiting = true;
            info!("waiting for the lock {path}: {why}");
        }
        self.pause(ASK).await;
        false
    }

    /// The proof came: the lock is given back after the time to settle. True while it is kept.
    pub(super) async fn settle(&mut self) -> bool {
        let span = self
            .config
            .tell
            .as_ref()
            .map_or(Duration::ZERO, |tell| tell.settle);
        let until = self.now().plus(span);
        self.turn.until.get_or_insert(until);
        self.settling().await
    }

    /// True while the lock is kept; gives it back when the time has passed.
    async fn settling(&mut self) -> bool {
        let now = self.now();
        if self.turn.until.is_some_and(|until| until <= now) {
            self.give_back().await;
        }
        self.turn.held.is_some()
    }

    /// Renews the lock when it is time, or gives it back; the moment until which may be waited.
    pub(super) async fn keep_turn(&mut self, at: Timestamp) -> Timestamp {
        if !self.settling().await {
            return at;
        }
        let at = at.min(self.turn.until.unwrap_or(at));
        let (Some(lock), Some(renewed)) = (&self.turn.held, self.turn.renewed_at) else {
            return at;
        };
        let now = self.now();
        let third = lock.ttl / 3;
        let due = renewed.plus(third);
        if due > now {
            return at.min(due);
        }
        match self.context.application.renew(lock).await {
            Ok(true) => {}
            Ok(false) => {
                // somebody else may have it now: the next action asks for it anew
                debug!("the lock has lapsed");
                self.turn.held = None;
                return at;
            }
            Err(failure) => debug!("the lock was not renewed: {failure}"),
        }
        self.turn.renewed_at = Some(now);
        at.min(now.plus(third))
    }

    /// Lets the others go on.
    pub(super) async fn give_back(&mut self) {
        let turn = std::mem::take(&mut self.turn);
        self.turn.without = turn.without;
        if let Some(lock) = turn.held
            && let Err(failure) = self.context.application.release(lock).await
        {
            debug!("the lock was not given back, it lapses: {failure}");
        }
    }
}
