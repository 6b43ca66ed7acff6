//! The durable record of what was done so that the application uses the live generation.
//!
//! Never saves itself: whoever changes it saves the state before the next act. What stays true: an
//! attempt is counted before it leaves, so after a crash at any point a step reaches the
//! application at most twice; a generation is verified only by a proof.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Action, EventKind, Finding, Probed, ReloadFailure, ReloadPolicy};
use crate::time::Timestamp;

/// At most this often does a step reach the application (or may have).
pub(super) const MAX_DELIVERIES: u32 = 2;
/// The longest pause before an application that lost the certificate again is reloaded again.
const MAX_RELOAD_PAUSE: Duration = Duration::from_secs(3600);

/// One generation, and how far the application has come with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadRecord {
    /// The generation.
    pub about: Publication,
    /// When it became live, or when the application lost it again.
    pub published_at: Timestamp,
    /// When the certificate expires that the application serves until it is reloaded.
    pub old_expires_at: Option<Timestamp>,
    /// How often the application lost it again after it had been verified.
    pub round: u32,
    /// How far it has come.
    pub phase: Phase,
}

/// How far the application has come with a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// No attempt was made.
    Announced {
        /// None is made before this moment.
        hold_until: Option<Timestamp>,
    },
    /// Attempts are made.
    Trying {
        /// The newest one.
        attempt: Attempt,
    },
    /// The application serves it.
    Verified {
        /// When the proof came.
        at: Timestamp,
        /// The last attempt; absent when none was needed.
        attempt: Option<Attempt>,
    },
    /// Nothing is left to try: the alert stands. What failed is tried again at long intervals.
    Exhausted {
        /// When the alert was raised.
        at: Timestamp,
        /// The newest attempt; absent when the application was never seen to run.
        attempt: Option<Attempt>,
    },
}

/// The newest attempt of one step, and how those before it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Where in the escalation list.
    pub step: usize,
    /// When the first attempt of that step began.
    pub step_began_at: Timestamp,
    /// When the newest attempt began.
    pub began_at: Timestamp,
    /// Attempts of that step that reached the application, or may have.
    pub reached: u32,
    /// Failed attempts of that step.
    pub failures: u32,
    /// What the newest attempt came to.
    pub outcome: Outcome,
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Outcome {
    /// Not known: it is under way, or the process exited before the answer came.
    Unknown,
    /// It reached the application, or there was none to reach.
    Delivered,
    /// It failed.
    Failed(FailedAttempt),
}

/// Whether the application was reloaded for the published generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum ReloadState {
    /// No reload is configured, or none is needed.
    #[default]
    #[serde(rename = "n/a")]
    NotNeeded,
    /// The last reload succeeded.
    #[serde(rename = "ok")]
    Successful,
    /// None was tried yet, or it is under way.
    #[serde(rename = "pending")]
    Pending,
    /// The last reload failed.
    #[serde(rename = "failed")]
    Failed,
}

/// The generation before the live one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its id.
    pub generation: String,
    /// Serial of its leaf.
    pub serial: String,
    /// When its leaf expires.
    pub not_after: Timestamp,
    /// The application was seen serving it when the next one was published.
    pub served: bool,
}

/// Why an attempt failed; no secret in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// Short stable code, as `nomad-denied`.
    pub code: String,
    /// What was tried, where, why.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// Only a change of the configuration can make it work.
    pub lasting: bool,
    /// It may have reached the application all the same.
    pub reached: bool,
}

impl FailedAttempt {
    fn of(failure: &ReloadFailure, at: Timestamp) -> Self {
        Self {
            code: failure.code.to_owned(),
            message: failure.to_string(),
            at,
            lasting: failure.lasting,
            reached: failure.reached,
        }
    }
}

/// How an action succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It reached the application.
    Delivered,
    /// There is no application to reach: its next start reads the new files.
    NotRunning,
}

/// What a probe changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeVerdict {
    /// It proved for the first time (in this round) that the generation is served.
    Verified,
    /// The application served it and now doesn't: it is reloaded again.
    Lost,
    /// Nothing new.
    Unchanged,
}

/// What the application can have read at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// It ran before this generation was published.
    #[default]
    Before,
    /// There was no generation before: it has read this one, or will.
    AtFirst,
    /// The anchors have changed since the first generation, and it was not seen between: it has read either.
    AtFirstOrNow,
}

/// A generation that has become live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Its id.
    pub generation: String,
    /// Serial of its leaf: lower hex with colons.
    pub serial: String,
    /// SHA-256 of its leaf in hex; empty when unknown.
    pub sha256: String,
    /// What changed since the application was last known to be up to date.
    pub event: EventKind,
    /// When the application was started, as far as it is known.
    pub start: Start,
    /// The generation before it, while going back is possible.
    pub previous: Option<Previous>,
}

impl ReloadRecord {
    /// The record for a publication, to be saved together with the new live generation. What the
    /// application has not taken up of the generation before is carried over from `old`.
    #[must_use]
    pub fn new(mut about: Publication, old: Option<&Self>, now: Timestamp) -> Self {
        let unfinished = old.filter(|old| !old.is_verified());
        if let Some(old) = unfinished {
            if old.about.start != Start::Before && old.reached() == 0 {
                about.start = match about.event {
                    EventKind::Leaf => old.about.start,
                    EventKind::Trust => Start::AtFirstOrNow,
                };
            }
            about.event = about.event.max(old.about.event);
        }
        // What it serves now: the one before, or what it served when that one was not taken up.
        let before = about.previous.as_ref().map(|one| one.not_after);
        let stale = unfinished.and_then(|old| old.old_expires_at);
        Self {
            old_expires_at: before.into_iter().chain(stale).min(),
            ..Self::announced(about, now)
        }
    }

    pub(super) fn announced(about: Publication, now: Timestamp) -> Self {
        Self {
            about,
            published_at: now,
            old_expires_at: None,
            round: 0,
            phase: Phase::Announced { hold_until: None },
        }
    }

    /// Whether the application serves it, as far as is known.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        matches!(self.phase, Phase::Verified { .. })
    }

    /// Whether the application has loaded the anchors of this generation: no anchor changed since it was
    /// last up to date, or this one is done. Unknown where it is neither reloaded nor probed.
    #[must_use]
    pub fn trust_loaded(&self, policy: &ReloadPolicy) -> Option<bool> {
        let touched = policy.actions(EventKind::Trust).iter().any(Action::touches);
        (touched || policy.probed)
            .then(|| self.about.event == EventKind::Leaf || self.is_verified())
    }

    /// The newest attempt.
    #[must_use]
    pub fn attempt(&self) -> Option<&Attempt> {
        match &self.phase {
            Phase::Announced { .. } => None,
            Phase::Trying { attempt } => Some(attempt),
            Phase::Verified { attempt, .. } | Phase::Exhausted { attempt, .. } => attempt.as_ref(),
        }
    }

    /// The newest attempt of an action that touches the application.
    #[must_use]
    pub fn reload_attempt(&self, policy: &ReloadPolicy) -> Option<&Attempt> {
        let actions = policy.actions(self.about.event);
        self.attempt()
            .filter(|attempt| actions.get(attempt.step).is_some_and(Action::touches))
    }

    /// Whether the application was reloaded for this generation; a proof by a probe is not asked for.
    #[must_use]
    pub fn reload_state(&self, policy: &ReloadPolicy) -> ReloadState {
        let mut actions = policy.actions(self.about.event).iter();
        if !actions.any(Action::touches) {
            return ReloadState::NotNeeded;
        }
        match (&self.phase, self.reload_attempt(policy)) {
            (Phase::Verified { .. }, None) => ReloadState::NotNeeded,
            (_, None) => ReloadState::Pending,
            (_, Some(attempt)) => match attempt.outcome {
                Outcome::Unknown => ReloadState::Pending,
                Outcome::Delivered => ReloadState::Successful,
                Outcome::Failed(_) => ReloadState::Failed,
            },
        }
    }

    fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        match &mut self.phase {
            Phase::Announced { .. } => None,
            Phase::Trying { attempt } => Some(attempt),
            Phase::Verified { attempt, .. } | Phase::Exhausted { attempt, .. } => attempt.as_mut(),
        }
    }

    /// Attempts of the present step that reached the application, or may have.
    #[must_use]
    pub fn reached(&self) -> u32 {
        self.attempt().map_or(0, |attempt| attempt.reached)
    }

    /// From when on the application could have taken it up.
    pub(super) fn since(&self) -> Timestamp {
        self.attempt().map_or(self.published_at, |one| one.began_at)
    }

    /// The same publication, and the same round of reloads; a repair may have renamed it.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let round = |one: &Self| (one.published_at, one.round);
        self.about.serial == other.about.serial && round(self) == round(other)
    }

    /// An attempt of `step` is about to leave. Save before it does.
    pub fn begin(&mut self, step: usize, now: Timestamp) {
        let same = self.attempt().filter(|one| one.step == step);
        let attempt = Attempt {
            step,
            step_began_at: same.map_or(now, |one| one.step_began_at),
            began_at: now,
            reached: same.map_or(0, |one| one.reached).saturating_add(1),
            failures: same.map_or(0, |one| one.failures),
            outcome: Outcome::Unknown,
        };
        self.phase = match self.phase {
            Phase::Exhausted { at, .. } => Phase::Exhausted {
                at,
                attempt: Some(attempt),
            },
            _ => Phase::Trying { attempt },
        };
    }

    /// The attempt is over.
    pub fn answered(
        &mut self,
        result: Result<Delivery, ReloadFailure>,
        policy: &ReloadPolicy,
        now: Timestamp,
    ) {
        let Some(attempt) = self.attempt_mut() else {
            return;
        };
        match result {
            Ok(Delivery::Delivered | Delivery::NotRunning) => {
                attempt.outcome = Outcome::Delivered;
                if !policy.probed {
                    self.verify(now);
                }
            }
            Err(failure) => {
                attempt.failures = attempt.failures.saturating_add(1);
                if !failure.reached {
                    attempt.reached = attempt.reached.saturating_sub(1);
                }
                attempt.outcome = Outcome::Failed(FailedAttempt::of(&failure, now));
            }
        }
    }

    /// A leaf proves itself by being served. That new anchors were loaded shows only in the order of
    /// events; so does a new leaf where a restart is the first thing wanted for it, because the
    /// application's own clients do not read it anew (Loki before 3.2).
    pub(super) fn needs_reload(&self, policy: &ReloadPolicy) -> bool {
        let first = policy.actions(self.about.event).first();
        self.about.event == EventKind::Trust || matches!(first, Some(Action::NomadRestart { .. }))
    }

    /// A probe came back.
    pub fn saw(&mut self, probed: &Probed, policy: &ReloadPolicy, now: Timestamp) -> ProbeVerdict {
        let shown = probed.finding.shows(&self.about.serial, &self.about.sha256);
        match (&self.phase, &probed.finding) {
            _ if !policy.probed => ProbeVerdict::Unchanged,
            (Phase::Verified { .. }, Finding::Serves { .. } | Finding::Refused) if !shown => {
                self.start_again(policy, now);
                ProbeVerdict::Lost
            }
            (Phase::Verified { .. }, _) => ProbeVerdict::Unchanged,
            _ if shown && self.may_prove(probed.at, policy) => {
                self.verify(probed.at);
                ProbeVerdict::Verified
            }
            _ => ProbeVerdict::Unchanged,
        }
    }

    /// Whether its certificate, seen at `at`, proves that the application has loaded all of it.
    fn may_prove(&self, at: Timestamp, policy: &ReloadPolicy) -> bool {
        // An application that had not started at the first publication reads everything anew;
        // no attempt reached it, so it can only have read the files.
        if self.about.start == Start::AtFirst && self.reached() == 0 {
            return true;
        }
        if self.needs_reload(policy) {
            self.attempt()
                .is_some_and(|one| one.outcome == Outcome::Delivered && at >= one.began_at)
        } else {
            at >= self.published_at
        }
    }

    /// The list was used up; the alert was raised.
    pub fn alerted(&mut self, now: Timestamp) {
        self.phase = Phase::Exhausted {
            at: now,
            attempt: self.attempt().cloned(),
        };
    }

    /// The generation before can't be gone back to any more.
    pub fn forget_previous(&mut self) {
        self.about.previous = None;
    }

    /// Pulls recorded times that lie ahead back to `now`: after the clock was set back, deadlines
    /// count anew instead of staying away for hours. Call it before each decision.
    pub fn clamp_times(&mut self, now: Timestamp) {
        self.published_at = self.published_at.min(now);
        match &mut self.phase {
            Phase::Announced {
                hold_until: Some(until),
            } if *until > now.plus(MAX_RELOAD_PAUSE) => *until = now,
            Phase::Announced { .. } | Phase::Trying { .. } => {}
            Phase::Verified { at, .. } | Phase::Exhausted { at, .. } => *at = (*at).min(now),
        }
        if let Some(attempt) = self.attempt_mut() {
            attempt.step_began_at = attempt.step_began_at.min(now);
            attempt.began_at = attempt.began_at.min(now);
            if let Outcome::Failed(failed) = &mut attempt.outcome {
                failed.at = failed.at.min(now);
            }
        }
    }

    fn verify(&mut self, at: Timestamp) {
        self.phase = Phase::Verified {
            at,
            attempt: self.attempt().cloned(),
        };
        self.about.start = Start::Before;
    }

    /// The first time at once; an application that flaps, ever more slowly.
    fn start_again(&mut self, policy: &ReloadPolicy, now: Timestamp) {
        let pause = match self.round {
            0 => Duration::ZERO,
            round => policy
                .verify_timeout
                .saturating_mul(1 << (round - 1).min(10))
                .min(MAX_RELOAD_PAUSE),
        };
        self.round = self.round.saturating_add(1);
        self.published_at = now;
        // It served this generation well; the one before is no better.
        self.forget_previous();
        self.phase = Phase::Announced {
            hold_until: Some(now.plus(pause)),
        };
    }
}
