//! How many issuance requests an hour may have, whatever Vault answers.
//!
//! Four rules, one for each reason to ask:
//! - A renewal that is due and brings what is published doesn't count. The schedule bounds those:
//!   none is due sooner than two seconds after the last. (Lives below four seconds count.)
//! - Other requests, and those that brought nothing, count for an hour ([`Requests::counted`]).
//! - Answers that were refused are paced and never use up the rest ([`Requests::refused`]).
//! - A manual renewal has an allowance of its own ([`Requests::manual`]).
//!
//! Never forgets early: what counts does so for a full hour, also over restarts and clock steps.
//! Never blocks for ever either: a record up to an hour in the future, left by a clock that was set
//! back, counts until an hour after it; one further ahead doesn't count until `prune` has moved
//! it to the present.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{failure::FailureClass, time::Timestamp};

/// The span that the limit is for.
pub const WINDOW: Duration = Duration::from_secs(3600);

/// Manual renewals that may follow each other at once.
pub const MANUAL_AT_ONCE: u32 = 10;

/// From then on one in this time.
pub const MANUAL_PACE: Duration = Duration::from_secs(60);

/// So many answers an hour may be refused before requests are paced.
const REFUSED_AT_ONCE: usize = 5;

/// The widest pause after a refused answer.
const REFUSED_PACE: Duration = Duration::from_secs(720);

/// The shortest pause after a refused answer once they are paced.
const REFUSED_SHORTEST: Duration = Duration::from_secs(2);

/// The most answers that can be refused in any hour, whatever the restarts: those at once, one in
/// each twelve minutes, and ten more where a certificate ends in this hour.
pub const MOST_REFUSED: u32 = 20;

/// A certificate of a shorter life is no use to anybody: its renewals count, due or not.
const SHORTEST_LIFE: Duration = Duration::from_secs(4);

/// The most requests in an hour, and who set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuanceLimit {
    /// Worked out from the ttl that is asked for, and from the life that is received.
    Derived {
        /// The requested lifetime.
        ttl: Duration,
    },
    /// Written in the configuration.
    Configured(u32),
}

impl IssuanceLimit {
    /// The limit while a certificate of this life is published; none: before the first.
    #[must_use]
    pub fn per_hour(self, life: Option<Duration>) -> u32 {
        match self {
            Self::Configured(per_hour) => per_hour.max(1),
            Self::Derived { ttl } => derived(life.map_or(ttl, |life| life.min(ttl))),
        }
    }
}

/// Four times what an undisturbed life of that length needs, within limits.
fn derived(life: Duration) -> u32 {
    let per_hour = 4 * WINDOW.as_secs() / life.as_secs().max(1);
    u32::try_from(per_hour.clamp(10, 3600)).unwrap_or(3600)
}

/// The requests of the last hour, oldest first in each list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requests {
    /// Those that count against the limit.
    #[serde(rename = "issuances")]
    pub counted: Vec<Timestamp>,
    /// Those whose answer was refused.
    pub refused: Vec<Timestamp>,
    /// Manual renewals.
    pub manual: Vec<Timestamp>,
}

/// Which rule a request falls under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// It is due: free once what it brings is published.
    Due,
    /// It is not due, and not manual.
    Other,
    /// It is a manual renewal.
    Manual,
}

impl Requests {
    /// May another certificate be asked for at `now`? `ends` is the end of the live certificate.
    ///
    /// # Errors
    /// When not: the moment at which one is free, always after `now`.
    pub fn allowed(
        &self,
        per_hour: u32,
        ends: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        let paced = self.paced(ends, now).filter(|at| *at > now);
        match (allowed(&self.counted, per_hour, now), paced) {
            (Err(free), Some(paced)) => Err(free.max(paced)),
            (Err(at), None) | (Ok(()), Some(at)) => Err(at),
            (Ok(()), None) => Ok(()),
        }
    }

    /// May a manual renewal be sent at `now`?
    ///
    /// # Errors
    /// When not: the moment at which one is free, always after `now`.
    pub fn manual_allowed(&self, now: Timestamp) -> Result<(), Timestamp> {
        let (mut full, burst) = (Timestamp::MIN, MANUAL_PACE * (MANUAL_AT_ONCE - 1));
        for at in counting(&self.manual, now) {
            full = full.max(at).plus(MANUAL_PACE);
        }
        let free = full.minus(burst);
        if free > now { Err(free) } else { Ok(()) }
    }

    /// When the next request may follow refused answers: at most half of what is left of the live
    /// certificate goes by, so that one that is repaired in time is renewed in time.
    fn paced(&self, ends: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let refused = counting(&self.refused, now);
        let last = *refused
            .last()
            .filter(|_| refused.len() >= REFUSED_AT_ONCE)?;
        let left = ends
            .map(|ends| last.until(ends))
            .filter(|left| !left.is_zero());
        let pace = left.map_or(REFUSED_PACE, |left| (left / 2).min(REFUSED_PACE));
        Some(last.plus(pace.max(REFUSED_SHORTEST)))
    }

    /// How many count against the limit at `now`.
    #[must_use]
    pub fn used(&self, now: Timestamp) -> u32 {
        number(counting(&self.counted, now).len())
    }

    /// How many answers were refused in the hour before `now`.
    #[must_use]
    pub fn refused(&self, now: Timestamp) -> u32 {
        number(counting(&self.refused, now).len())
    }

    /// When the newest request was sent, whatever its rule.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        let all = [&self.counted, &self.refused, &self.manual];
        all.into_iter()
            .filter_map(|list| list.last().copied())
            .max()
    }

    /// Enters a request that is about to leave.
    pub fn sent(&mut self, share: Share, now: Timestamp) {
        for list in [&mut self.counted, &mut self.refused, &mut self.manual] {
            prune(list, now);
        }
        self.list(share).push(now);
    }

    /// Takes the newest request of this share out again.
    pub fn withdraw(&mut self, share: Share) {
        self.list(share).pop();
    }

    /// The answer to the newest request of this share was refused. A manual one has paid for itself.
    pub fn was_refused(&mut self, share: Share) {
        if share == Share::Manual {
            return;
        }
        if let Some(at) = self.counted.pop() {
            self.refused.push(at);
            self.refused.sort_unstable();
        }
    }

    /// What the request of this moment brought is published, and lives so long from now on: a
    /// request that was due doesn't count any more.
    pub fn was_published(&mut self, share: Share, sent: Timestamp, life: Duration) {
        if share == Share::Due && life >= SHORTEST_LIFE {
            let at = self.counted.iter().rposition(|at| *at == sent);
            at.map(|at| self.counted.remove(at));
        }
    }

    fn list(&mut self, share: Share) -> &mut Vec<Timestamp> {
        match share {
            Share::Due | Share::Other => &mut self.counted,
            Share::Manual => &mut self.manual,
        }
    }
}

/// The moment at which fewer than `per_hour` of them count.
fn allowed(issuances: &[Timestamp], per_hour: u32, now: Timestamp) -> Result<(), Timestamp> {
    let counted = counting(issuances, now);
    let most = usize::try_from(per_hour.max(1)).unwrap_or(usize::MAX);
    if counted.len() < most {
        return Ok(());
    }
    // One is free as soon as fewer than `most` of them are left.
    let frees = counted.get(counted.len() - most).copied();
    Err(frees.unwrap_or(now).plus(WINDOW))
}

/// Drops what no longer counts, and moves what lies in the future of `now` (the clock was set
/// back) to `now`, so that it counts for one hour and no longer. Keeps the order, oldest first.
fn prune(issuances: &mut Vec<Timestamp>, now: Timestamp) {
    issuances.retain(|at| *at > now || counts_at(*at, now));
    for at in issuances.iter_mut() {
        *at = (*at).min(now);
    }
    issuances.sort_unstable();
}

/// What becomes of a request after an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aftermath {
    /// No certificate was made: it is taken out again, so that an outage doesn't use up what is
    /// needed when it ends. A timeout too: the retry plan already bounds those.
    Withdrawn,
    /// A certificate was made, and refused: paced.
    Refused,
    /// A certificate was made, and this machine could not take it.
    Counted,
}

impl From<FailureClass> for Aftermath {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::BadAnswer => Self::Refused,
            FailureClass::Local => Self::Counted,
            _ => Self::Withdrawn,
        }
    }
}

/// Those that count at `now`, none of them after it, oldest first.
fn counting(issuances: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
    let counted = issuances.iter().filter(|at| counts_at(**at, now));
    let mut counted: Vec<_> = counted.map(|at| (*at).min(now)).collect();
    counted.sort_unstable();
    counted
}

fn counts_at(issued: Timestamp, now: Timestamp) -> bool {
    now.since(issued) < WINDOW && now.until(issued) <= WINDOW
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
