//! What to do next so that the application serves the live generation: reload, probe, escalate,
//! raise the alert, go back.
//!
//! Never waits and never reloads. What stays true: nothing counts as done before the application was
//! seen serving the published serial, where a probe is configured; a step that is not verified
//! within its deadline is followed by the next, and the last one by an alert that stays.

mod action;
mod reload_failure;
mod reload_record;
mod rollback;

#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use self::reload_record::MAX_DELIVERIES;
pub use self::{
    action::{Action, SignalName, SignalTarget},
    reload_failure::ReloadFailure,
    reload_record::{
        Attempt, Delivery, FailedAttempt, Outcome, Phase, Previous, ProbeVerdict, Publication,
        ReloadRecord, ReloadState, Start,
    },
    rollback::{Quarantined, held_until, quarantine},
};
use crate::{
    served::{Mismatch, Served},
    stagger::Stagger,
    time::Timestamp,
};

/// The shortest time between two probes.
const MIN_PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// The longest one while a proof is awaited.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// A failed attempt is repeated after this, then after twice as long, and so on.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The longest pause between two attempts.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(900);
/// An application that has not been started yet is given at least this before the alert.
const START_TIMEOUT: Duration = Duration::from_secs(300);
/// An escalation list is never empty.
const NO_ACTIONS: &[Action] = &[Action::None];

/// What changed. `ChainTrust` is the stronger one: it holds when both did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Leaf and key only.
    #[default]
    Leaf,
    /// The trust anchors, perhaps the leaf too.
    Trust,
}

impl EventKind {
    /// The name used in logs, metrics and the environment of commands.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Leaf => "leaf",
            Self::Trust => "trust",
        }
    }
}

/// How one application is reloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadPolicy {
    /// Escalation list for a new leaf.
    pub leaf: Vec<Action>,
    /// Escalation list for new anchors.
    pub trust: Vec<Action>,
    /// Every step has so long to be verified, counted from its first attempt.
    pub verify_timeout: Duration,
    /// A probe is configured.
    pub probed: bool,
    /// How often to look again at what is served.
    pub probe_interval: Duration,
    /// Take turns with the other allocations of the job.
    pub stagger: Option<Stagger>,
    /// Go back to the generation before when it lasts this much longer; `None` is never.
    pub rollback: Option<Duration>,
}

impl ReloadPolicy {
    /// The escalation list for `event`, never empty.
    #[must_use]
    pub fn actions(&self, event: EventKind) -> &[Action] {
        let list = match event {
            EventKind::Leaf => &self.leaf,
            EventKind::Trust => &self.trust,
        };
        if list.is_empty() { NO_ACTIONS } else { list }
    }

    /// Within this time after a publication it is verified, gone back from, or the alert is raised, when every
    /// attempt and probe comes back at once and the application has started.
    #[must_use]
    pub fn deadline(&self, event: EventKind) -> Duration {
        let steps = u32::try_from(self.actions(event).len()).unwrap_or(u32::MAX);
        let turn = self.stagger.map_or(Duration::ZERO, |stagger| {
            stagger.width().saturating_mul(stagger.count.max(1))
        });
        let step = self.verify_timeout.saturating_add(turn);
        step.saturating_mul(steps)
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The handshake and the health check went well, and it showed this leaf.
    Serves {
        /// Lower hex with colons.
        serial: String,
        /// SHA-256 of the leaf in hex; empty when unknown.
        sha256: String,
    },
    /// It answered, but the handshake failed or it refused our certificate.
    Refused,
    /// The handshake went well, but it reports itself as not healthy.
    Unhealthy,
    /// Nothing answers there.
    Down,
}

impl Finding {
    /// What a probe means that came back, and what was wrong with what it saw.
    #[must_use]
    pub fn of(served: &Served, mismatch: Option<&Mismatch>) -> Self {
        match mismatch.map(|why| why.code) {
            None | Some("serves-other") => Self::Serves {
                serial: served.serial.clone(),
                sha256: served.sha256.clone(),
            },
            Some("not-healthy" | "client-unanswered") => Self::Unhealthy,
            Some(_) => Self::Refused,
        }
    }

    /// What a probe means that failed with this code: a peer that speaks, but not so that a
    /// certificate comes, is broken; one that does not is down.
    #[must_use]
    pub fn of_failure(code: &str) -> Self {
        match code {
            "probe-tls" | "probe-not-tls" | "probe-alpn" | "probe-starttls" => Self::Refused,
            _ => Self::Down,
        }
    }

    /// Is it this certificate that was shown?
    #[must_use]
    pub fn shows(&self, wanted: &str, wanted_sha256: &str) -> bool {
        match self {
            Self::Serves { serial, sha256 } => {
                let both = !sha256.is_empty() && !wanted_sha256.is_empty();
                serial == wanted && (!both || sha256 == wanted_sha256)
            }
            Self::Refused | Self::Unhealthy | Self::Down => false,
        }
    }
}

/// The newest probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// When it was started: what it shows is at least as new.
    pub at: Timestamp,
    /// What it found.
    pub finding: Finding,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadNext {
    /// [`ReloadRecord::begin`] this step, save, perform it, [`ReloadRecord::answered`], save.
    Act(usize),
    /// Probe now, then [`ReloadRecord::saw`].
    Probe,
    /// Nothing until then; without a time, until another generation is published.
    WaitUntil(Option<Timestamp>, Why),
    /// Verified, and no probe is configured that could show that it was lost.
    Done,
    /// The list is used up: log an error, [`ReloadRecord::alerted`], save, continue.
    Alert(Why),
    /// Go back: [`ReloadRecord::roll_back`], or [`ReloadRecord::forget_previous`] when that can't be
    /// done.
    Rollback,
}

/// Why that is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Verified; the next probe.
    Verified,
    /// Reloaded; the proof is awaited until the step's deadline.
    Verifying,
    /// The last attempt failed; it is repeated.
    Retry,
    /// Another allocation's turn.
    Slot,
    /// The application lost the certificate again and again.
    Flapping,
    /// The application has not been seen since the first publication.
    NotStarted,
    /// No attempt succeeded.
    NotReloaded,
    /// It was reloaded, but shows another certificate, or does not answer.
    NotServed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Verified => "the application serves it",
            Self::Verifying => "waiting for the application to serve it",
            Self::Retry => "the last attempt failed",
            Self::Slot => "it is another allocation's turn",
            Self::Flapping => "the application keeps losing it",
            Self::NotStarted => "the application has not been seen yet",
            Self::NotReloaded => "the reload failed",
            Self::NotServed => {
                "the application was reloaded and does not serve the published certificate"
            }
        })
    }
}

/// What to do next about the live generation. `probed` is the newest probe of this process.
#[must_use]
pub fn next(
    record: &ReloadRecord,
    policy: &ReloadPolicy,
    probed: Option<&Probed>,
    now: Timestamp,
) -> ReloadNext {
    let facts = Facts {
        record,
        policy,
        probed,
        now,
    };
    let probe_at = facts.probe_at();
    if probe_at.is_some_and(|at| at <= now) {
        return ReloadNext::Probe;
    }
    let then = match &record.phase {
        Phase::Verified { .. } if policy.probed => ReloadNext::WaitUntil(None, Why::Verified),
        Phase::Verified { .. } => ReloadNext::Done,
        Phase::Announced { .. } if facts.not_started() => facts.wait_for_start(),
        Phase::Exhausted { attempt: None, .. } if facts.not_started() => {
            ReloadNext::WaitUntil(None, Why::NotStarted)
        }
        Phase::Announced {
            hold_until: Some(until),
        } if *until > now => ReloadNext::WaitUntil(Some(*until), Why::Flapping),
        Phase::Announced { .. } | Phase::Exhausted { attempt: None, .. } => facts.act(0),
        Phase::Trying { attempt }
        | Phase::Exhausted {
            attempt: Some(attempt),
            ..
        } => facts.after(attempt),
    };
    match then {
        ReloadNext::WaitUntil(at, why) => {
            ReloadNext::WaitUntil(at.into_iter().chain(probe_at).min(), why)
        }
        then => then,
    }
}

/// May the action wait for a lock or a turn that others hold? Not once the certificate that the
/// application serves meanwhile could expire before the list is used up.
#[must_use]
pub fn may_wait(record: &ReloadRecord, policy: &ReloadPolicy, now: Timestamp) -> bool {
    let steps = policy.actions(record.about.event).len();
    let needed = policy
        .verify_timeout
        .saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
        .saturating_mul(2);
    let published = record.published_at;
    match record.old_expires_at {
        Some(expires) => {
            // A quarter of what was left at the publication is kept in any case.
            let reserve = needed.max(published.until(expires) / 4);
            now < expires.minus(reserve)
        }
        None => now < published.plus(needed.saturating_mul(4)),
    }
}

/// All that a decision depends on.
struct Facts<'a> {
    record: &'a ReloadRecord,
    policy: &'a ReloadPolicy,
    probed: Option<&'a Probed>,
    now: Timestamp,
}

impl Facts<'_> {
    /// When to probe; `None` when a probe could not prove anything yet.
    fn probe_at(&self) -> Option<Timestamp> {
        let (record, policy) = (self.record, self.policy);
        if !policy.probed {
            return None;
        }
        let newest = self.probed.map(|probed| probed.at);
        if let Phase::Verified { at, .. } = record.phase {
            let last = newest.map_or(at, |probed| probed.max(at));
            return Some(last.plus(policy.probe_interval));
        }
        if record.needs_reload(policy)
            && record.reached() == 0
            && record.about.start == Start::Before
        {
            return None;
        }
        let since = record.since();
        let Some(last) = newest.filter(|at| *at >= since) else {
            return Some(since);
        };
        let slowest = match record.phase {
            Phase::Exhausted { .. } => policy.probe_interval,
            _ => (policy.verify_timeout / 4)
                .min(MAX_PROBE_INTERVAL)
                .min(policy.probe_interval),
        };
        let pace = (since.until(last) / 2).min(slowest).max(MIN_PROBE_INTERVAL);
        Some(last.plus(pace))
    }

    /// At the first publication the application has most likely not been started: there is nothing
    /// to reload until it was seen with something else.
    fn not_started(&self) -> bool {
        let seen = self.probed.is_some_and(|probed| {
            probed.at >= self.record.published_at
                && matches!(probed.finding, Finding::Serves { .. } | Finding::Refused)
        });
        self.record.about.start != Start::Before && self.policy.probed && !seen
    }

    fn wait_for_start(&self) -> ReloadNext {
        let deadline = self.policy.deadline(self.record.about.event);
        let late = self.record.published_at.plus(deadline.max(START_TIMEOUT));
        if self.now >= late {
            ReloadNext::Alert(Why::NotStarted)
        } else {
            ReloadNext::WaitUntil(Some(late), Why::NotStarted)
        }
    }

    /// The next act after an attempt that has not proved itself.
    fn after(&self, attempt: &Attempt) -> ReloadNext {
        let deadline = attempt.step_began_at.plus(self.policy.verify_timeout);
        let again_at = match &attempt.outcome {
            _ if attempt.reached >= MAX_DELIVERIES => None,
            Outcome::Delivered => None,
            Outcome::Failed(failed) if failed.lasting => {
                return self.step_failed(attempt, deadline);
            }
            Outcome::Failed(failed) => Some(failed.at.plus(pause(attempt.failures))),
            // The process exited between the record and the answer: perhaps it reached nothing.
            Outcome::Unknown => Some(self.now),
        };
        match again_at.filter(|at| *at < deadline) {
            Some(at) if at <= self.now => self.act(attempt.step),
            Some(at) if self.now < deadline => ReloadNext::WaitUntil(Some(at), Why::Retry),
            _ if self.now < deadline => ReloadNext::WaitUntil(Some(deadline), Why::Verifying),
            _ => self.step_failed(attempt, deadline),
        }
    }

    /// Back, or the next step, or the end of the list.
    fn step_failed(&self, attempt: &Attempt, deadline: Timestamp) -> ReloadNext {
        let broken = rollback::wanted(self.record, self.policy, self.probed, self.now);
        if self.now >= deadline && broken {
            return ReloadNext::Rollback;
        }
        let next = attempt.step.saturating_add(1);
        if next < self.policy.actions(self.record.about.event).len() {
            return self.act(next);
        }
        let why = if attempt.reached > 0 || attempt.outcome == Outcome::Delivered {
            Why::NotServed
        } else {
            Why::NotReloaded
        };
        match (&self.record.phase, &attempt.outcome) {
            // Delivered actions are not repeated; failed ones are, without limit.
            (Phase::Exhausted { .. }, Outcome::Failed(failed))
                if attempt.reached < MAX_DELIVERIES =>
            {
                let longest = self.policy.verify_timeout.min(MAX_RETRY_DELAY);
                let at = failed.at.plus(pause(attempt.failures).max(longest));
                if at <= self.now {
                    self.act(attempt.step)
                } else {
                    ReloadNext::WaitUntil(Some(at), why)
                }
            }
            (Phase::Exhausted { .. }, _) => ReloadNext::WaitUntil(None, why),
            _ => ReloadNext::Alert(why),
        }
    }

    /// Now, or when it is this allocation's turn.
    fn act(&self, step: usize) -> ReloadNext {
        let actions = self.policy.actions(self.record.about.event);
        // A list that has become shorter since the record was written.
        let step = step.min(actions.len().saturating_sub(1));
        let touches = actions.get(step).is_some_and(Action::touches);
        let free = self
            .policy
            .stagger
            .map_or(self.now, |stagger| stagger.free_at(self.now));
        if touches && free > self.now && may_wait(self.record, self.policy, self.now) {
            return ReloadNext::WaitUntil(Some(free), Why::Slot);
        }
        ReloadNext::Act(step)
    }
}

/// 1 s, 2 s, 4 s, and so on after so many failures in a row.
fn pause(failures: u32) -> Duration {
    MIN_RETRY_DELAY
        .saturating_mul(1 << failures.saturating_sub(1).min(20))
        .min(MAX_RETRY_DELAY)
}
