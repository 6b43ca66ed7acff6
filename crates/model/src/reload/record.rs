//! The durable record of what the application was told about the live generation.
//!
//! Never saves itself: whoever changes it saves the state before the next act. What stays true:
//! `told` is counted before an action leaves, so after a crash at any point a step reaches the
//! application at most twice; it is attested only by a proof.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Action, EventKind, Finding, Probed, ReloadPolicy};
use crate::time::Timestamp;

/// At most this often does a step reach the application (or may have).
pub(super) const MOST_TOLD: u32 = 2;
/// The longest pause before an application that lost the certificate again is told again.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What the application was told about one generation. Times are milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadRecord {
    /// Id of the generation.
    pub generation: String,
    /// Serial of its leaf: lower hex with colons.
    pub serial: String,
    /// SHA-256 of its leaf in hex; empty when unknown.
    pub sha256: String,
    /// What changed since the application was last known to be up to date.
    pub event: EventKind,
    /// When it became live.
    pub published_at: i64,
    /// There was no generation before it: the application may not have started yet.
    pub first: bool,
    /// When the certificate ends that the application serves until it is told.
    pub old_ends_at: Option<i64>,
    /// The generation before it, while going back is possible.
    pub previous: Option<Previous>,
    /// How often the application lost it again after it had been attested.
    pub round: u32,
    /// Nothing is done before this moment.
    pub hold_until: Option<i64>,
    /// Where in the escalation list it is.
    pub step: usize,
    /// When the first attempt of that step began.
    pub step_at: Option<i64>,
    /// When the newest attempt began.
    pub told_at: Option<i64>,
    /// Attempts of that step that reached the application, or may have.
    pub told: u32,
    /// The newest attempt succeeded.
    pub delivered: bool,
    /// Failed attempts of that step.
    pub tries: u32,
    /// Why the newest attempt failed.
    pub failed: Option<Failed>,
    /// When the proof came.
    pub attested_at: Option<i64>,
    /// When the list was used up in vain.
    pub alarm_at: Option<i64>,
}

/// The generation before the live one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Previous {
    /// Its id.
    pub generation: String,
    /// Serial of its leaf.
    pub serial: String,
    /// End of its leaf.
    pub not_after: i64,
    /// The application was seen serving it when the next one was published.
    pub served: bool,
}

/// A failed attempt to tell; no secret in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failed {
    /// Short stable code, as `nomad-denied`.
    pub code: String,
    /// What was tried, where, why.
    pub message: String,
    /// When.
    pub at: i64,
    /// Only a change by somebody can make it work.
    pub lasting: bool,
    /// It may have reached the application all the same.
    pub reached: bool,
}

/// How an action ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It reached the application.
    Delivered,
    /// There is no application to tell: its next start reads the new files.
    NotRunning,
}

/// What a probe changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It proved for the first time (in this round) that the generation is served.
    Attested,
    /// The application served it and now doesn't: it is told again.
    Lost,
    /// Nothing new.
    Unchanged,
}

/// A generation that has just become live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// Its id.
    pub generation: String,
    /// Serial of its leaf.
    pub serial: String,
    /// SHA-256 of its leaf in hex.
    pub sha256: String,
    /// What differs from the generation before.
    pub event: EventKind,
    /// There was none before.
    pub first: bool,
    /// The generation before, while it is on disk.
    pub previous: Option<Previous>,
}

impl ReloadRecord {
    /// The row for a publication, to be saved together with the new live generation. What the
    /// application was not yet told of the generation before is carried over from `old`.
    #[must_use]
    pub fn new(publication: Publication, old: Option<&Self>, now: Timestamp) -> Self {
        let unfinished = old.filter(|old| old.attested_at.is_none());
        let event = unfinished.map_or(publication.event, |old| old.event.max(publication.event));
        let previous = publication.previous;
        // What it serves now: the one before, or what it served when that one was not taken up.
        let before = previous.as_ref().map(|one| one.not_after);
        let stale = unfinished.and_then(|old| old.old_ends_at);
        Self {
            generation: publication.generation,
            serial: publication.serial,
            sha256: publication.sha256,
            event,
            published_at: now.unix_millis(),
            first: publication.first || unfinished.is_some_and(|old| old.first && old.told == 0),
            old_ends_at: before.into_iter().chain(stale).min(),
            previous,
            ..Self::default()
        }
    }

    /// An attempt of `step` is about to leave. Save before it does.
    pub fn begin(&mut self, step: usize, now: Timestamp) {
        if step != self.step || self.step_at.is_none() {
            self.step = step;
            self.step_at = Some(now.unix_millis());
            self.told = 0;
            self.tries = 0;
        }
        self.told = self.told.saturating_add(1);
        self.told_at = Some(now.unix_millis());
        self.delivered = false;
        self.failed = None;
    }

    /// The attempt ended; `failed.at` is set to `now`.
    pub fn answered(
        &mut self,
        result: Result<Delivery, Failed>,
        policy: &ReloadPolicy,
        now: Timestamp,
    ) {
        match result {
            Ok(Delivery::Delivered | Delivery::NotRunning) => {
                self.delivered = true;
                self.failed = None;
                if !policy.probed {
                    self.prove(now);
                }
            }
            Err(failed) => {
                self.tries = self.tries.saturating_add(1);
                if !failed.reached {
                    self.told = self.told.saturating_sub(1);
                }
                self.failed = Some(Failed {
                    at: now.unix_millis(),
                    ..failed
                });
            }
        }
    }

    /// A leaf proves itself by being served. That new anchors were loaded shows only in the order of
    /// events; so does a new leaf where a restart is the first thing wanted for it, because the
    /// application's own clients do not read it anew (Loki before 3.2).
    pub(super) fn needs_word(&self, policy: &ReloadPolicy) -> bool {
        let first = policy.actions(self.event).first();
        self.event == EventKind::Trust || matches!(first, Some(Action::NomadRestart { .. }))
    }

    /// A probe came back.
    pub fn saw(&mut self, probed: &Probed, policy: &ReloadPolicy, now: Timestamp) -> Verdict {
        if !policy.probed {
            return Verdict::Unchanged;
        }
        let matches = probed.finding.shows(&self.serial, &self.sha256);
        if self.attested_at.is_some() {
            let lost = match probed.finding {
                Finding::Serves { .. } => !matches,
                Finding::Refused => true,
                Finding::Down | Finding::Unhealthy => false,
            };
            if lost {
                self.start_again(policy, now);
                return Verdict::Lost;
            }
            return Verdict::Unchanged;
        }
        let proof = if self.needs_word(policy) {
            self.delivered && self.told_at.is_some_and(|at| probed.at.unix_millis() >= at)
        } else {
            probed.at.unix_millis() >= self.published_at
        };
        // An application that had not started at the first publication reads everything anew;
        // nobody told it, so it can only have read the files.
        let fresh = self.first && self.told == 0;
        if matches && (proof || fresh) {
            self.prove(probed.at);
            return Verdict::Attested;
        }
        Verdict::Unchanged
    }

    /// The list was used up; the alarm was raised.
    pub fn alarmed(&mut self, now: Timestamp) {
        self.alarm_at = Some(now.unix_millis());
    }

    /// The generation before can't be gone back to any more.
    pub fn forget_previous(&mut self) {
        self.previous = None;
    }

    /// Pulls recorded times that lie ahead back to `now`: after the clock was set back, deadlines
    /// count anew instead of staying away for hours. Call it at every look.
    pub fn settle(&mut self, now: Timestamp) {
        let now = now.unix_millis();
        let ahead = self.hold_until.map(|until| until.saturating_sub(now));
        if ahead.is_some_and(|ahead| {
            u128::try_from(ahead).is_ok_and(|ms| ms > LONGEST_PAUSE.as_millis())
        }) {
            self.hold_until = Some(now);
        }
        self.published_at = self.published_at.min(now);
        let times = [
            &mut self.step_at,
            &mut self.told_at,
            &mut self.attested_at,
            &mut self.alarm_at,
        ];
        for at in times.into_iter().flatten() {
            *at = (*at).min(now);
        }
        if let Some(failed) = &mut self.failed {
            failed.at = failed.at.min(now);
        }
    }

    fn prove(&mut self, at: Timestamp) {
        self.attested_at = Some(at.unix_millis());
        self.alarm_at = None;
        self.failed = None;
        self.hold_until = None;
        self.first = false;
    }

    /// The first time at once; an application that flaps, ever more slowly.
    fn start_again(&mut self, policy: &ReloadPolicy, now: Timestamp) {
        let pause = match self.round {
            0 => Duration::ZERO,
            round => policy
                .attest_within
                .saturating_mul(1 << (round - 1).min(10))
                .min(LONGEST_PAUSE),
        };
        *self = Self {
            round: self.round.saturating_add(1),
            hold_until: Some(now.plus(pause).unix_millis()),
            published_at: now.unix_millis(),
            step: 0,
            step_at: None,
            told_at: None,
            told: 0,
            delivered: false,
            tries: 0,
            attested_at: None,
            // It served this generation well; the one before is no better.
            previous: None,
            ..std::mem::take(self)
        };
    }
}
