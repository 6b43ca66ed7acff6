//! The lock that lets one allocation at a time be between told and attested.
//!
//! Never needed: whoever can't get it acts without it in time. What stays true: it is given back as
//! soon as the proof or the alarm came.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::Teller;
use crate::{
    clock::Clock,
    model::{
        tell::{self, Outbox, TellPolicy},
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
    waiting: bool,
    without: bool,
}

impl<I, C: Clock> Teller<I, C> {
    /// May the action leave: there is no lock, it is ours, or it can't be waited for any longer?
    /// Otherwise it has waited for a while.
    pub(super) async fn take(&mut self, row: &Outbox, policy: &TellPolicy) -> bool {
        let tell = self.config.tell.as_ref();
        let Some(path) = tell.and_then(|tell| tell.lock.clone()) else {
            return true;
        };
        if self.turn.held.is_some() {
            return true;
        }
        let ttl = policy.attest_within.saturating_mul(2);
        let answer = self.world.application.acquire(&path, ttl).await;
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
        if !tell::may_wait(row, policy, self.now()) {
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

    /// Renews the lock when it is time; the moment until which may be waited.
    pub(super) async fn keep_turn(&mut self, at: Timestamp) -> Timestamp {
        let (Some(lock), Some(renewed)) = (&self.turn.held, self.turn.renewed_at) else {
            return at;
        };
        let now = self.now();
        let (due, third) = (renewed.plus(lock.ttl / 3), lock.ttl / 3);
        if due > now {
            return at.min(due);
        }
        match self.world.application.renew(lock).await {
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
            && let Err(failure) = self.world.application.release(lock).await
        {
            debug!("the lock was not given back, it lapses: {failure}");
        }
    }
}
