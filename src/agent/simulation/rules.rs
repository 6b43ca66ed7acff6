//! What must hold in every run, whatever happens.
//!
//! Never changes what it judges. What stays true: each rule is one sentence of the documentation, and
//! says in its own words how it was broken.

use std::time::Duration;

use super::{
    faults::Fault,
    world::{Answered, State, World, since_start},
};
use crate::{
    model::{
        issuance_limit::{IssuanceLimit, MOST_REFUSED},
        time::Timestamp,
    },
    publish::ready_file::ReadyFile,
    status::Status,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// Requests that fail, in any hour: the plan of retries before and after the end, and restarts.
/// Whoever asks for a renewal begins the plan anew.
const MOST_FAILED: usize = 300;

/// From the moment that nothing stands in the way, a renewal needs at most this, and a part of life.
const ATTEMPT: Duration = Duration::from_secs(15);

const END: &str = "-----END CERTIFICATE-----\n";

impl State {
    /// Whoever opens the directory finds one whole set, verified, and never an older one than a valid one before.
    pub(super) fn judge_set(&mut self, set: Option<[String; 3]>) {
        let before = self.published.take();
        let whole = self.damaged.is_none();
        let Some([ca, cert, key]) = set else {
            if before.is_some() && whole {
                self.breaks(|| "what was published is not there any more".to_owned());
            }
            return;
        };
        let leaf = cert.find(END).map(|at| &cert[..at + END.len()]);
        let made = leaf.and_then(|leaf| self.made.get(leaf)).cloned();
        let Some(made) = made else {
            if whole {
                self.breaks(|| "the published certificate is none that Vault made".to_owned());
            }
            return;
        };
        let is_pair = self
            .public_key(&key)
            .is_some_and(|public| public == made.public_key);
        if !is_pair || !ca.contains(&made.root) {
            if whole {
                self.breaks(|| format!("certificate {} is published in a mixed set", made.number));
            }
            return;
        }
        if !made.good {
            self.breaks(|| {
                format!(
                    "certificate {} is published, and was to be refused",
                    made.number
                )
            });
        }
        // one that has expired is no better than an older one that has not
        let number_before = before
            .filter(|before| self.now < before.until)
            .map(|before| before.number);
        if whole && number_before > Some(made.number) {
            self.breaks(|| format!("the older certificate {} is published again", made.number));
        }
        if number_before != Some(made.number) {
            self.note(|| format!("certificate {} is published", made.number));
            self.publications.push((self.now, made.number));
        }
        self.published = Some(made);
        self.published_ca = ca;
    }

    /// While Vault would serve the request the certificate never expires.
    pub(super) fn judge_time(&mut self) {
        let Some(free_since) = self.free_since else {
            return;
        };
        let Some(published) = &self.published else {
            if self.now > self.excused_until {
                self.breaks(|| {
                    "no certificate is published, although nothing stands in the way".to_owned()
                });
            }
            return;
        };
        let (until, life) = (published.until, published.from.until(published.until));
        if self.now <= until {
            return;
        }
        let slow = Duration::from_secs(self.is(Fault::Slow).unwrap_or(0).into()) * 2;
        let turn = if self.is(Fault::RateLimit).is_some() {
            75
        } else {
            0
        };
        let needed = ATTEMPT + life * 3 / 100 + slow + Duration::from_secs(turn);
        if free_since.plus(needed) <= until || self.now > self.excused_until {
            let free = since_start(free_since);
            self.breaks(|| {
                format!(
                    "the certificate expired at {}, and nothing stands in the way since {free}",
                    since_start(until)
                )
            });
        }
    }

    /// More than half of the published certificate's life is left, or there is none.
    pub(super) fn is_early(&self) -> bool {
        self.published.as_ref().is_none_or(|made| {
            let life = made.from.until(made.until);
            self.now < made.until && self.now.until(made.until) > life / 2
        })
    }

    /// One agent asks, and not more often than stated.
    pub(super) fn judge_calls(&mut self) {
        let from = self.now.minus(HOUR).max(self.forgot_at);
        let recent: Vec<_> = self
            .calls
            .iter()
            .rev()
            .take_while(|call| call.at >= from)
            .copied()
            .collect();
        let [newest, before, ..] = &recent[..] else {
            return;
        };
        if newest.instance != before.instance
            && self.alive.contains(&before.instance)
            && !self.evicted
        {
            self.breaks(|| "two agents ask for certificates at once".to_owned());
        }
        let asked = self.asked.iter().filter(|at| **at >= from).count();
        let count = |wanted: fn(Answered) -> bool, early: bool| {
            let wanted = recent
                .iter()
                .filter(|call| wanted(call.answered) && (call.early || !early));
            wanted.count()
        };
        let refused = count(|one| one == Answered::Refusable, false);
        let failed = count(|one| one == Answered::Failed, false);
        let early = count(|one| matches!(one, Answered::Made(_)), true);
        let shortest = self.made.values().filter(|made| made.from >= from);
        let shortest = shortest.map(|made| made.from.until(made.until)).min();
        let limit = IssuanceLimit::Derived { ttl: self.life }.per_hour(shortest) as usize;
        for (what, number, most) in [
            ("were refused", refused, MOST_REFUSED as usize + asked),
            ("were not due", early, limit + asked),
            ("failed", failed, MOST_FAILED + asked * 5),
        ] {
            if number > most {
                self.breaks(|| {
                    format!("{number} requests in an hour {what}, at most {most} are stated")
                });
            }
        }
    }
}

impl World {
    /// Why not everything is well again, some time after the last fault.
    pub(super) fn unwell(&self, status: &Status, has_extra: bool, reloads: bool) -> Option<String> {
        self.look();
        let state = self.state();
        let Some(live) = &status.live else {
            return Some("the agent has nothing published".to_owned());
        };
        let Some(published) = &state.published else {
            return Some("no whole set is published".to_owned());
        };
        if state.now >= published.until {
            return Some("the published certificate has expired".to_owned());
        }
        if let Some(failure) = status
            .failure
            .as_ref()
            .map(|run| &run.last)
            .or(status.files.as_ref())
        {
            return Some(format!("a failure lasts: {failure}"));
        }
        if let Some(failure) = &status.extra_ca {
            return Some(format!("a failure lasts: {failure}"));
        }
        if status.publish_pending || status.standby.is_some() {
            return Some("a set waits, or the agent stands by".to_owned());
        }
        let litter = self.litter();
        if !litter.is_empty() || !self.has_links() {
            return Some(format!("the directory is not as it should be: {litter:?}"));
        }
        let missing = |anchor: &String| !state.published_ca.contains(anchor.trim());
        if has_extra && missing(&self.extra.pem()) || state.anchors.last().is_some_and(missing) {
            return Some("an anchor is missing in CA.pem".to_owned());
        }
        let ready = ReadyFile::read(&self.ready_file()).ok().flatten();
        if ready.is_none_or(|ready| ready.serial != live.serial) {
            return Some("the ready file is not true".to_owned());
        }
        let serves = state.app.serves.as_ref().map(|leaf| &leaf.serial);
        let behind = reloads && serves != Some(&live.serial);
        behind.then(|| "the application serves another certificate".to_owned())
    }

    /// Whether what was damaged is as it should be.
    pub(super) fn is_whole(&self) -> bool {
        self.look();
        self.state().published.is_some() && self.has_links() && self.ready_file().exists()
    }
}

/// A moment that lies so far ahead.
pub(super) fn after(now: Timestamp, secs: u32) -> Timestamp {
    now.plus(Duration::from_secs(secs.into()))
}
