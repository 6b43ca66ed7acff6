//! `decide(&Facts, &Policy, now) -> Next`: the whole agent in one pure function.
//!
//! Never waits. What stays true: the same facts give the same decision, whatever woke the agent;
//! a certificate that was issued is published before another is asked for.

use std::{fmt, time::Duration};

use crate::{
    failure::{FailureClass, FailureRun},
    health::{self, HealthHistory},
    issuance_limit::{Requests, Share},
    retry,
    schedule::{self, RenewPolicy, Validity},
    time::Timestamp,
};

/// The set that readers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveLeaf {
    /// What its leaf says.
    pub validity: Validity,
    /// When it came from Vault; unknown when the state was lost.
    pub obtained_at: Option<Timestamp>,
    /// Fingerprint of the request that it answers; empty when unknown.
    pub fingerprint: String,
    /// Serial of its leaf.
    pub serial: String,
}

impl LiveLeaf {
    /// The life that its schedule counts, from when it came.
    fn counted_life(&self) -> Duration {
        let from = self.obtained_at.unwrap_or(self.validity.not_before);
        self.validity
            .not_after
            .since(from.max(self.validity.not_before))
    }
}

/// A set that was issued and verified but is not live: publishing failed, or it starts later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// What its leaf says.
    pub validity: Validity,
    /// When it came from Vault.
    pub obtained_at: Timestamp,
    /// Fingerprint of the request that it answers.
    pub fingerprint: String,
    /// Serial of its leaf.
    pub serial: String,
}

/// Everything that a decision depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What is published, if anything.
    pub live: Option<LiveLeaf>,
    /// What is ready to be published, if anything.
    pub staged: Option<Staged>,
    /// The failures since the last success. Whoever forces a renewal drops it first.
    pub failure: Option<FailureRun>,
    /// What health checks of Vault have shown since then.
    pub health_checks: HealthHistory,
    /// The requests of the last hour, by what they count as.
    pub requests: Requests,
    /// A manual renewal is wanted; cleared by the next publication.
    pub forced: bool,
    /// The mount has other CAs than when an answer was refused: one request is free.
    pub freed: bool,
    /// Fingerprint of today's request.
    pub fingerprint: String,
    /// The application broke on the last answer to this request: no other is asked for before this.
    pub held_until: Option<Timestamp>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the issuer now.
    Issue(ActionReason),
    /// Publish the staged set now.
    Publish(ActionReason),
    /// Nothing until then; look again when it comes or when anything happens.
    WaitUntil(Timestamp, ActionReason),
}

/// Why that is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionReason {
    /// Nothing is published yet.
    NothingPublished,
    /// The published certificate answers another request than today's.
    RequestChanged,
    /// It is a manual renewal.
    Forced,
    /// The renewal time; as a wait, the time until it.
    Due,
    /// The published certificate has expired.
    Expired,
    /// A staged set is there; as a wait, it isn't valid yet.
    Staged,
    /// The retry plan of this class.
    Retry(FailureClass),
    /// The issuance limit is reached, or refused answers are paced.
    IssuanceLimit,
    /// The allowance for manual renewals is used up for the moment.
    ManualLimit,
    /// The application broke on the last answer, and the set before is in use again.
    Quarantine,
}

impl ActionReason {
    /// What a request for this reason counts as.
    #[must_use]
    pub fn share(self) -> Share {
        match self {
            Self::Due | Self::Expired => Share::Due,
            Self::Forced => Share::Manual,
            _ => Share::Other,
        }
    }

    /// The name used in logs, metrics and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NothingPublished => "nothing_published",
            Self::RequestChanged => "request_changed",
            Self::Forced => "forced",
            Self::Due => "due",
            Self::Expired => "expired",
            Self::Staged => "staged",
            Self::Retry(_) => "retry",
            Self::IssuanceLimit => "issuance_limit",
            Self::ManualLimit => "manual_limit",
            Self::Quarantine => "quarantine",
        }
    }
}

impl ActionReason {
    /// A change at the mount may have removed what it waits for.
    #[must_use]
    pub fn is_cured_at_the_mount(self) -> bool {
        matches!(
            self,
            Self::Retry(FailureClass::BadAnswer | FailureClass::Misconfigured)
        )
    }
}

impl fmt::Display for ActionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingPublished => f.write_str("no valid certificate is published"),
            Self::RequestChanged => f.write_str(
                "the request differs from that of the published \
                                                 certificate",
            ),
            Self::Forced => f.write_str("manual renewal"),
            Self::Due => f.write_str("the renewal time"),
            Self::Expired => f.write_str("the published certificate has expired"),
            Self::Staged => f.write_str("issued certificate files wait to be published"),
            Self::Retry(class) => write!(f, "the retry plan for {class}"),
            Self::IssuanceLimit => f.write_str("the issuance limit is reached"),
            Self::ManualLimit => f.write_str("many manual renewals were made a moment ago"),
            Self::Quarantine => f.write_str("the application broke on the last new certificate"),
        }
    }
}

/// What to do next, given all facts.
#[must_use]
pub fn decide(facts: &Facts, policy: &RenewPolicy, now: Timestamp) -> Next {
    let retry = retry_at(facts, policy, now);
    if let Some(staged) = usable_staged(facts, policy, now) {
        if staged.validity.not_before <= now {
            return match retry {
                // Only a disk that refuses it keeps a set waiting, not the issuer.
                Some((at, why @ ActionReason::Retry(FailureClass::Local))) => {
                    Next::WaitUntil(at, why)
                }
                _ => Next::Publish(ActionReason::Staged),
            };
        }
        if let Some(until) = worth_waiting_for(staged, facts, policy, now) {
            return Next::WaitUntil(until, ActionReason::Staged);
        }
    }
    match planned_request(facts, policy, retry, now) {
        Ok(why) => Next::Issue(why),
        Err((at, why)) if facts.forced => match facts.requests.manual_allowed(now) {
            Ok(()) => Next::Issue(ActionReason::Forced),
            Err(free) if free < at => Next::WaitUntil(free, ActionReason::ManualLimit),
            Err(_) => Next::WaitUntil(at, why),
        },
        Err((at, why)) => Next::WaitUntil(at, why),
    }
}

/// Why to ask now although no person wants it, or when to look again.
fn planned_request(
    facts: &Facts,
    policy: &RenewPolicy,
    retry: Option<(Timestamp, ActionReason)>,
    now: Timestamp,
) -> Result<ActionReason, (Timestamp, ActionReason)> {
    let why = reason(facts, policy, now).map_err(|due| (due, ActionReason::Due))?;
    if let Some(until) = held(facts, now) {
        return Err((until, ActionReason::Quarantine));
    }
    // Once: what was wrong may have been put right just now.
    let retry = retry.filter(|(_, why)| !(facts.freed && why.is_cured_at_the_mount()));
    let limit = if facts.freed {
        Ok(())
    } else {
        free_at(facts, policy, now)
    };
    match (limit, retry) {
        (Err(free), Some((at, why))) if at > free => Err((at, why)),
        (Err(free), _) => Err((free, ActionReason::IssuanceLimit)),
        (Ok(()), Some((at, why))) => Err((at, why)),
        (Ok(()), None) => Ok(why),
    }
}

/// Whether the limit lets another request leave that is not manual.
///
/// # Errors
/// When not: the moment at which one is free.
pub fn free_at(facts: &Facts, policy: &RenewPolicy, now: Timestamp) -> Result<(), Timestamp> {
    let ends = facts.live.as_ref().map(|live| live.validity.not_after);
    facts.requests.allowed(limit(facts, policy), ends, now)
}

/// The limit of today, by the life of what is live.
#[must_use]
pub fn limit(facts: &Facts, policy: &RenewPolicy) -> u32 {
    let life = facts.live.as_ref().map(LiveLeaf::counted_life);
    policy.max_issuances_per_hour.per_hour(life)
}

/// Why to issue, or the renewal time that has not come.
fn reason(facts: &Facts, policy: &RenewPolicy, now: Timestamp) -> Result<ActionReason, Timestamp> {
    let Some(live) = &facts.live else {
        return Ok(ActionReason::NothingPublished);
    };
    if now >= live.validity.not_after {
        return Ok(ActionReason::Expired);
    }
    let due = schedule::due(live.validity, live.obtained_at, policy).at;
    if now >= due {
        return Ok(ActionReason::Due);
    }
    if live.fingerprint == facts.fingerprint {
        Err(due)
    } else {
        Ok(ActionReason::RequestChanged)
    }
}

/// How long the quarantine of the last answer holds off another one: not once the published one has
/// expired, nor against a manual renewal.
fn held(facts: &Facts, now: Timestamp) -> Option<Timestamp> {
    let live = facts.live.as_ref().filter(|_| !facts.forced)?;
    let until = facts.held_until?.min(live.validity.not_after);
    (until > now).then_some(until)
}

/// The retry plan's next attempt, while it has not come.
fn retry_at(
    facts: &Facts,
    policy: &RenewPolicy,
    now: Timestamp,
) -> Option<(Timestamp, ActionReason)> {
    let run = facts.failure.as_ref()?;
    let planned = planned(run, facts, policy, now);
    let at = health::attempt(run, &facts.health_checks, planned, &policy.splay_seed);
    (at > now).then_some((at, ActionReason::Retry(run.last.class)))
}

fn planned(run: &FailureRun, facts: &Facts, policy: &RenewPolicy, now: Timestamp) -> Timestamp {
    let validity = facts.live.as_ref().map(|live| live.validity);
    retry::next_attempt(run, validity, &policy.splay_seed, now)
}

/// When to look whether the issuer is back, while an attempt is waited for; it can lie in the past,
/// then it is time. `None` while nothing fails, and whenever a look would tell nothing.
#[must_use]
pub fn health_check_at(facts: &Facts, policy: &RenewPolicy, now: Timestamp) -> Option<Timestamp> {
    let run = facts.failure.as_ref()?;
    let Next::WaitUntil(_, ActionReason::Retry(_)) = decide(facts, policy, now) else {
        return None;
    };
    let planned = planned(run, facts, policy, now);
    health::next_check(run, &facts.health_checks, planned, &policy.splay_seed, now)
}

/// The staged set, when it answers today's request, is no left-over of a publication that was done,
/// and is not about to end.
fn usable_staged<'a>(facts: &'a Facts, policy: &RenewPolicy, now: Timestamp) -> Option<&'a Staged> {
    let staged = facts.staged.as_ref()?;
    let newer = facts
        .live
        .as_ref()
        .is_none_or(|live| live.fingerprint != facts.fingerprint || follows(staged, live, now));
    let lasting = staged.validity.remaining(now) > policy.min_remaining.of(staged.validity);
    (staged.fingerprint == facts.fingerprint && newer && lasting).then_some(staged)
}

/// Whether the staged set came after the live one, or lasts longer. Its serial tells a left-over;
/// their times alone don't: both may have come in one millisecond, or the clock was set back since.
fn follows(staged: &Staged, live: &LiveLeaf, now: Timestamp) -> bool {
    let before = |at: Timestamp| staged.obtained_at < at && at <= now;
    staged.serial != live.serial
        && (!live.obtained_at.is_some_and(before)
            || live.validity.not_after < staged.validity.not_after)
}

/// Until when to wait for a staged set that starts later; `None` when it is better to ask for
/// another one now, because the published one doesn't last until then.
fn worth_waiting_for(
    staged: &Staged,
    facts: &Facts,
    policy: &RenewPolicy,
    now: Timestamp,
) -> Option<Timestamp> {
    let starts = staged.validity.not_before;
    let covered = facts.live.as_ref().is_some_and(|live| {
        live.validity.not_after > starts.plus(policy.min_remaining.of(staged.validity))
    });
    if covered {
        return Some(starts);
    }
    if staged.obtained_at > now {
        // The clock was set back: look anew, once.
        return None;
    }
    // Another answer of the same issuer starts later still, unless a clock is put right.
    let ahead = starts.since(staged.obtained_at);
    let pace = (ahead / 4).clamp(Duration::from_secs(30), Duration::from_secs(3600));
    let again = staged.obtained_at.plus(pace);
    (now < again).then_some(again.min(starts))
}

#[cfg(test)]
mod tests;
