//! What to do next so that the application serves the live generation: tell, prove, escalate, raise
//! the alarm, go back.
//!
//! Never waits, and never tells anybody. What stays true: nothing is done before the application was
//! seen serving the published serial, where a probe is configured; a step that is not attested
//! within its deadline is followed by the next, and the last one by an alarm that stays.

mod action;
mod failure;
mod record;
mod rollback;

#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use self::record::MOST_TOLD;
pub use self::{
    action::{Action, SignalName, SignalTarget},
    failure::ReloadFailure,
    record::{Delivery, Failed, Previous, Publication, ReloadRecord, Verdict},
    rollback::{Quarantined, held_until, is_quarantined, quarantine},
};
use crate::{slots::Slots, time::Timestamp};

/// The shortest time between two probes.
const QUICKEST_PROBE: Duration = Duration::from_millis(500);
/// The longest one while a proof is awaited.
const SLOWEST_PROBE: Duration = Duration::from_secs(30);
/// A failed attempt is repeated after this, then after twice as long, and so on.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause between two attempts.
const SLOWEST_RETRY: Duration = Duration::from_secs(900);
/// An application that has not been started yet is given at least this before the alarm.
const START_PATIENCE: Duration = Duration::from_secs(300);
/// An escalation list is never empty.
const NOTHING: &[Action] = &[Action::None];

/// What changed. `Trust` is the stronger one: it holds when both did.
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

/// How one application is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadPolicy {
    /// Escalation list for a new leaf.
    pub leaf: Vec<Action>,
    /// Escalation list for new anchors.
    pub trust: Vec<Action>,
    /// Every step has so long to be attested, counted from its first attempt.
    pub attest_within: Duration,
    /// A probe is configured.
    pub probed: bool,
    /// How often to look again at what is served.
    pub probe_every: Duration,
    /// Take turns with the other allocations of the job.
    pub slots: Option<Slots>,
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
        if list.is_empty() { NOTHING } else { list }
    }

    /// Within this time after a publication it is attested, gone back from, or in alarm, when every
    /// attempt and probe comes back at once and the application has started.
    #[must_use]
    pub fn deadline(&self, event: EventKind) -> Duration {
        let steps = u32::try_from(self.actions(event).len()).unwrap_or(u32::MAX);
        let turn = self.slots.map_or(Duration::ZERO, |slots| {
            slots.width().saturating_mul(slots.count.max(1))
        });
        let step = self.attest_within.saturating_add(turn);
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

    /// The name used in logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Serves { .. } => "serves",
            Self::Refused => "refused",
            Self::Unhealthy => "unhealthy",
            Self::Down => "down",
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
    /// Nothing until then.
    WaitUntil(Timestamp, Why),
    /// Attested, and no probe is configured that could show that it was lost.
    Done,
    /// The list is used up: say so loudly, [`ReloadRecord::alarmed`], save, go on.
    Alarm(Why),
    /// Go back: [`ReloadRecord::roll_back`], or [`ReloadRecord::forget_previous`] when that can't be done.
    Rollback,
}

/// Why that is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Attested; the next look at what is served.
    Attested,
    /// Delivery; the proof is awaited until the step's deadline.
    Attesting,
    /// The last attempt failed; it is repeated.
    Retry,
    /// Another allocation's turn.
    Slot,
    /// The application lost the certificate again and again.
    Flapping,
    /// The application has not been seen since the first publication.
    NotStarted,
    /// No attempt succeeded.
    NotTold,
    /// It was told, but shows another certificate, or nobody answers.
    NotServed,
}

impl Why {
    /// The name used in logs, metrics and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Attested => "attested",
            Self::Attesting => "attesting",
            Self::Retry => "retry",
            Self::Slot => "slot",
            Self::Flapping => "flapping",
            Self::NotStarted => "not_started",
            Self::NotTold => "not_told",
            Self::NotServed => "not_served",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attested => "the application serves it",
            Self::Attesting => "waiting for the application to serve it",
            Self::Retry => "the last attempt failed",
            Self::Slot => "it is another allocation's turn",
            Self::Flapping => "the application keeps losing it",
            Self::NotStarted => "the application has not been seen yet",
            Self::NotTold => "the application could not be told",
            Self::NotServed => "the application was told and does not serve it",
        })
    }
}

/// What to do next about the live generation. `probed` is the newest probe of this process.
#[must_use]
pub fn next(
    outbox: &ReloadRecord,
    policy: &ReloadPolicy,
    probed: Option<&Probed>,
    now: Timestamp,
) -> ReloadNext {
    if outbox.attested_at.is_some() && !policy.probed {
        return ReloadNext::Done;
    }
    let look = look_at(outbox, policy, probed);
    if look.is_some_and(|at| at <= now) {
        return ReloadNext::Probe;
    }
    let then = match outbox.attested_at {
        Some(_) => ReloadNext::WaitUntil(Timestamp::MAX, Why::Attested),
        None => step(outbox, policy, probed, now),
    };
    match (then, look) {
        (ReloadNext::WaitUntil(at, why), Some(look)) => ReloadNext::WaitUntil(at.min(look), why),
        (then, _) => then,
    }
}

/// May the action wait for a lock or a turn that others hold? Not once the certificate that the
/// application serves meanwhile could end before the list is used up.
#[must_use]
pub fn may_wait(outbox: &ReloadRecord, policy: &ReloadPolicy, now: Timestamp) -> bool {
    let needed = policy
        .attest_within
        .saturating_mul(u32::try_from(policy.actions(outbox.event).len()).unwrap_or(u32::MAX))
        .saturating_mul(2);
    match outbox.old_ends_at {
        Some(ends) => {
            let ends = Timestamp::from_unix_millis(ends);
            let published = Timestamp::from_unix_millis(outbox.published_at);
            // A quarter of what was left at the publication is kept in any case.
            let reserve = needed.max(published.until(ends) / 4);
            now < ends.minus(reserve)
        }
        None => now < Timestamp::from_unix_millis(outbox.published_at).plus(needed * 4),
    }
}

/// When to probe; `None` when a probe could not prove anything yet.
fn look_at(
    outbox: &ReloadRecord,
    policy: &ReloadPolicy,
    probed: Option<&Probed>,
) -> Option<Timestamp> {
    if !policy.probed {
        return None;
    }
    let millis = Timestamp::from_unix_millis;
    if let Some(attested) = outbox.attested_at {
        let attested = millis(attested);
        let last = probed.map_or(attested, |probed| probed.at.max(attested));
        return Some(last.plus(policy.probe_every));
    }
    if outbox.needs_word(policy) && outbox.told == 0 && !outbox.first {
        return None;
    }
    let since = millis(outbox.told_at.unwrap_or(outbox.published_at));
    let Some(last) = probed.map(|probed| probed.at).filter(|at| *at >= since) else {
        return Some(since);
    };
    let slowest = match outbox.alarm_at {
        Some(_) => policy.probe_every,
        None => (policy.attest_within / 4)
            .min(SLOWEST_PROBE)
            .min(policy.probe_every),
    };
    let pace = (since.until(last) / 2).min(slowest).max(QUICKEST_PROBE);
    Some(last.plus(pace))
}

/// The next act of a generation that is not attested.
fn step(
    outbox: &ReloadRecord,
    policy: &ReloadPolicy,
    probed: Option<&Probed>,
    now: Timestamp,
) -> ReloadNext {
    let millis = Timestamp::from_unix_millis;
    if let Some(wait) = not_started(outbox, policy, probed, now) {
        return wait;
    }
    let hold = millis(outbox.hold_until.unwrap_or(i64::MIN));
    if hold > now {
        return ReloadNext::WaitUntil(hold, Why::Flapping);
    }
    let Some(began) = outbox.step_at else {
        return act(outbox, policy, outbox.step, now);
    };
    let deadline = millis(began).plus(policy.attest_within);
    let again_at = match &outbox.failed {
        _ if outbox.delivered || outbox.told >= MOST_TOLD => None,
        Some(failed) if failed.lasting => {
            return following(outbox, policy, probed, deadline, now);
        }
        Some(failed) => Some(millis(failed.at).plus(pause(outbox.tries))),
        // The process ended between the record and the answer: perhaps nobody heard it.
        None => Some(now),
    };
    match again_at.filter(|at| *at < deadline) {
        Some(at) if at <= now => act(outbox, policy, outbox.step, now),
        Some(at) if now < deadline => ReloadNext::WaitUntil(at, Why::Retry),
        _ if now < deadline => ReloadNext::WaitUntil(deadline, Why::Attesting),
        _ => following(outbox, policy, probed, deadline, now),
    }
}

/// At the first publication the application has most likely not been started: nobody to tell until
/// it was seen with something else.
fn not_started(
    outbox: &ReloadRecord,
    policy: &ReloadPolicy,
    probed: Option<&Probed>,
    now: Timestamp,
) -> Option<ReloadNext> {
    let seen = probed.is_some_and(|probed| {
        probed.at.unix_millis() >= outbox.published_at
            && matches!(probed.finding, Finding::Serves { .. } | Finding::Refused)
    });
    if !outbox.first || !policy.probed || outbox.step_at.is_some() || seen {
        return None;
    }
    let patience = policy.deadline(outbox.event).max(START_PATIENCE);
    let late = Timestamp::from_unix_millis(outbox.published_at).plus(patience);
    Some(match outbox.alarm_at {
        None if now >= late => ReloadNext::Alarm(Why::NotStarted),
        None => ReloadNext::WaitUntil(late, Why::NotStarted),
        Some(_) => ReloadNext::WaitUntil(Timestamp::MAX, Why::NotStarted),
    })
}

/// The step failed: back, or the next one, or the end of the list.
fn following(
    outbox: &ReloadRecord,
    policy: &ReloadPolicy,
    probed: Option<&Probed>,
    deadline: Timestamp,
    now: Timestamp,
) -> ReloadNext {
    if now >= deadline && rollback::wanted(outbox, policy, probed, now) {
        return ReloadNext::Rollback;
    }
    let next = outbox.step.saturating_add(1);
    if next < policy.actions(outbox.event).len() {
        return act(outbox, policy, next, now);
    }
    let why = if outbox.delivered || outbox.told > 0 {
        Why::NotServed
    } else {
        Why::NotTold
    };
    if outbox.alarm_at.is_none() {
        return ReloadNext::Alarm(why);
    }
    // Whoever was told is not bothered again; whoever could not be told is, for ever.
    match &outbox.failed {
        Some(failed) if !outbox.delivered && outbox.told < MOST_TOLD => {
            let at = Timestamp::from_unix_millis(failed.at)
                .plus(pause(outbox.tries).max(policy.attest_within.min(SLOWEST_RETRY)));
            if at <= now {
                act(outbox, policy, outbox.step, now)
            } else {
                ReloadNext::WaitUntil(at, why)
            }
        }
        _ => ReloadNext::WaitUntil(Timestamp::MAX, why),
    }
}

/// Now, or when it is this allocation's turn.
fn act(outbox: &ReloadRecord, policy: &ReloadPolicy, step: usize, now: Timestamp) -> ReloadNext {
    let actions = policy.actions(outbox.event);
    // A list that has become shorter since the record was written.
    let step = step.min(actions.len().saturating_sub(1));
    let touches = actions.get(step).is_some_and(Action::touches);
    let free = policy.slots.map_or(now, |slots| slots.free_at(now));
    if touches && free > now && may_wait(outbox, policy, now) {
        return ReloadNext::WaitUntil(free, Why::Slot);
    }
    ReloadNext::Act(step)
}

/// 1 s, 2 s, 4 s, and so on after so many failures in a row.
fn pause(tries: u32) -> Duration {
    FIRST_RETRY
        .saturating_mul(1 << tries.saturating_sub(1).min(20))
        .min(SLOWEST_RETRY)
}
