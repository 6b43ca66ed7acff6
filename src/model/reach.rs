//! When to look at an issuer that is away, and how its return brings the next attempt forward.
//!
//! Between two attempts of the retry plan ([`crate::model::retry`]) a look asks, without a token and
//! without an order, whether the issuer can serve. One that says yes moves the next attempt to a
//! moment soon after it. Never looks and never waits. What stays true: an attempt is never later than
//! planned and never before a Retry-After; two looks are one period apart; attempts that a look
//! brought about and that failed all the same are followed by doubling gaps, in which nobody looks.

use std::time::Duration;

use crate::model::{
    failure::{FailureClass, FailureRun},
    schedule::fraction,
    time::Timestamp,
};

/// Each allocation looks this often, at a phase of its own.
const PERIOD: Duration = Duration::from_secs(4);

/// The attempts of a fleet that saw the issuer return are spread over this.
const SPREAD: Duration = Duration::from_secs(8);

/// After the first attempt in vain nobody looks for at most this, and at least half of it.
const FIRST_GAP: Duration = Duration::from_secs(5);

/// The gap doubles up to this, twice the widest slot of the plan.
const WIDEST_GAP: Duration = Duration::from_secs(600);

/// What looks have shown since the last success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looks {
    /// The newest look.
    last: Option<Timestamp>,
    /// The first look since the newest failure that found the issuer able to serve.
    up: Option<Timestamp>,
    /// Attempts that failed although such a look came before them.
    in_vain: u32,
    /// The newest of those.
    vain_at: Option<Timestamp>,
}

impl Looks {
    /// A look at `at` found the issuer able to serve, or not.
    pub fn saw(&mut self, able: bool, at: Timestamp) {
        self.last = Some(at);
        if able && self.up.is_none() {
            self.up = Some(at);
        }
    }

    /// An attempt failed at `at`: what was seen before it says nothing any more.
    pub fn failed(&mut self, at: Timestamp) {
        if self.up.take().is_some() {
            self.in_vain = self.in_vain.saturating_add(1);
            self.vain_at = Some(at);
        }
    }
}

/// Whether looks tell anything about failures of this class: only when the issuer was away.
#[must_use]
pub fn watches(class: FailureClass) -> bool {
    matches!(class, FailureClass::Transport | FailureClass::Unavailable)
}

/// The next attempt after `run`: as planned, or soon after the issuer was seen to be back.
#[must_use]
pub fn attempt(run: &FailureRun, looks: &Looks, planned: Timestamp, seed: &str) -> Timestamp {
    match looks.up {
        Some(up) if watches(run.last.class) => {
            planned.min(up.plus(SPREAD.mul_f64(fraction("return", seed, 0))))
        }
        _ => planned,
    }
}

/// When to look next, given the next planned attempt: it can lie in the past, then it is time.
/// `None` when a look would tell nothing, or the attempt comes first.
#[must_use]
pub fn next_look(
    run: &FailureRun,
    looks: &Looks,
    planned: Timestamp,
    seed: &str,
    now: Timestamp,
) -> Option<Timestamp> {
    if !watches(run.last.class) || looks.up.is_some() || planned <= now {
        return None;
    }
    // A moment ahead of us was noted before the clock was set back.
    let last = looks.last.map_or(Timestamp::MIN, |last| last.min(now));
    let at = next_phase(quiet_until(run, looks, seed).max(last), seed);
    (at < planned).then_some(at)
}

/// Until when nobody looks: what the issuer asked for, and the gap after attempts in vain.
fn quiet_until(run: &FailureRun, looks: &Looks, seed: &str) -> Timestamp {
    let asked = run.at.plus(run.last.retry_after.unwrap_or_default());
    let Some(vain_at) = looks.vain_at else {
        return asked;
    };
    let longest = gap(looks.in_vain);
    let jitter = fraction("vain", seed, u64::from(looks.in_vain));
    // none of the failures is newer than the run's
    let gap = vain_at
        .min(run.at)
        .plus(longest / 2)
        .plus((longest / 2).mul_f64(jitter));
    asked.max(gap)
}

/// The longest time without a look after so many attempts in vain.
fn gap(in_vain: u32) -> Duration {
    let doublings = in_vain.saturating_sub(1).min(20);
    FIRST_GAP.saturating_mul(1 << doublings).min(WIDEST_GAP)
}

/// The first moment after `at` in this allocation's phase.
fn next_phase(at: Timestamp, seed: &str) -> Timestamp {
    let period = i64::try_from(PERIOD.as_millis()).unwrap_or(i64::MAX);
    let phase = (period as f64 * fraction("look", seed, 0)) as i64;
    let into = at.unix_millis().saturating_sub(phase).rem_euclid(period);
    Timestamp::from_unix_millis(at.unix_millis().saturating_add(period - into))
}

/// The bound: how many attempts looks can bring about in any span of this length, whatever the
/// issuer says of itself. They come on top of [`crate::model::retry::most_requests`].
#[must_use]
pub fn most_attempts(span: Duration) -> u32 {
    let (mut attempts, mut passed) = (1_u32, Duration::ZERO);
    while gap(attempts) < WIDEST_GAP {
        passed += gap(attempts) / 2;
        if passed > span {
            return attempts;
        }
        attempts += 1;
    }
    let steady = (span - passed).as_secs() / (WIDEST_GAP / 2).as_secs();
    attempts.saturating_add(u32::try_from(steady).unwrap_or(u32::MAX))
}

/// The bound: how many looks one allocation can have in any span of this length.
#[must_use]
pub fn most_looks(span: Duration) -> u64 {
    span.as_secs() / PERIOD.as_secs() + 2
}

/// The longest from the issuer's return to the attempt that it brings about, answers at once.
#[must_use]
pub const fn longest_return() -> Duration {
    PERIOD.saturating_add(SPREAD)
}

#[cfg(test)]
mod tests;
