//! When to look at a Vault that is unavailable, and how its return brings the next attempt forward.
//!
//! Between two attempts of the retry plan ([`crate::retry`]) a look asks, without a token and
//! without an order, whether Vault can serve. One that says yes moves the next attempt to a
//! moment soon after it. Never looks and never waits. What stays true: an attempt is never later than
//! planned and never before a Retry-After; two looks are one period apart; attempts that a look
//! brought about and that failed all the same are followed by doubling gaps, in which it has no effect.

use std::time::Duration;

use crate::{
    failure::{FailureClass, FailureRun},
    schedule::fraction,
    time::Timestamp,
};

/// Each allocation looks this often, at a phase of its own.
const CHECK_INTERVAL: Duration = Duration::from_secs(4);

/// The attempts of a fleet that saw the issuer return are spread over this.
const RECOVERY_SPREAD: Duration = Duration::from_secs(8);

/// After the first attempt in vain looks have no effect for at most this, and at least half of it.
const MIN_BACKOFF: Duration = Duration::from_secs(5);

/// The gap doubles up to this, twice the widest slot of the plan.
const MAX_BACKOFF: Duration = Duration::from_secs(600);

/// Who says that Vault can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IssuerHealth {
    /// A standby that forwards. It may name an active node that is gone.
    Standby,
    /// A node that serves itself.
    Active,
}

/// What looks have shown since the last success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthHistory {
    /// The newest look.
    last: Option<Timestamp>,
    /// The first look since the newest failure that brought the next attempt forward.
    up: Option<(IssuerHealth, Timestamp)>,
    /// Each word has gaps of its own: a standby that was wrong for hours must not make an active
    /// node wait.
    standby: Vain,
    active: Vain,
}

/// Attempts that failed although somebody had said that Vault can serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Vain {
    times: u32,
    newest: Option<Timestamp>,
}

impl HealthHistory {
    /// A look at `at`, after `run`, found somebody who can serve, or nobody.
    pub fn record(
        &mut self,
        able: Option<IssuerHealth>,
        run: &FailureRun,
        seed: &str,
        at: Timestamp,
    ) {
        self.last = Some(at);
        if let Some(able) = able
            && self.up.is_none()
            && at >= quiet_until(run, self.of(able), seed)
        {
            self.up = Some((able, at));
        }
    }

    /// An attempt failed at `at`: what was seen before it says nothing any more.
    pub fn failed(&mut self, at: Timestamp) {
        let vain = match self.up.take() {
            Some((IssuerHealth::Standby, _)) => &mut self.standby,
            Some((IssuerHealth::Active, _)) => &mut self.active,
            None => return,
        };
        vain.times = vain.times.saturating_add(1);
        vain.newest = Some(at);
    }

    fn of(&self, able: IssuerHealth) -> &Vain {
        match able {
            IssuerHealth::Standby => &self.standby,
            IssuerHealth::Active => &self.active,
        }
    }
}

/// Whether looks tell anything about failures of this class: only when Vault was unavailable.
#[must_use]
pub fn watches(class: FailureClass) -> bool {
    matches!(class, FailureClass::Transport | FailureClass::Unavailable)
}

/// The next attempt after `run`: as planned, or soon after the issuer was seen to be back.
#[must_use]
pub fn attempt(
    run: &FailureRun,
    looks: &HealthHistory,
    planned: Timestamp,
    seed: &str,
) -> Timestamp {
    match looks.up {
        Some((_, up)) if watches(run.last.class) => {
            planned.min(up.plus(RECOVERY_SPREAD.mul_f64(fraction("return", seed, 0))))
        }
        _ => planned,
    }
}

/// When to look next, given the next planned attempt: it can lie in the past, then it is time.
/// `None` when a look would tell nothing, or the attempt comes first.
#[must_use]
pub fn next_look(
    run: &FailureRun,
    looks: &HealthHistory,
    planned: Timestamp,
    seed: &str,
    now: Timestamp,
) -> Option<Timestamp> {
    if !watches(run.last.class) || looks.up.is_some() || planned <= now {
        return None;
    }
    // A moment ahead of us was noted before the clock was set back.
    let quiet = quiet_until(run, &looks.active, seed);
    let last = looks.last.map_or(quiet, |last| last.min(now));
    let at = next_phase(quiet.max(last), seed);
    (at < planned).then_some(at)
}

/// Until when a word counts for nothing: what Vault asked for, and the gap after attempts in
/// vain.
fn quiet_until(run: &FailureRun, vain: &Vain, seed: &str) -> Timestamp {
    let asked = run.at.plus(run.last.retry_after.unwrap_or_default());
    let Some(vain_at) = vain.newest else {
        return asked;
    };
    let longest = gap(vain.times);
    let jitter = fraction("vain", seed, u64::from(vain.times));
    // none of the failures is newer than the run's
    let gap = vain_at
        .min(run.at)
        .plus(longest / 2)
        .plus((longest / 2).mul_f64(jitter));
    asked.max(gap)
}

/// The longest time for which a word counts for nothing after so many attempts in vain.
fn gap(in_vain: u32) -> Duration {
    let doublings = in_vain.saturating_sub(1).min(20);
    MIN_BACKOFF.saturating_mul(1 << doublings).min(MAX_BACKOFF)
}

/// The first moment after `at` in this allocation's phase.
fn next_phase(at: Timestamp, seed: &str) -> Timestamp {
    let period = i64::try_from(CHECK_INTERVAL.as_millis()).unwrap_or(i64::MAX);
    let phase = (period as f64 * fraction("look", seed, 0)) as i64;
    let into = at.unix_millis().saturating_sub(phase).rem_euclid(period);
    Timestamp::from_unix_millis(at.unix_millis().saturating_add(period - into))
}

/// The bound: how many attempts looks can bring about in any span of this length, whatever the
/// issuer says of itself. They come on top of [`crate::retry::most_requests`].
#[must_use]
pub fn most_attempts(span: Duration) -> u32 {
    // the words of standbys and those of active nodes
    of_one_word(span).saturating_mul(2)
}

fn of_one_word(span: Duration) -> u32 {
    let (mut attempts, mut passed) = (1_u32, Duration::ZERO);
    while gap(attempts) < MAX_BACKOFF {
        passed += gap(attempts) / 2;
        if passed > span {
            return attempts;
        }
        attempts += 1;
    }
    let steady = (span - passed).as_secs() / (MAX_BACKOFF / 2).as_secs();
    attempts.saturating_add(u32::try_from(steady).unwrap_or(u32::MAX / 4))
}

/// The bound: how many looks one allocation can have in any span of this length.
#[must_use]
pub fn most_looks(span: Duration) -> u64 {
    span.as_secs() / CHECK_INTERVAL.as_secs() + 2
}

/// The longest from Vault's return to the attempt that it brings about, answers at once.
#[must_use]
pub const fn longest_return() -> Duration {
    CHECK_INTERVAL.saturating_add(RECOVERY_SPREAD)
}

#[cfg(test)]
mod tests;
