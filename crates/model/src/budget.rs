//! How many issuances an hour may have, whatever the issuer answers.
//!
//! Never forgets early: an issuance counts for a full hour, also over restarts and clock steps.
//! Never blocks for ever either: a record up to an hour in the future, left by a clock that was set
//! back, counts until an hour after it; one further ahead doesn't count until [`prune`] has moved
//! it to the present.

use std::time::Duration;

use crate::{failure::FailureClass, time::Timestamp};

/// The span that the budget is for.
pub const WINDOW: Duration = Duration::from_secs(3600);

/// May another certificate be asked for at `now`?
///
/// # Errors
/// When the budget is used up: the moment at which one more is free, always after `now`.
pub fn allowed(issuances: &[Timestamp], per_hour: u32, now: Timestamp) -> Result<(), Timestamp> {
    let mut counted: Vec<Timestamp> = issuances
        .iter()
        .filter(|at| counts_at(**at, now))
        .map(|at| (*at).min(now))
        .collect();
    let most = usize::try_from(per_hour.max(1)).unwrap_or(usize::MAX);
    if counted.len() < most {
        return Ok(());
    }
    counted.sort_unstable();
    // One is free as soon as fewer than `most` of them are left.
    let frees = counted.get(counted.len() - most).copied();
    Err(frees.unwrap_or(now).plus(WINDOW))
}

/// How many of them count at `now`.
#[must_use]
pub fn used(issuances: &[Timestamp], now: Timestamp) -> u32 {
    let counted = issuances.iter().filter(|at| counts_at(**at, now)).count();
    u32::try_from(counted).unwrap_or(u32::MAX)
}

/// Drops what no longer counts, and moves what lies in the future of `now` (the clock was set
/// back) to `now`, so that it counts for one hour and no longer. To be called whenever an
/// issuance is recorded. Keeps the order, oldest first.
pub fn prune(issuances: &mut Vec<Timestamp>, now: Timestamp) {
    issuances.retain(|at| *at > now || counts_at(*at, now));
    for at in issuances.iter_mut() {
        *at = (*at).min(now);
    }
    issuances.sort_unstable();
}

/// Does a failed attempt of this class stay in the record of issuances? Only when the issuer may
/// have made a certificate: the others are taken out again, so that an outage doesn't use up what
/// is needed when it ends. A timeout stays out too: the retry plan already bounds those.
#[must_use]
pub fn keeps(class: FailureClass) -> bool {
    matches!(class, FailureClass::BadAnswer | FailureClass::Local)
}

fn counts_at(issued: Timestamp, now: Timestamp) -> bool {
    now.since(issued) < WINDOW && now.until(issued) <= WINDOW
}

#[cfg(test)]
mod tests;
