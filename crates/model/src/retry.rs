//! When to try again: one plan per failure class, planned backwards from notAfter.
//!
//! The time before notAfter is cut into slots, wide far from the end and narrow near it; a mirror
//! image of them continues after it. Each slot gets at most one attempt, at a moment inside it that
//! a hash of the seed picks ("full jitter"), so that a fleet spreads evenly. On top of that the
//! first few failures in a row are followed up at once.
//!
//! Never sleeps, and draws no random number. What stays true: the number of attempts in any span
//! is at most [`most_requests`], and every span of max(5 s, 1 % of life) before notAfter holds at
//! least one attempt of every class.

use std::time::Duration;

use crate::{
    failure::{FailureClass, FailureRun},
    schedule::{Validity, fraction},
    time::Timestamp,
};

/// The grid of slots begins this long before (and after) notAfter: an attempt needs some time.
const LAST_ATTEMPT_MARGIN_MILLIS: u64 = 500;

/// A Retry-After is obeyed up to this once the certificate has expired, or before there is one.
const MAX_RETRY_AFTER_AFTER_EXPIRY: Duration = Duration::from_secs(3600);

/// No failure is followed up sooner than this.
const MIN_DELAY: Duration = Duration::from_millis(100);

/// An attempt may always take this long.
const MIN_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// How the attempts after a failure of one class are spread. All times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    /// The first failures in a row are followed by an attempt within these.
    quick: &'static [u64],
    /// Before the end a slot is as wide as what remains, times `widen.0 / widen.1`.
    widen: (u64, u64),
    /// But never narrower than this.
    narrowest: u64,
    /// And never wider than this.
    widest: u64,
    /// The widest slot after the end, and the longest delay before there was any certificate.
    late: u64,
}

const fn plan(class: FailureClass) -> Plan {
    const MINUTE_MILLIS: u64 = 60_000;
    let plain = Plan {
        quick: &[1_000, 2_000, 4_000, 8_000],
        widen: (1, 8),
        narrowest: 1_000,
        widest: 5 * MINUTE_MILLIS,
        late: MINUTE_MILLIS / 2,
    };
    match class {
        FailureClass::Transport | FailureClass::Unavailable => plain,
        FailureClass::Local => Plan {
            widest: MINUTE_MILLIS,
            ..plain
        },
        FailureClass::Throttled => Plan {
            quick: &[],
            widen: (1, 4),
            narrowest: 2_000,
            widest: 10 * MINUTE_MILLIS,
            late: MINUTE_MILLIS,
        },
        // Once soon: right after a login some nodes don't know the token yet.
        FailureClass::Denied => Plan {
            quick: &[3_000],
            widen: (1, 4),
            narrowest: 2_000,
            widest: 30 * MINUTE_MILLIS,
            late: MINUTE_MILLIS,
        },
        FailureClass::Misconfigured => Plan {
            quick: &[10_000],
            widen: (1, 4),
            narrowest: 2_000,
            widest: 60 * MINUTE_MILLIS,
            late: 2 * MINUTE_MILLIS,
        },
        // Each attempt is an issuance: in the last hour before the end these slots are eight.
        FailureClass::BadAnswer => Plan {
            quick: &[5_000],
            widen: (2, 1),
            narrowest: 2_000,
            widest: 60 * MINUTE_MILLIS,
            late: 10 * MINUTE_MILLIS,
        },
        // Nothing was sent; `decide` waits for the budget itself.
        FailureClass::IssuanceLimit => Plan {
            quick: &[],
            ..plain
        },
    }
}

/// When to try again after `run`, given the certificate that is live (none: the first start).
///
/// `seed` is the allocation's splay key. The result can lie in the past: then it is time. A
/// failure recorded in the future of `now` (the clock was set back) is followed by an attempt at
/// once, which records a new one.
#[must_use]
pub fn next_attempt(
    run: &FailureRun,
    validity: Option<Validity>,
    seed: &str,
    now: Timestamp,
) -> Timestamp {
    if run.at > now {
        return now;
    }
    let plan = plan(run.last.class);
    let planned = match validity {
        Some(validity) => in_next_slot(&plan, validity.not_after, seed, run.at),
        None => run.at.plus(first_delay(&plan, run.total, seed)),
    };
    let planned = match quick_delay(&plan, run, seed) {
        Some(delay) => planned.min(run.at.plus(delay)),
        None => planned,
    };
    match run.last.retry_after {
        Some(wait) => obey(planned, wait, run, validity, seed),
        None => planned,
    }
}

/// Right after the first failures in a row: within the class's quick delays, with full jitter.
fn quick_delay(plan: &Plan, run: &FailureRun, seed: &str) -> Option<Duration> {
    // A refusal is followed up once whatever failed before it; everything else counts all
    // failures, so that two classes that take turns are not two series of quick attempts.
    let failed = if run.last.class == FailureClass::Denied {
        run.count
    } else {
        run.total
    };
    let index = usize::try_from(failed.max(1) - 1).ok()?;
    let longest = *plan.quick.get(index)?;
    let jitter = fraction("quick", seed, u64::from(run.total));
    Some(share(longest, jitter).max(MIN_DELAY))
}

/// Before there is a certificate to plan backwards from: doubling up to `late`, with jitter over
/// the upper half, so that the number of requests keeps a bound.
fn first_delay(plan: &Plan, total: u32, seed: &str) -> Duration {
    let start = plan.quick.first().copied().unwrap_or(5_000);
    let doublings = total.saturating_sub(1).min(20);
    let longest = (start << doublings).min(plan.late);
    let jitter = fraction("first", seed, u64::from(total));
    Duration::from_millis(longest / 2).saturating_add(share(longest / 2, jitter))
}

/// A random moment of the first slot that begins after `at`.
fn in_next_slot(plan: &Plan, end: Timestamp, seed: &str, at: Timestamp) -> Timestamp {
    let left = millis(at.until(end));
    if left > LAST_ATTEMPT_MARGIN_MILLIS {
        let here = Slot::around(plan.before(), left - LAST_ATTEMPT_MARGIN_MILLIS);
        if let Some(next) = here.nearer(plan.before()) {
            let from_end =
                LAST_ATTEMPT_MARGIN_MILLIS + next.inside(fraction("slot", seed, next.number));
            return end.minus(Duration::from_millis(from_end));
        }
    }
    // From here on: the end has come, or is too close for another attempt before it.
    let after = Slot::around(plan.after(), millis(end.until(at)));
    let next = if at < end {
        after
    } else {
        after.further(plan.after())
    };
    let from_end = next.inside(fraction("late", seed, next.number));
    end.plus(Duration::from_millis(from_end))
}

/// Moves `planned` to where the issuer asked for, unless that would leave the certificate to end
/// without another attempt.
fn obey(
    planned: Timestamp,
    wait: Duration,
    run: &FailureRun,
    validity: Option<Validity>,
    seed: &str,
) -> Timestamp {
    // A fleet that got the same answer must not come back in the same second.
    let jitter = fraction("after", seed, u64::from(run.total));
    let asked = |wait: Duration| {
        let spread = (wait / 10).max(Duration::from_secs(1));
        run.at
            .plus(wait)
            .plus(share(millis(spread), jitter))
            .max(planned)
    };
    let Some(validity) = validity else {
        return asked(wait.min(MAX_RETRY_AFTER_AFTER_EXPIRY));
    };
    let reserve = reserve(validity);
    let last_call = validity
        .not_after
        .minus(reserve)
        .minus(share(millis(reserve), jitter));
    if run.at >= validity.not_after {
        asked(wait.min(MAX_RETRY_AFTER_AFTER_EXPIRY))
    } else if run.at < last_call {
        asked(wait).min(last_call.max(planned))
    } else {
        // In the reserve: at most half of what is left goes by without an attempt.
        let half = validity.remaining(run.at) / 2;
        asked(wait).min(validity.not_after.minus(half).max(planned))
    }
}

/// The end of life that no Retry-After may take: at least 5 s and a hundredth of life.
fn reserve(validity: Validity) -> Duration {
    (validity.life() / 100).max(Duration::from_secs(5))
}

/// How many attempts of this class are still planned before the certificate ends; quick ones not
/// counted. Zero when it has expired: `certagent_renewal_attempts_remaining`.
#[must_use]
pub fn runway(class: FailureClass, validity: Validity, now: Timestamp) -> u32 {
    let left = millis(now.until(validity.not_after));
    if left <= LAST_ATTEMPT_MARGIN_MILLIS {
        return 0;
    }
    let here = Slot::around(plan(class).before(), left - LAST_ATTEMPT_MARGIN_MILLIS);
    u32::try_from(here.number).unwrap_or(u32::MAX)
}

/// How long one attempt may take before it is given up, so that an issuer that hangs leaves time
/// for another one: a quarter of what remains, at least three seconds. `None` when there is no
/// certificate to lose; the limit of the connection holds all the same.
#[must_use]
pub fn patience(validity: Option<Validity>, now: Timestamp) -> Option<Duration> {
    let left = validity?.remaining(now);
    (!left.is_zero()).then(|| (left / 4).max(MIN_ATTEMPT_TIMEOUT))
}

/// The bound: how many requests a run of failures of `class` can send from its first failure at
/// `from` until `until`, both included, whatever the jitter and however often the process looks.
/// For failures of several classes the bound is the sum over them, as each plans in its own slots;
/// twice that when [`FailureClass::Denied`] is one of them, as each first refusal is followed up.
#[must_use]
pub fn most_requests(
    class: FailureClass,
    validity: Validity,
    from: Timestamp,
    until: Timestamp,
) -> u32 {
    let plan = plan(class);
    let end = validity.not_after;
    let before = |at: Timestamp| {
        let left = millis(at.until(end));
        if left <= LAST_ATTEMPT_MARGIN_MILLIS {
            0
        } else {
            Slot::around(plan.before(), left - LAST_ATTEMPT_MARGIN_MILLIS).number + 1
        }
    };
    let after = |at: Timestamp| {
        if at < end {
            0
        } else {
            Slot::around(plan.after(), millis(end.until(at))).number + 1
        }
    };
    // Slots touched on either side of the end, the first attempt, and the quick ones.
    let before_end = before(from).saturating_sub(before(until).saturating_sub(1));
    let after_end = after(until).saturating_sub(after(from).saturating_sub(1));
    let quick = u64::try_from(plan.quick.len()).unwrap_or(u64::MAX);
    u32::try_from(1 + quick + before_end + after_end).unwrap_or(u32::MAX)
}

/// The rule that makes the slots on one side of the end.
#[derive(Clone, Copy)]
struct Grid {
    widen: (u64, u64),
    narrowest: u64,
    widest: u64,
}

impl Plan {
    const fn before(&self) -> Grid {
        Grid {
            widen: self.widen,
            narrowest: self.narrowest,
            widest: self.widest,
        }
    }

    const fn after(&self) -> Grid {
        Grid {
            widen: (1, 4),
            narrowest: self.narrowest,
            widest: self.late,
        }
    }
}

impl Grid {
    fn width(&self, edge: u64) -> u64 {
        let (times, over) = self.widen;
        (edge.saturating_mul(times) / over).clamp(self.narrowest, self.widest)
    }
}

/// One slot: its number and its edges, in milliseconds away from where the grid begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    /// Zero is the slot that touches the beginning of the grid.
    number: u64,
    /// Inner edge.
    near: u64,
    /// Outer edge, not part of the slot.
    far: u64,
}

impl Slot {
    /// The slot that holds `away`. Takes few steps: where slots are of one width it divides.
    fn around(grid: Grid, away: u64) -> Self {
        let (mut number, mut near) = (0, 0_u64);
        loop {
            let width = grid.width(near);
            let far = near.saturating_add(width);
            if away < far || far == u64::MAX {
                return Self { number, near, far };
            }
            if width == grid.widest {
                let skip = (away - near) / width;
                number += skip;
                near += skip * width;
                let far = near.saturating_add(width);
                return Self { number, near, far };
            }
            number += 1;
            near = far;
        }
    }

    /// The next slot towards the beginning of the grid.
    fn nearer(self, grid: Grid) -> Option<Self> {
        let away = self.near.checked_sub(1)?;
        Some(Self::around(grid, away))
    }

    /// The next slot away from the beginning of the grid.
    fn further(self, grid: Grid) -> Self {
        Self::around(grid, self.far)
    }

    /// The moment in this slot that `fraction` picks.
    fn inside(self, fraction: f64) -> u64 {
        self.near
            .saturating_add(millis(share(self.far - self.near, fraction)))
    }
}

fn share(whole: u64, fraction: f64) -> Duration {
    Duration::from_millis((whole as f64 * fraction) as u64)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
