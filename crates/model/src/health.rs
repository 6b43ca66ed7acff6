//! When to check the health of a Vault that is unavailable, and how its return brings the next attempt
//! forward.
//!
//! Between two attempts of the retry plan ([`crate::retry`]) a health check asks, without a token and
//! without an issuance request, whether Vault can serve. If it can, the next attempt follows soon. Sends
//! nothing and never waits. What stays true: an attempt is never later than planned and never before a
//! Retry-After; two checks are one interval apart; attempts that a check brought forward and that failed
//! are followed by a doubling backoff, in which checks have no effect.

use std::time::Duration;

use crate::{
    failure::{FailureClass, FailureRun},
    schedule::fraction,
    time::Timestamp,
};

/// Each allocation checks this often, at a phase of its own.
const CHECK_INTERVAL: Duration = Duration::from_secs(4);

/// The attempts of all allocations that saw Vault return are spread over this.
const RECOVERY_SPREAD: Duration = Duration::from_secs(8);

/// After the first false recovery checks have no effect for at most this, and at least half of it.
const MIN_BACKOFF: Duration = Duration::from_secs(5);

/// The backoff doubles up to this, twice the widest slot of the plan.
const MAX_BACKOFF: Duration = Duration::from_secs(600);

/// Who says that Vault can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IssuerHealth {
    /// A standby that forwards. It may name an active node that is gone.
    Standby,
    /// A node that serves itself.
    Active,
}

/// What health checks have shown since the last success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthHistory {
    /// The newest check.
    last: Option<Timestamp>,
    /// The first check since the newest failure that brought the next attempt forward.
    recovered: Option<(IssuerHealth, Timestamp)>,
    /// Counted apart: a standby that was wrong for hours must not make an active node wait.
    standby: FalseRecoveries,
    active: FalseRecoveries,
}

/// Attempts that failed although Vault had said that it can serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct FalseRecoveries {
    times: u32,
    newest: Option<Timestamp>,
}

impl HealthHistory {
    /// Notes a check at `at`, after `run`: which kind of node can serve, if any.
    pub fn record(
        &mut self,
        able: Option<IssuerHealth>,
        run: &FailureRun,
        seed: &str,
        at: Timestamp,
    ) {
        self.last = Some(at);
        if let Some(able) = able
            && self.recovered.is_none()
            && at >= no_effect_until(run, self.of(able), seed)
        {
            self.recovered = Some((able, at));
        }
    }

    /// An attempt failed at `at`: what was seen before it has no effect any more.
    pub fn failed(&mut self, at: Timestamp) {
        let after = match self.recovered.take() {
            Some((IssuerHealth::Standby, _)) => &mut self.standby,
            Some((IssuerHealth::Active, _)) => &mut self.active,
            None => return,
        };
        after.times = after.times.saturating_add(1);
        after.newest = Some(at);
    }

    fn of(&self, able: IssuerHealth) -> &FalseRecoveries {
        match able {
            IssuerHealth::Standby => &self.standby,
            IssuerHealth::Active => &self.active,
        }
    }
}

/// Whether health checks help after failures of this class: only when Vault was unavailable.
#[must_use]
pub fn watches(class: FailureClass) -> bool {
    matches!(class, FailureClass::Transport | FailureClass::Unavailable)
}

/// The next attempt after `run`: as planned, or soon after Vault was seen to be back.
#[must_use]
pub fn attempt(
    run: &FailureRun,
    history: &HealthHistory,
    planned: Timestamp,
    seed: &str,
) -> Timestamp {
    match history.recovered {
        Some((_, up)) if watches(run.last.class) => {
            planned.min(up.plus(RECOVERY_SPREAD.mul_f64(fraction("return", seed, 0))))
        }
        _ => planned,
    }
}

/// The next check, given the next planned attempt: it can lie in the past, then it is time.
/// `None` when a check would not help, or the attempt comes first.
#[must_use]
pub fn next_check(
    run: &FailureRun,
    history: &HealthHistory,
    planned: Timestamp,
    seed: &str,
    now: Timestamp,
) -> Option<Timestamp> {
    if !watches(run.last.class) || history.recovered.is_some() || planned <= now {
        return None;
    }
    // A moment ahead of us was noted before the clock was set back.
    let no_effect = no_effect_until(run, &history.active, seed);
    let last = history.last.map_or(no_effect, |last| last.min(now));
    let at = next_phase(no_effect.max(last), seed);
    (at < planned).then_some(at)
}

/// Until when a check has no effect: what Vault asked for, and the backoff after false recoveries.
fn no_effect_until(run: &FailureRun, after: &FalseRecoveries, seed: &str) -> Timestamp {
    let asked = run.at.plus(run.last.retry_after.unwrap_or_default());
    let Some(newest) = after.newest else {
        return asked;
    };
    let longest = backoff(after.times);
    let jitter = fraction("vain", seed, u64::from(after.times));
    // none of the failures is newer than the run's
    let gap = newest
        .min(run.at)
        .plus(longest / 2)
        .plus((longest / 2).mul_f64(jitter));
    asked.max(gap)
}

/// The longest backoff after so many false recoveries.
fn backoff(times: u32) -> Duration {
    let doublings = times.saturating_sub(1).min(20);
    MIN_BACKOFF.saturating_mul(1 << doublings).min(MAX_BACKOFF)
}

/// The first moment after `at` in this allocation's phase.
fn next_phase(at: Timestamp, seed: &str) -> Timestamp {
    let period = i64::try_from(CHECK_INTERVAL.as_millis()).unwrap_or(i64::MAX);
    let phase = (period as f64 * fraction("look", seed, 0)) as i64;
    let into = at.unix_millis().saturating_sub(phase).rem_euclid(period);
    Timestamp::from_unix_millis(at.unix_millis().saturating_add(period - into))
}

/// The bound: how many attempts checks can bring forward in any span of this length, whatever Vault
/// says of itself. They come on top of [`crate::retry::most_requests`].
#[must_use]
pub fn most_attempts(span: Duration) -> u32 {
    // after standbys, and after active nodes
    of_one_kind(span).saturating_mul(2)
}

fn of_one_kind(span: Duration) -> u32 {
    let (mut attempts, mut passed) = (1_u32, Duration::ZERO);
    while backoff(attempts) < MAX_BACKOFF {
        passed += backoff(attempts) / 2;
        if passed > span {
            return attempts;
        }
        attempts += 1;
    }
    let steady = (span - passed).as_secs() / (MAX_BACKOFF / 2).as_secs();
    attempts.saturating_add(u32::try_from(steady).unwrap_or(u32::MAX / 4))
}

/// The bound: how many checks one allocation can make in any span of this length.
#[must_use]
pub fn most_checks(span: Duration) -> u64 {
    span.as_secs() / CHECK_INTERVAL.as_secs() + 2
}

/// The longest from Vault's return to the attempt that follows it, if it answers at once.
#[must_use]
pub const fn longest_recovery() -> Duration {
    CHECK_INTERVAL.saturating_add(RECOVERY_SPREAD)
}

#[cfg(test)]
mod tests;
